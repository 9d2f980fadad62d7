//! Kernel matrices of trace 1, and the matrix-based entropies of their eigenvalues.

use ndarray::{Array2, ArrayView2};
use std::f64::consts::LN_2;

use super::Precision;
use super::directions::unit_rows;
use super::features::{check_not_empty, exponent, power_of_two, root_mean_square};
use super::renyi::{renyi, shares_above};
use crate::algebra::{symmetric_eigenvalues, zeros};
use crate::error::short;
use crate::matrix::each;
use crate::parallel;
use crate::{Element, Error, Matrix, Result};

/// How far from symmetric, or from positive semidefinite, a given matrix may be, as a part of its
/// diagonal or its trace, whatever its type.
const TOLERANCE: f64 = 1e-8;
/// The same in units of the type's ε: sums in another order.
const ROUNDINGS: f64 = 8.0;
/// What rounding of the points takes of a Gaussian kernel's spectrum at most, in mean eigenvalues.
const MOST_NOISE: f64 = 0.01;

/// A kernel matrix of N points, normalised to trace 1: `A_ij = K_ij / (N √(K_ii K_jj))`.
///
/// Its eigenvalues sum to 1, and have entropies as a density matrix has. Giraldo, Rao and Príncipe
/// 2015, "Measures of entropy from data using infinitely divisible kernels". N×N numbers are held,
/// and eigenvalues cost of the order of N³.
///
/// ```
/// use ndarray::array;
/// use surprisal::spectrum::KernelMatrix;
///
/// // Two pairs of coincident points, far apart: one bit.
/// let points = array![[0.0], [0.0], [50.0], [50.0]];
/// let kernel = KernelMatrix::gaussian(points.view(), 1.0)?;
/// for order in [0.0, 0.5, 1.0, 2.0, f64::INFINITY] {
///     assert!((kernel.renyi_entropy(order)? - 1.0).abs() < 1e-12);
/// }
/// // Which says all there is to know of itself.
/// assert!((kernel.mutual_information(&kernel, 1.0)? - 1.0).abs() < 1e-12);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct KernelMatrix {
    /// Symmetric, of trace 1.
    matrix: Array2<f64>,
    /// What an eigenvalue that is zero may have become by rounding of what the matrix was made from.
    noise: f64,
}

impl KernelMatrix {
    /// The Gaussian kernel `exp(−‖x_i − x_j‖² / (2σ²))`. Distances are sums of squared differences:
    /// an offset common to all points costs them no digits.
    ///
    /// Points that are off by δ have images in the kernel's space that are off by |δ|/σ at most: with
    /// the points' [noise floor](Precision) f, eigenvalues up to `f²/(σ²N)` are rounding (0.01/N where
    /// that is less).
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for a σ that is not finite and above 0;
    /// [`Shape`](crate::Error::Shape) for a matrix without rows or columns;
    /// [`Value`](crate::Error::Value) for a number that is not finite;
    /// [`TooLarge`](crate::Error::TooLarge) where memory is short.
    pub fn gaussian<'a>(features: impl Into<Matrix<'a>>, sigma: f64) -> Result<Self> {
        Self::gaussian_of(features.into(), sigma)
    }

    fn gaussian_of(features: Matrix<'_>, sigma: f64) -> Result<Self> {
        if !(sigma > 0.0 && sigma.is_finite()) {
            return Err(Error::Option {
                name: "sigma",
                value: short(sigma),
                expected: "a finite number above 0",
            });
        }
        check_not_empty(&features)?;
        let (rows, columns) = features.dim();
        let (points, exponent) = each!(features, Matrix, view => scaled(view))?;
        let width = sigma * power_of_two(-exponent);
        let mut data = zeros(rows, rows)?;
        let tasks: Vec<_> = data.chunks_mut(rows).enumerate().collect();
        parallel::for_each(&mut vec![(); parallel::threads()], tasks, |(), (i, to)| {
            let own = &points[i * columns..(i + 1) * columns];
            let others = points.chunks_exact(columns);
            for (to, other) in to.iter_mut().zip(others).take(i + 1) {
                let square: f64 = own
                    .iter()
                    .zip(other)
                    // Nothing over a width that has vanished is still nothing.
                    .map(|(a, b)| if a == b { 0.0 } else { ((a - b) / width).powi(2) })
                    .sum();
                *to = (-0.5 * square).exp() / rows as f64;
            }
        });
        let mut matrix = Array2::from_shape_vec((rows, rows), data).expect("a square");
        mirror(&mut matrix);
        let rms = root_mean_square(&points, None, (rows, columns)) * power_of_two(exponent);
        let floor = Precision::of_matrix(&features).noise_floor(rms, (rows, columns)) / sigma;
        let noise = (floor * floor).min(MOST_NOISE) / rows as f64;
        Ok(Self { matrix, noise })
    }

    /// The cosine kernel `x_i·x_j / (‖x_i‖ ‖x_j‖)`. With f the [noise floor](Precision) of the rows of
    /// length 1, eigenvalues up to `f²/N` are rounding.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) for a matrix without rows or columns;
    /// [`Value`](crate::Error::Value) for a number that is not finite, or a row of zeros, which has no
    /// direction; [`TooLarge`](crate::Error::TooLarge) where memory is short.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::KernelMatrix;
    /// let kernel = KernelMatrix::cosine(array![[1.0, 0.0], [0.0, 2.0]].view())?;
    /// assert!((kernel.vendi_score(1.0)? - 2.0).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn cosine<'a>(features: impl Into<Matrix<'a>>) -> Result<Self> {
        Self::cosine_of(features.into())
    }

    fn cosine_of(features: Matrix<'_>) -> Result<Self> {
        let (unit, precision) = unit_rows(features)?;
        let (rows, columns) = unit.dim();
        let data = zeros(rows, rows)?;
        let mut matrix = Array2::from_shape_vec((rows, rows), data).expect("a square");
        ndarray::linalg::general_mat_mul(1.0 / rows as f64, &unit, &unit.t(), 0.0, &mut matrix);
        mirror(&mut matrix);
        let floor = precision.noise_floor((columns as f64).sqrt().recip(), (rows, columns));
        Ok(Self { matrix, noise: floor * floor / rows as f64 })
    }

    /// Any kernel: a symmetric matrix whose diagonal is positive, normalised to trace 1. Eigenvalues up
    /// to the [noise floor](Precision) of its numbers are rounding.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) for a matrix that is empty or not square;
    /// [`Value`](crate::Error::Value) for a number that is not finite, a diagonal that is not
    /// positive, or an element that is not that across the diagonal, to 1e-8 or 8 ε of the diagonal;
    /// [`TooLarge`](crate::Error::TooLarge) where memory is short.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::KernelMatrix;
    /// let kernel = KernelMatrix::from_matrix(array![[4.0, 2.0], [2.0, 4.0]].view())?;
    /// assert_eq!(kernel.matrix(), array![[0.5, 0.25], [0.25, 0.5]]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn from_matrix<'a>(kernel: impl Into<Matrix<'a>>) -> Result<Self> {
        Self::of_matrix(kernel.into())
    }

    fn of_matrix(kernel: Matrix<'_>) -> Result<Self> {
        let (rows, columns) = kernel.dim();
        if rows != columns || rows == 0 {
            return Err(Error::Shape {
                argument: "kernel",
                found: vec![rows, columns],
                expected: "as many columns as rows, and at least one".into(),
            });
        }
        let fail = |i, j, expected| {
            let value = short(kernel.at(i, j));
            Err(Error::Value { argument: "kernel", index: vec![i, j], value, expected })
        };
        let mut roots = zeros(rows, 1)?;
        for (i, root) in roots.iter_mut().enumerate() {
            *root = kernel.at(i, i).sqrt();
            if !(*root > 0.0 && root.is_finite()) {
                return fail(i, i, "a finite number above 0 on the diagonal");
            }
        }
        let tolerance = TOLERANCE.max(ROUNDINGS * kernel.epsilon());
        let mut matrix =
            Array2::from_shape_vec((rows, rows), zeros(rows, rows)?).expect("a square");
        for i in 0..rows {
            for j in 0..=i {
                let of = |i: usize, j: usize| kernel.at(i, j) / roots[i] / roots[j];
                let (below, above) = (of(i, j), of(j, i));
                if !below.is_finite() {
                    return fail(i, j, "a finite number");
                }
                let apart = (below - above).abs();
                if apart.is_nan() || apart > tolerance {
                    return fail(i, j, "the number across the diagonal");
                }
                matrix[[i, j]] = below / rows as f64;
            }
        }
        mirror(&mut matrix);
        let least = roots.iter().copied().fold(f64::INFINITY, f64::min);
        let n = rows as f64;
        let precision = Precision::of_matrix(&kernel);
        let precision = precision.with_absolute(precision.absolute() / least / least / n);
        let squares = matrix.iter().map(|x| x * x).sum::<f64>();
        let noise = precision.noise_floor(squares.sqrt() / n, (rows, rows));
        Ok(Self { matrix, noise })
    }

    /// The kernel of pairs of points: `A∘B / tr(A∘B)`, element by element, of two kernels on the
    /// same points.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) where the other has another number of points.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::KernelMatrix;
    /// let left = KernelMatrix::from_matrix(array![[1.0, 0.5], [0.5, 1.0]].view())?;
    /// assert_eq!(left.joint(&left)?.matrix(), array![[0.5, 0.125], [0.125, 0.5]]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn joint(&self, other: &KernelMatrix) -> Result<KernelMatrix> {
        if other.matrix.dim() != self.matrix.dim() {
            return Err(Error::Shape {
                argument: "other kernel matrix",
                found: other.matrix.shape().to_vec(),
                expected: format!("{:?}", self.matrix.shape()),
            });
        }
        let mut matrix = &self.matrix * &other.matrix;
        let trace = matrix.diag().sum();
        matrix /= trace;
        // Errors of the two images, each beside the other of length 1.
        let noise = (self.noise.sqrt() + other.noise.sqrt()).powi(2);
        Ok(KernelMatrix { matrix, noise })
    }

    /// The matrix A, N×N, symmetric and of trace 1.
    pub fn matrix(&self) -> ArrayView2<'_, f64> {
        self.matrix.view()
    }

    /// The eigenvalues in descending order. Rounding may leave some a hair below 0.
    ///
    /// # Errors
    /// [`Conflict`](crate::Error::Conflict) for a given matrix that is not positive semidefinite:
    /// whose least eigenvalue is below −1e-8 of the trace and its noise; [`TooLarge`](crate::Error::TooLarge) where
    /// memory is short.
    ///
    /// ```
    /// use ndarray::array;
    /// use surprisal::spectrum::KernelMatrix;
    /// let kernel = KernelMatrix::from_matrix(array![[1.0, 2.0], [2.0, 1.0]].view())?;
    /// assert_eq!(
    ///     kernel.eigenvalues().unwrap_err().to_string(),
    ///     "the kernel matrix has an eigenvalue of -0.5 of its trace, expected none below 0",
    /// );
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn eigenvalues(&self) -> Result<Vec<f64>> {
        let values = symmetric_eigenvalues(self.matrix.clone())?;
        match values.last() {
            Some(&least) if least < -TOLERANCE.max(self.noise) => Err(Error::Conflict {
                what: format!(
                    "the kernel matrix has an eigenvalue of {} of its trace, expected none below 0",
                    least as f32
                ),
            }),
            _ => Ok(values),
        }
    }

    /// The matrix-based Rényi entropy of any order ≥ 0, in **bits**: `log2(Σλ^α) / (1 − α)`, with
    /// its limits at 1 (`−Σλ log2 λ`), 0 (log2 of the numerical rank) and infinity (`−log2 λ_1`).
    ///
    /// Eigenvalues up to `N·2⁻⁵²·λ_1`, and below order 1 up to what rounding of the input leaves (see
    /// where the kernel is made), are rounding and count as zero; order 2 needs none, as
    /// `Σλ² = Σ A_ij²`. Below order 1 the value rests on small eigenvalues: at ½ expect some 1e-8.
    ///
    /// # Errors
    /// [`Option`](crate::Error::Option) for an order that is negative or NaN; as
    /// [`eigenvalues`](Self::eigenvalues).
    pub fn renyi_entropy(&self, order: f64) -> Result<f64> {
        Ok(self.entropy(order)? / LN_2)
    }

    /// The mutual information `S_α(A) + S_α(B) − S_α(A∘B / tr(A∘B))` of two kernels on the same
    /// points, in **bits**. It may be negative away from α = 1 by rounding or a kernel's smoothing.
    ///
    /// # Errors
    /// [`Shape`](crate::Error::Shape) where the other has another number of points; as
    /// [`renyi_entropy`](Self::renyi_entropy).
    pub fn mutual_information(&self, other: &KernelMatrix, order: f64) -> Result<f64> {
        let joint = self.joint(other)?.renyi_entropy(order)?;
        Ok(self.renyi_entropy(order)? + other.renyi_entropy(order)? - joint)
    }

    /// The von Neumann entropy `−Σλ ln λ`, in **nats**.
    ///
    /// # Errors
    /// As [`eigenvalues`](Self::eigenvalues).
    ///
    /// ```
    /// use surprisal::spectrum::KernelMatrix;
    /// let kernel = KernelMatrix::from_matrix(ndarray::Array2::<f64>::eye(5).view())?;
    /// assert!((kernel.von_neumann_entropy()? - 5.0_f64.ln()).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn von_neumann_entropy(&self) -> Result<f64> {
        self.entropy(1.0)
    }

    /// The Vendi score of order q: exp of the Rényi entropy of the eigenvalues, the effective number
    /// of different points, between 1 and N.
    ///
    /// # Errors
    /// As [`renyi_entropy`](Self::renyi_entropy).
    ///
    /// ```
    /// use surprisal::spectrum::KernelMatrix;
    /// let kernel = KernelMatrix::from_matrix(ndarray::Array2::<f64>::eye(5).view())?;
    /// assert!((kernel.vendi_score(2.0)? - 5.0).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn vendi_score(&self, order: f64) -> Result<f64> {
        Ok(self.entropy(order)?.exp())
    }

    /// In nats.
    fn entropy(&self, order: f64) -> Result<f64> {
        if order == 2.0 {
            return Ok((-self.matrix.iter().map(|x| x * x).sum::<f64>().ln()).max(0.0));
        }
        // An order out of range is refused before any work.
        renyi(&[], order)?;
        let values = self.eigenvalues()?;
        let noise = if order < 1.0 { self.noise / values[0] } else { 0.0 };
        let resolution = (values.len() as f64 * f64::EPSILON).max(noise);
        renyi(&shares_above(&values, resolution), order)
    }
}

/// Points at a scale at which no difference overflows: times 2^−e, and e.
fn scaled<T: Element>(features: ArrayView2<'_, T>) -> Result<(Vec<f64>, i32)> {
    let exponent = exponent(&features)?;
    let scale = power_of_two(-exponent);
    let mut points = zeros(features.nrows(), features.ncols())?;
    for (to, from) in points.iter_mut().zip(features) {
        *to = from.to_f64() * scale;
    }
    Ok((points, exponent))
}

/// Copies what is below the diagonal to above it.
fn mirror(matrix: &mut Array2<f64>) {
    for i in 0..matrix.nrows() {
        for j in 0..i {
            matrix[[j, i]] = matrix[[i, j]];
        }
    }
}
