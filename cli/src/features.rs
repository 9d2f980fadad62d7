//! `--features F`: rows of features.

use std::borrow::Cow;

use surprisal::{Matrix, printable};

use crate::Failure;
use crate::arrays::Opened;

/// Features [N,D] of any floating-point type; more axes before the last are as good.
pub struct Features {
    opened: Opened,
    location: String,
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

    /// Their file's name, without its directory, fit for a title.
    pub fn name(&self) -> Cow<'_, str> {
        printable(self.location.rsplit(std::path::is_separator).next().unwrap_or(&self.location))
    }
}
