//! NESum.

use super::Spectrum;

impl Spectrum {
    /// NESum, the normalised eigenvalue sum of the covariance: `Σλ / λ_1` with `λ = σ²`. It is the
    /// [stable rank](Self::stable_rank) of the centred features, and its spectrum is that of
    /// [`Centering::Centered`](super::Centering::Centered); 0 where all singular values are zero.
    /// He and Ozay 2022, "Exploring the gap between collapsed and whitened features in
    /// self-supervised learning".
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Centered)?;
    /// assert!((spectrum.nesum() - 1.25).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn nesum(&self) -> f64 {
        self.stable_rank()
    }
}
