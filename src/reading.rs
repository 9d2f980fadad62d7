//! Views whose element type is a value: how they are made, and what is read from them.

use ndarray::{
    ArrayBase, ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis, Data, DataMut, Ix1, Ix2,
    Slice,
};
use std::ops::Range;

use crate::element::{Element, Real};
use crate::matrix::{Matrix, MatrixMut, Vector, VectorMut, each};

impl<'a, T: Element> From<ArrayView2<'a, T>> for Matrix<'a> {
    fn from(view: ArrayView2<'a, T>) -> Self {
        T::matrix(view)
    }
}

impl<'a, T: Element, S: Data<Elem = T>> From<&'a ArrayBase<S, Ix2>> for Matrix<'a> {
    fn from(array: &'a ArrayBase<S, Ix2>) -> Self {
        T::matrix(array.view())
    }
}

impl<'a, T: Element> From<ArrayView1<'a, T>> for Vector<'a> {
    fn from(view: ArrayView1<'a, T>) -> Self {
        T::vector(view)
    }
}

impl<'a, T: Element, S: Data<Elem = T>> From<&'a ArrayBase<S, Ix1>> for Vector<'a> {
    fn from(array: &'a ArrayBase<S, Ix1>) -> Self {
        T::vector(array.view())
    }
}

impl<'a, T: Element> From<ArrayViewMut2<'a, T>> for MatrixMut<'a> {
    fn from(view: ArrayViewMut2<'a, T>) -> Self {
        T::matrix_view_mut(view)
    }
}

impl<'a, T: Element, S: DataMut<Elem = T>> From<&'a mut ArrayBase<S, Ix2>> for MatrixMut<'a> {
    fn from(array: &'a mut ArrayBase<S, Ix2>) -> Self {
        T::matrix_view_mut(array.view_mut())
    }
}

impl<'a, T: Element, S: DataMut<Elem = T>> From<&'a mut ArrayBase<S, Ix1>> for VectorMut<'a> {
    fn from(array: &'a mut ArrayBase<S, Ix1>) -> Self {
        T::vector_view_mut(array.view_mut())
    }
}

impl<'a, T: Element> From<ArrayViewMut1<'a, T>> for VectorMut<'a> {
    fn from(view: ArrayViewMut1<'a, T>) -> Self {
        T::vector_view_mut(view)
    }
}

impl Matrix<'_> {
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
        let columns = Slice::from(columns);
        let axis = Axis(0);
        each!(self, Matrix, view => widen(view.row(row).slice_axis(axis, columns), to))
    }
}

impl Vector<'_> {
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
