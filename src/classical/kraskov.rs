//! Mutual information of two sets of features from neighbours counted in each.

use super::digamma::digamma;
use super::neighbours::{Ball, Maximum, Tree};
use super::points::{Points, check_neighbours, shrink};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Which of the two estimators of Kraskov, Stögbauer and Grassberger (2004).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kraskov {
    /// KSG1: one distance for both sets of features, neighbours strictly nearer are counted.
    First,
    /// KSG2: a distance for each, neighbours not farther are counted.
    Second,
}

/// Mutual information in nats between the rows of `x`, N×D_x, and of `y`, N×D_y.
///
/// Distances are the maximum norm, in x and y together the larger of the two. With ψ the digamma
/// function and the row itself never counted:
///
/// - [`Kraskov::First`]: I = ψ(k) + ψ(N) − (1/N) Σ_i (ψ(n_x,i + 1) + ψ(n_y,i + 1)), where ε_i is the
///   distance of row i to its `k`-th neighbour in x and y together, and n_x,i rows are nearer than
///   ε_i in x.
/// - [`Kraskov::Second`]: I = ψ(k) − 1/k + ψ(N) − (1/N) Σ_i (ψ(n_x,i) + ψ(n_y,i)), where n_x,i rows
///   are not farther in x than the farthest in x of the `k` neighbours. Of neighbours equally far
///   the ones nearer in x, then in y, are taken.
///
/// (Kraskov et al. 2004, equations 8 and 9.) Nothing is scaled, no noise added and nothing clamped
/// at 0: independent features give small values of both signs.
///
/// # Errors
/// [`Error::Shape`] where N, D_x or D_y is 0 or the numbers of rows differ; [`Error::Option`] where
/// `k` is 0 or not below N; [`Error::Value`] where a number is not finite; [`Error::Conflict`] where
/// a row coincides with `k` others in x and y together: then the distribution has atoms, of
/// which no distance tells anything. [`Error::TooLarge`] where a copy has no room.
///
/// ```
/// use ndarray::Array2;
/// use surprisal::classical::{Kraskov, kraskov_mutual_information};
///
/// let x = Array2::from_shape_fn((500, 1), |(i, _)| (i as f64).sin());
/// let y = Array2::from_shape_fn((500, 1), |(i, _)| (i as f64 * 1.7).cos());
/// let sum = &x + &y;
/// let independent = kraskov_mutual_information(x.view(), y.view(), 3, Kraskov::First)?;
/// let dependent = kraskov_mutual_information(x.view(), sum.view(), 3, Kraskov::First)?;
/// assert!(independent.abs() < 0.2);
/// assert!(dependent > 0.5);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn kraskov_mutual_information<'a, 'b>(
    x: impl Into<Matrix<'a>>,
    y: impl Into<Matrix<'b>>,
    k: usize,
    estimator: Kraskov,
) -> Result<f64> {
    information(x.into(), y.into(), k, estimator)
}

fn information(x: Matrix<'_>, y: Matrix<'_>, k: usize, estimator: Kraskov) -> Result<f64> {
    let (mut x, mut y) = (Points::new("x", x)?, Points::new("y", y)?);
    let rows = x.len();
    if y.len() != rows {
        return Err(Error::Shape {
            argument: "y",
            found: vec![y.len(), y.width()],
            expected: format!("{rows} rows, as many as x has"),
        });
    }
    check_neighbours(k, rows)?;
    shrink([&mut x, &mut y]);
    let joint = Tree::new(&x.beside(&y));
    let distances = joint.distances::<Maximum>(k);
    if let Some(row) = distances.iter().position(|&distance| distance == 0.0) {
        return Err(Error::Conflict {
            what: format!(
                "row {row} coincides with k = {k} others in x and y, expected fewer: add noise or \
                 raise k"
            ),
        });
    }
    let (tree_x, tree_y) = (Tree::new(&x), Tree::new(&y));
    let (of_k, counts) = match estimator {
        Kraskov::First => {
            // The row itself stands for the + 1.
            let ball = |row: usize| Ball::Open(distances[row]);
            (digamma(k), [tree_x.counts(ball), tree_y.counts(ball)])
        }
        Kraskov::Second => {
            let extents = extents(&joint, x.width(), k, &distances);
            let mut counts = [
                tree_x.counts(|row| Ball::Closed(extents[row].0)),
                tree_y.counts(|row| Ball::Closed(extents[row].1)),
            ];
            counts.iter_mut().flatten().for_each(|count| *count -= 1);
            (digamma(k) - 1.0 / k as f64, counts)
        }
    };
    let [in_x, in_y] = counts;
    let sum: f64 = in_x.iter().zip(&in_y).map(|(&a, &b)| digamma(a) + digamma(b)).sum();
    Ok(of_k + digamma(rows) - sum / rows as f64)
}

/// How far, in x and in y, the `k` nearest neighbours of each row go.
fn extents(joint: &Tree, width: usize, k: usize, distances: &[f64]) -> Vec<(f64, f64)> {
    joint.for_each_row((0.0, 0.0), |farthest: &mut Vec<(f64, f64)>, point, row| {
        farthest.clear();
        let (mut extent, mut nearer) = ((0.0_f64, 0.0_f64), 0);
        let (x, y) = point.split_at(width);
        joint.within(point, distances[row], &mut |other, distance| {
            let (other_x, other_y) = other.split_at(width);
            let at = (norm(x, other_x), norm(y, other_y));
            if distance < distances[row] {
                extent = (extent.0.max(at.0), extent.1.max(at.1));
                nearer += 1;
            } else {
                farthest.push(at);
            }
        });
        farthest.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        // The row itself is among the nearer.
        for at in &farthest[..(k + 1).saturating_sub(nearer).min(farthest.len())] {
            extent = (extent.0.max(at.0), extent.1.max(at.1));
        }
        extent
    })
}

fn norm(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |largest: f64, (a, b)| largest.max((a - b).abs()))
}
