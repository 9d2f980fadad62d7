//! Adam with decoupled weight decay.

use super::array::Shared;
use super::check_option;
use super::lanes;
use super::parameter::{Parameter, check, update};
use super::schedule::{BELOW_ONE, NOT_NEGATIVE};
use crate::element::{Real, compiled};
use crate::error::{Error, Result};
use crate::simd::{Isa, Kernel, Simd};

/// Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019).
///
/// Step t (from 1) with gradient g and learning rate η:
///
/// ```text
/// m ← β₁ m + (1 − β₁) g      v ← β₂ v + (1 − β₂) g²
/// θ ← (1 − η λ) θ − η (m/(1 − β₁ᵗ))/(√(v/(1 − β₂ᵗ)) + ε)
/// ```
///
/// A gradient that is not finite makes its parameter so: the norm that
/// [`clip_gradient_norm`](super::clip_gradient_norm) gives tells it beforehand. v holds squares: in f32 a
/// gradient above 10¹⁹ has none (clip it), one below 10⁻¹⁹ counts as 0 in it, which with an ε above 0
/// makes no difference.
///
/// ```
/// use surprisal::autodiff::{AdamW, Parameter, Shared};
/// let mut adam = AdamW::builder().betas(0.9, 0.95).weight_decay(0.1).build()?;
/// let mut w = Shared::from_elem(vec![3], 1.0_f64);
/// let gradient = Shared::from_elem(vec![3], 0.5);
/// adam.step(0.01, &mut [Parameter::new(&mut w, &gradient)])?;
/// assert!((w[[0]] - 0.989).abs() < 1e-9);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdamW<T> {
    betas: [f64; 2],
    epsilon: f64,
    decay: f64,
    state: AdamWState<T>,
    isa: Isa,
}

/// What an [`AdamW`] remembers: all that a run needs, with its parameters, to go on bit for bit.
///
/// ```
/// use surprisal::autodiff::{AdamW, Parameter, Shared};
/// let (mut w, g) = (Shared::ones(vec![2]), Shared::<f32>::ones(vec![2]));
/// let mut adam = AdamW::builder().build()?;
/// adam.step(0.1, &mut [Parameter::new(&mut w, &g)])?;
/// let state = adam.state();
/// assert_eq!((state.steps, state.first.len(), state.second[0].shape()), (1, 1, &[2][..]));
/// let resumed = AdamW::builder().state(state).build()?;
/// assert_eq!(resumed.state().steps, 1);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdamWState<T> {
    /// How many steps have been taken.
    pub steps: u64,
    /// m of each parameter, in their order and of their shapes; none before the first step.
    pub first: Vec<Shared<T>>,
    /// v of each parameter.
    pub second: Vec<Shared<T>>,
}

impl<T> AdamWState<T> {
    /// What was remembered after so many steps: m and v of each parameter.
    ///
    /// ```
    /// use surprisal::autodiff::{AdamW, AdamWState, Shared};
    /// let moments = vec![Shared::<f32>::zeros(vec![2])];
    /// let state = AdamWState::new(100, moments.clone(), moments);
    /// assert_eq!(AdamW::builder().state(state).build()?.state().steps, 100);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn new(steps: u64, first: Vec<Shared<T>>, second: Vec<Shared<T>>) -> Self {
        Self { steps, first, second }
    }
}

/// Sets the options of an [`AdamW`]; [`build`](Self::build) checks them.
///
/// ```
/// use surprisal::autodiff::AdamW;
/// let adam = AdamW::<f32>::builder().betas(0.9, 0.95).epsilon(1e-10).weight_decay(0.1).build()?;
/// assert!(AdamW::<f32>::builder().betas(0.9, 1.0).build().is_err());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct AdamWBuilder<T> {
    betas: [f64; 2],
    epsilon: f64,
    decay: f64,
    state: AdamWState<T>,
    isa: Option<Isa>,
}

impl<T: Real> AdamWBuilder<T> {
    /// β₁ and β₂, from 0 to 1 without 1; 0.9 and 0.999 by default.
    pub fn betas(mut self, first: f64, second: f64) -> Self {
        self.betas = [first, second];
        self
    }

    /// ε, finite and at least 0; 1e-8 by default.
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// λ, finite and at least 0; 0.01 by default.
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.decay = decay;
        self
    }

    /// What another one [remembered](AdamW::state); nothing by default.
    pub fn state(mut self, state: AdamWState<T>) -> Self {
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
    /// [`Error::Option`] for an option outside its domain; [`Error::Conflict`] unless first and second
    /// moments go together; as [`Isa::current`].
    pub fn build(self) -> Result<AdamW<T>> {
        let Self { betas, epsilon, decay, mut state, isa } = self;
        for (name, beta) in ["the first beta", "the second beta"].into_iter().zip(betas) {
            check_option(name, beta, (0.0..1.0).contains(&beta), BELOW_ONE)?;
        }
        check_option("epsilon", epsilon, epsilon.is_finite() && epsilon >= 0.0, NOT_NEGATIVE)?;
        check_option("weight decay", decay, decay.is_finite() && decay >= 0.0, NOT_NEGATIVE)?;
        let shapes = |arrays: &[Shared<T>]| -> Vec<Vec<usize>> {
            arrays.iter().map(|array| array.shape().to_vec()).collect()
        };
        let (first, second) = (shapes(&state.first), shapes(&state.second));
        if first != second {
            return Err(Error::Conflict {
                what: format!(
                    "first moments of shapes {first:?} and second ones of {second:?}, expected the \
                     same"
                ),
            });
        }
        for arrays in [&mut state.first, &mut state.second] {
            *arrays = lanes::all_standard(std::mem::take(arrays));
        }
        Ok(AdamW { betas, epsilon, decay, state, isa: Isa::or_current(isa)? })
    }
}

impl<T: Real> AdamW<T> {
    /// The options, each at its default: β₁ = 0.9, β₂ = 0.999, ε = 1e-8, λ = 0.01.
    ///
    /// ```
    /// # use surprisal::autodiff::AdamW;
    /// assert_eq!(AdamW::<f32>::builder().build()?.state().steps, 0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder() -> AdamWBuilder<T> {
        let state = AdamWState::new(0, Vec::new(), Vec::new());
        AdamWBuilder { betas: [0.9, 0.999], epsilon: 1e-8, decay: 0.01, state, isa: None }
    }

    /// What it remembers. The arrays are shared until the next step.
    ///
    /// ```
    /// # use surprisal::autodiff::AdamW;
    /// assert!(AdamW::<f32>::builder().build()?.state().first.is_empty());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn state(&self) -> AdamWState<T> {
        self.state.clone()
    }

    /// One step at this learning rate.
    ///
    /// ```
    /// # use surprisal::autodiff::{AdamW, Parameter, Shared};
    /// let (mut w, g) = (Shared::ones(vec![2]), Shared::<f32>::ones(vec![2]));
    /// AdamW::builder().build()?.step(1e-3, &mut [Parameter::new(&mut w, &g)])?;
    /// assert!(w[[0]] < 1.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// Nothing has changed then: [`Error::Option`] for a rate that is negative or not finite;
    /// [`Error::Shape`] for a gradient of another shape than its parameter; [`Error::Conflict`] for
    /// other parameters than before.
    pub fn step(&mut self, rate: f64, parameters: &mut [Parameter<'_, T>]) -> Result<()> {
        compiled!(
            ['s, 'p, 'q: 'p] T: (&'s mut AdamW<T>, f64, &'p mut [Parameter<'q, T>]) => Result<()>,
            |(this, rate, parameters)| this.step_here(rate, parameters),
            (self, rate, parameters)
        )
    }

    fn step_here(&mut self, rate: f64, parameters: &mut [Parameter<'_, T>]) -> Result<()> {
        check_option("learning rate", rate, rate.is_finite() && rate >= 0.0, NOT_NEGATIVE)?;
        let isa = self.isa;
        let AdamWState { steps, first, second } = &mut self.state;
        check(parameters, &mut [&mut *first, &mut *second])?;
        *steps = steps.saturating_add(1);
        let [mean_beta, square_beta] = self.betas;
        let correction = |beta: f64| 1.0 - beta.powf(*steps as f64);
        let coefficients = |decays: bool| Coefficients {
            mean: [mean_beta, 1.0 - mean_beta].map(T::from_f64),
            square: [square_beta, 1.0 - square_beta].map(T::from_f64),
            rate: T::from_f64(rate / correction(mean_beta)),
            inverse: T::from_f64(1.0 / correction(square_beta).sqrt()),
            epsilon: T::from_f64(self.epsilon),
            kept: T::from_f64(if decays { 1.0 - rate * self.decay } else { 1.0 }),
        };
        for (parameter, moments) in parameters.iter_mut().zip(first.iter_mut().zip(second)) {
            let coefficients = coefficients(parameter.decays);
            update(parameter, [moments.0, moments.1], |values, moments, gradient| {
                isa.dispatch(Update { values, moments, gradient, coefficients });
            });
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Coefficients<T> {
    mean: [T; 2],
    square: [T; 2],
    rate: T,
    inverse: T,
    epsilon: T,
    kept: T,
}

struct Update<'a, T> {
    values: &'a mut [T],
    moments: [&'a mut [T]; 2],
    gradient: &'a [T],
    coefficients: Coefficients<T>,
}

impl<T: Real> Kernel for Update<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Coefficients { mean, square, rate, inverse, epsilon, kept } = self.coefficients;
        let [means, squares] = self.moments;
        let moments = means.iter_mut().zip(squares);
        for ((value, (m, v)), &g) in self.values.iter_mut().zip(moments).zip(self.gradient) {
            *m = mean[0] * *m + mean[1] * g;
            *v = square[0] * *v + square[1] * (g * g);
            *value = kept * *value - rate * *m / (v.square_root() * inverse + epsilon);
        }
    }
}
