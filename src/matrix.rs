//! Views whose element type is a value.

use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

macro_rules! each {
    ($on:expr, $type:ident, $view:ident => $body:expr) => {
        match $on {
            $type::F64($view) => $body,
            $type::F32($view) => $body,
            $type::Bf16($view) => $body,
            $type::F16($view) => $body,
        }
    };
}

macro_rules! view_enum {
    ($(#[$doc:meta])* $name:ident, $view:ident, [$($derive:ident),*]) => {
        $(#[$doc])*
        #[derive($($derive),*)]
        #[non_exhaustive]
        pub enum $name<'a> {
            /// Of `f64`.
            F64($view<'a, f64>),
            /// Of `f32`.
            F32($view<'a, f32>),
            /// Of [`bf16`](struct@half::bf16).
            Bf16($view<'a, bf16>),
            /// Of [`f16`](struct@half::f16).
            F16($view<'a, f16>),
        }
    };
}

view_enum! {
    /// A matrix of any element type and any strides.
    ///
    /// ```
    /// let hidden = ndarray::arr2(&[[1.0_f32, 2.0]]);
    /// let matrix = surprisal::Matrix::from(hidden.view());
    /// assert_eq!((matrix.dim(), matrix.element()), ((1, 2), "f32"));
    /// ```
    Matrix, ArrayView2, [Clone, Copy, Debug]
}

view_enum! {
    /// A vector of any element type and any stride.
    ///
    /// ```
    /// let bias = ndarray::arr1(&[0.5_f64, 2.0]);
    /// assert_eq!(surprisal::Vector::from(bias.view()).len(), 2);
    /// ```
    Vector, ArrayView1, [Clone, Copy, Debug]
}

view_enum! {
    /// A matrix to be written to, of any element type and any strides.
    ///
    /// ```
    /// let mut gradient = ndarray::Array2::<f32>::zeros((2, 3));
    /// assert_eq!(surprisal::MatrixMut::from(gradient.view_mut()).dim(), (2, 3));
    /// ```
    MatrixMut, ArrayViewMut2, [Debug]
}

view_enum! {
    /// A vector to be written to, of any element type and any stride.
    ///
    /// ```
    /// let mut gradient = ndarray::Array1::<f32>::zeros(3);
    /// assert_eq!(surprisal::VectorMut::from(gradient.view_mut()).len(), 3);
    /// ```
    VectorMut, ArrayViewMut1, [Debug]
}

impl<'a> Matrix<'a> {
    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        each!(self, Matrix, view => view.dim())
    }
}

impl Vector<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        each!(self, Vector, view => view.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl MatrixMut<'_> {
    /// Rows and columns.
    pub fn dim(&self) -> (usize, usize) {
        each!(self, MatrixMut, view => view.dim())
    }
}

impl VectorMut<'_> {
    /// The number of elements.
    pub fn len(&self) -> usize {
        each!(self, VectorMut, view => view.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(crate) use each;

impl Matrix<'_> {
    /// The same matrix for a shorter time: views of an `ndarray` do not shrink by themselves.
    pub(crate) fn shorter(&self) -> Matrix<'_> {
        each!(self, Matrix, view => view.view().into())
    }
}

impl Vector<'_> {
    /// The same vector for a shorter time.
    pub(crate) fn shorter(&self) -> Vector<'_> {
        each!(self, Vector, view => view.view().into())
    }
}

impl MatrixMut<'_> {
    /// The same matrix for a shorter time.
    pub(crate) fn shorter_mut(&mut self) -> MatrixMut<'_> {
        each!(self, MatrixMut, view => view.view_mut().into())
    }
}
