//! The logits of a second head that a strip keeps beside its own.

use std::ops::Range;

use super::few_rows::FewRows;
use super::fold::{Folded, PackedRows, Partial};
use super::grid::spans;
use super::pair::{DivergenceSums, Pair, add_sums, pair_rows};
use super::plan::Plan;
use super::problem::{Problem, Row, SecondRow};
use super::tile::{Hidden, Scratch, sized};
use crate::element::{Element, Operand, Real};
use crate::gemm::{Buffer, PANEL, padded_rows};
use crate::parallel;
use crate::softmax::RowState;

/// Keeps a tile of products, whose columns are counted from `first` on, in panels of so many rows.
pub(crate) fn keep_tile<R: Real>(
    kept: &mut [R],
    height: usize,
    first: usize,
    group: Range<usize>,
    columns: Range<usize>,
    tile: &[R],
) {
    let panel = (columns.start - first) / PANEL;
    for (i, from) in group.zip(tile.chunks(columns.len())) {
        for (p, from) in (panel..).zip(from.chunks(PANEL)) {
            let to = (p * height + i) * PANEL;
            kept[to..to + from.len()].copy_from_slice(from);
        }
    }
}

/// That head with the pairs of the strip's rows.
pub(crate) type BesideStrip<'b, 'p, 'a, F> =
    (&'b SecondStrip<'p, 'a, F>, &'b [Pair<<F as Element>::Real>]);

/// The second head over the rows of one strip at a time.
pub(crate) struct SecondStrip<'p, 'a, F: Operand> {
    head: &'p Problem<'a, F::Sum>,
    pub(crate) hidden: Hidden<F>,
    partial: Partial,
    states: Vec<RowState>,
    /// Its products of the strip, in panels of 32 classes.
    products: Buffer<F::Sum>,
    height: usize,
}

impl<'p, 'a, F: Operand> SecondStrip<'p, 'a, F> {
    /// For so many rows, where there is a second head.
    pub(crate) fn new(problem: &'p Problem<'a, F::Sum>, plan: &Plan, rows: usize) -> Option<Self> {
        let head = problem.second.as_deref()?;
        let length = padded_rows(rows) * problem.columns.div_ceil(PANEL) * PANEL;
        Some(Self {
            head,
            hidden: Hidden::new(),
            partial: Partial::new(head, plan),
            states: Vec::new(),
            products: Buffer::zeros(length),
            height: 0,
        })
    }

    /// Folds the rows of a strip over the head and keeps the products.
    pub(crate) fn fold(&mut self, rows: &[Row], plan: &Plan, scratches: &mut [Scratch<F>]) {
        let Self { head, hidden, partial, states, products, .. } = self;
        hidden.pack(head, rows, plan.workers);
        let height = padded_rows(rows.len());
        let mut folded = Folded::of_rows(head, rows);
        let length = height * head.columns.div_ceil(PANEL) * PANEL;
        let mut rest = &mut products.sized(length)[..];
        let tasks = partial.tasks(&folded.states).into_iter().map(|task| {
            let panels = task.columns.len().div_ceil(PANEL);
            let (own, tail) = std::mem::take(&mut rest).split_at_mut(panels * height * PANEL);
            rest = tail;
            (task, own)
        });
        let tasks = tasks.collect();
        let few = FewRows::new(head, rows);
        let from = PackedRows { hidden, few: few.as_ref(), second: None };
        parallel::for_each(scratches, tasks, |scratch, (task, own): (_, &mut [F::Sum])| {
            let first = task.columns.start;
            head.fold_span(from, rows, task, plan.tile_columns, scratch, |group, columns, tile| {
                keep_tile(own, height, first, group, columns, tile);
            });
        });
        folded.merge(0..rows.len(), &partial.states, &partial.top);
        (self.height, *states) = (height, folded.states);
    }

    /// The logits of some of the strip's rows, the `first` of which is where it says, at some columns that
    /// begin with a panel.
    pub(crate) fn logits<'r>(
        &self,
        rows: impl Iterator<Item = &'r Row>,
        first: usize,
        columns: Range<usize>,
        (tile, stride): (&mut [F::Sum], usize),
    ) {
        let from = self.products.get();
        for ((i, row), to) in rows.enumerate().zip(tile.chunks_mut(stride)) {
            gather(from, self.height, first + i, columns.clone(), to);
            self.head.transform(std::slice::from_ref(row), columns.clone(), to, stride);
        }
    }

    /// The divergences of the strip's rows from the head, whose own products are kept in panels as these are.
    pub(crate) fn divergences(
        &self,
        problem: &Problem<'_, F::Sum>,
        states: &[RowState],
        rows: &[Row],
        (products, height): (&[F::Sum], usize),
        tile_columns: usize,
        scratches: &mut [Scratch<F>],
    ) -> Vec<SecondRow> {
        let mut second = SecondRow::of(problem, &self.states);
        let pairs = pair_rows::<F::Sum>(states, &second);
        let spans: Vec<_> = spans(problem.columns, tile_columns).collect();
        let mut sums = vec![DivergenceSums::default(); spans.len() * rows.len()];
        let tasks = spans.into_iter().zip(sums.chunks_mut(rows.len().max(1))).collect();
        parallel::for_each(
            scratches,
            tasks,
            |scratch, (span, sums): (_, &mut [DivergenceSums])| {
                let Scratch { tile: own, second_tile, .. } = scratch;
                for start in span.clone().step_by(tile_columns) {
                    let columns = start..(start + tile_columns).min(span.end);
                    let width = columns.len();
                    let own = &mut sized(own, tile_columns)[..width];
                    let other = &mut sized(second_tile, tile_columns)[..width];
                    for (i, (row, sums)) in rows.iter().zip(&mut *sums).enumerate() {
                        gather(products, height, i, columns.clone(), own);
                        problem.transform(std::slice::from_ref(row), columns.clone(), own, width);
                        let rows = std::iter::once(row);
                        self.logits(rows, i, columns.clone(), (&mut *other, width));
                        problem.add_divergences(&pairs[i], own, other, sums);
                    }
                }
            },
        );
        add_sums(&mut second, &sums);
        second
    }
}

/// Some columns of a row that is kept in panels.
fn gather<R: Real>(from: &[R], height: usize, row: usize, columns: Range<usize>, to: &mut [R]) {
    let panel = columns.start / PANEL;
    for (p, to) in (panel..).zip(to[..columns.len()].chunks_mut(PANEL)) {
        let at = (p * height + row) * PANEL;
        to.copy_from_slice(&from[at..at + to.len()]);
    }
}
