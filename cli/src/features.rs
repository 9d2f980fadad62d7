//! `--features F`: rows of features.

use ndarray::{CowArray, Ix2};
use std::borrow::Cow;

use surprisal::{Matrix, printable};

use crate::Failure;
use crate::arrays::Opened;

/// Features [N,D] of any floating-point type; more axes before the last are as good.
pub struct Features {
    opened: Opened,
    location: String,
}

/// Features in a type that distances are computed from; the narrower ones are copies in f32.
pub enum Widened<'a> {
    F64(CowArray<'a, f64, Ix2>),
    F32(CowArray<'a, f32, Ix2>),
}

impl Features {
    pub fn open(location: &str) -> Result<Self, Failure> {
        let opened = Opened::new("--features", location)?;
        opened.matrix()?;
        Ok(Self { opened, location: location.into() })
    }

    /// The array itself.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    pub fn matrix(&self) -> Result<Matrix<'_>, Failure> {
        self.opened.matrix()
    }

    pub fn widened(&self) -> Result<Widened<'_>, Failure> {
        Ok(match self.matrix()? {
            Matrix::F64(view) => Widened::F64(view.into()),
            Matrix::F32(view) => Widened::F32(view.into()),
            Matrix::Bf16(view) => Widened::F32(view.mapv(f32::from).into()),
            Matrix::F16(view) => Widened::F32(view.mapv(f32::from).into()),
        })
    }

    /// Their file's name, without its directory, fit for a title.
    pub fn name(&self) -> Cow<'_, str> {
        printable(self.location.rsplit(std::path::is_separator).next().unwrap_or(&self.location))
    }
}
