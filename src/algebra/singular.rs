//! Singular values.

use faer::diag::DiagMut;
use faer::dyn_stack::MemStack;
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{MatRef, Spec};
use ndarray::ArrayView2;

use super::{no_convergence, parallelism, scratch, zeros};
use crate::Result;

/// The singular values of a matrix in descending order: as many as its shorter side, zeros included.
///
/// A tall matrix is reduced to its triangular factor first. Each value is off by a small multiple of
/// the rounding unit times the *largest* one.
pub(crate) fn singular_values(matrix: ArrayView2<'_, f64>) -> Result<Vec<f64>> {
    let (rows, columns) = matrix.dim();
    let mut data = zeros(rows, columns)?;
    for (to, from) in data.iter_mut().zip(matrix.t().iter()) {
        *to = *from;
    }
    singular_values_of_columns(&data, rows, rows, columns)
}

/// The same, of a matrix whose columns stand one after the other, `stride` numbers apart.
pub(crate) fn singular_values_of_columns(
    data: &[f64],
    stride: usize,
    rows: usize,
    columns: usize,
) -> Result<Vec<f64>> {
    let mut values = zeros(rows.min(columns), 1)?;
    if values.is_empty() {
        return Ok(values);
    }
    let matrix = MatRef::from_column_major_slice_with_stride(data, rows, columns, stride);
    let (par, no) = (parallelism(), ComputeSvdVectors::No);
    let params: Spec<_, f64> = Spec::default();
    let mut memory = scratch(svd_scratch::<f64>(rows, columns, no, no, par, params))?;
    let to = DiagMut::from_slice_mut(&mut values);
    svd(matrix, to, None, None, par, MemStack::new(&mut memory), params)
        .map_err(|_| no_convergence("singular value decomposition"))?;
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(values)
}
