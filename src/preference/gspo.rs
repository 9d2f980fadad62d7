//! The surrogate of GSPO.

use super::clipped::Clipped;
use crate::error::Result;

/// Group sequence policy optimization (GSPO): the ratio is that of the sequence, to the power of one over its
/// length.
///
/// ```text
/// s = exp(Σ_t (log π_t − log π_old,t) / n)      ℓ_t = −min(s A_t, clip(s, 1−ε_low, 1+ε_high) A_t)
/// ```
///
/// over the n tokens that count. Every token's loss moves with s, so its gradient goes to all tokens of the
/// sequence, a share 1/n to each; with [`token`](Self::token) it stays with the token, as −s A_t, which is the same
/// where A is one for the sequence. Zheng et al. 2025, *Group Sequence Policy Optimization*.
///
/// ```
/// use surprisal::preference::{Gspo, PolicyLoss};
/// assert_eq!(PolicyLoss::gspo(), PolicyLoss::new(Gspo::new(3e-4, 4e-4)?));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gspo {
    pub(super) clipped: Clipped,
    pub(super) token: bool,
}

impl Gspo {
    /// With sequence ratios from 1 − ε_low to 1 + ε_high.
    ///
    /// # Errors
    /// As [`Clipped::new`].
    pub fn new(epsilon_low: f64, epsilon_high: f64) -> Result<Self> {
        Ok(Self { clipped: Clipped::new(epsilon_low, epsilon_high)?, token: false })
    }

    pub(super) const fn within(low: f64, high: f64) -> Self {
        Self { clipped: Clipped::within(low, high), token: false }
    }

    /// Leaves the gradient of each token's loss with the token (GSPO-token), for advantages of tokens.
    #[must_use]
    pub fn token(self) -> Self {
        Self { token: true, ..self }
    }

    /// As [`Clipped::dual_clip`], of the sequence's ratio.
    ///
    /// # Errors
    /// As there.
    pub fn dual_clip(self, c: f64) -> Result<Self> {
        Ok(Self { clipped: self.clipped.dual_clip(c)?, ..self })
    }

    /// As [`Clipped::delta`], of the sequence's ratio.
    ///
    /// # Errors
    /// As there.
    pub fn delta(self, delta: f64) -> Result<Self> {
        Ok(Self { clipped: self.clipped.delta(delta)?, ..self })
    }
}
