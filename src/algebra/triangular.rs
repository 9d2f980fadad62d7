//! The triangular factor of an orthogonal decomposition.

use faer::dyn_stack::MemStack;
use faer::linalg::qr::no_pivoting::factor::{
    qr_in_place, qr_in_place_scratch, recommended_block_size,
};
use faer::{MatMut, Spec};

use super::{parallelism, scratch, zeros};
use crate::Result;

/// Replaces the top of a matrix by R of its decomposition QR: min(rows, columns) rows, zeros below
/// the diagonal. Columns stand one after the other, `stride` numbers apart; what is below R is lost.
pub(crate) fn triangular_factor(
    data: &mut [f64],
    stride: usize,
    rows: usize,
    columns: usize,
) -> Result<()> {
    let height = rows.min(columns);
    if height == 0 {
        return Ok(());
    }
    let par = parallelism();
    let params: Spec<_, f64> = Spec::default();
    let block = recommended_block_size::<f64>(rows, columns).clamp(1, height);
    let mut coefficients = zeros(block, height)?;
    let request = qr_in_place_scratch::<f64>(rows, columns, block, par, params);
    let mut memory = scratch(request)?;
    qr_in_place(
        MatMut::from_column_major_slice_with_stride_mut(data, rows, columns, stride),
        MatMut::from_column_major_slice_mut(&mut coefficients, block, height),
        par,
        MemStack::new(&mut memory),
        params,
    );
    for (column, values) in data.chunks_mut(stride).take(height).enumerate() {
        values[column + 1..height].fill(0.0);
    }
    Ok(())
}
