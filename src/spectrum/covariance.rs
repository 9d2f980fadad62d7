//! The covariance of features that come in batches.

use ndarray::{Array1, Array2, ArrayView2};
use std::fmt;

use super::features::{
    check_any_rows, check_batch, check_columns, check_not_empty, check_rows, check_within_range,
    exponent, in_blocks, other_columns, power_of_two, root_mean_square,
};
use super::scatter::{BLOCK, Scatter};
use super::{Centering, Precision, Spectrum};
use crate::algebra::symmetric_eigenvalues;
#[cfg(feature = "gpu")]
use crate::algebra::zeros;
use crate::matrix::each;
use crate::{Element, Error, Matrix, Result};

/// What is left of an eigenvalue, in units of the largest, where products are summed in f32, 256 at a time.
#[cfg(feature = "gpu")]
const SINGLE_RESOLUTION: f64 = 16.0 / (1 << 24) as f64;

/// The covariance of features that come in batches, in `f64`.
///
/// Rows are gathered in blocks; each block is centred on its own mean μ_B, and joined to what came
/// before by
///
/// ```text
/// M ← M_A + M_B + δδᵀ n_A n_B / n,   δ = μ_B − μ_A,   M = Σ (x − μ)(x − μ)ᵀ
/// ```
///
/// so that no large means are ever squared; and means are kept relative to the first row. An offset
/// of 1e8 costs the digits that the features themselves have lost to it, no more. Every product is
/// one of two `f64`, of numbers that were converted exactly. The memory is `8·D·(D + 513)` bytes.
///
/// The result has the same bits for any number of threads and any division of the rows into batches.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::Covariance;
///
/// let mut covariance = Covariance::new(2)?;
/// covariance.push(array![[1e8_f64 + 1.0, 0.0], [1e8 - 1.0, 0.0]].view())?;
/// covariance.push(array![[1e8_f64, 1.0], [1e8, -1.0]].view())?;
/// assert_eq!(covariance.covariance()?, array![[2.0 / 3.0, 0.0], [0.0, 2.0 / 3.0]]);
/// assert_eq!(covariance.mean()?, array![1e8, 0.0]);
/// // Flat: two equal eigenvalues.
/// assert_eq!(covariance.spectrum()?.participation_ratio(), 2.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone)]
pub struct Covariance {
    scatter: Scatter,
    /// Eigenvalues below this share of the largest are rounding, whatever the number of rows.
    resolution: f64,
    /// The coarsest of what was pushed.
    precision: Precision,
}

impl Covariance {
    /// No rows yet, of so many columns.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for no columns, or where the environment asks for an
    /// instruction set that is not there; [`TooLarge`](crate::Error::TooLarge) where memory is short.
    pub fn new(columns: usize) -> Result<Self> {
        check_columns(columns)?;
        let scatter = Scatter::new(columns)?;
        Ok(Self { scatter, resolution: 0.0, precision: Precision::F64 })
    }

    /// The covariance of features of any strides, which are read a block of rows at a time: a
    /// memory-mapped file may be larger than memory.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) for a matrix without rows or columns,
    /// [`Value`](crate::Error::Value) for a number that is not finite; as [`new`](Self::new).
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::Covariance;
    /// let covariance = Covariance::from_features(array![[1.0, 2.0], [3.0, 2.0]].view())?;
    /// assert_eq!(covariance.covariance()?, array![[2.0, 0.0], [0.0, 0.0]]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn from_features<'a>(features: impl Into<Matrix<'a>>) -> Result<Self> {
        Self::of_matrix(features.into())
    }

    fn of_matrix(features: Matrix<'_>) -> Result<Self> {
        check_not_empty(&features)?;
        let mut covariance = Self::new(features.dim().1)?;
        each!(features, Matrix, view => {
            in_blocks(view, BLOCK, |block| covariance.push_view(block))
        })?;
        Ok(covariance)
    }

    /// The covariance of features whose products are someone else's: `add` is given the rows about
    /// their mean, divided by a power of two, some at a time, and adds XᵀX (on and above the diagonal) to
    /// what it is given.
    #[cfg(feature = "gpu")]
    pub(crate) fn of_products(
        features: Matrix<'_>,
        rows_at_once: usize,
        add: impl FnMut(ArrayView2<'_, f32>, &mut Array2<f64>) -> Result<()>,
    ) -> Result<Self> {
        check_not_empty(&features)?;
        each!(features, Matrix, view => Self::of_products_of_view(view, rows_at_once, add))
    }

    #[cfg(feature = "gpu")]
    fn of_products_of_view<T: Element>(
        features: ArrayView2<'_, T>,
        rows_at_once: usize,
        mut add: impl FnMut(ArrayView2<'_, f32>, &mut Array2<f64>) -> Result<()>,
    ) -> Result<Self> {
        let mut all = Self::new(features.ncols())?;
        let first = exponent(&features)?;
        let scale = power_of_two(-first);
        let mut mean = zeros(features.ncols(), 1)?;
        for row in features.rows() {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x.to_f64() * scale);
        }
        mean.iter_mut().for_each(|mean| *mean /= features.nrows() as f64);
        let mut largest = 0.0_f64;
        for row in features.rows() {
            let apart = row.iter().zip(&mean).map(|(x, mean)| (x.to_f64() * scale - mean).abs());
            largest = apart.fold(largest, f64::max);
        }
        let second = if largest == 0.0 { 0 } else { largest.log2().ceil() as i32 };
        let narrower = power_of_two(-second);
        for block in features.axis_chunks_iter(ndarray::Axis(0), rows_at_once.max(1)) {
            let mut centred = Array2::<f32>::zeros(block.dim());
            for (mut to, from) in centred.rows_mut().into_iter().zip(block.rows()) {
                for ((to, x), mean) in to.iter_mut().zip(from).zip(&mean) {
                    *to = ((x.to_f64() * scale - mean) * narrower) as f32;
                }
            }
            add(centred.view(), &mut all.scatter.products)?;
        }
        all.scatter.rows = features.nrows();
        all.scatter.exponent = first + second;
        all.scatter.pivot = mean.into_iter().map(|mean| mean * power_of_two(first)).collect();
        all.resolution = SINGLE_RESOLUTION;
        all.precision = Precision::of::<T>();
        Ok(all)
    }

    /// Adds the rows of a batch, which is checked before any of them is taken.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) for another number of columns, [`Value`](crate::Error::Value)
    /// for a number that is not finite: the accumulator is as before.
    pub fn push<'a>(&mut self, batch: impl Into<Matrix<'a>>) -> Result<()> {
        self.push_matrix(batch.into())
    }

    fn push_matrix(&mut self, batch: Matrix<'_>) -> Result<()> {
        each!(batch, Matrix, view => self.push_view(view))
    }

    fn push_view<T: Element>(&mut self, batch: ArrayView2<'_, T>) -> Result<()> {
        check_batch(&batch, self.scatter.columns, self.scatter.rows)?;
        let exponent = exponent(&batch)?;
        if batch.nrows() == 0 {
            return Ok(());
        }
        self.declare_precision(Precision::of::<T>());
        self.scatter.push(batch, exponent);
        Ok(())
    }

    /// Declares that the features were computed in something coarser than their type: see
    /// [`Precision`]. The coarsest of what was pushed, merged and declared holds.
    ///
    /// ```
    /// use surprisal::spectrum::{Covariance, Precision};
    /// let mut covariance = Covariance::new(2)?;
    /// covariance.declare_precision(Precision::BF16);
    /// covariance.push(ndarray::array![[1.0, 0.0], [0.0, 1.0]].view())?;
    /// assert_eq!(covariance.spectrum()?.precision(), Precision::BF16);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn declare_precision(&mut self, precision: Precision) {
        self.precision = self.precision.coarser(precision);
    }

    /// Adds the rows that another accumulator has seen.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for another number of columns,
    /// [`TooLarge`](crate::Error::TooLarge) for rows that cannot be counted.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::Covariance;
    /// let mut all = Covariance::from_features(array![[1.0, 0.0], [-1.0, 0.0]].view())?;
    /// all.merge(&Covariance::from_features(array![[0.0, 1.0], [0.0, -1.0]].view())?)?;
    /// assert_eq!(all.covariance()?, array![[2.0 / 3.0, 0.0], [0.0, 2.0 / 3.0]]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn merge(&mut self, other: &Covariance) -> Result<()> {
        if other.columns() != self.columns() {
            return Err(other_columns(other.columns(), self.columns()));
        }
        check_rows(self.rows(), other.rows())?;
        self.declare_precision(other.precision);
        if other.rows() == 0 {
            return Ok(());
        }
        if self.rows() == 0 {
            *self = Self { precision: self.precision, ..other.clone() };
            return Ok(());
        }
        self.scatter.merge(&other.scatter);
        self.resolution = self.resolution.max(other.resolution);
        Ok(())
    }

    /// How many rows have been pushed.
    pub fn rows(&self) -> usize {
        self.scatter.rows
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.scatter.columns
    }

    /// The mean of the rows, of length D.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) where there are no rows; [`Value`](crate::Error::Value) where
    /// it is beyond `f64`.
    pub fn mean(&self) -> Result<Array1<f64>> {
        check_any_rows(self.rows(), self.columns())?;
        let folded = self.scatter.folded();
        let scale = power_of_two(folded.exponent);
        let mean = folded.mean.iter().zip(&folded.pivot).map(|(mean, pivot)| mean * scale + pivot);
        let mean: Array1<f64> = mean.collect();
        check_within_range(mean.as_slice().expect("just collected"))?;
        Ok(mean)
    }

    /// The covariance `Σ (x − μ)(x − μ)ᵀ / (N − 1)`, D×D.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) where there are fewer than two rows;
    /// [`Value`](crate::Error::Value) where a variance is beyond `f64`.
    pub fn covariance(&self) -> Result<Array2<f64>> {
        if self.rows() < 2 {
            return Err(Error::Shape {
                argument: "features",
                found: vec![self.rows(), self.columns()],
                expected: "at least two rows".into(),
            });
        }
        let scale = power_of_two(self.scatter.exponent);
        let count = (self.rows() - 1) as f64;
        let mut matrix = self.scatter.folded().symmetric()?;
        matrix.mapv_inplace(|x| x / count * scale * scale);
        check_within_range(&matrix.diag().to_vec())?;
        Ok(matrix)
    }

    /// The singular values of the centred features so far, the roots of the eigenvalues of M; more
    /// rows may be pushed after.
    ///
    /// Eigenvalues carry an error of about `2⁻⁵²·λ₁`, and their roots one of about `1e-8·σ₁`.
    /// Eigenvalues below `max(N, D)·2⁻⁵²·λ₁` are rounding and become 0, so that a rank that is
    /// missing is missing here too; what the rounding of the features themselves has left is for
    /// [`Spectrum::noise_floor`]. The measures of the covariance are as good as from a
    /// [`Factor`](super::Factor); for those of small singular values take that.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) where there are no rows; [`Value`](crate::Error::Value) where
    /// a singular value is beyond `f64`; [`TooLarge`](crate::Error::TooLarge) where memory is short.
    pub fn spectrum(&self) -> Result<Spectrum> {
        let (rows, columns) = (self.rows(), self.columns());
        check_any_rows(rows, columns)?;
        let folded = self.scatter.folded();
        let scale = power_of_two(folded.exponent);
        let pivot = folded.pivot.iter().map(|x| x / scale);
        let mean: Vec<f64> = pivot.zip(&folded.mean).map(|(x, mean)| x + mean).collect();
        let mut values = symmetric_eigenvalues(folded.symmetric()?)?;
        let resolution = (rows.max(columns) as f64 * f64::EPSILON).max(self.resolution);
        let least = values[0].max(0.0) * resolution;
        values.truncate(rows.min(columns));
        for value in &mut values {
            *value = if *value > least { value.sqrt() } else { 0.0 };
        }
        let shape = (rows, columns);
        let rms = root_mean_square(&values, Some(&mean), shape);
        values.iter_mut().for_each(|x| *x *= scale);
        check_within_range(&values)?;
        let spectrum = Spectrum::new(values, shape, Centering::Centered, resolution.sqrt());
        Ok(spectrum.known_to(self.precision, rms * scale))
    }
}

impl fmt::Debug for Covariance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Covariance")
            .field("rows", &self.rows())
            .field("columns", &self.columns())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::{self, Buffer, PANEL, Panels, Rows, Store};
    use crate::parallel;
    use crate::random::Generator;
    use crate::simd::Isa;
    use ndarray::{Axis, s};
    use std::time::Instant;

    /// Billions of operations a second.
    fn rate(name: &str, operations: f64, mut run: impl FnMut()) -> f64 {
        let mut seconds: Vec<f64> = (0..5)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_unstable_by(f64::total_cmp);
        let rate = operations / seconds[2] / 1e9;
        println!(
            "{name}: {rate:.1} GF/s, {:.3} s ({:.3} to {:.3})",
            seconds[2], seconds[0], seconds[4]
        );
        rate
    }

    /// The covariance against plain products of `f64`, and those of `faer`, in one run.
    #[test]
    #[ignore = "takes a minute; run alone, with --release, on a quiet machine"]
    fn speed() {
        let (rows, columns) = (25_600, 2048);
        let mut generator = Generator::new(1);
        let features = Array2::from_shape_simple_fn((rows, columns), || generator.symmetric());
        println!("{} threads, {}", parallel::threads(), Isa::current().expect("set").name());

        // A block by itself, all of it, as often as there are blocks: no conversion and no symmetry.
        let block = features.slice(s![..BLOCK, ..]).mapv(f64::from);
        let mut panels = Buffer::zeros(gemm::panels_length(BLOCK, columns));
        let length = panels.get().len();
        let of_rows = block.rows().into_iter().map(|row| row.to_slice().expect("a row"));
        gemm::pack_rows(of_rows, 0, BLOCK, panels.sized(length));
        let mut product = Array2::<f64>::zeros((columns, columns));
        let operations = 2.0 * rows as f64 * (columns * columns) as f64;
        let own = rate("products of f64", operations, || {
            for _ in 0..rows / BLOCK {
                let strips = product.axis_chunks_iter_mut(Axis(0), PANEL).enumerate().collect();
                let mut workers = vec![(); parallel::threads()];
                parallel::for_each(&mut workers, strips, |(), (q, mut to)| {
                    let right = Panels::new(panels.get(), BLOCK);
                    let left = &panels.get()[q * BLOCK * PANEL..][..BLOCK * PANEL];
                    let isa = Isa::current().expect("set");
                    let rows = Rows::From(0, BLOCK);
                    gemm::add_columns(isa, left, right, rows, 0..columns, Store::Add, &mut to);
                });
            }
        });
        let wide = features.slice(s![..8 * BLOCK, ..]).mapv(f64::from);
        let wide = wide.as_slice().expect("standard layout");
        let (depth, times) = (8 * BLOCK, rows / (8 * BLOCK));
        let left = faer::MatRef::from_row_major_slice(wide, depth, columns);
        let mut to = faer::Mat::<f64>::zeros(columns, columns);
        let operations = 2.0 * (times * depth) as f64 * (columns * columns) as f64;
        let par = crate::algebra::parallelism();
        let theirs = rate("products of f64 by faer", operations, || {
            for _ in 0..times {
                let add = faer::Accum::Add;
                faer::linalg::matmul::matmul(&mut to, add, left.transpose(), left, 1.0, par);
            }
        });
        let operations = rows as f64 * columns as f64 * (columns + 1) as f64;
        let covariance = rate("covariance of f32", operations, || {
            let covariance = Covariance::from_features(features.view()).expect("rows");
            assert_eq!(covariance.scatter.folded().rows, rows);
        });
        println!("{:.2} of ours, {:.2} of faer's", covariance / own, covariance / theirs);
    }
}
