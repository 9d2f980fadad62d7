//! Rows of length 1, which have a direction alone.

use ndarray::{Array2, ArrayView2, Axis};

use super::features::{check_not_empty, exponent, normalize};
use super::{Centering, Factor, Precision, Spectrum};
use crate::algebra::zeros;
use crate::matrix::each;
use crate::{Element, Error, Matrix, Result};

/// Rows that are normalised at a time: the copy of a block stays small. Not measured.
const BLOCK: usize = 256;

/// Rows divided by their Euclidean lengths, in `f64`, and how precisely they are known; an error where a
/// row is zero.
pub(super) fn unit_rows(features: Matrix<'_>) -> Result<(Array2<f64>, Precision)> {
    check_not_empty(&features)?;
    each!(features, Matrix, view => unit_rows_of(view))
}

fn unit_rows_of<T: Element>(features: ArrayView2<'_, T>) -> Result<(Array2<f64>, Precision)> {
    exponent(&features)?;
    let (rows, columns) = features.dim();
    let mut data = zeros(rows, columns)?;
    let squares = normalize_rows(features, 0, &mut data)?;
    let rows = Array2::from_shape_vec((rows, columns), data).expect("so many numbers");
    Ok((rows, precision::<T>(squares, features.nrows())))
}

/// The spectrum of the rows divided by their lengths, a block of them at a time.
pub(super) fn unit_spectrum(features: Matrix<'_>) -> Result<Spectrum> {
    check_not_empty(&features)?;
    each!(features, Matrix, view => unit_spectrum_of(view))
}

fn unit_spectrum_of<T: Element>(features: ArrayView2<'_, T>) -> Result<Spectrum> {
    exponent(&features)?;
    let (rows, columns) = features.dim();
    let mut factor = Factor::new(columns, Centering::Raw)?;
    factor.reserve(rows)?;
    let mut data = zeros(BLOCK.min(rows), columns)?;
    let mut squares = 0.0;
    for (i, block) in features.axis_chunks_iter(Axis(0), BLOCK).enumerate() {
        let data = &mut data[..block.len()];
        squares += normalize_rows(block, i * BLOCK, data)?;
        factor.push(ArrayView2::from_shape(block.dim(), data).expect("so many numbers"))?;
    }
    factor.declare_precision(precision::<T>(squares, rows));
    factor.into_spectrum()
}

/// Of unit rows: what is absolute is divided by the lengths.
fn precision<T: Element>(squares: f64, rows: usize) -> Precision {
    Precision::of::<T>().with_absolute((squares / rows as f64).sqrt())
}

/// Σ (s/length)² of rows, the first of which stands at `first`, with s the type's absolute error.
fn normalize_rows<T: Element>(
    features: ArrayView2<'_, T>,
    first: usize,
    data: &mut [f64],
) -> Result<f64> {
    let absolute = Precision::of::<T>().absolute();
    let mut squares = 0.0;
    let rows = data.chunks_exact_mut(features.ncols()).zip(features.rows());
    for (i, (to, from)) in rows.enumerate() {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.to_f64();
        }
        let length = normalize(to);
        if length == 0.0 {
            return Err(Error::Value {
                argument: "features",
                index: vec![first + i],
                value: "a row of zeros".into(),
                expected: "a row with a direction",
            });
        }
        squares += (absolute / length).powi(2);
    }
    Ok(squares)
}
