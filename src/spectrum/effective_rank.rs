//! The effective rank of Roy and Vetterli.

use super::Spectrum;
use super::renyi::shannon;

impl Spectrum {
    /// The effective rank `exp(−Σ p_k ln p_k)`, `p_k = σ_k / Σσ`, with 0·ln 0 = 0. Between 1 and the
    /// rank; 0 where all singular values are zero. Roy and Vetterli 2007, "The effective rank: a
    /// measure of effective dimensionality".
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Raw)?;
    /// assert!((spectrum.effective_rank() - 2.0).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn effective_rank(&self) -> f64 {
        let shares = self.shares();
        if shares.is_empty() { 0.0 } else { shannon(shares.into_iter()).exp() }
    }
}
