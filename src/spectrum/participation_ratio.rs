//! The participation ratio.

use super::Spectrum;

impl Spectrum {
    /// The participation ratio of the eigenvalues of the covariance, `(Σλ)² / Σλ²` with `λ = σ²`:
    /// between 1 and the rank; 0 where all singular values are zero. Its spectrum is that of
    /// [`Centering::Centered`](super::Centering::Centered). Gao et al. 2017, "A theory of multineuronal
    /// dimensionality, dynamics and measurement".
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Centered)?;
    /// // 10² / (9² + 1)
    /// assert!((spectrum.participation_ratio() - 100.0 / 82.0).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn participation_ratio(&self) -> f64 {
        let shares = self.explained_variance();
        if shares.is_empty() {
            return 0.0;
        }
        // Against the largest share: equal ones then give a whole number.
        let relative = shares.iter().map(|p| p / shares[0]);
        let (sum, squares) =
            relative.rev().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        sum * sum / squares
    }
}
