//! How precisely features are known, and what that leaves of a singular value that is zero.

use crate::{Element, Error, Matrix, Result};

/// How precisely features are known: what each number may be off, relative to it and absolutely.
///
/// What is rounded to the nearest number of a type with spacing ε (the distance from 1 to the next) is
/// off by an error that is uniform in ±ε|x|/2 at most, of standard deviation ε|x|/√12; below the normal
/// numbers the spacing is the least number's, whatever x. Of independent errors of standard deviation ν,
/// an N×D matrix has singular values up to the edge of random-matrix theory, `ν (√N + √D)`, and no more
/// than 2ν above it. Singular values of the features that are zero become as large as that: the **noise
/// floor** is
///
/// ```text
/// √r · √(ε² rms(X)² + s²) / √12 · (√N + √D + 2)
/// ```
///
/// with rms(X) that of the features before they are centred, an offset included, and s the least number
/// above 0. r is how many roundings a number has seen: one for [`BF16`](Self::BF16) and
/// [`F16`](Self::F16), which are stored in, 64 for [`F32`](Self::F32) and [`F64`](Self::F64), which are
/// computed in (a sum of K products has the error of K/2 roundings or so). Errors that are not
/// independent, such as those of rows that are repeated, may leave more.
///
/// Accumulators and [`Spectrum`](super::Spectrum) know the type of what they were given; what was
/// computed in a coarser one than it is stored in must be declared.
///
/// Davidson and Szarek 2001, "Local operator theory, random matrices and Banach spaces", theorem II.13,
/// has the edge.
///
/// ```
/// use ndarray::Array2;
/// use surprisal::spectrum::{Centering, Precision, Spectrum};
///
/// // Of rank 2 in exact arithmetic; its thirds are those of f32.
/// let features = Array2::from_shape_fn((40, 6), |(i, j)| {
///     f64::from(((i % 7) as f32 * j as f32 + (i % 3) as f32) / 3.0)
/// });
/// let spectrum = Spectrum::from_features(features.view(), Centering::Raw)?;
/// assert!(spectrum.rank() > 2);
/// assert_eq!(spectrum.with_precision(Precision::F32).rank(), 2);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// √r·ε.
    relative: f64,
    /// √r·s.
    absolute: f64,
}

impl Precision {
    /// Computed in `f64`.
    pub const F64: Self = Self { relative: 8.0 * f64::EPSILON, absolute: 4e-323 };
    /// Computed in `f32`.
    pub const F32: Self = Self {
        relative: 8.0 * f32::EPSILON as f64,
        // 8·2⁻¹⁴⁹
        absolute: f64::from_bits((1023 - 146) << 52),
    };
    /// Stored in [`f16`](struct@half::f16).
    pub const F16: Self = Self {
        relative: f64::from_bits((1023 - 10) << 52),
        absolute: f64::from_bits((1023 - 24) << 52),
    };
    /// Stored in [`bf16`](struct@half::bf16).
    pub const BF16: Self = Self {
        relative: f64::from_bits((1023 - 7) << 52),
        absolute: f64::from_bits((1023 - 133) << 52),
    };

    /// Of numbers x that are off by a uniform error of ±ε|x|/2. Sums of K products in one precision are off
    /// by some √K of its ε.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for an ε that is not above 0 and below 1.
    ///
    /// ```
    /// use surprisal::spectrum::Precision;
    /// // TensorFloat-32 keeps ten bits.
    /// assert!(Precision::new(2.0_f64.powi(-10)).is_ok());
    /// assert!(Precision::new(0.0).is_err());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn new(epsilon: f64) -> Result<Self> {
        if !(epsilon > 0.0 && epsilon < 1.0) {
            return Err(Error::Option {
                name: "precision",
                value: epsilon.to_string(),
                expected: "a number above 0 and below 1",
            });
        }
        Ok(Self { relative: epsilon, absolute: 0.0 })
    }

    /// That of an element type.
    ///
    /// ```
    /// use surprisal::spectrum::Precision;
    /// assert_eq!(Precision::of::<f32>(), Precision::F32);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn of<T: Element>() -> Self {
        Self::of_element(T::NAME)
    }

    /// That of a matrix's element type.
    pub(super) fn of_matrix(matrix: &Matrix<'_>) -> Self {
        Self::of_element(matrix.element())
    }

    fn of_element(name: &str) -> Self {
        match name {
            "f64" => Self::F64,
            "f32" => Self::F32,
            "f16" => Self::F16,
            _ => Self::BF16,
        }
    }

    /// The coarser of two, relatively and absolutely.
    ///
    /// ```
    /// use surprisal::spectrum::Precision;
    /// assert_eq!(Precision::F32.coarser(Precision::F64), Precision::F32);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    #[must_use]
    pub fn coarser(self, other: Self) -> Self {
        Self {
            relative: self.relative.max(other.relative),
            absolute: self.absolute.max(other.absolute),
        }
    }

    /// The absolute error of one number, in units of the features.
    pub(super) fn absolute(self) -> f64 {
        self.absolute
    }

    /// The same relative error with another absolute one.
    pub(super) fn with_absolute(self, absolute: f64) -> Self {
        Self { absolute, ..self }
    }

    /// The largest singular value of the errors of an N×D matrix with this root mean square.
    pub(super) fn noise_floor(self, rms: f64, (rows, columns): (usize, usize)) -> f64 {
        let deviation = (self.relative * rms).hypot(self.absolute) / 12.0_f64.sqrt();
        deviation * ((rows as f64).sqrt() + (columns as f64).sqrt() + 2.0)
    }
}
