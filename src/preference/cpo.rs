//! Contrastive preference optimization.

use super::objective::Objective;
use super::pairs::{PairLoss, PairTerm};
use crate::error::Result;
use crate::numerics::{not_negative, positive};

/// Contrastive preference optimization (CPO): DPO without a reference, beside the likelihood of what is chosen.
///
/// ```text
/// L = ℓ(Σ log π_chosen − Σ log π_rejected) + c · NLL      NLL = −Σ log π / number of tokens, over all that is chosen
/// ```
///
/// ℓ is one of three functions of [`Dpo`](super::Dpo), in nats. Xu et al. 2024, *Contrastive Preference
/// Optimization: Pushing the Boundaries of LLM Performance in Machine Translation*.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{Cpo, PairLoss, Pairs, Sequences};
/// let (log_probs, mask) = (arr2(&[[-0.5, -1.5]]), arr2(&[[true, true]]));
/// let sequences = Sequences::new(&log_probs, &mask);
/// let losses = Cpo::new(0.1)?.evaluate(&Pairs::new(sequences, sequences))?;
/// assert_eq!(losses.value, 2_f64.ln() + 1.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cpo {
    objective: Objective,
    beta: f64,
    smoothing: f64,
    likelihood: f64,
}

impl Cpo {
    fn with(objective: Objective, beta: f64) -> Result<Self> {
        Ok(Self { objective, beta: positive("beta", beta)?, smoothing: 0.0, likelihood: 1.0 })
    }

    /// −ln σ(h), with this β, and c = 1.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a β that is not finite and above 0; so for all others.
    pub fn new(beta: f64) -> Result<Self> {
        Self::with(Objective::Sigmoid, beta)
    }

    /// max(0, 1 − h).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn hinge(beta: f64) -> Result<Self> {
        Self::with(Objective::Hinge, beta)
    }

    /// (d − 1/(2β))².
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn ipo(beta: f64) -> Result<Self> {
        Self::with(Objective::Identity, beta)
    }

    /// With a share ε of the preferences taken for reversed.
    ///
    /// # Errors
    /// As [`Dpo::label_smoothing`](super::Dpo::label_smoothing).
    pub fn label_smoothing(self, epsilon: f64) -> Result<Self> {
        Ok(Self { smoothing: self.objective.smoothing(epsilon, self.smoothing)?, ..self })
    }

    /// With this coefficient c of the likelihood.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for one below 0 or not finite.
    pub fn likelihood(self, coefficient: f64) -> Result<Self> {
        Ok(Self { likelihood: not_negative("nll_coefficient", coefficient)?, ..self })
    }
}

impl PairLoss for Cpo {
    fn evaluate_pair(&self, chosen: f64, rejected: f64) -> PairTerm {
        self.objective.at(chosen, rejected, self.beta, self.smoothing)
    }

    fn takes_reference(&self) -> bool {
        false
    }

    fn likelihood_coefficient(&self) -> f64 {
        self.likelihood
    }
}
