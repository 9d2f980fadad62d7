//! Logits of a row or a few, which take as long as reading the classifier.

use ndarray::ArrayViewMut2;

use super::super::dispatch::Dispatch;
use super::super::format::Format;
use super::super::kernels::{Columns, Job, Lanes, Steps, accumulate, empty, finish_half};
use super::super::layout::PANEL;
use super::super::store::Store;
use super::tile::Target;
use crate::simd::Isa;

/// Rows that are so few that their products are not worth more than one transposition of the classifier. On
/// Zen 5 (f32, D = 2304) a core made 46 GB/s of it with four of them out of its caches and 37 with eight,
/// where 12 rows of the classifier that are broadcast number by number are at 27, whatever the rows; two cores
/// share 31.
pub(crate) const THIN: usize = 4;

/// Steps that are transposed before they are multiplied: 4 KiB of what is used, which stay in the first cache.
const SLICE: usize = 64;
/// Bytes of each row of the classifier that are fetched ahead. 256, 512, 1024 and 2048 were tried: 512 came
/// within 4 % of what reading alone takes, the others within 10 to 25 %.
const AHEAD: usize = 512;

/// `to[i, j] = Σ_k left[k, i] · right[j·depth + k]`, each with the bits of
/// [`row_products`](super::row_products): logits of at most [`THIN`] rows. The left factor is a panel packed in
/// steps, the right one is read as it stands, once, and transposed on the way.
pub(crate) fn thin_products<F: Dispatch>(
    isa: Isa,
    left: &[F],
    right: &[F],
    depth: usize,
    to: &mut ArrayViewMut2<'_, F::Sum>,
) {
    let (rows, columns) = to.dim();
    assert!(rows <= THIN && depth.is_multiple_of(F::DEPTH), "few rows, whole steps");
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
            _ => self.tiles::<L, THIN>(lanes),
        }
    }
}

impl<F: Format> ThinProducts<'_, F> {
    #[inline(always)]
    fn tiles<L: Lanes<Format = F>, const M: usize>(self, lanes: L) {
        let Self { left, right, depth, to } = self;
        let steps = depth / F::DEPTH;
        // As many steps of 32 of the longest, pairs.
        let mut slice = [F::default(); 2 * SLICE * PANEL];
        for first in (0..to.columns).step_by(L::WIDTH) {
            let columns = L::WIDTH.min(to.columns - first);
            let rows = &right[first * depth..(first + columns) * depth];
            let mut tile = empty::<L, M>(lanes);
            for begin in (0..steps).step_by(SLICE) {
                let steps = begin..(begin + SLICE).min(steps);
                transpose::<F, L>(lanes, right, first, rows, depth, steps.clone(), &mut slice);
                // SAFETY: `thin_products` has asserted that a panel has a lane for each of M rows and a
                // step for each of these; so has the slice for the columns.
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
                    let mut edge = [F::Sum::default(); THIN * PANEL];
                    let lines = Target::lines(&mut edge).tile(0, L::WIDTH, M, Store::Assign, |i| i);
                    finish_half::<L, M>(lanes, tile, lines);
                    to.copy(first, columns, &edge);
                }
            }
        }
    }
}

/// Puts some steps of these rows of the right factor side by side, and fetches what comes after them.
#[inline(always)]
fn transpose<F: Format, L: Lanes<Format = F>>(
    lanes: L,
    right: &[F],
    first: usize,
    rows: &[F],
    depth: usize,
    steps: std::ops::Range<usize>,
    slice: &mut [F; 2 * SLICE * PANEL],
) {
    let count = rows.len() / depth.max(1);
    let block = L::TRANSPOSED;
    let mut done = steps.start;
    if block > 0 && count == block {
        let ahead = AHEAD / size_of::<F>();
        while done + block <= steps.end {
            let at = done * F::DEPTH;
            // Beyond the end of a row stands the beginning of the next of these rows, which was read long
            // ago: there the next rows are meant.
            let next = if at + ahead < depth { 0 } else { (count - 1) * depth };
            let soon = right.as_ptr().wrapping_add(first * depth + at + ahead + next);
            for i in 0..block {
                lanes.prefetch(soon.wrapping_add(i * depth));
            }
            // SAFETY: `block` rows have `block` steps from here on, and the slice has room for each.
            unsafe {
                let from = |i: usize| rows.as_ptr().add(i * depth + at);
                let to = slice.as_mut_ptr().add((done - steps.start) * PANEL * F::DEPTH);
                lanes.transpose(from, to);
            }
            done += block;
        }
    }
    for (j, row) in rows.chunks(depth.max(1)).enumerate() {
        for step in done..steps.end {
            let from = &row[step * F::DEPTH..(step + 1) * F::DEPTH];
            let at = ((step - steps.start) * PANEL + j) * F::DEPTH;
            slice[at..at + F::DEPTH].copy_from_slice(from);
        }
    }
}
