//! The products of panels, behind assertions.

use ndarray::ArrayViewMut2;
use std::ops::Range;

use super::dispatch::Dispatch;
use super::format::Format;
use super::kernels::{
    self, Apart, Columns, Destination, Gathered, Job, Lanes, Left, Right, Steps, Tile, accumulate,
    empty, finish, finish_half, with_height,
};
use super::layout::{GROUP, PANEL, steps_length};
use super::store::Store;
use crate::simd::Isa;

/// A matrix in panels: panel q holds columns 32·q.. of `height` rows, each row 32 numbers.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, F> {
    data: &'a [F],
    height: usize,
}

impl<'a, F: Format> Panels<'a, F> {
    /// Panels of so many rows.
    pub(crate) fn new(data: &'a [F], height: usize) -> Self {
        assert!(height > 0 && data.len().is_multiple_of(height * PANEL), "whole panels");
        Self { data, height }
    }

    /// How many panels there are.
    fn count(&self) -> usize {
        self.data.len() / (self.height * PANEL)
    }

    /// Rows of panel q from row r on, where `last` is the last that is read: after it the first is
    /// read again.
    #[inline(always)]
    fn rows(&self, q: usize, r: usize, last: usize) -> kernels::Rows<F> {
        let next = if q < last { q + 1 } else { 0 };
        let at = |q| self.data.as_ptr().wrapping_add(self.at(q, r));
        kernels::Rows(at(q), at(next))
    }

    /// Where row r of panel q begins.
    fn at(&self, q: usize, r: usize) -> usize {
        (q * self.height + r) * PANEL
    }
}

/// Bytes of the right factor that are read again and again: the larger part of a second cache.
const NEAR: usize = 640 << 10;

/// Rows of panels.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// That many from this one on.
    From(usize, usize),
    /// These.
    Named(&'a [u32]),
}

impl Rows<'_> {
    fn len(&self) -> usize {
        match self {
            Rows::From(_, count) => *count,
            Rows::Named(names) => names.len(),
        }
    }
}

/// Rows that stand in no order.
pub(crate) type Named<'a> = &'a [u32];

/// Where a product goes: rows of contiguous numbers.
#[derive(Clone, Copy)]
struct Target<T> {
    at: *mut T,
    stride: isize,
    rows: usize,
    columns: usize,
}

impl<T> Target<T> {
    fn new(view: &mut ArrayViewMut2<'_, T>) -> Self {
        let (rows, columns) = view.dim();
        assert!(columns <= 1 || view.strides()[1] == 1, "contiguous rows");
        Self { at: view.as_mut_ptr(), stride: view.strides()[0], rows, columns }
    }

    /// The tile at this column, where it is `width` wide at most, with rows by `row`.
    #[inline(always)]
    fn tile(
        self,
        column: usize,
        width: usize,
        rows: usize,
        store: Store,
        row: impl Fn(usize) -> usize,
    ) -> Destination<T, impl Fn(usize) -> isize> {
        Destination {
            at: self.at.wrapping_add(column),
            offset: move |i| row(i) as isize * self.stride,
            rows,
            columns: width.min(self.columns - column),
            add: store == Store::Add,
        }
    }
}

/// What will be read after some products: it is brought nearer meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Prefetch<'a, T> {
    data: &'a [T],
    width: usize,
    stride: usize,
}

impl<'a, T> Prefetch<'a, T> {
    /// Nothing that is known.
    pub(crate) fn nothing() -> Self {
        Self::piece(&[])
    }

    /// One piece of memory.
    pub(crate) fn piece(data: &'a [T]) -> Self {
        Self { data, width: data.len(), stride: data.len() }
    }

    /// Rows of so many numbers, `stride` apart.
    pub(crate) fn rows(data: &'a [T], width: usize, stride: usize) -> Self {
        Self { data, width, stride }
    }

    /// Lines at every one of so many places between products, at least one.
    fn over(self, places: usize) -> PrefetchLines<T> {
        let Self { data, width, stride } = self;
        if width == 0 || stride == 0 {
            return PrefetchLines {
                row: std::ptr::null()..std::ptr::null(),
                rows: 0,
                rest: 0,
                gap: 0,
                lines: 0,
            };
        }
        let per_row = (width * size_of::<T>()).div_ceil(LINE);
        let rows = data.len().div_ceil(stride);
        let row = data.as_ptr().wrapping_add(width);
        PrefetchLines {
            row: data.as_ptr()..row,
            rows: rows - 1,
            gap: stride - width,
            rest: width,
            lines: (rows * per_row).div_ceil(places.max(1)),
        }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Where [`Prefetch`] has come to.
struct PrefetchLines<T> {
    row: Range<*const T>,
    rows: usize,
    gap: usize,
    rest: usize,
    lines: usize,
}

impl<T: Format> PrefetchLines<T> {
    #[inline(always)]
    fn fetch<L: Lanes<Format = T>>(&mut self, lanes: L) {
        for _ in 0..self.lines {
            if self.row.start >= self.row.end {
                if self.rows == 0 {
                    return;
                }
                self.rows -= 1;
                let start = self.row.end.wrapping_add(self.gap);
                self.row = start..start.wrapping_add(self.rest);
            }
            lanes.prefetch_far(self.row.start);
            self.row.start = self.row.start.wrapping_add(LINE / size_of::<T>());
        }
    }
}

/// Adds the products of a row group over all panels of the left factor, and fetches a line for each.
///
/// # Safety
/// The left factor has M rows from each base on, the right one a row or step for each of `depth`.
#[inline(always)]
unsafe fn over_panels<L: Lanes, A: Left<L::Format>, B: Right<L>, const M: usize>(
    lanes: L,
    panels: Range<usize>,
    depth: usize,
    left: impl Fn(usize) -> A,
    right: impl Fn(usize) -> B,
    far: &mut PrefetchLines<L::Format>,
) -> Tile<L, M> {
    let step = <L::Format as Format>::DEPTH;
    let mut tile = empty::<L, M>(lanes);
    for q in panels.clone() {
        far.fetch(lanes);
        let k = (q - panels.start) * PANEL;
        let steps = PANEL.min(depth - k).div_ceil(step);
        // SAFETY: the caller's promise for this panel.
        tile = unsafe { accumulate::<L, M>(lanes, tile, steps, left(q), right(k)) };
    }
    tile
}

/// `to[i, j] = Σ_k left[rows[i], k] · right[j, k]`: logits. The right factor is packed in steps.
pub(crate) fn row_products<F: Dispatch>(
    isa: Isa,
    left: Panels<'_, F>,
    rows: Rows<'_>,
    depth: usize,
    (right, soon): (&[F], Prefetch<'_, F>),
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
    F::dispatch(isa, RowProducts { left, rows, depth, right, soon, to: Target::new(to) });
}

struct RowProducts<'a, F: Format> {
    left: Panels<'a, F>,
    rows: Rows<'a>,
    depth: usize,
    right: &'a [F],
    soon: Prefetch<'a, F>,
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
        let Self { left, rows, depth, right, soon, to } = self;
        let wide = kernels::columns::<L>();
        let tiles = to.columns.div_ceil(wide) * to.rows.div_ceil(M);
        let mut far = soon.over(tiles * depth.div_ceil(PANEL));
        let steps = steps_length::<F>(depth);
        let all = 0..depth.div_ceil(PANEL);
        let last = all.end.saturating_sub(1);
        // Few enough panels that they stay in the second cache while the rows go by.
        let near = NEAR / (steps * size_of::<F>()).max(1) * PANEL;
        let near = near.clamp(PANEL, to.columns.max(PANEL));
        for (start, group) in (0..to.columns)
            .step_by(near)
            .flat_map(|start| (0..to.rows).step_by(GROUP).map(move |group| (start, group)))
        {
            for column in (start..to.columns.min(start + near)).step_by(wide) {
                let from = column / PANEL * steps + column % PANEL * F::DEPTH;
                // SAFETY: `row_products` has asserted that the steps are there.
                let right = |k| Steps(unsafe { right.as_ptr().add(from + k * PANEL) });
                for first in (group..to.rows.min(group + GROUP)).step_by(M) {
                    // SAFETY: `row_products` has asserted that whole groups of these rows are in
                    // the panels, and that the destination has a row for each.
                    unsafe {
                        let tile = match rows {
                            Rows::From(row, _) => over_panels::<L, _, _, M>(
                                lanes,
                                all.clone(),
                                depth,
                                |q| left.rows(q, row + first, last),
                                right,
                                &mut far,
                            ),
                            Rows::Named(names) => over_panels::<L, _, _, M>(
                                lanes,
                                all.clone(),
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
                                &mut far,
                            ),
                        };
                        let valid = to.rows - first;
                        let to = to.tile(column, wide, valid, Store::Assign, |i| first + i);
                        finish::<L, M>(lanes, tile, to);
                    }
                }
            }
        }
    }
}

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
    soon: Prefetch<'_, F>,
    to: &mut ArrayViewMut2<'_, F::Sum>,
) {
    check_left(&left, first, depth, names, to.dim().0);
    assert!(row.is_multiple_of(F::DEPTH), "whole steps");
    check_right(&right, row + depth, &columns, to.dim().1);
    let (panels, to) = (0..depth.div_ceil(PANEL), Target::new(to));
    let right = RightRows::Panels(right, row);
    F::dispatch(isa, AddRows { left, first, panels, depth, right, columns, names, soon, to });
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
    let (right, soon) = (RightRows::Matrix(right, stride), Prefetch::nothing());
    F::dispatch(isa, AddRows { left, first, panels, depth, right, columns, names, soon, to });
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
    soon: Prefetch<'a, F>,
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
        let Self { left, first, panels, depth, right, columns, names, soon, to } = self;
        let wide = kernels::columns::<L>();
        let rows = names.len();
        let tiles = to.columns.div_ceil(wide) * rows.div_ceil(M);
        let mut far = soon.over(tiles * panels.len());
        let last = panels.end.saturating_sub(1);
        for column in (0..to.columns).step_by(wide) {
            let at = columns.start + column;
            for group in (0..rows).step_by(M) {
                // SAFETY: the callers have asserted that whole groups of these rows are in the
                // panels, that the destination has those that are named, and that the right
                // factor has the rows and columns.
                unsafe {
                    let left = |q| left.rows(q, first + group, last);
                    let panels = panels.clone();
                    let valid = rows - group;
                    let row = |i: usize| names[group + i] as usize;
                    let to = to.tile(column, wide, valid, Store::Add, row);
                    kernels::expect::<L, M>(lanes, &to);
                    let tile = match right {
                        RightRows::Panels(right, row) => {
                            let from = right.at(at / PANEL, row) + at % PANEL * F::DEPTH;
                            let from = right.data.as_ptr().add(from);
                            let right = |k| Steps(from.add(k * PANEL));
                            over_panels::<L, _, _, M>(lanes, panels, depth, left, right, &mut far)
                        }
                        RightRows::Matrix(right, stride) => {
                            let from = right.as_ptr().add(at);
                            let right = |k| Apart(from.add(k * stride), stride);
                            over_panels::<L, _, _, M>(lanes, panels, depth, left, right, &mut far)
                        }
                    };
                    finish::<L, M>(lanes, tile, to);
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
        for column in (0..self.to.columns).step_by(kernels::columns::<L>()) {
            let mut group = 0;
            for &height in L::COLUMNS {
                if group < self.to.rows {
                    with_height!(height, M => self.tile::<L, M>(lanes, column, group));
                }
                group += height;
            }
        }
    }
}

impl<F: Format> AddColumns<'_, F> {
    #[inline(always)]
    fn tile<L: Lanes<Format = F>, const M: usize>(&self, lanes: L, column: usize, group: usize) {
        let Self { left, right, rows, ref columns, store, to } = *self;
        let wide = kernels::columns::<L>();
        let steps = rows.len().div_ceil(F::DEPTH);
        {
            let at = columns.start + column;
            {
                // SAFETY: `add_columns` has asserted that the panel has a step for each row (or
                // pair), that these rows are in the right factor, and that groups end within the
                // panel, which their height divides.
                unsafe {
                    let left = Columns(left.as_ptr().add(group * F::DEPTH));
                    let panel = |row| right.data.as_ptr().add(right.at(at / PANEL, row));
                    let to = to.tile(column, wide, to.rows - group, store, |i| group + i);
                    kernels::expect::<L, M>(lanes, &to);
                    let tile = empty::<L, M>(lanes);
                    let tile = match rows {
                        Rows::From(row, _) => {
                            let right = Steps(panel(row).add(at % PANEL * F::DEPTH));
                            accumulate::<L, M>(lanes, tile, steps, left, right)
                        }
                        Rows::Named(names) => {
                            let right = kernels::Named(panel(0).add(at % PANEL), names.as_ptr());
                            accumulate::<L, M>(lanes, tile, steps, left, right)
                        }
                    };
                    finish::<L, M>(lanes, tile, to);
                }
            }
        }
    }
}

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

/// Rows, and columns, of a tile of [`FewProducts`].
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

/// `to[i, j] = Σ_k left[i·stride + k] · right[j, k]`, each with the bits of [`row_products`]: logits of
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
        for first in (0..to.rows).step_by(M) {
            let next = (first + M) * stride;
            let soon = &left[next.min(left.len())..(next + M * stride).min(left.len())];
            let mut far = Prefetch::piece(soon).over(places);
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
                    let left = |q: usize| Gathered(bases.map(|base| base.add(q * PANEL)));
                    let panels = panels.clone();
                    let to = to.tile(column, wide, valid, Store::Assign, |i| first + i);
                    // Each its own products, lest those of half a tile are computed whole.
                    if columns - column <= L::WIDTH {
                        let tile =
                            over_panels::<L, _, _, M>(lanes, panels, depth, left, right, &mut far);
                        finish_half::<L, M>(lanes, tile, to);
                    } else {
                        let tile =
                            over_panels::<L, _, _, M>(lanes, panels, depth, left, right, &mut far);
                        finish::<L, M>(lanes, tile, to);
                    }
                }
            }
        }
    }
}

/// `to[i] = Σ_k left[i·depth + k] · right[i·depth + k]`, each with the bits of [`row_products`].
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
