//! Stochastic gradient descent.

use super::array::Shared;
use super::check_option;
use super::lanes;
use super::parameter::{Parameter, check, update};
use super::schedule::{BELOW_ONE, NOT_NEGATIVE};
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::simd::{Isa, Kernel, Simd};

/// Stochastic gradient descent, with momentum (Polyak, 1964) or Nesterov's (Sutskever et al., 2013).
///
/// With gradient g and learning rate η:
///
/// ```text
/// h = g + λ θ      b ← μ b + h      θ ← θ − η b      (Nesterov: θ ← θ − η (h + μ b))
/// ```
///
/// ```
/// use surprisal::autodiff::{Parameter, Sgd, Shared};
/// let mut sgd = Sgd::builder().momentum(0.9).build()?;
/// let mut w = Shared::from_elem(vec![1], 1.0_f64);
/// let gradient = Shared::from_elem(vec![1], 1.0);
/// for _ in 0..2 {
///     sgd.step(0.1, &mut [Parameter::new(&mut w, &gradient)])?;
/// }
/// assert!((w[[0]] - (1.0 - 0.1 - 0.19)).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sgd<T> {
    momentum: f64,
    nesterov: bool,
    decay: f64,
    state: Vec<Shared<T>>,
    isa: Isa,
}

/// Sets the options of an [`Sgd`]; [`build`](Self::build) checks them.
///
/// ```
/// use surprisal::autodiff::Sgd;
/// let sgd = Sgd::<f32>::builder().momentum(0.9).nesterov(true).weight_decay(1e-4).build()?;
/// assert!(Sgd::<f32>::builder().momentum(1.0).build().is_err());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SgdBuilder<T> {
    momentum: f64,
    nesterov: bool,
    decay: f64,
    state: Vec<Shared<T>>,
    isa: Option<Isa>,
}

impl<T: Real> SgdBuilder<T> {
    /// μ, from 0 to 1 without 1; 0 by default.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Whether the momentum is Nesterov's; off by default.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }

    /// λ, finite and at least 0, coupled: it enters the momentum as the gradient of λθ²/2; 0 by
    /// default.
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.decay = decay;
        self
    }

    /// What another one [remembered](Sgd::state); nothing by default.
    pub fn state(mut self, state: Vec<Shared<T>>) -> Self {
        self.state = state;
        self
    }

    /// The instruction set of the steps; [`Isa::current`] by default.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// The optimiser with these options.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an option outside its domain; as [`Isa::current`].
    pub fn build(self) -> Result<Sgd<T>> {
        let Self { momentum, nesterov, decay, state, isa } = self;
        check_option("momentum", momentum, (0.0..1.0).contains(&momentum), BELOW_ONE)?;
        check_option("weight decay", decay, decay.is_finite() && decay >= 0.0, NOT_NEGATIVE)?;
        let state = lanes::all_standard(state);
        Ok(Sgd { momentum, nesterov, decay, state, isa: Isa::or_current(isa)? })
    }
}

impl<T: Real> Sgd<T> {
    /// The options, each at its default: no momentum, λ = 0.
    ///
    /// ```
    /// # use surprisal::autodiff::Sgd;
    /// assert!(Sgd::<f32>::builder().build()?.state().is_empty());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder() -> SgdBuilder<T> {
        SgdBuilder { momentum: 0.0, nesterov: false, decay: 0.0, state: Vec::new(), isa: None }
    }

    /// b of each parameter, in their order and of their shapes; none before the first step. The
    /// arrays are shared until the next step.
    ///
    /// ```
    /// # use surprisal::autodiff::{Parameter, Sgd, Shared};
    /// let (mut w, g) = (Shared::ones(vec![2]), Shared::<f32>::ones(vec![2]));
    /// let mut sgd = Sgd::builder().build()?;
    /// sgd.step(0.1, &mut [Parameter::new(&mut w, &g)])?;
    /// assert_eq!(sgd.state(), [g]);
    /// let resumed = Sgd::builder().state(sgd.state()).build()?;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn state(&self) -> Vec<Shared<T>> {
        self.state.clone()
    }

    /// One step at this learning rate.
    ///
    /// ```
    /// # use surprisal::autodiff::{Parameter, Sgd, Shared};
    /// let (mut w, g) = (Shared::ones(vec![2]), Shared::<f64>::ones(vec![2]));
    /// Sgd::builder().build()?.step(0.25, &mut [Parameter::new(&mut w, &g)])?;
    /// assert_eq!(w[[0]], 0.75);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// Nothing has changed then: [`Error::Option`](crate::Error::Option) for a rate that is negative
    /// or not finite; [`Error::Shape`](crate::Error::Shape) for a gradient of another shape than its
    /// parameter; [`Error::Conflict`](crate::Error::Conflict) for other parameters than before.
    pub fn step(&mut self, rate: f64, parameters: &mut [Parameter<'_, T>]) -> Result<()> {
        compiled!(
            ['s, 'p, 'q: 'p] T: (&'s mut Sgd<T>, f64, &'p mut [Parameter<'q, T>]) => Result<()>,
            |(this, rate, parameters)| this.step_here(rate, parameters),
            (self, rate, parameters)
        )
    }

    fn step_here(&mut self, rate: f64, parameters: &mut [Parameter<'_, T>]) -> Result<()> {
        check_option("learning rate", rate, rate.is_finite() && rate >= 0.0, NOT_NEGATIVE)?;
        check(parameters, &mut [&mut self.state])?;
        let [rate, momentum] = [rate, self.momentum].map(T::from_f64);
        for (parameter, state) in parameters.iter_mut().zip(&mut self.state) {
            let decay = T::from_f64(if parameter.decays { self.decay } else { 0.0 });
            let (isa, nesterov) = (self.isa, self.nesterov);
            update(parameter, [state], |values, [averages], gradient| {
                isa.dispatch(Update {
                    values,
                    averages,
                    gradient,
                    rate,
                    momentum,
                    decay,
                    nesterov,
                });
            });
        }
        Ok(())
    }
}

struct Update<'a, T> {
    values: &'a mut [T],
    averages: &'a mut [T],
    gradient: &'a [T],
    rate: T,
    momentum: T,
    decay: T,
    nesterov: bool,
}

impl<T: Real> Kernel for Update<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { values, averages, gradient, rate, momentum, decay, nesterov } = self;
        for ((value, average), &g) in values.iter_mut().zip(averages).zip(gradient) {
            let h = g + decay * *value;
            *average = momentum * *average + h;
            let direction = if nesterov { h + momentum * *average } else { *average };
            *value = *value - rate * direction;
        }
    }
}
