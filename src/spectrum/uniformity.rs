//! Uniformity on the sphere.

use ndarray::s;

use super::directions::unit_rows;
use crate::error::short;
use crate::parallel;
use crate::{Error, Matrix, Result};

/// Rows of a tile of cosines: 512 KiB of f64, half of the second cache of Zen 5. Chosen by that.
const TILE: usize = 256;
/// Below this a squared distance is that of the differences, which keep its digits.
const NEAR: f64 = 1e-4;

/// Uniformity: how evenly the directions of the rows are spread, the lower the more,
///
/// ```text
/// ln mean_{i<j} exp(−t ‖u_i − u_j‖²),   u_i = x_i / ‖x_i‖
/// ```
///
/// from −4t to 0, −∞ where that is beyond `f64`; t = 2 is usual. The rows' cosines are made a tile at a time, `N²·D` flops in all.
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
pub fn uniformity<'a>(features: impl Into<Matrix<'a>>, t: f64) -> Result<f64> {
    of_pairs(features.into(), t)
}

fn of_pairs(features: Matrix<'_>, t: f64) -> Result<f64> {
    if !(t > 0.0 && t.is_finite()) {
        return Err(Error::Option {
            name: "t",
            value: short(t),
            expected: "a finite number above 0",
        });
    }
    let (rows, columns) = features.dim();
    if rows < 2 {
        return Err(Error::Shape {
            argument: "features",
            found: vec![rows, columns],
            expected: "at least two rows".into(),
        });
    }
    let (unit, _) = unit_rows(features)?;
    let strips = rows.div_ceil(TILE);
    let mut sums = vec![Sum::NOTHING; strips];
    let tasks: Vec<_> = sums.iter_mut().enumerate().collect();
    parallel::for_each(&mut vec![(); parallel::threads()], tasks, |(), (strip, sum)| {
        let first = strip * TILE;
        let left = unit.slice(s![first..rows.min(first + TILE), ..]);
        for other in (first..rows).step_by(TILE) {
            let right = unit.slice(s![other..rows.min(other + TILE), ..]);
            for (i, cosines) in left.dot(&right.t()).rows().into_iter().enumerate() {
                // Above the diagonal.
                let skip = (first + i + 1).saturating_sub(other).min(cosines.len());
                for (j, cosine) in cosines.iter().enumerate().skip(skip) {
                    let mut squared = 2.0 - 2.0 * cosine;
                    if squared < NEAR {
                        let pairs = left.row(i).into_iter().zip(right.row(j));
                        squared = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
                    }
                    sum.add(t, squared);
                }
            }
        }
    });
    let mut all = Sum::NOTHING;
    sums.into_iter().for_each(|sum| all.merge(t, sum));
    let n = rows as f64;
    // Where the product is beyond f64 it is −∞.
    Ok((all.sum / (n * (n - 1.0) / 2.0)).ln() - t * all.least)
}

/// Σ exp(−t (d² − least)): t multiplies differences alone, so that no two infinities meet.
#[derive(Clone, Copy)]
struct Sum {
    least: f64,
    sum: f64,
}

impl Sum {
    const NOTHING: Self = Self { least: f64::INFINITY, sum: 0.0 };

    fn add(&mut self, t: f64, squared: f64) {
        self.merge(t, Self { least: squared, sum: 1.0 });
    }

    fn merge(&mut self, t: f64, other: Self) {
        let (low, high) = if self.least <= other.least { (*self, other) } else { (other, *self) };
        let share = if high.sum == 0.0 { 0.0 } else { (-t * (high.least - low.least)).exp() };
        *self = Self { least: low.least, sum: low.sum + high.sum * share };
    }
}
