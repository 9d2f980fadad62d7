//! The best of N draws.

use super::rewards::RewardDistribution;
use crate::error::{Error, Result, short};
use crate::information::probabilities::divergence_term;
use crate::numerics::exp_beyond_line;
use crate::sorting::sort_places;

/// The distribution of the best of N independent draws; what [`RewardDistribution::best_of`] returns.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::RewardDistribution;
/// let answers = RewardDistribution::new(&arr1(&[0.5, 0.5]), &arr1(&[0.0, 1.0]))?;
/// let best = answers.best_of(2.0)?;
/// assert!((best.pmf[0] - 0.25).abs() < 1e-15 && (best.mean_reward - 0.75).abs() < 1e-15);
/// assert!(best.kl < best.bound);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BestOfN {
    /// The probability of each answer `[n]`.
    pub pmf: Vec<f64>,
    /// KL of it from the distribution that is drawn from, in nats.
    pub kl: f64,
    /// ln N − (N − 1)/N, which that does not exceed and which continuous rewards reach.
    pub bound: f64,
    /// The mean reward.
    pub mean_reward: f64,
}

impl RewardDistribution {
    /// The best of N draws, ties drawn by their probabilities. N may be any real number from 1: the power of the
    /// distribution function.
    ///
    /// ```text
    /// F = P(r ≤ v), P = P(r = v)      G_v = F^N − (F − P)^N = F^N (−expm1(N ln(1 − P/F)))
    /// φ(y) = p(y) G_v / P             KL = Σ_v G ln(G/P) = Σ_v (G ln(G/P) − G + P)
    /// ```
    ///
    /// F near 1 is known by what is above. No term of the last sum is negative.
    ///
    /// # Errors
    /// [`Error::Option`] for an N that is below 1 or not finite.
    pub fn best_of(&self, n: f64) -> Result<BestOfN> {
        if !(n.is_finite() && n >= 1.0) {
            let expected = "a finite number of at least 1";
            return Err(Error::Option { name: "n", value: short(n), expected });
        }
        let mut order = self.support();
        sort_places(&mut order, |a, b| self.rewards[a].total_cmp(&self.rewards[b]));
        let levels: Vec<&[usize]> =
            order.chunk_by(|&a, &b| self.rewards[a] == self.rewards[b]).collect();
        let share = |level: &[usize]| level.iter().map(|&at| self.probabilities[at]).sum::<f64>();
        let shares: Vec<f64> = levels.iter().map(|level| share(level)).collect();
        // What is above each level, summed from the smallest part.
        let mut above = vec![0.0; shares.len()];
        for level in (1..shares.len()).rev() {
            above[level - 1] = above[level] + shares[level];
        }
        let mut pmf = vec![0.0; self.len()];
        let (mut below, mut kl, mut mean_reward) = (0.0, 0.0, 0.0);
        for (level, answers) in levels.iter().enumerate() {
            let share = shares[level];
            let up_to = below + share;
            let log_up_to = match above[level] < 0.5 {
                true => (-above[level]).ln_1p(),
                false => up_to.ln(),
            };
            // The lowest level has all that is not above it.
            let part = if level == 0 { 1.0 } else { share / up_to };
            let chosen = (n * log_up_to).exp() * -(n * (-part).ln_1p()).exp_m1();
            kl += divergence_term(share, chosen, (chosen / share).ln());
            for &at in *answers {
                pmf[at] = self.probabilities[at] * (chosen / share);
                mean_reward += pmf[at] * self.rewards[at];
            }
            below = up_to;
        }
        let bound = exp_beyond_line(-n.ln());
        Ok(BestOfN { pmf, kl, bound, mean_reward })
    }
}
