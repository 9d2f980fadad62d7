//! Matrices cut into pieces, each for one task.

use ndarray::{ArrayViewMut2, Axis};

/// Pieces of so many rows (or columns), and what is left over.
pub(crate) fn split<'a, R>(
    matrix: ArrayViewMut2<'a, R>,
    axis: Axis,
    size: usize,
) -> Vec<ArrayViewMut2<'a, R>> {
    let mut pieces = Vec::with_capacity(matrix.len_of(axis).div_ceil(size));
    let mut rest = matrix;
    while rest.len_of(axis) > size {
        let (piece, tail) = rest.split_at(axis, size);
        pieces.push(piece);
        rest = tail;
    }
    if rest.len_of(axis) > 0 {
        pieces.push(rest);
    }
    pieces
}
