//! Uniformity on the sphere.

use ndarray::{ArrayView2, s};

use super::features::unit_rows;
use crate::error::short;
use crate::parallel;
use crate::{Element, Error, Result};

/// Rows of a tile of cosines.
const TILE: usize = 256;

/// Uniformity: how evenly the directions of the rows are spread, the lower the more,
///
/// ```text
/// ln mean_{i<j} exp(−t ‖u_i − u_j‖²),   u_i = x_i / ‖x_i‖
/// ```
///
/// from −4t to 0; t = 2 is usual. The rows' cosines are made a tile at a time, `N²·D` flops in all.
/// Wang and Isola 2020, "Understanding contrastive representation learning through alignment and
/// uniformity on the hypersphere".
///
/// # Errors
/// [`Shape`](crate::Error::Shape) for fewer than two rows or no columns;
/// [`Option`](crate::Error::Option) for a t that is not finite and above 0;
/// [`Value`](crate::Error::Value) for a number that is not finite, or a row of zeros, which has no
/// direction; [`TooLarge`](crate::Error::TooLarge) where memory is short.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::uniformity;
/// let opposite = array![[1.0, 0.0], [-3.0, 0.0]];
/// assert_eq!(uniformity(opposite.view(), 2.0)?, -8.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn uniformity<T: Element>(features: ArrayView2<'_, T>, t: f64) -> Result<f64> {
    if !(t > 0.0 && t.is_finite()) {
        return Err(Error::Option {
            name: "t",
            value: short(t),
            expected: "a finite number above 0",
        });
    }
    if features.nrows() < 2 {
        return Err(Error::Shape {
            argument: "features",
            found: features.shape().to_vec(),
            expected: "at least two rows".into(),
        });
    }
    let unit = unit_rows(features)?;
    let rows = unit.nrows();
    let strips = rows.div_ceil(TILE);
    // (largest exponent, Σ exp(exponent − largest)) of each strip.
    let mut sums = vec![(f64::NEG_INFINITY, 0.0); strips];
    let tasks: Vec<_> = sums.iter_mut().enumerate().collect();
    parallel::for_each(&mut vec![(); parallel::threads()], tasks, |(), (strip, sum)| {
        let first = strip * TILE;
        let left = unit.slice(s![first..rows.min(first + TILE), ..]);
        for other in (first..rows).step_by(TILE) {
            let right = unit.slice(s![other..rows.min(other + TILE), ..]);
            for (i, cosines) in left.dot(&right.t()).rows().into_iter().enumerate() {
                // Above the diagonal.
                let skip = (first + i + 1).saturating_sub(other).min(cosines.len());
                let exponents =
                    cosines.iter().skip(skip).map(|cosine| -t * (2.0 - 2.0 * cosine).max(0.0));
                *sum = exponents.fold(*sum, add);
            }
        }
    });
    let (largest, sum) = sums.into_iter().fold((f64::NEG_INFINITY, 0.0), |a, b| {
        let (low, high) = if a.0 < b.0 { (a, b) } else { (b, a) };
        if low.1 == 0.0 { high } else { (high.0, high.1 + low.1 * (low.0 - high.0).exp()) }
    });
    let n = rows as f64;
    Ok(largest + (sum / (n * (n - 1.0) / 2.0)).ln())
}

/// One more exponent.
fn add((largest, sum): (f64, f64), exponent: f64) -> (f64, f64) {
    if exponent <= largest {
        (largest, sum + (exponent - largest).exp())
    } else {
        (exponent, 1.0 + sum * (largest - exponent).exp())
    }
}
