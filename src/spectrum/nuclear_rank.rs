//! The nuclear rank.

use super::Spectrum;

impl Spectrum {
    /// The nuclear rank `‖X‖_* / ‖X‖₂ = Σσ / σ₁`: between 1 and the rank; 0 where all singular values
    /// are zero.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[2.0, 0.0], [0.0, 1.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Raw)?;
    /// assert_eq!(spectrum.nuclear_rank(), 1.5);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn nuclear_rank(&self) -> f64 {
        let largest = self.largest();
        if largest == 0.0 {
            return 0.0;
        }
        self.singular_values().iter().rev().map(|x| x / largest).sum()
    }
}
