//! A distribution over answers, each with a reward.

use crate::error::{Error, Result};
use crate::information::probabilities::probabilities;
use crate::matrix::Vector;

/// A distribution over finitely many answers, each with a reward: what best-of-N and the KL-regularised optimum are
/// of, in closed form.
///
/// [`best_of`](Self::best_of) is what drawing N answers and keeping the best makes of it,
/// [`tilted`](Self::tilted) what maximising E\[r\] − KL/t does. *Asymptotics of Language Model Alignment* (Yang et al.
/// 2024) compares the two.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::RewardDistribution;
/// let answers = RewardDistribution::new(&arr1(&[0.5, 0.3, 0.2]), &arr1(&[0.0, 1.0, 2.0]))?;
/// let best = answers.best_of(4.0)?;
/// let tilted = answers.tilted(answers.tilt_for_kl(best.kl)?)?;
/// // At the same divergence no distribution has a higher mean reward than the tilted one.
/// assert!((tilted.kl - best.kl).abs() < 1e-12 && tilted.mean_reward > best.mean_reward);
/// assert!(best.kl < best.bound);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct RewardDistribution {
    pub(super) probabilities: Vec<f64>,
    pub(super) rewards: Vec<f64>,
}

impl RewardDistribution {
    /// Probabilities `[n]` of which the sum is 1 within 10⁻⁹, and finite rewards `[n]`. What has no probability has
    /// none in any result.
    ///
    /// # Errors
    /// [`Error::Shape`] for no answer, or another number of rewards; [`Error::Value`] for a probability below 0 or a
    /// number that is not finite; [`Error::Conflict`] for probabilities with another sum.
    pub fn new<'a, 'b>(
        probabilities_of_answers: impl Into<Vector<'a>>,
        rewards: impl Into<Vector<'b>>,
    ) -> Result<Self> {
        Self::new_here(probabilities_of_answers.into(), rewards.into())
    }

    fn new_here(probabilities_of_answers: Vector<'_>, rewards: Vector<'_>) -> Result<Self> {
        let probabilities = probabilities("probabilities", probabilities_of_answers)?;
        let rewards: Vec<f64> = rewards.to_vec();
        if rewards.len() != probabilities.len() {
            return Err(Error::Shape {
                argument: "rewards",
                found: vec![rewards.len()],
                expected: format!("[{}], one for each probability", probabilities.len()),
            });
        }
        if let Some(at) = rewards.iter().position(|reward| !reward.is_finite()) {
            return Err(Error::not_finite("rewards", &[at], rewards[at]));
        }
        Ok(Self { probabilities, rewards })
    }

    /// The number of answers.
    pub fn len(&self) -> usize {
        self.rewards.len()
    }

    /// Whether there are no answers, which there never are.
    pub fn is_empty(&self) -> bool {
        self.rewards.is_empty()
    }

    /// The answers with a probability: where they stand.
    pub(super) fn support(&self) -> Vec<usize> {
        (0..self.len()).filter(|&at| self.probabilities[at] > 0.0).collect()
    }

    /// −ln P(r = max) in nats: the divergence that no number of draws and no tilt exceeds.
    ///
    /// ```
    /// use ndarray::arr1;
    /// use surprisal::information::RewardDistribution;
    /// let answers = RewardDistribution::new(&arr1(&[0.5, 0.25, 0.25]), &arr1(&[0.0, 1.0, 1.0]))?;
    /// assert_eq!(answers.largest_kl(), 2_f64.ln());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn largest_kl(&self) -> f64 {
        let support = self.support();
        let rewards = support.iter().map(|&at| self.rewards[at]);
        let largest = rewards.fold(f64::NEG_INFINITY, f64::max);
        let sum = |best: bool| -> f64 {
            let those = support.iter().filter(|&&at| (self.rewards[at] == largest) == best);
            those.map(|&at| self.probabilities[at]).sum()
        };
        let (best, others) = (sum(true), sum(false));
        // Of what is nearly certain, by what is missing.
        (if best > 0.5 { -(-others).ln_1p() } else { -best.ln() }) + 0.0
    }
}
