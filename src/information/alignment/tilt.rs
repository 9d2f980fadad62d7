//! The optimum under a penalty on the divergence.

use super::cumulant::Cumulant;
use super::rewards::RewardDistribution;
use crate::error::{Error, Result, short};
use crate::information::probabilities::divergence_term;

/// φ_t ∝ p e^{t r}; what [`RewardDistribution::tilted`] returns.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::RewardDistribution;
/// let answers = RewardDistribution::new(&arr1(&[0.5, 0.5]), &arr1(&[0.0, 1.0]))?;
/// let tilted = answers.tilted(3_f64.ln())?;
/// assert!((tilted.pmf[1] - 0.75).abs() < 1e-15 && (tilted.variance - 0.1875).abs() < 1e-15);
/// assert!((tilted.log_partition - 2_f64.ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tilted {
    /// The probability of each answer `[n]`.
    pub pmf: Vec<f64>,
    /// Λ(t) = ln Σ p e^{t r}.
    pub log_partition: f64,
    /// Λ′(t), the mean reward.
    pub mean_reward: f64,
    /// t Λ′ − Λ, the divergence of φ from p in nats.
    pub kl: f64,
    /// Λ″(t), the variance of the reward; the slope of the divergence by t is t times it.
    pub variance: f64,
}

impl RewardDistribution {
    /// The distribution that maximises E\[r\] − KL/t, for t = 1/β of a KL-regularised objective; a negative t
    /// minimises rewards.
    ///
    /// The divergence is summed as Σ (φ ln(φ/p) − φ + p), of which no term is negative, with ln(φ/p) about the mean
    /// reward where all tilts are small.
    ///
    /// # Errors
    /// [`Error::Option`] for a t that is not finite.
    pub fn tilted(&self, t: f64) -> Result<Tilted> {
        if !t.is_finite() {
            let expected = "a finite number";
            return Err(Error::Option { name: "t", value: short(t), expected });
        }
        let support = self.support();
        let of = |list: &[f64]| -> Vec<f64> { support.iter().map(|&at| list[at]).collect() };
        let (p, rewards) = (of(&self.probabilities), of(&self.rewards));
        let Cumulant { centre, rest, log_weights } = Cumulant::of(&p, &rewards, t);
        let shares: Vec<f64> = p.iter().zip(&log_weights).map(|(p, x)| p * x.exp()).collect();
        let terms = p.iter().zip(&shares).zip(&log_weights);
        let kl = terms.map(|((&p, &share), &x)| divergence_term(p, share, x)).sum();
        let above: f64 = shares.iter().zip(&rewards).map(|(share, r)| share * (r - centre)).sum();
        let squares = shares.iter().zip(&rewards).map(|(s, r)| s * (r - centre - above).powi(2));
        let variance = squares.sum();
        let mut pmf = vec![0.0; self.len()];
        support.iter().zip(shares).for_each(|(&at, share)| pmf[at] = share);
        let log_partition = t * centre + rest;
        Ok(Tilted { pmf, log_partition, mean_reward: centre + above, kl, variance })
    }

    /// The t ≥ 0 at which the tilted distribution is this far from the untilted one, in nats.
    ///
    /// By Newton's method on √KL, which is nearly a line in t, within a bracket that is halved where a step leaves it.
    ///
    /// # Errors
    /// [`Error::Option`] for a divergence below 0, or one that no finite t reaches: −ln P(r = max)
    /// ([`largest_kl`](Self::largest_kl)) and above, or so close below that its t is beyond all numbers.
    pub fn tilt_for_kl(&self, kl: f64) -> Result<f64> {
        let refused = |expected| Err(Error::Option { name: "kl", value: short(kl), expected });
        if !(kl.is_finite() && kl >= 0.0) {
            return refused("a finite number of at least 0");
        }
        if kl == 0.0 {
            return Ok(0.0);
        }
        const REACHED: &str = "a divergence below −ln P(r = max), which no tilt reaches";
        if kl >= self.largest_kl() {
            return refused(REACHED);
        }
        let wanted = kl.sqrt();
        let mut t = wanted * (2.0 / self.tilted(0.0)?.variance).sqrt();
        let (mut low, mut high) = (0.0, f64::INFINITY);
        // Halving alone ends after as many steps as there are exponents and digits.
        for _ in 0..4000 {
            if !(t.is_finite() && t > 0.0) {
                break;
            }
            let tilted = self.tilted(t)?;
            let root = tilted.kl.sqrt();
            if root == wanted {
                return Ok(t);
            }
            if root < wanted {
                low = t
            } else {
                high = t
            }
            let step = (root - wanted) * 2.0 * root / (t * tilted.variance);
            let next = t - step;
            let inside = next > low && next < high;
            let fallback = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * t };
            // Where the largest reward has nearly all, Newton's steps grow without end.
            let next = if inside && next < 4.0 * t { next } else { fallback };
            if (next - t).abs() <= f64::EPSILON * t || next == low || next == high {
                return Ok(next);
            }
            t = next;
        }
        refused(REACHED)
    }
}
