//! The second fold: from the rows' scalars to the gradients, by recomputing or from a strip.

use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};
use std::ops::Range;

use super::forward::{
    FoldTask, Folded, Forward, add_sparse_targets, fold_rows, fold_tasks, hidden_rows,
};
use super::gradients::{
    Gradients, Owned, Part, Sink, Upstream, clear, clear_vector, parts, put_row, put_vector, split,
};
use super::inputs::{Inputs, Source, Targets};
use super::options::LinearCrossEntropy;
use super::plan::{BLOCK, GRADIENT_COLUMNS, Pass, Plan, Shapes, Strategy, TILE_COLUMNS, TILE_ROWS};
use super::problem::{Problem, Row};
use super::tile::{Slot, Weights, range_of, sized};
use crate::element::Real;
use crate::error::{Error, Result};
use crate::gemm::{Store, product};
use crate::matrix::MatrixMut;
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::gradient::{RowGradient, Slope};
use crate::softmax::top_k::Entry;

/// The bytes that the backward keeps of a row.
pub(crate) const ROW_BYTES: usize = size_of::<Active<f64>>() + size_of::<Row>();

/// A row with all that its derivative needs.
struct Active<R> {
    row: Row,
    gradient: RowGradient<R>,
    /// Σ of what single classes are weighed with: k (1−ε) w_y, or the sum of the sparse weights.
    picked: f64,
    /// The upstream of the cross-entropy over its divisor, times τ.
    cross_entropy: f64,
    /// A without `picked`.
    rest: f64,
    /// k, the coefficient of the weights.
    weights: f64,
    entropy: f64,
    remainder: f64,
    mean: f64,
    maximum: f64,
    argmax: i64,
}

impl LinearCrossEntropy {
    /// The vector-Jacobian product: from the upstream gradients of the losses, of the log-sum-exp
    /// and of the entropies to those of hidden states, classifier and bias.
    ///
    /// ```text
    /// dL/da_v = p_v (A_i − h_i (ln p_v + H_i)) − k_i ((1−ε) w_y δ_vy + (ε/V) w_v)
    /// A_i = k_i ((1−ε) w_y + (ε/V) Σ w) + 2ζ lse_i g_i τ_i / n + d_i
    /// G = dL/da · da/dz      dE = G·C      dC = Gᵀ·E      db = Σ_i G_i
    /// ```
    ///
    /// with g, d and h the upstream gradients of loss, log-sum-exp and entropy, k_i = g_i τ_i over the
    /// divisor of the cross-entropy, n that of the z-loss (both 1 without a mean). Soft targets put
    /// (1−ε) t_v w_v in place of (1−ε) w_y δ_vy.
    ///
    /// `forward` is what [`forward`](Self::forward) returned for the same inputs, or the merged
    /// fold of all shards: then the inputs are one shard's, dC and db are its rows', and dE is to
    /// be summed over the shards. Rows whose upstream is 0 throughout (or whose
    /// token weight is, without another upstream) are left out, never multiplied.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); a gradient or upstream whose shape does not fit.
    ///
    /// ```
    /// use ndarray::{Array2, arr1, arr2};
    /// use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
    ///
    /// let hidden = arr2(&[[1.0_f64, -0.5], [0.3, 2.0]]);
    /// let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// let inputs = Inputs::new(hidden.view(), classifier.view(), &[2_u32, 0]);
    /// let loss =
    ///     LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build()?;
    /// let forward = loss.forward(&inputs)?;
    /// let advantage = arr1(&[0.7, -1.2]);
    /// let bonus = arr1(&[-0.01, -0.01]);
    /// let mut gradient = Array2::<f64>::zeros((2, 2));
    /// loss.vjp(
    ///     &inputs,
    ///     &forward,
    ///     &Upstream::rows(advantage.view()).entropy(bonus.view()),
    ///     Gradients::new().hidden(gradient.view_mut()),
    /// )?;
    /// assert!(gradient.iter().all(|g| *g != 0.0));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn vjp<R: Real>(
        &self,
        inputs: &Inputs<'_, R>,
        forward: &Forward<R>,
        upstream: &Upstream<'_, R>,
        gradients: Gradients<'_>,
    ) -> Result<()> {
        let plan = self.plan(&shapes_with(inputs, &gradients), Pass::Vjp)?;
        let problem = Problem::new(&self.without_rank(), inputs)?;
        upstream.check(&problem)?;
        check_gradients(inputs, &gradients)?;
        forward.check_rows(&problem)?;
        if upstream.has_entropy() && forward.mean_entropy().is_none() {
            return Err(Error::Conflict {
                what: "the forward carries no entropy, so it has no gradient".into(),
            });
        }
        let active = active_rows(&problem, &forward.states, &problem.rows, upstream);
        recompute(&problem, &plan, &active, gradients);
        Ok(())
    }

    /// Loss and gradients in one call, which can keep the logits of some rows and so save the
    /// second computation of them.
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp); [`Error::MemoryBudget`] where the strategy that was asked for does
    /// not fit.
    ///
    /// ```
    /// use ndarray::{Array2, arr2};
    /// use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};
    ///
    /// let hidden = arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
    /// let classifier = arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// let mut d_hidden = Array2::<f32>::zeros((2, 2));
    /// let mut d_classifier = Array2::<f32>::zeros((3, 2));
    /// let forward = LinearCrossEntropy::builder().build()?.loss_and_gradients(
    ///     &Inputs::new(hidden.view(), classifier.view(), &[2_u32, 0]),
    ///     &Upstream::default(),
    ///     Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut()),
    /// )?;
    /// assert!(forward.loss() > 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn loss_and_gradients<R: Real>(
        &self,
        inputs: &Inputs<'_, R>,
        upstream: &Upstream<'_, R>,
        gradients: Gradients<'_>,
    ) -> Result<Forward<R>> {
        inputs.check_whole()?;
        let plan = self.plan(&shapes_with(inputs, &gradients), Pass::LossAndGradients)?;
        let mut problem = Problem::new(self, inputs)?;
        upstream.check(&problem)?;
        check_gradients(inputs, &gradients)?;
        let folded = match plan.strategy {
            Some(Strategy::Strip) => strip(&mut problem, &plan, upstream, gradients),
            _ => {
                let forward = self.plan(&Shapes::of(inputs), Pass::Forward)?;
                let folded = fold_rows(&problem, &forward);
                let active = active_rows(&problem, &folded.states, &problem.rows, upstream);
                recompute(&problem, &plan, &active, gradients);
                folded
            }
        };
        Ok(Forward::new(problem, folded))
    }
}

fn shapes_with<R: Real>(inputs: &Inputs<'_, R>, gradients: &Gradients<'_>) -> Shapes {
    fn rounded<R: Real>(sink: &Option<Sink<MatrixMut<'_>>>) -> bool {
        sink.as_ref().is_some_and(|sink| match &sink.array {
            MatrixMut::F64(_) => size_of::<R>() != 8,
            MatrixMut::F32(_) => size_of::<R>() != 4,
            _ => true,
        })
    }
    Shapes {
        hidden_gradient_rounded: rounded::<R>(&gradients.hidden),
        classifier_gradient_rounded: rounded::<R>(&gradients.classifier),
        ..Shapes::of(inputs)
    }
}

fn check_gradients<R: Real>(inputs: &Inputs<'_, R>, gradients: &Gradients<'_>) -> Result<()> {
    let shape = |argument, found: Vec<usize>, expected: Vec<usize>, like: &str| match found
        == expected
    {
        true => Ok(()),
        false => {
            Err(Error::Shape { argument, found, expected: format!("{expected:?}, as {like} has") })
        }
    };
    let pair = |(a, b): (usize, usize)| vec![a, b];
    match &inputs.source {
        Source::Product { hidden, classifier } => {
            if gradients.logits.is_some() {
                return Err(Error::Conflict {
                    what: "a gradient of logits that are not given, expected hidden, classifier \
                           or bias"
                        .into(),
                });
            }
            if let Some(Sink { array, .. }) = &gradients.hidden {
                shape("the hidden gradient", pair(array.dim()), pair(hidden.dim()), "hidden")?;
            }
            if let Some(Sink { array, .. }) = &gradients.classifier {
                let expected = pair(classifier.dim());
                shape("the classifier gradient", pair(array.dim()), expected, "classifier")?;
            }
            if let Some(Sink { array, .. }) = &gradients.bias {
                let expected = vec![classifier.dim().0];
                shape("the bias gradient", vec![array.len()], expected, "the bias")?;
            }
            Ok(())
        }
        Source::Given(logits) => {
            if gradients.hidden.is_some() || gradients.classifier.is_some() {
                return Err(Error::Conflict {
                    what: "given logits have no hidden states and no classifier, expected a \
                           gradient of the logits or the bias"
                        .into(),
                });
            }
            if let Some(Sink { array, .. }) = &gradients.logits {
                shape("the logits gradient", pair(array.dim()), pair(logits.dim()), "logits")?;
            }
            if let Some(Sink { array, .. }) = &gradients.bias {
                let expected = vec![logits.dim().1];
                shape("the bias gradient", vec![array.len()], expected, "the bias")?;
            }
            Ok(())
        }
    }
}

/// The rows that a gradient comes from, with their coefficients.
fn active_rows<R: Real>(
    problem: &Problem<'_, R>,
    states: &[RowState],
    rows: &[Row],
    upstream: &Upstream<'_, R>,
) -> Vec<Active<R>> {
    let mut active = Vec::with_capacity(rows.len());
    for (state, row) in states.iter().zip(rows) {
        let above = upstream.of(row);
        if above.is_zero() {
            continue;
        }
        let loss = &problem.loss;
        let cross_entropy = match above.loss {
            0.0 => 0.0,
            weighted => weighted / problem.divisors.cross_entropy,
        };
        let mut rest = above.log_sum_exp;
        if loss.z_loss != 0.0 && above.loss != 0.0 {
            rest += 2.0 * loss.z_loss * state.log_sum_exp() * above.loss / problem.divisors.z_loss;
        }
        let spread = cross_entropy * loss.label_smoothing / problem.vocabulary as f64;
        let keep = cross_entropy * (1.0 - loss.label_smoothing);
        let (picked, weights) = match &problem.targets {
            Targets::Hard(_) => (keep * problem.class_weight(row.target as usize), spread),
            Targets::Sparse { .. } => {
                let targets = problem.sparse_of(row, 0..problem.columns);
                let sum: f64 = targets.iter().map(|&(_, weight)| weight).sum();
                (cross_entropy * sum, spread)
            }
            Targets::Soft(_) => (cross_entropy * state.weight, cross_entropy),
        };
        if !matches!(problem.targets, Targets::Soft(_)) {
            rest += weights * problem.total_weight;
        }
        let mean = state.first_moment / (1.0 + state.remainder);
        active.push(Active {
            row: *row,
            gradient: RowGradient {
                maximum: R::from_f64(state.maximum),
                // A row without a finite maximum has no probabilities.
                inverse: R::from_f64(match state.maximum.is_finite() {
                    true => 1.0 / (1.0 + state.remainder),
                    false => f64::NAN,
                }),
                probability: R::from_f64(picked + rest),
                entropy: R::from_f64(above.entropy),
                mean: R::from_f64(mean),
                weights: R::from_f64(weights),
            },
            picked,
            cross_entropy,
            rest,
            weights,
            entropy: above.entropy,
            remainder: state.remainder,
            mean,
            maximum: state.maximum,
            argmax: state.argmax,
        });
    }
    active
}

impl<R: Real> Problem<'_, R> {
    /// Turns the products of a row into G, in place; logits where they have been transformed.
    fn row_gradient(
        &self,
        active: &Active<R>,
        columns: Range<usize>,
        products: &mut [R],
        slot: &mut Slot<R>,
    ) {
        let loss = &self.loss;
        let Slot { slopes, weights: buffer, exacts, .. } = slot;
        let width = columns.len();
        let slope = match loss.transform.slope() {
            Some(slope) => {
                loss.transform.apply(loss.isa, self.bias_of(columns.clone()), products, None);
                Slope::Constant(R::from_f64(slope))
            }
            None => {
                let slopes = &mut slopes[..width];
                let bias = self.bias_of(columns.clone());
                loss.transform.apply(loss.isa, bias, products, Some(&mut *slopes));
                Slope::Each(slopes)
            }
        };
        let weights = self.weights_of(&active.row, columns.clone(), buffer);
        let each = match weights {
            Weights::Each(weights) => Some(weights),
            Weights::Uniform | Weights::None => None,
        };
        let first = self.first_class + columns.start;
        let exact = |class: usize, picked: f64, products: &[R]| {
            let at = class.wrapping_sub(first);
            let logit = products.get(at)?.to_f64();
            let own = active.weights * each.map_or(1.0, |weights| weights[at].to_f64());
            let (picked, spread) = match &self.targets {
                Targets::Soft(_) => (own, 0.0),
                _ => (picked, own),
            };
            let slope = match slope {
                Slope::Constant(slope) => slope,
                Slope::Each(slopes) => slopes[at],
            };
            let value = active.exact_gradient(class, logit, picked, spread);
            Some((at, R::from_f64(value * slope.to_f64())))
        };
        // The entries that decide are worth more digits than the vectors carry. All are read
        // before any is written.
        let sparse = self.sparse_of(&active.row, first..first + width);
        exacts.clear();
        exacts.extend(sparse.iter().filter_map(|&(class, weight)| {
            exact(class as usize, active.cross_entropy * weight, products)
        }));
        let hard = matches!(self.targets, Targets::Hard(_)).then_some(active.row.target as usize);
        let argmax = active.argmax as usize;
        let target = hard.and_then(|class| exact(class, active.picked, products));
        let argmax = match hard {
            Some(class) if class == argmax => None,
            _ if sparse.iter().any(|&(class, _)| class as usize == argmax) => None,
            _ => exact(argmax, 0.0, products),
        };
        active.gradient.apply(loss.isa, products, slope, each);
        for (at, value) in argmax.into_iter().chain(target).chain(exacts.drain(..)) {
            products[at] = value;
        }
    }
}

impl<R: Real> Active<R> {
    /// dL/da of one class in f64: `picked` is what it alone is weighed with, `spread` its share of
    /// the smoothing.
    fn exact_gradient(&self, class: usize, logit: f64, picked: f64, spread: f64) -> f64 {
        if !self.maximum.is_finite() {
            return f64::NAN;
        }
        let u = (logit - self.maximum).max(-1e4);
        let r = self.remainder;
        let p = u.exp() / (1.0 + r);
        // p − 1 = −r/(1+r) keeps the digits of a confident row.
        let own = if self.argmax == class as i64 && r < 1.0 {
            (self.picked - picked) - self.picked * (r / (1.0 + r))
        } else {
            self.picked * p - picked
        };
        own + p * (self.rest - self.entropy * (u - self.mean)) - spread + 0.0
    }
}

/// G for some rows and columns, from products or logits in place.
fn gradient_tile<R: Real>(
    problem: &Problem<'_, R>,
    active: &[Active<R>],
    columns: Range<usize>,
    (tile, stride): (&mut [R], usize),
    slot: &mut Slot<R>,
) {
    let width = columns.len();
    for (active, products) in active.iter().zip(tile.chunks_mut(stride)) {
        problem.row_gradient(active, columns.clone(), &mut products[..width], slot);
    }
}

/// Where the hidden gradient is summed: the caller's array, or an accumulator beside it.
enum HiddenGradient<'a, R> {
    None,
    Direct(MatrixMut<'a>),
    Accumulated(Sink<MatrixMut<'a>>, Vec<R>),
}

impl<'a, R: Real> HiddenGradient<'a, R> {
    fn new(sink: Option<Sink<MatrixMut<'a>>>, rows: usize, width: usize) -> Self {
        let Some(Sink { mut array, accumulate }) = sink else { return Self::None };
        if !accumulate {
            clear(&mut array);
        }
        if R::view_mut(&mut array).is_some() {
            return Self::Direct(array);
        }
        Self::Accumulated(Sink { array, accumulate }, vec![R::ZERO; rows * width])
    }

    /// The parts of some of the rows.
    fn parts(&mut self, rows: &[Row], at: Range<usize>, width: usize) -> Vec<Owned<'_, R>> {
        match self {
            Self::None => Vec::new(),
            Self::Direct(array) => {
                let rows: Vec<usize> = rows[at].iter().map(|row| row.hidden).collect();
                let view = R::view_mut(array).expect("a direct gradient is of this type");
                parts(view, &rows, TILE_ROWS, GRADIENT_COLUMNS)
            }
            Self::Accumulated(_, sums) => {
                let at: Vec<usize> = at.collect();
                let view = ArrayViewMut2::from_shape((rows.len(), width), sums)
                    .expect("an accumulator of the rows");
                parts(view, &at, TILE_ROWS, GRADIENT_COLUMNS)
            }
        }
    }

    fn finish(self, rows: &[Row], width: usize) {
        if let Self::Accumulated(Sink { mut array, accumulate }, sums) = self
            && width > 0
        {
            for (row, sums) in rows.iter().zip(sums.chunks(width)) {
                put_row(&mut array, row.hidden, 0..width, sums, accumulate);
            }
        }
    }
}

/// A task of the second half of the backward.
enum Task<'a, R> {
    Hidden(Owned<'a, R>),
    Classifier(Owned<'a, R>, Store),
    Bias(Range<usize>, &'a mut [f64]),
}

/// `matrix[rows × columns] (+)= Gᵀ·E`, cut into tasks.
fn classifier_tasks<'a, R: Real>(
    view: ArrayViewMut2<'a, R>,
    store: Store,
) -> impl Iterator<Item = Task<'a, R>> {
    let rows: Vec<usize> = (0..view.dim().0).collect();
    parts(view, &rows, TILE_COLUMNS, 4 * GRADIENT_COLUMNS)
        .into_iter()
        .map(move |part| Task::Classifier(part, store))
}

fn bias_tasks<'a, R: 'a>(sums: &'a mut [f64]) -> impl Iterator<Item = Task<'a, R>> {
    sums.chunks_mut(TILE_COLUMNS).enumerate().map(|(i, sums)| {
        let start = i * TILE_COLUMNS;
        Task::Bias(start..start + sums.len(), sums)
    })
}

/// Adds the columns of G.
fn add_columns<R: Real>(sums: &mut [f64], g: ArrayView2<'_, R>) {
    for row in g.outer_iter() {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value.to_f64();
        }
    }
}

fn recompute<R: Real>(
    problem: &Problem<'_, R>,
    plan: &Plan,
    active: &[Active<R>],
    gradients: Gradients<'_>,
) {
    let Gradients { hidden, mut classifier, mut bias, mut logits } = gradients;
    let (width, columns) = (problem.width, problem.columns);
    let chunk = plan.rows_at_once;
    let mut slots = Slot::several(plan.slots, columns);
    let mut d_hidden = HiddenGradient::new(hidden, active.len(), width);
    if let Some(Sink { array, accumulate: false }) = &mut logits {
        clear(array);
    }
    if active.is_empty() {
        if let Some(Sink { array, accumulate: false }) = &mut classifier {
            clear(array);
        }
        if let Some(Sink { array, accumulate: false }) = &mut bias {
            clear_vector(array);
        }
        return;
    }
    let rows: Vec<Row> = active.iter().map(|active| active.row).collect();
    let (mut gathered, mut widened) = (Vec::new(), Vec::new());
    let mut g = vec![R::ZERO; chunk.min(active.len()) * columns.min(BLOCK)];
    let mut sums = Vec::new();
    let mut classifier_sums = Vec::new();
    for start in (0..columns).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(columns);
        let classes = match &problem.source {
            Source::Product { classifier, .. } => {
                range_of::<R>(classifier, block.clone(), 0..width, &mut widened)
            }
            Source::Given(_) => ArrayView2::from_shape((block.len(), 0), &[]).expect("no columns"),
        };
        sums.clear();
        sums.resize(if bias.is_some() { block.len() } else { 0 }, 0.0);
        for first in (0..active.len()).step_by(chunk) {
            let at = first..(first + chunk).min(active.len());
            let (active_chunk, chunk_rows) = (&active[at.clone()], &rows[at.clone()]);
            let hidden = hidden_rows(problem, chunk_rows, &mut gathered, plan.slots);
            let g = &mut g[..chunk_rows.len() * block.len()];
            fill_gradient(
                problem,
                active_chunk,
                chunk_rows,
                hidden,
                classes,
                &block,
                g,
                &mut slots,
            );
            let g =
                ArrayView2::from_shape((chunk_rows.len(), block.len()), &*g).expect("a block of G");
            if let Some(Sink { array, .. }) = &mut logits {
                for (row, g) in chunk_rows.iter().zip(g.outer_iter()) {
                    let g = g.to_slice().expect("G is contiguous");
                    put_row(array, row.hidden, block.clone(), g, true);
                }
            }
            let mut tasks: Vec<Task<'_, R>> = Vec::new();
            tasks.extend(d_hidden.parts(&rows, at, width).into_iter().map(Task::Hidden));
            if let Some(Sink { array, accumulate }) = &mut classifier {
                let direct = R::view_mut(array);
                let assign = first == 0 && (direct.is_none() || !*accumulate);
                let store = if assign { Store::Assign } else { Store::Add };
                let view = match direct {
                    Some(view) => view.slice_move(s![block.clone(), ..]),
                    None => {
                        let sums = sized(&mut classifier_sums, block.len() * width);
                        ArrayViewMut2::from_shape((block.len(), width), sums)
                            .expect("an accumulator of a block")
                    }
                };
                tasks.extend(classifier_tasks(view, store));
            }
            tasks.extend(bias_tasks(&mut sums));
            parallel::for_each(&mut slots, tasks, |slot, task| match task {
                Task::Hidden((rows, columns, mut part)) => {
                    let (g, classes) = (g.slice(s![rows, ..]), classes.slice(s![.., columns]));
                    part.put_product(g, classes, Store::Add, &mut slot.temporary);
                }
                Task::Classifier((classes, columns, mut part), store) => {
                    let (g, hidden) = (g.slice(s![.., classes]), hidden.slice(s![.., columns]));
                    part.put_product(g.t(), hidden, store, &mut slot.temporary);
                }
                Task::Bias(columns, sums) => add_columns(sums, g.slice(s![.., columns])),
            });
        }
        if let Some(Sink { array, accumulate }) = &mut classifier
            && R::view_mut(array).is_none()
            && width > 0
        {
            for (row, sums) in block.clone().zip(classifier_sums.chunks(width)) {
                put_row(array, row, 0..width, sums, *accumulate);
            }
        }
        if let Some(Sink { array, accumulate }) = &mut bias {
            put_vector(array, block.start, &sums, *accumulate);
        }
    }
    d_hidden.finish(&rows, width);
}

/// Makes one block of G anew, in parallel over its tiles.
#[allow(clippy::too_many_arguments)]
fn fill_gradient<R: Real>(
    problem: &Problem<'_, R>,
    active: &[Active<R>],
    rows: &[Row],
    hidden: ArrayView2<'_, R>,
    classes: ArrayView2<'_, R>,
    block: &Range<usize>,
    g: &mut [R],
    slots: &mut [Slot<R>],
) {
    const ROWS: usize = TILE_ROWS / 2;
    let stride = block.len();
    let tasks = g.chunks_mut(ROWS * stride).enumerate().collect();
    parallel::for_each(slots, tasks, |slot, (tile, g): (usize, &mut [R])| {
        let height = g.len() / stride;
        let at = tile * ROWS..tile * ROWS + height;
        for start in (0..stride).step_by(TILE_COLUMNS) {
            let part = start..(start + TILE_COLUMNS).min(stride);
            let columns = block.start + part.start..block.start + part.end;
            let mut to = ArrayViewMut2::from_shape((height, stride), &mut *g).expect("rows of G");
            let mut to = to.slice_mut(s![.., part.clone()]);
            match &problem.source {
                Source::Product { .. } => {
                    let (hidden, classes) =
                        (hidden.slice(s![at.clone(), ..]), classes.slice(s![part.clone(), ..]));
                    product(hidden, classes.t(), Store::Assign, &mut to);
                }
                Source::Given(_) => {
                    let rows = &rows[at.clone()];
                    problem.products(hidden, rows, columns.clone(), &mut slot.widened, to);
                }
            }
            let tile = (&mut g[part.start..], stride);
            gradient_tile(problem, &active[at.clone()], columns, tile, slot);
        }
    });
}

fn strip<R: Real>(
    problem: &mut Problem<'_, R>,
    plan: &Plan,
    upstream: &Upstream<'_, R>,
    gradients: Gradients<'_>,
) -> Folded<R> {
    // Rows without an upstream come last: they are folded, and no gradient sees them.
    let active = problem.rows.iter().filter(|row| !upstream.of(row).is_zero()).count();
    if active == problem.rows.len() {
        return strip_in_order(problem, plan, upstream, gradients, active);
    }
    problem.target_logits = None;
    problem.rows.sort_by_key(|row| (upstream.of(row).is_zero(), row.output));
    let mut folded = strip_in_order(problem, plan, upstream, gradients, active);
    let mut order: Vec<usize> = (0..problem.rows.len()).collect();
    order.sort_by_key(|&i| problem.rows[i].output);
    problem.rows.sort_by_key(|row| row.output);
    let k = problem.loss.statistics.top_k;
    folded.states = order.iter().map(|&i| folded.states[i]).collect();
    folded.top = order.iter().flat_map(|&i| &folded.top[i * k..(i + 1) * k]).copied().collect();
    folded
}

/// Strips of the first `active` rows, then of the others without their gradients.
fn strip_in_order<R: Real>(
    problem: &Problem<'_, R>,
    plan: &Plan,
    upstream: &Upstream<'_, R>,
    gradients: Gradients<'_>,
    active: usize,
) -> Folded<R> {
    let Gradients { hidden, mut classifier, mut bias, .. } = gradients;
    let (width, columns) = (problem.width, problem.columns);
    let mut folded = Folded::new(problem, plan);
    let (kept, k) = (problem.rows.len(), problem.loss.statistics.top_k);
    let (height, blocks) = (plan.rows_at_once.min(kept), columns.div_ceil(BLOCK));
    let mut slots = Slot::several(plan.slots, columns);
    let mut products = vec![R::ZERO; height * columns];
    let mut partial = vec![RowState::new(); height * blocks];
    let mut partial_top = vec![Entry::empty(); partial.len() * k];
    let mut gathered = Vec::new();
    let mut d_hidden = HiddenGradient::new(hidden, active, width);
    let mut sums = vec![0.0; if bias.is_some() { columns } else { 0 }];
    let rounded = classifier.as_mut().is_some_and(|sink| R::view_mut(&mut sink.array).is_none());
    let mut accumulator = vec![R::ZERO; if rounded { columns * width } else { 0 }];
    if active == 0
        && let Some(Sink { array, accumulate: false }) = &mut classifier
    {
        clear(array);
    }
    let strips = |rows: Range<usize>| {
        let starts = rows.clone().step_by(height.max(1));
        starts.map(move |start| start..(start + height).min(rows.end))
    };
    for at in strips(0..active).chain(strips(active..kept)) {
        let rows = &problem.rows[at.clone()];
        let hidden = hidden_rows(problem, rows, &mut gathered, plan.slots);
        let products = &mut products[..rows.len() * columns];
        let partial = &mut partial[..rows.len() * blocks];
        let partial_top = &mut partial_top[..rows.len() * blocks * k];
        let states = &folded.states[at.clone()];
        let tasks = fold_tasks(states, partial, partial_top, BLOCK, columns);
        let tiles = tiles_of(products, rows.len(), columns);
        let tasks = tasks.into_iter().zip(tiles).collect();
        parallel::for_each(&mut slots, tasks, |slot, (task, tile)| {
            let FoldTask { rows: at, columns, states, top } = task;
            let hidden = hidden.slice(s![at.clone(), ..]);
            fold_strip(problem, &rows[at], columns, hidden, tile, slot, states, top);
        });
        folded.merge(at.clone(), partial, partial_top);
        let states = &mut folded.states[at.clone()];
        add_sparse_targets(problem, &mut slots, states, rows);

        if at.start >= active {
            continue;
        }
        let active = active_rows(problem, states, rows, upstream);
        let tasks = tiles_of(products, rows.len(), columns).into_iter();
        let tasks = tasks.zip(fold_ranges(rows.len(), columns)).collect();
        parallel::for_each(&mut slots, tasks, |slot, (tile, (at, columns))| {
            let stride = columns.len();
            gradient_tile(problem, &active[at], columns, (tile, stride), slot);
        });

        let block = |i: usize| {
            let columns = i * BLOCK..((i + 1) * BLOCK).min(columns);
            let part = &products[columns.start * rows.len()..columns.end * rows.len()];
            let view = ArrayView2::from_shape((rows.len(), columns.len()), part);
            (columns, view.expect("a block of the strip"))
        };
        let mut tasks: Vec<(usize, Task<'_, R>)> = Vec::new();
        let parts = d_hidden.parts(&problem.rows, at.clone(), width);
        tasks.extend(parts.into_iter().map(|part| (0, Task::Hidden(part))));
        if let Some(Sink { array, accumulate }) = &mut classifier {
            let assign = at.start == 0 && (rounded || !*accumulate);
            let store = if assign { Store::Assign } else { Store::Add };
            let accumulated = ArrayViewMut2::from_shape((columns, width), &mut accumulator);
            let view = R::view_mut(array).or_else(|| accumulated.ok());
            let view = view.expect("a gradient of this type or an accumulator");
            for (i, view) in split(view, Axis(0), BLOCK).into_iter().enumerate() {
                tasks.extend(classifier_tasks(view, store).map(|task| (i, task)));
            }
        }
        for (i, sums) in sums.chunks_mut(BLOCK).enumerate() {
            tasks.extend(bias_tasks(sums).map(|task| (i, task)));
        }
        parallel::for_each(&mut slots, tasks, |slot, (i, task)| match task {
            Task::Hidden((rows, range, mut part)) => {
                for i in 0..blocks {
                    let (columns, g) = block(i);
                    let g = g.slice(s![rows.clone(), ..]);
                    problem.add_hidden(g, columns, range.clone(), &mut part, slot);
                }
            }
            Task::Classifier((classes, range, mut part), store) => {
                let g = block(i).1.slice_move(s![.., classes]);
                let hidden = hidden.slice(s![.., range]);
                part.put_product(g.t(), hidden, store, &mut slot.temporary);
            }
            Task::Bias(columns, sums) => add_columns(sums, block(i).1.slice(s![.., columns])),
        });
    }
    d_hidden.finish(&problem.rows[..active], width);
    if let Some(Sink { array, accumulate }) = &mut classifier
        && rounded
        && active > 0
    {
        for (row, sums) in accumulator.chunks(width.max(1)).enumerate() {
            put_row(array, row, 0..width, sums, *accumulate);
        }
    }
    if let Some(Sink { array, accumulate }) = &mut bias {
        put_vector(array, 0, &sums, *accumulate);
    }
    folded
}

/// The rows and columns of the tiles of a strip, in the order in which it holds them.
fn fold_ranges(height: usize, columns: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let starts = (0..columns).step_by(BLOCK);
    let blocks = starts.map(|start| start..(start + BLOCK).min(columns));
    let tiles = |columns: Range<usize>| {
        (0..height)
            .step_by(TILE_ROWS)
            .map(move |start| (start..(start + TILE_ROWS).min(height), columns.clone()))
    };
    blocks.flat_map(tiles).collect()
}

/// The tiles of a strip.
fn tiles_of<R>(mut strip: &mut [R], height: usize, columns: usize) -> Vec<&mut [R]> {
    let mut tiles = Vec::new();
    for (rows, columns) in fold_ranges(height, columns) {
        let (tile, rest) = strip.split_at_mut(rows.len() * columns.len());
        tiles.push(tile);
        strip = rest;
    }
    tiles
}

/// Makes the products of a tile of the strip and folds them; the products stay as they are.
#[allow(clippy::too_many_arguments)]
fn fold_strip<R: Real>(
    problem: &Problem<'_, R>,
    rows: &[Row],
    columns: Range<usize>,
    hidden: ArrayView2<'_, R>,
    tile: &mut [R],
    slot: &mut Slot<R>,
    states: &mut [RowState],
    top: &mut [Entry<R>],
) {
    let stride = columns.len();
    let k = problem.loss.statistics.top_k;
    for start in (0..stride).step_by(TILE_COLUMNS) {
        let part = start..(start + TILE_COLUMNS).min(stride);
        let columns = columns.start + part.start..columns.start + part.end;
        let to = ArrayViewMut2::from_shape((rows.len(), stride), &mut *tile);
        let mut to = to.expect("a tile of the strip");
        let to = to.slice_mut(s![.., part.clone()]);
        problem.products(hidden, rows, columns.clone(), &mut slot.widened, to);
        for (i, products) in tile.chunks(stride).enumerate() {
            let Slot { slopes: copy, weights, .. } = &mut *slot;
            let copy = &mut copy[..part.len()];
            copy.copy_from_slice(&products[part.clone()]);
            let list = &mut top[i * k..(i + 1) * k];
            problem.fold_row(&rows[i], columns.clone(), copy, weights, &mut states[i], list);
        }
    }
}

impl<R: Real> Problem<'_, R> {
    /// `part += G·C` over some of the classes, for some columns of the hidden gradient.
    fn add_hidden(
        &self,
        g: ArrayView2<'_, R>,
        classes: Range<usize>,
        range: Range<usize>,
        part: &mut Part<'_, R>,
        slot: &mut Slot<R>,
    ) {
        let Source::Product { classifier, .. } = &self.source else { return };
        let direct = R::view(classifier).is_some();
        // What must be widened is widened by as many rows as a slot has room for.
        let step = if direct { classes.len() } else { TILE_COLUMNS };
        for start in (0..classes.len()).step_by(step.max(1)) {
            let end = (start + step).min(classes.len());
            let these = classes.start + start..classes.start + end;
            let block = range_of(classifier, these, range.clone(), &mut slot.widened);
            let g = g.slice(s![.., start..end]);
            part.put_product(g, block, Store::Add, &mut slot.temporary);
        }
    }
}
