//! Divergences from a second head: a second sweep, once both log-sum-exps are known.

use std::ops::Range;

use super::fold::{Folded, fold_rows};
use super::grid::{TILE_GROUPS, spans};
use super::pair::{DivergenceSums, Pair, add_sums, pair_rows};
use super::plan::Plan;
use super::problem::{Problem, Row, SecondRow};
use super::tile::{Hidden, Scratch, sized};
use crate::element::{Element, Operand};
use crate::gemm::{Buffer, GROUP, PANEL, steps_length};
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::divergence::PairRow;

/// Folds every kept row over both heads, where there is a second, and sums the divergences.
pub(crate) fn fold_heads<F: Operand>(problem: &Problem<'_, F::Sum>, plan: &Plan) -> Folded {
    let mut folded = fold_rows::<F>(problem, plan);
    if let Some(head) = problem.second.as_deref().filter(|_| problem.loss.needs.diverges()) {
        let states = fold_rows::<F>(head, plan).states;
        let mut second = SecondRow::of(problem, &states);
        sum_divergences::<F>(problem, head, plan, &folded.states, &mut second);
        folded.second = second;
    }
    folded
}

/// Sums the divergences of every kept row, tile by tile of both heads.
fn sum_divergences<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    head: &Problem<'_, F::Sum>,
    plan: &Plan,
    states: &[RowState],
    second: &mut [SecondRow],
) {
    let mut scratches = Scratch::<F>::several(plan.workers);
    let (mut own, mut other) = (Hidden::<F>::new(), Hidden::<F>::new());
    let spans: Vec<Range<usize>> = spans(problem.columns, plan.tile_columns).collect();
    let (kept, wave) = (problem.rows.len(), plan.rows_at_once);
    let mut sums = Vec::new();
    for start in (0..kept).step_by(wave) {
        let at = start..(start + wave).min(kept);
        let rows = &problem.rows[at.clone()];
        own.pack(problem, rows, plan.workers);
        other.pack(head, rows, plan.workers);
        let pairs = pair_rows::<F::Sum>(&states[at.clone()], &second[at.clone()]);
        sums.clear();
        sums.resize(spans.len() * rows.len(), DivergenceSums::default());
        let tasks = spans.iter().cloned().zip(sums.chunks_mut(rows.len())).collect();
        let hidden = (&own, &other);
        parallel::for_each(&mut scratches, tasks, |scratch, (columns, sums)| {
            sum_span(
                problem,
                head,
                hidden,
                rows,
                &pairs,
                columns,
                plan.tile_columns,
                sums,
                scratch,
            );
        });
        add_sums(&mut second[at], &sums);
    }
}

#[allow(clippy::too_many_arguments)]
fn sum_span<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    head: &Problem<'_, F::Sum>,
    (own, other): (&Hidden<F>, &Hidden<F>),
    rows: &[Row],
    pairs: &[PairRow<F::Sum>],
    columns: Range<usize>,
    tile_columns: usize,
    sums: &mut [DivergenceSums],
    scratch: &mut Scratch<F>,
) {
    let Scratch { packed, lines, tile, second_packed, second_tile, .. } = scratch;
    for start in columns.clone().step_by(tile_columns) {
        let columns = start..(start + tile_columns).min(columns.end);
        let width = columns.len();
        let panels = width.div_ceil(PANEL);
        let packed = packed.sized(panels * steps_length::<F>(problem.width));
        problem.pack_classes(columns.clone(), lines, packed);
        let second_packed = second_packed.sized(panels * steps_length::<F>(head.width));
        head.pack_classes(columns.clone(), lines, second_packed);
        const ROWS: usize = TILE_GROUPS * GROUP;
        for first in (0..rows.len()).step_by(ROWS) {
            let group = first..(first + ROWS).min(rows.len());
            let tile = &mut sized(tile, ROWS * tile_columns)[..group.len() * width];
            let to = (&mut *tile, width);
            problem.logits(own, rows, group.clone(), columns.clone(), packed, to);
            let second = &mut sized(second_tile, ROWS * tile_columns)[..group.len() * width];
            let to = (&mut *second, width);
            head.logits(other, rows, group.clone(), columns.clone(), second_packed, to);
            let tiles = tile.chunks(width).zip(second.chunks(width));
            for (i, (logits, second)) in group.zip(tiles) {
                problem.add_divergences(&pairs[i], logits, second, &mut sums[i]);
            }
        }
    }
}

/// That side with the pairs of the rows.
pub(crate) type BesideBlock<'b, 'p, 'a, F> =
    (&'b SecondBlock<'p, 'a, F>, &'b [Pair<<F as Element>::Real>]);

/// The second head's side of a block of classes, for all chunks of rows.
pub(crate) struct SecondBlock<'p, 'a, F: Operand> {
    pub(crate) head: &'p Problem<'a, F::Sum>,
    pub(crate) hidden: Hidden<F>,
    steps: Buffer<F>,
}

impl<'p, 'a, F: Operand> SecondBlock<'p, 'a, F> {
    /// For blocks of so many columns, where there is a second head.
    pub(crate) fn new(problem: &'p Problem<'a, F::Sum>, columns: usize) -> Option<Self> {
        let head = problem.second.as_deref()?;
        let length = columns.div_ceil(PANEL) * steps_length::<F>(head.width);
        Some(Self { head, hidden: Hidden::new(), steps: Buffer::zeros(length) })
    }

    /// Packs a block of the head's classifier.
    pub(crate) fn pack_classes(&mut self, block: &Range<usize>, scratches: &mut [Scratch<F>]) {
        let length = steps_length::<F>(self.head.width).max(1);
        let steps = self.steps.sized(block.len().div_ceil(PANEL) * length);
        let tasks = steps.chunks_mut(length).enumerate().collect();
        let head = self.head;
        parallel::for_each(scratches, tasks, |scratch, (i, to): (usize, &mut [F])| {
            let first = block.start + i * PANEL;
            head.pack_classes(first..block.end.min(first + PANEL), &mut scratch.lines, to);
        });
    }

    /// Logits of the rows that were packed last, at columns of the block from its `start` on.
    pub(crate) fn logits(
        &self,
        rows: &[Row],
        group: Range<usize>,
        columns: Range<usize>,
        start: usize,
        to: (&mut [F::Sum], usize),
    ) {
        let length = steps_length::<F>(self.head.width);
        let packed = &self.steps.get()[start / PANEL * length..];
        self.head.logits(&self.hidden, rows, group, columns, packed, to);
    }
}
