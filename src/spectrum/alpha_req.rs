//! α-ReQ: the decay of the eigenspectrum.

use std::ops::Range;

use super::Spectrum;
use crate::{Error, Result};

/// Fewer points than this are no fit.
const FEWEST: usize = 3;
/// The usual window, where no other is asked for.
const USUAL: Range<usize> = 10..100;

/// A power law `λ_j ≈ e^intercept · j^−α` that was fitted to eigenvalues.
///
/// ```
/// use ndarray::Array2;
/// use surprisal::spectrum::{Centering, Spectrum};
/// let diagonal = ndarray::Array1::from_iter((1..=40).map(|j| (j as f64).powf(-0.5)));
/// let spectrum = Spectrum::from_features(Array2::from_diag(&diagonal).view(), Centering::Raw)?;
/// let fit = spectrum.alpha_req(10..40)?;
/// assert!((fit.alpha - 1.0).abs() < 1e-12 && fit.r_squared > 1.0 - 1e-12);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PowerLaw {
    /// The exponent α.
    pub alpha: f64,
    /// ln of the fitted eigenvalue at rank 1, as a share of the sum of all.
    pub intercept: f64,
    /// `1 − Σ(y − ŷ)² / Σ(y − ȳ)²` of the logarithms in the window of the fit, unweighted; 1 where
    /// the eigenvalues are equal and the fit meets them.
    pub r_squared: f64,
    /// The window: indices from 0, half-open. Index i is rank i + 1.
    pub range: Range<usize>,
}

/// What the residual of rank j counts.
#[derive(Clone, Copy)]
enum Weights {
    InverseRank,
    Equal,
}

impl Spectrum {
    /// The window that is usual for [α-ReQ](Self::alpha_req), as far as eigenvalues are no rounding: the
    /// indices from 10 to 100 or to the numerical [rank](Self::rank). `None` where that leaves fewer
    /// than the three that a fit takes.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let of = |columns| {
    ///     Spectrum::from_features(Array2::<f64>::eye(columns).view(), Centering::Raw)
    /// };
    /// assert_eq!(of(200)?.usual_alpha_range(), Some(10..100));
    /// assert_eq!(of(64)?.usual_alpha_range(), Some(10..64));
    /// assert_eq!(of(12)?.usual_alpha_range(), None);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn usual_alpha_range(&self) -> Option<Range<usize>> {
        let range = USUAL.start..USUAL.end.min(self.rank());
        (range.len() >= FEWEST).then_some(range)
    }

    /// α-ReQ: the exponent α of the power law `λ_j ∝ j^−α`, by least squares of `ln λ_j` on `−ln j`
    /// with weights **1/j**, after Stringer et al. 2019. λ are the eigenvalues of the covariance:
    /// the spectrum is that of [`Centering::Centered`](super::Centering::Centered).
    ///
    /// `range` is of indices from 0, half-open: `10..100` is the ranks j = 11 … 100. The value depends
    /// much on it (1.4 for `0..60`, 3.5 for `10..60` on scikit-learn's digits), so there is no
    /// default; `10..100` ([`usual_alpha_range`](Self::usual_alpha_range)) and `11..100` are usual. The published code computes its weights in `f32`,
    /// which changes α by some 1e-9. Agrawal, Mondal, Ghosh and Richards 2022, "α-ReQ: assessing
    /// representation quality in self-supervised learning by measuring eigenspectrum decay".
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for a range of fewer than three ranks, or one that leaves the
    /// numerical [rank](Self::rank), beyond which eigenvalues are rounding.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let spectrum = Spectrum::from_features(Array2::<f32>::eye(8).view(), Centering::Raw)?;
    /// assert!(spectrum.alpha_req(0..8)?.alpha.abs() < 1e-14);
    /// assert_eq!(
    ///     spectrum.alpha_req(0..9).unwrap_err().to_string(),
    ///     "range is 0..9 of a spectrum of numerical rank 8, expected at least 3 indices within the \
    ///      rank",
    /// );
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn alpha_req(&self, range: Range<usize>) -> Result<PowerLaw> {
        self.power_law(range, Weights::InverseRank)
    }

    /// The same fit with equal weights: plain least squares.
    ///
    /// # Errors
    /// As [`alpha_req`](Self::alpha_req).
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let diagonal = ndarray::Array1::from_iter((1..=40).map(|j| 1.0 / j as f64));
    /// let spectrum = Spectrum::from_features(Array2::from_diag(&diagonal).view(), Centering::Raw)?;
    /// assert!((spectrum.alpha_least_squares(0..40)?.alpha - 2.0).abs() < 1e-12);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn alpha_least_squares(&self, range: Range<usize>) -> Result<PowerLaw> {
        self.power_law(range, Weights::Equal)
    }

    /// The median of the α of plain least squares over short windows: w + 1 ranks from each index of
    /// the range on, `w = ⌊(length − 1) / 10⌋`. The last windows reach w indices beyond the range, as
    /// in the published code of α-ReQ's authors.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for a range of fewer than eleven indices, or one whose windows
    /// leave the numerical [rank](Self::rank).
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let diagonal = ndarray::Array1::from_iter((1..=40).map(|j| 1.0 / j as f64));
    /// let spectrum = Spectrum::from_features(Array2::from_diag(&diagonal).view(), Centering::Raw)?;
    /// assert!((spectrum.alpha_robust(4..34)? - 2.0).abs() < 1e-12);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn alpha_robust(&self, range: Range<usize>) -> Result<f64> {
        let width = range.len().saturating_sub(1) / 10;
        let rank = self.rank();
        if width == 0 || range.end.saturating_add(width) > rank {
            return Err(Error::Option {
                name: "range",
                value: format!("{range:?} of a spectrum of numerical rank {rank}"),
                expected: "at least 11 indices, which with a tenth more are within the rank",
            });
        }
        let shares = self.explained_variance();
        let mut slopes: Vec<f64> = range
            .map(|first| fit(&shares, first..first + width + 1, Weights::Equal).alpha)
            .collect();
        slopes.sort_unstable_by(f64::total_cmp);
        let middle = slopes.len() / 2;
        Ok(if slopes.len() % 2 == 1 {
            slopes[middle]
        } else {
            slopes[middle - 1].midpoint(slopes[middle])
        })
    }

    fn power_law(&self, range: Range<usize>, weights: Weights) -> Result<PowerLaw> {
        let rank = self.rank();
        if range.len() < FEWEST || range.end > rank {
            return Err(Error::Option {
                name: "range",
                value: format!("{range:?} of a spectrum of numerical rank {rank}"),
                expected: "at least 3 indices within the rank",
            });
        }
        Ok(fit(&self.explained_variance(), range, weights))
    }
}

/// Least squares over a window of shares, all above 0.
fn fit(shares: &[f64], range: Range<usize>, weights: Weights) -> PowerLaw {
    let points = || {
        range.clone().map(|index| {
            let rank = (index + 1) as f64;
            let weight = match weights {
                Weights::InverseRank => 1.0 / rank,
                Weights::Equal => 1.0,
            };
            (rank.ln(), shares[index].ln(), weight)
        })
    };
    let (mut x_sum, mut y_sum, mut weight_sum) = (0.0, 0.0, 0.0);
    for (x, y, w) in points() {
        x_sum += w * x;
        y_sum += w * y;
        weight_sum += w;
    }
    let (x_mean, y_mean) = (x_sum / weight_sum, y_sum / weight_sum);
    let (mut xx, mut xy) = (0.0, 0.0);
    for (x, y, w) in points() {
        xx += w * (x - x_mean).powi(2);
        xy += w * (x - x_mean) * (y - y_mean);
    }
    let slope = xy / xx;
    let intercept = y_mean - slope * x_mean;
    let center = points().map(|(_, y, _)| y).sum::<f64>() / range.len() as f64;
    let (mut residual, mut total, mut largest) = (0.0, 0.0, 1.0_f64);
    for (x, y, _) in points() {
        residual += (y - intercept - slope * x).powi(2);
        total += (y - center).powi(2);
        largest = largest.max(y.abs());
    }
    // What rounding makes of equal logarithms is no variation.
    let flat = (8.0 * f64::EPSILON * largest).powi(2) * range.len() as f64;
    let r_squared = if total <= flat { 1.0 } else { 1.0 - residual / total };
    PowerLaw { alpha: -slope, intercept, r_squared, range }
}
