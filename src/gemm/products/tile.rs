//! A tile of a product: where it goes, and the sum over the panels of its factors.

use ndarray::ArrayViewMut2;
use std::ops::Range;

use super::super::format::Format;
use super::super::kernels::{Destination, Lanes, Left, Right, Tile, accumulate};
use super::super::layout::PANEL;
use super::super::store::Store;
use super::prefetch::PrefetchLines;

/// Where a product goes: rows of contiguous numbers.
#[derive(Clone, Copy)]
pub(super) struct Target<T> {
    at: *mut T,
    stride: isize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl<T> Target<T> {
    /// Lines of a panel's width, one after the other.
    pub(super) fn lines(lines: &mut [T]) -> Self {
        let rows = lines.len() / PANEL;
        Self { at: lines.as_mut_ptr(), stride: PANEL as isize, rows, columns: PANEL }
    }

    pub(super) fn new(view: &mut ArrayViewMut2<'_, T>) -> Self {
        let (rows, columns) = view.dim();
        assert!(columns <= 1 || view.strides()[1] == 1, "contiguous rows");
        Self { at: view.as_mut_ptr(), stride: view.strides()[0], rows, columns }
    }

    /// Copies lines of a panel's width into some columns.
    ///
    /// # Safety
    /// The destination has these columns, and can be written.
    pub(super) unsafe fn copy(self, first: usize, columns: usize, lines: &[T])
    where
        T: Copy,
    {
        assert!(first + columns <= self.columns && columns <= PANEL, "columns");
        for (i, line) in lines.chunks(PANEL).take(self.rows).enumerate() {
            for (j, &value) in line[..columns].iter().enumerate() {
                // SAFETY: row and column are of the destination.
                unsafe { *self.at.offset(i as isize * self.stride).add(first + j) = value };
            }
        }
    }

    /// The tile at this column, where it is `width` wide at most, with rows by `row`.
    #[inline(always)]
    pub(super) fn tile(
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

/// Adds the products of a row group over some panels of the left factor, and fetches a line for each.
///
/// # Safety
/// The left factor has M rows from each base on, the right one a row or step for each of `depth`.
#[inline(always)]
pub(super) unsafe fn over_panels<L: Lanes, A: Left<L::Format>, B: Right<L>, const M: usize>(
    lanes: L,
    mut tile: Tile<L, M>,
    panels: Range<usize>,
    depth: usize,
    left: impl Fn(usize) -> A,
    right: impl Fn(usize) -> B,
    prefetch: &mut PrefetchLines<L::Format>,
) -> Tile<L, M> {
    let step = <L::Format as Format>::DEPTH;
    for q in panels {
        prefetch.fetch(lanes);
        let k = q * PANEL;
        let steps = PANEL.min(depth - k).div_ceil(step);
        // SAFETY: the caller's promise for this panel.
        tile = unsafe { accumulate::<L, M>(lanes, tile, steps, left(q), right(k)) };
    }
    tile
}
