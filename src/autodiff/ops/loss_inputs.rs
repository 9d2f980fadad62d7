//! What a loss on a tape is of beside its operands, for as long as the tape is there.

use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayView2};

use crate::element::Element;
use crate::loss::head::Head;
use crate::loss::source::Source;
use crate::loss::{Classes, Companion, Targets};
use crate::matrix::{Matrix, Vector, each};

/// The same targets for a shorter time.
pub(crate) fn shorter<'b>(targets: &'b Targets<'_>) -> Targets<'b> {
    match targets {
        Targets::Hard(Classes::U32(classes)) => Targets::from(classes.view()),
        Targets::Hard(Classes::I64(classes)) => Targets::from(classes.view()),
        Targets::Soft(weights) => Targets::Soft(weights.shorter()),
        Targets::Sparse { classes, weights } => {
            Targets::Sparse { classes: classes.view(), weights: weights.shorter() }
        }
    }
}

/// Targets that outlive the caller's.
pub(crate) enum OwnedTargets {
    Unsigned(Array1<u32>),
    Signed(Array1<i64>),
    Soft(Array2<f64>),
    Sparse(Array2<u32>, Array2<f64>),
}

impl OwnedTargets {
    pub(crate) fn of(targets: Targets<'_>) -> Self {
        fn wide<E: Element>(view: ArrayView2<'_, E>) -> Array2<f64> {
            view.mapv(E::to_f64)
        }
        match targets {
            Targets::Hard(Classes::U32(classes)) => Self::Unsigned(classes.to_owned()),
            Targets::Hard(Classes::I64(classes)) => Self::Signed(classes.to_owned()),
            Targets::Soft(weights) => Self::Soft(each!(weights, Matrix, view => wide(view))),
            Targets::Sparse { classes, weights } => {
                Self::Sparse(classes.to_owned(), each!(weights, Matrix, view => wide(view)))
            }
        }
    }

    pub(crate) fn view(&self) -> Targets<'_> {
        match self {
            Self::Unsigned(classes) => Targets::from(classes),
            Self::Signed(classes) => Targets::from(classes),
            Self::Soft(weights) => Targets::Soft(weights.view().into()),
            Self::Sparse(classes, weights) => {
                Targets::Sparse { classes: classes.view(), weights: weights.view().into() }
            }
        }
    }
}

/// The same companion for a shorter time.
pub(crate) fn companion_shorter<'b>(companion: &'b Companion<'_>) -> Companion<'b> {
    match companion {
        Companion::Classes(values) => Companion::Classes(values.shorter()),
        Companion::Entries(values) => Companion::Entries(values.shorter()),
        Companion::Listed { classes, values } => {
            Companion::Listed { classes: classes.view(), values: values.shorter() }
        }
        Companion::Logits(head) => Companion::Logits(Head {
            source: match &head.source {
                Source::Product { hidden, classifier } => {
                    Source::Product { hidden: hidden.shorter(), classifier: classifier.shorter() }
                }
                Source::Given(logits) => Source::Given(logits.shorter()),
            },
            bias: head.bias.as_ref().map(Vector::shorter),
            ..*head
        }),
    }
}

/// A matrix that outlives the caller's, of the same type: it decides what is computed in.
pub(crate) enum OwnedMatrix {
    F64(Array2<f64>),
    F32(Array2<f32>),
    Bf16(Array2<bf16>),
    F16(Array2<f16>),
}

impl OwnedMatrix {
    fn of(matrix: Matrix<'_>) -> Self {
        match matrix {
            Matrix::F64(view) => Self::F64(view.to_owned()),
            Matrix::F32(view) => Self::F32(view.to_owned()),
            Matrix::Bf16(view) => Self::Bf16(view.to_owned()),
            Matrix::F16(view) => Self::F16(view.to_owned()),
        }
    }

    fn view(&self) -> Matrix<'_> {
        match self {
            Self::F64(array) => array.into(),
            Self::F32(array) => array.into(),
            Self::Bf16(array) => array.into(),
            Self::F16(array) => array.into(),
        }
    }
}

/// A companion that outlives the caller's.
pub(crate) enum OwnedCompanion {
    Classes(Array1<f64>),
    Entries(OwnedMatrix),
    Listed(Array2<u32>, OwnedMatrix),
    Logits {
        source: Vec<OwnedMatrix>,
        bias: Option<Array1<f64>>,
        scale: f64,
        softcap: Option<f64>,
        zero_at_target: bool,
    },
}

impl OwnedCompanion {
    pub(crate) fn of(companion: Companion<'_>) -> Self {
        let wide = |vector: Vector<'_>| (0..vector.len()).map(|i| vector.at(i)).collect();
        match companion {
            Companion::Classes(values) => Self::Classes(wide(values)),
            Companion::Entries(values) => Self::Entries(OwnedMatrix::of(values)),
            Companion::Listed { classes, values } => {
                Self::Listed(classes.to_owned(), OwnedMatrix::of(values))
            }
            Companion::Logits(Head { source, bias, scale, softcap, zero_at_target }) => {
                let source = match source {
                    Source::Product { hidden, classifier } => {
                        vec![OwnedMatrix::of(hidden), OwnedMatrix::of(classifier)]
                    }
                    Source::Given(logits) => vec![OwnedMatrix::of(logits)],
                };
                let bias = bias.map(wide);
                Self::Logits { source, bias, scale, softcap, zero_at_target }
            }
        }
    }

    pub(crate) fn view(&self) -> Companion<'_> {
        match self {
            Self::Classes(values) => Companion::Classes(values.into()),
            Self::Entries(values) => Companion::Entries(values.view()),
            Self::Listed(classes, values) => {
                Companion::Listed { classes: classes.view(), values: values.view() }
            }
            Self::Logits { source, bias, scale, softcap, zero_at_target } => {
                let source = match &source[..] {
                    [hidden, classifier] => {
                        Source::Product { hidden: hidden.view(), classifier: classifier.view() }
                    }
                    all => Source::Given(all[0].view()),
                };
                let bias = bias.as_ref().map(Vector::from);
                let (scale, softcap, zero_at_target) = (*scale, *softcap, *zero_at_target);
                Companion::Logits(Head { source, bias, scale, softcap, zero_at_target })
            }
        }
    }
}
