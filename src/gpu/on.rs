//! The doors: a loss on a device, blocking and asynchronous.

use std::sync::{Mutex, PoisonError};

use super::arrays::Pieces;
use super::call::{Call, check, shapes};
use super::context::Context;
use super::device::{DeviceGradients, DeviceInputs, DeviceSums};
use super::plan::DevicePlan;
use super::second_head::second_call;
use super::shader::Format;
use super::waiting::{Waiting, now};
use super::workspace::Workspace;
use crate::error::Result;
use crate::loss::engine::active::Seen;
use crate::loss::engine::fold::Folded;
use crate::loss::engine::problem::Problem;
use crate::loss::filter::decision::Dropped;
use crate::loss::source::Source;
use crate::loss::{Forward, Gradients, Inputs, LinearCrossEntropy, Upstream};

/// Inputs of a loss on a device: [`Inputs`] in the program's memory, which a call puts there, or
/// [`DeviceInputs`] whose matrices are there already. There are no others.
///
/// ```no_run
/// use surprisal::{Forward, LinearCrossEntropy, Result, gpu};
/// fn perplexity<'a>(context: &gpu::Context, inputs: &impl gpu::AnyInputs<'a>) -> Result<f64> {
///     Ok(LinearCrossEntropy::builder().build()?.on(context).forward(inputs)?.loss().exp())
/// }
/// ```
pub trait AnyInputs<'a>: sealed::Sealed {
    /// Where gradients go: [`Gradients`], or [`&DeviceGradients`](DeviceGradients).
    type Gradients<'g>;

    #[doc(hidden)]
    fn place(&self) -> Place<'_, 'a>;

    #[doc(hidden)]
    fn with<'g>(&self, gradients: Self::Gradients<'g>) -> Pair<'_, 'a, 'g>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::loss::Inputs<'_> {}
    impl Sealed for super::DeviceInputs<'_> {}
}

/// Where the matrices of a call are.
#[derive(Clone, Copy)]
pub enum Place<'s, 'a> {
    Host(&'s Inputs<'a>),
    Device(&'s DeviceInputs<'a>),
}

/// Inputs with the gradients that go with them.
pub enum Pair<'s, 'a, 'g> {
    // In a box: this one has many fields, the other two references.
    Host(&'s Inputs<'a>, Box<Gradients<'g>>),
    Device(&'s DeviceInputs<'a>, &'g DeviceGradients),
}

/// Gradients that were checked.
enum To<'g> {
    Host(Gradients<'g>),
    Device(DeviceSums<'g>),
}

impl<'a> AnyInputs<'a> for Inputs<'a> {
    type Gradients<'g> = Gradients<'g>;

    fn place(&self) -> Place<'_, 'a> {
        Place::Host(self)
    }

    fn with<'g>(&self, gradients: Self::Gradients<'g>) -> Pair<'_, 'a, 'g> {
        Pair::Host(self, Box::new(gradients))
    }
}

impl<'a> AnyInputs<'a> for DeviceInputs<'a> {
    type Gradients<'g> = &'g DeviceGradients;

    fn place(&self) -> Place<'_, 'a> {
        Place::Device(self)
    }

    fn with<'g>(&self, gradients: Self::Gradients<'g>) -> Pair<'_, 'a, 'g> {
        Pair::Device(self, gradients)
    }
}

impl<'a> Place<'_, 'a> {
    /// Checks a call, and puts its arrays on the device where they are not.
    fn call<'c>(
        self,
        context: &'c Context,
        loss: &LinearCrossEntropy,
        gradients: bool,
    ) -> Result<Call<'c, 'a>> {
        let inputs = match self {
            Self::Device(inputs) => return inputs.call(context, loss, gradients),
            Self::Host(inputs) => inputs,
        };
        check(loss, inputs)?;
        let mut problem = Problem::new(loss, inputs)?;
        let Source::Product { hidden, classifier } = inputs.source else { unreachable!() };
        let bytes = |matrix| Format::of(matrix).map_or(4, Format::bytes);
        let formats = (bytes(&hidden), bytes(&classifier));
        let shapes = shapes(&problem, formats, gradients);
        let plan = DevicePlan::new(&shapes, &context.limits, &context.budget)?;
        let second = second_call(context, &mut problem)?;
        context.caught(|| {
            let hidden = Pieces::upload(context, &hidden, plan.hidden_rows);
            let classifier = Pieces::upload(context, &classifier, plan.classifier_rows);
            Call::new(context, problem, plan, hidden, classifier, second)
        })
    }
}

impl<'s, 'a, 'g> Pair<'s, 'a, 'g> {
    fn place(&self) -> Place<'s, 'a> {
        match *self {
            Self::Host(inputs, _) => Place::Host(inputs),
            Self::Device(inputs, _) => Place::Device(inputs),
        }
    }

    fn checked(self, call: &Call<'_, '_>, upstream: &Upstream<'_>) -> Result<To<'g>> {
        match self {
            Self::Host(inputs, gradients) => {
                gradients.check(inputs)?;
                let of_temperature = gradients.temperature.as_ref();
                call.problem.check_temperature_gradient(of_temperature, upstream)?;
                Ok(To::Host(*gradients))
            }
            Self::Device(_, gradients) => call.device_sums(gradients).map(To::Device),
        }
    }
}

impl LinearCrossEntropy {
    /// This loss on a GPU (feature `gpu`): the same calls with the same options, in f32.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// use surprisal::{Inputs, LinearCrossEntropy, gpu};
    /// let hidden = ndarray::arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
    /// let classifier = ndarray::arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// let inputs = Inputs::new(&hidden, &classifier, &[2_u32, 0]);
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let context = gpu::Context::builder().software(true).build()?;
    /// let there = loss.on(&context).forward(&inputs)?;
    /// assert!((there.loss() - loss.forward(&inputs)?.loss()).abs() < 1e-6);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on<'l>(&'l self, context: &'l Context) -> OnDevice<'l> {
        OnDevice { loss: self, context, workspace: Mutex::default() }
    }
}

/// A loss on a device; made by [`LinearCrossEntropy::on`].
///
/// Calls may come from several threads. Those with arrays on the device share scratch there, which
/// grows to what the largest takes and is freed with this value.
#[derive(Debug)]
pub struct OnDevice<'l> {
    loss: &'l LinearCrossEntropy,
    context: &'l Context,
    workspace: Mutex<Workspace>,
}

/// What the examples of this file begin with.
macro_rules! example {
    () => {
        "# fn main() -> surprisal::Result<()> {
# if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
# use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream, gpu};
# let hidden = ndarray::arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
# let classifier = ndarray::arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
# let context = gpu::Context::builder().software(true).build()?;
# let inputs = Inputs::new(&hidden, &classifier, &[2_u32, 0]);"
    };
}

/// What the examples of this file end with.
macro_rules! end {
    () => {
        "# Ok(())\n# }"
    };
}

impl<'l> OnDevice<'l> {
    /// [`LinearCrossEntropy::forward`] on this device.
    ///
    /// # Errors
    /// As there; given logits, shards, `top_k` and the filters that are not for the GPU are a
    /// [`Conflict`](crate::Error::Conflict); [`Error::Gpu`](crate::Error::Gpu) for what the device
    /// does.
    ///
    /// ```
    #[doc = example!()]
    /// let loss = LinearCrossEntropy::builder().entropy(true).build()?;
    /// let on = loss.on(&context);
    /// assert!(on.forward(&inputs)?.mean_entropy().is_some_and(|nats| nats > 0.0));
    ///
    /// // The same of arrays that are there already.
    /// let (hidden, classifier) = (context.upload(&hidden)?, context.upload(&classifier)?);
    /// let inputs = gpu::DeviceInputs::new(hidden, classifier, &[2_u32, 0]);
    /// assert!(on.forward(&inputs)?.loss() > 0.0);
    #[doc = end!()]
    /// ```
    pub fn forward<'a>(&self, inputs: &impl AnyInputs<'a>) -> Result<Forward> {
        now(self.fold(inputs.place(), Waiting::Blocking))
    }

    /// The same, asynchronously: a thread of its own waits for the device.
    ///
    /// ```no_run
    #[doc = example!()]
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let future = async { loss.on(&context).forward_async(&inputs).await };
    #[doc = end!()]
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub async fn forward_async<'a>(&self, inputs: &impl AnyInputs<'a>) -> Result<Forward> {
        self.fold(inputs.place(), Waiting::Async).await
    }

    /// [`LinearCrossEntropy::vjp`] on this device: `forward` may be the processor's as well.
    ///
    /// # Errors
    /// As there, and as [`forward`](Self::forward).
    ///
    /// ```
    #[doc = example!()]
    /// let loss = LinearCrossEntropy::builder().entropy(true).build()?;
    /// let forward = loss.forward(&inputs)?;
    /// let mut gradient = ndarray::Array2::<f32>::zeros((2, 2));
    /// let gradients = Gradients::new().hidden(&mut gradient);
    /// loss.on(&context).vjp(&inputs, &forward, &Upstream::default(), gradients)?;
    /// assert!(gradient.iter().all(|g| *g != 0.0));
    #[doc = end!()]
    /// ```
    pub fn vjp<'a, I: AnyInputs<'a>>(
        &self,
        inputs: &I,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: I::Gradients<'_>,
    ) -> Result<()> {
        now(self.back(inputs.with(gradients), forward, upstream, Waiting::Blocking))
    }

    /// The same, asynchronously.
    ///
    /// ```no_run
    #[doc = example!()]
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let forward = loss.forward(&inputs)?;
    /// let mut gradient = ndarray::Array2::<f32>::zeros((2, 2));
    /// let future = async {
    ///     let gradients = Gradients::new().hidden(&mut gradient);
    ///     loss.on(&context).vjp_async(&inputs, &forward, &Upstream::default(), gradients).await
    /// };
    #[doc = end!()]
    /// ```
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp).
    pub async fn vjp_async<'a, I: AnyInputs<'a>>(
        &self,
        inputs: &I,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: I::Gradients<'_>,
    ) -> Result<()> {
        self.back(inputs.with(gradients), forward, upstream, Waiting::Async).await
    }

    /// [`LinearCrossEntropy::loss_and_gradients`] on this device, always by recomputing.
    ///
    /// # Errors
    /// As there, and as [`forward`](Self::forward).
    ///
    /// ```
    #[doc = example!()]
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let (on, upstream) = (loss.on(&context), Upstream::default());
    /// let mut gradient = ndarray::Array2::<f32>::zeros((3, 2));
    /// on.loss_and_gradients(&inputs, &upstream, Gradients::new().classifier(&mut gradient))?;
    /// assert!(gradient.iter().all(|g| *g != 0.0));
    ///
    /// // The same of arrays that stay there.
    /// let (hidden, classifier) = (context.upload(&hidden)?, context.upload(&classifier)?);
    /// let inputs = gpu::DeviceInputs::new(hidden, classifier, &[2_u32, 0]);
    /// let there = context.zeros(3, 2)?;
    /// let gradients = gpu::DeviceGradients::new().classifier(there.clone());
    /// on.loss_and_gradients(&inputs, &upstream, &gradients)?;
    /// assert_eq!(context.download(&there)?, gradient);
    #[doc = end!()]
    /// ```
    pub fn loss_and_gradients<'a, I: AnyInputs<'a>>(
        &self,
        inputs: &I,
        upstream: &Upstream<'_>,
        gradients: I::Gradients<'_>,
    ) -> Result<Forward> {
        now(self.both(inputs.with(gradients), upstream, Waiting::Blocking))
    }

    /// The same, asynchronously.
    ///
    /// ```no_run
    #[doc = example!()]
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let mut gradient = ndarray::Array2::<f32>::zeros((2, 2));
    /// let future = async {
    ///     let gradients = Gradients::new().hidden(&mut gradient);
    ///     loss.on(&context).loss_and_gradients_async(&inputs, &Upstream::default(), gradients).await
    /// };
    #[doc = end!()]
    /// ```
    ///
    /// # Errors
    /// As [`loss_and_gradients`](Self::loss_and_gradients).
    pub async fn loss_and_gradients_async<'a, I: AnyInputs<'a>>(
        &self,
        inputs: &I,
        upstream: &Upstream<'_>,
        gradients: I::Gradients<'_>,
    ) -> Result<Forward> {
        self.both(inputs.with(gradients), upstream, Waiting::Async).await
    }

    /// Takes over the scratch of another loss, from [`into_workspace`](Self::into_workspace).
    ///
    /// ```
    #[doc = example!()]
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let workspace = gpu::Workspace::new();
    /// let workspace = loss.on(&context).with_workspace(workspace).into_workspace();
    /// assert_eq!(workspace.bytes(), 0);
    #[doc = end!()]
    /// ```
    pub fn with_workspace(self, workspace: Workspace) -> Self {
        Self { workspace: Mutex::new(workspace), ..self }
    }

    /// The scratch that calls of arrays on the device have left there.
    pub fn into_workspace(self) -> Workspace {
        self.workspace.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn parts(&self) -> (&'l Context, &'l LinearCrossEntropy) {
        (self.context, self.loss)
    }

    /// Puts other scratch in place of what there is.
    fn exchange(&self, workspace: Workspace) -> Workspace {
        let mut own = self.workspace.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut own, workspace)
    }

    async fn fold(&self, inputs: Place<'_, '_>, waiting: Waiting) -> Result<Forward> {
        let call = inputs.call(self.context, self.loss, false)?;
        let (folded, _) = call.fold(waiting).await?;
        Ok(Forward::new(call.problem, folded, None).without_dropped())
    }

    async fn both(
        &self,
        pair: Pair<'_, '_, '_>,
        upstream: &Upstream<'_>,
        waiting: Waiting,
    ) -> Result<Forward> {
        let mut call = pair.place().call(self.context, self.loss, true)?;
        upstream.check(&call.problem)?;
        let to = pair.checked(&call, upstream)?;
        call.problem.weigh_candidates(upstream);
        let (folded, logits) = call.fold(waiting).await?;
        let Folded { states, second, candidates, .. } = &folded;
        let seen = Seen { states, second, candidates };
        let dropped = self.gradients(&call, seen, upstream, &logits, to, waiting).await?;
        Ok(Forward::new(call.problem, folded, dropped))
    }

    async fn back(
        &self,
        pair: Pair<'_, '_, '_>,
        forward: &Forward,
        upstream: &Upstream<'_>,
        waiting: Waiting,
    ) -> Result<()> {
        let mut call = pair.place().call(self.context, &self.loss.without_rank(), true)?;
        forward.check_upstream(&call.problem, upstream)?;
        let to = pair.checked(&call, upstream)?;
        call.problem.weigh_candidates(upstream);
        // They are not in the states.
        let logits = call.single_logits(waiting).await?;
        let Forward { states, second, candidates, .. } = forward;
        let seen = Seen { states, second, candidates };
        self.gradients(&call, seen, upstream, &logits, to, waiting).await?;
        Ok(())
    }

    async fn gradients(
        &self,
        call: &Call<'_, '_>,
        seen: Seen<'_>,
        upstream: &Upstream<'_>,
        logits: &[[f32; 2]],
        to: To<'_>,
        waiting: Waiting,
    ) -> Result<Option<Dropped>> {
        match to {
            To::Host(gradients) => call.backward(seen, upstream, logits, gradients, waiting).await,
            To::Device(sums) => {
                // Another thread's call finds none, and makes its own. After a failure the device may
                // be at work in it.
                let mut workspace = self.exchange(Workspace::new());
                let scratch = &mut workspace;
                let dropped =
                    call.backward_on_device(seen, upstream, logits, sums, scratch, waiting).await?;
                self.exchange(workspace);
                Ok(dropped)
            }
        }
    }
}
