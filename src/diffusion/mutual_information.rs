//! How much of the diffusion entropy categories take away.

use ndarray::Array2;
use std::collections::BTreeMap;

use super::clusters::{equal_width_bins, k_means};
use super::entropy::EntropyEstimate;
use super::options::{Method, SpectralEntropy};
use super::points::Points;
use super::sampling::sample_rows;
use crate::{Error, Matrix, Result, Vector};

/// The most repetitions: each takes entropies of as many rows as there are.
const MOST_REPETITIONS: usize = 1 << 20;

/// Diffusion spectral mutual information with its options; made by [`builder`](Self::builder).
///
/// For N rows of features Z and a category for each row, n_c of them in category c:
///
/// ```text
/// I(Z; Y) = Σ_c (n_c/N) (mean_r H(Z[sample of n_c of all N rows, r]) − H(Z[Y = c]))
/// ```
///
/// in the unit of the entropy H: bits by default. The marginal entropy is taken at the sample size of the
/// conditional one, in R repetitions; rows are drawn without replacement from all N. It is neither
/// symmetric nor always above 0, and a function of σ first. σ by a rule is that of all rows. With
/// another [`Operator`](super::Operator) it is the published code's adjacency or matrix-entry mutual
/// information.
///
/// The definition is that of *Assessing Neural Network Representations During Training Using
/// Noise-Resilient Diffusion Spectral Entropy* (Liao et al., 2024), as its published code computes it.
///
/// ```
/// use surprisal::diffusion::{MutualInformation, SpectralEntropy};
/// // Three points, two of each, far apart: log₂ 3 bits by the labels' part in them.
/// let features = ndarray::array![[0.0], [0.0], [1e3], [1e3], [2e3], [2e3]];
/// let entropy = SpectralEntropy::builder().sigma(1.0).build()?;
/// let samples = ndarray::array![[0, 2, 1, 4, 3, 5]];
/// let information = MutualInformation::builder().entropy(entropy).samples(samples).build()?;
/// let estimate = information.of_labels(features.view(), &[7, 7, -1, -1, 7000, 7000])?;
/// assert!((estimate.value - 1.0).abs() < 1e-12);
/// assert_eq!(estimate.classes[0].label, -1);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MutualInformation {
    entropy: SpectralEntropy,
    repetitions: usize,
    seed: u64,
    samples: Option<Array2<usize>>,
}

/// A mutual information with its terms.
///
/// ```
/// # use surprisal::diffusion::{MutualInformation, SpectralEntropy};
/// let features = ndarray::array![[0.0], [0.5], [3.0], [3.5], [3.25]];
/// let entropy = SpectralEntropy::builder().sigma(1.0).build()?;
/// let information = MutualInformation::builder().entropy(entropy).build()?;
/// let estimate = information.of_labels(features.view(), &[0, 0, 1, 1, 1])?;
/// let terms: f64 = estimate.classes.iter().map(|class| class.term).sum();
/// assert!((estimate.value - terms).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MutualInformationEstimate {
    /// The mutual information, in the entropy's unit.
    pub value: f64,
    /// Of the value over the repetitions, with what approximate entropies add; `None` for one
    /// repetition of exact entropies.
    pub standard_error: Option<f64>,
    /// The categories in ascending order.
    pub classes: Vec<ClassTerm>,
    /// The category of each row: the labels as they were given, bins or clusters.
    pub labels: Vec<i64>,
    /// σ, also where it came from a rule; `None` where it plays no part.
    pub sigma: Option<f64>,
    /// The least exact way that any of the entropies went: `Exact`, then `LowRank`, then `Lanczos`.
    pub method: Method,
}

/// The part of one category.
///
/// ```
/// # use surprisal::diffusion::{MutualInformation, SpectralEntropy};
/// let features = ndarray::array![[0.0], [0.5], [3.0]];
/// let entropy = SpectralEntropy::builder().sigma(1.0).build()?;
/// let information = MutualInformation::builder().entropy(entropy).repetitions(3).build()?;
/// let estimate = information.of_labels(features.view(), &[0, 0, 9])?;
/// let lone = &estimate.classes[1];
/// assert_eq!((lone.label, lone.rows, lone.term), (9, 1, 0.0));
/// assert_eq!(lone.marginal, [0.0; 3]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClassTerm {
    /// The category.
    pub label: i64,
    /// n_c.
    pub rows: usize,
    /// H(Z\[Y = c\]).
    pub conditional: f64,
    /// H of each sample of n_c rows.
    pub marginal: Vec<f64>,
    /// (n_c/N) (mean of `marginal` − `conditional`).
    pub term: f64,
}

/// Sets the options of a [`MutualInformation`]; [`build`](Self::build) checks them.
///
/// ```
/// use surprisal::diffusion::MutualInformation;
/// assert!(MutualInformation::builder().repetitions(20).seed(1).build().is_ok());
/// assert!(MutualInformation::builder().repetitions(0).build().is_err());
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct MutualInformationBuilder {
    entropy: Option<SpectralEntropy>,
    repetitions: usize,
    seed: u64,
    samples: Option<Array2<usize>>,
}

impl MutualInformationBuilder {
    /// H, without [`indices`](super::SpectralEntropyBuilder::indices) of its own; a
    /// [`SpectralEntropy`] of default options by default.
    pub fn entropy(mut self, entropy: SpectralEntropy) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// R, the repetitions of each marginal entropy, from 1 to 2²⁰; 5 by default.
    pub fn repetitions(mut self, repetitions: usize) -> Self {
        self.repetitions = repetitions;
        self
    }

    /// Of the samples: for each category anew, as the published code does, Python's
    /// `random.seed(seed)` and then its `random.sample` for each repetition; 0 by default.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The sampled rows themselves, R×N in place of repetitions and seed: row r has for each category in
    /// ascending order n_c row numbers.
    pub fn samples(mut self, samples: Array2<usize>) -> Self {
        self.samples = Some(samples);
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    /// [`Error::Option`] for repetitions outside 1 to 2²⁰; [`Error::Shape`] for samples without a row
    /// (the rest is checked against the features); [`Error::Conflict`] for an entropy with rows of its
    /// own.
    pub fn build(self) -> Result<MutualInformation> {
        if !(1..=MOST_REPETITIONS).contains(&self.repetitions) {
            return Err(Error::Option {
                name: "repetitions",
                value: self.repetitions.to_string(),
                expected: "a number from 1 to 1048576",
            });
        }
        if let Some(samples) = self.samples.as_ref().filter(|samples| samples.nrows() == 0) {
            return Err(Error::Shape {
                argument: "samples",
                found: samples.shape().to_vec(),
                expected: "a row for each repetition".into(),
            });
        }
        let entropy = match self.entropy {
            Some(entropy) => entropy,
            None => SpectralEntropy::builder().build()?,
        };
        if entropy.indices.is_some() {
            return Err(Error::Conflict {
                what:
                    "the entropy has indices of its own, expected none: the labels choose the rows"
                        .into(),
            });
        }
        let Self { repetitions, seed, samples, .. } = self;
        Ok(MutualInformation { entropy, repetitions, seed, samples })
    }
}

impl MutualInformation {
    /// The options, each at its default.
    ///
    /// ```
    /// let information = surprisal::diffusion::MutualInformation::builder().build()?;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder() -> MutualInformationBuilder {
        MutualInformationBuilder { entropy: None, repetitions: 5, seed: 0, samples: None }
    }

    /// I(Z; Y) for integer labels, any integers.
    ///
    /// # Errors
    /// Those of [`SpectralEntropy::estimate`]; [`Error::Shape`] for labels or samples of another length
    /// than the features; [`Error::Value`] for a sample that is no row.
    pub fn of_labels<'a, L: Copy + Into<i64>>(
        &self,
        features: impl Into<Matrix<'a>>,
        labels: &[L],
    ) -> Result<MutualInformationEstimate> {
        let labels = labels.iter().map(|&label| label.into()).collect();
        self.of_categories(features.into(), labels)
    }

    /// I(Z; Y) for a scalar in [`equal_width_bins`].
    ///
    /// ```
    /// # use surprisal::diffusion::{MutualInformation, SpectralEntropy};
    /// let features = ndarray::array![[0.0_f32], [0.5], [3.0], [3.5]];
    /// let scalar = ndarray::array![0.0, 0.1, 5.0, 5.5];
    /// let entropy = SpectralEntropy::builder().sigma(1.0).build()?;
    /// let information = MutualInformation::builder().entropy(entropy).build()?;
    /// let estimate = information.of_scalar(features.view(), scalar.view(), 2)?;
    /// assert_eq!(estimate.labels, [0, 0, 1, 1]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`of_labels`](Self::of_labels) and of [`equal_width_bins`].
    pub fn of_scalar<'a, 'b>(
        &self,
        features: impl Into<Matrix<'a>>,
        scalar: impl Into<Vector<'b>>,
        bins: usize,
    ) -> Result<MutualInformationEstimate> {
        let (features, scalar) = (features.into(), scalar.into());
        check_length("scalar", scalar.len(), features.dim().0)?;
        self.of_categories(features, equal_width_bins(scalar, bins)?)
    }

    /// I(Z; Y) for vectors, a row of `reference` each, in clusters by [`k_means`] with this seed. (The
    /// published code clusters spectrally: hand its clusters to [`of_labels`](Self::of_labels) to
    /// have its number.)
    ///
    /// ```
    /// # use surprisal::diffusion::{MutualInformation, SpectralEntropy};
    /// let features = ndarray::array![[0.0_f32], [0.5], [3.0], [3.5]];
    /// let reference = ndarray::array![[0.0, 1.0], [0.1, 1.0], [5.0, 1.0], [5.5, 1.0]];
    /// let entropy = SpectralEntropy::builder().sigma(1.0).build()?;
    /// let information = MutualInformation::builder().entropy(entropy).build()?;
    /// let estimate = information.of_vectors(features.view(), reference.view(), 2)?;
    /// assert_eq!(estimate.classes.len(), 2);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`of_labels`](Self::of_labels) and of [`k_means`].
    pub fn of_vectors<'a, 'b>(
        &self,
        features: impl Into<Matrix<'a>>,
        reference: impl Into<Matrix<'b>>,
        clusters: usize,
    ) -> Result<MutualInformationEstimate> {
        let (features, reference) = (features.into(), reference.into());
        check_length("reference", reference.dim().0, features.dim().0)?;
        self.of_categories(features, k_means(reference, clusters, self.seed)?)
    }

    fn of_categories(
        &self,
        features: Matrix<'_>,
        labels: Vec<i64>,
    ) -> Result<MutualInformationEstimate> {
        let rows = features.dim().0;
        check_length("labels", labels.len(), rows)?;
        // All features are looked at before any work is done.
        let all = Points::new(features, None, self.entropy.isa)?;
        let sigma = self.entropy.resolve_sigma(&all)?;
        drop(all);
        if let Some(samples) = &self.samples {
            check_samples(samples, rows)?;
        }
        let mut members: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (row, &label) in labels.iter().enumerate() {
            members.entry(label).or_default().push(row);
        }
        let entropy = |indices: &[usize]| self.entropy_of(features, indices, sigma);
        let mut classes = Vec::with_capacity(members.len());
        let mut of_repetitions = vec![0.0; self.count()];
        let mut variance = 0.0;
        let mut method = Method::Exact;
        let mut start = 0;
        for (&label, members) in &members {
            let count = members.len();
            let weight = count as f64 / rows as f64;
            let conditional = entropy(members)?;
            let samples = self.samples_of(rows, start..start + count);
            start += count;
            let marginal = samples.iter().map(|s| entropy(s)).collect::<Result<Vec<_>>>()?;
            let share = weight / marginal.len() as f64;
            variance += uncertainty(&conditional).powi(2) * weight * weight;
            for (estimate, total) in marginal.iter().zip(&mut of_repetitions) {
                *total += weight * (estimate.value - conditional.value);
                variance += uncertainty(estimate).powi(2) * share * share;
                method = coarser(method, estimate.method);
            }
            method = coarser(method, conditional.method);
            let marginal: Vec<f64> = marginal.iter().map(|estimate| estimate.value).collect();
            let mean = marginal.iter().sum::<f64>() / marginal.len() as f64;
            let term = weight * (mean - conditional.value);
            let conditional = conditional.value;
            classes.push(ClassTerm { label, rows: count, conditional, marginal, term });
        }
        let value = classes.iter().map(|class| class.term).sum();
        let repetitions = of_repetitions.len() as f64;
        if repetitions > 1.0 {
            let mean = of_repetitions.iter().sum::<f64>() / repetitions;
            let squares: f64 = of_repetitions.iter().map(|x| (x - mean) * (x - mean)).sum();
            variance += squares / (repetitions - 1.0) / repetitions;
        }
        let standard_error =
            (repetitions > 1.0 || method != Method::Exact).then(|| variance.sqrt());
        Ok(MutualInformationEstimate { value, standard_error, classes, labels, sigma, method })
    }

    fn count(&self) -> usize {
        self.samples.as_ref().map_or(self.repetitions, Array2::nrows)
    }

    /// The rows of each repetition for the category at this place.
    fn samples_of(&self, rows: usize, place: std::ops::Range<usize>) -> Vec<Vec<usize>> {
        match &self.samples {
            Some(samples) => samples
                .rows()
                .into_iter()
                .map(|row| place.clone().map(|column| row[column]).collect())
                .collect(),
            None if place.len() == rows => vec![(0..rows).collect(); self.repetitions],
            None => super::sampling::samples(self.seed, rows, place.len(), self.repetitions),
        }
    }

    fn entropy_of(
        &self,
        features: Matrix<'_>,
        indices: &[usize],
        sigma: Option<f64>,
    ) -> Result<EntropyEstimate> {
        let entropy = &self.entropy;
        let points = match entropy.max_rows {
            Some(max_rows) if max_rows < indices.len() => {
                let chosen = sample_rows(entropy.seed, indices.len(), max_rows);
                let chosen: Vec<usize> = chosen.into_iter().map(|i| indices[i]).collect();
                Points::new(features, Some(&chosen), entropy.isa)?
            }
            _ => Points::new(features, Some(indices), entropy.isa)?,
        };
        entropy.of_points(&points, sigma)
    }
}

fn uncertainty(estimate: &EntropyEstimate) -> f64 {
    estimate.standard_error.or(estimate.error_bound).unwrap_or(0.0)
}

fn coarser(one: Method, other: Method) -> Method {
    let rank = |method| match method {
        Method::Lanczos => 2,
        Method::LowRank => 1,
        _ => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}

fn check_length(argument: &'static str, found: usize, rows: usize) -> Result<()> {
    if found == rows {
        return Ok(());
    }
    let expected = format!("[{rows}], as the features have rows");
    Err(Error::Shape { argument, found: vec![found], expected })
}

fn check_samples(samples: &Array2<usize>, rows: usize) -> Result<()> {
    if samples.ncols() != rows {
        return Err(Error::Shape {
            argument: "samples",
            found: samples.shape().to_vec(),
            expected: format!("[repetitions, {rows}]"),
        });
    }
    match samples.indexed_iter().find(|&(_, &row)| row >= rows) {
        None => Ok(()),
        Some(((r, i), row)) => Err(Error::Value {
            argument: "samples",
            index: vec![r, i],
            value: row.to_string(),
            expected: "a row of the features",
        }),
    }
}
