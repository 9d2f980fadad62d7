//! Quantisation with a step for each element, of its row's and its column's largest.

use ndarray::Array2;

use crate::error::{Error, Result, short};
use crate::matrix::Matrix;

/// Activations in b bits, symmetrically around 0, with the step
///
/// ```text
/// Δ_ij = t_i^α c_j^(1−α) / (2^(b−1) − 1)      q = round(x/Δ), half to even      x̂ = q Δ
/// ```
///
/// of the largest magnitudes t_i of the row (a token) and c_j of the column (a channel). α = 1 is the usual step of a
/// token, whose few large channels make the kernel large: the elements with |x| ≤ Δ/2, which become 0. α = 0.15 is
/// published. No element is ever clipped: |x| ≤ min(t, c) ≤ t^α c^(1−α). A row or column of zeros has steps of 0 (but a
/// power of 0 is 1), and stays 0.
///
/// Liu et al. 2024, *CrossQuant: A Post-Training Quantization Method with Smaller Quantization Kernel for Precise Large
/// Language Model Compression*. Cases in `conformance/geometry.jsonl` and `conformance/information.jsonl`: `crossquant`.
///
/// ```
/// use surprisal::rates::CrossQuant;
/// let activations = ndarray::arr2(&[[0.1_f32, 40.0], [-0.1, 35.0]]);
/// let crossed = CrossQuant::new(0.15, 8)?.quantize(&activations)?;
/// let by_token = CrossQuant::new(1.0, 8)?.quantize(&activations)?;
/// assert_eq!(crossed.integers, ndarray::arr2(&[[52, 127], [-53, 113]]));
/// assert_eq!((crossed.kernel_fraction(), by_token.kernel_fraction()), (0.0, 0.5));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossQuant {
    alpha: f64,
    levels: f64,
}

/// A quantised matrix.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Quantized {
    /// Δ of each element `[n,m]`.
    pub steps: Array2<f64>,
    /// q of each element `[n,m]`.
    pub integers: Array2<i32>,
    /// The mean of (x − qΔ)².
    pub mean_squared_error: f64,
}

impl CrossQuant {
    /// With this exponent of the rows and so many bits.
    ///
    /// # Errors
    /// [`Error::Option`] for an α that is not from 0 to 1, and for bits that are not from 2 to 16.
    pub fn new(alpha: f64, bits: u32) -> Result<Self> {
        if !(0.0..=1.0).contains(&alpha) {
            let expected = "a number from 0 to 1";
            return Err(Error::Option { name: "alpha", value: short(alpha), expected });
        }
        if !(2..=16).contains(&bits) {
            let expected = "a whole number from 2 to 16";
            return Err(Error::Option { name: "bits", value: bits.to_string(), expected });
        }
        Ok(Self { alpha, levels: f64::from((1_u32 << (bits - 1)) - 1) })
    }

    /// A matrix of activations `[n,m]`, quantised.
    ///
    /// # Errors
    /// [`Error::Shape`] for a matrix without rows or columns; [`Error::Value`] for an element that is not finite.
    pub fn quantize<'a>(&self, activations: impl Into<Matrix<'a>>) -> Result<Quantized> {
        self.quantize_here(activations.into())
    }

    fn quantize_here(&self, activations: Matrix<'_>) -> Result<Quantized> {
        let (rows, columns) = activations.dim();
        if rows == 0 || columns == 0 {
            return Err(Error::empty_matrix("activations", &[rows, columns]));
        }
        let (mut of_rows, mut of_columns) = (vec![0.0_f64; rows], vec![0.0_f64; columns]);
        for (i, row) in of_rows.iter_mut().enumerate() {
            for (j, column) in of_columns.iter_mut().enumerate() {
                let x = activations.at(i, j);
                if !x.is_finite() {
                    return Err(Error::not_finite("activations", &[i, j], x));
                }
                *row = row.max(x.abs());
                *column = column.max(x.abs());
            }
        }
        let powers = |largest: Vec<f64>, power: f64| -> Vec<f64> {
            largest.into_iter().map(|x| x.powf(power)).collect()
        };
        let (of_rows, of_columns) =
            (powers(of_rows, self.alpha), powers(of_columns, 1.0 - self.alpha));
        let step = |(i, j): (usize, usize)| of_rows[i] * of_columns[j] / self.levels;
        let steps = Array2::from_shape_fn((rows, columns), step);
        let integer = |(i, j): (usize, usize)| match steps[[i, j]] {
            0.0 => 0,
            // Within the levels, but for a step below the least normal number, which has lost digits.
            step => {
                let quotient = (activations.at(i, j) / step).round_ties_even();
                quotient.clamp(-self.levels, self.levels) as i32
            }
        };
        let integers = Array2::from_shape_fn((rows, columns), integer);
        let off = |((i, j), &q): ((usize, usize), &i32)| {
            let difference = activations.at(i, j) - f64::from(q) * steps[[i, j]];
            difference * difference
        };
        let squares: f64 = integers.indexed_iter().map(off).sum();
        let mean_squared_error = squares / (rows as f64 * columns as f64);
        Ok(Quantized { steps, integers, mean_squared_error })
    }
}

impl Quantized {
    /// x̂ = q Δ `[n,m]`.
    pub fn dequantized(&self) -> Array2<f64> {
        let mut values = self.steps.clone();
        values.zip_mut_with(&self.integers, |value, &q| *value *= f64::from(q));
        values
    }

    /// The size of the kernel: the share of elements that are 0 now, those that were 0 before among them.
    pub fn kernel_fraction(&self) -> f64 {
        let zeros = self.integers.iter().filter(|&&q| q == 0).count();
        zeros as f64 / self.integers.len() as f64
    }
}
