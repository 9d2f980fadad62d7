//! Rényi entropies of a row, from its state and that of its escort.

use super::row_state::RowState;

/// H_α and H_∞ differ by up to H_∞/(α−1).
const ENDLESS: f64 = (1_u64 << 60) as f64;

impl RowState {
    /// The Rényi entropy of order α ≥ 0, in nats. `escort` is the state of the row whose logits are α times
    /// this row's: of the softmax p^α / Σ p^α, which is called the escort of p.
    ///
    /// ```text
    /// H_α = ln Σ p^α / (1−α) = (log1p(r_α) − α log1p(r)) / (1−α)
    /// ```
    ///
    /// H_0 is the logarithm of how many classes have a probability, H_1 = H, H_2 = −ln Σ p², and H_∞ = −ln max p;
    /// from α = 2⁶⁰ on H_α is that to the last bit, and the escort is not read. The maxima cancel before anything is added, so confident rows keep
    /// their digits. Near α = 1, where the difference has none left, ln Σ p^α is integrated instead, by its
    /// slopes and curvatures at 1 and α, which both states have: 10 digits are right at any α. α·a must have
    /// the digits, which at an offset it has not: take the maximum off the logits first.
    ///
    /// NaN for an α that is negative or NaN, and as the [entropy](Self::entropy).
    ///
    /// ```
    /// use surprisal::RowState;
    /// let of = |alpha: f64| -> surprisal::Result<RowState> {
    ///     let mut state = RowState::new();
    ///     state.push(0, &[1.0, 2.0, 3.0].map(|logit: f64| alpha * logit))?;
    ///     Ok(state)
    /// };
    /// let (state, twice) = (of(1.0)?, of(2.0)?);
    /// let squares: f64 = [1.0, 2.0, 3.0].map(|a| (-2.0 * state.surprisal_of(a)).exp()).iter().sum();
    /// assert!((state.renyi_entropy(&twice, 2.0) + squares.ln()).abs() < 1e-15);
    /// assert_eq!(state.renyi_entropy(&state, 1.0), state.entropy());
    /// assert_eq!(state.renyi_entropy(&state, f64::INFINITY), state.min_entropy());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn renyi_entropy(&self, escort: &Self, alpha: f64) -> f64 {
        if alpha.is_nan() || alpha < 0.0 {
            return f64::NAN;
        }
        if alpha >= ENDLESS {
            return self.min_entropy();
        }
        let step = alpha - 1.0;
        let (entropy, varentropy) = (self.entropy(), self.varentropy());
        // The difference loses 2⁻⁵²/|α−1| of its value, the integral about (|α−1| s)⁴/720 with s the size of
        // −ln p where it varies: V/H in a confident row, and a few nats in any. Where all but one p are lost
        // below the least number, those of an escort need not be.
        let size = if entropy == 0.0 { 745.0 } else { 4.0 + varentropy / entropy };
        if step.abs().powi(5) * size.powi(4) >= 3e-13 {
            // No −0.
            return (alpha * self.log_sum() - escort.log_sum()) / step + 0.0;
        }
        // With K(t) = ln Σ p^(1+t): K(0) = 0, −K′(0) = H, K″(0) = V. Between 0 and t, K is
        // t (K′(0) + K′(t))/2 + t² (K″(0) − K″(t))/12 − t⁵ K⁽⁵⁾/720 somewhere between (Euler–Maclaurin).
        let slope = self.log_sum() - escort.first_moment / (1.0 + escort.remainder) / alpha;
        let curvature = escort.varentropy() / (alpha * alpha);
        0.5 * (entropy + slope) - step / 12.0 * (varentropy - curvature)
    }
}
