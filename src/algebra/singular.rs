//! Singular values.

use faer::dyn_stack::MemStack;
use faer::linalg::svd::bidiag::{bidiag_in_place, bidiag_in_place_scratch};
use faer::{MatMut, Spec};
use ndarray::ArrayView2;

use super::bidiagonal::bidiagonal_singular_values;
use super::{parallelism, scratch, triangular_factor, zeros};
use crate::Result;

/// The singular values of a matrix in descending order: as many as its shorter side, zeros included.
///
/// A tall matrix is reduced to its triangular factor first. Each value is off by a small multiple of
/// the rounding unit times the *largest* one.
pub(crate) fn singular_values(matrix: ArrayView2<'_, f64>) -> Result<Vec<f64>> {
    let wide = matrix.ncols() > matrix.nrows();
    let matrix = if wide { matrix.reversed_axes() } else { matrix };
    let (rows, columns) = matrix.dim();
    let mut data = zeros(rows, columns)?;
    for (to, from) in data.iter_mut().zip(matrix.t().iter()) {
        *to = *from;
    }
    let mut height = rows;
    if rows > 2 * columns {
        triangular_factor(&mut data, rows, rows, columns)?;
        height = columns;
    }
    reduce(&mut data, rows, height, columns)
}

/// The same, of a matrix whose columns stand one after the other, `stride` numbers apart, and are lost.
pub(crate) fn singular_values_in_place(
    data: &mut [f64],
    stride: usize,
    rows: usize,
    columns: usize,
) -> Result<Vec<f64>> {
    if rows >= columns {
        return reduce(data, stride, rows, columns);
    }
    let mut transposed = zeros(columns, rows)?;
    for (j, column) in data.chunks(stride).enumerate() {
        for (to, from) in transposed[j..].iter_mut().step_by(columns).zip(&column[..rows]) {
            *to = *from;
        }
    }
    reduce(&mut transposed, columns, columns, rows)
}

/// The same, of a matrix that is not wide.
fn reduce(data: &mut [f64], stride: usize, rows: usize, columns: usize) -> Result<Vec<f64>> {
    if columns == 0 {
        return Ok(Vec::new());
    }
    let par = parallelism();
    let params: Spec<_, f64> = Spec::default();
    let (mut left, mut right) = (zeros(1, columns)?, zeros(1, columns - 1)?);
    let mut memory = scratch(bidiag_in_place_scratch::<f64>(rows, columns, par, params))?;
    bidiag_in_place(
        MatMut::from_column_major_slice_with_stride_mut(data, rows, columns, stride),
        MatMut::from_column_major_slice_mut(&mut left, 1, columns),
        MatMut::from_column_major_slice_mut(&mut right, 1, columns - 1),
        par,
        MemStack::new(&mut memory),
        params,
    );
    let diagonal: Vec<f64> = (0..columns).map(|i| data[i * stride + i]).collect();
    let above: Vec<f64> = (1..columns).map(|i| data[i * stride + i - 1]).collect();
    Ok(bidiagonal_singular_values(&diagonal, &above))
}
