//! Von Neumann entropies.

use super::Spectrum;
use super::directions::unit_spectrum;
use super::renyi::shannon;
use crate::{Matrix, Result};

impl Spectrum {
    /// The von Neumann entropy of the covariance of trace 1, in **nats**: `−Σ p ln p` with
    /// `p_i = σ_i² / Σσ²`. Its spectrum is that of
    /// [`Centering::Centered`](super::Centering::Centered); 0 where all singular values are zero.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Centered)?;
    /// assert!((spectrum.von_neumann_entropy() - 2.0_f64.ln()).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn von_neumann_entropy(&self) -> f64 {
        // Rounding may end a hair below 0 where one share is 1.
        shannon(self.explained_variance().into_iter()).max(0.0)
    }
}

/// The von Neumann entropy of the cosine kernel of trace 1, in **nats**: of the eigenvalues of
/// `K/N`, `K_ij = x_i·x_j / (‖x_i‖‖x_j‖)`. They are the squared singular values of the rows of unit
/// length, over N: no N×N matrix is made. Its exponential is the
/// [Vendi score](super::vendi_score) of order 1.
///
/// # Errors
/// [`Shape`](crate::Error::Shape) for a matrix without rows or columns;
/// [`Value`](crate::Error::Value) for a number that is not finite, or a row of zeros, which has no
/// direction; [`TooLarge`](crate::Error::TooLarge) where memory is short.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::cosine_von_neumann_entropy;
/// // Two directions, one twice as frequent.
/// let features = array![[1.0, 0.0], [5.0, 0.0], [0.0, 0.1]];
/// let entropy = cosine_von_neumann_entropy(features.view())?;
/// assert!((entropy - 0.6365141682948128).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn cosine_von_neumann_entropy<'a>(features: impl Into<Matrix<'a>>) -> Result<f64> {
    Ok(unit_spectrum(features.into())?.von_neumann_entropy())
}
