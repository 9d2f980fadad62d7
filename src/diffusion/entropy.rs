//! The doors of [`SpectralEntropy`], and the way that each estimate goes.

use ndarray::Array2;

use super::bandwidth::resolve;
use super::eigenvalues::{added, entropy_of, surprise};
use super::kernel::{GaussianProducts, Products, for_each_row, gaussian_matrix, normalise};
use super::lanczos::lanczos;
use super::lowrank::{low_rank, rank_limit};
use super::neighbors::{adaptive_matrix, binary_matrix, self_tuning_matrix};
use super::options::{Bandwidth, Method, Operator, SpectralEntropy};
use super::points::Points;
use super::sampling::sample_rows;
use crate::algebra::{eigenvalue_moduli, symmetric_eigenvalues};
use crate::error::short;
use crate::{Error, Matrix, Result};

/// Up to so many rows `Auto` does not look further: the exact way takes half a second there (by N³ from
/// 7.5 s at 5000 on two cores of Zen 5).
const SMALL: usize = 2048;
/// Up to so many rows `Auto` prefers the exact way to a stochastic one: it takes 512 MiB there, and by N³ half
/// a minute.
const MODERATE: usize = 8192;
/// The low-rank path's tolerance in bits, where none is set: at N = 5000 in three dimensions it is met in a
/// hundredth of the time of the exact way and less (133 and 390 times faster on Zen 5).
const TOLERANCE: f64 = 1e-4;

/// An entropy, how it was found, and how sure it is.
///
/// ```
/// use surprisal::diffusion::{Method, SpectralEntropy};
/// let features = ndarray::array![[0.0], [1.0], [2.0]];
/// let estimate = SpectralEntropy::builder().sigma(1.0).build()?.estimate(features.view())?;
/// assert_eq!((estimate.method, estimate.sigma, estimate.rows), (Method::Exact, Some(1.0), 3));
/// assert_eq!((estimate.error_bound, estimate.standard_error), (None, None));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EntropyEstimate {
    /// The entropy, in the unit that was asked for (bits by default).
    pub value: f64,
    /// How it was computed: never `Auto`.
    pub method: Method,
    /// σ, also where it came from a rule; `None` where it plays no part.
    pub sigma: Option<f64>,
    /// How many rows it is of.
    pub rows: usize,
    /// Of the low-rank path: the entropy of the kernel is within so much of the value.
    pub error_bound: Option<f64>,
    /// Of the Lanczos path: the standard error over the probes, with the half width of the quadrature's
    /// bracket.
    pub standard_error: Option<f64>,
    /// The rank of the factor, or the degree of the quadrature.
    pub rank: Option<usize>,
}

impl SpectralEntropy {
    /// The entropy of an N×D feature matrix (a point each row), of any strides.
    ///
    /// The last bits of the exact and the low-rank value may depend on the number of threads, as `faer`'s
    /// eigenvalues do; those of the Lanczos value do not.
    ///
    /// # Errors
    /// [`Error::Value`] for NaN, infinity and rows that are not there, [`Error::Shape`] for N = 0 or
    /// D = 0, [`Error::Option`] for more neighbours than rows, [`Error::Conflict`] where a rule gives
    /// no bandwidth above 0 (coincident points), [`Error::TooLarge`] for matrices beyond memory.
    pub fn estimate<'a>(&self, features: impl Into<Matrix<'a>>) -> Result<EntropyEstimate> {
        let points = self.points(features.into())?;
        let sigma = self.resolve_sigma(&points)?;
        self.of_points(&points, sigma)
    }

    /// The eigenvalues that the entropy is of, exactly, in descending order: the moduli of those of
    /// `BinaryNeighbors`. From them [`of_eigenvalues`](Self::of_eigenvalues) gives the entropy at
    /// any t.
    ///
    /// ```
    /// use surprisal::diffusion::SpectralEntropy;
    /// let features = ndarray::array![[0.0, 1.0], [2.0, 0.5], [0.1, 0.7]];
    /// let entropy = SpectralEntropy::builder().sigma(1.0).build()?;
    /// let eigenvalues = entropy.eigenvalues(features.view())?;
    /// assert!((eigenvalues[0] - 1.0).abs() < 1e-14);
    /// assert_eq!(entropy.of_eigenvalues(&eigenvalues)?, entropy.estimate(features.view())?.value);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`estimate`](Self::estimate); [`Error::Conflict`] for `MatrixEntries`, which has none.
    pub fn eigenvalues<'a>(&self, features: impl Into<Matrix<'a>>) -> Result<Vec<f64>> {
        if self.operator == Operator::MatrixEntries {
            return Err(Error::Conflict {
                what: "matrix entries have no eigenvalues, expected another operator".into(),
            });
        }
        let points = self.points(features.into())?;
        let sigma = self.resolve_sigma(&points)?;
        self.spectrum(&points, sigma)
    }

    /// The entropy of given eigenvalues, with this t, eps policy and unit.
    ///
    /// ```
    /// use surprisal::diffusion::SpectralEntropy;
    /// let entropy = SpectralEntropy::builder().time(2.0).build()?;
    /// assert!((entropy.of_eigenvalues(&[1.0, -1.0, 1.0, 1.0])? - 2.0).abs() < 1e-14);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for none, [`Error::Value`] for NaN, infinity, or all of them 0.
    pub fn of_eigenvalues(&self, eigenvalues: &[f64]) -> Result<f64> {
        if eigenvalues.is_empty() {
            return Err(Error::Shape {
                argument: "eigenvalues",
                found: vec![0],
                expected: "at least one".into(),
            });
        }
        if let Some(at) = eigenvalues.iter().position(|x| !x.is_finite()) {
            return Err(Error::not_finite("eigenvalues", &[at], eigenvalues[at]));
        }
        if eigenvalues.iter().all(|&x| x == 0.0) {
            return Err(Error::Value {
                argument: "eigenvalues",
                index: vec![0],
                value: short(eigenvalues[0]),
                expected: "one that is not 0",
            });
        }
        Ok(entropy_of(eigenvalues, self.time, self.epsilon) * self.base.per_nat())
    }

    /// The rows that take part.
    pub(crate) fn points(&self, features: Matrix<'_>) -> Result<Points> {
        let rows = features.dim().0;
        match (self.max_rows, &self.indices) {
            (Some(max_rows), _) if max_rows < rows => {
                Points::new(features, Some(&sample_rows(self.seed, rows, max_rows)), self.isa)
            }
            (_, indices) => Points::new(features, indices.as_deref(), self.isa),
        }
    }

    /// σ of these points, `None` where there is no need of one.
    pub(crate) fn resolve_sigma(&self, points: &Points) -> Result<Option<f64>> {
        match (self.operator, self.bandwidth) {
            (
                Operator::BinaryNeighbors { .. }
                | Operator::AdaptiveNeighbors { .. }
                | Operator::SelfTuning { .. },
                _,
            ) => Ok(None),
            (_, Bandwidth::Sigma(sigma)) => Ok(Some(sigma)),
            _ if points.rows() == 1 => Ok(None),
            (_, rule) => resolve(points, rule).map(Some),
        }
    }

    pub(crate) fn of_points(&self, points: &Points, sigma: Option<f64>) -> Result<EntropyEstimate> {
        let rows = points.rows();
        let unit = self.base.per_nat();
        let exactly = |value: f64| EntropyEstimate {
            value,
            method: Method::Exact,
            sigma,
            rows,
            error_bound: None,
            standard_error: None,
            rank: None,
        };
        if rows == 1 {
            return Ok(exactly(0.0));
        }
        let limit = match self.method {
            _ if self.operator != Operator::Diffusion => None,
            Method::LowRank => Some(rows),
            Method::Auto if rows > SMALL => Some(rank_limit(rows)),
            _ => None,
        };
        if let (Some(limit), Some(sigma)) = (limit, sigma) {
            let tolerance = self.tolerance.unwrap_or(TOLERANCE) / std::f64::consts::LOG2_E;
            if let Some(found) = low_rank(self, points, sigma, tolerance, limit)? {
                return Ok(EntropyEstimate {
                    value: found.value * unit,
                    method: Method::LowRank,
                    error_bound: Some(found.error * unit),
                    rank: Some(found.rank),
                    ..exactly(0.0)
                });
            }
        }
        let stochastic = match self.method {
            Method::Lanczos => true,
            Method::Auto => self.operator == Operator::Diffusion && rows > MODERATE,
            _ => false,
        };
        if let (true, Some(sigma)) = (stochastic, sigma) {
            return self.stochastic(&GaussianProducts::new(points, sigma), sigma);
        }
        let nats = match self.operator {
            Operator::MatrixEntries => self.of_entries(points, sigma)?,
            _ => entropy_of(&self.spectrum(points, sigma)?, self.time, self.epsilon),
        };
        Ok(exactly(nats * unit))
    }

    /// The estimate whose products are someone else's.
    pub(crate) fn stochastic(&self, kernel: &dyn Products, sigma: f64) -> Result<EntropyEstimate> {
        if self.operator != Operator::Diffusion {
            return Err(Error::Conflict {
                what: "only the diffusion operator has a Lanczos estimate".into(),
            });
        }
        let (found, unit) = (lanczos(self, kernel)?, self.base.per_nat());
        Ok(EntropyEstimate {
            value: found.value * unit,
            method: Method::Lanczos,
            sigma: Some(sigma),
            rows: kernel.rows(),
            error_bound: None,
            standard_error: Some(found.error * unit),
            rank: Some(found.rank),
        })
    }

    fn spectrum(&self, points: &Points, sigma: Option<f64>) -> Result<Vec<f64>> {
        if points.rows() == 1 {
            return Ok(vec![1.0]);
        }
        if let Operator::BinaryNeighbors { neighbors } = self.operator {
            return eigenvalue_moduli(binary_matrix(points, neighbors)?);
        }
        symmetric_eigenvalues(self.matrix(points, sigma)?)
    }

    /// The symmetric matrix of the operator.
    fn matrix(&self, points: &Points, sigma: Option<f64>) -> Result<Array2<f64>> {
        let mut matrix = match self.operator {
            Operator::AdaptiveNeighbors { neighbors } => adaptive_matrix(points, neighbors)?,
            Operator::SelfTuning { neighbors } => self_tuning_matrix(points, neighbors)?,
            _ => gaussian_matrix(points, sigma.expect("of every operator that has a σ"))?,
        };
        if self.operator != Operator::Adjacency {
            normalise(&mut matrix, self.alpha);
        }
        Ok(matrix)
    }

    /// −Σ p ln p over the entries K_ij/(N Σ_l K_il).
    fn of_entries(&self, points: &Points, sigma: Option<f64>) -> Result<f64> {
        let mut matrix = self.matrix(points, sigma)?;
        let n = matrix.nrows();
        let mut sums = vec![0.0; n];
        let epsilon = added(self.epsilon);
        for_each_row(&mut matrix, &mut sums, |_, row, to| {
            let total = row.iter().sum::<f64>() * n as f64;
            *to = row.iter().map(|entry| surprise(entry / total + epsilon)).sum();
        });
        Ok(sums.iter().sum())
    }
}
