//! RankMe, in the paper's form and in that of the covariance.

use super::Spectrum;
use super::renyi::shannon;
use crate::error::short;
use crate::{Error, Result};

/// What RankMe's authors add to each share.
pub const RANKME_EPSILON: f64 = 1e-7;

/// exp(−Σ (p + ε) ln (p + ε)); 0 where there are no shares.
fn rank_of(shares: &[f64], epsilon: f64) -> Result<f64> {
    if !(epsilon >= 0.0 && epsilon.is_finite()) {
        return Err(Error::Option {
            name: "epsilon",
            value: short(epsilon),
            expected: "a finite number, at least 0",
        });
    }
    if shares.is_empty() {
        return Ok(0.0);
    }
    Ok(shannon(shares.iter().map(|p| p + epsilon)).exp())
}

impl Spectrum {
    /// RankMe, as the paper has it: with σ the singular values of the features, uncentred,
    ///
    /// ```text
    /// p_k = σ_k / Σσ + ε,   RankMe = exp(−Σ p_k ln p_k),   k = 1 … min(N, D)
    /// ```
    ///
    /// The p_k are not normalised again; zeros among the σ_k count with ε. The paper's ε is
    /// [`RANKME_EPSILON`]; others in use are 1e-5 and 1e-6; ε = 0 is the
    /// [effective rank](Self::effective_rank). The paper's spectrum is that of
    /// [`Centering::Raw`](super::Centering::Raw), of 25 600 rows; it is biased low below some ten
    /// rows a column. Garrido, Balestriero, Najman and LeCun 2023, "RankMe: Assessing the downstream
    /// performance of pretrained self-supervised representations by their rank", eq. 1 and 2.
    ///
    /// 0 where all singular values are zero.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for an ε that is negative or not finite.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::spectrum::{Centering, RANKME_EPSILON, Spectrum};
    /// let spectrum = Spectrum::from_features(Array2::<f64>::eye(12).view(), Centering::Raw)?;
    /// assert!((spectrum.rankme(RANKME_EPSILON)? - 12.000021382666171).abs() < 1e-12);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn rankme(&self, epsilon: f64) -> Result<f64> {
        rank_of(&self.shares(), epsilon)
    }

    /// The other quantity that is called RankMe: of the eigenvalues of the covariance,
    ///
    /// ```text
    /// p_k = λ_k / Σλ + ε,   exp(−Σ p_k ln p_k),   λ = σ²
    /// ```
    ///
    /// as in the published code of α-ReQ's authors and of Li et al. 2025, "Tracing the representation
    /// geometry of language models". Its spectrum is that of
    /// [`Centering::Centered`](super::Centering::Centered). With ε = 0 it is exp of the
    /// [von Neumann entropy](Self::von_neumann_entropy). It is smaller than RankMe, often by a third
    /// (20.6 beside 29.6 on scikit-learn's digits). That code keeps 2048 eigenvalues at most; this
    /// keeps all.
    ///
    /// 0 where all singular values are zero.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for an ε that is negative or not finite.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Centered)?;
    /// // exp of the entropy of (9/10, 1/10)
    /// assert!((spectrum.rankme_covariance(0.0)? - 1.3841454884616822).abs() < 1e-12);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn rankme_covariance(&self, epsilon: f64) -> Result<f64> {
        rank_of(&self.explained_variance(), epsilon)
    }
}
