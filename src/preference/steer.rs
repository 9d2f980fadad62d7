//! Weights of tokens by how much they change the policy's entropy.

use ndarray::Array2;

use super::mask::Mask;
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::numerics::check;

/// STEER: weights λ of the tokens' policy losses, small where |Ω|, the change of entropy, is large.
///
/// ```text
/// linear        λ = λ_max − (|Ω| − min|Ω|)(λ_max − λ_min)/(max|Ω| − min|Ω|)      where all are equal (λ_min + λ_max)/2
/// exponential   λ = max(λ_min, e^(−k|Ω|))      k = −ln λ_min / max(max|Ω|, 0.02)
/// ```
///
/// over the tokens that count; an Ω that is not finite counts as 0. Ω is
/// [`TokenEntropyChange::omega`](super::TokenEntropyChange::omega). Hao et al. 2025, *Rethinking Entropy Interventions in
/// RLVR: An Entropy Change Perspective*, with 0.8 and 1.2. The weights go to
/// [`Rollout::token_weights`](super::Rollout::token_weights).
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::SteerWeights;
/// let (omega, mask) = (arr2(&[[0.5, -1.5, f64::NAN]]), arr2(&[[true, true, false]]));
/// let weights = SteerWeights::linear(0.8, 1.2)?.weights(&omega, &mask)?;
/// assert_eq!(weights, arr2(&[[1.2, 0.8, 0.0]]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SteerWeights {
    least: f64,
    /// None of the exponential form.
    most: Option<f64>,
}

impl SteerWeights {
    /// From λ_max down to λ_min.
    ///
    /// # Errors
    /// [`Error::Option`] for a λ_min that is not finite and above 0, or a λ_max that is not finite and at least
    /// λ_min.
    pub fn linear(least: f64, most: f64) -> Result<Self> {
        let least = check("min", least, least > 0.0, "a finite number above 0")?;
        let most = check("max", most, most >= least, "a finite number of at least min")?;
        Ok(Self { least, most: Some(most) })
    }

    /// From 1 down to λ_min.
    ///
    /// # Errors
    /// [`Error::Option`] for a λ_min outside (0, 1].
    pub fn exponential(least: f64) -> Result<Self> {
        let good = least > 0.0 && least <= 1.0;
        Ok(Self { least: check("min", least, good, "a number above 0 up to 1")?, most: None })
    }

    /// λ `[B,T]` of Ω `[B,T]`, 0 for tokens that do not count.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Value`] for arrays that do not fit.
    pub fn weights<'a>(
        &self,
        omega: impl Into<Matrix<'a>>,
        mask: impl Into<Mask<'a>>,
    ) -> Result<Array2<f64>> {
        self.weights_here(omega.into(), mask.into())
    }

    fn weights_here(&self, omega: Matrix<'_>, mask: Mask<'_>) -> Result<Array2<f64>> {
        let (rows, columns) = omega.dim();
        if rows == 0 || columns == 0 {
            return Err(Error::empty_matrix("omega", &[rows, columns]));
        }
        let kept = mask.flags("mask", omega.dim())?;
        let size = |(b, t): (usize, usize)| {
            let omega = omega.at(b, t).abs();
            if omega.is_finite() { omega } else { 0.0 }
        };
        let kept_sizes = || kept.indexed_iter().filter(|(_, kept)| **kept).map(|(at, _)| size(at));
        let (small, large) =
            (kept_sizes().fold(f64::INFINITY, f64::min), kept_sizes().fold(0.0, f64::max));
        let weight = |size: f64| match self.most {
            Some(most) if large > small => {
                let weight = most - (size - small) * (most - self.least) / (large - small);
                weight.clamp(self.least, most)
            }
            Some(most) => 0.5 * (self.least + most),
            None => (self.least.ln() / large.max(0.02) * size).exp().clamp(self.least, 1.0),
        };
        Ok(Array2::from_shape_fn(kept.dim(), |at| if kept[at] { weight(size(at)) } else { 0.0 }))
    }
}
