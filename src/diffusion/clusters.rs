//! Categories of what is not a label.

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::matrix::each;
use crate::random::Generator;
use crate::{Element, Error, Matrix, Result, Vector};

/// Equal-width bins of a scalar between its least and its largest value: bin b holds
/// b/bins ≤ (x − min)/(max − min) < (b+1)/bins, the last the maximum too. All are bin 0 where the scalar
/// is constant.
///
/// ```
/// use surprisal::diffusion::equal_width_bins;
/// let scalar = ndarray::array![0.0, 0.24, 0.5, 1.0];
/// assert_eq!(equal_width_bins(scalar.view(), 4)?, [0, 0, 2, 3]);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Option`] for no bins or more than 2³²−1, [`Error::Value`] for NaN and infinity.
pub fn equal_width_bins<'a>(scalar: impl Into<Vector<'a>>, bins: usize) -> Result<Vec<i64>> {
    bins_of(scalar.into().to_vec(), bins)
}

fn bins_of(values: Vec<f64>, bins: usize) -> Result<Vec<i64>> {
    if u32::try_from(bins).ok().is_none_or(|bins| bins == 0) {
        let value = bins.to_string();
        return Err(Error::Option { name: "bins", value, expected: "1 to 2^32 - 1" });
    }
    if let Some(at) = values.iter().position(|x| !x.is_finite()) {
        return Err(Error::not_finite("scalar", &[at], values[at]));
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Halves: the difference of two finite numbers may be infinite.
    let width = 0.5 * high - 0.5 * low;
    Ok(values
        .iter()
        .map(|x| {
            let share = if width > 0.0 { (0.5 * x - 0.5 * low) / width } else { 0.0 };
            // The left edges b/bins, as they are rounded.
            let mut bin = ((share * bins as f64) as usize).min(bins - 1);
            while bin + 1 < bins && (bin + 1) as f64 / bins as f64 <= share {
                bin += 1;
            }
            while bin > 0 && bin as f64 / bins as f64 > share {
                bin -= 1;
            }
            bin as i64
        })
        .collect())
}

/// Clusters of the rows by k-means: k-means++ seeding (Arthur and Vassilvitskii 2007), then Lloyd's
/// iterations, 100 at most, until no row moves; of 8 such runs the one with the smallest sum of squared
/// distances to the centres. An empty cluster keeps its centre; fewer distinct rows than `clusters` give
/// fewer clusters.
///
/// ```
/// use surprisal::diffusion::k_means;
/// let rows = ndarray::array![[0.0, 0.1], [9.0, 9.1], [0.1, 0.0], [9.1, 9.0]];
/// let clusters = k_means(rows.view(), 2, 0)?;
/// assert!(clusters[0] == clusters[2] && clusters[1] == clusters[3] && clusters[0] != clusters[1]);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Option`] for no clusters, [`Error::Shape`] for no rows or columns, [`Error::Value`] for NaN
/// and infinity.
pub fn k_means<'a>(rows: impl Into<Matrix<'a>>, clusters: usize, seed: u64) -> Result<Vec<i64>> {
    clusters_of(rows.into(), clusters, seed)
}

fn clusters_of(rows: Matrix<'_>, clusters: usize, seed: u64) -> Result<Vec<i64>> {
    if clusters == 0 {
        let value = "0".into();
        return Err(Error::Option { name: "clusters", value, expected: "at least 1" });
    }
    let points = each!(rows, Matrix, view => scaled(view))?;
    let best = (0..RUNS)
        .map(|run| one_run(&points, clusters, &mut Generator::stream(seed, run)))
        .min_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(best.expect("at least one run").1)
}

/// The rows over their largest magnitude, so that no square overflows.
fn scaled<T: Element>(rows: ArrayView2<'_, T>) -> Result<Array2<f64>> {
    let (n, columns) = rows.dim();
    if n == 0 || columns == 0 {
        return Err(Error::empty_matrix("reference", &[n, columns]));
    }
    let mut largest = 0.0_f64;
    for ((i, j), x) in rows.indexed_iter() {
        let x = x.to_f64();
        if !x.is_finite() {
            return Err(Error::not_finite("reference", &[i, j], x));
        }
        largest = largest.max(x.abs());
    }
    let scale = if largest > 0.0 { largest } else { 1.0 };
    Ok(rows.mapv(|x| x.to_f64() / scale))
}

/// Runs of k-means, each from seeds of its own.
const RUNS: u64 = 8;

/// The sum of squared distances, and the cluster of each row.
fn one_run(points: &Array2<f64>, clusters: usize, random: &mut Generator) -> (f64, Vec<i64>) {
    let (n, columns) = points.dim();
    let mut centres = Array2::zeros((0, columns));
    let mut nearest = vec![f64::INFINITY; n];
    let mut next = ((random.uniform() * n as f64) as usize).min(n - 1);
    while centres.nrows() < clusters {
        let centre = points.row(next);
        centres.push_row(centre).expect("a row of the same length");
        for (nearest, point) in nearest.iter_mut().zip(points.rows()) {
            *nearest = nearest.min(squared_distance(point, centre));
        }
        let total: f64 = nearest.iter().sum();
        if total <= 0.0 {
            break;
        }
        let mut left = random.uniform() * total;
        let farther = |(_, d): &(usize, &f64)| {
            left -= **d;
            left < 0.0
        };
        let drawn = nearest.iter().enumerate().find(farther).map(|(i, _)| i);
        next = drawn.unwrap_or_else(|| {
            nearest.iter().rposition(|&d| d > 0.0).expect("the total is above 0")
        });
    }
    let mut labels = vec![0; n];
    let mut spread = 0.0;
    for _ in 0..100 {
        let mut moved = false;
        spread = 0.0;
        for (label, point) in labels.iter_mut().zip(points.rows()) {
            let mut best = (f64::INFINITY, 0);
            for (k, centre) in centres.rows().into_iter().enumerate() {
                let squared = squared_distance(point, centre);
                if squared < best.0 {
                    best = (squared, k as i64);
                }
            }
            spread += best.0;
            moved |= *label != best.1;
            *label = best.1;
        }
        if !moved {
            break;
        }
        let mut counts = vec![0.0; centres.nrows()];
        let mut sums = Array2::zeros(centres.dim());
        for (&label, point) in labels.iter().zip(points.rows()) {
            counts[label as usize] += 1.0;
            let mut sum = sums.row_mut(label as usize);
            sum += &point;
        }
        for ((mut centre, sum), count) in
            centres.rows_mut().into_iter().zip(sums.rows()).zip(counts)
        {
            if count > 0.0 {
                centre.assign(&sum.mapv(|x| x / count));
            }
        }
    }
    (spread, labels)
}

fn squared_distance(x: ArrayView1<'_, f64>, y: ArrayView1<'_, f64>) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum()
}
