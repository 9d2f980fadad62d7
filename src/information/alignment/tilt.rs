//! The optimum under a penalty on the divergence.

use super::cumulant::{Cumulant, Deviations};
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
    /// Λ″(t), the variance of the reward, +∞ where it is beyond f64; the slope of the divergence by t is t times it.
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
        let about = Deviations::from(centre, &rewards);
        let above: f64 = shares.iter().zip(&rewards).map(|(share, r)| share * about.of(*r)).sum();
        let mean_reward = about.number(above, &rewards);
        let variance = about.variance(&shares, &rewards, above);
        let mut pmf = vec![0.0; self.len()];
        support.iter().zip(shares).for_each(|(&at, share)| pmf[at] = share);
        let log_partition = t * centre + rest;
        Ok(Tilted { pmf, log_partition, mean_reward, kl, variance })
    }

    /// The t ≥ 0 at which the tilted distribution is this far from the untilted one, in nats.
    ///
    /// By Newton's method on √KL, which is nearly a line in t, within a bracket that is halved where a step leaves it; of
    /// the rewards over a power of two near their spread, of which t is that many times as large.
    ///
    /// # Errors
    /// [`Error::Option`] for a divergence below 0, or one that no finite t reaches: −ln P(r = max)
    /// ([`largest_kl`](Self::largest_kl)) and above, or so close below that its t is beyond all numbers; and for one
    /// whose t is beyond f64 because the rewards are that close together, or far apart.
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
        let exponent = self.exponent_of_spread();
        let rewards = self.rewards.iter().map(|&reward| times_power(reward, -exponent)).collect();
        let scaled = Self { probabilities: self.probabilities.clone(), rewards };
        let Some(t) = scaled.solve_tilt(kl)? else { return refused(REACHED) };
        match times_power(t, -exponent) {
            t if t > 0.0 && t.is_finite() => Ok(t),
            _ => refused("a divergence whose tilt of these rewards is in f64"),
        }
    }

    /// The exponent of a power of two near the spread of the rewards that have a probability, which are not all equal.
    fn exponent_of_spread(&self) -> i32 {
        let rewards = self.support().into_iter().map(|at| self.rewards[at]);
        let most = rewards.clone().fold(f64::NEG_INFINITY, f64::max);
        let spread = most - rewards.fold(f64::INFINITY, f64::min);
        if spread.is_finite() { spread.log2().floor() as i32 } else { f64::MAX_EXP }
    }

    /// The t at which rewards whose spread is near 1 are this far from untilted, above 0 and below the largest; nothing
    /// where no number is.
    fn solve_tilt(&self, kl: f64) -> Result<Option<f64>> {
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
                return Ok(Some(t));
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
                return Ok(Some(next));
            }
            t = next;
        }
        Ok(None)
    }
}

/// x times a power of two, in two steps: the power itself may be beyond f64.
fn times_power(x: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    x * f64::from(half).exp2() * f64::from(exponent - half).exp2()
}
