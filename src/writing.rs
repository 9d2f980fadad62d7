//! What is written to views whose element type is a value.

use ndarray::s;
use std::ops::Range;

use crate::element::{Element, Real};
use crate::matrix::{MatrixMut, VectorMut, each};

/// How a new value joins what stands in an array.
pub(crate) fn put<T: Element>(to: &mut T, value: f64, accumulate: bool) {
    *to = T::from_f64(if accumulate { to.to_f64() + value } else { value });
}

/// Sets everything to 0.
pub(crate) fn clear(matrix: &mut MatrixMut<'_>) {
    each!(matrix, MatrixMut, view => view.fill(Element::from_f64(0.0)))
}

/// Sets everything to 0.
pub(crate) fn clear_vector(vector: &mut VectorMut<'_>) {
    each!(vector, VectorMut, view => view.fill(Element::from_f64(0.0)))
}

/// Puts rows that were computed into rows of the caller's.
pub(crate) fn put_row<R: Real>(
    matrix: &mut MatrixMut<'_>,
    row: usize,
    columns: Range<usize>,
    values: &[R],
    accumulate: bool,
) {
    each!(matrix, MatrixMut, view => {
        for (to, value) in view.slice_mut(s![row, columns]).iter_mut().zip(values) {
            put(to, value.to_f64(), accumulate);
        }
    })
}

/// Puts numbers that were computed into a range of the caller's.
pub(crate) fn put_vector(
    vector: &mut VectorMut<'_>,
    first: usize,
    values: &[f64],
    accumulate: bool,
) {
    each!(vector, VectorMut, view => {
        for (to, &value) in view.slice_mut(s![first..first + values.len()]).iter_mut().zip(values) {
            put(to, value, accumulate);
        }
    })
}
