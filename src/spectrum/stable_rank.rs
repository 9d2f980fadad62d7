//! The stable rank.

use super::Spectrum;

impl Spectrum {
    /// The stable rank `‖X‖_F² / ‖X‖₂² = Σσ² / σ₁²`: between 1 and the rank; 0 where all singular
    /// values are zero. Rudelson and Vershynin 2007, "Sampling from large matrices".
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[2.0, 0.0], [0.0, 1.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Raw)?;
    /// assert_eq!(spectrum.stable_rank(), 1.25);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn stable_rank(&self) -> f64 {
        let largest = self.largest();
        if largest == 0.0 {
            return 0.0;
        }
        self.singular_values().iter().rev().map(|x| (x / largest).powi(2)).sum()
    }
}
