//! Some classes of the classifier, packed for all chunks of rows.

use std::ops::Range;

use super::grid::STRIP_COLUMNS;
use super::problem::Problem;
use super::tile::Scratch;
use crate::element::Operand;
use crate::gemm::{PANEL, Panels, steps_length};
use crate::parallel;

/// The arrays of a block of classes, for all chunks of rows.
pub(crate) struct Block<'b, F> {
    pub(crate) columns: Range<usize>,
    /// Packed in steps, a panel after the other.
    pub(crate) steps: &'b [F],
    /// Packed in panels of so many rows.
    pub(crate) classes: &'b [F],
    pub(crate) height: usize,
}

impl<F: Operand> Block<'_, F> {
    pub(crate) fn panels(&self) -> usize {
        self.columns.len().div_ceil(PANEL)
    }

    pub(crate) fn classes(&self) -> Panels<'_, F> {
        Panels::new(self.classes, self.height)
    }
}

/// Packs a block of the classifier in parallel: in steps, but for rows alone, and in panels.
pub(crate) fn pack_block<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    block: &Range<usize>,
    steps: &mut [F],
    classes: &mut [F],
    height: usize,
    rows_only: bool,
    scratches: &mut [Scratch<F>],
) {
    enum Pack<'a, F> {
        Steps(Range<usize>, &'a mut [F]),
        Rows(Range<usize>, &'a mut [F]),
    }
    let length = steps_length::<F>(problem.width).max(1);
    let mut tasks = Vec::new();
    let all = if rows_only { 0 } else { steps.len() };
    for (i, to) in steps[..all].chunks_mut(length).enumerate() {
        let first = block.start + i * PANEL;
        tasks.push(Pack::Steps(first..block.end.min(first + PANEL), to));
    }
    for (i, to) in classes.chunks_mut(height * STRIP_COLUMNS).enumerate() {
        let first = i * STRIP_COLUMNS;
        tasks.push(Pack::Rows(first..problem.width.min(first + STRIP_COLUMNS), to));
    }
    parallel::for_each(scratches, tasks, |scratch, task| match task {
        Pack::Steps(classes, to) => problem.pack_classes(classes, &mut scratch.lines, to),
        Pack::Rows(columns, to) => {
            problem.pack_class_rows(block.clone(), columns, height, &mut scratch.lines, to);
        }
    });
}
