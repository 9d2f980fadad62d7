//! Differential entropy from the distances to nearest neighbours.

use std::f64::consts::PI;

use super::digamma::digamma;
use super::neighbours::{Euclid, Maximum, Tree};
use super::points::{Points, check_neighbours, shrink};
use crate::error::Result;
use crate::matrix::Matrix;

/// How far points are from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metric {
    /// √(Σ_j (x_j − y_j)²); the unit ball has volume π^{D/2} / Γ(D/2 + 1).
    Euclidean,
    /// max_j |x_j − y_j|; the unit ball has volume 2^D.
    Chebyshev,
}

impl Metric {
    /// ln of the volume of the unit ball in so many dimensions.
    fn log_volume(self, dimensions: usize) -> f64 {
        match self {
            Metric::Chebyshev => dimensions as f64 * 2_f64.ln(),
            // V_D = V_{D−2} 2π/D, from V_0 = 1 or V_1 = 2.
            Metric::Euclidean => {
                let first = if dimensions % 2 == 1 { 2_f64.ln() } else { 0.0 };
                let factors = (2..=dimensions).rev().step_by(2);
                first + factors.map(|d| (2.0 * PI / d as f64).ln()).sum::<f64>()
            }
        }
    }
}

/// Differential entropy in nats of the distribution that N rows `features`, N×D, were drawn from.
///
/// With ε_i the distance of row i to its `k`-th nearest neighbour, itself excluded, and V_D the
/// volume of the unit ball,
///
/// H = ψ(N) − ψ(k) + ln V_D + (D/N) Σ_i ln ε_i
///
/// (Kozachenko and Leonenko 1987; with any k Goria et al. 2005). No noise is added. Where `k` rows
/// coincide with another the distribution has atoms, and the entropy is −∞. A k-d tree finds the
/// neighbours: in few dimensions in O(N log N), in many each row looks at nearly every other.
///
/// # Errors
/// [`Shape`](crate::Error::Shape) where N or D is 0, [`Option`](crate::Error::Option) where `k` is 0
/// or not below N, [`Value`](crate::Error::Value) where a number is not finite,
/// [`TooLarge`](crate::Error::TooLarge) where a copy has no room.
///
/// ```
/// use ndarray::Array2;
/// use surprisal::classical::{Metric, kozachenko_leonenko_entropy};
///
/// // Nearest neighbours a hundredth apart: ψ(100) − ψ(1) + ln 2 − ln 100, where ψ(100) − ψ(1) is
/// // 1 + 1/2 + … + 1/99.
/// let even = Array2::from_shape_fn((100, 1), |(i, _)| i as f64 / 100.0);
/// let entropy = kozachenko_leonenko_entropy(even.view(), 1, Metric::Euclidean)?;
/// let harmonic: f64 = (1..100).map(|n| 1.0 / n as f64).sum();
/// assert!((entropy - (harmonic + 0.02_f64.ln())).abs() < 1e-13);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn kozachenko_leonenko_entropy<'a>(
    features: impl Into<Matrix<'a>>,
    k: usize,
    metric: Metric,
) -> Result<f64> {
    entropy(features.into(), k, metric)
}

fn entropy(features: Matrix<'_>, k: usize, metric: Metric) -> Result<f64> {
    let mut points = Points::new("features", features)?;
    check_neighbours(k, points.len())?;
    let log_scale = shrink([&mut points]);
    let tree = Tree::new(&points);
    let distances = match metric {
        Metric::Euclidean => tree.distances::<Euclid>(k),
        Metric::Chebyshev => tree.distances::<Maximum>(k),
    };
    let (rows, dimensions) = (points.len() as f64, points.width() as f64);
    let mean = distances.iter().map(|distance| distance.ln()).sum::<f64>() / rows + log_scale;
    let volume = metric.log_volume(points.width());
    Ok(digamma(points.len()) - digamma(k) + volume + dimensions * mean)
}
