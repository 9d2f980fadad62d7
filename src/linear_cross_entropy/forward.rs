//! The fold over the vocabulary, and what comes out of it.

use ndarray::{Array1, Array2, ArrayView2};
use std::ops::Range;

use super::few_rows::{FewRows, few_scratch};
use super::filter::{Cut, Dropped, Record, RecordPart};
use super::gradients::{Upstream, clear_vector, put_vector};
use super::inputs::{Inputs, Targets};
use super::options::{LinearCrossEntropy, Statistics};
use super::plan::{Pass, Plan, Shapes, TILE_GROUPS, TILE_ROWS, spans};
use super::problem::{Divisors, Problem, Row};
use super::tile::{Hidden, Slot, Weights, sized};
use crate::element::{Element, Operand, Real};
use crate::error::{Error, Result};
use crate::gemm::{GROUP, PANEL, steps_length};
use crate::matrix::VectorMut;
use crate::parallel;
use crate::quotient::{quotient, sum_of_products};
use crate::softmax::RowState;
use crate::softmax::block::{self, Moments};
use crate::softmax::top_k::{self, Entry};

/// Calls a function for the format of the problem's products.
macro_rules! in_format {
    ($problem:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $problem.narrow {
            true => $function::<R::Narrow>($($argument),*),
            false => $function::<R>($($argument),*),
        }
    };
}
pub(crate) use in_format;

/// Calls a method that is generic in what is computed in, for the precision of the inputs.
macro_rules! in_precision {
    ($inputs:expr, $on:ident.$method:ident($($argument:expr),* $(,)?)) => {
        match $inputs.is_double() {
            true => $on.$method::<f64>($($argument),*),
            false => $on.$method::<f32>($($argument),*),
        }
    };
}
pub(crate) use in_precision;

/// A number that each row has.
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy, Statistic};
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// let loss = LinearCrossEntropy::builder().entropy(true).build()?;
/// let forward = loss.forward(&Inputs::from_logits(logits.view(), &[1_u32]))?;
/// assert_eq!(forward.statistic(Statistic::Entropy)?[0], std::f64::consts::LN_2);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statistic {
    /// L_i, before the reduction.
    Loss,
    /// lse, in nats.
    LogSumExp,
    /// ln p of the target, in nats.
    LogProbability,
    /// H = −Σ p ln p, in nats; needs [`entropy`](crate::LinearCrossEntropyBuilder::entropy).
    Entropy,
    /// The variance of ln p under p, in nats²; needs
    /// [`varentropy`](crate::LinearCrossEntropyBuilder::varentropy).
    Varentropy,
    /// −ln max p, in nats.
    MinEntropy,
}

/// The rows of a vocabulary, or of one shard of it, folded: what shards exchange.
///
/// ```
/// use ndarray::{arr2, s};
/// use surprisal::{Inputs, LinearCrossEntropy, Shard};
///
/// let hidden = arr2(&[[1.0_f64, -0.5], [0.3, 2.0]]);
/// let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1], [0.0, -0.4]]);
/// let loss = LinearCrossEntropy::builder().label_smoothing(0.1).build()?;
/// let shard = |classes: std::ops::Range<usize>| {
///     let part = classifier.slice(s![classes.clone(), ..]);
///     let shard = Shard { first_class: classes.start, vocabulary: 4 };
///     loss.fold(&Inputs::new(hidden.view(), part, &[3_u32, 0]).shard(shard))
/// };
/// let mut fold = shard(0..3)?;
/// fold.merge(&shard(3..4)?)?;
/// let whole = loss.forward(&Inputs::new(hidden.view(), classifier.view(), &[3_u32, 0]))?;
/// assert!((fold.finish()?.loss() - whole.loss()).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fold {
    forward: Forward,
}

/// The loss of every row, and whatever else the fold was asked for.
///
/// ```
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let logits = ndarray::arr2(&[[1.0_f32, 3.0, 2.0], [5.0, 5.0, 0.0]]);
/// let loss = LinearCrossEntropy::builder().rank(true).top_k(2).build()?;
/// let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
/// assert_eq!(forward.argmax().to_vec(), [1, -1]);
/// assert_eq!(forward.rank()?.to_vec(), [1, -1]);
/// assert_eq!(forward.top_k().0.row(0).to_vec(), [1, 2]);
/// assert_eq!((forward.len(), forward.kept()), (2, 1));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Forward {
    pub(crate) states: Vec<RowState>,
    pub(crate) rows: Vec<Row>,
    top: Vec<Entry>,
    outputs: usize,
    loss: LinearCrossEntropy,
    vocabulary: usize,
    /// The classes that have been folded in, in order.
    covered: Vec<Range<usize>>,
    class_weights_of_targets: Option<Vec<f64>>,
    soft: bool,
    divisors: Divisors,
    /// What a filter decides by, until shards are merged.
    pub(crate) record: Option<Record>,
    dropped: Option<Dropped>,
}

impl LinearCrossEntropy {
    /// The loss, forward alone. A row of token weight 0 adds nothing, whatever its logits are.
    ///
    /// ```
    /// # use ndarray::{arr2, s};
    /// # use surprisal::{Inputs, LinearCrossEntropy, Shard};
    /// # let hidden = arr2(&[[1.0_f64, -0.5]]);
    /// # let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// # let (left, right) = (classifier.slice(s![..2, ..]), classifier.slice(s![2.., ..]));
    /// let inputs = Inputs::new(hidden.view(), classifier.view(), &[2_u32]);
    /// assert!(loss.forward(&inputs)?.loss() > 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// Every argument outside its domain, see [`Error`]; [`Error::MemoryBudget`] for a budget
    /// under which not one tile fits.
    pub fn forward(&self, inputs: &Inputs<'_>) -> Result<Forward> {
        inputs.check_whole()?;
        self.fold(inputs)?.finish()
    }

    /// The same without the rank, which asks for the target's logit ahead.
    pub(crate) fn without_rank(&self) -> Self {
        let statistics = Statistics { rank: false, ..self.statistics };
        Self { statistics, ..self.clone() }
    }

    /// The fold over the classes of one shard, to be merged with those of the others.
    ///
    /// ```
    /// # use ndarray::{arr2, s};
    /// # use surprisal::{Inputs, LinearCrossEntropy, Shard};
    /// # let hidden = arr2(&[[1.0_f64, -0.5]]);
    /// # let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// # let (left, right) = (classifier.slice(s![..2, ..]), classifier.slice(s![2.., ..]));
    /// let shard = Shard { first_class: 2, vocabulary: 3 };
    /// let fold = loss.fold(&Inputs::new(hidden.view(), right, &[2_u32]).shard(shard))?;
    /// assert_eq!(fold.states()[0].argmax(), Some(2));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn fold(&self, inputs: &Inputs<'_>) -> Result<Fold> {
        in_precision!(inputs, self.fold_in(inputs))
    }

    fn fold_in<R: Real>(&self, inputs: &Inputs<'_>) -> Result<Fold> {
        let plan = self.plan(&Shapes::of(inputs), Pass::Forward)?;
        let problem = Problem::<R>::new(self, inputs)?;
        let mut folded = in_format!(problem, fold_rows(&problem, &plan));
        let record = folded.record.take();
        let cut = Cut::new(&problem, record.as_ref());
        let dropped = cut.map(|cut| cut.dropped(&problem, &folded.states, plan.slots));
        let forward = Forward::new(problem, folded, dropped);
        Ok(Fold { forward: Forward { record, ..forward } })
    }

    /// ln p of some classes of each row `[N,K]`, in nats, after a forward of the same inputs: what a
    /// multiple-choice question or a preference loss asks. 0 at ignored rows.
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::{Inputs, LinearCrossEntropy};
    /// let logits = arr2(&[[1.0_f64, 2.0, 3.0]]);
    /// let inputs = Inputs::from_logits(logits.view(), &[0_u32]);
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let forward = loss.forward(&inputs)?;
    /// let of = loss.log_probabilities(&inputs, &forward, arr2(&[[2_u32, 0]]).view())?;
    /// assert!((of[[0, 0]] + 0.4076059644443806).abs() < 1e-15);
    /// assert_eq!(of[[0, 1]], -forward.loss());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Value`] for a class that is not the classifier's.
    pub fn log_probabilities(
        &self,
        inputs: &Inputs<'_>,
        forward: &Forward,
        candidates: ArrayView2<'_, u32>,
    ) -> Result<Array2<f64>> {
        in_precision!(inputs, self.log_probabilities_in(inputs, forward, candidates))
    }

    fn log_probabilities_in<R: Real>(
        &self,
        inputs: &Inputs<'_>,
        forward: &Forward,
        candidates: ArrayView2<'_, u32>,
    ) -> Result<Array2<f64>> {
        let problem = Problem::<R>::new(&self.without_rank(), inputs)?;
        forward.check_rows(&problem)?;
        let (rows, k) = candidates.dim();
        if rows != problem.outputs {
            return Err(Error::Shape {
                argument: "candidates",
                found: vec![rows, k],
                expected: format!("{} rows, the number of losses", problem.outputs),
            });
        }
        let classes = problem.first_class..problem.first_class + problem.columns;
        let bad = candidates.indexed_iter().find(|&(_, &c)| !classes.contains(&(c as usize)));
        if let Some(((i, j), class)) = bad {
            return Err(Error::Value {
                argument: "candidates",
                index: vec![i, j],
                value: class.to_string(),
                expected: "a class of the classifier",
            });
        }
        let mut to = Array2::zeros((rows, k));
        in_format!(problem, log_probabilities(&problem, &forward.states, candidates, &mut to));
        Ok(to)
    }

    /// The logit of each target, NaN where its class is not of this shard or the row is ignored:
    /// bit for bit the one that the fold sees. With soft targets an error. Over shards the rank needs
    /// them ahead, those of all shards put together:
    ///
    /// ```
    /// use ndarray::{Array1, Array2, arr2, s};
    /// use surprisal::{Gradients, Inputs, LinearCrossEntropy, Shard, Upstream};
    ///
    /// let hidden = arr2(&[[1.0_f64, -0.5], [0.3, 2.0]]);
    /// let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1], [0.0, -0.4]]);
    /// let targets = [3_u32, 0];
    /// let loss = LinearCrossEntropy::builder().rank(true).build()?;
    /// let shards = [0..3, 3..4].map(|classes| {
    ///     let shard = Shard { first_class: classes.start, vocabulary: 4 };
    ///     let part = classifier.slice(s![classes, ..]);
    ///     Inputs::new(hidden.view(), part, &targets).shard(shard)
    /// });
    /// let mut logits = Array1::from_elem(2, f64::NAN);
    /// for shard in &shards {
    ///     let own = loss.target_logits(shard)?;
    ///     logits.zip_mut_with(&own, |to, &from| *to = if from.is_nan() { *to } else { from });
    /// }
    /// let shards = shards.map(|shard| shard.target_logits(logits.view()));
    /// let mut fold = loss.fold(&shards[0])?;
    /// fold.merge(&loss.fold(&shards[1])?)?;
    /// let forward = fold.finish()?;
    /// let whole = Inputs::new(hidden.view(), classifier.view(), &targets);
    /// assert_eq!(forward.rank()?, loss.forward(&whole)?.rank()?);
    ///
    /// // The gradient of the hidden states is the sum over the shards, that of the classifier is
    /// // each shard's own.
    /// let mut d_hidden = Array2::<f64>::zeros((2, 2));
    /// for shard in &shards {
    ///     let gradients = Gradients::new().accumulate_hidden(d_hidden.view_mut());
    ///     loss.vjp(shard, &forward, &Upstream::default(), gradients)?;
    /// }
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn target_logits(&self, inputs: &Inputs<'_>) -> Result<Array1<f64>> {
        in_precision!(inputs, self.target_logits_in(inputs))
    }

    fn target_logits_in<R: Real>(&self, inputs: &Inputs<'_>) -> Result<Array1<f64>> {
        if !matches!(inputs.targets, Targets::Hard(_)) {
            let what = "soft targets have no target logit, expected hard targets".into();
            return Err(Error::Conflict { what });
        }
        let problem = Problem::<R>::new(&self.without_rank(), inputs)?;
        let plan = self.plan(&Shapes::of(inputs), Pass::Forward)?;
        let mut logits = Array1::from_elem(problem.outputs, f64::NAN);
        let owned = in_format!(problem, owned_target_logits(&problem, &plan));
        for (row, logit) in problem.rows.iter().zip(owned) {
            logits[row.output] = logit.to_f64();
        }
        Ok(logits)
    }
}

/// ln p of some classes of each row.
fn log_probabilities<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    states: &[RowState],
    candidates: ArrayView2<'_, u32>,
    to: &mut Array2<f64>,
) {
    let mut slot = Slot::<F>::several(1);
    let k = candidates.dim().1;
    let (mut columns, mut logits) = (vec![0; k], vec![F::Sum::ZERO; k]);
    for (row, state) in problem.rows.iter().zip(states) {
        for (column, &class) in columns.iter_mut().zip(candidates.row(row.output)) {
            *column = class - problem.first_class as u32;
        }
        problem.logits_at(row, &columns, &mut slot[0], &mut logits);
        for (to, logit) in to.row_mut(row.output).iter_mut().zip(&logits) {
            *to = 0.0 - state.surprisal_of(logit.to_f64());
        }
    }
}

/// The logit of each kept row's target, NaN where another shard owns it.
fn owned_target_logits<F: Operand>(problem: &Problem<'_, F::Sum>, plan: &Plan) -> Vec<F::Sum> {
    let mut logits = vec![F::Sum::from_f64(f64::NAN); problem.rows.len()];
    let tasks = logits.chunks_mut(TILE_ROWS).zip(problem.rows.chunks(TILE_ROWS)).collect();
    let mut slots = Slot::<F>::several(plan.slots);
    parallel::for_each(&mut slots, tasks, |slot, (logits, rows): (&mut [F::Sum], &[Row])| {
        for (logit, row) in logits.iter_mut().zip(rows) {
            let column = (row.target as usize).wrapping_sub(problem.first_class);
            if column < problem.columns {
                problem.logits_at(row, &[column as u32], slot, std::slice::from_mut(logit));
            }
        }
    });
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
}

impl Folded {
    /// Nothing but what must be known ahead: the targets, and for the rank their logits.
    pub(crate) fn new<F: Operand>(problem: &Problem<'_, F::Sum>, plan: &Plan) -> Self {
        let top = vec![Entry::empty(); problem.rows.len() * problem.loss.statistics.top_k];
        Self { states: initial_states::<F>(problem, plan), top, record: None }
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
    let mut folded = Folded::new::<F>(problem, plan);
    let mut slots = Slot::several(plan.slots);
    let mut hidden = Hidden::<F>::new();
    let mut partial = Partial::new(problem, plan);
    let (kept, wave) = (problem.rows.len(), plan.rows_at_once);
    let mut record =
        problem.threshold.map(|_| Record::new(kept, wave, problem.columns, plan.tile_columns));
    for start in (0..kept).step_by(wave) {
        let at = start..(start + wave).min(kept);
        let rows = &problem.rows[at.clone()];
        let few = FewRows::new(problem, rows);
        if few.is_none() {
            hidden.pack(problem, rows, plan.slots);
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
        let from = (&hidden, few.as_ref());
        parallel::for_each(&mut slots, tasks, |slot, task| {
            problem.fold_span(from, rows, task, plan.tile_columns, slot, |_, _, _| {});
        });
        folded.merge(at, &partial.states, &partial.top);
    }
    add_sparse_targets(problem, &mut slots, &mut folded.states, &problem.rows);
    folded.record = record;
    folded
}

/// Rows that are to be folded over some columns, from nothing on.
pub(crate) struct FoldTask<'a> {
    pub(crate) columns: Range<usize>,
    states: &'a mut [RowState],
    top: &'a mut [Entry],
    record: Option<RecordPart<'a>>,
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
            tasks.push(FoldTask { columns: columns.clone(), states, top, record: None });
        }
        tasks
    }
}

/// Adds the classes of sparse soft targets to the deviation of their rows, and scales that of the
/// smoothing, so that it means the same as with dense targets.
pub(crate) fn add_sparse_targets<F: Operand>(
    problem: &Problem<'_, F::Sum>,
    slots: &mut [Slot<F>],
    states: &mut [RowState],
    rows: &[Row],
) {
    if !matches!(problem.targets, Targets::Sparse { .. }) {
        return;
    }
    let spread = problem.loss.label_smoothing / problem.vocabulary as f64;
    let tasks = states.chunks_mut(TILE_ROWS).zip(rows.chunks(TILE_ROWS)).collect();
    parallel::for_each(slots, tasks, |slot, (states, rows): (&mut [RowState], &[Row])| {
        let (mut columns, mut logits) = (Vec::new(), Vec::new());
        for (state, row) in states.iter_mut().zip(rows) {
            let targets = problem.sparse_of(row, 0..problem.columns);
            columns.clear();
            columns.extend(targets.iter().map(|&(class, _)| class));
            logits.resize(columns.len(), F::Sum::ZERO);
            problem.logits_at(row, &columns, slot, &mut logits);
            weigh_sparse(state, spread, targets, logits.iter().map(|logit| logit.to_f64()));
        }
    });
}

/// Adds a row's sparse targets to what its state has of the smoothing.
pub(crate) fn weigh_sparse(
    state: &mut RowState,
    spread: f64,
    targets: &[(u32, f64)],
    logits: impl Iterator<Item = f64>,
) {
    state.deviation = scaled(spread, state.deviation);
    state.weight *= spread;
    state.other_weight *= spread;
    for (&(class, weight), logit) in targets.iter().zip(logits) {
        state.weight += weight;
        if state.argmax != i64::from(class) {
            state.other_weight += weight;
        }
        state.deviation += scaled(weight, state.maximum - logit);
    }
}

/// `factor · value`, where a factor of 0 takes no part, not even of infinity; NaN stays.
fn scaled(factor: f64, value: f64) -> f64 {
    if factor == 0.0 && !value.is_nan() { 0.0 } else { factor * value }
}

impl<R: Real> Problem<'_, R> {
    /// Folds rows that are packed over the columns of a task, a tile at a time. `keep` is given the
    /// products of each group of rows, with their columns, before they are folded.
    pub(crate) fn fold_span<F: Operand<Real = R, Sum = R>>(
        &self,
        (hidden, few): (&Hidden<F>, Option<&FewRows<'_, F>>),
        rows: &[Row],
        task: FoldTask<'_>,
        tile_columns: usize,
        slot: &mut Slot<F>,
        mut keep: impl FnMut(Range<usize>, Range<usize>, &[R]),
    ) {
        let FoldTask { columns, states, top, mut record } = task;
        let k = top.len() / states.len().max(1);
        let length = steps_length::<F>(self.width);
        for (t, start) in columns.clone().step_by(tile_columns).enumerate() {
            let columns = start..(start + tile_columns).min(columns.end);
            let width = columns.len();
            let Slot { packed, lines, tile, row, .. } = &mut *slot;
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
                    few.products(self, group.clone(), columns.clone(), scratch, tile);
                } else {
                    let to = (&mut *tile, width);
                    let next = columns.end..columns.end + tile_columns;
                    let most = TILE_GROUPS * GROUP;
                    let next = self.piece(next, first / most, rows.len().div_ceil(most));
                    let packed = (packed, next);
                    self.products(hidden, rows, group.clone(), columns.clone(), packed, to);
                }
                keep(group.clone(), columns.clone(), tile);
                for (i, products) in group.zip(tile.chunks_mut(width)) {
                    let list = &mut top[i * k..(i + 1) * k];
                    let (columns, weights) = (columns.clone(), &mut row.weights);
                    let maximum =
                        self.fold_row(&rows[i], columns, products, weights, &mut states[i], list);
                    if let Some(record) = &mut record {
                        record.put(self.loss.isa, t, i, products, maximum);
                    }
                }
            }
        }
    }

    /// Turns some products of a row into logits, in place, and folds them into its state. Returns
    /// a number that none of them is above, the largest of this block or of those before.
    pub(crate) fn fold_row(
        &self,
        row: &Row,
        columns: Range<usize>,
        products: &mut [R],
        buffer: &mut [R],
        state: &mut RowState,
        top: &mut [Entry],
    ) -> R {
        let LinearCrossEntropy { isa, transform, statistics, .. } = self.loss;
        let first_class = self.first_class + columns.start;
        transform.apply(isa, self.bias_of(columns.clone()), products, None);
        let logits = products;
        let weights = match self.weights_of(row, columns, buffer) {
            Weights::None => None,
            Weights::Uniform => Some(None),
            Weights::Each(weights) => Some(Some(weights)),
        };
        // Most blocks have nothing above what has been seen: their sums join it as they are.
        let known = R::from_f64(state.maximum);
        if top.is_empty()
            && state.maximum.is_finite()
            && statistics.moments() != Moments::Second
            && let Some((remainder, first)) =
                block::reduce_below(isa, logits, known, statistics.moments())
        {
            state.remainder += remainder;
            state.first_moment += first;
            if let Some(weights) = weights {
                let own = block::deviation(isa, logits, known, weights, None);
                state.deviation += own.deviation;
                state.weight += own.weight;
                state.other_weight += own.weight;
            }
            self.see_target(first_class, logits, state);
            if let (Some(logit), Some(above)) = (state.ahead, &mut state.above) {
                *above += block::count_above(isa, logits, R::from_f64(logit)) as u64;
            }
            return known;
        }
        let block = block::reduce(isa, logits, statistics.moments());
        let mut part = RowState::new();
        part.set_block(&block, first_class as i64);
        if let Some(weights) = weights {
            let argmax = Some(block.argmax);
            let own = block::deviation(isa, logits, block.maximum, weights, argmax);
            part.deviation = own.deviation;
            (part.weight, part.other_weight) = (own.weight, own.other_weight);
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

impl Statistics {
    fn moments(&self) -> Moments {
        match (self.varentropy, self.entropy) {
            (true, _) => Moments::Second,
            (false, true) => Moments::First,
            (false, false) => Moments::Zeroth,
        }
    }
}

impl Fold {
    /// The state of each kept row.
    ///
    /// ```
    /// # use ndarray::{arr2, s};
    /// # use surprisal::{Inputs, LinearCrossEntropy, Shard};
    /// # let hidden = arr2(&[[1.0_f64, -0.5]]);
    /// # let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// # let (left, right) = (classifier.slice(s![..2, ..]), classifier.slice(s![2.., ..]));
    /// let shard = Shard { first_class: 0, vocabulary: 3 };
    /// let fold = loss.fold(&Inputs::new(hidden.view(), left, &[2_u32]).shard(shard))?;
    /// assert_eq!(fold.states()[0].target_logit, None);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn states(&self) -> &[RowState] {
        &self.forward.states
    }

    /// Folds in the states of the same rows over other classes, as another machine has sent them.
    ///
    /// ```
    /// # use ndarray::{arr2, s};
    /// # use surprisal::{Inputs, LinearCrossEntropy, Shard};
    /// # let hidden = arr2(&[[1.0_f64, -0.5]]);
    /// # let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// # let (left, right) = (classifier.slice(s![..2, ..]), classifier.slice(s![2.., ..]));
    /// let part = |part, first_class| {
    ///     let shard = Shard { first_class, vocabulary: 3 };
    ///     loss.fold(&Inputs::new(hidden.view(), part, &[2_u32]).shard(shard))
    /// };
    /// let mut fold = part(left, 0)?;
    /// fold.merge_states(2..3, part(right, 2)?.states())?;
    /// assert!(fold.finish()?.loss() > 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] for another number of rows, for classes that have been folded in
    /// already, and with top-k, whose lists are not in the states.
    pub fn merge_states(&mut self, classes: Range<usize>, states: &[RowState]) -> Result<()> {
        let mine = &mut self.forward;
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        if mine.states.len() != states.len() {
            return conflict("the states are of another number of rows, expected the same");
        }
        if mine.loss.statistics.top_k > 0 {
            return conflict("the lists of the top k are not in the states, expected whole folds");
        }
        mine.cover(&[classes])?;
        mine.forget();
        for (state, other) in mine.states.iter_mut().zip(states) {
            state.merge(other);
        }
        Ok(())
    }

    /// Folds in another shard of the same rows.
    ///
    /// ```
    /// # use ndarray::{arr2, s};
    /// # use surprisal::{Inputs, LinearCrossEntropy, Shard};
    /// # let hidden = arr2(&[[1.0_f64, -0.5]]);
    /// # let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// # let (left, right) = (classifier.slice(s![..2, ..]), classifier.slice(s![2.., ..]));
    /// let part = |part, first_class| {
    ///     let shard = Shard { first_class, vocabulary: 3 };
    ///     loss.fold(&Inputs::new(hidden.view(), part, &[2_u32]).shard(shard))
    /// };
    /// let mut fold = part(right, 2)?;
    /// fold.merge(&part(left, 0)?)?;
    /// assert!(fold.merge(&part(left, 0)?).is_err());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] where rows, targets, options or statistics are not the same, or where a
    /// class is in both.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let (mine, theirs) = (&mut self.forward, &other.forward);
        if mine.rows != theirs.rows || mine.outputs != theirs.outputs {
            let what = "the folds are of other rows or targets, expected the same".into();
            return Err(Error::Conflict { what });
        }
        let same = mine.loss.same_function(&theirs.loss)
            && mine.loss.statistics == theirs.loss.statistics
            && mine.vocabulary == theirs.vocabulary
            && mine.class_weights_of_targets == theirs.class_weights_of_targets
            && mine.divisors.of_weights == theirs.divisors.of_weights;
        if !same {
            let what = "the folds are of other options or vocabularies, expected the same".into();
            return Err(Error::Conflict { what });
        }
        mine.cover(&theirs.covered)?;
        mine.forget();
        for (state, other) in mine.states.iter_mut().zip(&theirs.states) {
            state.merge(other);
        }
        let k = mine.loss.statistics.top_k.max(1);
        for (list, other) in mine.top.chunks_mut(k).zip(theirs.top.chunks(k)) {
            top_k::merge(list, other);
        }
        Ok(())
    }

    /// The losses, once every shard is merged.
    ///
    /// ```
    /// # use ndarray::{arr2, s};
    /// # use surprisal::{Inputs, LinearCrossEntropy, Shard};
    /// # let hidden = arr2(&[[1.0_f64, -0.5]]);
    /// # let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// # let loss = LinearCrossEntropy::builder().build()?;
    /// # let (left, right) = (classifier.slice(s![..2, ..]), classifier.slice(s![2.., ..]));
    /// let shard = Shard { first_class: 0, vocabulary: 3 };
    /// let fold = loss.fold(&Inputs::new(hidden.view(), left, &[2_u32]).shard(shard))?;
    /// assert_eq!(
    ///     fold.finish().unwrap_err().to_string(),
    ///     "the fold has no class 2, expected shards of all 3 classes",
    /// );
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] where classes of the vocabulary are missing.
    pub fn finish(self) -> Result<Forward> {
        let forward = self.forward;
        let mut next = 0;
        for classes in forward.covered.iter().filter(|classes| !classes.is_empty()) {
            if classes.start != next {
                break;
            }
            next = classes.end;
        }
        if next != forward.vocabulary {
            return Err(Error::Conflict {
                what: format!(
                    "the fold has no class {next}, expected shards of all {} classes",
                    forward.vocabulary
                ),
            });
        }
        if !forward.soft {
            let missing = forward.states.iter().position(|state| state.target_logit.is_none());
            if let Some(i) = missing {
                let Row { target_row, target, .. } = forward.rows[i];
                return Err(Error::Conflict {
                    what: format!("targets[{target_row}] is {target}, a class that no shard holds"),
                });
            }
        }
        Ok(forward)
    }
}

impl Forward {
    /// Where nothing is known of what a filter drops.
    #[cfg(feature = "gpu")]
    pub(crate) fn without_dropped(self) -> Self {
        Self { dropped: None, ..self }
    }

    /// Forgets what a filter could decide by: it is of other classes than the fold.
    fn forget(&mut self) {
        self.record = None;
        self.dropped = self.dropped.map(|_| Dropped::NOTHING);
    }

    pub(crate) fn new<R: Real>(
        problem: Problem<'_, R>,
        folded: Folded,
        dropped: Option<Dropped>,
    ) -> Self {
        let Folded { states, top, .. } = folded;
        let soft = !matches!(problem.targets, Targets::Hard(_));
        let class_weights_of_targets = problem
            .class_weights
            .as_ref()
            .map(|w| problem.rows.iter().map(|row| w[row.target as usize].to_f64()).collect());
        Self {
            states,
            top,
            outputs: problem.outputs,
            covered: std::iter::once(problem.first_class..problem.first_class + problem.columns)
                .collect(),
            dropped: dropped.or(problem.loss.filter.map(|_| Dropped::NOTHING)),
            loss: problem.loss,
            vocabulary: problem.vocabulary,
            class_weights_of_targets,
            soft,
            divisors: problem.divisors,
            record: None,
            rows: problem.rows,
        }
    }

    /// Whether this forward was made from these rows and targets with these options.
    pub(crate) fn check_rows<R: Real>(&self, problem: &Problem<'_, R>) -> Result<()> {
        let row = |row: &Row| (row.hidden, row.output, row.target);
        let same = self.outputs == problem.outputs
            && self.rows.len() == problem.rows.len()
            && self.rows.iter().zip(&problem.rows).all(|(a, b)| row(a) == row(b))
            && self.loss.same_function(&problem.loss);
        match same {
            true => Ok(()),
            false => Err(Error::Conflict {
                what: "the forward has other options, rows or targets, expected what `forward` \
                       returned for these inputs"
                    .into(),
            }),
        }
    }

    /// The same, and whether it has what these upstream gradients need.
    pub(crate) fn check_upstream<R: Real>(
        &self,
        problem: &Problem<'_, R>,
        upstream: &Upstream<'_>,
    ) -> Result<()> {
        upstream.check(problem)?;
        self.check_rows(problem)?;
        if upstream.has_entropy() && self.mean_entropy().is_none() {
            return Err(Error::Conflict {
                what: "the forward carries no entropy, so it has no gradient".into(),
            });
        }
        Ok(())
    }

    /// Notes that these classes have been folded in.
    fn cover(&mut self, classes: &[Range<usize>]) -> Result<()> {
        let mut covered = [&self.covered[..], classes].concat();
        covered.retain(|classes| !classes.is_empty());
        covered.sort_by_key(|classes| classes.start);
        if let Some(pair) = covered.windows(2).find(|pair| pair[1].start < pair[0].end) {
            return Err(Error::Conflict {
                what: format!("class {} is in both folds, expected other classes", pair[1].start),
            });
        }
        self.covered = covered;
        Ok(())
    }

    /// Cross-entropy (without the power of two of the divisors) and z-loss of a kept row, without its
    /// token weight.
    fn terms(&self, i: usize) -> (f64, f64) {
        let state = &self.states[i];
        let log_sum = state.log_sum();
        let z = match self.loss.z_loss {
            0.0 => 0.0,
            z_loss => quotient(&[z_loss, state.log_sum_exp(), state.log_sum_exp()], 1.0, 0),
        };
        if self.soft {
            return (state.weight * log_sum + state.deviation, z);
        }
        let weight = self.class_weights_of_targets.as_ref().map_or(1.0, |w| w[i]);
        let surprisal = state.surprisal().unwrap_or(f64::NAN);
        let smoothing = self.loss.label_smoothing;
        let mut cross_entropy = scaled((1.0 - smoothing) * weight, surprisal);
        if smoothing > 0.0 {
            let spread = smoothing / self.vocabulary as f64;
            cross_entropy += spread * (state.weight * log_sum + state.deviation);
        }
        (cross_entropy, z)
    }

    /// The reduced loss in nats, summed in f64; with [`Reduction::None`](crate::Reduction::None)
    /// the sum, whose gradients are those of an upstream of ones.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert!((forward.loss() - 1.4076059644443804).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn loss(&self) -> f64 {
        let weighed = self.rows.iter().enumerate().filter(|(_, row)| row.token_weight != 0.0);
        let terms: Vec<(f64, (f64, f64))> =
            weighed.map(|(i, row)| (row.token_weight, self.terms(i))).collect();
        let (sum, exponent) = sum_of_products(terms.iter().map(|&(weight, (ce, _))| (weight, ce)));
        let Divisors { cross_entropy, exponent: taken, z_loss, .. } = self.divisors;
        let mut loss = quotient(&[sum], cross_entropy, exponent + taken);
        if self.loss.z_loss != 0.0 {
            let (sum, exponent) = sum_of_products(terms.iter().map(|&(w, (_, z))| (w, z)));
            loss += quotient(&[sum], z_loss, exponent);
        }
        loss
    }

    /// Writes a statistic of every row, 0 at ignored ones.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// let mut varentropy = ndarray::Array1::<f64>::zeros(2);
    /// forward.write(surprisal::Statistic::Varentropy, varentropy.view_mut())?;
    /// assert!(varentropy[0] > 0.0 && varentropy[1] == 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where `to` has another length than there are losses; [`Error::Conflict`]
    /// for a statistic that was not asked for, or that soft targets do not have.
    pub fn write<'a>(&self, statistic: Statistic, to: impl Into<VectorMut<'a>>) -> Result<()> {
        self.write_to(statistic, &mut to.into())
    }

    fn write_to(&self, statistic: Statistic, to: &mut VectorMut<'_>) -> Result<()> {
        if to.len() != self.outputs {
            return Err(Error::Shape {
                argument: "the output",
                found: vec![to.len()],
                expected: format!("[{}], the number of losses", self.outputs),
            });
        }
        let asked = match statistic {
            Statistic::Entropy => self.loss.statistics.entropy || self.loss.statistics.varentropy,
            Statistic::Varentropy => self.loss.statistics.varentropy,
            Statistic::LogProbability => !self.soft,
            _ => true,
        };
        if !asked {
            let what = match statistic {
                Statistic::LogProbability => "soft targets have no log-probability".into(),
                _ => format!("the {statistic:?} was not asked for when the loss was built"),
            };
            return Err(Error::Conflict { what });
        }
        clear_vector(to);
        for (i, (state, row)) in self.states.iter().zip(&self.rows).enumerate() {
            let value = match statistic {
                Statistic::Loss if row.token_weight == 0.0 => 0.0,
                Statistic::Loss => {
                    let (cross_entropy, z) = self.terms(i);
                    match self.divisors.of_weights {
                        0 => row.token_weight * (cross_entropy + z),
                        power => {
                            quotient(&[row.token_weight, cross_entropy], 1.0, power)
                                + row.token_weight * z
                        }
                    }
                }
                Statistic::LogSumExp => state.log_sum_exp(),
                Statistic::LogProbability => 0.0 - state.surprisal().unwrap_or(f64::NAN),
                Statistic::Entropy => state.entropy(),
                Statistic::Varentropy => state.varentropy(),
                Statistic::MinEntropy => state.min_entropy(),
            };
            put_vector(to, row.output, &[value], false);
        }
        Ok(())
    }

    /// A statistic of every row, 0 at ignored ones.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// let entropy = forward.statistic(surprisal::Statistic::Entropy)?;
    /// assert!(entropy[0] > 0.0 && entropy[0] < 3_f64.ln());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn statistic(&self, statistic: Statistic) -> Result<Array1<f64>> {
        let mut to = Array1::zeros(self.outputs);
        self.write(statistic, to.view_mut())?;
        Ok(to)
    }

    /// L_i of every row, 0 at ignored ones.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert_eq!(forward.losses()[1], 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn losses(&self) -> Array1<f64> {
        self.statistic(Statistic::Loss).expect("the loss is always there")
    }

    /// lse of every row, 0 at ignored ones.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert!((forward.log_sum_exp()[0] - 3.4076059644443806).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn log_sum_exp(&self) -> Array1<f64> {
        self.statistic(Statistic::LogSumExp).expect("the log-sum-exp is always there")
    }

    fn integers(&self, value: impl Fn(&RowState) -> i64) -> Array1<i64> {
        let mut to = Array1::from_elem(self.outputs, -1);
        for (state, row) in self.states.iter().zip(&self.rows) {
            to[row.output] = value(state);
        }
        to
    }

    /// The most likely class of every row, the lowest of equals, the first NaN; −1 at ignored rows.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert_eq!(forward.argmax().to_vec(), [1, -1]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn argmax(&self) -> Array1<i64> {
        self.integers(|state| state.argmax)
    }

    /// #{v : a_v > a_y} of every row: 0 for the most likely class. −1 at ignored rows, where a logit
    /// is NaN, and over shards where the target's logit was not given to each.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert_eq!(forward.rank()?.to_vec(), [1, -1]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] where it was not asked for.
    pub fn rank(&self) -> Result<Array1<i64>> {
        if !self.loss.statistics.rank {
            let what = "the rank was not asked for when the loss was built".into();
            return Err(Error::Conflict { what });
        }
        let rank = |state: &RowState| match (state.maximum.is_nan(), state.above) {
            (false, Some(above)) => above as i64,
            _ => -1,
        };
        Ok(self.integers(rank))
    }

    /// The k most likely classes of every row with ln p, most likely first; beyond the vocabulary class
    /// −1 and ln p of −∞, at ignored rows class −1 and 0.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// let (classes, log_probabilities) = forward.top_k();
    /// assert_eq!(classes, ndarray::arr2(&[[1, 2], [-1, -1]]));
    /// assert!((log_probabilities[[0, 1]] + 1.4076059644443804).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn top_k(&self) -> (Array2<i64>, Array2<f64>) {
        let k = self.loss.statistics.top_k;
        let mut classes = Array2::from_elem((self.outputs, k), -1);
        let mut log_probabilities = Array2::zeros((self.outputs, k));
        for (i, (state, row)) in self.states.iter().zip(&self.rows).enumerate() {
            for (j, entry) in self.top[i * k..(i + 1) * k].iter().enumerate() {
                if entry.class == u32::MAX {
                    log_probabilities[[row.output, j]] = f64::NEG_INFINITY;
                } else {
                    let surprisal = state.surprisal_of(entry.logit);
                    classes[[row.output, j]] = i64::from(entry.class);
                    log_probabilities[[row.output, j]] = 0.0 - surprisal;
                }
            }
        }
        (classes, log_probabilities)
    }

    /// The state of each kept row.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert_eq!(forward.states().len(), forward.kept());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn states(&self) -> &[RowState] {
        &self.states
    }

    /// The number of losses, ignored rows included.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert_eq!(forward.len(), 2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn len(&self) -> usize {
        self.outputs
    }

    /// Whether there are no losses.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert!(!forward.is_empty());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.outputs == 0
    }

    /// The number of rows that are not ignored.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert_eq!(forward.kept(), 1);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn kept(&self) -> usize {
        self.rows.len()
    }

    fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        let values: Vec<f64> = (0..self.rows.len()).map(value).collect();
        let values = values.iter().map(|&value| (value, 1.0));
        let (sum, exponent) = sum_of_products(values);
        quotient(&[sum], self.rows.len() as f64, exponent)
    }

    /// The mean of −ln p_y over the kept rows in nats, whatever weights and smoothing the loss has:
    /// the logarithm of the perplexity. With soft targets Σ t (−ln p), and `None` under class
    /// weights or smoothing. NaN where every row is ignored.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// let perplexity = forward.mean_surprisal().map(f64::exp);
    /// assert!((perplexity.unwrap_or(f64::NAN) - 4.0861612696304874).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mean_surprisal(&self) -> Option<f64> {
        match self.soft {
            false => Some(self.mean(|i| self.states[i].surprisal().unwrap_or(f64::NAN))),
            true => {
                let plain =
                    self.class_weights_of_targets.is_none() && self.loss.label_smoothing == 0.0;
                plain.then(|| self.mean(|i| self.terms(i).0))
            }
        }
    }

    /// The share of kept rows whose most likely class is the target; `None` for soft targets.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert_eq!(forward.accuracy(), Some(0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn accuracy(&self) -> Option<f64> {
        let hit = |i: usize| {
            let state = &self.states[i];
            f64::from(!state.maximum.is_nan() && state.argmax == state.target)
        };
        (!self.soft).then(|| self.mean(hit))
    }

    /// The share of the segments of one row × 32 classes that a filter keeps in the gradients; `None`
    /// without a [`filter`](crate::LinearCrossEntropyBuilder::filter), 1 where it has nothing to act
    /// on.
    ///
    /// ```
    /// use surprisal::{Filter, Inputs, LinearCrossEntropy};
    /// let one = ndarray::arr2(&[[1.0_f32]]);
    /// let loss = LinearCrossEntropy::builder().filter(Filter::Auto).build()?;
    /// let forward = loss.forward(&Inputs::new(one.view(), one.view(), &[0_u32]))?;
    /// assert_eq!(forward.tiles_kept(), Some(1.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn tiles_kept(&self) -> Option<f64> {
        self.dropped.map(|dropped| dropped.kept)
    }

    /// The largest and the mean probability q_i that a filter leaves out of a row's gradient, to a few
    /// parts in a thousand; `None` without a filter.
    ///
    /// ```text
    /// ‖ΔdE_i‖ ≤ |A_i| q_i max_v ‖C_v‖
    /// ```
    ///
    /// with A_i the coefficient of p in the row's gradient (its upstream over the divisor, for a plain
    /// loss).
    ///
    /// ```
    /// use surprisal::{Filter, Inputs, LinearCrossEntropy};
    /// let one = ndarray::arr2(&[[1.0_f32]]);
    /// let loss = LinearCrossEntropy::builder().filter(Filter::Auto).build()?;
    /// let forward = loss.forward(&Inputs::new(one.view(), one.view(), &[0_u32]))?;
    /// assert_eq!(forward.dropped_mass(), Some((0.0, 0.0)));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn dropped_mass(&self) -> Option<(f64, f64)> {
        self.dropped.map(|dropped| (dropped.largest, dropped.mean))
    }

    /// The mean entropy of the kept rows in nats; `None` where it was not asked for.
    ///
    /// ```
    /// # use surprisal::{Inputs, LinearCrossEntropy};
    /// # let logits = ndarray::arr2(&[[1.0_f64, 3.0, 2.0], [5.0, 5.0, 0.0]]);
    /// # let loss = LinearCrossEntropy::builder().varentropy(true).rank(true).top_k(2).build()?;
    /// # let forward = loss.forward(&Inputs::from_logits(logits.view(), &[2_i64, -100]))?;
    /// assert!(forward.mean_entropy().is_some_and(|entropy| entropy > 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mean_entropy(&self) -> Option<f64> {
        let asked = self.loss.statistics.entropy || self.loss.statistics.varentropy;
        asked.then(|| self.mean(|i| self.states[i].entropy()))
    }
}
