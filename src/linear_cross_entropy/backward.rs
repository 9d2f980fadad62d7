//! The second fold: from the rows' scalars to the gradients, by recomputing or from a strip.

use ndarray::{ArrayView2, ArrayViewMut2, Axis, ShapeBuilder, s};
use std::ops::Range;

use super::filter::{Cut, Lists};
use super::forward::{Folded, Forward, Partial, add_sparse_targets, fold_rows, in_format};
use super::gradients::{
    Gradients, Sink, Upstream, clear, clear_vector, put_row, put_vector, split,
};
use super::inputs::{Inputs, Source, Targets};
use super::options::LinearCrossEntropy;
use super::plan::{
    GROUPS, Pass, Plan, STRIP_CLASSES, STRIP_COLUMNS, Shapes, Strategy, TILE_COLUMNS,
};
use super::problem::{Problem, Row};
use super::tile::{Hidden, RowScratch, Slot, Weights, sized};
use crate::element::{Element, Real};
use crate::error::{Error, Result};
use crate::gemm::{
    Buffer, Format, GROUP, PANEL, Panels, Rows, Store, add_columns, add_rows, add_rows_of_matrix,
    few_products, padded_rows, panels_length, put_rows, row_products, steps_length,
};
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel;
use crate::softmax::RowState;
use crate::softmax::gradient::{RowGradient, Slope};

/// The bytes that the backward keeps of a row.
pub(crate) const ROW_BYTES: usize = size_of::<Active<f64>>() + size_of::<Row>();

/// A row with all that its derivative needs.
struct Active<R> {
    row: Row,
    /// Its place among the kept rows.
    index: usize,
    /// lse.
    log_sum_exp: f64,
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
        let cut = Cut::new(&problem, forward.record.as_ref());
        in_format!(problem, recompute(&problem, &plan, active, cut.as_ref(), gradients));
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
        let (folded, dropped) = match plan.strategy {
            Some(Strategy::Strip) => {
                let folded = in_format!(problem, strip(&mut problem, &plan, upstream, gradients));
                (folded, None)
            }
            _ => {
                let forward = self.plan(&Shapes::of(inputs), Pass::Forward)?;
                let mut folded = in_format!(problem, fold_rows(&problem, &forward));
                let record = folded.record.take();
                let cut = Cut::new(&problem, record.as_ref());
                let active = active_rows(&problem, &folded.states, &problem.rows, upstream);
                in_format!(problem, recompute(&problem, &plan, active, cut.as_ref(), gradients));
                let dropped = cut.map(|cut| cut.dropped(&problem, &folded.states, plan.slots));
                (folded, dropped)
            }
        };
        Ok(Forward::new(problem, folded, dropped))
    }
}

fn shapes_with<R: Real>(inputs: &Inputs<'_, R>, gradients: &Gradients<'_>) -> Shapes {
    fn rounded<R: Real>(sink: &Option<Sink<MatrixMut<'_>>>) -> bool {
        sink.as_ref().is_some_and(|sink| !is_direct::<R>(&sink.array))
    }
    Shapes {
        hidden_gradient_rounded: rounded::<R>(&gradients.hidden),
        classifier_gradient_rounded: rounded::<R>(&gradients.classifier),
        ..Shapes::of(inputs)
    }
}

/// Whether products can be summed where the gradient stands.
fn is_direct<R: Real>(array: &MatrixMut<'_>) -> bool {
    let contiguous = |columns: usize, stride: isize| columns <= 1 || stride == 1;
    match array {
        MatrixMut::F64(view) => size_of::<R>() == 8 && contiguous(view.dim().1, view.strides()[1]),
        MatrixMut::F32(view) => size_of::<R>() == 4 && contiguous(view.dim().1, view.strides()[1]),
        _ => false,
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
    for (index, (state, row)) in states.iter().zip(rows).enumerate() {
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
            index,
            log_sum_exp: state.log_sum_exp(),
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
        scratch: &mut RowScratch<R>,
    ) {
        let loss = &self.loss;
        let RowScratch { slopes, weights: buffer, exacts } = scratch;
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
    /// Σ dL/dz over a segment of so many classes of the same probability.
    fn flat_gradient(&self, problem: &Problem<'_, R>, mass: f64, columns: usize) -> f64 {
        if mass == 0.0 {
            return 0.0;
        }
        let log_probability = || (mass / columns as f64).ln();
        let mut coefficient = self.picked + self.rest;
        if self.entropy != 0.0 {
            let u = log_probability() + self.remainder.ln_1p();
            coefficient -= self.entropy * (u - self.mean);
        }
        let slope = match problem.loss.transform.softcap {
            None => problem.loss.transform.scale,
            Some(softcap) => {
                let logit = log_probability() + self.log_sum_exp;
                let t = (logit / softcap).clamp(-1.0, 1.0);
                problem.loss.transform.scale * (1.0 - t * t)
            }
        };
        mass * coefficient * slope
    }

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

/// G of some rows and classes: panels of 32 classes, in each the rows one after the other, and where
/// steps are pairs the same once more with the rows in pairs. As large as the logits it comes from.
struct Derivatives<F: Format> {
    data: Buffer<F::Sum>,
    height: usize,
    panels: usize,
}

/// What one task writes of a panel of G.
struct PanelPart<'a, F> {
    rows: &'a mut [F],
    pairs: &'a mut [F],
}

impl<F: Format> Derivatives<F> {
    fn new(rows: usize, columns: usize) -> Self {
        let (height, panels) = (padded_rows(rows), columns.div_ceil(PANEL));
        Self { data: Buffer::zeros(height * panels * PANEL), height, panels }
    }

    /// For so many rows and columns, at most as many as it was made for.
    fn resize(&mut self, rows: usize, columns: usize) {
        (self.height, self.panels) = (padded_rows(rows), columns.div_ceil(PANEL));
    }

    fn length(&self) -> usize {
        self.height * self.panels * PANEL
    }

    fn get(&self) -> &[F] {
        bytemuck::cast_slice(&self.data.get()[..self.length()])
    }

    /// As the left factor of the hidden gradient.
    fn rows(&self) -> Panels<'_, F> {
        Panels::new(self.get(), self.height * F::DEPTH)
    }

    /// The same from this panel on.
    fn rows_from(&self, panel: usize) -> Panels<'_, F> {
        let whole = self.height * PANEL * F::DEPTH;
        Panels::new(&self.get()[panel * whole..], self.height * F::DEPTH)
    }

    /// The products that G is to be made of.
    fn products(&mut self) -> &mut [F::Sum] {
        let length = self.length();
        self.data.sized(length)
    }

    /// One panel as the left factor of the classifier gradient.
    fn columns(&self, panel: usize) -> &[F] {
        let whole = self.height * PANEL;
        let panel = &self.get()[panel * whole * F::DEPTH..][..whole * F::DEPTH];
        &panel[whole * (F::DEPTH - 1)..]
    }

    /// For the rows that are kept of each panel.
    fn resize_to(&mut self, lists: &Lists) {
        (self.height, self.panels) = (lists.names.len(), 1);
    }

    /// The rows kept of each panel, to be written.
    fn kept_panels(&mut self, lists: &Lists) -> Vec<PanelPart<'_, F>> {
        let length = self.length();
        let mut rest: &mut [F] = bytemuck::cast_slice_mut(self.data.sized(length));
        let mut parts = Vec::with_capacity(lists.counts.len());
        for p in 0..lists.counts.len() {
            let length = lists.places(p).len() * PANEL;
            let (own, tail) = std::mem::take(&mut rest).split_at_mut(length * F::DEPTH);
            let (rows, pairs) = own.split_at_mut(length);
            rest = tail;
            parts.push(PanelPart { rows, pairs });
        }
        parts
    }

    /// The rows kept of a panel as the left factor of the hidden gradient.
    fn kept_rows(&self, lists: &Lists, panel: usize) -> Panels<'_, F> {
        let places = lists.places(panel);
        let own = &self.get()[places.start * PANEL * F::DEPTH..][..places.len() * PANEL];
        Panels::new(own, places.len().max(1))
    }

    /// The rows kept of a panel as the left factor of the classifier gradient.
    fn kept_columns(&self, lists: &Lists, panel: usize) -> &[F] {
        let places = lists.places(panel);
        let length = places.len() * PANEL;
        &self.get()[places.start * PANEL * F::DEPTH + length * (F::DEPTH - 1)..][..length]
    }

    /// Takes over what is kept of another's; the rest is 0.
    fn mask(&mut self, other: &Self, lists: &Lists, rows: usize) {
        if self.data.get().len() < other.data.get().len() {
            self.data = Buffer::zeros(other.data.get().len());
        }
        (self.height, self.panels) = (other.height, other.panels);
        let length = self.length();
        self.data.sized(length).copy_from_slice(&other.data.get()[..length]);
        let whole = self.height * PANEL;
        let data: &mut [F] = bytemuck::cast_slice_mut(self.data.sized(length));
        for (p, panel) in data.chunks_mut(whole * F::DEPTH).enumerate() {
            let (own, pairs) = panel.split_at_mut(whole);
            let first = lists.starts[p];
            let mut kept = lists.names[first..first + lists.counts[p]].iter().peekable();
            for row in 0..rows {
                if kept.next_if(|&&kept| kept as usize == row).is_some() {
                    continue;
                }
                own[row * PANEL..(row + 1) * PANEL].fill(F::default());
                if !pairs.is_empty() {
                    let pair = &mut pairs[row / 2 * 2 * PANEL..][..2 * PANEL];
                    pair.iter_mut().skip(row % 2).step_by(2).for_each(|x| *x = F::default());
                }
            }
        }
    }

    /// What each task writes, where a task has so many rows of so many panels: for all rows of the
    /// first panels, then of the next.
    fn parts(&mut self, rows: usize, panels: usize) -> Vec<Vec<PanelPart<'_, F>>> {
        let (height, length) = (self.height, self.length());
        let data: &mut [F] = bytemuck::cast_slice_mut(self.data.sized(length));
        let panel_length = height * PANEL * F::DEPTH;
        let mut parts: Vec<Vec<_>> = Vec::new();
        for some in data.chunks_mut(panels * panel_length) {
            let first = parts.len();
            parts.extend((0..height.div_ceil(rows)).map(|_| Vec::with_capacity(panels)));
            for panel in some.chunks_mut(panel_length) {
                let (whole, pairs) = panel.split_at_mut(height * PANEL);
                let mut pairs = pairs.chunks_mut(rows * PANEL);
                let whole = whole.chunks_mut(rows * PANEL);
                for (part, rows) in parts[first..].iter_mut().zip(whole) {
                    part.push(PanelPart { rows, pairs: pairs.next().unwrap_or_default() });
                }
            }
        }
        parts
    }
}

/// G of a group of rows in `tile`, from products or logits in place; rows `stride` apart, zero where
/// there is none. `sums` takes the sums of its columns.
fn gradient_group<'r, F: Format>(
    problem: &Problem<'_, F::Sum>,
    active: impl Fn(usize) -> Option<&'r Active<F::Sum>>,
    columns: Range<usize>,
    (tile, stride): (&mut [F::Sum], usize),
    scratch: &mut RowScratch<F::Sum>,
    sums: &mut [f64],
) {
    let width = columns.len();
    for (i, products) in tile.chunks_mut(stride).enumerate() {
        match active(i) {
            Some(active) => {
                problem.row_gradient(active, columns.clone(), &mut products[..width], scratch);
                products[width..].fill(F::Sum::ZERO);
                for (sum, value) in sums.iter_mut().zip(&*products) {
                    *sum += value.to_f64();
                }
            }
            None => products.fill(F::Sum::ZERO),
        }
    }
}

/// Where the hidden gradient is summed: the caller's array, or an accumulator beside it.
enum HiddenGradient<'a, R> {
    None,
    Direct(MatrixMut<'a>),
    Accumulated(Sink<MatrixMut<'a>>, Vec<R>),
}

/// Some columns of some rows of the hidden gradient, for one task.
struct HiddenPart<'a, R> {
    columns: Range<usize>,
    view: ArrayViewMut2<'a, R>,
    /// Where each row stands in the view.
    names: &'a [u32],
}

impl<'a, R: Real> HiddenGradient<'a, R> {
    fn new(sink: Option<Sink<MatrixMut<'a>>>, rows: usize, width: usize) -> Self {
        let Some(Sink { mut array, accumulate }) = sink else { return Self::None };
        if !accumulate {
            clear(&mut array);
        }
        if is_direct::<R>(&array) {
            return Self::Direct(array);
        }
        Self::Accumulated(Sink { array, accumulate }, vec![R::ZERO; rows * width])
    }

    /// The parts of some of the rows, so many columns each.
    fn parts<'p>(
        &'p mut self,
        rows: &[Row],
        at: Range<usize>,
        width: usize,
        columns: usize,
        names: &'p mut Vec<u32>,
    ) -> Vec<HiddenPart<'p, R>> {
        let (Some(first), Some(last)) = (rows[at.clone()].first(), rows[at.clone()].last()) else {
            return Vec::new();
        };
        names.clear();
        let view = match self {
            Self::None => return Vec::new(),
            Self::Direct(array) => {
                names.extend(rows[at.clone()].iter().map(|row| (row.hidden - first.hidden) as u32));
                let view = R::view_mut(array).expect("a direct gradient is of this type");
                view.slice_move(s![first.hidden..=last.hidden, ..])
            }
            Self::Accumulated(_, sums) => {
                names.extend(0..at.len() as u32);
                let view = ArrayViewMut2::from_shape((rows.len(), width), sums)
                    .expect("an accumulator of the rows");
                view.slice_move(s![at.clone(), ..])
            }
        };
        let names: &[u32] = names;
        let mut start = 0;
        let part = |view: ArrayViewMut2<'p, R>| {
            let columns = start..start + view.dim().1;
            start = columns.end;
            HiddenPart { columns, view, names }
        };
        split(view, Axis(1), columns).into_iter().map(part).collect()
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

/// A task of the second half of the backward: some columns of either gradient.
enum Task<'a, R> {
    Hidden(HiddenPart<'a, R>),
    Classifier(Range<usize>, ArrayViewMut2<'a, R>, Range<usize>),
}

/// `view (+)= Gᵀ·E` over some columns, for some panels of G.
fn put_classifier<F: Format>(
    problem: &Problem<'_, F::Sum>,
    g: &Derivatives<F>,
    first_panel: usize,
    hidden: &Hidden<F>,
    rows: usize,
    columns: Range<usize>,
    store: Store,
    view: &mut ArrayViewMut2<'_, F::Sum>,
) {
    for column in (0..view.dim().1).step_by(PANEL) {
        let part = column..view.dim().1.min(column + PANEL);
        let from = columns.start + part.start..columns.start + part.end;
        for class in (0..view.dim().0).step_by(PANEL) {
            let classes = class..view.dim().0.min(class + PANEL);
            let mut to = view.slice_mut(s![classes, part.clone()]);
            let left = g.columns(first_panel + class / PANEL);
            let (right, rows) = (hidden.steps(), Rows::From(0, rows));
            add_columns(problem.loss.isa, left, right, rows, from.clone(), store, &mut to);
        }
    }
}

/// Gradients without rows: what is assigned is 0.
fn clear_rest(
    classifier: &mut Option<Sink<MatrixMut<'_>>>,
    bias: &mut Option<Sink<crate::matrix::VectorMut<'_>>>,
) {
    if let Some(Sink { array, accumulate: false }) = classifier {
        clear(array);
    }
    if let Some(Sink { array, accumulate: false }) = bias {
        clear_vector(array);
    }
}

/// The arrays of a block of classes, for all chunks of rows.
struct Block<'b, F> {
    columns: Range<usize>,
    /// Packed in steps, a panel after the other.
    steps: &'b [F],
    /// Packed in panels of so many rows.
    classes: &'b [F],
    height: usize,
}

impl<F: Format> Block<'_, F> {
    fn panels(&self) -> usize {
        self.columns.len().div_ceil(PANEL)
    }

    fn classes(&self) -> Panels<'_, F> {
        Panels::new(self.classes, self.height)
    }
}

fn recompute<F: Format>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    mut active: Vec<Active<F::Sum>>,
    cut: Option<&Cut<'_>>,
    gradients: Gradients<'_>,
) {
    if let Source::Given(_) = problem.source {
        return given::<F>(problem, plan, &active, gradients);
    }
    let Gradients { hidden: d_hidden, mut classifier, mut bias, .. } = gradients;
    let (width, columns) = (problem.width, problem.columns);
    let (chunk, isa) = (plan.rows_at_once, problem.loss.isa);
    if active.is_empty() {
        HiddenGradient::<F::Sum>::new(d_hidden, 0, width);
        return clear_rest(&mut classifier, &mut bias);
    }
    let filtered = problem.loss.filtered;
    let mixed = (d_hidden.is_some() && !filtered.hidden)
        || (classifier.is_some() && !filtered.classifier)
        || (bias.is_some() && !filtered.bias);
    let rows: Vec<Row> = active.iter().map(|active| active.row).collect();
    let mut d_hidden = HiddenGradient::new(d_hidden, active.len(), width);
    let mut slots = Slot::<F>::several(plan.slots);
    let spread = cut.and_then(|_| Spread::new(problem, &mut active, &mut slots));
    let active = &active[..];
    let block_columns = plan.block_columns.min(columns.next_multiple_of(PANEL)).max(PANEL);
    let length = steps_length::<F>(width);
    let height = padded_rows(block_columns);
    let mut steps = Buffer::<F>::zeros(block_columns / PANEL * length);
    let mut classes = Buffer::<F>::zeros(panels_length(height, width));
    let mut hidden = Hidden::<F>::new();
    let at_once = chunk.min(active.len());
    let mut g = Derivatives::<F>::new(at_once, block_columns);
    let mut masked = Derivatives::<F>::new(0, 0);
    let mut lists = Lists::with_capacity(if cut.is_some() { at_once } else { 0 }, block_columns / PANEL);
    let stands = Stands::<F>::new(problem);
    let mut tail = Tail::new(problem, cut.filter(|_| !mixed), at_once);
    let mut names = Vec::with_capacity(at_once);
    let direct = classifier.as_ref().is_some_and(|sink| is_direct::<F::Sum>(&sink.array));
    let accumulated = classifier.is_some() && !direct;
    let mut classifier_sums = vec![F::Sum::ZERO; if accumulated { block_columns * width } else { 0 }];
    let mut sums = vec![0.0; block_columns];
    let mut partial_sums = Vec::new();
    if active.len() <= chunk {
        hidden.pack(problem, &rows, plan.slots);
        hidden.pair(isa, plan.slots);
    }
    for start in (0..columns).step_by(block_columns) {
        let block = start..(start + block_columns).min(columns);
        let panels = block.len().div_ceil(PANEL);
        sums.fill(0.0);
        let steps = steps.sized(panels * length);
        let classes = classes.sized(panels_length(height, width));
        let mut packed = false;
        for first in (0..active.len()).step_by(chunk) {
            let at = first..(first + chunk).min(active.len());
            let (active, chunk_rows) = (&active[at.clone()], &rows[at.clone()]);
            if rows.len() > chunk {
                hidden.pack(problem, chunk_rows, plan.slots);
                hidden.pair(isa, plan.slots);
            }
            let mut tasks: Vec<Task<'_, F::Sum>> = Vec::new();
            let parts = d_hidden.parts(&rows, at.clone(), width, PANEL, &mut names);
            tasks.extend(parts.into_iter().map(Task::Hidden));
            let mut store = Store::Assign;
            if let Some(Sink { array, accumulate }) = &mut classifier {
                if first > 0 || (direct && *accumulate) {
                    store = Store::Add;
                }
                let view = match direct {
                    true => {
                        let view = F::Sum::view_mut(array).expect("a direct gradient");
                        view.slice_move(s![block.clone(), ..])
                    }
                    false => {
                        let sums = &mut classifier_sums[..block.len() * width];
                        ArrayViewMut2::from_shape((block.len(), width), sums)
                            .expect("an accumulator of a block")
                    }
                };
                for (q, view) in split(view, Axis(1), PANEL).into_iter().enumerate() {
                    let columns = q * PANEL..q * PANEL + view.dim().1;
                    // A tail is the same for all classes of the block: it is computed once.
                    let height = if tail.is_some() { block_columns } else { TILE_COLUMNS };
                    for (i, view) in split(view, Axis(0), height).into_iter().enumerate() {
                        let first = i * TILE_COLUMNS / PANEL;
                        tasks.push(Task::Classifier(columns.clone(), view, first..panels));
                    }
                }
            }
            let mut sparse = false;
            if let Some(cut) = cut {
                let of = |active: &'_ Active<F::Sum>| (active.index, active.log_sum_exp);
                cut.list(problem, active.iter().map(of), chunk_rows, &block, &mut lists);
                let kept: usize = lists.counts.iter().sum();
                // Where most is kept, gathering it is no gain.
                sparse = !mixed && 2 * kept < active.len() * panels;
            }
            // Where little is kept, the classifier is read as it stands.
            let as_it_stands = sparse && stands.is_some();
            if !packed && !as_it_stands {
                pack_block(problem, &block, steps, classes, height, sparse, &mut slots);
                packed = !sparse;
            }
            let block = Block { columns: block.clone(), steps, classes, height };
            if let (Some(cut), true) = (cut, sparse) {
                g.resize_to(&lists);
                fill_kept(problem, active, &hidden, &block, &lists, &mut g, &mut sums, &mut slots);
                if let Some(tail) = &mut tail {
                    tail.fill(problem, cut, active, &block.columns, &mut sums, &mut slots);
                }
                let (tail, stands) = (tail.as_ref(), stands.as_ref().filter(|_| as_it_stands));
                parallel::for_each(&mut slots, tasks, |_, mut task| {
                    put_kept(problem, &g, &hidden, &block, &lists, stands, store, &mut task);
                    if let Some(tail) = tail {
                        tail.put(problem, &hidden, &block, stands, active.len(), task);
                    }
                });
                continue;
            }
            g.resize(active.len(), block.columns.len());
            let partial = (&mut sums[..], &mut partial_sums);
            fill_gradient(problem, active, chunk_rows, &hidden, &block, &mut g, partial, &mut slots);
            if cut.is_some() && mixed {
                masked.mask(&g, &lists, active.len());
            }
            let of = |filtered: bool| match cut.is_some() && mixed && filtered {
                true => &masked,
                false => &g,
            };
            let (left, columns_left) = (of(filtered.hidden), of(filtered.classifier));
            parallel::for_each(&mut slots, tasks, |_, task| match task {
                Task::Hidden(HiddenPart { columns, mut view, names }) => {
                    let (left, depth) = (left.rows(), block.columns.len());
                    let right = (block.classes(), 0);
                    add_rows(isa, left, 0, depth, right, columns, names, &mut view);
                }
                Task::Classifier(columns, mut view, panels) => {
                    let (g, first, rows) = (columns_left, panels.start, at.len());
                    put_classifier(problem, g, first, &hidden, rows, columns, store, &mut view);
                }
            });
        }
        if let Some(spread) = &spread {
            let view = classifier.as_mut().and_then(|sink| match direct {
                true => F::Sum::view_mut(&mut sink.array)
                    .map(|view| view.slice_move(s![block.clone(), ..])),
                false => {
                    let sums = &mut classifier_sums[..block.len() * width];
                    ArrayViewMut2::from_shape((block.len(), width), sums).ok()
                }
            });
            spread.put_classes(problem, &block, view, &mut sums);
        }
        if let Some(Sink { array, accumulate }) = &mut classifier
            && accumulated
            && width > 0
        {
            for (row, sums) in block.clone().zip(classifier_sums.chunks(width)) {
                put_row(array, row, 0..width, sums, *accumulate);
            }
        }
        if let Some(Sink { array, accumulate }) = &mut bias {
            put_vector(array, block.start, &sums[..block.len()], *accumulate);
        }
    }
    if let Some(spread) = &spread {
        for (at, part) in (0..rows.len()).step_by(chunk).map(|at| (at, rows.len().min(at + chunk))) {
            for part in d_hidden.parts(&rows, at..part, width, width.max(1), &mut names) {
                spread.put_hidden(at, part);
            }
        }
    }
    d_hidden.finish(&rows, width);
}

/// A classifier whose rows can be read as they stand: of this format, contiguous, of whole panels.
struct Stands<'a, F> {
    view: ArrayView2<'a, F>,
}

impl<'a, F: Format> Stands<'a, F> {
    fn new(problem: &Problem<'a, F::Sum>) -> Option<Self> {
        let Source::Product { classifier, .. } = &problem.source else { return None };
        let view = F::stored(classifier)?;
        let whole = problem.width.is_multiple_of(PANEL)
            && problem.columns.is_multiple_of(F::DEPTH)
            && problem.width > 0;
        (whole && view.is_standard_layout()).then_some(Self { view })
    }

    /// The means of the segments of a block, in the 32 columns from this one on.
    fn means(&self, block: &Range<usize>, column: usize, to: &mut [F::Sum]) {
        let width = self.view.dim().1;
        let classes = self.from(block.start)[..block.len() * width].chunks_exact(PANEL * width);
        let rest = classes.remainder();
        let segments = classes.chain(std::iter::once(rest).filter(|rest| !rest.is_empty()));
        for (segment, to) in segments.zip(to.chunks_mut(PANEL)) {
            to.fill(F::Sum::ZERO);
            for row in segment.chunks_exact(width) {
                for (to, value) in to.iter_mut().zip(&row[column..column + PANEL]) {
                    *to += value.to_sum();
                }
            }
            let part = F::Sum::from_f64(1.0 / (segment.len() / width) as f64);
            to.iter_mut().for_each(|to| *to = *to * part);
        }
    }

    /// The classes from this one on.
    fn from(&self, class: usize) -> &'a [F] {
        let all = self.view.to_slice().unwrap_or_default();
        &all[class * self.view.dim().1..]
    }
}

/// Rows of a panel that are few enough for products without packing.
const FEW_ROWS: usize = 8;

/// Packs a block of the classifier in parallel: in steps, but for rows alone, and in panels.
fn pack_block<F: Format>(
    problem: &Problem<'_, F::Sum>,
    block: &Range<usize>,
    steps: &mut [F],
    classes: &mut [F],
    height: usize,
    rows_only: bool,
    slots: &mut [Slot<F>],
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
    parallel::for_each(slots, tasks, |slot, task| match task {
        Pack::Steps(classes, to) => problem.pack_classes(classes, &mut slot.lines, to),
        Pack::Rows(columns, to) => {
            problem.pack_class_rows(block.clone(), columns, height, &mut slot.lines, to);
        }
    });
}

/// Makes one block of G anew, in parallel over its rows.
#[allow(clippy::too_many_arguments)]
fn fill_gradient<F: Format>(
    problem: &Problem<'_, F::Sum>,
    active: &[Active<F::Sum>],
    rows: &[Row],
    hidden: &Hidden<F>,
    block: &Block<'_, F>,
    g: &mut Derivatives<F>,
    (sums, partial): (&mut [f64], &mut Vec<f64>),
    slots: &mut [Slot<F>],
) {
    let Block { columns: block, steps, .. } = block;
    const ROWS: usize = GROUPS * GROUP;
    let length = steps_length::<F>(problem.width);
    let rows_of_parts = g.height.div_ceil(ROWS);
    let parts = g.parts(ROWS, TILE_COLUMNS / PANEL);
    partial.clear();
    partial.resize(parts.len() * TILE_COLUMNS, 0.0);
    let tasks = parts.into_iter().zip(partial.chunks_mut(TILE_COLUMNS)).enumerate().collect();
    let work = |slot: &mut Slot<F>, (i, (mut panels, sums)): (usize, (Vec<PanelPart<'_, F>>, _))| {
        let Slot { tile, row, .. } = slot;
        let start = i / rows_of_parts * TILE_COLUMNS;
        let columns = block.start + start..(block.start + start + TILE_COLUMNS).min(block.end);
        let stride = panels.len() * PANEL;
        let packed = &steps[start / PANEL * length..];
        let first = i % rows_of_parts * ROWS;
        let height = panels[0].rows.len() / PANEL;
        let all = first.min(rows.len())..(first + height).min(rows.len());
        let tile = &mut sized(tile, ROWS * TILE_COLUMNS)[..height * stride];
        let to = (&mut *tile, stride);
        problem.products(hidden, rows, all.clone(), columns.clone(), packed, to);
        let of = |i| active[all.clone()].get(i);
        let to = (&mut *tile, stride);
        gradient_group::<F>(problem, of, columns.clone(), to, row, sums);
        for (p, panel) in panels.iter_mut().enumerate() {
            put_rows(problem.loss.isa, &tile[p * PANEL..], stride, panel.rows, panel.pairs);
        }
    };
    parallel::for_each(slots, tasks, work);
    for (i, partial) in partial.chunks(TILE_COLUMNS).enumerate() {
        let start = i / rows_of_parts * TILE_COLUMNS;
        for (sum, value) in sums[start..].iter_mut().zip(partial) {
            *sum += value;
        }
    }
}

/// Makes G of the rows that are kept of each panel, in parallel over the panels.
#[allow(clippy::too_many_arguments)]
fn fill_kept<F: Format>(
    problem: &Problem<'_, F::Sum>,
    active: &[Active<F::Sum>],
    hidden: &Hidden<F>,
    block: &Block<'_, F>,
    lists: &Lists,
    g: &mut Derivatives<F>,
    sums: &mut [f64],
    slots: &mut [Slot<F>],
) {
    let length = steps_length::<F>(problem.width);
    let (isa, width) = (problem.loss.isa, problem.width);
    let stands = Stands::<F>::new(problem);
    let panels = g.kept_panels(lists);
    let tasks = panels.into_iter().zip(sums.chunks_mut(PANEL)).enumerate().collect();
    parallel::for_each(slots, tasks, |slot, (p, (panel, sums)): (usize, (PanelPart<'_, F>, _))| {
        let Slot { tile, row, packed, lines } = slot;
        let first = block.columns.start + p * PANEL;
        let columns = first..block.columns.end.min(first + PANEL);
        let tile = &mut sized(tile, GROUP * TILE_COLUMNS)[..GROUP * PANEL];
        let count = lists.counts[p];
        let few = stands.as_ref().filter(|_| count <= FEW_ROWS);
        let packed = packed.sized(if few.is_some() || count == 0 { 0 } else { length });
        if !packed.is_empty() {
            problem.pack_classes(columns.clone(), lines, packed);
        }
        for (i, names) in lists.names[lists.places(p)].chunks(GROUP).enumerate() {
            if let Some(stands) = few {
                let mut classes: [&[F]; PANEL] = [&[]; PANEL];
                for (row, class) in classes.iter_mut().zip(stands.from(first).chunks(width)) {
                    *row = class;
                }
                let classes = &classes[..columns.len()];
                few_products(isa, hidden.get(), &names[..count], classes, tile);
            } else {
                let shape = (GROUP, columns.len()).strides((PANEL, 1));
                let to = ArrayViewMut2::from_shape(shape, &mut *tile);
                let mut to = to.expect("a tile of one panel");
                row_products(isa, hidden.get(), Rows::Named(names), width, packed, &mut to);
            }
            let of = |i: usize| active.get(names[i] as usize);
            let to = (&mut *tile, PANEL);
            gradient_group::<F>(problem, of, columns.clone(), to, row, sums);
            let at = i * GROUP * PANEL..(i + 1) * GROUP * PANEL;
            let pairs = panel.pairs.get_mut(at.clone()).unwrap_or_default();
            put_rows(isa, tile, PANEL, &mut panel.rows[at], pairs);
        }
    });
}

/// What the rows kept of each panel add to some columns of a gradient.
#[allow(clippy::too_many_arguments)]
fn put_kept<F: Format>(
    problem: &Problem<'_, F::Sum>,
    g: &Derivatives<F>,
    hidden: &Hidden<F>,
    block: &Block<'_, F>,
    lists: &Lists,
    stands: Option<&Stands<'_, F>>,
    store: Store,
    task: &mut Task<'_, F::Sum>,
) {
    let isa = problem.loss.isa;
    match task {
        Task::Hidden(HiddenPart { columns, view, names }) => {
            let mut own = [0; GROUP];
            for p in 0..block.panels() {
                let depth = PANEL.min(block.columns.len() - p * PANEL);
                let (panel, places) = (g.kept_rows(lists, p), lists.places(p));
                for (i, kept) in lists.names[places].chunks(GROUP).enumerate() {
                    let count = GROUP.min(lists.counts[p] - i * GROUP);
                    for (own, &kept) in own[..count].iter_mut().zip(kept) {
                        *own = names[kept as usize];
                    }
                    let (first, columns, own) = (i * GROUP, columns.clone(), &own[..count]);
                    match stands {
                        Some(stands) => {
                            let classes = stands.from(block.columns.start + p * PANEL);
                            let right = (classes, problem.width);
                            add_rows_of_matrix(
                                isa, panel, first, depth, right, columns, own, view,
                            );
                        }
                        None => {
                            let right = (block.classes(), p * PANEL);
                            add_rows(isa, panel, first, depth, right, columns, own, view);
                        }
                    }
                }
            }
        }
        Task::Classifier(columns, view, panels) => {
            for (i, mut view) in split(view.view_mut(), Axis(0), PANEL).into_iter().enumerate() {
                let p = panels.start + i;
                let first = lists.starts[p];
                let count = lists.counts[p].next_multiple_of(F::DEPTH);
                let rows = Rows::Named(&lists.names[first..first + count]);
                let (left, right) = (g.kept_columns(lists, p), hidden.get());
                add_columns(isa, left, right, rows, columns.clone(), store, &mut view);
            }
        }
    }
}

/// What a filter has left out, taken for flat: the mass of a segment times the mean of its 32 rows of
/// the classifier goes to dE, a 32nd of it times the hidden state to each of their 32 gradients.
struct Tail<F: Format> {
    /// G of each row and segment, where 32 segments are one panel.
    g: Derivatives<F>,
}

impl<F: Format> Tail<F> {
    fn new(problem: &Problem<'_, F::Sum>, cut: Option<&Cut<'_>>, rows: usize) -> Option<Self> {
        (problem.loss.tail_correction && cut.is_some())
            .then(|| Self { g: Derivatives::new(rows, PANEL) })
    }

    /// Takes the lost probabilities of a block of at most 32 segments.
    fn fill(
        &mut self,
        problem: &Problem<'_, F::Sum>,
        cut: &Cut<'_>,
        active: &[Active<F::Sum>],
        block: &Range<usize>,
        sums: &mut [f64],
        slots: &mut [Slot<F>],
    ) {
        assert!(block.len() <= PANEL * PANEL, "segments of one panel");
        self.g.resize(active.len(), PANEL);
        let parts = self.g.parts(GROUP, 1);
        let mut totals = vec![0.0; parts.len() * PANEL];
        let tasks = parts.into_iter().zip(totals.chunks_mut(PANEL)).enumerate().collect();
        let work = |_: &mut Slot<F>, (i, (mut panels, totals)): (usize, (Vec<PanelPart<'_, F>>, _))| {
            let totals: &mut [f64] = totals;
            let mut tile = [F::Sum::ZERO; GROUP * PANEL];
            let own = active.iter().skip(i * GROUP).take(GROUP);
            for (active, tile) in own.zip(tile.chunks_mut(PANEL)) {
                let place = (active.index, active.log_sum_exp);
                cut.lost(problem, place, &active.row, block, |p, mass| {
                    let columns = PANEL.min(block.len() - p * PANEL);
                    let g = active.flat_gradient(problem, mass, columns);
                    tile[p] = F::Sum::from_f64(g);
                    totals[p] += g;
                });
            }
            let PanelPart { rows, pairs } = &mut panels[0];
            put_rows(problem.loss.isa, &tile, PANEL, rows, pairs);
        };
        parallel::for_each(slots, tasks, work);
        for totals in totals.chunks(PANEL) {
            for (sums, total) in sums[..block.len()].chunks_mut(PANEL).zip(totals) {
                let each = total / sums.len() as f64;
                sums.iter_mut().for_each(|sum| *sum += each);
            }
        }
    }

    fn put(
        &self,
        problem: &Problem<'_, F::Sum>,
        hidden: &Hidden<F>,
        block: &Block<'_, F>,
        stands: Option<&Stands<'_, F>>,
        rows: usize,
        task: Task<'_, F::Sum>,
    ) {
        let isa = problem.loss.isa;
        match task {
            Task::Hidden(HiddenPart { columns, mut view, names }) => {
                let mut means = [F::Sum::ZERO; PANEL * PANEL];
                match stands {
                    Some(stands) => stands.means(&block.columns, columns.start, &mut means),
                    None => block.means(columns.start / PANEL, &mut means),
                }
                let mut lines = Buffer::<F>::zeros(padded_rows(PANEL) * PANEL);
                let mut pairs = Buffer::<F>::zeros(padded_rows(PANEL) * PANEL);
                let (lines, pairs) =
                    (lines.sized(padded_rows(PANEL) * PANEL), pairs.sized(padded_rows(PANEL) * PANEL));
                let whole = ..PANEL * PANEL;
                put_rows(isa, &means, PANEL, &mut lines[whole], &mut pairs[whole]);
                let steps = if F::DEPTH > 1 { pairs } else { lines };
                let right = (Panels::new(steps, padded_rows(PANEL)), 0);
                let (left, columns) = (self.g.rows(), 0..columns.len());
                add_rows(isa, left, 0, block.panels(), right, columns, names, &mut view);
            }
            Task::Classifier(columns, mut view, _) => {
                let mut means = ndarray::Array2::from_elem((PANEL, columns.len()), F::Sum::ZERO);
                let (left, right) = (self.g.columns(0), hidden.steps());
                let (rows, store) = (Rows::From(0, rows), Store::Assign);
                add_columns(isa, left, right, rows, columns, store, &mut means.view_mut());
                for (p, mut view) in split(view.view_mut(), Axis(0), PANEL).into_iter().enumerate() {
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

impl<F: Format> Block<'_, F> {
    /// The means of the segments' rows in one panel of columns.
    fn means(&self, q: usize, to: &mut [F::Sum]) {
        let panel = &self.classes[q * self.height * PANEL..][..self.height * PANEL];
        for (p, to) in to.chunks_mut(PANEL).enumerate().take(self.panels()) {
            let count = PANEL.min(self.columns.len() - p * PANEL);
            to.fill(F::Sum::ZERO);
            let rows = panel[p * PANEL * PANEL..].chunks_exact(PANEL * F::DEPTH);
            for steps in rows.take(PANEL / F::DEPTH) {
                // Written out for either depth, so that each is a loop over vectors.
                if F::DEPTH == 1 {
                    for (to, value) in to.iter_mut().zip(steps) {
                        *to += value.to_sum();
                    }
                } else {
                    for (to, pair) in to.iter_mut().zip(steps.chunks_exact(2)) {
                        *to += pair[0].to_sum() + pair[1].to_sum();
                    }
                }
            }
            let part = F::Sum::from_f64(1.0 / count as f64);
            to.iter_mut().for_each(|to| *to = *to * part);
        }
    }
}

/// What label smoothing takes from every class, kept or not: a term of rank one.
///
/// ```text
/// dE_i −= s k_i Σ_v w_v C_v      dC_v −= s w_v Σ_i k_i E_i      db_v −= s w_v Σ_i k_i
/// ```
struct Spread<R> {
    /// s k_i of each row.
    coefficients: Vec<f64>,
    /// Σ_v w_v C_v.
    classes: Vec<R>,
    /// s Σ_i k_i E_i.
    hidden: Vec<R>,
    total: f64,
}

impl<R: Real> Spread<R> {
    /// Takes the smoothing out of the rows' coefficients; `None` where there is none.
    fn new<F: Format<Sum = R>>(
        problem: &Problem<'_, R>,
        active: &mut [Active<R>],
        slots: &mut [Slot<F>],
    ) -> Option<Self> {
        if problem.loss.label_smoothing == 0.0 {
            return None;
        }
        let Source::Product { hidden, classifier } = &problem.source else { return None };
        let (width, scale) = (problem.width, problem.loss.transform.scale);
        let mut coefficients = Vec::with_capacity(active.len());
        for active in active.iter_mut() {
            coefficients.push(scale * active.weights);
            active.weights = 0.0;
            active.gradient.weights = R::ZERO;
        }
        let of_rows = |i: usize| (active[i].row.hidden, coefficients[i]);
        let of_classes = |v: usize| (v, problem.class_weight(problem.first_class + v));
        let hidden = weighed_rows(hidden, active.len(), width, of_rows, slots);
        let classes = weighed_rows(classifier, problem.columns, width, of_classes, slots);
        let total = coefficients.iter().sum();
        Some(Self { coefficients, classes, hidden, total })
    }

    fn put_classes(
        &self,
        problem: &Problem<'_, R>,
        block: &Range<usize>,
        view: Option<ArrayViewMut2<'_, R>>,
        sums: &mut [f64],
    ) {
        let weight = |i: usize| problem.class_weight(problem.first_class + block.start + i);
        for (i, sum) in sums[..block.len()].iter_mut().enumerate() {
            *sum += -weight(i) * self.total;
        }
        if let Some(mut view) = view {
            for (i, mut row) in view.outer_iter_mut().enumerate() {
                let w = R::from_f64(-weight(i));
                for (to, &value) in row.iter_mut().zip(&self.hidden) {
                    *to += w * value;
                }
            }
        }
    }

    fn put_hidden(&self, first: usize, part: HiddenPart<'_, R>) {
        let HiddenPart { mut view, names, .. } = part;
        for (i, &name) in names.iter().enumerate() {
            let k = R::from_f64(-self.coefficients[first + i]);
            for (to, &value) in view.row_mut(name as usize).iter_mut().zip(&self.classes) {
                *to += k * value;
            }
        }
    }
}

/// Σ_i w_i X_i over rows of a matrix, in f64 and in the order of the rows.
fn weighed_rows<F: Format>(
    matrix: &Matrix<'_>,
    count: usize,
    width: usize,
    row: impl Fn(usize) -> (usize, f64) + Sync,
    slots: &mut [Slot<F>],
) -> Vec<F::Sum> {
    let mut sums = vec![0.0; width];
    let tasks = sums.chunks_mut(STRIP_COLUMNS).enumerate().collect();
    parallel::for_each(slots, tasks, |slot, (q, sums): (usize, &mut [f64])| {
        let line = &mut sized(&mut slot.tile, STRIP_COLUMNS)[..sums.len()];
        let columns = q * STRIP_COLUMNS..q * STRIP_COLUMNS + sums.len();
        for i in 0..count {
            let (at, weight) = row(i);
            matrix.read(at, columns.clone(), line);
            for (sum, value) in sums.iter_mut().zip(&*line) {
                *sum += weight * value.to_f64();
            }
        }
    });
    sums.into_iter().map(F::Sum::from_f64).collect()
}

/// The gradients of given logits: there is nothing to multiply.
fn given<F: Format>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    active: &[Active<F::Sum>],
    gradients: Gradients<'_>,
) {
    let Gradients { mut bias, mut logits, .. } = gradients;
    if let Some(Sink { array, accumulate: false }) = &mut logits {
        clear(array);
    }
    if active.is_empty() {
        return clear_rest(&mut None, &mut bias);
    }
    let mut slots = Slot::<F>::several(plan.slots);
    let (columns, chunk) = (problem.columns, plan.rows_at_once);
    let rows: Vec<Row> = active.iter().map(|active| active.row).collect();
    let hidden = Hidden::<F>::new();
    let mut sums = vec![0.0; columns.min(TILE_COLUMNS)];
    let mut g = vec![F::Sum::ZERO; chunk.min(active.len()) * columns.min(TILE_COLUMNS)];
    for start in (0..columns).step_by(TILE_COLUMNS) {
        let block = start..(start + TILE_COLUMNS).min(columns);
        let width = block.len();
        sums.fill(0.0);
        for first in (0..active.len()).step_by(chunk) {
            let at = first..(first + chunk).min(active.len());
            let g = &mut g[..at.len() * width];
            let tasks = g.chunks_mut(GROUP * width).enumerate().collect();
            parallel::for_each(&mut slots, tasks, |slot, (i, g): (usize, &mut [F::Sum])| {
                let from = at.start + i * GROUP;
                let group = from..from + g.len() / width;
                let tile = (&mut *g, width);
                problem.products(&hidden, &rows, group.clone(), block.clone(), &[], tile);
                let (row, sums) = (&mut slot.row, &mut []);
                let of = |i| active[group.clone()].get(i);
                gradient_group::<F>(problem, of, block.clone(), (g, width), row, sums);
            });
            for (row, g) in rows[at].iter().zip(g.chunks(width)) {
                if let Some(Sink { array, .. }) = &mut logits {
                    put_row(array, row.hidden, block.clone(), g, true);
                }
                for (sum, value) in sums.iter_mut().zip(g) {
                    *sum += value.to_f64();
                }
            }
        }
        if let Some(Sink { array, accumulate }) = &mut bias {
            put_vector(array, start, &sums[..width], *accumulate);
        }
    }
}

fn strip<F: Format>(
    problem: &mut Problem<'_, F::Sum>,
    plan: &Plan,
    upstream: &Upstream<'_, F::Sum>,
    gradients: Gradients<'_>,
) -> Folded<F::Sum> {
    // Rows without an upstream come last: they are folded, and no gradient sees them.
    let active = problem.rows.iter().filter(|row| !upstream.of(row).is_zero()).count();
    if active == problem.rows.len() {
        return strip_in_order::<F>(problem, plan, upstream, gradients, active);
    }
    problem.target_logits = None;
    problem.rows.sort_by_key(|row| (upstream.of(row).is_zero(), row.output));
    let mut folded = strip_in_order::<F>(problem, plan, upstream, gradients, active);
    let mut order: Vec<usize> = (0..problem.rows.len()).collect();
    order.sort_by_key(|&i| problem.rows[i].output);
    problem.rows.sort_by_key(|row| row.output);
    let k = problem.loss.statistics.top_k;
    folded.states = order.iter().map(|&i| folded.states[i]).collect();
    folded.top = order.iter().flat_map(|&i| &folded.top[i * k..(i + 1) * k]).copied().collect();
    folded
}

/// Strips of the first `active` rows, then of the others without their gradients.
fn strip_in_order<F: Format>(
    problem: &Problem<'_, F::Sum>,
    plan: &Plan,
    upstream: &Upstream<'_, F::Sum>,
    gradients: Gradients<'_>,
    active: usize,
) -> Folded<F::Sum> {
    let Gradients { hidden: d_hidden, mut classifier, mut bias, .. } = gradients;
    let (width, columns, isa) = (problem.width, problem.columns, problem.loss.isa);
    let mut folded = Folded::new::<F>(problem, plan);
    let kept = problem.rows.len();
    let strip_rows = plan.rows_at_once.min(kept);
    let mut slots = Slot::<F>::several(plan.slots);
    let mut hidden = Hidden::<F>::new();
    let mut g = Derivatives::<F>::new(strip_rows, columns);
    let mut partial = Partial::new(problem, plan);
    let mut names = Vec::with_capacity(strip_rows);
    let mut d_hidden = HiddenGradient::new(d_hidden, active, width);
    let mut sums = vec![0.0; columns];
    let direct = classifier.as_ref().is_some_and(|sink| is_direct::<F::Sum>(&sink.array));
    let accumulated = classifier.is_some() && !direct;
    let mut accumulator = vec![F::Sum::ZERO; if accumulated { columns * width } else { 0 }];
    if active == 0 {
        clear_rest(&mut classifier, &mut None);
    }
    let strips = |rows: Range<usize>| {
        let starts = rows.clone().step_by(strip_rows.max(1));
        starts.map(move |start| start..(start + strip_rows).min(rows.end))
    };
    for at in strips(0..active).chain(strips(active..kept)) {
        let rows = &problem.rows[at.clone()];
        hidden.pack(problem, rows, plan.slots);
        g.resize(rows.len(), columns);
        let height = g.height;
        let mut rest = g.products();
        let tasks = partial.tasks(&folded.states[at.clone()]).into_iter().map(|task| {
            let panels = task.columns.len().div_ceil(PANEL);
            let (own, tail) = std::mem::take(&mut rest).split_at_mut(panels * height * PANEL);
            rest = tail;
            (task, own)
        });
        let tasks = tasks.collect();
        parallel::for_each(&mut slots, tasks, |slot, (task, own): (_, &mut [F::Sum])| {
            let first = task.columns.start;
            problem.fold_span(&hidden, rows, task, plan.tile_columns, slot, |group, columns, tile| {
                let from = tile.chunks(columns.len());
                for (i, from) in group.zip(from) {
                    let panel = (columns.start - first) / PANEL;
                    for (p, from) in (panel..).zip(from.chunks(PANEL)) {
                        let to = (p * height + i) * PANEL;
                        own[to..to + from.len()].copy_from_slice(from);
                    }
                }
            });
        });
        folded.merge(at.clone(), &partial.states, &partial.top);
        let states = &mut folded.states[at.clone()];
        add_sparse_targets(problem, &mut slots, states, rows);
        if at.start >= active {
            continue;
        }
        hidden.pair(isa, plan.slots);
        let active = active_rows(problem, states, rows, upstream);
        let tasks = g.products().chunks_mut(TILE_COLUMNS * height);
        let tasks = tasks.zip(sums.chunks_mut(TILE_COLUMNS)).enumerate().collect();
        parallel::for_each(&mut slots, tasks, |slot, (i, (panels, sums))| {
            let first = i * TILE_COLUMNS;
            let columns = first..(first + TILE_COLUMNS).min(problem.columns);
            strip_gradient::<F>(problem, &active, columns, panels, height, sums, slot);
        });

        let mut tasks: Vec<Task<'_, F::Sum>> = Vec::new();
        let parts = d_hidden.parts(&problem.rows, at.clone(), width, STRIP_COLUMNS, &mut names);
        tasks.extend(parts.into_iter().map(Task::Hidden));
        let mut store = Store::Assign;
        if let Some(Sink { array, accumulate }) = &mut classifier {
            if at.start > 0 || (direct && *accumulate) {
                store = Store::Add;
            }
            let view = match direct {
                true => F::Sum::view_mut(array).expect("a direct gradient"),
                false => ArrayViewMut2::from_shape((columns, width), &mut accumulator)
                    .expect("an accumulator of all classes"),
            };
            for (i, view) in split(view, Axis(0), TILE_COLUMNS).into_iter().enumerate() {
                let first = i * TILE_COLUMNS / PANEL;
                tasks.push(Task::Classifier(0..width, view, first..g.panels));
            }
        }
        parallel::for_each(&mut slots, tasks, |slot, task| match task {
            Task::Hidden(HiddenPart { columns: own, mut view, names }) => {
                for start in (0..columns).step_by(STRIP_CLASSES) {
                    let classes = start..(start + STRIP_CLASSES).min(columns);
                    let height = padded_rows(classes.len());
                    let Slot { packed, lines, .. } = &mut *slot;
                    let packed = packed.sized(panels_length(height, own.len()));
                    let depth = classes.len();
                    problem.pack_class_rows(classes, own.clone(), height, lines, packed);
                    let right = (Panels::new(packed, height), 0);
                    let left = g.rows_from(start / PANEL);
                    let own = 0..own.len();
                    add_rows(isa, left, 0, depth, right, own, names, &mut view);
                }
            }
            Task::Classifier(own, mut view, panels) => {
                let (first, rows) = (panels.start, at.len());
                put_classifier(problem, &g, first, &hidden, rows, own, store, &mut view);
            }
        });
    }
    d_hidden.finish(&problem.rows[..active], width);
    if let Some(Sink { array, accumulate }) = &mut classifier
        && accumulated
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

/// Turns some panels of a strip from products into G.
fn strip_gradient<F: Format>(
    problem: &Problem<'_, F::Sum>,
    active: &[Active<F::Sum>],
    columns: Range<usize>,
    panels: &mut [F::Sum],
    height: usize,
    sums: &mut [f64],
    slot: &mut Slot<F>,
) {
    let Slot { tile, row, .. } = slot;
    let stride = columns.len().next_multiple_of(PANEL);
    let copied = if F::DEPTH > 1 { panels.len() } else { 0 };
    let scratch = sized(tile, GROUP * TILE_COLUMNS + copied);
    let (tile, copy) = scratch.split_at_mut(GROUP * TILE_COLUMNS);
    let tile = &mut tile[..GROUP * stride];
    // Pairs are written over products that have not been read yet: those are read from a copy.
    copy[..copied].copy_from_slice(&panels[..copied]);
    for first in (0..height).step_by(GROUP) {
        for (p, panel) in panels.chunks_mut(height * PANEL).enumerate() {
            let at = first * PANEL..(first + GROUP) * PANEL;
            let from = match copied {
                0 => &panel[at],
                _ => &copy[p * height * PANEL..][at],
            };
            for (to, from) in tile.chunks_mut(stride).zip(from.chunks(PANEL)) {
                to[p * PANEL..(p + 1) * PANEL].copy_from_slice(from);
            }
        }
        let group = first.min(active.len())..(first + GROUP).min(active.len());
        let to = (&mut *tile, stride);
        let of = |i| active[group.clone()].get(i);
        gradient_group::<F>(problem, of, columns.clone(), to, row, sums);
        for (p, panel) in panels.chunks_mut(height * PANEL).enumerate() {
            let panel: &mut [F] = bytemuck::cast_slice_mut(panel);
            let (rows, pairs) = panel.split_at_mut(height * PANEL);
            let at = first * PANEL..(first + GROUP) * PANEL;
            let pairs = pairs.get_mut(at.clone()).unwrap_or_default();
            put_rows(problem.loss.isa, &tile[p * PANEL..], stride, &mut rows[at], pairs);
        }
    }
}
