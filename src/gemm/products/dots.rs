//! Products of single rows: the logits that must be known before their tile is.

use super::super::dispatch::Dispatch;
use super::super::format::Format;
use super::super::kernels::{Job, Lanes};
use super::super::layout::PANEL;
use crate::simd::Isa;

/// `to[i] = Σ_k left[i·depth + k] · right[i·depth + k]`, each with the bits of [`row_products`](super::row_products).
/// `depth` is a multiple of the format's.
pub(crate) fn dots<F: Dispatch>(
    isa: Isa,
    left: &[F],
    right: &[F],
    depth: usize,
    to: &mut [F::Sum],
) {
    assert!(depth.is_multiple_of(F::DEPTH), "whole steps");
    assert!(left.len() >= depth * to.len() && right.len() >= depth * to.len(), "rows for each");
    F::dispatch(isa, Dots { left, right, depth, to });
}

struct Dots<'a, F: Format> {
    left: &'a [F],
    right: &'a [F],
    depth: usize,
    to: &'a mut [F::Sum],
}

impl<F: Format> Job<F> for Dots<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        let Self { left, right, depth, to } = self;
        for (i, to) in to.iter_mut().enumerate() {
            let mut sums = lanes.zero();
            for k in (0..depth).step_by(F::DEPTH) {
                // SAFETY: `dots` has asserted that there are so many rows of so many numbers.
                unsafe {
                    let a = lanes.broadcast(left.as_ptr().add(i * depth + k));
                    let b = lanes.broadcast(right.as_ptr().add(i * depth + k));
                    sums = lanes.multiply_add(a, b, sums);
                }
            }
            let mut line = [F::Sum::default(); PANEL];
            // SAFETY: a vector is no wider than a panel.
            unsafe { lanes.store(line.as_mut_ptr(), sums) };
            *to = line[0];
        }
    }
}
