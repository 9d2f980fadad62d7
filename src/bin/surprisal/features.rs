//! `--features F`: rows of features, in a type that the spectral measures take.

use ndarray::{Array2, ArrayView2};

use surprisal::Matrix;

use crate::Failure;
use crate::arrays::Opened;

/// Features [N,D]: a file that was opened, or a copy where its type is narrower than f32.
pub enum Features {
    File(Opened),
    Widened(Array2<f32>),
}

/// A view of features, its type known.
pub enum FeaturesView<'a> {
    F64(ArrayView2<'a, f64>),
    F32(ArrayView2<'a, f32>),
}

/// Evaluates an expression with the view of features, whichever type it has.
macro_rules! with_features {
    ($features:expr, $view:ident => $body:expr) => {
        match $features.view()? {
            $crate::features::FeaturesView::F64($view) => $body,
            $crate::features::FeaturesView::F32($view) => $body,
        }
    };
}

impl Features {
    pub fn open(location: &str) -> Result<Self, Failure> {
        let opened = Opened::new("--features", location)?;
        Ok(match opened.matrix()? {
            Matrix::F64(_) | Matrix::F32(_) => Self::File(opened),
            Matrix::Bf16(view) => Self::Widened(view.mapv(f32::from)),
            Matrix::F16(view) => Self::Widened(view.mapv(f32::from)),
        })
    }

    pub fn view(&self) -> Result<FeaturesView<'_>, Failure> {
        Ok(match self {
            Self::Widened(features) => FeaturesView::F32(features.view()),
            Self::File(opened) => match opened.matrix()? {
                Matrix::F64(view) => FeaturesView::F64(view),
                Matrix::F32(view) => FeaturesView::F32(view),
                Matrix::Bf16(_) | Matrix::F16(_) => return Err(opened.unfit("f64 or f32")),
            },
        })
    }
}
