//! Watching a representation while it is trained: batches in, every measure out, bounded memory.

use ndarray::ArrayView2;
use std::ops::Range;

use crate::diffusion::{Bandwidth, EntropyEstimate, SpectralEntropy};
use crate::random::Generator;
use crate::spectrum::{Centering, Covariance, Factor, PowerLaw, Precision, RANKME_EPSILON};
use crate::{Error, Matrix, Result};

/// Sets the options of a [`Watch`]; [`build`](Self::build) checks them.
///
/// ```
/// use surprisal::watch::Watch;
/// let watch = Watch::builder(64).reservoir(500).seed(3).alpha_range(5..50).build()?;
/// assert_eq!((watch.rows(), watch.columns()), (0, 64));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct WatchBuilder {
    columns: usize,
    reservoir: usize,
    seed: u64,
    alpha_range: Option<Range<usize>>,
    entropy: Option<SpectralEntropy>,
    precision: Precision,
}

impl WatchBuilder {
    /// How many rows are kept for the diffusion spectral entropy, a uniform sample of all that have
    /// been seen; at least 1, 1024 by default. Entropies of different numbers of rows do not compare.
    pub fn reservoir(mut self, rows: usize) -> Self {
        self.reservoir = rows;
        self
    }

    /// The seed of that sample; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The eigenvalues that α-ReQ is fitted to: indices from 0, half-open; from 10 to 100 or the
    /// numerical rank by default. While they leave the numerical rank there is no fit.
    pub fn alpha_range(mut self, range: Range<usize>) -> Self {
        self.alpha_range = Some(range);
        self
    }

    /// What the features were computed in, where that is coarser than the type that is pushed: see
    /// [`Precision`].
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The diffusion spectral entropy to compute of the rows that are kept; that of t = 1 and the median
    /// bandwidth by default.
    pub fn entropy(mut self, entropy: SpectralEntropy) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// Checks the options, and takes the memory.
    ///
    /// # Errors
    /// [`Error::Option`] for no columns, an empty reservoir, or where the environment asks for an
    /// instruction set that is not there; [`Error::TooLarge`] where memory is short.
    pub fn build(self) -> Result<Watch> {
        let Self { columns, reservoir, seed, alpha_range, entropy, precision } = self;
        if reservoir == 0 {
            let value = "0".into();
            return Err(Error::Option { name: "reservoir", value, expected: "at least 1 row" });
        }
        let entropy = match entropy {
            Some(entropy) => entropy,
            None => SpectralEntropy::builder().bandwidth(Bandwidth::MedianDistance).build()?,
        };
        let mut factor = Factor::new(columns, Centering::Raw)?;
        factor.declare_precision(precision);
        let mut covariance = Covariance::new(columns)?;
        covariance.declare_precision(precision);
        Ok(Watch {
            capacity: reservoir,
            alpha_range,
            entropy,
            factor,
            covariance,
            kept: Vec::new(),
            random: Generator::stream(seed, 0),
        })
    }
}

/// The representation as it is so far.
///
/// ```
/// # use surprisal::watch::Watch;
/// # let mut watch = Watch::builder(2).build()?;
/// watch.push(ndarray::array![[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]].view())?;
/// let measures = watch.measures()?;
/// assert_eq!((measures.rows, measures.participation_ratio), (4, 2.0));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Measures {
    /// Rows seen.
    pub rows: usize,
    /// [RankMe](crate::spectrum::Spectrum::rankme) of the features as they are, ε = 1e-7.
    pub rankme: f64,
    /// [Roy and Vetterli's effective rank](crate::spectrum::Spectrum::effective_rank) of the same.
    pub effective_rank: f64,
    /// [Stable rank](crate::spectrum::Spectrum::stable_rank) of the same.
    pub stable_rank: f64,
    /// [Nuclear rank](crate::spectrum::Spectrum::nuclear_rank) of the same.
    pub nuclear_rank: f64,
    /// [RankMe of the covariance](crate::spectrum::Spectrum::rankme_covariance), ε = 1e-7.
    pub rankme_covariance: f64,
    /// [α-ReQ](crate::spectrum::Spectrum::alpha_req); `None` where the range leaves the rank.
    pub alpha_req: Option<PowerLaw>,
    /// The numerical [rank](crate::spectrum::Spectrum::rank) of the features about their mean.
    pub rank: usize,
    /// [Participation ratio](crate::spectrum::Spectrum::participation_ratio).
    pub participation_ratio: f64,
    /// [NESum](crate::spectrum::Spectrum::nesum).
    pub nesum: f64,
    /// [Von Neumann entropy](crate::spectrum::Spectrum::von_neumann_entropy) of the covariance, in
    /// nats.
    pub von_neumann_entropy: f64,
    /// The diffusion spectral entropy of the rows that are kept; `None` where the bandwidth's rule
    /// finds no distance above 0: half of the rows coincide.
    pub diffusion_entropy: Option<EntropyEstimate>,
}

/// An accumulator for a training loop: takes batches of features as they come, and gives all measures
/// at any time.
///
/// It keeps a triangular factor and a covariance (`8·D·(5·D + 2·513)` bytes or so) and a uniform sample
/// of the rows (`8·D` bytes each), whatever the number of rows. The sample is Vitter's algorithm R
/// ("Random sampling with a reservoir", 1985), one draw for each row: it does not depend on how the
/// rows are divided into batches. For a window of the training, begin a new one.
///
/// ```
/// use ndarray::Array2;
/// use surprisal::watch::Watch;
///
/// let mut watch = Watch::builder(8).build()?;
/// for step in 0..20 {
///     // The hidden states of a batch.
///     let batch = Array2::from_shape_fn((32, 8), |(i, j)| ((i * 7 + j * j * 3 + step) as f32).sin());
///     watch.push(batch.view())?;
/// }
/// let measures = watch.measures()?;
/// assert_eq!(measures.rows, 640);
/// assert!(measures.rankme > 1.0 && measures.rankme < 8.0);
/// assert!(measures.diffusion_entropy.unwrap().value > 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone)]
pub struct Watch {
    /// How many rows the reservoir holds.
    capacity: usize,
    alpha_range: Option<Range<usize>>,
    entropy: SpectralEntropy,
    factor: Factor,
    covariance: Covariance,
    /// Row after row.
    kept: Vec<f64>,
    random: Generator,
}

impl Watch {
    /// The options, each at its default, for features of so many columns.
    ///
    /// ```
    /// let watch = surprisal::watch::Watch::builder(8).build()?;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder(columns: usize) -> WatchBuilder {
        WatchBuilder {
            columns,
            reservoir: 1024,
            seed: 0,
            alpha_range: None,
            entropy: None,
            precision: Precision::F64,
        }
    }

    /// Adds the rows of a batch `[n, D]` of any strides.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of columns, [`Error::Value`] for a number that is not
    /// finite: nothing is taken then; [`Error::TooLarge`] where memory is short.
    pub fn push<'a>(&mut self, batch: impl Into<Matrix<'a>>) -> Result<()> {
        self.push_matrix(batch.into())
    }

    fn push_matrix(&mut self, batch: Matrix<'_>) -> Result<()> {
        let seen = self.rows();
        self.covariance.push(batch)?;
        self.factor.push(batch)?;
        let (columns, capacity) = (self.columns(), self.capacity);
        for row in 0..batch.dim().0 {
            let place = if seen + row < capacity {
                self.kept.resize(self.kept.len() + columns, 0.0);
                seen + row
            } else {
                (self.random.uniform() * (seen + row + 1) as f64) as usize
            };
            if place < capacity {
                let to = &mut self.kept[place * columns..(place + 1) * columns];
                batch.read(row, 0..columns, to);
            }
        }
        Ok(())
    }

    /// How many rows have been pushed.
    pub fn rows(&self) -> usize {
        self.covariance.rows()
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.covariance.columns()
    }

    /// The rows that are kept, in `f64`.
    pub fn reservoir(&self) -> ArrayView2<'_, f64> {
        let rows = self.kept.len() / self.columns();
        ArrayView2::from_shape((rows, self.columns()), &self.kept).expect("whole rows")
    }

    /// All measures of the rows so far; more may be pushed after.
    ///
    /// # Errors
    /// [`Error::Shape`] where there are no rows; [`Error::Value`] where a singular value is beyond
    /// `f64`; as [`SpectralEntropy::estimate`].
    pub fn measures(&self) -> Result<Measures> {
        let raw = self.factor.spectrum()?;
        let centered = self.covariance.spectrum()?;
        let alpha_req = match &self.alpha_range {
            // Refused where it leaves the rank.
            Some(range) => centered.alpha_req(range.clone()).ok(),
            None => {
                centered.usual_alpha_range().map(|range| centered.alpha_req(range)).transpose()?
            }
        };
        let diffusion_entropy = match self.entropy.estimate(self.reservoir()) {
            // The rule has found no distance above 0.
            Err(Error::Conflict { .. }) => None,
            other => Some(other?),
        };
        Ok(Measures {
            rows: self.rows(),
            rankme: raw.rankme(RANKME_EPSILON)?,
            effective_rank: raw.effective_rank(),
            stable_rank: raw.stable_rank(),
            nuclear_rank: raw.nuclear_rank(),
            rankme_covariance: centered.rankme_covariance(RANKME_EPSILON)?,
            alpha_req,
            rank: centered.rank(),
            participation_ratio: centered.participation_ratio(),
            nesum: centered.nesum(),
            von_neumann_entropy: centered.von_neumann_entropy(),
            diffusion_entropy,
        })
    }
}
