//! Where logits come from.

use crate::matrix::Matrix;

/// Where the logits come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    Product { hidden: Matrix<'a>, classifier: Matrix<'a> },
    Given(Matrix<'a>),
}

impl Source<'_> {
    /// The number of rows, the width D of the hidden states (0 of given logits) and the number of classes.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        match self {
            Source::Product { hidden, classifier } => {
                (hidden.dim().0, hidden.dim().1, classifier.dim().0)
            }
            Source::Given(logits) => (logits.dim().0, 0, logits.dim().1),
        }
    }

    /// Whether any of it is f64.
    pub(crate) fn is_double(&self) -> bool {
        let double = |matrix: &Matrix<'_>| matches!(matrix, Matrix::F64(_));
        match self {
            Source::Product { hidden, classifier } => double(hidden) || double(classifier),
            Source::Given(logits) => double(logits),
        }
    }

    /// Whether it is products of bf16 with bf16.
    pub(crate) fn is_bf16(&self) -> bool {
        let narrow = |matrix: &Matrix<'_>| matches!(matrix, Matrix::Bf16(_));
        match self {
            Source::Product { hidden, classifier } => narrow(hidden) && narrow(classifier),
            Source::Given(_) => false,
        }
    }
}
