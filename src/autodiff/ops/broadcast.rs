//! Arrays over more axes than they have, and back.

use ndarray::IxDyn;

use crate::autodiff::array::{self, Shared};
use crate::autodiff::lanes;
use crate::element::Real;
use crate::simd::Isa;

/// The array repeated to a shape; the array itself where it has it.
pub(super) fn expand<T: Real>(array: &Shared<T>, shape: &[usize]) -> Shared<T> {
    if array.shape() == shape {
        return array.clone();
    }
    let wide = array.broadcast(IxDyn(shape)).expect("a shape that goes with it");
    lanes::standard(wide.to_shared())
}

/// Σ x over some axes, which are left with length 1; of an array in standard layout.
pub(super) fn sum_over<T: Real>(isa: Isa, x: &Shared<T>, axes: &[usize]) -> Shared<T> {
    let (kept, summed): (Vec<usize>, Vec<usize>) =
        (0..x.ndim()).partition(|axis| !axes.contains(axis));
    let size = |axes: &[usize]| -> usize { axes.iter().map(|&axis| x.shape()[axis]).product() };
    let mut shape = x.shape().to_vec();
    for &axis in axes {
        shape[axis] = 1;
    }
    let (rows, width) = (size(&kept), size(&summed));
    if rows == 1 {
        let sum = T::from_f64(lanes::total(isa, array::slice(x)));
        return array::shared(&shape, vec![sum]);
    }
    let first = summed.iter().all(|axis| kept.iter().all(|kept| axis < kept));
    if first && rows > 0 && !summed.is_empty() {
        return array::shared(&shape, lanes::column_sums(isa, array::slice(x), rows));
    }
    let order = [kept, summed].concat();
    let rows_first = lanes::standard(x.clone().permuted_axes(IxDyn(&order)));
    let mut sums = vec![T::ZERO; rows];
    if width > 0 {
        lanes::row_sums(isa, array::slice(&rows_first), width, &mut sums);
    }
    array::shared(&shape, sums)
}
