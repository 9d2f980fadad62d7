//! Adam with decoupled weight decay.

use super::array::Shared;
use super::check_option;
use super::lanes;
use super::parameter::{Parameter, check, update};
use super::schedule::NOT_NEGATIVE;
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
/// let mut adam = AdamW::new().betas(0.9, 0.95)?.weight_decay(0.1)?;
/// let mut w = Shared::from_elem(vec![3], 1.0_f64);
/// let gradient = Shared::from_elem(vec![3], 0.5);
/// adam.step(0.01, &mut [Parameter::new(&mut w, gradient.view())])?;
/// assert!((w[[0]] - 0.989).abs() < 1e-9);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdamW<T> {
    betas: [f64; 2],
    epsilon: f64,
    decay: f64,
    state: AdamWState<T>,
}

/// What an [`AdamW`] remembers: all that a run needs, with its parameters, to go on bit for bit.
///
/// ```
/// use surprisal::autodiff::{AdamW, Parameter, Shared};
/// let (mut w, g) = (Shared::ones(vec![2]), Shared::<f32>::ones(vec![2]));
/// let mut adam = AdamW::new();
/// adam.step(0.1, &mut [Parameter::new(&mut w, g.view())])?;
/// let state = adam.state();
/// assert_eq!((state.steps, state.first.len(), state.second[0].shape()), (1, 1, &[2][..]));
/// let resumed = AdamW::new().with_state(state)?;
/// assert_eq!(resumed.state().steps, 1);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AdamWState<T> {
    /// How many steps have been taken.
    pub steps: u64,
    /// m of each parameter, in their order and of their shapes; none before the first step.
    pub first: Vec<Shared<T>>,
    /// v of each parameter.
    pub second: Vec<Shared<T>>,
}

impl<T: Real> Default for AdamW<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Real> AdamW<T> {
    /// β₁ = 0.9, β₂ = 0.999, ε = 1e-8, λ = 0.01.
    ///
    /// ```
    /// # use surprisal::autodiff::AdamW;
    /// assert_eq!(AdamW::<f32>::new().state().steps, 0);
    /// ```
    pub fn new() -> Self {
        let state = AdamWState { steps: 0, first: Vec::new(), second: Vec::new() };
        Self { betas: [0.9, 0.999], epsilon: 1e-8, decay: 0.01, state }
    }

    /// β₁ and β₂.
    ///
    /// ```
    /// # use surprisal::autodiff::AdamW;
    /// assert!(AdamW::<f32>::new().betas(0.9, 1.0).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] unless both are from 0 to 1, without 1.
    pub fn betas(mut self, first: f64, second: f64) -> Result<Self> {
        for (name, beta) in [("the first beta", first), ("the second beta", second)] {
            let good = (0.0..1.0).contains(&beta);
            check_option(name, beta, good, "a number from 0 to 1, without 1")?;
        }
        self.betas = [first, second];
        Ok(self)
    }

    /// ε.
    ///
    /// ```
    /// # use surprisal::autodiff::AdamW;
    /// assert!(AdamW::<f32>::new().epsilon(-1.0).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] unless it is finite and at least 0.
    pub fn epsilon(mut self, epsilon: f64) -> Result<Self> {
        check_option("epsilon", epsilon, epsilon.is_finite() && epsilon >= 0.0, NOT_NEGATIVE)?;
        self.epsilon = epsilon;
        Ok(self)
    }

    /// λ.
    ///
    /// ```
    /// # use surprisal::autodiff::AdamW;
    /// assert!(AdamW::<f32>::new().weight_decay(f64::NAN).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] unless it is finite and at least 0.
    pub fn weight_decay(mut self, decay: f64) -> Result<Self> {
        check_option("weight decay", decay, decay.is_finite() && decay >= 0.0, NOT_NEGATIVE)?;
        self.decay = decay;
        Ok(self)
    }

    /// What it remembers. The arrays are shared until the next step.
    ///
    /// ```
    /// # use surprisal::autodiff::AdamW;
    /// assert!(AdamW::<f32>::new().state().first.is_empty());
    /// ```
    pub fn state(&self) -> AdamWState<T> {
        self.state.clone()
    }

    /// Takes up what another one remembered.
    ///
    /// ```
    /// # use surprisal::autodiff::AdamW;
    /// let state = AdamW::<f32>::new().state();
    /// assert!(AdamW::new().with_state(state).is_ok());
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] unless first and second moments go together.
    pub fn with_state(mut self, mut state: AdamWState<T>) -> Result<Self> {
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
            *arrays = std::mem::take(arrays).into_iter().map(lanes::standard).collect();
        }
        self.state = state;
        Ok(self)
    }

    /// One step at this learning rate.
    ///
    /// ```
    /// # use surprisal::autodiff::{AdamW, Parameter, Shared};
    /// let (mut w, g) = (Shared::ones(vec![2]), Shared::<f32>::ones(vec![2]));
    /// AdamW::new().step(1e-3, &mut [Parameter::new(&mut w, g.view())])?;
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
        let isa = Isa::current()?;
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
