//! The clipped surrogate of PPO and its kin.

use crate::error::Result;
use crate::numerics::{check, not_negative, positive};

/// The clipped surrogate of proximal policy optimization (PPO).
///
/// ```text
/// ℓ = −min(ρ′ A, clip(ρ, 1−ε_low, 1+ε_high) A)      ρ = π/π_old      ρ′ = min(ρ, δ)
/// ```
///
/// and with a dual clip c, where A < 0, min(ℓ, −c A). ∂ℓ/∂log π is −ρ A where the active branch moves with ρ, else
/// 0; so it is at the very ends of the range. Where A is 0 so is ℓ, whatever ρ is.
///
/// Schulman et al. 2017, *Proximal Policy Optimization Algorithms*; the dual clip: Ye et al. 2020, *Mastering
/// Complex Control in MOBA Games with Deep Reinforcement Learning*; two ε: Yu et al. 2025, *DAPO*; δ: Prime
/// Intellect 2025, *INTELLECT-2*.
///
/// ```
/// use surprisal::preference::Clipped;
/// let surrogate = Clipped::new(0.2, 0.28)?;
/// assert_eq!(surrogate.at(0.0, 2.0), (-2.0, -2.0));
/// assert_eq!(surrogate.at(1.0, 2.0), (-2.56, 0.0));
/// assert_eq!(surrogate.dual_clip(3.0)?.at(800.0, -1.0), (3.0, 0.0));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipped {
    low: f64,
    high: f64,
    dual: Option<f64>,
    delta: Option<f64>,
}

impl Clipped {
    /// With ratios from 1 − ε_low to 1 + ε_high.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an ε_low outside [0, 1], or an ε_high below 0 or not finite.
    pub fn new(epsilon_low: f64, epsilon_high: f64) -> Result<Self> {
        let good = (0.0..=1.0).contains(&epsilon_low);
        let low = check("epsilon_low", epsilon_low, good, "a number from 0 to 1")?;
        let high = not_negative("epsilon_high", epsilon_high)?;
        Ok(Self::within(low, high))
    }

    pub(super) const fn within(low: f64, high: f64) -> Self {
        Self { low, high, dual: None, delta: None }
    }

    /// With a loss of at most −c A where A < 0.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a c that is not finite and above 1.
    pub fn dual_clip(self, c: f64) -> Result<Self> {
        let c = check("dual_clip", c, c > 1.0, "a finite number above 1")?;
        Ok(Self { dual: Some(c), ..self })
    }

    /// With ratios of at most δ in the branch that is not clipped.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a δ that is not finite and above 0.
    pub fn delta(self, delta: f64) -> Result<Self> {
        Ok(Self { delta: Some(positive("delta", delta)?), ..self })
    }

    /// ℓ of a token whose log π − log π_old is this, and its slope by log π.
    pub fn at(&self, log_ratio: f64, advantage: f64) -> (f64, f64) {
        let (value, slope, _) = self.parts(log_ratio, advantage);
        (value, slope)
    }

    /// ℓ, its slope, and whether the slope is 0 because of a bound.
    pub(super) fn parts(&self, log_ratio: f64, advantage: f64) -> (f64, f64, bool) {
        if advantage == 0.0 {
            return (0.0, 0.0, false);
        }
        let ratio = log_ratio.exp();
        if ratio.is_nan() || advantage.is_nan() {
            return (f64::NAN, f64::NAN, false);
        }
        let (low, high) = (1.0 - self.low, 1.0 + self.high);
        let free = self.delta.map_or(ratio, |delta| ratio.min(delta)) * advantage;
        let clipped = ratio.clamp(low, high) * advantage;
        let (gain, moves) = match free < clipped {
            true => (free, self.delta.is_none_or(|delta| ratio < delta)),
            // Inside the range this branch moves too.
            false => (clipped, ratio > low && ratio < high),
        };
        match self.dual {
            Some(c) if advantage < 0.0 && gain <= c * advantage => (-c * advantage, 0.0, true),
            _ if moves => (-gain, -ratio * advantage, false),
            _ => (-gain, 0.0, true),
        }
    }
}
