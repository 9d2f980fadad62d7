//! Odds-ratio preference optimization.

use super::pairs::{PairLoss, PairTerm};
use crate::error::Result;
use crate::numerics::{log_one_minus_exp, not_negative, sigmoid, softplus};

/// Odds-ratio preference optimization (ORPO): the likelihood of what is chosen, and the odds of both.
///
/// ```text
/// L = c · NLL + β softplus(−ω)      ω = ln (odds_chosen / odds_rejected)      odds = e^a / (1 − e^a)
/// ```
///
/// a is the mean of log π over a sequence's tokens, at most 0; NLL is that of [`Cpo`](super::Cpo). Both in nats.
/// Hong, Lee and Thorne 2024, *ORPO: Monolithic Preference Optimization without Reference Model*. A chosen
/// sequence of probability 1 has no loss of odds; a rejected one has an infinite one, and counts without a
/// gradient.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{Orpo, PairLoss, Pairs, Sequences};
/// let (log_probs, mask) = (arr2(&[[-0.5, -1.5]]), arr2(&[[true, true]]));
/// let sequences = Sequences::new(&log_probs, &mask);
/// let losses = Orpo::new(0.1)?.evaluate(&Pairs::new(sequences, sequences))?;
/// assert!((losses.value - (1.0 + 0.1 * 2_f64.ln())).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Orpo {
    beta: f64,
    likelihood: f64,
}

impl Orpo {
    /// With this β (λ in the paper), and c = 1.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a β below 0 or not finite.
    pub fn new(beta: f64) -> Result<Self> {
        Ok(Self { beta: not_negative("beta", beta)?, likelihood: 1.0 })
    }

    /// With this coefficient c of the likelihood.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for one below 0 or not finite.
    pub fn likelihood(self, coefficient: f64) -> Result<Self> {
        Ok(Self { likelihood: not_negative("nll_coefficient", coefficient)?, ..self })
    }
}

impl PairLoss for Orpo {
    fn evaluate_pair(&self, chosen: f64, rejected: f64) -> PairTerm {
        if self.beta == 0.0 {
            return PairTerm { value: 0.0, by_chosen: 0.0, by_rejected: 0.0 };
        }
        if chosen == 0.0 && rejected <= 0.0 {
            let odds = rejected.exp() / -rejected.exp_m1();
            let by_chosen = if odds.is_finite() { -self.beta * odds } else { 0.0 };
            return PairTerm { value: 0.0, by_chosen, by_rejected: 0.0 };
        }
        let log_odds =
            (chosen - rejected) - (log_one_minus_exp(chosen) - log_one_minus_exp(rejected));
        let (left, other_left) = (-chosen.exp_m1(), -rejected.exp_m1());
        // σ(−ω)/(1 − e^a) of the chosen, whose factors may be 0 and ∞.
        let other_odds = rejected.exp() / other_left;
        let by_chosen = match other_odds {
            f64::INFINITY => 1.0 / left,
            odds => odds / (chosen.exp() + odds * left),
        };
        PairTerm {
            value: self.beta * softplus(-log_odds),
            by_chosen: -self.beta * by_chosen,
            by_rejected: self.beta * sigmoid(-log_odds) / other_left,
        }
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

    fn largest_score(&self) -> f64 {
        0.0
    }
}
