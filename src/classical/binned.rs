//! Shannon entropy of features in equal bins, and the information in them about labels.

use ndarray::{ArrayView2, Axis};

use super::points::{Points, check_labels, rows_by_label};
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::sorting::sorted_places;

/// Shannon entropy in bits of N rows `features`, N×D,, each column cut into `bins` equal bins.
///
/// A column is scaled to 0…1 by its least and largest number and cut at j·(1/B), j = 1…B−1, in f64
/// (as NumPy's `linspace` rounds); a number at a cut belongs to the bin above, the largest to the last
/// bin, and all of a constant column to one. A row's cell is its D bins; with n_c rows in cell c,
///
/// H = −Σ_c (n_c/N) log₂(n_c/N).
///
/// It is at most log₂ N, and reaches that as soon as each row has a cell of its own: with D beyond
/// log₂ N columns it says little. The `classic_shannon_entropy` of the published DSE code (Liu et
/// al. 2024, B = 2 by default), without the 2⁻⁵² that it adds to each n_c/N.
///
/// # Errors
/// [`Error::Shape`] where N or D is 0, [`Error::Option`] where `bins` is 0 or beyond 2³²−1,
/// [`Error::Value`] where a number is not finite, [`Error::TooLarge`] where a copy has no room.
///
/// ```
/// use ndarray::array;
/// use surprisal::classical::binned_entropy;
///
/// // Two rows in one cell, one in each of two others: 1/2·1 + 2·1/4·2 bits.
/// let features = array![[0.0, 0.0], [0.1, 0.3], [0.9, 0.0], [1.0, 1.0]];
/// assert_eq!(binned_entropy(features.view(), 2)?, 1.5);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn binned_entropy<'a>(features: impl Into<Matrix<'a>>, bins: usize) -> Result<f64> {
    let bins = check_bins(bins)?;
    entropy(&Points::new("features", features.into())?, bins)
}

/// Mutual information in bits between `features`, N×D, in bins and `labels`, with the entropy of
/// all rows taken at the sample size of each label.
///
/// With H the [`binned_entropy`] and n_c rows X_c of label c (labels in ascending order, any
/// integers),
///
/// I = Σ_c (n_c/N) (mean_r H(X_{S_rc}) − H(X_c)),
///
/// where S_rc are n_c rows of all N. `samples`, R×N, holds them for R repetitions: row r is
/// S_r1, S_r2, … one after the other. Columns are scaled within each sample. It is not symmetric, and
/// below 0 where a sample of all rows fills fewer bins than one of a label does. The baseline
/// of DSMI in the published DSE code (Liu et al. 2024; R = 5 samples without replacement).
///
/// # Errors
/// Those of [`binned_entropy`]; [`Error::Shape`] where there is not one label for each row, or
/// `samples` is not R×N with R above 0; [`Error::Value`] where a sample is not a row.
///
/// ```
/// use ndarray::array;
/// use surprisal::classical::binned_mutual_information;
///
/// let features = array![[0.0], [0.1], [0.9], [1.0]];
/// // Two rows of all, for each of two labels: from both halves, then from one.
/// let samples = array![[0, 3, 1, 2], [0, 2, 0, 3]];
/// let bits = binned_mutual_information(features.view(), &[7, -1, 7, -1], 2, samples.view())?;
/// assert_eq!(bits, 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn binned_mutual_information<'a>(
    features: impl Into<Matrix<'a>>,
    labels: &[i64],
    bins: usize,
    samples: ArrayView2<'_, usize>,
) -> Result<f64> {
    information(features.into(), labels, bins, samples)
}

fn information(
    features: Matrix<'_>,
    labels: &[i64],
    bins: usize,
    samples: ArrayView2<'_, usize>,
) -> Result<f64> {
    let bins = check_bins(bins)?;
    let points = Points::new("features", features)?;
    let rows = points.len();
    check_labels(labels, rows)?;
    if samples.nrows() == 0 || samples.ncols() != rows {
        return Err(Error::Shape {
            argument: "samples",
            found: samples.shape().to_vec(),
            expected: format!("[R, {rows}], R at least 1"),
        });
    }
    if let Some((index, row)) = samples.indexed_iter().find(|(_, row)| **row >= rows) {
        return Err(Error::Value {
            argument: "samples",
            index: vec![index.0, index.1],
            value: row.to_string(),
            expected: "a row of the features",
        });
    }
    let (mut information, mut start) = (0.0, 0);
    for class in rows_by_label(labels) {
        let columns = start..start + class.len();
        let mut marginal = 0.0;
        for sample in samples.slice_axis(Axis(1), columns.clone().into()).rows() {
            marginal += entropy(&points.select(&sample.to_vec()), bins)?;
        }
        let conditional = entropy(&points.select(&class), bins)?;
        let weight = class.len() as f64 / rows as f64;
        information += weight * (marginal / samples.nrows() as f64 - conditional);
        start = columns.end;
    }
    Ok(information)
}

fn check_bins(bins: usize) -> Result<u32> {
    u32::try_from(bins).ok().filter(|&bins| bins > 0).ok_or_else(|| Error::Option {
        name: "bins",
        value: bins.to_string(),
        expected: "1 to 2^32 - 1",
    })
}

fn entropy(points: &Points, bins: u32) -> Result<f64> {
    let (rows, width) = (points.len(), points.width());
    let mut cells: Vec<u32> = Vec::new();
    cells
        .try_reserve_exact(rows * width)
        .map_err(|_| Error::TooLarge { what: "the cells of the features".into() })?;
    let scales: Vec<_> = (0..width).map(|column| Scale::of(points, column)).collect();
    cells.extend(
        points.rows().flat_map(|row| row.iter().zip(&scales).map(|(&x, scale)| scale.bin(x, bins))),
    );
    let cell = |row: usize| &cells[row * width..][..width];
    let order = sorted_places(rows, |a, b| cell(a).cmp(cell(b)));
    let counts = order.chunk_by(|&a, &b| cell(a) == cell(b)).map(|rows| rows.len() as f64);
    let total = rows as f64;
    Ok(counts.map(|count| count / total * (total / count).log2()).sum())
}

/// The least and the largest number of a column.
struct Scale {
    least: f64,
    largest: f64,
}

impl Scale {
    fn of(points: &Points, column: usize) -> Self {
        let numbers = points.rows().map(|row| row[column]);
        let (least, largest) = numbers
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), number| {
                (a.min(number), b.max(number))
            });
        Self { least, largest }
    }

    fn bin(&self, number: f64, bins: u32) -> u32 {
        if self.least == self.largest {
            return 0;
        }
        let mut range = self.largest - self.least;
        let mut above = number - self.least;
        if range.is_infinite() {
            range = 0.5 * self.largest - 0.5 * self.least;
            above = 0.5 * number - 0.5 * self.least;
        }
        let scaled = above / range;
        // The cuts are rounded: which side of one a number lies on is decided by the cut itself.
        let width = 1.0 / f64::from(bins);
        let mut bin = ((scaled * f64::from(bins)) as u32).min(bins - 1);
        while bin + 1 < bins && scaled >= f64::from(bin + 1) * width {
            bin += 1;
        }
        while scaled < f64::from(bin) * width {
            bin -= 1;
        }
        bin
    }
}
