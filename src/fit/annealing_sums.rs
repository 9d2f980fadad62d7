//! What a schedule of learning rates has done up to a step.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;
use crate::numerics::check;

/// The decay that Tissue et al. take.
const LAMBDA: f64 = 0.999;

/// The area under a schedule of learning rates, and how far the rate has come down, at each step.
///
/// ```text
/// S1(s) = Σ_{i=0..s} η_i
/// S2(s) = Σ_{i=1..s} m_i      m_i = λ m_{i−1} + (η_{i−1} − η_i),   m_0 = 0
/// ```
///
/// In the unit of the rates. O(T) for all steps. Tissue, Wang and Wang 2024, *Scaling Law with Learning Rate Annealing*,
/// with λ = 0.999. The paper counts a warm-up as if the rate had been the largest one all along:
/// [`warm_up`](AnnealingSumsBuilder::warm_up) and [`warm_up_to_peak`](AnnealingSumsBuilder::warm_up_to_peak) do.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::fit::AnnealingSums;
/// let rates = arr1(&[0.5, 1.0, 1.0, 0.5, 0.5]);
/// let sums = AnnealingSums::builder(&rates).lambda(0.5).warm_up(1).build()?;
/// assert_eq!(sums.s1(), [1.0, 2.0, 3.0, 3.5, 4.0]);
/// assert_eq!(sums.s2(), [0.0, 0.0, 0.0, 0.5, 0.75]);
/// assert_eq!(sums.at(3)?, (3.5, 0.5));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AnnealingSums {
    s1: Vec<f64>,
    s2: Vec<f64>,
}

impl AnnealingSums {
    /// Of learning rates `[T+1]`, the first of which is that of step 0.
    pub fn builder<'a>(learning_rates: impl Into<Vector<'a>>) -> AnnealingSumsBuilder {
        AnnealingSumsBuilder {
            rates: learning_rates.into().to_vec(),
            lambda: LAMBDA,
            warm_up: WarmUp::Steps(0),
        }
    }

    /// S1 of each step, `[T+1]`.
    pub fn s1(&self) -> &[f64] {
        &self.s1
    }

    /// S2 of each step, `[T+1]`.
    pub fn s2(&self) -> &[f64] {
        &self.s2
    }

    /// S1 and S2 of a step.
    ///
    /// # Errors
    /// [`Error::Option`] for a step beyond the last.
    pub fn at(&self, step: usize) -> Result<(f64, f64)> {
        match (self.s1.get(step), self.s2.get(step)) {
            (Some(&s1), Some(&s2)) => Ok((s1, s2)),
            _ => Err(Error::Option {
                name: "step",
                value: step.to_string(),
                expected: "a step that the schedule has, from 0 to one less than its learning rates",
            }),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum WarmUp {
    Steps(usize),
    ToPeak,
}

/// The options of [`AnnealingSums`].
///
/// ```
/// use surprisal::fit::AnnealingSums;
/// let rates = ndarray::arr1(&[0.1, 0.2, 0.3, 0.3, 0.1]);
/// let sums = AnnealingSums::builder(&rates).warm_up_to_peak().build()?;
/// assert_eq!(sums.s1()[0], 0.3);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AnnealingSumsBuilder {
    rates: Vec<f64>,
    lambda: f64,
    warm_up: WarmUp,
}

impl AnnealingSumsBuilder {
    /// λ, how much of a step down is left a step later: 0.999 by default.
    pub fn lambda(mut self, lambda: f64) -> Self {
        self.lambda = lambda;
        self
    }

    /// The first `steps` rates are a warm-up, counted as the largest rate of all. None are by default.
    pub fn warm_up(mut self, steps: usize) -> Self {
        self.warm_up = WarmUp::Steps(steps);
        self
    }

    /// All rates before the first of the largest ones are a warm-up, counted as the largest.
    pub fn warm_up_to_peak(mut self) -> Self {
        self.warm_up = WarmUp::ToPeak;
        self
    }

    /// The sums.
    ///
    /// # Errors
    /// [`Error::Shape`] for no rates, [`Error::Value`] for one that is not finite and at least 0 or a sum beyond f64,
    /// [`Error::Option`] for a λ outside 0 to 1 or a warm-up of more steps than there are rates.
    pub fn build(self) -> Result<AnnealingSums> {
        let Self { mut rates, lambda, warm_up } = self;
        let within = (0.0..=1.0).contains(&lambda);
        check("lambda", lambda, within, "a number from 0 to 1")?;
        if rates.is_empty() {
            let expected = "at least one learning rate".into();
            return Err(Error::Shape { argument: "learning_rates", found: vec![0], expected });
        }
        let wrong = |at: usize, value: f64, expected: &'static str| Error::Value {
            argument: "learning_rates",
            index: vec![at],
            value: short(value),
            expected,
        };
        if let Some(at) = rates.iter().position(|rate| !(rate.is_finite() && *rate >= 0.0)) {
            return Err(wrong(at, rates[at], "a finite number of at least 0"));
        }
        let peak = rates.iter().fold(0.0_f64, |peak, &rate| peak.max(rate));
        let steps = match warm_up {
            WarmUp::Steps(steps) => steps,
            WarmUp::ToPeak => rates.iter().position(|&rate| rate == peak).unwrap_or(0),
        };
        if steps > rates.len() {
            return Err(Error::Option {
                name: "warm_up",
                value: steps.to_string(),
                expected: "at most as many steps as there are learning rates",
            });
        }
        rates[..steps].fill(peak);
        let (mut area, mut fall, mut momentum) = (Sum::default(), Sum::default(), 0.0);
        let (mut s1, mut s2) = (Vec::with_capacity(rates.len()), Vec::with_capacity(rates.len()));
        for (at, &rate) in rates.iter().enumerate() {
            area.add(rate);
            if at > 0 {
                momentum = lambda * momentum + (rates[at - 1] - rate);
                fall.add(momentum);
            }
            if !(area.value().is_finite() && fall.value().is_finite()) {
                return Err(wrong(at, rate, "rates whose sums are within f64"));
            }
            s1.push(area.value());
            s2.push(fall.value());
        }
        Ok(AnnealingSums { s1, s2 })
    }
}

/// A long sum with what rounding takes from it (Neumaier).
#[derive(Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, term: f64) {
        let new = self.sum + term;
        self.lost += match self.sum.abs() >= term.abs() {
            true => (self.sum - new) + term,
            false => (term - new) + self.sum,
        };
        self.sum = new;
    }

    fn value(&self) -> f64 {
        self.sum + self.lost
    }
}
