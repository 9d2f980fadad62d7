//! The triangular factor of features that come in batches.

use ndarray::{ArrayView2, s};

use super::features::{
    LEAST_EXPONENT, check_any_rows, check_batch, check_columns, check_not_empty, check_rows,
    check_within_range, exponent, in_blocks, other_columns, power_of_two, root_mean_square,
};
use super::{Centering, Precision, Spectrum};
use crate::algebra::{singular_values_in_place, triangular_factor, zeros};
use crate::matrix::each;
use crate::parallel;
use crate::{Element, Error, Matrix, Result};

/// Numbers of a block where columns are few: 1 MiB of f64, which stays in a cache while its reflections are
/// applied. Chosen by that.
const BLOCK: usize = 1 << 17;
/// Rows that memory is taken for at first; it grows with what comes. Not measured.
const FIRST: usize = 64;
/// Columns that a thread converts at a time: 32 tasks at D = 2048. Not measured.
const CHUNK: usize = 64;

/// The triangular factor R of features that come in batches: `RᵀR = XᵀX`, and R has the singular
/// values of X, the small ones included.
///
/// Two factors are joined by an orthogonal decomposition of one above the other,
///
/// ```text
/// raw:      R = qr([R_A; R_B])
/// centred:  R = qr([R_A; R_B; √(n_A n_B / n) (μ_A − μ_B)ᵀ])
/// ```
///
/// which never squares a singular value as a Gram matrix does. Means are kept relative to the first
/// row, so that an offset common to all rows costs no digits beyond those that the features
/// themselves have lost to it. Rows are kept until there are enough for a decomposition, so that the
/// result does not depend on how rows are divided into batches. The memory is bounded by
/// `8·(D + max(2·D, 2¹⁷/D) + 1)·D` bytes, whatever N, and the reflections of a decomposition: 32
/// columns (or D, if fewer) of as many rows.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::{Centering, Factor, Spectrum};
///
/// let features = array![[1.0_f32, 5.0], [2.0, 3.0], [4.0, 4.0], [0.0, 1.0]];
/// let mut factor = Factor::new(2, Centering::Centered)?;
/// for row in features.rows() {
///     factor.push(row.insert_axis(ndarray::Axis(0)))?;
/// }
/// let whole = Spectrum::from_features(features.view(), Centering::Centered)?;
/// assert_eq!(factor.spectrum()?, whole);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Factor {
    columns: usize,
    centering: Centering,
    /// The coarsest of what was pushed.
    precision: Precision,
    /// All that have been pushed.
    rows: usize,
    /// What is kept is what was pushed, less `pivot`, times 2^−exponent.
    exponent: i32,
    /// The first row where features are centred, else zeros.
    pivot: Vec<f64>,
    /// The mean of the rows that are in R.
    mean: Vec<f64>,
    /// Columns of `stride` numbers: `head` rows of R, then `pending` rows.
    data: Vec<f64>,
    stride: usize,
    head: usize,
    pending: usize,
}

impl Factor {
    /// No rows yet, of so many columns.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for no columns; [`TooLarge`](crate::Error::TooLarge) where
    /// memory is short.
    pub fn new(columns: usize, centering: Centering) -> Result<Self> {
        check_columns(columns)?;
        let mut factor = Self {
            columns,
            centering,
            precision: Precision::F64,
            rows: 0,
            exponent: LEAST_EXPONENT,
            pivot: zeros(columns, 1)?,
            mean: zeros(columns, 1)?,
            data: Vec::new(),
            stride: 0,
            head: 0,
            pending: 0,
        };
        factor.grow(FIRST.min(factor.limit()))?;
        Ok(factor)
    }

    /// The rows of `data` at most: R, as many rows again twice (or a whole block), and a mean.
    fn limit(&self) -> usize {
        let block = (BLOCK / self.columns).max(self.columns.saturating_mul(2));
        self.columns.saturating_add(block).saturating_add(1)
    }

    /// Makes room for so many rows, if they are few enough to be kept until the end.
    pub(super) fn reserve(&mut self, rows: usize) -> Result<()> {
        self.grow(rows.saturating_add(1).min(self.limit()))
    }

    fn grow(&mut self, stride: usize) -> Result<()> {
        if stride <= self.stride {
            return Ok(());
        }
        let mut data = zeros(stride, self.columns)?;
        if self.stride > 0 {
            let used = self.head + self.pending;
            for (to, from) in data.chunks_mut(stride).zip(self.data.chunks(self.stride)) {
                to[..used].copy_from_slice(&from[..used]);
            }
        }
        (self.data, self.stride) = (data, stride);
        Ok(())
    }

    /// Adds the rows of a batch, which is checked before any of them is taken.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) for another number of columns, [`Value`](crate::Error::Value)
    /// for a number that is not finite: the factor is as before.
    /// [`TooLarge`](crate::Error::TooLarge) where memory is short.
    pub fn push<'a>(&mut self, batch: impl Into<Matrix<'a>>) -> Result<()> {
        self.push_matrix(batch.into())
    }

    fn push_matrix(&mut self, batch: Matrix<'_>) -> Result<()> {
        each!(batch, Matrix, view => self.push_view(view))
    }

    fn push_view<T: Element>(&mut self, batch: ArrayView2<'_, T>) -> Result<()> {
        check_batch(&batch, self.columns, self.rows)?;
        let exponent = exponent(&batch)?;
        self.append(batch, exponent)
    }

    /// Declares that the features were computed in something coarser than their type: see
    /// [`Precision`]. The coarsest of what was pushed, merged and declared holds.
    ///
    /// ```
    /// use surprisal::spectrum::{Centering, Factor, Precision};
    /// let mut factor = Factor::new(3, Centering::Raw)?;
    /// factor.declare_precision(Precision::F32);
    /// factor.push(ndarray::array![[1.0, 0.0, 0.0], [0.0, 1.0, 1e-9]].view())?;
    /// assert_eq!(factor.spectrum()?.precision(), Precision::F32);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn declare_precision(&mut self, precision: Precision) {
        self.precision = self.precision.coarser(precision);
    }

    /// The same in blocks that are checked one by one: the matrix is read once.
    fn push_in_blocks<T: Element>(&mut self, features: ArrayView2<'_, T>) -> Result<()> {
        in_blocks(features, BLOCK / self.columns, |block| self.push_view(block))
    }

    fn append<T: Element>(&mut self, batch: ArrayView2<'_, T>, exponent: i32) -> Result<()> {
        if batch.nrows() == 0 {
            return Ok(());
        }
        self.declare_precision(Precision::of::<T>());
        self.rescale(exponent);
        if self.rows == 0 && self.centering == Centering::Centered {
            for (to, from) in self.pivot.iter_mut().zip(batch.row(0)) {
                *to = from.to_f64();
            }
        }
        let mut first = 0;
        while first < batch.nrows() {
            // A row is left for the means.
            if self.head + self.pending + 1 >= self.limit() {
                self.fold()?;
            }
            let used = self.head + self.pending;
            let wanted = used.saturating_add(batch.nrows() - first).saturating_add(1);
            if wanted > self.stride && self.stride < self.limit() {
                self.grow(wanted.max(2 * self.stride).min(self.limit()))?;
            }
            let count = (self.stride - 1 - used).min(batch.nrows() - first);
            self.put(batch.slice(s![first..first + count, ..]));
            self.pending += count;
            self.rows += count;
            first += count;
        }
        Ok(())
    }

    /// Writes rows behind those that are there.
    fn put<T: Element>(&mut self, rows: ArrayView2<'_, T>) {
        let (stride, at, scale) =
            (self.stride, self.head + self.pending, power_of_two(-self.exponent));
        let pivot = &self.pivot;
        let tasks: Vec<_> = self.data.chunks_mut(CHUNK * stride).enumerate().collect();
        let threads = if rows.len() < 1 << 15 { 1 } else { parallel::threads() };
        parallel::for_each(&mut vec![(); threads], tasks, |(), (chunk, columns)| {
            let first = chunk * CHUNK;
            let width = columns.len() / stride;
            for (i, row) in rows.slice(s![.., first..first + width]).rows().into_iter().enumerate()
            {
                for ((c, x), pivot) in row.iter().enumerate().zip(&pivot[first..]) {
                    columns[c * stride + at + i] = x.to_f64() * scale - pivot * scale;
                }
            }
        });
    }

    /// Makes room for numbers of a larger magnitude.
    fn rescale(&mut self, exponent: i32) {
        if exponent <= self.exponent {
            return;
        }
        let factor = power_of_two(self.exponent - exponent);
        if self.rows > 0 {
            self.data.iter_mut().chain(&mut self.mean).for_each(|x| *x *= factor);
        }
        self.exponent = exponent;
    }

    /// Takes the pending rows into R.
    fn fold(&mut self) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        let mut height = self.head + self.pending;
        if self.centering == Centering::Centered {
            let before = (self.rows - self.pending) as f64;
            let (count, all) = (self.pending as f64, self.rows as f64);
            let weight = (before * count / all).sqrt();
            for (column, mean) in self.data.chunks_mut(self.stride).zip(&mut self.mean) {
                let pending = &mut column[self.head..height];
                let center = pending.iter().sum::<f64>() / count;
                pending.iter_mut().for_each(|x| *x -= center);
                column[height] = weight * (center - *mean);
                *mean += (center - *mean) * (count / all);
            }
            height += usize::from(before > 0.0);
        }
        self.factorize(height)
    }

    /// Makes R of so many rows.
    fn factorize(&mut self, height: usize) -> Result<()> {
        if height > self.columns {
            triangular_factor(&mut self.data, self.stride, height, self.columns)?;
        }
        self.head = height.min(self.columns);
        self.pending = 0;
        Ok(())
    }

    /// Adds the rows that another factor has seen.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for another number of columns,
    /// [`Conflict`](crate::Error::Conflict) where only one of them is centred,
    /// [`TooLarge`](crate::Error::TooLarge) where memory is short.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Factor};
    ///
    /// let mut left = Factor::new(2, Centering::Centered)?;
    /// left.push(array![[1.0, 0.0], [-1.0, 0.0]].view())?;
    /// let mut right = Factor::new(2, Centering::Centered)?;
    /// right.push(array![[0.0, 3.0], [0.0, -3.0]].view())?;
    /// left.merge(&right)?;
    /// let spectrum = left.spectrum()?;
    /// assert!((spectrum.singular_values()[0] - 18.0_f64.sqrt()).abs() < 1e-14);
    /// assert!((spectrum.singular_values()[1] - 2.0_f64.sqrt()).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn merge(&mut self, other: &Factor) -> Result<()> {
        if other.columns != self.columns {
            return Err(other_columns(other.columns, self.columns));
        }
        if other.centering != self.centering {
            return Err(Error::Conflict {
                what: "a centred factor and a raw one are merged, expected two of a kind".into(),
            });
        }
        check_rows(self.rows, other.rows)?;
        self.declare_precision(other.precision);
        if other.rows == 0 {
            return Ok(());
        }
        if self.rows == 0 {
            *self = Self { precision: self.precision, ..other.clone() };
            return Ok(());
        }
        let mut other = other.clone();
        other.fold()?;
        self.fold()?;
        self.rescale(other.exponent);
        other.rescale(self.exponent);
        let height = self.head + other.head;
        self.grow(height + 1)?;
        let (a, b) = (self.rows as f64, other.rows as f64);
        let (weight, scale) = ((a * b / (a + b)).sqrt(), power_of_two(-self.exponent));
        for c in 0..self.columns {
            let column = &mut self.data[c * self.stride..(c + 1) * self.stride];
            let from = &other.data[c * other.stride..];
            column[self.head..height].copy_from_slice(&from[..other.head]);
            let apart = (other.pivot[c] * scale - self.pivot[c] * scale) + other.mean[c];
            column[height] = weight * (apart - self.mean[c]);
            self.mean[c] += (apart - self.mean[c]) * (b / (a + b));
        }
        self.rows += other.rows;
        let centered = self.centering == Centering::Centered;
        self.factorize(height + usize::from(centered))
    }

    /// How many rows have been pushed.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether the features are centred.
    pub fn centering(&self) -> Centering {
        self.centering
    }

    /// The singular values of all rows so far; more may be pushed after.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) where there are no rows; [`Value`](crate::Error::Value) where
    /// a singular value is beyond `f64`; [`TooLarge`](crate::Error::TooLarge) where memory is short.
    pub fn spectrum(&self) -> Result<Spectrum> {
        self.clone().into_spectrum()
    }

    /// The same without a copy of the accumulator.
    ///
    /// # Errors
    /// As [`spectrum`](Self::spectrum).
    pub fn into_spectrum(mut self) -> Result<Spectrum> {
        check_any_rows(self.rows, self.columns)?;
        self.fold()?;
        let (rows, columns) = (self.rows, self.columns);
        let mut values = singular_values_in_place(&mut self.data, self.stride, self.head, columns)?;
        values.resize(rows.min(columns), 0.0);
        let scale = power_of_two(self.exponent);
        let rms = match self.centering {
            Centering::Raw => root_mean_square(&values, None, (rows, columns)),
            Centering::Centered => {
                let pivot = self.pivot.iter().map(|x| x / scale);
                let mean: Vec<f64> = pivot.zip(&self.mean).map(|(x, mean)| x + mean).collect();
                root_mean_square(&values, Some(&mean), (rows, columns))
            }
        };
        values.iter_mut().for_each(|x| *x *= scale);
        check_within_range(&values)?;
        let resolution = rows.max(columns) as f64 * f64::EPSILON;
        let shape = (rows, columns);
        let spectrum = Spectrum::new(values, shape, self.centering, resolution);
        Ok(spectrum.known_to(self.precision, rms * scale))
    }
}

impl Spectrum {
    /// The singular values of features of any strides, computed in `f64`.
    ///
    /// A matrix with many more rows than columns is folded a block of rows at a time and never copied
    /// whole, so that a memory-mapped file may be larger than memory: see [`Factor`](super::Factor)
    /// for the bytes.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) for a matrix without rows or columns;
    /// [`Value`](crate::Error::Value) for a number that is not finite, or for numbers so large that a
    /// singular value is beyond `f64`; [`TooLarge`](crate::Error::TooLarge) where memory is short.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    ///
    /// let error = Spectrum::from_features(array![[1.0_f32, f32::NAN]].view(), Centering::Raw);
    /// assert_eq!(
    ///     error.unwrap_err().to_string(),
    ///     "features[0, 1] is NaN, expected a finite number",
    /// );
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn from_features<'a>(
        features: impl Into<Matrix<'a>>,
        centering: Centering,
    ) -> Result<Self> {
        Self::of_matrix(features.into(), centering)
    }

    fn of_matrix(features: Matrix<'_>, centering: Centering) -> Result<Self> {
        let (rows, columns) = features.dim();
        check_not_empty(&features)?;
        let mut factor = Factor::new(columns, centering)?;
        factor.reserve(rows)?;
        each!(features, Matrix, view => factor.push_in_blocks(view))?;
        factor.into_spectrum()
    }
}
