//! The second fold: from the rows' scalars to the gradients, by recomputing or from a strip.

use std::ops::Range;

use super::filter::Cut;
use super::forward::{Forward, fold_rows, in_format, in_precision};
use super::gradients::{Gradients, Sink, Upstream};
use super::inputs::{Inputs, Source, Targets};
use super::options::LinearCrossEntropy;
use super::plan::{Pass, Shapes, Strategy};
use super::problem::{Problem, Row};
use super::recompute::recompute;
use super::sinks::is_direct;
use super::strip::strip;
use super::tile::{RowScratch, Weights};
use crate::element::Real;
use crate::error::{Error, Result};
use crate::matrix::MatrixMut;
use crate::quotient::quotient;
use crate::softmax::RowState;
use crate::softmax::gradient::{RowGradient, Slope};

/// The bytes that the backward keeps of a row.
pub(crate) const ROW_BYTES: usize = size_of::<Active<f64>>() + size_of::<Row>();

/// A row with all that its derivative needs.
pub(crate) struct Active<R> {
    pub(crate) row: Row,
    /// Its place among the kept rows.
    pub(crate) index: usize,
    /// lse.
    pub(crate) log_sum_exp: f64,
    pub(crate) gradient: RowGradient<R>,
    /// Σ of what single classes are weighed with: k (1−ε) w_y, or the sum of the sparse weights.
    pub(crate) picked: f64,
    /// The upstream of the cross-entropy over its divisor, times τ.
    pub(crate) cross_entropy: f64,
    /// A without `picked`.
    pub(crate) rest: f64,
    /// A without what the arg-max alone is weighed with: summed without it, not by a difference.
    pub(crate) others: f64,
    /// What smoothing takes from the arg-max.
    pub(crate) spread_of_argmax: f64,
    /// k, the coefficient of the weights.
    pub(crate) weights: f64,
    pub(crate) entropy: f64,
    pub(crate) remainder: f64,
    pub(crate) mean: f64,
    pub(crate) maximum: f64,
    pub(crate) argmax: i64,
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
    /// Where hidden states and classifier both are bf16 and the processor multiplies it, G is rounded to
    /// bf16 before the two products, whose sums are f32: each term is then off by up to 2⁻⁸ of itself.
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
    pub fn vjp(
        &self,
        inputs: &Inputs<'_>,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<()> {
        in_precision!(inputs, self.vjp_in(inputs, forward, upstream, gradients))
    }

    fn vjp_in<R: Real>(
        &self,
        inputs: &Inputs<'_>,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<()> {
        let plan = self.plan(&shapes_with::<R>(inputs, &gradients), Pass::Vjp)?;
        let problem = Problem::<R>::new(&self.without_rank(), inputs)?;
        check_gradients(inputs, &gradients)?;
        forward.check_upstream(&problem, upstream)?;
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
    pub fn loss_and_gradients(
        &self,
        inputs: &Inputs<'_>,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<Forward> {
        in_precision!(inputs, self.loss_and_gradients_in(inputs, upstream, gradients))
    }

    fn loss_and_gradients_in<R: Real>(
        &self,
        inputs: &Inputs<'_>,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<Forward> {
        inputs.check_whole()?;
        let plan = self.plan(&shapes_with::<R>(inputs, &gradients), Pass::LossAndGradients)?;
        let mut problem = Problem::<R>::new(self, inputs)?;
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

fn shapes_with<R: Real>(inputs: &Inputs<'_>, gradients: &Gradients<'_>) -> Shapes {
    fn rounded<R: Real>(sink: &Option<Sink<MatrixMut<'_>>>) -> bool {
        sink.as_ref().is_some_and(|sink| !is_direct::<R>(&sink.array))
    }
    Shapes {
        hidden_gradient_rounded: rounded::<R>(&gradients.hidden),
        classifier_gradient_rounded: rounded::<R>(&gradients.classifier),
        ..Shapes::of(inputs)
    }
}

pub(crate) fn check_gradients(inputs: &Inputs<'_>, gradients: &Gradients<'_>) -> Result<()> {
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
pub(crate) fn active_rows<R: Real>(
    problem: &Problem<'_, R>,
    states: &[RowState],
    rows: &[Row],
    upstream: &Upstream<'_>,
) -> Vec<Active<R>> {
    let mut active = Vec::with_capacity(rows.len());
    for (index, (state, row)) in states.iter().zip(rows).enumerate() {
        let above = upstream.of(row);
        if above.is_zero() {
            continue;
        }
        let loss = &problem.loss;
        let share = |factors: &[f64]| problem.share(&above, factors);
        let mut rest = above.log_sum_exp;
        if loss.z_loss != 0.0 && !above.has_no_loss() {
            let [upstream, token_weight] = above.loss;
            let factors = [2.0 * loss.z_loss, state.log_sum_exp(), upstream, token_weight];
            rest += quotient(&factors, problem.divisors.z_loss, 0);
        }
        let mut others = rest;
        let smoothing = [loss.label_smoothing, 1.0 / problem.vocabulary as f64];
        let spread = |weight: f64| share(&[smoothing[0], smoothing[1], weight]);
        let keep = 1.0 - loss.label_smoothing;
        let cross_entropy = share(&[]);
        let (picked, weights) = match &problem.targets {
            Targets::Hard(_) => {
                let picked = share(&[keep, problem.class_weight(row.target as usize)]);
                others += spread(state.other_weight);
                if state.argmax != i64::from(row.target) {
                    others += picked;
                }
                (picked, spread(1.0))
            }
            Targets::Sparse { .. } => {
                let targets = problem.sparse_of(row, 0..problem.columns);
                let sum: f64 = targets.iter().map(|&(_, weight)| weight).sum();
                others += share(&[state.other_weight]);
                (share(&[sum]), spread(1.0))
            }
            Targets::Soft(_) => {
                others += share(&[state.other_weight]);
                (share(&[state.weight]), cross_entropy)
            }
        };
        let mut spread_of_argmax = 0.0;
        if !matches!(problem.targets, Targets::Soft(_)) {
            rest += spread(problem.total_weight);
            let argmax = usize::try_from(state.argmax).ok().filter(|&v| v < problem.vocabulary);
            spread_of_argmax = weights * argmax.map_or(0.0, |v| problem.class_weight(v));
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
            others,
            spread_of_argmax,
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
    pub(super) fn row_gradient(
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
    pub(super) fn flat_gradient(&self, problem: &Problem<'_, R>, mass: f64, columns: usize) -> f64 {
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
    pub(crate) fn exact_gradient(&self, class: usize, logit: f64, picked: f64, spread: f64) -> f64 {
        if !self.maximum.is_finite() {
            return f64::NAN;
        }
        let u = (logit - self.maximum).max(-1e4);
        let r = self.remainder;
        let p = u.exp() / (1.0 + r);
        let rise = self.entropy * (u - self.mean);
        if self.argmax == class as i64 {
            // p (A − own) + (p − 1) own, where p − 1 = −r/(1+r) keeps the digits of a confident row.
            let own = picked + self.spread_of_argmax;
            return p * (self.others - rise) - own * (r / (1.0 + r))
                + (self.spread_of_argmax - spread)
                + 0.0;
        }
        p * (self.picked + self.rest - rise) - picked - spread + 0.0
    }
}
