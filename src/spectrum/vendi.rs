//! The Vendi score.

use super::directions::unit_spectrum;
use super::renyi::{renyi, shares_above};
use crate::{Matrix, Result};

/// The Vendi score of order q with the cosine kernel: the effective number of different rows,
///
/// ```text
/// exp(H_q(λ)),   λ the eigenvalues of K/N,   K_ij = x_i·x_j / (‖x_i‖‖x_j‖)
/// ```
///
/// with H_q the Rényi entropy of any order from 0 to infinity (q = 1, the usual one: von Neumann).
/// Between 1 and N. Below order 1 eigenvalues that are [rounding](super::Precision) are not counted. No N×N matrix is
/// made, and features are read a block of rows at a time; for other kernels take
/// [`KernelMatrix::vendi_score`](super::KernelMatrix::vendi_score). Friedman and Dieng 2023, "The
/// Vendi score: a diversity evaluation metric for machine learning"; orders: Pasarkar and Dieng 2024.
///
/// # Errors
/// [`Shape`](crate::Error::Shape) for a matrix without rows or columns;
/// [`Value`](crate::Error::Value) for a number that is not finite, or a row of zeros, which has no
/// direction; [`Option`](crate::Error::Option) for an order that is negative or NaN;
/// [`TooLarge`](crate::Error::TooLarge) where memory is short.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::vendi_score;
/// let features = array![[1.0, 0.0], [0.0, 3.0], [2.0, 0.0], [0.0, 1.0]];
/// for order in [0.0, 1.0, 2.0, f64::INFINITY] {
///     assert!((vendi_score(features.view(), order)? - 2.0).abs() < 1e-13);
/// }
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn vendi_score<'a>(features: impl Into<Matrix<'a>>, order: f64) -> Result<f64> {
    score(features.into(), order)
}

fn score(features: Matrix<'_>, order: f64) -> Result<f64> {
    // An order out of range is refused before any work.
    renyi(&[], order)?;
    let spectrum = unit_spectrum(features)?;
    let least = spectrum.resolution_of_eigenvalues(order);
    Ok(renyi(&shares_above(&spectrum.explained_variance(), least), order)?.exp())
}
