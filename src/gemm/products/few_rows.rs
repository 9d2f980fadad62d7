//! Logits of few rows, for which packing the classifier would take longer than the products.

use ndarray::ArrayViewMut2;

use super::super::dispatch::Dispatch;
use super::super::format::Format;
use super::super::kernels::{
    self, Gathered, Job, Lanes, Lines, Steps, empty, finish, finish_half, with_height,
};
use super::super::layout::{PANEL, steps_length};
use super::super::store::Store;
use super::panels::{Named, Panels};
use super::prefetch::Prefetch;
use super::tile::{Target, over_panels};
use crate::simd::Isa;

/// `to[i, j] = Σ_k left[names[i], k] · right[j][k]` for few rows: nothing is packed, and the sums run in
/// lanes along k. Rows of `to` are 32 numbers apart; the depth is of whole panels.
pub(crate) fn few_products<F: Dispatch>(
    isa: Isa,
    left: Panels<'_, F>,
    names: Named<'_>,
    right: &[&[F]],
    to: &mut [F::Sum],
) {
    let depth = right.first().map_or(0, |row| row.len());
    assert!(depth.is_multiple_of(PANEL) && right.len() <= PANEL, "whole panels");
    assert!(right.iter().all(|row| row.len() == depth), "rows of one depth");
    assert!(left.count() >= depth / PANEL, "the left factor's panels");
    assert!(names.iter().all(|&name| (name as usize) < left.height), "rows of the panels");
    assert!(to.len() >= names.len() * PANEL, "rows of the destination");
    if !right.is_empty() {
        F::dispatch(isa, FewProducts { left, names, right, to });
    }
}

struct FewProducts<'a, F: Format> {
    left: Panels<'a, F>,
    names: Named<'a>,
    right: &'a [&'a [F]],
    to: &'a mut [F::Sum],
}

/// Rows, and columns, of a tile of [`FewProducts`]: 16 chains of sums, where two multiply-adds a cycle of
/// four cycles each need 8. With four of either factor these fit 32 registers; not measured apart.
const FEW: usize = 4;

impl<F: Format> Job<F> for FewProducts<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        let Self { left, names, right, to } = self;
        let numbers = L::WIDTH * F::DEPTH;
        for (i, names) in names.chunks(FEW).enumerate() {
            for (j, right) in right.chunks(FEW).enumerate() {
                // Where there are fewer, the last is taken again.
                let mut rows = [left.data.as_ptr(); FEW];
                let mut others = [right[0].as_ptr(); FEW];
                for at in 0..FEW {
                    let name = names[at.min(names.len() - 1)] as usize;
                    rows[at] = rows[at].wrapping_add(left.at(0, name));
                    others[at] = right[at.min(right.len() - 1)].as_ptr();
                }
                let mut tile = [[lanes.zero(); FEW]; FEW];
                for q in 0..right[0].len() / PANEL {
                    for part in (0..PANEL).step_by(numbers) {
                        // SAFETY: `few_products` has asserted that the rows are in the panels, and
                        // that the others are as long.
                        unsafe {
                            let b = [
                                lanes.load(others[0].add(q * PANEL + part)),
                                lanes.load(others[1].add(q * PANEL + part)),
                                lanes.load(others[2].add(q * PANEL + part)),
                                lanes.load(others[3].add(q * PANEL + part)),
                            ];
                            for (row, sums) in rows.iter().zip(&mut tile) {
                                let a = lanes.load(row.add(left.at(q, 0) + part));
                                sums[0] = lanes.multiply_add(a, b[0], sums[0]);
                                sums[1] = lanes.multiply_add(a, b[1], sums[1]);
                                sums[2] = lanes.multiply_add(a, b[2], sums[2]);
                                sums[3] = lanes.multiply_add(a, b[3], sums[3]);
                            }
                        }
                    }
                }
                for (at, sums) in tile.into_iter().enumerate().take(names.len()) {
                    let to = &mut to[(i * FEW + at) * PANEL + j * FEW..];
                    for (to, &sums) in to.iter_mut().zip(&sums).take(right.len()) {
                        *to = lanes.total(sums);
                    }
                }
            }
        }
    }
}

/// `to[i, j] = Σ_k left[i·stride + k] · right[j, k]`, each with the bits of [`row_products`](super::row_products): logits of
/// few rows, where packing the classifier would take longer than the products. The left factor is
/// read as it stands; where it has more rows than `to`, those are brought nearer. The right one is
/// packed in steps. `to` has whole panels of columns.
pub(crate) fn line_products<F: Dispatch>(
    isa: Isa,
    (left, stride): (&[F], usize),
    depth: usize,
    (right, columns): (&[F], usize),
    to: &mut ArrayViewMut2<'_, F::Sum>,
) {
    let rows = to.dim().0;
    assert!(depth.is_multiple_of(F::DEPTH) && depth <= stride, "whole steps");
    assert!(rows > 0 && left.len() >= (rows - 1) * stride + depth, "rows of the left factor");
    assert!(to.dim().1 >= columns.next_multiple_of(PANEL), "whole panels");
    let panels = columns.div_ceil(PANEL);
    assert!(right.len() >= panels * steps_length::<F>(depth), "the right factor's steps");
    let to = Target::new(to);
    F::dispatch(isa, LineProducts { left, stride, depth, right, columns, to });
}

struct LineProducts<'a, F: Format> {
    left: &'a [F],
    stride: usize,
    depth: usize,
    right: &'a [F],
    columns: usize,
    to: Target<F::Sum>,
}

impl<F: Format> Job<F> for LineProducts<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        with_height!(L::ROWS, M => self.tiles::<L, M>(lanes));
    }
}

impl<F: Format> LineProducts<'_, F> {
    #[inline(always)]
    fn tiles<L: Lanes<Format = F>, const M: usize>(self, lanes: L) {
        let Self { left, stride, depth, right, columns, to } = self;
        let wide = kernels::columns::<L>();
        let steps = steps_length::<F>(depth);
        let panels = 0..depth.div_ceil(PANEL);
        let places = columns.div_ceil(wide) * panels.len();
        // Where each row of the left factor is read once it is fetched as it is read; else all of the next
        // while these are multiplied.
        let once = columns <= wide;
        for first in (0..to.rows).step_by(M) {
            let next = (first + M) * stride;
            let following = &left[next.min(left.len())..(next + M * stride).min(left.len())];
            let following = if once { &[] } else { following };
            let mut fetched = Prefetch::piece(following).over(places);
            // Where there are fewer, the last is taken again.
            let mut bases = [left.as_ptr(); M];
            for (i, base) in bases.iter_mut().enumerate() {
                *base = base.wrapping_add((first + i).min(to.rows - 1) * stride);
            }
            let valid = to.rows - first;
            for column in (0..columns).step_by(wide) {
                let from = column / PANEL * steps + column % PANEL * F::DEPTH;
                // SAFETY: `line_products` has asserted that all these rows and steps are there, and
                // that the destination has whole panels.
                unsafe {
                    let right = |k| Steps(right.as_ptr().add(from + k * PANEL));
                    let lines = |q: usize| Lines(bases.map(|base| base.add(q * PANEL)));
                    let left = |q: usize| Gathered(bases.map(|base| base.add(q * PANEL)));
                    let (panels, none) = (panels.clone(), empty::<L, M>(lanes));
                    let to = to.tile(column, wide, valid, Store::Assign, |i| first + i);
                    // Each its own products, lest those of half a tile are computed whole.
                    let half = columns - column <= L::WIDTH;
                    let tile = match (half, once) {
                        (true, true) => {
                            let over = over_panels::<L, _, _, M>;
                            let tile = over(lanes, none, panels, depth, lines, right, &mut fetched);
                            finish_half::<L, M>(lanes, tile, to);
                            continue;
                        }
                        (true, false) => {
                            let over = over_panels::<L, _, _, M>;
                            let tile = over(lanes, none, panels, depth, left, right, &mut fetched);
                            finish_half::<L, M>(lanes, tile, to);
                            continue;
                        }
                        (false, true) => {
                            let over = over_panels::<L, _, _, M>;
                            over(lanes, none, panels, depth, lines, right, &mut fetched)
                        }
                        (false, false) => {
                            let over = over_panels::<L, _, _, M>;
                            over(lanes, none, panels, depth, left, right, &mut fetched)
                        }
                    };
                    finish::<L, M>(lanes, tile, to);
                }
            }
        }
    }
}
