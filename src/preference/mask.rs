//! Which tokens of a batch count.

use ndarray::{Array2, ArrayBase, ArrayView2, Data, Ix2};

use crate::element::Element;
use crate::error::{Error, Result, short};
use crate::matrix::Matrix;

/// The tokens `[B,T]` that count: booleans, or numbers that are 0 or 1.
///
/// A token that does not count is never looked at: whatever its numbers are, NaN and infinities too, it adds
/// 0 to values and gradients.
///
/// ```
/// use surprisal::preference::Mask;
/// let bools = ndarray::arr2(&[[true, false]]);
/// let numbers = ndarray::arr2(&[[1.0_f32, 0.0]]);
/// assert_eq!(Mask::from(&bools).dim(), Mask::from(&numbers).dim());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a>(Source<'a>);

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Flags(ArrayView2<'a, bool>),
    Numbers(Matrix<'a>),
}

/// A type that the entries of a [`Mask`] may have: `bool`, or an [`Element`](crate::Element) that is 0 or 1.
///
/// ```
/// use surprisal::preference::{Mask, MaskElement};
/// fn mask<T: MaskElement>(view: ndarray::ArrayView2<'_, T>) -> Mask<'_> { view.into() }
/// assert_eq!(mask(ndarray::arr2(&[[true]]).view()).dim(), (1, 1));
/// ```
pub trait MaskElement: sealed::Sealed + Sized {
    /// This view, with its type as a value.
    fn mask(view: ArrayView2<'_, Self>) -> Mask<'_>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for bool {}
    impl Sealed for f64 {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
    impl Sealed for half::f16 {}
}

impl MaskElement for bool {
    fn mask(view: ArrayView2<'_, Self>) -> Mask<'_> {
        Mask(Source::Flags(view))
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl MaskElement for $type {
            fn mask(view: ArrayView2<'_, Self>) -> Mask<'_> {
                Mask(Source::Numbers(<$type as Element>::matrix(view)))
            }
        })*
    };
}

numbers!(f64, f32, half::bf16, half::f16);

impl<'a, T: MaskElement> From<ArrayView2<'a, T>> for Mask<'a> {
    fn from(view: ArrayView2<'a, T>) -> Self {
        T::mask(view)
    }
}

impl<'a, T: MaskElement, S: Data<Elem = T>> From<&'a ArrayBase<S, Ix2>> for Mask<'a> {
    fn from(array: &'a ArrayBase<S, Ix2>) -> Self {
        T::mask(array.view())
    }
}

impl Mask<'_> {
    /// Sequences and tokens of each.
    pub fn dim(&self) -> (usize, usize) {
        match &self.0 {
            Source::Flags(view) => view.dim(),
            Source::Numbers(matrix) => matrix.dim(),
        }
    }

    /// The same mask for a shorter time: views of an `ndarray` do not shrink by themselves.
    pub(crate) fn shorter(&self) -> Mask<'_> {
        Mask(match &self.0 {
            Source::Flags(view) => Source::Flags(view.view()),
            Source::Numbers(matrix) => Source::Numbers(matrix.shorter()),
        })
    }

    /// As booleans, of this shape.
    ///
    /// # Errors
    /// [`Error::Shape`] for another shape, [`Error::Value`] for a number that is neither 0 nor 1.
    pub(super) fn flags(
        &self,
        argument: &'static str,
        dim: (usize, usize),
    ) -> Result<Array2<bool>> {
        let (rows, columns) = self.dim();
        if (rows, columns) != dim {
            return Err(Error::Shape {
                argument,
                found: vec![rows, columns],
                expected: format!("[{}, {}], as the log-probabilities have", dim.0, dim.1),
            });
        }
        let matrix = match &self.0 {
            Source::Flags(view) => return Ok(view.to_owned()),
            Source::Numbers(matrix) => matrix,
        };
        let mut flags = Array2::from_elem(dim, false);
        for ((row, column), flag) in flags.indexed_iter_mut() {
            *flag = match matrix.at(row, column) {
                0.0 => false,
                1.0 => true,
                other => {
                    return Err(Error::Value {
                        argument,
                        index: vec![row, column],
                        value: short(other),
                        expected: "0 or 1",
                    });
                }
            };
        }
        Ok(flags)
    }
}
