//! Huber's loss of residuals: square where they are small, straight beyond.

use ndarray::Array1;

use crate::error::Result;
use crate::matrix::Vector;
use crate::numerics::positive;

/// Huber's loss of each residual.
///
/// ```text
/// ρ(r) = r²/2 for |r| ≤ δ, and δ (|r| − δ/2) beyond
/// ```
///
/// `[n]`, in the square of the residuals' unit; NaN of NaN. Huber 1964, *Robust Estimation of a Location Parameter*.
///
/// ```
/// use ndarray::arr1;
/// let losses = surprisal::fit::huber(&arr1(&[0.5, -2.0, 1.0]), 1.0)?;
/// assert_eq!(losses.to_vec(), [0.125, 1.5, 0.5]);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Option`](crate::Error::Option) for a δ that is not finite and above 0.
pub fn huber<'a>(residuals: impl Into<Vector<'a>>, delta: f64) -> Result<Array1<f64>> {
    let delta = positive("delta", delta)?;
    let residuals: Vec<f64> = residuals.into().to_vec();
    Ok(residuals.into_iter().map(|residual| loss(residual, delta)).collect())
}

pub(super) fn loss(residual: f64, delta: f64) -> f64 {
    let size = residual.abs();
    if size <= delta { 0.5 * size * size } else { delta * (size - 0.5 * delta) }
}

/// The slope of the loss.
pub(super) fn slope(residual: f64, delta: f64) -> f64 {
    residual.clamp(-delta, delta)
}

/// The slope over the residual: the weight with which a square has the same slope.
pub(super) fn weight(residual: f64, delta: f64) -> f64 {
    let size = residual.abs();
    if size <= delta { 1.0 } else { delta / size }
}
