//! The surrogate of SAPO.

use crate::error::Result;
use crate::numerics::{positive, sigmoid, sigmoid_slope};

/// Soft adaptive policy optimization (SAPO): a sigmoid of the ratio in place of clipping.
///
/// ```text
/// ℓ = −(4/τ) σ(τ(ρ−1)) A      ∂ℓ/∂log π = −4 σ(x) σ(−x) ρ A, x = τ(ρ−1)      τ = τ₊ where A > 0, else τ₋
/// ```
///
/// At ρ = 1 the slope is −A, for large ratios it goes to 0. Gao et al. 2025, *Soft Adaptive Policy Optimization*.
///
/// ```
/// use surprisal::preference::Sapo;
/// let surrogate = Sapo::new(1.0, 1.05)?;
/// assert_eq!(surrogate.at(0.0, 1.0), (-2.0, -1.0));
/// assert_eq!(surrogate.at(800.0, 1.0), (-4.0, 0.0));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sapo {
    positive: f64,
    negative: f64,
}

impl Sapo {
    /// With these temperatures of positive and negative advantages.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for one that is not finite and above 0.
    pub fn new(temperature_positive: f64, temperature_negative: f64) -> Result<Self> {
        Ok(Self::with(
            positive("temperature_positive", temperature_positive)?,
            positive("temperature_negative", temperature_negative)?,
        ))
    }

    pub(super) const fn with(positive: f64, negative: f64) -> Self {
        Self { positive, negative }
    }

    /// ℓ of a token whose log π − log π_old is this, and its slope by log π.
    pub fn at(&self, log_ratio: f64, advantage: f64) -> (f64, f64) {
        if advantage == 0.0 {
            return (0.0, 0.0);
        }
        let temperature = if advantage > 0.0 { self.positive } else { self.negative };
        let ratio = log_ratio.exp();
        // ρ − 1 from the logarithm keeps its digits near 1.
        let x = temperature * log_ratio.exp_m1();
        let value = -(4.0 / temperature) * sigmoid(x) * advantage;
        let slope = sigmoid_slope(x);
        // 0 times what may be infinite.
        (value, if slope == 0.0 { 0.0 } else { -4.0 * slope * ratio * advantage })
    }

    /// The same; nothing is clipped.
    pub(super) fn parts(&self, log_ratio: f64, advantage: f64) -> (f64, f64, bool) {
        let (value, slope) = self.at(log_ratio, advantage);
        (value, slope, false)
    }
}
