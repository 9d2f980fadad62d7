//! The backward that computes the logits a second time, block by block.

use std::ops::Range;

use super::active::Active;
use super::block::{Block, pack_block};
use super::derivatives::{BesideTile, Derivatives, PanelPart, gradient_group};
use super::given::given;
use super::grid::{GROUPS, TILE_COLUMNS};
use super::pair::Pair;
use super::plan::Plan;
use super::problem::{Problem, Row};
use super::second_head::{BesideBlock, SecondBlock};
use super::sinks::{HiddenPart, Sinks, Task, TaskSize, put_classifier};
use super::tile::{Hidden, RowScratch, Scratch, sized};
use crate::element::Operand;
use crate::gemm::{
    Buffer, GROUP, PANEL, Prefetch, Store, add_rows, padded_rows, panels_length, put_rows,
    steps_length,
};
use crate::loss::filter::decision::ActiveFilter;
use crate::loss::filter::kept::{StoredClassifier, fill_kept, put_kept};
use crate::loss::filter::lists::Lists;
use crate::loss::filter::smoothing::SmoothingTerm;
use crate::loss::filter::tail::Tail;
use crate::loss::gradients::Gradients;
use crate::loss::source::Source;
use crate::parallel;
use crate::simd::Isa;

pub(crate) fn recompute<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    mut active: Vec<Active<F::Sum>>,
    pairs: &[Pair<F::Sum>],
    filter: Option<&ActiveFilter<'_>>,
    gradients: Gradients<'_>,
) {
    if let Source::Given(_) = problem.source {
        return given::<F>(problem, plan, &active, pairs, gradients);
    }
    let (width, columns) = (problem.width, problem.columns);
    let (chunk, isa) = (plan.rows_at_once, problem.loss.isa);
    let block_columns = plan.block_columns.min(columns.next_multiple_of(PANEL)).max(PANEL);
    let filtered = problem.loss.filtered;
    let mixed = (gradients.hidden.is_some() && !filtered.hidden)
        || (gradients.classifier.is_some() && !filtered.classifier)
        || (gradients.bias.is_some() && !filtered.bias);
    let mut sinks = Sinks::new(gradients, active.len(), width, block_columns);
    if active.is_empty() {
        return;
    }
    let rows: Vec<Row> = active.iter().map(|active| active.row).collect();
    let mut scratches = Scratch::<F>::several(plan.workers);
    let smoothing = filter.and_then(|_| SmoothingTerm::new(problem, &mut active, &mut scratches));
    let active = &active[..];
    let length = steps_length::<F>(width);
    let height = padded_rows(block_columns);
    let mut steps = Buffer::<F>::zeros(block_columns / PANEL * length);
    let mut classes = Buffer::<F>::zeros(panels_length(height, width));
    let mut hidden = Hidden::<F>::new();
    let at_once = chunk.min(active.len());
    let mut g = Derivatives::<F>::new(at_once, block_columns);
    let mut masked = Derivatives::<F>::new(0, 0);
    let mut lists =
        Lists::with_capacity(if filter.is_some() { at_once } else { 0 }, block_columns / PANEL);
    let stored = StoredClassifier::<F>::new(problem);
    let mut tail = Tail::new(problem, filter.filter(|_| !mixed), at_once);
    // A tail is the same for all classes of the block: it is computed once.
    let classes_at_once = if tail.is_some() { block_columns } else { TILE_COLUMNS };
    let size = TaskSize { hidden: PANEL, classifier: PANEL, classes: classes_at_once };
    let mut partial_sums = Vec::new();
    let mut second = SecondBlock::new(problem, block_columns);
    if active.len() <= chunk {
        hidden.pack(problem, &rows, plan.workers);
        hidden.pair(isa, plan.workers);
        if let Some(second) = &mut second {
            second.hidden.pack(second.head, &rows, plan.workers);
        }
    }
    for start in (0..columns).step_by(block_columns) {
        let block = start..(start + block_columns).min(columns);
        let panels = block.len().div_ceil(PANEL);
        sinks.sums.fill(0.0);
        let steps = steps.sized(panels * length);
        let classes = classes.sized(panels_length(height, width));
        let mut packed = false;
        if let Some(second) = &mut second {
            second.pack_classes(&block, &mut scratches);
        }
        for first in (0..active.len()).step_by(chunk) {
            let at = first..(first + chunk).min(active.len());
            let (active, chunk_rows) = (&active[at.clone()], &rows[at.clone()]);
            if rows.len() > chunk {
                hidden.pack(problem, chunk_rows, plan.workers);
                hidden.pair(isa, plan.workers);
                if let Some(second) = &mut second {
                    second.hidden.pack(second.head, chunk_rows, plan.workers);
                }
            }
            let mut sparse = false;
            if let Some(filter) = filter {
                filter.list(active.iter().map(|active| active.index), &block, &mut lists);
                let kept: usize = lists.counts.iter().sum();
                // Where most is kept, gathering it is no gain.
                sparse = !mixed && 2 * kept < active.len() * panels;
            }
            // Where little is kept, the classifier is read as it stored.
            let as_it_stands = sparse && stored.is_some();
            if !packed && !as_it_stands {
                pack_block(problem, &block, steps, classes, height, sparse, &mut scratches);
                packed = !sparse;
            }
            let block = Block { columns: block.clone(), steps, classes, height };
            if let (Some(filter), true) = (filter, sparse) {
                g.resize_to(&lists);
                fill_kept(
                    problem,
                    active,
                    &hidden,
                    &block,
                    &lists,
                    &mut g,
                    &mut sinks.sums,
                    &mut scratches,
                );
                if let Some(tail) = &mut tail {
                    tail.fill(
                        problem,
                        filter,
                        active,
                        &block.columns,
                        &mut sinks.sums,
                        &mut scratches,
                    );
                }
                let (tasks, store) = sinks.tasks(&rows, at, block.columns.clone(), size);
                let (tail, stored) = (tail.as_ref(), stored.as_ref().filter(|_| as_it_stands));
                parallel::for_each(&mut scratches, tasks, |_, mut task| {
                    put_kept(problem, &g, &hidden, &block, &lists, stored, store, &mut task);
                    if let Some(tail) = tail {
                        tail.put(problem, &hidden, &block, active.len(), task);
                    }
                });
                continue;
            }
            g.resize(active.len(), block.columns.len());
            let partial = (&mut sinks.sums[..], &mut partial_sums);
            let beside = second.as_ref().map(|second| (second, pairs));
            fill_gradient(
                problem,
                active,
                chunk_rows,
                &hidden,
                &block,
                beside,
                &mut g,
                partial,
                &mut scratches,
            );
            if filter.is_some() && mixed {
                masked.mask(&g, &lists, active.len());
            }
            let of = |filtered: bool| match filter.is_some() && mixed && filtered {
                true => &masked,
                false => &g,
            };
            let g = (of(filtered.hidden), of(filtered.classifier));
            let (count, tasks) = (at.len(), sinks.tasks(&rows, at, block.columns.clone(), size));
            put_block(isa, g, &hidden, &block, count, tasks, &mut scratches);
        }
        if let Some(smoothing) = &smoothing {
            let view = sinks.classifier.part(block.clone(), width);
            smoothing.put_classes(problem, &block, view, &mut sinks.sums);
        }
        sinks.put(block);
    }
    if let Some(smoothing) = &smoothing {
        for at in (0..rows.len()).step_by(chunk) {
            let part = at..rows.len().min(at + chunk);
            sinks.each_hidden_row(&rows, part, |part| smoothing.put_hidden(at, part));
        }
    }
    sinks.finish(&rows);
}

/// Makes one block of G anew, in parallel over its rows.
#[allow(clippy::too_many_arguments)]
fn fill_gradient<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    active: &[Active<F::Sum>],
    rows: &[Row],
    hidden: &Hidden<F>,
    block: &Block<'_, F>,
    beside: Option<BesideBlock<'_, '_, '_, F>>,
    g: &mut Derivatives<F>,
    (sums, partial): (&mut [f64], &mut Vec<f64>),
    scratches: &mut [Scratch<F>],
) {
    let rows_of_parts = g.height.div_ceil(PART_ROWS);
    let parts = rows_of_parts * block.columns.len().div_ceil(TILE_COLUMNS);
    partial.clear();
    partial.resize(parts * TILE_COLUMNS, 0.0);
    let own_sums = partial.chunks_mut(TILE_COLUMNS);
    fill_block(
        problem,
        rows,
        hidden,
        block,
        g,
        scratches,
        own_sums,
        |part, sums, to, beside_tile| {
            let BlockPart { rows: all, columns, start } = part;
            let (tile, stride) = to;
            let (second_tile, row) = beside_tile;
            let beside = beside.map(|(second, pairs)| {
                let tile = &mut sized(second_tile, PART_ROWS * TILE_COLUMNS)[..tile.len()];
                second.logits(rows, all.clone(), columns.clone(), start, (&mut *tile, stride));
                BesideTile { second: &*tile, pairs }
            });
            let of = |i| active[all.clone()].get(i);
            gradient_group::<F>(problem, of, columns, (tile, stride), beside, row, sums);
        },
    );
    for (i, partial) in partial.chunks(TILE_COLUMNS).enumerate() {
        let start = i / rows_of_parts * TILE_COLUMNS;
        for (sum, value) in sums[start..].iter_mut().zip(partial) {
            *sum += value;
        }
    }
}

/// Rows of G that one task computes.
const PART_ROWS: usize = GROUPS * GROUP;

/// What one task computes of a block of G.
pub(crate) struct BlockPart {
    /// Among those of the block.
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    /// The first of the columns, among those of the block.
    start: usize,
}

/// Computes the products of a block once more, and of them G by `make`, in place, in parallel. It is given the part,
/// what is beside it, the products with the distance of their rows, and scratch for a second head and for a row.
#[allow(clippy::too_many_arguments)]
pub(crate) fn fill_block<F: Operand, B: Send>(
    problem: &Problem<'_, F::Sum>,
    rows: &[Row],
    hidden: &Hidden<F>,
    block: &Block<'_, F>,
    g: &mut Derivatives<F>,
    scratches: &mut [Scratch<F>],
    beside: impl Iterator<Item = B>,
    make: impl Fn(BlockPart, B, (&mut [F::Sum], usize), (&mut Vec<F::Sum>, &mut RowScratch<F::Sum>))
    + Sync,
) {
    let Block { columns: block, steps, .. } = block;
    let length = steps_length::<F>(problem.width);
    let rows_of_parts = g.height.div_ceil(PART_ROWS);
    let parts = g.parts(PART_ROWS, TILE_COLUMNS / PANEL);
    let tasks = parts.into_iter().zip(beside).enumerate().collect();
    let work = |scratch: &mut Scratch<F>,
                (i, (mut panels, beside)): (usize, (Vec<PanelPart<'_, F>>, B))| {
        let Scratch { tile, second_tile, row, .. } = scratch;
        let start = i / rows_of_parts * TILE_COLUMNS;
        let columns = block.start + start..(block.start + start + TILE_COLUMNS).min(block.end);
        let stride = panels.len() * PANEL;
        let packed = &steps[start / PANEL * length..];
        let first = i % rows_of_parts * PART_ROWS;
        let height = panels[0].rows.len() / PANEL;
        let all = first.min(rows.len())..(first + height).min(rows.len());
        let tile = &mut sized(tile, PART_ROWS * TILE_COLUMNS)[..height * stride];
        let to = (&mut *tile, stride);
        let packed = (packed, Prefetch::nothing());
        problem.products(hidden, rows, all.clone(), columns.clone(), packed, to);
        let part = BlockPart { rows: all, columns, start };
        make(part, beside, (&mut *tile, stride), (second_tile, row));
        for (p, panel) in panels.iter_mut().enumerate() {
            put_rows(problem.loss.isa, &tile[p * PANEL..], stride, panel.rows, panel.pairs);
        }
    };
    parallel::for_each(scratches, tasks, work);
}

/// Adds both products of a block of G, the left factors of either gradient, to these.
pub(crate) fn put_block<F: Operand>(
    isa: Isa,
    (left, columns_left): (&Derivatives<F>, &Derivatives<F>),
    hidden: &Hidden<F>,
    block: &Block<'_, F>,
    rows: usize,
    (tasks, store): (Vec<Task<'_, F::Sum>>, Store),
    scratches: &mut [Scratch<F>],
) {
    parallel::for_each(scratches, tasks, |_, task| match task {
        Task::Hidden(HiddenPart { columns, mut view, names }) => {
            let (left, depth) = (left.rows(), block.columns.len());
            let right = (block.classes(), 0);
            let prefetch = Prefetch::nothing();
            add_rows(isa, left, 0, depth, right, columns, names, prefetch, &mut view);
        }
        Task::Classifier(columns, mut view, panels) => {
            let (g, first) = (columns_left, panels.start);
            let panel = |p| g.columns(first + p);
            put_classifier(isa, panel, hidden, rows, columns, store, &mut view);
        }
    });
}
