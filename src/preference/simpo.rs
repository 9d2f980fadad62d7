//! Simple preference optimization.

use super::objective::smoothed_sigmoid;
use super::pairs::{PairLoss, PairTerm};
use crate::error::Result;
use crate::numerics::{check, not_negative, positive};

/// Simple preference optimization (SimPO): the mean log-probability of a token is the reward, with a margin and
/// without a reference.
///
/// ```text
/// L = −ln σ(h)      h = β (s̄_chosen − s̄_rejected) − γ      s̄ the mean of log π over the tokens that count
/// ```
///
/// In nats, γ in those of h. Meng, Xia and Chen 2024, *SimPO: Simple Preference Optimization with a Reference-Free
/// Reward*, with β from 2 to 10 and γ about a third to a half of it.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{PairLoss, Pairs, Sequences, Simpo};
/// let (chosen, rejected) = (arr2(&[[-0.5, -0.5]]), arr2(&[[-1.0, f64::NAN]]));
/// let (both, first) = (arr2(&[[true, true]]), arr2(&[[true, false]]));
/// let pairs = Pairs::new(Sequences::new(&chosen, &both), Sequences::new(&rejected, &first));
/// assert_eq!(Simpo::new(2.0, 1.0)?.evaluate(&pairs)?.value, 2_f64.ln());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simpo {
    beta: f64,
    gamma: f64,
    smoothing: f64,
    likelihood: f64,
}

impl Simpo {
    /// With this β and this margin γ.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a β that is not finite and above 0, or a γ that is not finite and
    /// at least 0.
    pub fn new(beta: f64, gamma: f64) -> Result<Self> {
        let (beta, gamma) = (positive("beta", beta)?, not_negative("gamma", gamma)?);
        Ok(Self { beta, gamma, smoothing: 0.0, likelihood: 0.0 })
    }

    /// With a share ε of the preferences taken for reversed.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an ε outside [0, ½].
    pub fn label_smoothing(self, epsilon: f64) -> Result<Self> {
        let good = (0.0..=0.5).contains(&epsilon);
        let smoothing = check("label_smoothing", epsilon, good, "a number from 0 to 0.5")?;
        Ok(Self { smoothing, ..self })
    }

    /// With a coefficient of the chosen sequences' likelihood beside it, as [`Cpo`](super::Cpo) has it.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for one below 0 or not finite.
    pub fn likelihood(self, coefficient: f64) -> Result<Self> {
        Ok(Self { likelihood: not_negative("nll_coefficient", coefficient)?, ..self })
    }
}

impl PairLoss for Simpo {
    fn evaluate_pair(&self, chosen: f64, rejected: f64) -> PairTerm {
        let h = self.beta * (chosen - rejected) - self.gamma;
        let (value, slope) = smoothed_sigmoid(h, self.smoothing);
        PairTerm { value, by_chosen: self.beta * slope, by_rejected: -self.beta * slope }
    }

    fn is_averaged(&self) -> bool {
        true
    }

    fn takes_reference(&self) -> bool {
        false
    }

    fn likelihood_coefficient(&self) -> f64 {
        self.likelihood
    }
}
