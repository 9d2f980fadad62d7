//! Views whose element type is a value.

use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};
use std::ops::Range;

use crate::element::{Element, Real};

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
        view_enum!(@from $name, $view, F64 f64, F32 f32, Bf16 bf16, F16 f16);
    };
    (@from $name:ident, $view:ident, $($variant:ident $type:ty),*) => {
        $(impl<'a> From<$view<'a, $type>> for $name<'a> {
            fn from(view: $view<'a, $type>) -> Self {
                $name::$variant(view)
            }
        })*
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

    /// The name of the element type: `f64`, `f32`, `bf16` or `f16`.
    pub fn element(&self) -> &'static str {
        fn name<T: Element>(_: &ArrayView2<'_, T>) -> &'static str {
            T::NAME
        }
        each!(self, Matrix, view => name(view))
    }

    /// The distance from 1 to the next larger number of the element type.
    pub fn epsilon(&self) -> f64 {
        fn epsilon<T: Element>(_: &ArrayView2<'_, T>) -> f64 {
            T::EPSILON
        }
        each!(self, Matrix, view => epsilon(view))
    }

    /// One element.
    pub(crate) fn at(&self, row: usize, column: usize) -> f64 {
        each!(self, Matrix, view => view[[row, column]].to_f64())
    }

    /// Copies `columns` of one row.
    pub(crate) fn read<R: Real>(&self, row: usize, columns: Range<usize>, to: &mut [R]) {
        let columns = ndarray::Slice::from(columns);
        let axis = ndarray::Axis(0);
        each!(self, Matrix, view => widen(view.row(row).slice_axis(axis, columns), to))
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

    /// One element, `None` beyond the end.
    pub fn get(&self, index: usize) -> Option<f64> {
        each!(self, Vector, view => view.get(index).map(|x| x.to_f64()))
    }

    /// One element.
    pub(crate) fn at(&self, index: usize) -> f64 {
        each!(self, Vector, view => view[index].to_f64())
    }

    /// All elements.
    pub(crate) fn to_vec<R: Real>(self) -> Vec<R> {
        let mut to = vec![R::ZERO; self.len()];
        each!(self, Vector, view => widen(view, &mut to));
        to
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

fn widen<T: Element, R: Real>(from: ArrayView1<'_, T>, to: &mut [R]) {
    match from.as_slice() {
        Some(slice) => R::widen(slice, to),
        None => {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = R::from_f64(from.to_f64());
            }
        }
    }
}

pub(crate) use each;
