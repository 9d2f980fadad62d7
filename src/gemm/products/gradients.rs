//! The products that make gradients: G with the rows of the other factor, G transposed with them.

use ndarray::ArrayViewMut2;
use std::ops::Range;

use super::super::depths::{column_depth, row_depth};
use super::super::dispatch::Dispatch;
use super::super::format::Format;
use super::super::kernels::{
    self, Apart, Columns, Job, Lanes, Real, Steps, accumulate, empty, finish, with_height,
};
use super::super::layout::{GROUP, PANEL};
use super::super::store::Store;
use super::panels::{Named, Panels, Rows};
use super::prefetch::{Prefetch, PrefetchLines};
use super::tile::{Target, over_panels};
use crate::simd::{Caches, Isa};

/// `to[names[i], j] += Σ_k left[first + i, k] · right[row + k, j]`: a part of the hidden gradient.
/// `columns` are those of the right factor that `to` stands for, from the beginning of a panel on;
/// the rows of its panels stand in steps.
#[allow(clippy::too_many_arguments)]
pub(crate) fn add_rows<F: Dispatch>(
    isa: Isa,
    left: Panels<'_, F>,
    first: usize,
    depth: usize,
    (right, row): (Panels<'_, F>, usize),
    columns: Range<usize>,
    names: Named<'_>,
    prefetch: Prefetch<'_, F>,
    to: &mut ArrayViewMut2<'_, F::Sum>,
) {
    check_left(&left, first, depth, names, to.dim().0);
    assert!(row.is_multiple_of(F::DEPTH), "whole steps");
    check_right(&right, row + depth, &columns, to.dim().1);
    let (panels, to) = (0..depth.div_ceil(PANEL), Target::new(to));
    let right = RightRows::Panels(right, row);
    F::dispatch(isa, AddRows { left, first, panels, depth, right, columns, names, prefetch, to });
}

/// As [`add_rows`], where the right factor is rows of a matrix as it stands, each `stride` numbers
/// after the other. `depth` is of whole steps, `columns` of whole panels.
#[allow(clippy::too_many_arguments)]
pub(crate) fn add_rows_of_matrix<F: Dispatch>(
    isa: Isa,
    left: Panels<'_, F>,
    first: usize,
    depth: usize,
    (right, stride): (&[F], usize),
    columns: Range<usize>,
    names: Named<'_>,
    to: &mut ArrayViewMut2<'_, F::Sum>,
) {
    check_left(&left, first, depth, names, to.dim().0);
    assert!(depth.is_multiple_of(F::DEPTH), "whole steps");
    assert!(columns.start.is_multiple_of(PANEL) && columns.len() == to.dim().1, "columns");
    assert!(columns.len().is_multiple_of(PANEL), "whole panels");
    assert!(depth == 0 || right.len() >= (depth - 1) * stride + columns.end, "rows of the matrix");
    let (panels, to) = (0..depth.div_ceil(PANEL), Target::new(to));
    let (right, prefetch) = (RightRows::Matrix(right, stride), Prefetch::nothing());
    F::dispatch(isa, AddRows { left, first, panels, depth, right, columns, names, prefetch, to });
}

fn check_left<F: Format>(
    left: &Panels<'_, F>,
    first: usize,
    depth: usize,
    names: Named<'_>,
    rows: usize,
) {
    let padded = names.len().next_multiple_of(GROUP);
    assert!(first + padded <= left.height, "rows of the left factor");
    assert!(left.count() >= depth.div_ceil(PANEL), "the left factor's panels");
    assert!(names.iter().all(|&name| (name as usize) < rows), "rows of the destination");
}

/// Rows whose sums wait together while k goes on: whole tiles of every instruction set, 12 KiB of f32.
const WAITING_ROWS: usize = 8 * GROUP;

/// Where the rows of the right factor stand.
#[derive(Clone, Copy)]
enum RightRows<'a, F> {
    /// In panels, in steps, from this row on.
    Panels(Panels<'a, F>, usize),
    /// So many numbers apart.
    Matrix(&'a [F], usize),
}

fn check_right<F: Format>(
    right: &Panels<'_, F>,
    depth: usize,
    columns: &Range<usize>,
    width: usize,
) {
    assert!(depth.next_multiple_of(F::DEPTH) <= right.height, "rows of the right factor");
    assert!(columns.start.is_multiple_of(PANEL) && columns.len() == width, "columns");
    assert!(columns.end.div_ceil(PANEL) <= right.count(), "the right factor's panels");
}

struct AddRows<'a, F: Format> {
    left: Panels<'a, F>,
    first: usize,
    panels: Range<usize>,
    depth: usize,
    right: RightRows<'a, F>,
    columns: Range<usize>,
    names: Named<'a>,
    prefetch: Prefetch<'a, F>,
    to: Target<F::Sum>,
}

impl<F: Format> Job<F> for AddRows<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        with_height!(L::ROWS, M => self.tiles::<L, M>(lanes));
    }
}

impl<F: Format> AddRows<'_, F> {
    #[inline(always)]
    fn tiles<L: Lanes<Format = F>, const M: usize>(self, lanes: L) {
        let (rows, all) = (self.names.len(), self.panels.len());
        let tiles = self.to.columns.div_ceil(kernels::columns::<L>()) * rows.div_ceil(M);
        let mut lines = self.prefetch.over(tiles * all);
        let at_once = row_depth::<F>(Caches::in_use()) / PANEL;
        // The sums of the panels before wait here: added to the destination one by one they
        // would have other bits.
        let mut sums;
        let waiting = match L::CUT && all > at_once {
            true => {
                sums = [Real::<L>::default(); WAITING_ROWS * PANEL];
                Some(Target::lines(&mut sums))
            }
            false => None,
        };
        let (wide, high, deep) = match waiting {
            Some(_) => (PANEL, WAITING_ROWS, at_once),
            None => (self.to.columns.max(1), rows.max(1), all.max(1)),
        };
        for column in (0..self.to.columns).step_by(wide) {
            let columns = column..self.to.columns.min(column + wide);
            for row in (0..rows).step_by(high) {
                let rows = row..rows.min(row + high);
                for begin in (0..all.max(1)).step_by(deep) {
                    let (columns, rows) = (columns.clone(), rows.clone());
                    let panels = begin..(begin + deep).min(all);
                    self.part::<L, M>(lanes, columns, rows, panels, waiting, &mut lines);
                }
            }
        }
    }

    /// Some columns of some rows over some of the panels. What was summed before waits, and so does what
    /// these add, until the last panel.
    #[inline(always)]
    fn part<L: Lanes<Format = F>, const M: usize>(
        &self,
        lanes: L,
        within: Range<usize>,
        rows: Range<usize>,
        panels: Range<usize>,
        waiting: Option<Target<Real<L>>>,
        lines: &mut PrefetchLines<F>,
    ) {
        let Self { left, first, depth, right, ref columns, names, to, .. } = *self;
        let wide = kernels::columns::<L>();
        let last = panels.end == self.panels.len();
        for column in within.clone().step_by(wide) {
            let at = columns.start + column;
            for group in rows.clone().step_by(M) {
                // SAFETY: the callers have asserted that whole groups of these rows are in the
                // panels, that the destination has those that are named, and that the right
                // factor has the rows and columns. What waits has whole tiles of these rows.
                unsafe {
                    let left = |q| left.rows(q, first + group, &panels);
                    let wait = waiting.map(|waiting| {
                        let row = move |i| group - rows.start + i;
                        waiting.tile(column - within.start, wide, M, Store::Assign, row)
                    });
                    let tile = match &wait {
                        Some(wait) if panels.start > 0 => kernels::resume::<L, M>(lanes, wait),
                        _ => empty::<L, M>(lanes),
                    };
                    let valid = rows.end - group;
                    let row = |i: usize| names[group + i] as usize;
                    let to = to.tile(column, wide, valid, Store::Add, row);
                    if last {
                        kernels::expect::<L, M>(lanes, &to);
                    }
                    let over = panels.clone();
                    let tile = match right {
                        RightRows::Panels(right, row) => {
                            let from = right.at(at / PANEL, row) + at % PANEL * F::DEPTH;
                            let from = right.data.as_ptr().add(from);
                            let right = |k| Steps(from.add(k * PANEL));
                            over_panels::<L, _, _, M>(lanes, tile, over, depth, left, right, lines)
                        }
                        RightRows::Matrix(right, stride) => {
                            let from = right.as_ptr().add(at);
                            let right = |k| Apart(from.add(k * stride), stride);
                            over_panels::<L, _, _, M>(lanes, tile, over, depth, left, right, lines)
                        }
                    };
                    match wait {
                        Some(wait) if !last => finish::<L, M>(lanes, tile, wait),
                        _ => finish::<L, M>(lanes, tile, to),
                    }
                }
            }
        }
    }
}

/// `to[i, j] = Σ_k left[k, i] · right[rows[k], j]`, or added: a part of the classifier gradient.
///
/// `left` is one panel in steps along its rows, `columns` are those of the right factor. Rows that
/// are named stand in the right factor's panels one by one, others in steps too.
pub(crate) fn add_columns<F: Dispatch>(
    isa: Isa,
    left: &[F],
    right: Panels<'_, F>,
    rows: Rows<'_>,
    columns: Range<usize>,
    store: Store,
    to: &mut ArrayViewMut2<'_, F::Sum>,
) {
    let depth = rows.len().next_multiple_of(F::DEPTH);
    assert!(to.dim().0 <= PANEL, "columns of the left factor");
    assert!(left.len() >= depth * PANEL, "steps of the left factor");
    let within = match rows {
        Rows::From(first, count) => {
            first.is_multiple_of(F::DEPTH)
                && first + count.next_multiple_of(F::DEPTH) <= right.height
        }
        Rows::Named(names) => {
            assert!(names.len().is_multiple_of(F::DEPTH), "whole steps");
            names.iter().all(|&row| (row as usize) < right.height)
        }
    };
    assert!(within, "rows of the right factor");
    check_right(&right, 0, &columns, to.dim().1);
    let to = Target::new(to);
    F::dispatch(isa, AddColumns { left, right, rows, columns, store, to });
}

struct AddColumns<'a, F: Format> {
    left: &'a [F],
    right: Panels<'a, F>,
    rows: Rows<'a>,
    columns: Range<usize>,
    store: Store,
    to: Target<F::Sum>,
}

impl<F: Format> Job<F> for AddColumns<'_, F> {
    #[inline(always)]
    fn run<L: Lanes<Format = F>>(self, lanes: L) {
        let all = self.rows.len().div_ceil(F::DEPTH);
        let at_once = column_depth::<F>(Caches::in_use()) / F::DEPTH;
        let mut sums;
        let waiting = match L::CUT && all > at_once {
            true => {
                sums = [Real::<L>::default(); PANEL * PANEL];
                Some(Target::lines(&mut sums))
            }
            false => None,
        };
        let (wide, deep) = match waiting {
            Some(_) => (PANEL, at_once),
            None => (self.to.columns.max(1), all.max(1)),
        };
        for column in (0..self.to.columns).step_by(wide) {
            let columns = column..self.to.columns.min(column + wide);
            // Of no steps the product is zero, which is stored too.
            for begin in (0..all.max(1)).step_by(deep) {
                let steps = begin..(begin + deep).min(all);
                self.part::<L>(lanes, columns.clone(), steps, waiting);
            }
        }
    }
}

impl<F: Format> AddColumns<'_, F> {
    /// Some columns over some of the steps. What was summed before waits, and so does what these add,
    /// until the last step.
    #[inline(always)]
    fn part<L: Lanes<Format = F>>(
        &self,
        lanes: L,
        within: Range<usize>,
        steps: Range<usize>,
        waiting: Option<Target<Real<L>>>,
    ) {
        for column in within.clone().step_by(kernels::columns::<L>()) {
            let place = (column, column - within.start);
            let [(tall, many), (low, few)] = L::COLUMNS;
            let (first, rest) = (0..self.to.rows.min(tall * many), tall * many..self.to.rows);
            with_height!(tall, M => self.tiles::<L, M>(lanes, place, first, &steps, waiting));
            if few > 0 {
                with_height!(low, M => self.tiles::<L, M>(lanes, place, rest, &steps, waiting));
            }
        }
    }

    /// Tiles of M rows each, of these rows.
    #[inline(always)]
    fn tiles<L: Lanes<Format = F>, const M: usize>(
        &self,
        lanes: L,
        (column, waiting_column): (usize, usize),
        rows: Range<usize>,
        steps: &Range<usize>,
        waiting: Option<Target<Real<L>>>,
    ) {
        for group in rows.step_by(M) {
            self.tile::<L, M>(lanes, (column, waiting_column, group), steps.clone(), waiting);
        }
    }

    /// A tile at a column of the destination, which is another of what waits, and a row.
    #[inline(always)]
    fn tile<L: Lanes<Format = F>, const M: usize>(
        &self,
        lanes: L,
        (column, waiting_column, group): (usize, usize, usize),
        steps: Range<usize>,
        waiting: Option<Target<Real<L>>>,
    ) {
        let Self { left, right, rows, ref columns, store, to } = *self;
        let wide = kernels::columns::<L>();
        let last = steps.end == rows.len().div_ceil(F::DEPTH);
        let at = columns.start + column;
        // SAFETY: `add_columns` has asserted that the panel has a step for each row (or pair), that these
        // rows are in the right factor, and that groups end within the panel, which their height
        // divides. What waits is a whole panel.
        unsafe {
            let left = left.as_ptr().add((steps.start * PANEL + group) * F::DEPTH);
            let left = Columns(left);
            let panel = |row| right.data.as_ptr().add(right.at(at / PANEL, row));
            let wait = waiting.map(|waiting| {
                waiting.tile(waiting_column, wide, M, Store::Assign, move |i| group + i)
            });
            let tile = match &wait {
                Some(wait) if steps.start > 0 => kernels::resume::<L, M>(lanes, wait),
                _ => empty::<L, M>(lanes),
            };
            let to = to.tile(column, wide, to.rows - group, store, |i| group + i);
            if last {
                kernels::expect::<L, M>(lanes, &to);
            }
            let tile = match rows {
                Rows::From(row, _) => {
                    let from = panel(row + steps.start * F::DEPTH).add(at % PANEL * F::DEPTH);
                    accumulate::<L, M>(lanes, tile, steps.len(), left, Steps(from))
                }
                Rows::Named(names) => {
                    let names = names.as_ptr().add(steps.start * F::DEPTH);
                    let right = kernels::Named(panel(0).add(at % PANEL), names);
                    accumulate::<L, M>(lanes, tile, steps.len(), left, right)
                }
            };
            match wait {
                Some(wait) if !last => finish::<L, M>(lanes, tile, wait),
                _ => finish::<L, M>(lanes, tile, to),
            }
        }
    }
}
