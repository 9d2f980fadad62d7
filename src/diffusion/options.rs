//! What an entropy is, apart from its data.

use crate::error::short;
use crate::{Error, Isa, Result};

/// Whose spectrum, or whose entries, the entropy is taken of. d_ij is the Euclidean distance.
///
/// ```
/// use surprisal::diffusion::{Operator, SpectralEntropy};
/// let features = ndarray::array![[0.0], [1.0], [5.0], [6.5]];
/// let knn = SpectralEntropy::builder()
///     .operator(Operator::AdaptiveNeighbors { neighbors: 2 })
///     .alpha(1.0)
///     .build()?;
/// assert!(knn.estimate(features.view())?.value > 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operator {
    /// K = S·G·S with G_ij = exp(−d²_ij/(2σ²)), the symmetric conjugate of the random walk on G (see
    /// [`alpha`](SpectralEntropyBuilder::alpha)): diffusion spectral entropy.
    Diffusion,
    /// G itself: adjacency spectral entropy.
    Adjacency,
    /// The moduli of the eigenvalues of A_ij = \[d_ij ≤ the k-th smallest distance of row i\], where a
    /// point counts as its own first neighbour and ties are included; A is not symmetric. (The
    /// adjacency spectral entropy of the published code with its `knn` option.)
    BinaryNeighbors {
        /// k, from 1 to the number of rows.
        neighbors: usize,
    },
    /// exp(−d²_ij/(s_i s_j)) where j is among the k nearest neighbours of i or i among those of j,
    /// with s_i the distance of i to its k-th neighbour, itself excluded; 1 on the diagonal; ties are
    /// included. Then normalised as `Diffusion` is. (The kernel of the package manylatents, where α is
    /// 1 and t is 3; σ plays no part.)
    AdaptiveNeighbors {
        /// k, from 1 to the number of rows less one.
        neighbors: usize,
    },
    /// exp(−d²_ij/(2 σ_i σ_j)) of all pairs, with σ_i the distance of i to its k-th nearest other point:
    /// a bandwidth for each point, wide where points are sparse; then normalised as `Diffusion` is, which
    /// it is where all σ_i are one σ. A point that coincides with k others has σ_i = 0 and is connected
    /// to those alone. The matrix is symmetric, but it may have eigenvalues below 0, whose moduli are
    /// taken: neither the low-rank nor the Lanczos way is open to it. Zelnik-Manor and Perona 2004,
    /// "Self-tuning spectral clustering".
    SelfTuning {
        /// k, from 1 to the number of rows less one.
        neighbors: usize,
    },
    /// The N² entries of the row-normalised K (α = 0), as a share of their sum N: the published code's
    /// `matrix_entry_entropy`. t plays no part.
    MatrixEntries,
}

/// The bandwidth σ of the Gaussian kernel. The entropy is a function of σ first: from log N at small
/// σ to 0 at large ones.
///
/// ```
/// use surprisal::diffusion::{Bandwidth, SpectralEntropy};
/// let features = ndarray::array![[0.0, 0.0], [3.0, 4.0]];
/// let entropy = SpectralEntropy::builder().bandwidth(Bandwidth::MedianDistance).build()?;
/// // √(25 / 2)
/// assert_eq!(entropy.estimate(features.view())?.sigma, Some(12.5_f64.sqrt()));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Bandwidth {
    /// This one, finite and above 0.
    Sigma(f64),
    /// √D, D the number of columns: for standardised features.
    SqrtDimension,
    /// √(median of d²_ij over i < j, halved), of all pairs.
    MedianDistance,
    /// The median over the points of the distance to the k-th nearest other point.
    NeighborDistance {
        /// k, from 1 to the number of rows less one.
        neighbors: usize,
    },
}

/// What becomes of p = 0 in −Σ p log p.
///
/// ```
/// use surprisal::diffusion::{Epsilon, SpectralEntropy};
/// let far = ndarray::array![[0.0], [1e3], [2e3], [3e3]];
/// let entropy = SpectralEntropy::builder().sigma(1.0).epsilon(Epsilon::Clean).build()?;
/// assert!((entropy.estimate(far.view())?.value - 2.0).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Epsilon {
    /// 2⁻⁵² is added to every p after normalising, which is not repeated: what the published code
    /// does. It adds at most 1.2e-14 bits for each term.
    Reference,
    /// 0 log 0 = 0.
    Clean,
}

/// The unit of an entropy.
///
/// ```
/// use surprisal::diffusion::{Base, SpectralEntropy};
/// let far = ndarray::array![[0.0], [1e3]];
/// let entropy = SpectralEntropy::builder().sigma(1.0).base(Base::Nats).build()?;
/// assert!((entropy.estimate(far.view())?.value - 2.0_f64.ln()).abs() < 1e-12);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Base {
    /// Logarithms to the base 2.
    Bits,
    /// Natural logarithms.
    Nats,
    /// Decimal logarithms.
    Digits,
}

impl Base {
    /// How many of this unit a nat is.
    pub(crate) fn per_nat(self) -> f64 {
        match self {
            Base::Bits => std::f64::consts::LOG2_E,
            Base::Nats => 1.0,
            Base::Digits => std::f64::consts::LOG10_E,
        }
    }
}

/// How the entropy is computed.
///
/// ```
/// use surprisal::diffusion::{Method, SpectralEntropy};
/// let features = ndarray::Array2::from_shape_fn((300, 2), |(i, j)| ((7 * i + j) % 31) as f64);
/// let entropy = SpectralEntropy::builder().sigma(20.0).method(Method::LowRank).build()?;
/// let estimate = entropy.estimate(features.view())?;
/// let exact = SpectralEntropy::builder().sigma(20.0).build()?.estimate(features.view())?;
/// assert_eq!((estimate.method, exact.method), (Method::LowRank, Method::Exact));
/// assert!((estimate.value - exact.value).abs() <= estimate.error_bound.unwrap());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// [`Exact`](Self::Exact) up to 2048 rows, and for every operator but `Diffusion`. Beyond,
    /// [`LowRank`](Self::LowRank) where the kernel has a factor of rank N/10 (1024 at most) that meets
    /// the tolerance; else `Exact` up to 8192 rows, then [`Lanczos`](Self::Lanczos). The estimate
    /// says which it was.
    Auto,
    /// All eigenvalues, in one matrix of N×N: 8·N² bytes, 4/3·N³ operations.
    Exact,
    /// A pivoted Cholesky factor of the kernel and a proven bound on the error: 8·N·r bytes for rank r.
    /// Only of `Diffusion`.
    LowRank,
    /// Stochastic quadrature without the matrix, with a standard error: N·(D + a few hundred) numbers.
    /// Only of `Diffusion`.
    Lanczos,
}

/// Diffusion spectral entropy with its options; made by [`builder`](Self::builder).
///
/// For N rows of features x_i with distances d_ij:
///
/// ```text
/// G_ij = exp(−d²_ij / 2σ²)       K_ij = G_ij / √(d_i d_j),  d_i = Σ_j G_ij
/// p_k = |λ_k|ᵗ / Σ_l |λ_l|ᵗ      H = −Σ_k p_k log p_k       λ the eigenvalues of K
/// ```
///
/// in bits by default; 0 ≤ H ≤ log N. The features are centred first, and a point has distance
/// exactly 0 to itself.
///
/// The entropy is that of *Assessing Neural Network Representations During Training Using
/// Noise-Resilient Diffusion Spectral Entropy* (Liao et al., 2024), as its published code computes it:
/// that code's kernel is the conjugate of the plain random walk on G (α = 0).
///
/// ```
/// use surprisal::diffusion::SpectralEntropy;
/// let features = ndarray::array![[0.0, 0.0], [0.3, 0.4]];
/// let estimate = SpectralEntropy::builder().sigma(2.0).build()?.estimate(features.view())?;
/// // Two points: λ₂ = tanh(d²/4σ²).
/// let lambda = (0.25_f64 / 16.0).tanh();
/// let p = [1.0 / (1.0 + lambda), lambda / (1.0 + lambda)];
/// let expected: f64 = p.iter().map(|p| -p * p.log2()).sum();
/// assert!((estimate.value - expected).abs() < 1e-12);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpectralEntropy {
    pub(crate) operator: Operator,
    pub(crate) bandwidth: Bandwidth,
    pub(crate) time: f64,
    pub(crate) alpha: f64,
    pub(crate) epsilon: Epsilon,
    pub(crate) base: Base,
    pub(crate) method: Method,
    pub(crate) tolerance: Option<f64>,
    pub(crate) probes: usize,
    pub(crate) seed: u64,
    pub(crate) indices: Option<Vec<usize>>,
    pub(crate) max_rows: Option<usize>,
    pub(crate) isa: Isa,
}

/// Sets the options of a [`SpectralEntropy`]; [`build`](Self::build) checks them.
///
/// ```
/// use surprisal::diffusion::SpectralEntropy;
/// let entropy = SpectralEntropy::builder().sigma(10.0).time(2.0).max_rows(10_000).build()?;
/// assert!(SpectralEntropy::builder().time(0.0).build().is_err());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SpectralEntropyBuilder {
    operator: Operator,
    bandwidth: Bandwidth,
    time: f64,
    alpha: f64,
    epsilon: Epsilon,
    base: Base,
    method: Method,
    tolerance: Option<f64>,
    probes: usize,
    seed: u64,
    indices: Option<Vec<usize>>,
    max_rows: Option<usize>,
    isa: Option<Isa>,
}

impl Default for SpectralEntropyBuilder {
    fn default() -> Self {
        Self {
            operator: Operator::Diffusion,
            bandwidth: Bandwidth::MedianDistance,
            time: 1.0,
            alpha: 0.0,
            epsilon: Epsilon::Reference,
            base: Base::Bits,
            method: Method::Auto,
            tolerance: None,
            probes: 24,
            seed: 0,
            indices: None,
            max_rows: None,
            isa: None,
        }
    }
}

impl SpectralEntropy {
    /// The options, each at its default.
    ///
    /// ```
    /// let entropy = surprisal::diffusion::SpectralEntropy::builder().build()?;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder() -> SpectralEntropyBuilder {
        SpectralEntropyBuilder::default()
    }
}

impl SpectralEntropyBuilder {
    /// Whose spectrum it is; [`Operator::Diffusion`] by default.
    pub fn operator(mut self, operator: Operator) -> Self {
        self.operator = operator;
        self
    }

    /// σ by a rule; [`Bandwidth::MedianDistance`] by default.
    pub fn bandwidth(mut self, bandwidth: Bandwidth) -> Self {
        self.bandwidth = bandwidth;
        self
    }

    /// σ itself, finite and above 0, in the units of the features.
    pub fn sigma(self, sigma: f64) -> Self {
        self.bandwidth(Bandwidth::Sigma(sigma))
    }

    /// t, the diffusion time: any finite number above 0; 1 by default. The eigenvalues are raised to
    /// it, of whatever operator. Where t is so large that the rounding of those next to the largest would
    /// decide (t·N·2⁻⁵² above 1e-6), they are equal to it: towards infinity the entropy becomes the
    /// logarithm of the number of components that the kernel does not connect in `f64`. Below 1, the
    /// rounding of those next to 0 weighs more and more: towards 0 it becomes log N.
    pub fn time(mut self, time: f64) -> Self {
        self.time = time;
        self
    }

    /// α, from 0 to 8: the kernel is first divided by (d_i d_j)^α, d its row sums, and then
    /// normalised by the new row sums. 0 (the default) is what the published code computes, though
    /// its comments say otherwise; ½ and 1 are the anisotropic kernels of Coifman and Lafon. Only of
    /// `Diffusion`, `AdaptiveNeighbors` and `SelfTuning`.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// What becomes of p = 0; [`Epsilon::Reference`] by default. The low-rank bound covers it, the
    /// Lanczos path leaves it out.
    pub fn epsilon(mut self, epsilon: Epsilon) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// The unit; bits by default.
    pub fn base(mut self, base: Base) -> Self {
        self.base = base;
        self
    }

    /// The way; [`Method::Auto`] by default.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// In bits, above 0: the low-rank factor grows until its bound is below (1e-4 by default), or until
    /// only rounding is left; Lanczos adds blocks of probes, 16 at most, until its standard error is
    /// (by default one block is all). The estimate says what was reached.
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// The probes of a Lanczos block, from 2 to 1024: each pass over the kernel serves all of them; 24
    /// by default.
    pub fn probes(mut self, probes: usize) -> Self {
        self.probes = probes;
        self
    }

    /// Of what is random: the rows of [`max_rows`](Self::max_rows), the probes, the order of low-rank
    /// pivots; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Only these rows of the features; one may be named more than once.
    pub fn indices(mut self, indices: Vec<usize>) -> Self {
        self.indices = Some(indices);
        self
    }

    /// At most so many rows, at least one: where there are more, a sample of them by
    /// [`sample_rows`](super::sample_rows) with the seed, as the published code takes it. The value is
    /// that of the sample: it is no estimate of the whole.
    pub fn max_rows(mut self, max_rows: usize) -> Self {
        self.max_rows = Some(max_rows);
        self
    }

    /// The instruction set of the products; [`Isa::current`] by default.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Option`] for an option outside its domain, [`Error::Conflict`] for options that do not
    /// go together.
    pub fn build(self) -> Result<SpectralEntropy> {
        if let Bandwidth::Sigma(sigma) = self.bandwidth {
            positive("sigma", sigma)?;
        }
        positive("t", self.time)?;
        if let Some(tolerance) = self.tolerance {
            positive("tolerance", tolerance)?;
        }
        option("alpha", self.alpha, (0.0..=8.0).contains(&self.alpha), "a number from 0 to 8")?;
        let neighbors = match (self.operator, self.bandwidth) {
            (Operator::BinaryNeighbors { neighbors: 0 }, _)
            | (Operator::AdaptiveNeighbors { neighbors: 0 }, _)
            | (Operator::SelfTuning { neighbors: 0 }, _)
            | (_, Bandwidth::NeighborDistance { neighbors: 0 }) => 0,
            _ => 1,
        };
        option("neighbors", neighbors, neighbors > 0, "at least 1")?;
        let probes = (2..=1024).contains(&self.probes);
        option("probes", self.probes, probes, "a number from 2 to 1024")?;
        option("max_rows", 0, self.max_rows != Some(0), "at least 1")?;
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        if self.indices.is_some() && self.max_rows.is_some() {
            return conflict("indices and max_rows both choose the rows, expected one of them");
        }
        let normalised = !matches!(
            self.operator,
            Operator::Adjacency | Operator::BinaryNeighbors { .. } | Operator::MatrixEntries
        );
        if self.alpha != 0.0 && !normalised {
            return conflict("alpha is of the operators that are normalised, expected 0");
        }
        let approximate = matches!(self.method, Method::LowRank | Method::Lanczos);
        if approximate && self.operator != Operator::Diffusion {
            return conflict(
                "low-rank and Lanczos are ways to the spectrum of the diffusion \
                operator, expected the exact one",
            );
        }
        let isa = match self.isa {
            Some(isa) => isa,
            None => Isa::current()?,
        };
        Ok(SpectralEntropy {
            operator: self.operator,
            bandwidth: self.bandwidth,
            time: self.time,
            alpha: self.alpha,
            epsilon: self.epsilon,
            base: self.base,
            method: self.method,
            tolerance: self.tolerance,
            probes: self.probes,
            seed: self.seed,
            indices: self.indices,
            max_rows: self.max_rows,
            isa,
        })
    }
}

fn positive(name: &'static str, value: f64) -> Result<()> {
    option(name, value, value > 0.0 && value.is_finite(), "a finite number above 0")
}

fn option(
    name: &'static str,
    value: impl std::fmt::Display + std::fmt::LowerExp,
    valid: bool,
    expected: &'static str,
) -> Result<()> {
    if valid { Ok(()) } else { Err(Error::Option { name, value: short(value), expected }) }
}
