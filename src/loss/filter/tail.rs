//! What a filter drops, taken for flat.

use ndarray::Axis;
use std::ops::Range;

use super::decision::ActiveFilter;
use crate::element::{Element, Operand, Real};
use crate::gemm::{
    Buffer, GROUP, PANEL, Panels, Prefetch, Rows, Store, add_columns, add_rows, padded_rows,
    put_rows,
};
use crate::loss::engine::active::Active;
use crate::loss::engine::block::Block;
use crate::loss::engine::derivatives::{Derivatives, PanelPart};
use crate::loss::engine::problem::Problem;
use crate::loss::engine::sinks::{HiddenPart, Task};
use crate::loss::engine::tile::{Hidden, Lines, Scratch};
use crate::loss::source::Source;
use crate::parallel;
use crate::pieces::split;

/// What a filter has left out, taken for flat: the mass of a segment times the mean of its 32 rows of
/// the classifier goes to dE, a 32nd of it times the hidden state to each of their 32 gradients.
pub(crate) struct Tail<F: Operand> {
    /// G of each row and segment, where 32 segments are one panel.
    pub(crate) g: Derivatives<F>,
}

impl<F: Operand> Tail<F> {
    pub(crate) fn new(
        problem: &Problem<'_, F::Sum>,
        filter: Option<&ActiveFilter<'_>>,
        rows: usize,
    ) -> Option<Self> {
        (problem.loss.tail_correction && filter.is_some())
            .then(|| Self { g: Derivatives::new(rows, PANEL) })
    }

    /// Takes the lost probabilities of a block of at most 32 segments.
    pub(crate) fn fill(
        &mut self,
        problem: &Problem<'_, F::Sum>,
        filter: &ActiveFilter<'_>,
        active: &[Active<F::Sum>],
        block: &Range<usize>,
        sums: &mut [f64],
        scratches: &mut [Scratch<F>],
    ) {
        assert!(block.len() <= PANEL * PANEL, "segments of one panel");
        self.g.resize(active.len(), PANEL);
        let parts = self.g.parts(GROUP, 1);
        let mut totals = vec![0.0; parts.len() * PANEL];
        let tasks = parts.into_iter().zip(totals.chunks_mut(PANEL)).enumerate().collect();
        let work =
            |_: &mut Scratch<F>, (i, (mut panels, totals)): (usize, (Vec<PanelPart<'_, F>>, _))| {
                let totals: &mut [f64] = totals;
                let mut tile = [F::Sum::ZERO; GROUP * PANEL];
                let own = active.iter().skip(i * GROUP).take(GROUP);
                for (active, tile) in own.zip(tile.chunks_mut(PANEL)) {
                    let place = (active.index, active.log_sum_exp);
                    filter.lost(place, block, |p, mass| {
                        let columns = PANEL.min(block.len() - p * PANEL);
                        let g = active.flat_gradient(problem, mass, columns);
                        tile[p] = F::Sum::from_f64(g);
                        totals[p] += g;
                    });
                }
                let PanelPart { rows, pairs } = &mut panels[0];
                put_rows(problem.loss.isa, &tile, PANEL, rows, pairs);
            };
        parallel::for_each(scratches, tasks, work);
        for totals in totals.chunks(PANEL) {
            for (sums, total) in sums[..block.len()].chunks_mut(PANEL).zip(totals) {
                let each = total / sums.len() as f64;
                sums.iter_mut().for_each(|sum| *sum += each);
            }
        }
    }

    pub(crate) fn put(
        &self,
        problem: &Problem<'_, F::Sum>,
        hidden: &Hidden<F>,
        block: &Block<'_, F>,
        rows: usize,
        task: Task<'_, F::Sum>,
    ) {
        let isa = problem.loss.isa;
        match task {
            Task::Hidden(HiddenPart { columns, mut view, names }) => {
                let mut means = [F::Sum::ZERO; PANEL * PANEL];
                self::means::<F>(problem, &block.columns, &columns, &mut means);
                let mut lines = Buffer::<F>::zeros(padded_rows(PANEL) * PANEL);
                let mut pairs = Buffer::<F>::zeros(padded_rows(PANEL) * PANEL);
                let (lines, pairs) = (
                    lines.sized(padded_rows(PANEL) * PANEL),
                    pairs.sized(padded_rows(PANEL) * PANEL),
                );
                let whole = ..PANEL * PANEL;
                put_rows(isa, &means, PANEL, &mut lines[whole], &mut pairs[whole]);
                let steps = if F::DEPTH > 1 { pairs } else { lines };
                let right = (Panels::new(steps, padded_rows(PANEL)), 0);
                let (left, columns) = (self.g.rows(), 0..columns.len());
                let prefetch = Prefetch::nothing();
                add_rows(isa, left, 0, block.panels(), right, columns, names, prefetch, &mut view);
            }
            Task::Classifier(columns, mut view, _) => {
                let mut means = ndarray::Array2::from_elem((PANEL, columns.len()), F::Sum::ZERO);
                let (left, right) = (self.g.columns(0), hidden.steps());
                let (rows, store) = (Rows::From(0, rows), Store::Assign);
                add_columns(isa, left, right, rows, columns, store, &mut means.view_mut());
                for (p, mut view) in split(view.view_mut(), Axis(0), PANEL).into_iter().enumerate()
                {
                    let part = F::Sum::from_f64(1.0 / view.dim().0 as f64);
                    let mean: Vec<F::Sum> = means.row(p).iter().map(|&x| part * x).collect();
                    for mut row in view.outer_iter_mut() {
                        let row = row.as_slice_mut().expect("contiguous rows");
                        for (sum, &value) in row.iter_mut().zip(&mean) {
                            *sum += value;
                        }
                    }
                }
            }
        }
    }
}

/// The means of the segments of a block, in these columns: a row of 32 for each.
fn means<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    block: &Range<usize>,
    columns: &Range<usize>,
    to: &mut [F::Sum],
) {
    let Source::Product { classifier, .. } = &problem.source else { return };
    let lines = Lines::<F>::new(classifier);
    let mut buffer = [F::default(); PANEL];
    for (first, to) in block.clone().step_by(PANEL).zip(to.chunks_mut(PANEL)) {
        let segment = first..block.end.min(first + PANEL);
        for class in segment.clone() {
            let line = lines.get(class, columns.clone(), &mut buffer);
            for (to, value) in to.iter_mut().zip(line) {
                *to += value.to_sum();
            }
        }
        let part = F::Sum::from_f64(1.0 / segment.len() as f64);
        to.iter_mut().for_each(|to| *to = *to * part);
    }
}
