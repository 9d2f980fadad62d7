//! The surrogate of CISPO.

use crate::error::Result;
use crate::numerics::{check, not_negative, positive};

/// Clipped importance sampling (CISPO): every token keeps its gradient, with a clipped weight.
///
/// ```text
/// ℓ = −w A log π      ∂ℓ/∂log π = −w A      w = clip(ρ, low, high), constant
/// ```
///
/// The bounds are of the ratio itself, not of its distance from 1. MiniMax 2025, *MiniMax-M1: Scaling Test-Time
/// Compute Efficiently with Lightning Attention*.
///
/// ```
/// use surprisal::preference::Cispo;
/// let surrogate = Cispo::new(5.0)?.low(0.5)?;
/// assert_eq!(surrogate.at(-2.0, 10.0, 1.0), (10.0, -5.0));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cispo {
    low: f64,
    high: f64,
}

impl Cispo {
    /// With ratios of at most `high`.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a bound that is not finite and above 0.
    pub fn new(high: f64) -> Result<Self> {
        Ok(Self::up_to(positive("ratio_high", high)?))
    }

    pub(super) const fn up_to(high: f64) -> Self {
        Self { low: 0.0, high }
    }

    /// With ratios of at least `low`.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a bound below 0 or above the other.
    pub fn low(self, low: f64) -> Result<Self> {
        let low = not_negative("ratio_low", low)?;
        let low = check("ratio_low", low, low <= self.high, "at most the upper bound")?;
        Ok(Self { low, ..self })
    }

    /// ℓ of a token of this log π and log π − log π_old, and its slope by log π.
    pub fn at(&self, log_probability: f64, log_ratio: f64, advantage: f64) -> (f64, f64) {
        if advantage == 0.0 {
            return (0.0, 0.0);
        }
        let weight = log_ratio.exp().clamp(self.low, self.high) * advantage;
        // 0 times −∞ where π is 0.
        if weight == 0.0 { (0.0, 0.0) } else { (-weight * log_probability, -weight) }
    }

    /// The same, and whether the ratio is outside the bounds.
    pub(super) fn parts(
        &self,
        log_probability: f64,
        log_ratio: f64,
        advantage: f64,
    ) -> (f64, f64, bool) {
        let (value, slope) = self.at(log_probability, log_ratio, advantage);
        let ratio = log_ratio.exp();
        (value, slope, ratio < self.low || ratio > self.high)
    }
}
