//! The singular values themselves.

use super::Precision;

/// Whether the mean of each column is subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Centering {
    /// The features as they are.
    Raw,
    /// The features less the mean of each column.
    Centered,
}

/// The singular values of an `N×D` feature matrix, and what they say.
///
/// Exactly `min(N, D)` values in descending order, zeros included. They come from the triangular
/// factor of the features ([`Factor`](super::Factor)), never from the squares in a Gram matrix: each is
/// off by a small multiple of `2⁻⁵³·σ₁`, so that one of `1e-14·σ₁` is still there. Only a spectrum that
/// was taken from a [`Covariance`](super::Covariance) has lost what is below `1e-8·σ₁` or so.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::{Centering, Spectrum};
///
/// // Two equal rows and their mean: of rank 1, and of rank 0 when centred.
/// let features = array![[1.0, 2.0, 2.0], [1.0, 2.0, 2.0]];
/// let raw = Spectrum::from_features(features.view(), Centering::Raw)?;
/// assert!((raw.singular_values()[0] - 18.0_f64.sqrt()).abs() < 1e-14);
/// assert_eq!((raw.singular_values().len(), raw.rank()), (2, 1));
/// let centered = Spectrum::from_features(features.view(), Centering::Centered)?;
/// assert_eq!(centered.singular_values(), [0.0, 0.0]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    values: Vec<f64>,
    rows: usize,
    columns: usize,
    centering: Centering,
    /// What is no more than this times the largest value is rounding of the computation.
    resolution: f64,
    precision: Precision,
    /// The root mean square of the features before they were centred.
    rms: f64,
}

impl Spectrum {
    /// Values in descending order, min(rows, columns) of them.
    pub(super) fn new(
        values: Vec<f64>,
        (rows, columns): (usize, usize),
        centering: Centering,
        resolution: f64,
    ) -> Self {
        debug_assert_eq!(values.len(), rows.min(columns));
        let precision = Precision::F64;
        Self { values, rows, columns, centering, resolution, precision, rms: 0.0 }
    }

    /// Of features of this precision and root mean square.
    pub(super) fn known_to(mut self, precision: Precision, rms: f64) -> Self {
        (self.precision, self.rms) = (precision, rms);
        self
    }

    /// The singular values in descending order: exactly `min(N, D)`.
    pub fn singular_values(&self) -> &[f64] {
        &self.values
    }

    /// N, the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// D, the number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whether the features were centred.
    pub fn centering(&self) -> Centering {
        self.centering
    }

    /// Declares that the features were computed in something coarser than their type, for instance in
    /// `f32` and stored in `f64`.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Precision, Spectrum};
    /// let features = array![[1.0, 1.0], [1.0, 1.0 + 1e-8], [0.0, 0.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Raw)?;
    /// assert_eq!(spectrum.rank(), 2);
    /// assert_eq!(spectrum.with_precision(Precision::F32).rank(), 1);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    #[must_use]
    pub fn with_precision(mut self, precision: Precision) -> Self {
        self.precision = self.precision.coarser(precision);
        self
    }

    /// How precisely the features are known: that of the coarsest type among them, and of what was
    /// declared.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What a singular value that is zero may have become, in the units of the features: the larger of
    ///
    /// ```text
    /// max(N, D)·2⁻⁵²·σ₁                                  rounding of the decomposition
    /// √r · √(ε² rms(X)² + s²) / √12 · (√N + √D + 2)      rounding of the features: see Precision
    /// ```
    ///
    /// Of a spectrum that was taken from a [`Covariance`](super::Covariance) the first is
    /// `√(max(N, D)·2⁻⁵²)·σ₁`. Singular values up to the floor are rounding, whatever they look like;
    /// those above it have more signal than noise.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = Array2::<f32>::eye(4);
    /// let floor = Spectrum::from_features(features.view(), Centering::Raw)?.noise_floor();
    /// // √64·ε·½/√12·(2 + 2 + 2)
    /// assert!((floor / f64::from(f32::EPSILON) - 6.928203230275509).abs() < 1e-12);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn noise_floor(&self) -> f64 {
        let of_features = self.precision.noise_floor(self.rms, (self.rows, self.columns));
        of_features.max(self.resolution * self.largest())
    }

    /// The numerical rank: how many singular values exceed the [noise floor](Self::noise_floor).
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[1.0, 1.0], [1.0, 1.0 + 1e-12], [0.0, 0.0]];
    /// assert_eq!(Spectrum::from_features(features.view(), Centering::Raw)?.rank(), 2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn rank(&self) -> usize {
        let least = self.noise_floor();
        self.values.iter().filter(|&&value| value > least).count()
    }

    /// The share of each eigenvalue of the covariance (or, raw, of the second moment) in their sum:
    /// `σ_i² / Σσ²`, what is called the explained variance ratio. Empty where all values are zero.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::{Centering, Spectrum};
    /// let features = array![[3.0, 0.0], [0.0, 1.0]];
    /// let spectrum = Spectrum::from_features(features.view(), Centering::Raw)?;
    /// assert!((spectrum.explained_variance()[0] - 0.9).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn explained_variance(&self) -> Vec<f64> {
        let largest = self.largest();
        if largest == 0.0 {
            return Vec::new();
        }
        let squares: Vec<f64> = self.values.iter().map(|x| (x / largest).powi(2)).collect();
        let sum: f64 = squares.iter().rev().sum();
        squares.iter().map(|x| x / sum).collect()
    }

    /// The share of each singular value in their sum; empty where all are zero.
    pub(super) fn shares(&self) -> Vec<f64> {
        let largest = self.largest();
        if largest == 0.0 {
            return Vec::new();
        }
        let relative: Vec<f64> = self.values.iter().map(|x| x / largest).collect();
        let sum: f64 = relative.iter().rev().sum();
        relative.iter().map(|x| x / sum).collect()
    }

    /// The largest value.
    pub(super) fn largest(&self) -> f64 {
        self.values.first().copied().unwrap_or(0.0)
    }

    /// Up to which share of the largest eigenvalue of the covariance one has no part in an entropy of this
    /// order; 1 where none has. From order 1 on what the features' rounding has left weighs no more than it
    /// is.
    pub(super) fn resolution_of_eigenvalues(&self, order: f64) -> f64 {
        let computed = self.resolution;
        let share = if order < 1.0 { self.noise_floor() / self.largest() } else { computed };
        if share < 1.0 { share * share } else { 1.0 }
    }
}
