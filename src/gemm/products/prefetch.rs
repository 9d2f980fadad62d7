//! What is fetched while something else is multiplied.

use std::ops::Range;

use super::super::format::Format;
use super::super::kernels::Lanes;

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
    pub(super) fn over(self, places: usize) -> PrefetchLines<T> {
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
pub(super) struct PrefetchLines<T> {
    row: Range<*const T>,
    rows: usize,
    gap: usize,
    rest: usize,
    lines: usize,
}

impl<T: Format> PrefetchLines<T> {
    #[inline(always)]
    pub(super) fn fetch<L: Lanes<Format = T>>(&mut self, lanes: L) {
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
