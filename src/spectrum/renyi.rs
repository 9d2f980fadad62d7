//! Rényi entropies of shares that sum to 1.

use super::Spectrum;
use crate::error::short;
use crate::{Error, Result};

/// The Rényi entropy of any order ≥ 0 in nats. Shares are ≥ 0 and sum to 1; none at all give 0.
pub(super) fn renyi(shares: &[f64], order: f64) -> Result<f64> {
    if order.is_nan() || order < 0.0 {
        return Err(Error::Option {
            name: "order",
            value: short(order),
            expected: "a number from 0 to infinity",
        });
    }
    let shares = || shares.iter().copied().filter(|&p| p > 0.0);
    let largest = shares().fold(0.0, f64::max);
    if largest == 0.0 {
        return Ok(0.0);
    }
    let distance = order - 1.0;
    let entropy = if order == 0.0 {
        (shares().count() as f64).ln()
    } else if order == f64::INFINITY {
        -largest.ln()
    } else if distance == 0.0 {
        shannon(shares())
    } else if distance.abs() < 0.01 {
        // Σ p^α = 1 + Σ p (e^((α−1) ln p) − 1): the 1 must not swallow what is divided by α − 1.
        let excess: f64 = shares().map(|p| p * (distance * p.ln()).exp_m1()).sum();
        -excess.ln_1p() / distance
    } else {
        // The largest share is taken out, so that no power vanishes or overflows.
        let sum: f64 = shares().map(|p| (order * (p / largest).ln()).exp()).sum();
        -(sum.ln() / distance) - largest.ln() * (order / distance)
    };
    // Rounding may end a hair below 0 where one share is 1.
    Ok(entropy.max(0.0))
}

/// −Σ p ln p.
pub(super) fn shannon(shares: impl Iterator<Item = f64>) -> f64 {
    shares.filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

/// Shares of what is not negative and no rounding: more than `resolution` times the largest.
pub(super) fn shares_above(values: &[f64], resolution: f64) -> Vec<f64> {
    let largest = values.iter().copied().fold(0.0, f64::max);
    if largest == 0.0 {
        return Vec::new();
    }
    let kept = values.iter().copied().filter(|x| *x > resolution * largest);
    let mut kept: Vec<f64> = kept.map(|x| x / largest).collect();
    kept.sort_unstable_by(|a, b| b.total_cmp(a));
    let sum: f64 = kept.iter().rev().sum();
    kept.iter_mut().for_each(|x| *x /= sum);
    kept
}

impl Spectrum {
    /// The matrix-based Rényi entropy of the covariance (raw: of the second moment), in **bits**:
    /// with `p_i = σ_i² / Σσ²`,
    ///
    /// ```text
    /// S_α = log2(Σ p_i^α) / (1 − α)
    /// ```
    ///
    /// and its limits: at α = 1 `−Σ p log2 p`, at α = 0 the log2 of the [rank](Self::rank), at
    /// infinity `−log2 p_1`. Below order 1 singular values up to the [noise floor](Self::noise_floor) are
    /// not counted: powers would make numbers of their rounding. Giraldo, Rao and Príncipe 2015,
    /// "Measures of entropy from data using infinitely divisible kernels", with the linear kernel;
    /// other kernels are [`KernelMatrix`](super::KernelMatrix)'s.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for an order that is negative or NaN.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[1.0, 0.0], [0.0, 1.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Raw)?;
    /// for order in [0.0, 0.5, 1.0, 2.0, f64::INFINITY] {
    ///     assert!((spectrum.renyi_entropy(order)? - 1.0).abs() < 1e-14);
    /// }
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn renyi_entropy(&self, order: f64) -> Result<f64> {
        let least = self.resolution_of_eigenvalues(order);
        let shares = shares_above(&self.explained_variance(), least);
        Ok(renyi(&shares, order)? / std::f64::consts::LN_2)
    }
}
