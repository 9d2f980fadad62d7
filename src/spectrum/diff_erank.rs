//! Diff-eRank.

use ndarray::{ArrayView2, Axis};

use super::features::{check_not_empty, exponent, normalize, power_of_two};
use super::{Centering, Factor, Precision};
use crate::algebra::zeros;
use crate::matrix::each;
use crate::{Element, Matrix, Result};

/// Rows that are normalised at a time: the copy of a block stays small. Not measured.
const BLOCK: usize = 256;

/// The effective rank whose change Diff-eRank is: the features are centred, each row is divided by
/// its length, and of the eigenvalues of their second moment of trace 1,
///
/// ```text
/// exp(−Σ p ln p),   p_i = σ_i² / Σσ²,   σ the singular values of (x_i − μ) / ‖x_i − μ‖
/// ```
///
/// Diff-eRank itself is this of an untrained model's features less this of a trained one's. A row
/// that equals the mean, to the [rounding](super::Precision) of the features, is zero; where all do, the
/// result is 0. The features are read twice, a
/// block at a time. Wei, Tan, Li, Wang and Huang 2024, "Diff-eRank: a novel rank-based metric for
/// evaluating large language models".
///
/// # Errors
/// [`Shape`](crate::Error::Shape) for a matrix without rows or columns;
/// [`Value`](crate::Error::Value) for a number that is not finite;
/// [`TooLarge`](crate::Error::TooLarge) where memory is short.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::diff_erank;
/// // Four directions, two of each line.
/// let features = array![[5.0_f32, 1.0], [-3.0, 1.0], [1.0, 2.0], [1.0, 0.0]];
/// assert!((diff_erank(features.view())? - 2.0).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn diff_erank<'a>(features: impl Into<Matrix<'a>>) -> Result<f64> {
    rank(features.into())
}

fn rank(features: Matrix<'_>) -> Result<f64> {
    check_not_empty(&features)?;
    each!(features, Matrix, view => rank_of(view))
}

fn rank_of<T: Element>(features: ArrayView2<'_, T>) -> Result<f64> {
    let scale = power_of_two(-exponent(&features)?);
    let (rows, columns) = features.dim();
    // Relative to the first row, as in the accumulators.
    let pivot: Vec<f64> = features.row(0).iter().map(|x| x.to_f64() * scale).collect();
    let mut mean = zeros(columns, 1)?;
    let mut squares = 0.0;
    for row in features.rows() {
        for ((mean, x), pivot) in mean.iter_mut().zip(row).zip(&pivot) {
            let x = x.to_f64() * scale;
            *mean += x - pivot;
            squares += x * x;
        }
    }
    let precision = Precision::of::<T>();
    let precision = precision.with_absolute(precision.absolute() * scale);
    let rounding = precision.noise_floor((squares / features.len() as f64).sqrt(), (1, columns));
    mean.iter_mut().for_each(|x| *x /= rows as f64);
    let mut factor = Factor::new(columns, Centering::Raw)?;
    factor.reserve(rows)?;
    let mut data = zeros(BLOCK.min(rows), columns)?;
    for block in features.axis_chunks_iter(Axis(0), BLOCK) {
        for (to, from) in data.chunks_exact_mut(columns).zip(block.rows()) {
            for (((to, from), pivot), mean) in to.iter_mut().zip(from).zip(&pivot).zip(&mean) {
                *to = from.to_f64() * scale - pivot - mean;
            }
            if normalize(to) <= rounding {
                to.fill(0.0);
            }
        }
        let view = ArrayView2::from_shape(block.dim(), &data[..block.len()]);
        factor.push(view.expect("so many numbers"))?;
    }
    let spectrum = factor.into_spectrum()?;
    Ok(if spectrum.largest() == 0.0 { 0.0 } else { spectrum.von_neumann_entropy().exp() })
}
