//! The calls of a loss: forward, gradients, both, shards, candidates.

use ndarray::{Array1, Array2, ArrayView2};

use super::engine::active::{Seen, active_rows};
use super::engine::candidates::log_probabilities;
use super::engine::fold::{Folded, owned_target_logits};
use super::engine::pair::pairs;
use super::engine::problem::Problem;
use super::engine::recompute::recompute;
use super::engine::second_head::fold_heads;
use super::engine::shapes::{Pass, Shapes, Strategy};
use super::engine::sinks::is_direct;
use super::engine::strip::strip;
use super::filter::decision::ActiveFilter;
use super::forward::Forward;
use super::gradients::{Gradients, Sink, Upstream};
use super::inputs::{Inputs, Targets};
use super::options::LinearCrossEntropy;
use super::shards::Fold;
use crate::element::Real;
use crate::error::{Error, Result};
use crate::matrix::MatrixMut;

/// Calls a function for the format of the problem's products.
macro_rules! in_format {
    ($problem:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $problem.narrow {
            true => $function::<R::Narrow>($($argument),*),
            false => $function::<R>($($argument),*),
        }
    };
}
/// Calls a method that is generic in what is computed in, for the precision of the inputs.
macro_rules! in_precision {
    ($inputs:expr, $on:ident.$method:ident($($argument:expr),* $(,)?)) => {
        match $inputs.is_double() {
            true => $on.$method::<f64>($($argument),*),
            false => $on.$method::<f32>($($argument),*),
        }
    };
}

/// What the examples of this file begin with.
macro_rules! example {
    () => {
        "# use ndarray::{arr2, s};
# use surprisal::{Inputs, LinearCrossEntropy, Shard};
# let hidden = arr2(&[[1.0_f64, -0.5]]);
# let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
# let loss = LinearCrossEntropy::builder().build()?;
# let (left, right) = (classifier.slice(s![..2, ..]), classifier.slice(s![2.., ..]));"
    };
}

impl LinearCrossEntropy {
    /// The loss, forward alone. A row of token weight 0 adds nothing, whatever its logits are.
    ///
    /// ```
    #[doc = example!()]
    /// let inputs = Inputs::new(&hidden, &classifier, &[2_u32]);
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

    /// The fold over the classes of one shard, to be merged with those of the others.
    ///
    /// ```
    #[doc = example!()]
    /// let shard = Shard::new(2, 3);
    /// let fold = loss.fold(&Inputs::new(&hidden, right, &[2_u32]).shard(shard))?;
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
        let mut folded = in_format!(problem, fold_heads(&problem, &plan));
        let record = folded.record.take();
        let filter = ActiveFilter::new(&problem, record.as_ref(), &folded.states, plan.workers);
        let dropped = filter.map(|filter| filter.dropped);
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
    /// let inputs = Inputs::from_logits(&logits, &[0_u32]);
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let forward = loss.forward(&inputs)?;
    /// let of = loss.log_probabilities(&inputs, &forward, &arr2(&[[2_u32, 0]]))?;
    /// assert!((of[[0, 0]] + 0.4076059644443806).abs() < 1e-15);
    /// assert_eq!(of[[0, 1]], -forward.loss());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`Error::Value`] for a class that is not the classifier's.
    pub fn log_probabilities<'c>(
        &self,
        inputs: &Inputs<'_>,
        forward: &Forward,
        candidates: impl Into<ArrayView2<'c, u32>>,
    ) -> Result<Array2<f64>> {
        let candidates = candidates.into();
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
    ///     let shard = Shard::new(classes.start, 4);
    ///     let part = classifier.slice(s![classes, ..]);
    ///     Inputs::new(&hidden, part, &targets).shard(shard)
    /// });
    /// let mut logits = Array1::from_elem(2, f64::NAN);
    /// for shard in &shards {
    ///     let own = loss.target_logits(shard)?;
    ///     logits.zip_mut_with(&own, |to, &from| *to = if from.is_nan() { *to } else { from });
    /// }
    /// let shards = shards.map(|shard| shard.target_logits(&logits));
    /// let mut fold = loss.fold(&shards[0])?;
    /// fold.merge(&loss.fold(&shards[1])?)?;
    /// let forward = fold.finish()?;
    /// let whole = Inputs::new(&hidden, &classifier, &targets);
    /// assert_eq!(forward.rank()?, loss.forward(&whole)?.rank()?);
    ///
    /// // The gradient of the hidden states is the sum over the shards, that of the classifier is
    /// // each shard's own.
    /// let mut d_hidden = Array2::<f64>::zeros((2, 2));
    /// for shard in &shards {
    ///     let gradients = Gradients::new().accumulate_hidden(&mut d_hidden);
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

    /// The vector-Jacobian product: from the upstream gradients of the losses, of the log-sum-exp
    /// and of the entropies to those of hidden states, classifier and bias.
    ///
    /// ```text
    /// cross-entropy (any other loss: RowLoss):
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
    /// let inputs = Inputs::new(&hidden, &classifier, &[2_u32, 0]);
    /// let loss =
    ///     LinearCrossEntropy::builder().reduction(Reduction::None).entropy(true).build()?;
    /// let forward = loss.forward(&inputs)?;
    /// let advantage = arr1(&[0.7, -1.2]);
    /// let bonus = arr1(&[-0.01, -0.01]);
    /// let mut gradient = Array2::<f64>::zeros((2, 2));
    /// loss.vjp(
    ///     &inputs,
    ///     &forward,
    ///     &Upstream::rows(&advantage).entropy(&bonus),
    ///     Gradients::new().hidden(&mut gradient),
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
        mut gradients: Gradients<'_>,
    ) -> Result<()> {
        let plan = self.plan(&shapes_with::<R>(inputs, &gradients), Pass::Vjp)?;
        let mut problem = Problem::<R>::new(&self.without_rank(), inputs)?;
        gradients.check(inputs)?;
        forward.check_upstream(&problem, upstream)?;
        problem.check_temperature_gradient(gradients.temperature.as_ref(), upstream)?;
        problem.weigh_candidates(upstream);
        let Forward { states, second, candidates, .. } = forward;
        let of_temperature = gradients.temperature.take();
        problem.put_temperature_gradient(states, candidates, upstream, of_temperature);
        let seen = Seen { states, second, candidates };
        let active = active_rows(&problem, seen, &problem.rows, upstream);
        let pairs = pairs(&problem, states, second, &problem.rows, upstream);
        let filter = ActiveFilter::new(&problem, forward.record.as_ref(), states, plan.workers);
        in_format!(problem, recompute(&problem, &plan, active, &pairs, filter.as_ref(), gradients));
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
    ///     &Inputs::new(&hidden, &classifier, &[2_u32, 0]),
    ///     &Upstream::default(),
    ///     Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier),
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
        mut gradients: Gradients<'_>,
    ) -> Result<Forward> {
        inputs.check_whole()?;
        let plan = self.plan(&shapes_with::<R>(inputs, &gradients), Pass::LossAndGradients)?;
        let mut problem = Problem::<R>::new(self, inputs)?;
        upstream.check(&problem)?;
        gradients.check(inputs)?;
        problem.check_temperature_gradient(gradients.temperature.as_ref(), upstream)?;
        problem.weigh_candidates(upstream);
        let of_temperature = gradients.temperature.take();
        let (folded, dropped) = match plan.strategy {
            Some(Strategy::Strip) => {
                let folded = in_format!(problem, strip(&mut problem, &plan, upstream, gradients));
                (folded, None)
            }
            _ => {
                let forward = plan.of_forward();
                let mut folded = in_format!(problem, fold_heads(&problem, &forward));
                let record = folded.record.take();
                let Folded { states, second, candidates, .. } = &folded;
                let filter = ActiveFilter::new(&problem, record.as_ref(), states, plan.workers);
                let seen = Seen { states, second, candidates };
                let active = active_rows(&problem, seen, &problem.rows, upstream);
                let pairs = pairs(&problem, states, second, &problem.rows, upstream);
                let filter_of = filter.as_ref();
                in_format!(
                    problem,
                    recompute(&problem, &plan, active, &pairs, filter_of, gradients)
                );
                let dropped = filter.map(|filter| filter.dropped);
                (folded, dropped)
            }
        };
        let (states, candidates) = (&folded.states, &folded.candidates);
        problem.put_temperature_gradient(states, candidates, upstream, of_temperature);
        Ok(Forward::new(problem, folded, dropped))
    }
}

fn shapes_with<R: Real>(inputs: &Inputs<'_>, gradients: &Gradients<'_>) -> Shapes {
    fn rounded<R: Real>(sink: &Option<Sink<MatrixMut<'_>>>) -> bool {
        sink.as_ref().is_some_and(|sink| !is_direct::<R>(&sink.array))
    }
    Shapes::of(inputs)
        .hidden_gradient_rounded(rounded::<R>(&gradients.hidden))
        .classifier_gradient_rounded(rounded::<R>(&gradients.classifier))
}
