//! Estimators of a Kullback–Leibler divergence from single tokens.

use crate::numerics::exp_beyond_line;

/// Estimates KL(π‖π_ref) from tokens that π has drawn.
///
/// With e = log π_ref − log π of the token, in nats:
///
/// | | value | ∂/∂log π | its gradient estimates on policy |
/// | --- | --- | --- | --- |
/// | `K1` | −e | 1 | nothing: its mean is 0 |
/// | `K2` | e²/2 | −e | that of KL(π‖π_ref), without bias |
/// | `K3` | e^e − 1 − e | 1 − e^e | that of KL(π_ref‖π) |
///
/// K1 and K3 are unbiased in value, K3 is never below 0. Near e = 0 K3 keeps all of its digits. Schulman 2020,
/// *Approximating KL Divergence*.
///
/// ```
/// use surprisal::preference::KlEstimator;
/// let (value, slope) = KlEstimator::K3.at(-1.0, -1.0 + 1e-9);
/// assert!((value / 5e-19 - 1.0).abs() < 1e-7 && (slope / -1e-9 - 1.0).abs() < 1e-7);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KlEstimator {
    /// −e.
    K1,
    /// e²/2.
    K2,
    /// e^e − 1 − e.
    #[default]
    K3,
}

impl KlEstimator {
    /// The value for a token of this log π and log π_ref, and its slope by log π.
    pub fn at(self, log_probability: f64, reference: f64) -> (f64, f64) {
        let e = reference - log_probability;
        match self {
            Self::K1 => (-e, 1.0),
            Self::K2 => (e * e / 2.0, -e),
            Self::K3 => (exp_beyond_line(e), -e.exp_m1()),
        }
    }
}
