//! What a product reads: a matrix in panels, and which rows of them.

use std::ops::Range;

use super::super::format::Format;
use super::super::kernels;
use super::super::layout::PANEL;

/// A matrix in panels: panel q holds columns 32·q.. of `height` rows, each row 32 numbers.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, F> {
    pub(super) data: &'a [F],
    pub(super) height: usize,
}

impl<'a, F: Format> Panels<'a, F> {
    /// Panels of so many rows.
    pub(crate) fn new(data: &'a [F], height: usize) -> Self {
        assert!(height > 0 && data.len().is_multiple_of(height * PANEL), "whole panels");
        Self { data, height }
    }

    /// How many panels there are.
    pub(super) fn count(&self) -> usize {
        self.data.len() / (self.height * PANEL)
    }

    /// Rows of panel q, one of these, from row r on. After the last of them the first is read again.
    #[inline(always)]
    pub(super) fn rows(&self, q: usize, r: usize, of: &Range<usize>) -> kernels::Rows<F> {
        let next = if q + 1 < of.end { q + 1 } else { of.start };
        let at = |q| self.data.as_ptr().wrapping_add(self.at(q, r));
        kernels::Rows(at(q), at(next))
    }

    /// Where row r of panel q begins.
    pub(super) fn at(&self, q: usize, r: usize) -> usize {
        (q * self.height + r) * PANEL
    }
}

/// Rows of panels.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// That many from this one on.
    From(usize, usize),
    /// These.
    Named(&'a [u32]),
}

impl Rows<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Rows::From(_, count) => *count,
            Rows::Named(names) => names.len(),
        }
    }
}

/// Rows that stand in no order.
pub(crate) type Named<'a> = &'a [u32];
