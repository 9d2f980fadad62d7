//! Mutual information of features and labels from neighbours with the same label and with any.

use super::digamma::digamma;
use super::neighbours::{Ball, Maximum, Tree};
use super::points::{Points, check_labels, rows_by_label, shrink};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Mutual information in nats between `features`, N×D, and discrete `labels`, any integers.
///
/// Rows whose label occurs once are left out; N′ remain. Of the N_i rows with row i's label, take the
/// k_i-th nearest other one, k_i = min(`k`, N_i − 1), in the maximum norm; with m_i the number of
/// rows of any label nearer than that, row i included,
///
/// I = ψ(N′) + mean_i(ψ(k_i) − ψ(N_i) − ψ(m_i))
///
/// (Ross 2014, with strictly nearer rows as scikit-learn's `mutual_info_classif` counts them.)
/// Nothing is scaled, no noise added and nothing clamped at 0.
///
/// # Errors
/// [`Error::Shape`] where N or D is 0 or there is not one label for each row; [`Error::Option`] where
/// `k` is 0; [`Error::Value`] where a number is not finite; [`Error::Conflict`] where every label
/// occurs once, or a row coincides with k_i others of its label: then the distribution has atoms, of
/// which no distance tells anything. [`Error::TooLarge`] where a copy has no room.
///
/// ```
/// use ndarray::Array2;
/// use surprisal::classical::ross_mutual_information;
///
/// let features = Array2::from_shape_fn((600, 1), |(i, _)| (i as f64).sin());
/// let sign: Vec<i64> = features.iter().map(|&x| (x > 0.0).into()).collect();
/// let parity: Vec<i64> = (0..600).map(|i| i % 2).collect();
/// // The sign is known: ln 2 nats.
/// let known = ross_mutual_information(features.view(), &sign, 3)?;
/// assert!((known - 2_f64.ln()).abs() < 0.02);
/// assert!(ross_mutual_information(features.view(), &parity, 3)? < 0.1);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn ross_mutual_information<'a>(
    features: impl Into<Matrix<'a>>,
    labels: &[i64],
    k: usize,
) -> Result<f64> {
    information(features.into(), labels, k)
}

fn information(features: Matrix<'_>, labels: &[i64], k: usize) -> Result<f64> {
    let mut points = Points::new("features", features)?;
    check_labels(labels, points.len())?;
    if k == 0 {
        let (name, expected) = ("k", "at least 1");
        return Err(Error::Option { name, value: "0".into(), expected });
    }
    shrink([&mut points]);
    let mut classes = rows_by_label(labels);
    classes.retain(|rows| rows.len() > 1);
    let rows: Vec<usize> = classes.concat();
    if rows.is_empty() {
        let what = "every label occurs once, expected one that occurs twice".into();
        return Err(Error::Conflict { what });
    }
    let (mut radii, mut sum) = (Vec::with_capacity(rows.len()), 0.0);
    for class in &classes {
        let neighbours = k.min(class.len() - 1);
        let distances = Tree::new(&points.select(class)).distances::<Maximum>(neighbours);
        if let Some(at) = distances.iter().position(|&distance| distance == 0.0) {
            return Err(Error::Conflict {
                what: format!(
                    "row {} coincides with {neighbours} others of its label, expected fewer: add \
                     noise or raise k",
                    class[at]
                ),
            });
        }
        radii.extend(distances);
        sum += class.len() as f64 * (digamma(neighbours) - digamma(class.len()));
    }
    let counts = Tree::new(&points.select(&rows)).counts(|row| Ball::Open(radii[row]));
    sum -= counts.iter().map(|&count| digamma(count)).sum::<f64>();
    Ok(digamma(rows.len()) + sum / rows.len() as f64)
}
