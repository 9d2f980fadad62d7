//! The fold over the vocabulary, tile by tile.

use std::ops::Range;

use super::candidates::{CandidateRows, add_candidates};
use super::few_rows::{FewRows, few_scratch};
use super::grid::{TILE_GROUPS, TILE_ROWS, spans};
use super::plan::Plan;
use super::problem::{Problem, Row, SecondRow};
use super::sampling::{DrawPart, Drawing};
use super::tile::{Hidden, RowScratch, Scratch, Weights, sized};
use crate::element::{Element, Operand, Real};
use crate::gemm::{GROUP, PANEL, steps_length};
use crate::loss::filter::record::{Record, RecordPart};
use crate::loss::inputs::Targets;
use crate::loss::options::LinearCrossEntropy;
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::block::{self, Moments};
use crate::softmax::top_k::{self, Entry};

/// The logit of each kept row's target, NaN where another shard owns it.
pub(crate) fn owned_target_logits<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
) -> Vec<F::Sum> {
    let mut logits = vec![F::Sum::from_f64(f64::NAN); problem.rows.len()];
    let tasks = logits.chunks_mut(TILE_ROWS).zip(problem.rows.chunks(TILE_ROWS)).collect();
    let mut scratches = Scratch::<F>::several(plan.workers);
    parallel::for_each(
        &mut scratches,
        tasks,
        |scratch, (logits, rows): (&mut [F::Sum], &[Row])| {
            for (logit, row) in logits.iter_mut().zip(rows) {
                let column = (row.target as usize).wrapping_sub(problem.first_class);
                if column < problem.columns {
                    problem.logits_at(row, &[column as u32], scratch, std::slice::from_mut(logit));
                }
            }
        },
    );
    logits
}

/// A state for each kept row, with what must be known ahead: the targets, and for the rank their
/// logits.
fn initial_states<F: Operand>(problem: &Problem<'_, F::Sum>, plan: &Plan) -> Vec<RowState> {
    let hard = matches!(problem.targets, Targets::Hard(_));
    let state = |row: &Row| match hard {
        true => RowState::with_target(row.target),
        false => RowState::new(),
    };
    let mut states: Vec<RowState> = problem.rows.iter().map(state).collect();
    if problem.loss.statistics.rank {
        let owned;
        let logits = match &problem.target_logits {
            Some(logits) => logits,
            None => {
                owned = owned_target_logits::<F>(problem, plan);
                &owned
            }
        };
        for (state, logit) in states.iter_mut().zip(logits) {
            state.ahead = Some(logit.to_f64()).filter(|logit| !logit.is_nan());
            state.above = state.ahead.map(|_| 0);
        }
    }
    states
}

/// The states of the kept rows, and the k most likely classes of each, row after row.
pub(crate) struct Folded {
    pub(crate) states: Vec<RowState>,
    pub(crate) top: Vec<Entry>,
    /// What a filter decides by.
    pub(crate) record: Option<Record>,
    /// What the kept rows have from a second head, where the loss has divergences.
    pub(crate) second: Vec<SecondRow>,
    pub(crate) candidates: CandidateRows,
}

impl Folded {
    /// Nothing but what must be known ahead: the targets, and for the rank their logits.
    pub(crate) fn new<F: Operand>(problem: &Problem<'_, F::Sum>, plan: &Plan) -> Self {
        let top = vec![Entry::empty(); problem.rows.len() * problem.loss.statistics.top_k];
        Self { states: initial_states::<F>(problem, plan), top, ..Self::nothing(problem) }
    }

    /// Nothing of some rows with hard targets, of which nothing must be known ahead.
    pub(crate) fn of_rows<R: Real>(problem: &Problem<'_, R>, rows: &[Row]) -> Self {
        let top = vec![Entry::empty(); rows.len() * problem.loss.statistics.top_k];
        let states = rows.iter().map(|row| RowState::with_target(row.target)).collect();
        Self { states, top, ..Self::nothing(problem) }
    }

    /// No row.
    pub(crate) fn nothing<R: Real>(problem: &Problem<'_, R>) -> Self {
        let candidates = CandidateRows::new(problem.candidates.as_ref());
        Self { states: Vec::new(), top: Vec::new(), record: None, second: Vec::new(), candidates }
    }

    /// Joins in what each of some columns has made of these rows, in the order of the columns.
    pub(crate) fn merge(&mut self, rows: Range<usize>, partial: &[RowState], top: &[Entry]) {
        let (height, k) = (rows.len(), self.top.len() / self.states.len().max(1));
        for partial in partial.chunks(height.max(1)) {
            for (state, partial) in self.states[rows.clone()].iter_mut().zip(partial) {
                state.merge(partial);
            }
        }
        if k > 0 {
            let lists = &mut self.top[rows.start * k..rows.end * k];
            for top in top.chunks(height * k) {
                for (list, partial) in lists.chunks_mut(k).zip(top.chunks(k)) {
                    top_k::merge(list, partial);
                }
            }
        }
    }
}

/// Folds every kept row over all columns.
pub(crate) fn fold_rows<F: Operand>(problem: &Problem<'_, F::Sum>, plan: &Plan) -> Folded {
    fold_rows_drawing::<F>(problem, plan, None)
}

/// The same, with draws from the rows.
pub(crate) fn fold_rows_drawing<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    mut drawing: Option<&mut Drawing>,
) -> Folded {
    let mut folded = Folded::new::<F>(problem, plan);
    let mut scratches = Scratch::several(plan.workers);
    let (mut hidden, mut second_hidden) = (Hidden::<F>::new(), Hidden::<F>::new());
    let second = problem.second_in_fold();
    let mut partial = Partial::new(problem, plan);
    let (kept, wave) = (problem.rows.len(), plan.rows_at_once);
    let mut record =
        problem.filter.map(|_| Record::new(kept, wave, problem.columns, plan.tile_columns));
    for start in (0..kept).step_by(wave) {
        let at = start..(start + wave).min(kept);
        let rows = &problem.rows[at.clone()];
        let few = FewRows::new(problem, rows);
        if few.is_none() {
            hidden.pack(problem, rows, plan.workers);
        }
        let mut tasks = partial.tasks(&folded.states[at.clone()]);
        if let Some(record) = &mut record {
            let tiles = tasks.iter().map(|task| task.columns.len().div_ceil(plan.tile_columns));
            let tiles: Vec<usize> = tiles.collect();
            let parts = record.parts(at.clone(), tiles.into_iter());
            for (task, part) in tasks.iter_mut().zip(parts) {
                task.record = Some(part);
            }
        }
        if let Some(drawing) = &mut drawing {
            let parts = drawing.parts(&at, tasks.len());
            tasks.iter_mut().zip(parts).for_each(|(task, part)| task.draws = Some(part));
        }
        if let Some(second) = &second {
            second_hidden.pack(second, rows, plan.workers);
        }
        let second = second.map(|_| &second_hidden);
        let from = PackedRows { hidden: &hidden, few: few.as_ref(), second };
        parallel::for_each(&mut scratches, tasks, |scratch, task| {
            problem.fold_span(from, rows, task, plan.tile_columns, scratch, |_, _, _| {});
        });
        if let Some(drawing) = &mut drawing {
            drawing.merge(at.clone());
        }
        folded.merge(at, &partial.states, &partial.top);
    }
    let seen = (&mut folded.states[..], &mut folded.top[..]);
    add_candidates(problem, &mut scratches, &problem.rows, seen, &mut folded.candidates);
    add_sparse_targets(problem, &mut scratches, &mut folded.states, &problem.rows);
    folded.record = record;
    folded
}

/// Rows of hidden states that are packed.
#[derive(Clone, Copy)]
pub(crate) struct PackedRows<'h, 'p, F: Operand> {
    pub(crate) hidden: &'h Hidden<F>,
    /// The same rows the other way, where they are few.
    pub(crate) few: Option<&'h FewRows<'p, F>>,
    /// Those of the second head, where the fold needs its logits.
    pub(crate) second: Option<&'h Hidden<F>>,
}

/// Rows that are to be folded over some columns, from nothing on.
pub(crate) struct FoldTask<'a> {
    pub(crate) columns: Range<usize>,
    states: &'a mut [RowState],
    top: &'a mut [Entry],
    record: Option<RecordPart<'a>>,
    draws: Option<DrawPart<'a>>,
}

/// What each task has made of the rows of a wave.
pub(crate) struct Partial {
    spans: Vec<Range<usize>>,
    pub(crate) states: Vec<RowState>,
    pub(crate) top: Vec<Entry>,
    k: usize,
}

impl Partial {
    /// Room for as many rows as the plan takes at once.
    pub(crate) fn new<R: Real>(problem: &Problem<'_, R>, plan: &Plan) -> Self {
        let spans: Vec<_> = spans(problem.columns, plan.tile_columns).collect();
        let most = plan.rows_at_once.min(problem.rows.len()) * spans.len();
        let k = problem.loss.statistics.top_k;
        Self { spans, states: Vec::with_capacity(most), top: Vec::with_capacity(most * k), k }
    }

    /// A task for each span; their states begin as copies of what is known of the rows.
    pub(crate) fn tasks(&mut self, known: &[RowState]) -> Vec<FoldTask<'_>> {
        self.states.clear();
        for _ in &self.spans {
            self.states.extend_from_slice(known);
        }
        self.top.clear();
        self.top.resize(self.states.len() * self.k, Entry::empty());
        let mut tops = &mut self.top[..];
        let states = self.states.chunks_mut(known.len().max(1));
        let mut tasks = Vec::with_capacity(self.spans.len());
        for (columns, states) in self.spans.iter().zip(states) {
            let (top, rest) = tops.split_at_mut(states.len() * self.k);
            tops = rest;
            tasks.push(FoldTask {
                columns: columns.clone(),
                states,
                top,
                record: None,
                draws: None,
            });
        }
        tasks
    }
}

/// Adds the classes of sparse soft targets to the deviation of their rows, and scales that of the
/// smoothing, so that it means the same as with dense targets.
pub(crate) fn add_sparse_targets<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    scratches: &mut [Scratch<F>],
    states: &mut [RowState],
    rows: &[Row],
) {
    if !matches!(problem.targets, Targets::Sparse { .. }) {
        return;
    }
    let smoothing = problem.loss.needs.smoothing() / problem.vocabulary as f64;
    let tasks = states.chunks_mut(TILE_ROWS).zip(rows.chunks(TILE_ROWS)).collect();
    parallel::for_each(scratches, tasks, |scratch, (states, rows): (&mut [RowState], &[Row])| {
        let (mut columns, mut logits) = (Vec::new(), Vec::new());
        for (state, row) in states.iter_mut().zip(rows) {
            let targets = problem.sparse_of(row, 0..problem.columns);
            columns.clear();
            columns.extend(targets.iter().map(|&(class, _)| class));
            logits.resize(columns.len(), F::Sum::ZERO);
            problem.logits_at(row, &columns, scratch, &mut logits);
            weigh_sparse(state, smoothing, targets, logits.iter().map(|logit| logit.to_f64()));
        }
    });
}

/// Adds a row's sparse targets to what its state has of the smoothing.
pub(crate) fn weigh_sparse(
    state: &mut RowState,
    smoothing: f64,
    targets: &[(u32, f64)],
    logits: impl Iterator<Item = f64>,
) {
    state.deviation = scaled(smoothing, state.deviation);
    state.weight *= smoothing;
    state.other_weight *= smoothing;
    for (&(class, weight), logit) in targets.iter().zip(logits) {
        state.weight += weight;
        if state.argmax != i64::from(class) {
            state.other_weight += weight;
        }
        state.deviation += scaled(weight, state.maximum - logit);
    }
}

/// `factor · value`, where a factor of 0 takes no part, not even of infinity; NaN stays.
pub(crate) fn scaled(factor: f64, value: f64) -> f64 {
    if factor == 0.0 && !value.is_nan() { 0.0 } else { factor * value }
}

impl<R: Real> Problem<'_, R> {
    /// Folds rows that are packed over the columns of a task, a tile at a time. `keep` is given the
    /// products of each group of rows, with their columns, before they are folded.
    pub(crate) fn fold_span<F: Operand<Real = R, Sum = R>>(
        &self,
        PackedRows { hidden, few, second }: PackedRows<'_, '_, F>,
        rows: &[Row],
        task: FoldTask<'_>,
        tile_columns: usize,
        scratch: &mut Scratch<F>,
        mut keep: impl FnMut(Range<usize>, Range<usize>, &[R]),
    ) {
        let FoldTask { columns, states, top, mut record, mut draws } = task;
        let k = top.len() / states.len().max(1);
        let length = steps_length::<F>(self.width);
        for (t, start) in columns.clone().step_by(tile_columns).enumerate() {
            let columns = start..(start + tile_columns).min(columns.end);
            let width = columns.len();
            let Scratch { packed, lines, tile, second_packed, second_tile, row } = &mut *scratch;
            let second = second.map(|hidden| {
                let head = self.second.as_deref().expect("packed rows of a second head");
                let length = width.div_ceil(PANEL) * steps_length::<F>(head.width);
                let packed = second_packed.sized(length);
                head.pack_classes(columns.clone(), lines, packed);
                (head, hidden, &*packed)
            });
            let packed = match few {
                None => {
                    let packed = packed.sized(width.div_ceil(PANEL) * length);
                    self.pack_classes(columns.clone(), lines, packed);
                    &*packed
                }
                Some(_) => &[],
            };
            for first in (0..rows.len()).step_by(TILE_GROUPS * GROUP) {
                let group = first..(first + TILE_GROUPS * GROUP).min(rows.len());
                let most = TILE_GROUPS * GROUP * tile_columns;
                let scratch = few.map_or(0, |_| few_scratch(group.len(), tile_columns));
                let (tile, scratch) = sized(tile, most + scratch).split_at_mut(most);
                let tile = &mut tile[..group.len() * width];
                if let Some(few) = few {
                    few.products(self, group.clone(), columns.clone(), lines, scratch, tile);
                } else {
                    let to = (&mut *tile, width);
                    let next = columns.end..columns.end + tile_columns;
                    let most = TILE_GROUPS * GROUP;
                    let next = self.piece(next, first / most, rows.len().div_ceil(most));
                    let packed = (packed, next);
                    self.products(hidden, rows, group.clone(), columns.clone(), packed, to);
                }
                keep(group.clone(), columns.clone(), tile);
                let second = second.map(|(head, hidden, packed)| {
                    let tile = &mut sized(second_tile, most)[..group.len() * width];
                    let to = (&mut *tile, width);
                    head.logits(hidden, rows, group.clone(), columns.clone(), packed, to);
                    &*tile
                });
                for (at, (i, products)) in group.zip(tile.chunks_mut(width)).enumerate() {
                    let second = second.map(|tile| &tile[at * width..(at + 1) * width]);
                    let list = &mut top[i * k..(i + 1) * k];
                    let first_class = self.first_class + columns.start;
                    let columns = columns.clone();
                    let maximum = self.fold_row(
                        &rows[i],
                        columns,
                        products,
                        second,
                        row,
                        &mut states[i],
                        list,
                    );
                    if let Some(record) = &mut record {
                        record.put(self.loss.isa, t, i, products, maximum);
                    }
                    if let Some(draws) = &mut draws {
                        draws.see(self.loss.isa, i, first_class, products);
                    }
                }
            }
        }
    }

    /// Turns some products of a row into logits, in place, and folds them into its state. Returns
    /// a number that none of them is above, the largest of this block or of those before. `second` are the
    /// logits of a second head.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn fold_row(
        &self,
        row: &Row,
        columns: Range<usize>,
        products: &mut [R],
        second: Option<&[R]>,
        scratch: &mut RowScratch<R>,
        state: &mut RowState,
        top: &mut [Entry],
    ) -> R {
        let (isa, transform) = (self.loss.isa, self.transform_of(row));
        let moments = self.loss.moments();
        let first_class = self.first_class + columns.start;
        transform.apply(isa, self.bias_of(columns.clone()), products, None);
        row.floor.apply(isa, first_class, products);
        self.hide_candidates(row, &columns, products);
        let logits = products;
        let companions = self.companions_of(row, columns.clone(), second, &mut scratch.companions);
        let weights = match self.weights_of(row, columns, &mut scratch.weights) {
            Weights::None => None,
            Weights::Uniform => Some(None),
            Weights::Each(weights) => Some(Some(weights)),
        };
        // Most blocks have nothing above what has been seen: their sums join it as they are.
        let known = R::from_f64(state.maximum);
        if top.is_empty()
            && state.maximum.is_finite()
            && moments != Moments::Second
            && let Some((remainder, first)) = block::reduce_below(isa, logits, known, moments)
        {
            state.remainder += remainder;
            state.first_moment += first;
            if let Some(weights) = weights {
                let own = block::deviation(isa, logits, known, weights, None);
                state.deviation += own.deviation;
                state.weight += own.weight;
                state.other_weight += own.weight;
            }
            if let Some(values) = companions {
                state.companion += block::companion(isa, logits, known, values, None);
            }
            self.see_target(first_class, logits, state);
            if let (Some(logit), Some(above)) = (state.ahead, &mut state.above) {
                *above += block::count_above(isa, logits, R::from_f64(logit)) as u64;
            }
            return known;
        }
        let block = block::reduce(isa, logits, moments);
        let mut part = RowState::new();
        part.set_block(&block, first_class as i64);
        if let Some(weights) = weights {
            let argmax = Some(block.argmax);
            let own = block::deviation(isa, logits, block.maximum, weights, argmax);
            part.deviation = own.deviation;
            (part.weight, part.other_weight) = (own.weight, own.other_weight);
        }
        if let Some(values) = companions {
            let (maximum, argmax) = (block.maximum, Some(block.argmax));
            part.companion = block::companion(isa, logits, maximum, values, argmax);
            part.companion_of_argmax = values[block.argmax].to_f64();
        }
        part.target = state.target;
        self.see_target(first_class, logits, &mut part);
        if let Some(logit) = state.ahead {
            part.above = Some(block::count_above(isa, logits, R::from_f64(logit)) as u64);
        }
        top_k::push(top, first_class as u32, logits, block.maximum);
        state.merge(&part);
        block.maximum
    }

    /// Keeps the target's logit where it is among these.
    fn see_target(&self, first_class: usize, logits: &[R], state: &mut RowState) {
        let target = usize::try_from(state.target).ok();
        if let Some(logit) = target.and_then(|y| logits.get(y.wrapping_sub(first_class))) {
            state.target_logit = Some(logit.to_f64());
        }
    }
}

impl LinearCrossEntropy {
    fn moments(&self) -> Moments {
        match (self.statistics.varentropy, self.statistics.entropy || self.needs.entropy) {
            (true, _) => Moments::Second,
            (false, true) => Moments::First,
            (false, false) => Moments::Zeroth,
        }
    }
}
