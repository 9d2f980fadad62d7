//! The doors: blocking and asynchronous.

use super::arrays::Pieces;
use super::call::{Call, check, shapes};
use super::context::{Context, Waiting, now};
use super::plan::Plan;
use super::shader::Format;
use crate::error::Result;
use crate::loss::engine::problem::Problem;
use crate::loss::inputs::Source;
use crate::loss::{Forward, Gradients, Inputs, LinearCrossEntropy, Targets, Upstream};

impl Context {
    /// [`LinearCrossEntropy::forward`] on this device.
    ///
    /// # Errors
    /// As there; given logits, shards, `top_k` and the filters that are not for the GPU are a
    /// [`Conflict`](crate::Error::Conflict); [`Error::Gpu`](crate::Error::Gpu) for what the device
    /// does.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// # use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream, gpu};
    /// # let hidden = ndarray::arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
    /// # let classifier = ndarray::arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// let context = gpu::Context::new(&gpu::Options::new().software(true))?;
    /// let inputs = Inputs::new(hidden.view(), classifier.view(), &[2_u32, 0]);
    /// let loss = LinearCrossEntropy::builder().entropy(true).build()?;
    /// assert!(context.forward(&loss, &inputs)?.mean_entropy().is_some_and(|nats| nats > 0.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn forward(&self, loss: &LinearCrossEntropy, inputs: &Inputs<'_>) -> Result<Forward> {
        now(self.fold(loss, inputs, Waiting::Blocking))
    }

    /// The same, asynchronously: a thread of its own waits for the device.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub async fn forward_async(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
    ) -> Result<Forward> {
        self.fold(loss, inputs, Waiting::Async).await
    }

    /// [`LinearCrossEntropy::vjp`] on this device: `forward` may be the processor's as well.
    ///
    /// # Errors
    /// As there, and as [`forward`](Self::forward).
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// # use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream, gpu};
    /// # let hidden = ndarray::arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
    /// # let classifier = ndarray::arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// let context = gpu::Context::new(&gpu::Options::new().software(true))?;
    /// let inputs = Inputs::new(hidden.view(), classifier.view(), &[2_u32, 0]);
    /// let loss = LinearCrossEntropy::builder().entropy(true).build()?;
    /// let forward = loss.forward(&inputs)?;
    /// let mut gradient = ndarray::Array2::<f32>::zeros((2, 2));
    /// let gradients = Gradients::new().hidden(gradient.view_mut());
    /// context.vjp(&loss, &inputs, &forward, &Upstream::default(), gradients)?;
    /// assert!(gradient.iter().all(|g| *g != 0.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn vjp(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<()> {
        now(self.back(loss, inputs, forward, upstream, gradients, Waiting::Blocking))
    }

    /// The same, asynchronously.
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp).
    pub async fn vjp_async(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<()> {
        self.back(loss, inputs, forward, upstream, gradients, Waiting::Async).await
    }

    /// [`LinearCrossEntropy::loss_and_gradients`] on this device, always by recomputing.
    ///
    /// # Errors
    /// As there, and as [`forward`](Self::forward).
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// # use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream, gpu};
    /// # let hidden = ndarray::arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
    /// # let classifier = ndarray::arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// let context = gpu::Context::new(&gpu::Options::new().software(true))?;
    /// let inputs = Inputs::new(hidden.view(), classifier.view(), &[2_u32, 0]);
    /// let loss = LinearCrossEntropy::builder().entropy(true).build()?;
    /// let mut gradient = ndarray::Array2::<f32>::zeros((3, 2));
    /// let gradients = Gradients::new().classifier(gradient.view_mut());
    /// context.loss_and_gradients(&loss, &inputs, &Upstream::default(), gradients)?;
    /// assert!(gradient.iter().all(|g| *g != 0.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn loss_and_gradients(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<Forward> {
        now(self.both(loss, inputs, upstream, gradients, Waiting::Blocking))
    }

    /// The same, asynchronously.
    ///
    /// # Errors
    /// As [`loss_and_gradients`](Self::loss_and_gradients).
    pub async fn loss_and_gradients_async(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
    ) -> Result<Forward> {
        self.both(loss, inputs, upstream, gradients, Waiting::Async).await
    }

    async fn both(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
        waiting: Waiting,
    ) -> Result<Forward> {
        let call = self.call(loss, inputs, true)?;
        upstream.check(&call.problem)?;
        gradients.check(inputs)?;
        let (folded, logits) = call.fold(waiting).await?;
        let dropped = call.backward(&folded.states, upstream, &logits, gradients, waiting).await?;
        Ok(Forward::new(call.problem, folded, dropped))
    }

    async fn back(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: Gradients<'_>,
        waiting: Waiting,
    ) -> Result<()> {
        let call = self.call(&loss.without_rank(), inputs, true)?;
        gradients.check(inputs)?;
        forward.check_upstream(&call.problem, upstream)?;
        // The logits of sparse targets are not in the states.
        let logits = match call.problem.targets {
            Targets::Sparse { .. } => call.sparse_logits(waiting).await?,
            _ => Vec::new(),
        };
        call.backward(&forward.states, upstream, &logits, gradients, waiting).await?;
        Ok(())
    }

    async fn fold(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'_>,
        waiting: Waiting,
    ) -> Result<Forward> {
        let call = self.call(loss, inputs, false)?;
        let (folded, _) = call.fold(waiting).await?;
        Ok(Forward::new(call.problem, folded, None).without_dropped())
    }

    /// Checks a call and puts its arrays on the device.
    fn call<'c, 'a>(
        &'c self,
        loss: &LinearCrossEntropy,
        inputs: &Inputs<'a>,
        gradients: bool,
    ) -> Result<Call<'c, 'a>> {
        check(loss, inputs)?;
        let problem = Problem::new(loss, inputs)?;
        let Source::Product { hidden, classifier } = inputs.source else { unreachable!() };
        let bytes = |matrix| Format::of(matrix).map_or(4, Format::bytes);
        let formats = (bytes(&hidden), bytes(&classifier));
        let plan = Plan::new(&shapes(&problem, formats, gradients), &self.limits, &self.budget)?;
        self.caught(|| {
            let hidden = Pieces::upload(self, &hidden, plan.hidden_rows);
            let classifier = Pieces::upload(self, &classifier, plan.classifier_rows);
            Call::new(self, problem, plan, hidden, classifier)
        })
    }
}
