//! LiDAR.

use ndarray::{Array2, ArrayView3, Axis};

use super::Precision;
use super::features::{exponent, power_of_two};
use super::renyi::shannon;
use crate::algebra::{singular_values, symmetric_eigen, zeros};
use crate::error::short;
use crate::{Element, Error, Matrix, Result};

/// The constants of [`lidar`], on which published codes differ; made by [`builder`](Self::builder).
///
/// The default is the paper's: δ = 1e-4, ε = 1e-7, scatters over n and n·q.
///
/// ```
/// use surprisal::spectrum::Lidar;
/// assert_eq!(Lidar::default(), Lidar::builder().delta(1e-4).epsilon(1e-7).build()?);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lidar {
    delta: f64,
    epsilon: f64,
    unbiased: bool,
    renormalized: bool,
}

impl Default for Lidar {
    fn default() -> Self {
        Self { delta: 1e-4, epsilon: 1e-7, unbiased: false, renormalized: false }
    }
}

/// Sets the constants of a [`Lidar`]; [`build`](Self::build) checks them.
///
/// ```
/// use surprisal::spectrum::Lidar;
/// assert!(Lidar::builder().unbiased(true).renormalized(true).build().is_ok());
/// assert!(Lidar::builder().delta(0.0).build().is_err());
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct LidarBuilder(Lidar);

impl LidarBuilder {
    /// What is added to the diagonal of the scatter within objects; above 0; 1e-4 by default.
    pub fn delta(mut self, delta: f64) -> Self {
        self.0.delta = delta;
        self
    }

    /// What is added to each share; at least 0; 1e-7 by default.
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.0.epsilon = epsilon;
        self
    }

    /// Scatters over n − 1 and n·(q − 1).
    pub fn unbiased(mut self, unbiased: bool) -> Self {
        self.0.unbiased = unbiased;
        self
    }

    /// `p = (λ + ε) / Σ(λ + ε)`, as in the library stable-pretraining, in place of `λ / Σλ + ε`.
    pub fn renormalized(mut self, renormalized: bool) -> Self {
        self.0.renormalized = renormalized;
        self
    }

    /// Checks the constants.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for a δ that is not above 0, an ε below 0, or one of them that
    /// is not finite.
    pub fn build(self) -> Result<Lidar> {
        let fail =
            |name, value: f64, expected| Err(Error::Option { name, value: short(value), expected });
        let Lidar { delta, epsilon, .. } = self.0;
        if !(delta > 0.0 && delta.is_finite()) {
            return fail("delta", delta, "a finite number above 0");
        }
        if !(epsilon >= 0.0 && epsilon.is_finite()) {
            return fail("epsilon", epsilon, "a finite number, at least 0");
        }
        Ok(self.0)
    }
}

impl Lidar {
    /// The paper's constants, to be changed.
    ///
    /// ```
    /// use surprisal::spectrum::Lidar;
    /// assert_eq!(Lidar::builder().build()?, Lidar::default());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder() -> LidarBuilder {
        LidarBuilder(Self::default())
    }

    fn check(&self, (objects, views): (usize, usize)) -> Result<()> {
        if self.unbiased && (objects < 2 || views < 2) {
            return Err(Error::Conflict {
                what: format!(
                    "unbiased scatters of {objects} objects of {views} views are divided by zero, \
                     expected at least two of each"
                ),
            });
        }
        Ok(())
    }
}

/// LiDAR: the effective rank of what tells objects apart from their views. Of features `[n, q, D]`,
/// q views of each of n objects,
///
/// ```text
/// Σ_b = 1/n Σ_i (μ_i − μ)(μ_i − μ)ᵀ,   Σ_w = 1/(nq) Σ_ij (x_ij − μ_i)(x_ij − μ_i)ᵀ + δI
/// λ = eigenvalues of Σ_w^{−½} Σ_b Σ_w^{−½},   p = λ / Σλ + ε,   exp(−Σ p ln p)
/// ```
///
/// over all D eigenvalues, zeros included. 0 where all objects have the same mean. δ is absolute, so
/// the value depends on the features' scale. Eigenvalues of the scatter within objects that are
/// [rounding](super::Precision) count as zero: there δ alone decides, however small it is. Thilak et al. 2023, "LiDAR: sensing linear probing
/// performance in joint embedding SSL architectures".
///
/// # Errors
/// [`Shape`](crate::Error::Shape) for an axis of length 0; [`Value`](crate::Error::Value) for a
/// number that is not finite; [`Conflict`](crate::Error::Conflict) where unbiased scatters are of one
/// object or view, or where scatters are beyond `f64`; [`TooLarge`](crate::Error::TooLarge) where memory is short.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::{Lidar, lidar};
/// // Two objects apart along one axis, views that differ along the other.
/// let features = array![[[1.0, 0.1], [1.0, -0.1]], [[-1.0, 0.1], [-1.0, -0.1]]];
/// let rank = lidar(features.view(), Lidar::builder().epsilon(0.0).build()?)?;
/// assert!((rank - 1.0).abs() < 1e-12);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn lidar<T: Element>(features: ArrayView3<'_, T>, options: Lidar) -> Result<f64> {
    let objects: Vec<Matrix<'_>> = features.outer_iter().map(Matrix::from).collect();
    rank(&objects, features.dim(), options)
}

/// Of the views of each object.
fn rank(
    features: &[Matrix<'_>],
    (objects, views, columns): (usize, usize, usize),
    options: Lidar,
) -> Result<f64> {
    if objects == 0 || views == 0 || columns == 0 {
        return Err(Error::Shape {
            argument: "features",
            found: vec![objects, views, columns],
            expected: "at least one object, one view and one column".into(),
        });
    }
    options.check((objects, views))?;
    let mut view: Vec<f64> = vec![0.0; columns];
    for (i, object) in features.iter().enumerate() {
        for j in 0..views {
            object.read(j, 0..columns, &mut view);
            if let Some(k) = view.iter().position(|x| !x.is_finite()) {
                return Err(Error::not_finite("features", &[i, j, k], view[k]));
            }
        }
    }
    // Relative to the first view, so that a common offset costs no digits.
    let mut pivot = vec![0.0; columns];
    features[0].read(0, 0..columns, &mut pivot);
    let mut means = matrix(objects, columns)?;
    let mut within = matrix(columns, columns)?;
    let mut rest = matrix(views, columns)?;
    let mut squares = 0.0;
    let count = (objects * views * columns) as f64;
    for (object, mut mean) in features.iter().zip(means.rows_mut()) {
        for (j, mut to) in rest.rows_mut().into_iter().enumerate() {
            object.read(j, 0..columns, &mut view);
            for ((to, x), pivot) in to.iter_mut().zip(&view).zip(&pivot) {
                squares += x * x / count;
                *to = x - pivot;
            }
            mean += &to;
        }
        mean /= views as f64;
        for mut row in rest.rows_mut() {
            row -= &mean;
        }
        ndarray::linalg::general_mat_mul(1.0, &rest.t(), &rest, 1.0, &mut within);
    }
    let center = means.sum_axis(Axis(0)) / objects as f64;
    means.rows_mut().into_iter().for_each(|mut mean| mean -= &center);
    let (between_count, within_count) = if options.unbiased {
        ((objects - 1) as f64, (objects * (views - 1)) as f64)
    } else {
        (objects as f64, (objects * views) as f64)
    };
    within /= within_count;
    if !within.iter().chain(&means).all(|x| x.is_finite()) {
        return Err(Error::Conflict {
            what: "the features' scatters are beyond the range of f64, expected smaller features"
                .into(),
        });
    }
    let scale = exponent(&means.view())?;
    means *= power_of_two(-scale);
    let (variances, mut vectors) = symmetric_eigen(within)?;
    let floor =
        Precision::of_matrix(&features[0]).noise_floor(squares.sqrt(), (objects * views, columns));
    let rounding = (floor * floor / within_count)
        .max(columns.max(objects * views) as f64 * f64::EPSILON * variances[0]);
    let deviation = |variance: f64| {
        let variance = if variance > rounding { variance } else { 0.0 };
        (variance + options.delta).sqrt()
    };
    // Against the least deviation: of the shares no scale is left, and nothing overflows.
    let least = deviation(variances[columns - 1]);
    for (mut vector, &variance) in vectors.columns_mut().into_iter().zip(&variances) {
        vector *= least / deviation(variance);
    }
    // The squared singular values of these are the eigenvalues that are not zero by shape.
    let mut values = singular_values(means.dot(&vectors).view())?;
    let largest = values[0];
    if largest == 0.0 {
        return Ok(0.0);
    }
    values.iter_mut().for_each(|x| *x = (*x / largest).powi(2));
    values.resize(columns, 0.0);
    let total: f64 = values.iter().rev().sum();
    if !options.renormalized {
        return Ok(shannon(values.into_iter().map(|x| x / total + options.epsilon)).exp());
    }
    // ε in units of the largest eigenvalue, which may be beyond f64 itself.
    let root = largest * power_of_two(scale) / least / between_count.sqrt();
    let epsilon = options.epsilon / root / root;
    let (part, rest) = if epsilon > 1.0 { (1.0 / epsilon, 1.0) } else { (1.0, epsilon) };
    let sum = total * part + rest * columns as f64;
    Ok(shannon(values.into_iter().map(|x| (x * part + rest) / sum)).exp())
}

fn matrix(rows: usize, columns: usize) -> Result<Array2<f64>> {
    Ok(Array2::from_shape_vec((rows, columns), zeros(rows, columns)?).expect("so many numbers"))
}
