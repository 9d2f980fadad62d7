//! Matrices into panels.

use std::ops::Range;

use super::dispatch::Dispatch;
use super::format::Format;
use super::kernels::{Job, Lanes};
use super::layout::{PANEL, steps_length};
use crate::simd::Isa;

/// Puts rows of a matrix into panels `to` of `height` rows, from row `first` on. What lies beyond
/// the columns is zero.
pub(crate) fn pack_rows<'r, F: Format>(
    rows: impl Iterator<Item = &'r [F]>,
    first: usize,
    height: usize,
    to: &mut [F],
) {
    for (row, from) in (first..).zip(rows) {
        for (q, from) in from.chunks(PANEL).enumerate() {
            let at = (q * height + row) * PANEL;
            let to = &mut to[at..at + PANEL];
            match <&[F; PANEL]>::try_from(from) {
                Ok(whole) => to.copy_from_slice(whole),
                Err(_) => {
                    to[..from.len()].copy_from_slice(from);
                    to[from.len()..].fill(F::default());
                }
            }
        }
    }
}

/// Interleaves the rows of panels in pairs, where that is what a step is; `from` and `to` are panels
/// of the same even height. Nothing where a step is one number.
pub(crate) fn pack_pairs<F: Dispatch>(isa: Isa, from: &[F], to: &mut [F]) {
    assert!(from.len() == to.len() && from.len().is_multiple_of(2 * PANEL), "pairs of rows");
    if F::DEPTH > 1 {
        F::dispatch(isa, PackPairs { from, to });
    }
}

struct PackPairs<'a, F> {
    from: &'a [F],
    to: &'a mut [F],
}

impl<F: Format> Job<F> for PackPairs<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        let to = self.to.chunks_exact_mut(2 * PANEL);
        for (from, to) in self.from.chunks_exact(2 * PANEL).zip(to) {
            let from = from.as_ptr();
            // SAFETY: both chunks are two rows.
            unsafe { lanes.interleave([from, from.add(PANEL)], to.as_mut_ptr()) };
        }
    }
}

/// Packs at most 32 rows of `depth` numbers in steps along k: step k of row j at `k·32 + j`.
pub(crate) fn pack_steps<F: Dispatch>(isa: Isa, rows: &[&[F]], depth: usize, to: &mut [F]) {
    assert!(rows.len() <= PANEL && rows.iter().all(|row| row.len() == depth), "rows of a panel");
    let to = &mut to[..steps_length::<F>(depth)];
    F::dispatch(isa, PackSteps { rows, depth, to });
}

struct PackSteps<'a, F> {
    rows: &'a [&'a [F]],
    depth: usize,
    to: &'a mut [F],
}

impl<F: Format> Job<F> for PackSteps<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        let Self { rows, depth, to } = self;
        let steps = depth / F::DEPTH;
        let block = L::TRANSPOSED;
        let whole = |count: usize| count.checked_div(block).unwrap_or(0) * block;
        let (done, lanes_done) = (whole(steps), whole(rows.len()));
        if block > 0 {
            for first in (0..lanes_done).step_by(block) {
                for k in (0..done).step_by(block) {
                    // SAFETY: `block` rows from `first` on have `block` steps from k on, and the
                    // panel has room for each.
                    unsafe {
                        let from = |i: usize| rows[first + i].as_ptr().add(k * F::DEPTH);
                        let to = to.as_mut_ptr().add((k * PANEL + first) * F::DEPTH);
                        lanes.transpose(from, to);
                    }
                }
            }
        }
        let all = 0..steps;
        for (j, row) in rows.iter().enumerate() {
            copy(row, if j < lanes_done { done..steps } else { all.clone() }, j, to);
            // Half a step at the end.
            for d in steps * F::DEPTH..depth.next_multiple_of(F::DEPTH) {
                let value = row.get(d).copied().unwrap_or_default();
                to[(d / F::DEPTH * PANEL + j) * F::DEPTH + d % F::DEPTH] = value;
            }
        }
        for j in rows.len()..PANEL {
            for step in to.chunks_exact_mut(PANEL * F::DEPTH) {
                step[j * F::DEPTH..(j + 1) * F::DEPTH].fill(F::default());
            }
        }
    }
}

/// Copies some steps of a row one by one.
#[inline(always)]
fn copy<F: Format>(row: &[F], steps: Range<usize>, j: usize, to: &mut [F]) {
    let from = row[steps.start * F::DEPTH..steps.end * F::DEPTH].chunks_exact(F::DEPTH);
    let to = to[steps.start * PANEL * F::DEPTH..].chunks_exact_mut(PANEL * F::DEPTH);
    for (to, from) in to.zip(from) {
        to[j * F::DEPTH..(j + 1) * F::DEPTH].copy_from_slice(from);
    }
}

/// Rounds rows of a tile (32 numbers every `stride`) into rows of a panel, and where steps are pairs
/// into `pairs` too, two rows in each.
pub(crate) fn put_rows<F: Dispatch>(
    isa: Isa,
    tile: &[F::Sum],
    stride: usize,
    rows: &mut [F],
    pairs: &mut [F],
) {
    let count = rows.len() / PANEL;
    assert!(count.is_multiple_of(2) && rows.len() == count * PANEL, "pairs of rows");
    assert!(tile.len() >= (count - 1) * stride + PANEL, "rows of the tile");
    assert!(F::DEPTH == 1 || pairs.len() == rows.len(), "room for the pairs");
    F::dispatch(isa, PutRows { tile, stride, rows, pairs });
}

struct PutRows<'a, F: Format> {
    tile: &'a [F::Sum],
    stride: usize,
    rows: &'a mut [F],
    pairs: &'a mut [F],
}

impl<F: Format> Job<F> for PutRows<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        let Self { tile, stride, rows, pairs } = self;
        for i in (0..rows.len() / PANEL).step_by(2) {
            // SAFETY: `put_rows` has asserted that tile, rows and pairs hold two more rows.
            unsafe {
                let from = tile.as_ptr().add(i * stride);
                let to = rows.as_mut_ptr().add(i * PANEL);
                let pairs = pairs.as_mut_ptr().wrapping_add(i * PANEL);
                lanes.put([from, from.add(stride)], [to, to.add(PANEL)], pairs);
            }
        }
    }
}
