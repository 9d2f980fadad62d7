//! Logits of a row or a few, for which the classifier is transposed while it is read.

use ndarray::ArrayViewMut2;
use std::ops::Range;

use super::super::dispatch::Dispatch;
use super::super::format::Format;
use super::super::kernels::{Columns, Job, Lanes, Left, Steps, accumulate, empty, finish_half};
use super::super::layout::PANEL;
use super::super::store::Store;
use super::tile::Target;
use crate::simd::Isa;

/// Rows that are so few that their products are not worth more than one transposition of the classifier. On Zen
/// 5 (AVX-512, f32, D = 2304) a core makes 65 GB/s of it with one of them out of its caches, 62 with four, 41 with
/// eight, 32 with twelve and 25 with sixteen; where rows of the classifier are broadcast number by number it makes
/// 27, whatever the rows. Blocks of eight numbers have half of the registers for sums: not measured apart.
pub(crate) fn thin_rows<F: Format>(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(_) if size_of::<F>() < size_of::<f64>() => MOST,
        _ => FEW,
    }
}

/// What [`thin_rows`] is where fewer than 16 numbers are transposed at once.
const FEW: usize = 4;
/// The most that it is, and so many are transposed at once there.
const MOST: usize = 16;

/// Steps that are copied before they are multiplied where they are no whole block.
const SLICE: usize = 64;
/// Bytes of each row of the classifier that are fetched ahead. Of 256, 512 and 1024 none was slower than another
/// beyond what two runs differ by.
const AHEAD: usize = 512;

/// `to[i, j] = Σ_k left[k, i] · right[j·depth + k]`, each with the bits of
/// [`row_products`](super::row_products): logits of at most [`thin_rows`]. The left factor is a panel packed in
/// steps, the right one is read as it stands, once, and transposed on the way.
pub(crate) fn thin_products<F: Dispatch>(
    isa: Isa,
    left: &[F],
    right: &[F],
    depth: usize,
    to: &mut ArrayViewMut2<'_, F::Sum>,
) {
    let (rows, columns) = to.dim();
    assert!(rows <= thin_rows::<F>(isa) && depth.is_multiple_of(F::DEPTH), "few rows, whole steps");
    assert!(left.len() >= depth * PANEL, "the left factor's steps");
    assert!(right.len() >= columns * depth, "rows of the right factor");
    let to = Target::new(to);
    F::dispatch(isa, ThinProducts { left, right, depth, to });
}

struct ThinProducts<'a, F: Format> {
    left: &'a [F],
    right: &'a [F],
    depth: usize,
    to: Target<F::Sum>,
}

impl<F: Format> Job<F> for ThinProducts<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        match self.to.rows {
            0 => {}
            1 => self.tiles::<L, 1>(lanes),
            2 => self.tiles::<L, 2>(lanes),
            3..=FEW => self.tiles::<L, FEW>(lanes),
            _ if L::TRANSPOSED < MOST => unreachable!("no more rows than `thin_rows`"),
            5..=8 => self.tiles::<L, 8>(lanes),
            9..=12 => self.tiles::<L, 12>(lanes),
            _ => self.tiles::<L, MOST>(lanes),
        }
    }
}

impl<F: Format> ThinProducts<'_, F> {
    #[inline(always)]
    fn tiles<L: Lanes<Format = F>, const M: usize>(self, lanes: L) {
        let Self { left, right, depth, to } = self;
        let steps = depth / F::DEPTH;
        let mut slice = [F::default(); 2 * SLICE * PANEL];
        let (block, ahead) = (L::TRANSPOSED, AHEAD / size_of::<F>());
        for first in (0..to.columns).step_by(L::WIDTH) {
            let columns = L::WIDTH.min(to.columns - first);
            let rows = &right[first * depth..(first + columns) * depth];
            let mut tile = empty::<L, M>(lanes);
            let whole = if block > 0 && columns == block { steps / block * block } else { 0 };
            for step in (0..whole).step_by(block.max(1)) {
                let at = step * F::DEPTH;
                // Beyond the end of a row stands the beginning of the next of these rows, which was read
                // long ago: there the next rows are meant.
                let next = if at + ahead < depth { 0 } else { (columns - 1) * depth };
                let soon = rows.as_ptr().wrapping_add(at + ahead + next);
                for i in 0..block {
                    lanes.prefetch(soon.wrapping_add(i * depth));
                }
                // SAFETY: `block` rows have `block` steps from here on; `thin_products` has asserted that
                // a panel has a lane for each of M rows and a step for each of these.
                unsafe {
                    let transposed = lanes.transposed(|i| rows.as_ptr().add(i * depth + at));
                    let left = Columns(left.as_ptr().add(step * PANEL * F::DEPTH));
                    for k in 0..block {
                        for (i, sums) in tile.iter_mut().enumerate() {
                            let a = lanes.broadcast(left.at(i, k));
                            sums[0] = lanes.multiply_add(a, transposed[k], sums[0]);
                        }
                    }
                }
            }
            for begin in (whole..steps).step_by(SLICE) {
                let steps = begin..(begin + SLICE).min(steps);
                copy::<F>(rows, depth, steps.clone(), &mut slice);
                // SAFETY: as above; the slice has a step for each of these and a lane for each column.
                tile = unsafe {
                    let left = Columns(left.as_ptr().add(begin * PANEL * F::DEPTH));
                    let right = Steps(slice.as_ptr());
                    accumulate::<L, M>(lanes, tile, steps.len(), left, right)
                };
            }
            // SAFETY: the destination has these rows, and as many columns as the tile has lanes or is
            // written in part.
            unsafe {
                if columns == L::WIDTH {
                    let to = to.tile(first, L::WIDTH, to.rows, Store::Assign, |i| i);
                    finish_half::<L, M>(lanes, tile, to);
                } else {
                    let mut edge = [F::Sum::default(); MOST * PANEL];
                    let lines = Target::lines(&mut edge).tile(0, L::WIDTH, M, Store::Assign, |i| i);
                    finish_half::<L, M>(lanes, tile, lines);
                    to.copy(first, columns, &edge);
                }
            }
        }
    }
}

/// Puts some steps of these rows side by side.
#[inline(always)]
fn copy<F: Format>(
    rows: &[F],
    depth: usize,
    steps: Range<usize>,
    slice: &mut [F; 2 * SLICE * PANEL],
) {
    for (j, row) in rows.chunks(depth.max(1)).enumerate() {
        for (i, step) in steps.clone().enumerate() {
            let from = &row[step * F::DEPTH..(step + 1) * F::DEPTH];
            let at = (i * PANEL + j) * F::DEPTH;
            slice[at..at + F::DEPTH].copy_from_slice(from);
        }
    }
}
