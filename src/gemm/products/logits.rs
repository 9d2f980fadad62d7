//! The products that make logits: rows of both factors.

use ndarray::ArrayViewMut2;

use super::super::depths::row_depth;
use super::super::dispatch::Dispatch;
use super::super::format::Format;
use super::super::kernels::{
    self, Gathered, Job, Lanes, Steps, empty, finish, resume, with_height,
};
use super::super::layout::{GROUP, PANEL, steps_length};
use super::super::store::Store;
use super::panels::{Panels, Rows};
use super::prefetch::Prefetch;
use super::tile::{Target, over_panels};
use crate::simd::{Caches, Isa};

/// Bytes of the right factor that are read again and again where k is not cut: the larger part of a second cache.
/// On Zen 4 and 5 (1 MiB) with D = 2304 in f32 that is two panels.
fn near(caches: Caches) -> usize {
    caches.second / 8 * 5
}

/// `to[i, j] = Σ_k left[rows[i], k] · right[j, k]`: logits. The right factor is packed in steps.
pub(crate) fn row_products<F: Dispatch>(
    isa: Isa,
    left: Panels<'_, F>,
    rows: Rows<'_>,
    depth: usize,
    (right, prefetch): (&[F], Prefetch<'_, F>),
    to: &mut ArrayViewMut2<'_, F::Sum>,
) {
    let count = rows.len();
    let panels = to.dim().1.div_ceil(PANEL);
    assert_eq!(to.dim().0, count, "a row for each");
    assert!(left.count() >= depth.div_ceil(PANEL), "the left factor's panels");
    assert!(right.len() >= panels * steps_length::<F>(depth), "the right factor's steps");
    match rows {
        // Kernels read whole groups.
        Rows::From(first, count) => {
            assert!(first + count.next_multiple_of(GROUP) <= left.height, "rows of the panels");
        }
        Rows::Named(names) => {
            assert!(count.is_multiple_of(GROUP), "whole groups");
            assert!(names.iter().all(|&row| (row as usize) < left.height), "rows of the panels");
        }
    }
    F::dispatch(isa, RowProducts { left, rows, depth, right, prefetch, to: Target::new(to) });
}

struct RowProducts<'a, F: Format> {
    left: Panels<'a, F>,
    rows: Rows<'a>,
    depth: usize,
    right: &'a [F],
    prefetch: Prefetch<'a, F>,
    to: Target<F::Sum>,
}

impl<F: Format> Job<F> for RowProducts<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        with_height!(L::ROWS, M => self.tiles::<L, M>(lanes));
    }
}

impl<F: Format> RowProducts<'_, F> {
    #[inline(always)]
    fn tiles<L: Lanes<Format = F>, const M: usize>(self, lanes: L) {
        let Self { left, rows, depth, right, prefetch, to } = self;
        let wide = kernels::columns::<L>();
        let tiles = to.columns.div_ceil(wide) * to.rows.div_ceil(M);
        let mut lines = prefetch.over(tiles * depth.div_ceil(PANEL));
        let steps = steps_length::<F>(depth);
        let all = depth.div_ceil(PANEL);
        let caches = Caches::in_use();
        let at_once = if L::CUT { row_depth::<F>(caches) / PANEL } else { all.max(1) };
        // What is read again and again: a panel in the first cache, else panels that stay in the second.
        let near = match at_once < all {
            true => PANEL,
            false => near(caches) / (steps * size_of::<F>()).max(1) * PANEL,
        };
        let near = near.clamp(PANEL, to.columns.max(PANEL));
        // A product of no depth is written, too.
        for begin in (0..all.max(1)).step_by(at_once) {
            let panels = begin..(begin + at_once).min(all);
            for (start, group) in (0..to.columns)
                .step_by(near)
                .flat_map(|start| (0..to.rows).step_by(GROUP).map(move |group| (start, group)))
            {
                for column in (start..to.columns.min(start + near)).step_by(wide) {
                    let from = column / PANEL * steps + column % PANEL * F::DEPTH;
                    // SAFETY: `row_products` has asserted that the steps are there.
                    let right = |k| Steps(unsafe { right.as_ptr().add(from + k * PANEL) });
                    for first in (group..to.rows.min(group + GROUP)).step_by(M) {
                        let valid = to.rows - first;
                        let to = to.tile(column, wide, valid, Store::Assign, |i| first + i);
                        // SAFETY: `row_products` has asserted that whole groups of these rows are in
                        // the panels, and that the destination has a row for each, which the panels before
                        // have written.
                        unsafe {
                            let tile = match begin {
                                0 => empty::<L, M>(lanes),
                                _ => resume::<L, M>(lanes, &to),
                            };
                            let tile = match rows {
                                Rows::From(row, _) => over_panels::<L, _, _, M>(
                                    lanes,
                                    tile,
                                    panels.clone(),
                                    depth,
                                    |q| left.rows(q, row + first, &panels),
                                    right,
                                    &mut lines,
                                ),
                                Rows::Named(names) => over_panels::<L, _, _, M>(
                                    lanes,
                                    tile,
                                    panels.clone(),
                                    depth,
                                    |q| {
                                        let names = &names[first..first + M];
                                        let panel = left.data.as_ptr().add(left.at(q, 0));
                                        let mut bases = [panel; M];
                                        for (base, &name) in bases.iter_mut().zip(names) {
                                            *base = panel.add(name as usize * PANEL);
                                        }
                                        Gathered(bases)
                                    },
                                    right,
                                    &mut lines,
                                ),
                            };
                            finish::<L, M>(lanes, tile, to);
                        }
                    }
                }
            }
        }
    }
}
