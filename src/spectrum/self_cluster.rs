//! SelfCluster.

use super::directions::unit_spectrum;
use crate::{Error, Matrix, Result};

/// SelfCluster: how far the rows' mean squared cosine is from that of random directions, from 0
/// (spread) to 1 (all on one line). With U the rows of unit length and `Q = ‖UᵀU‖_F² = Σσ⁴`,
///
/// ```text
/// (Q − N − N(N−1)/D) / (N² − N − N(N−1)/D)
/// ```
///
/// A little below 0 where rows are spread more evenly than by chance. Tsitsulin, Munkhoeva and
/// Perozzi 2023, "Unsupervised embedding quality evaluation".
///
/// # Errors
/// [`Shape`](crate::Error::Shape) for fewer than two rows or columns, where it is 0/0;
/// [`Value`](crate::Error::Value) for a number that is not finite, or a row of zeros, which has no
/// direction; [`TooLarge`](crate::Error::TooLarge) where memory is short.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::self_cluster;
/// let value = self_cluster(array![[1.0, 0.0], [-2.0, 0.0]].view())?;
/// assert!((value - 1.0).abs() < 1e-14);
/// let value = self_cluster(array![[1.0, 0.0], [0.0, 1.0]].view())?;
/// assert!((value + 1.0).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn self_cluster<'a>(features: impl Into<Matrix<'a>>) -> Result<f64> {
    excess(features.into())
}

/// Of the mean squared cosine beyond that of random directions, as a share of what there can be.
fn excess(features: Matrix<'_>) -> Result<f64> {
    let (rows, columns) = features.dim();
    if rows < 2 || columns < 2 {
        return Err(Error::Shape {
            argument: "features",
            found: vec![rows, columns],
            expected: "at least two rows and two columns".into(),
        });
    }
    let spectrum = unit_spectrum(features)?;
    let (n, d) = (rows as f64, columns as f64);
    // Of the mean squared cosine of pairs: nothing large is subtracted from something larger.
    let fourth: f64 = spectrum.singular_values().iter().rev().map(|x| (x * x / n).powi(2)).sum();
    let pairs = (fourth * n - 1.0) / (n - 1.0);
    Ok((pairs - 1.0 / d) / (1.0 - 1.0 / d))
}
