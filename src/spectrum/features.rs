//! What is asked of a feature matrix, and how it is brought to a scale at which nothing overflows.

use ndarray::{ArrayView1, ArrayView2, Axis};

use crate::error::short;
use crate::parallel;
use crate::{Element, Error, Matrix, Result};

/// The exponent of numbers that are all zero. Powers of two within these bounds are exact, and so are
/// their reciprocals.
pub(super) const LEAST_EXPONENT: i32 = -1000;
const LARGEST_EXPONENT: i32 = 1000;

/// Refuses a matrix without rows or columns.
pub(super) fn check_not_empty(features: &Matrix<'_>) -> Result<()> {
    match features.dim() {
        (rows, columns) if rows == 0 || columns == 0 => {
            Err(Error::empty_matrix("features", &[rows, columns]))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_columns(columns: usize) -> Result<()> {
    if columns == 0 {
        return Err(Error::Option {
            name: "columns",
            value: "0".into(),
            expected: "a number above 0",
        });
    }
    Ok(())
}

/// Refuses a batch of another width, or one with which the rows are too many to be counted.
pub(super) fn check_batch<T>(batch: &ArrayView2<'_, T>, columns: usize, rows: usize) -> Result<()> {
    if batch.ncols() != columns {
        return Err(Error::Shape {
            argument: "batch",
            found: batch.shape().to_vec(),
            expected: format!("{columns} columns"),
        });
    }
    check_rows(rows, batch.nrows())
}

pub(super) fn check_rows(rows: usize, more: usize) -> Result<()> {
    rows.checked_add(more)
        .map(|_| ())
        .ok_or_else(|| Error::TooLarge { what: format!("a count of {rows} and {more} rows") })
}

pub(super) fn other_columns(found: usize, columns: usize) -> Error {
    Error::Option {
        name: "columns of the other accumulator",
        value: format!("{found} beside {columns}"),
        expected: "as many in both",
    }
}

pub(super) fn check_any_rows(rows: usize, columns: usize) -> Result<()> {
    if rows == 0 {
        return Err(Error::Shape {
            argument: "features",
            found: vec![0, columns],
            expected: "at least one row".into(),
        });
    }
    Ok(())
}

/// Refuses results beyond the largest `f64`.
pub(super) fn check_within_range(values: &[f64]) -> Result<()> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::Value {
            argument: "singular_values",
            index: vec![at],
            value: short(values[at]),
            expected: "features whose norm is within the range of f64",
        }),
    }
}

/// Gives blocks of so many rows (at least one) to `take`, whose errors name the row of the matrix.
pub(super) fn in_blocks<T>(
    features: ArrayView2<'_, T>,
    rows: usize,
    mut take: impl FnMut(ArrayView2<'_, T>) -> Result<()>,
) -> Result<()> {
    for (i, block) in features.axis_chunks_iter(Axis(0), rows.max(1)).enumerate() {
        take(block).map_err(|error| match error {
            Error::Value { argument, mut index, value, expected } => {
                index[0] += i * rows.max(1);
                Error::Value { argument, index, value, expected }
            }
            other => other,
        })?;
    }
    Ok(())
}

/// The exponent of the largest magnitude; an error where a number is not finite.
pub(super) fn exponent<T: Element>(features: &ArrayView2<'_, T>) -> Result<i32> {
    let rows = features.nrows().div_ceil(4 * parallel::threads()).max(1);
    let threads = if features.len() < 1 << 15 { 1 } else { parallel::threads() };
    let mut parts = vec![0.0; features.nrows().div_ceil(rows)];
    let tasks = features.axis_chunks_iter(Axis(0), rows).zip(&mut parts).collect();
    parallel::for_each(&mut vec![(); threads], tasks, |(), (part, largest)| {
        *largest = part.rows().into_iter().map(magnitude).fold(0.0, larger);
    });
    let largest = parts.into_iter().fold(0.0, larger);
    if !largest.is_finite() {
        return Err(not_finite(features));
    }
    if largest == 0.0 {
        return Ok(LEAST_EXPONENT);
    }
    Ok((largest.log2().floor() as i32).clamp(LEAST_EXPONENT, LARGEST_EXPONENT))
}

/// The larger of two magnitudes; infinity, once there is one.
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The largest magnitude of a row; infinity where a number is not finite.
fn magnitude<T: Element>(row: ArrayView1<'_, T>) -> f64 {
    const LANES: usize = 8;
    let Some(row) = row.as_slice() else {
        let finite = |x: f64| if x.is_finite() { x.abs() } else { f64::INFINITY };
        return row.iter().map(|x| finite(x.to_f64())).fold(0.0, larger);
    };
    let (mut largest, mut poison) = ([0.0; LANES], [0.0; LANES]);
    let mut take = |lane: usize, x: f64| {
        largest[lane] = larger(x.abs(), largest[lane]);
        // NaN where x is not finite.
        poison[lane] += x * 0.0;
    };
    let chunks = row.chunks_exact(LANES);
    chunks.remainder().iter().for_each(|x| take(0, x.to_f64()));
    for chunk in chunks {
        for (lane, x) in chunk.iter().enumerate() {
            take(lane, x.to_f64());
        }
    }
    if poison.iter().sum::<f64>() == 0.0 {
        largest.into_iter().fold(0.0, larger)
    } else {
        f64::INFINITY
    }
}

fn not_finite<T: Element>(features: &ArrayView2<'_, T>) -> Error {
    let found = features.indexed_iter().map(|(index, x)| (index, x.to_f64()));
    let ((row, column), value) =
        found.into_iter().find(|(_, x)| !x.is_finite()).expect("a number that is not finite");
    Error::not_finite("features", &[row, column], value)
}

/// √(Σx²/(ND)) of features with these singular values about this mean.
pub(super) fn root_mean_square(
    values: &[f64],
    mean: Option<&[f64]>,
    (rows, columns): (usize, usize),
) -> f64 {
    let squares = |x: &[f64]| x.iter().rev().map(|x| x * x).sum::<f64>();
    let (n, d) = (rows as f64, columns as f64);
    (squares(values) / n / d + mean.map_or(0.0, squares) / d).sqrt()
}

/// 2 to this power; 0 far below.
pub(super) fn power_of_two(exponent: i32) -> f64 {
    2.0_f64.powi(exponent)
}

/// Divides by the Euclidean length, which is returned; a row of zeros stays.
pub(super) fn normalize(row: &mut [f64]) -> f64 {
    let largest = row.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    // Divided twice: squares neither overflow nor vanish, and a reciprocal would be infinite where
    // the largest is subnormal.
    row.iter_mut().for_each(|x| *x /= largest);
    let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    row.iter_mut().for_each(|x| *x /= length);
    largest * length
}
