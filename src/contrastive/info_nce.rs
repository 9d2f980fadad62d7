//! Each query against all keys.

use ndarray::{Array1, Array2};

use super::both_ways::both_ways;
use super::checks::{finite, of_embeddings_alone, positive};
use super::contrast::Contrast;
use super::unit_rows::UnitRows;
use crate::element::Real;
use crate::error::{Error, Result};
use crate::loss::gradients::Sink;
use crate::loss::{Gradients, Inputs, LinearCrossEntropy, Upstream};
use crate::matrix::{Matrix, MatrixMut};

/// InfoNCE, also of both directions (CLIP): key i is the positive of query i, all others are its negatives.
///
/// ```text
/// z_ij = q_i·k_j/τ        L = (1/B) Σ_i (ln Σ_j e^(z_ij) − z_ii)                      B queries [B,D], keys [M,D], M ≥ B
/// symmetric (M = B):      L = ½ of that + ½ (1/B) Σ_j (ln Σ_i e^(z_ij) − z_jj)
/// dL/dτ = −(1/τ) Σ_ij (∂L/∂z_ij) z_ij                     normalized: q and k are divided by their lengths before
/// ```
///
/// In nats. It is the fused [`LinearCrossEntropy`] with the keys as classifier: no more of the B×M matrix is stored than
/// a [budget](Self::memory_budget) holds, and a small loss has its digits. Both directions come from one pass over the
/// scores, each tile of which is folded by its rows and by its columns, and from one matrix of slopes. ln B − L bounds
/// the mutual information of queries and keys from below, and is at most ln B. Keys beyond the B-th are negatives alone.
///
/// L does not change where a number is added to all scores of a query ([`MannWhitney`](super::MannWhitney) does), and
/// its gradient by the embeddings is 0 where all keys are one. τ → 0 leaves the largest margin, max_j z_ij − z_ii,
/// over τ.
///
/// van den Oord, Li and Vinyals 2018, *Representation Learning with Contrastive Predictive Coding*; both directions
/// with a learnt temperature: Radford et al. 2021, *Learning Transferable Visual Models From Natural Language
/// Supervision*. There ln(1/τ) is learnt and 1/τ kept at 100 at most; here the slope by τ itself is given, which
/// times −τ is that by ln(1/τ), and nothing is cut.
///
/// Cases in `conformance/losses.jsonl` and `geometry.jsonl`: `info_nce`, `info_nce_bound`.
///
/// ```
/// use ndarray::{Array2, arr2};
/// use surprisal::{Gradients, contrastive::InfoNce};
/// let images = arr2(&[[1.0_f64, 0.5], [-0.5, 2.0]]);
/// let texts = arr2(&[[2.0_f64, 0.0], [0.0, 1.0]]);
/// let (mut d_images, mut d_texts) = (Array2::<f64>::zeros((2, 2)), Array2::<f64>::zeros((2, 2)));
/// let clip = InfoNce::new(0.5)?.symmetric(true).normalized(true);
/// let gradients = Gradients::new().hidden(&mut d_images).classifier(&mut d_texts);
/// let contrast = clip.loss_and_gradients(&images, &texts, gradients)?;
/// assert!(contrast.loss < 0.5 && contrast.by_temperature > 0.0);
/// // Nothing pulls along a normalized row.
/// assert!(images.row(0).dot(&d_images.row(0)).abs() < 1e-16);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoNce {
    temperature: f64,
    symmetric: bool,
    normalized: bool,
    memory_budget: usize,
}

impl InfoNce {
    /// At this τ, in one direction, of the embeddings as they are.
    ///
    /// # Errors
    /// [`Error::Option`] for a τ that is not finite and above 0.
    pub fn new(temperature: f64) -> Result<Self> {
        let temperature = positive("temperature", temperature)?;
        let memory_budget = LinearCrossEntropy::DEFAULT_MEMORY_BUDGET;
        Ok(Self { temperature, symmetric: false, normalized: false, memory_budget })
    }

    /// The same at another τ, such as one that is learnt.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn at(&self, temperature: f64) -> Result<Self> {
        Ok(Self { temperature: positive("temperature", temperature)?, ..*self })
    }

    /// Whether keys look for their query, too; only queries for their key else.
    #[must_use]
    pub fn symmetric(self, symmetric: bool) -> Self {
        Self { symmetric, ..self }
    }

    /// Whether embeddings are divided by their lengths, so that the scores are cosines; they are taken as they are
    /// else.
    #[must_use]
    pub fn normalized(self, normalized: bool) -> Self {
        Self { normalized, ..self }
    }

    /// With at most so many bytes of the heap beside embeddings that are normalized and their gradients; 256 MiB, as
    /// [`LinearCrossEntropyBuilder::memory_budget`](crate::LinearCrossEntropyBuilder::memory_budget), else. Scores that
    /// fit are kept for the gradients, and made a second time where they do not: of both directions all of them (4 B²
    /// bytes in f32), of one those of some rows.
    ///
    /// ```
    /// use surprisal::contrastive::InfoNce;
    /// let rows = ndarray::Array2::<f64>::eye(4);
    /// let clip = InfoNce::new(0.5)?.symmetric(true);
    /// assert!(clip.memory_budget(1000).loss(&rows, &rows).is_err());
    /// assert_eq!(clip.memory_budget(1 << 20).loss(&rows, &rows)?, clip.loss(&rows, &rows)?);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    #[must_use]
    pub fn memory_budget(self, bytes: usize) -> Self {
        Self { memory_budget: bytes, ..self }
    }

    /// The loss of queries `[B,D]` and keys `[M,D]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for embeddings of different lengths, fewer keys than queries, or more in both directions;
    /// [`Error::Value`] for a number that is not finite, or a row of zeros that is to be normalized;
    /// [`Error::MemoryBudget`] for a budget that is too small.
    pub fn loss<'a>(
        &self,
        queries: impl Into<Matrix<'a>>,
        keys: impl Into<Matrix<'a>>,
    ) -> Result<f64> {
        Ok(self.evaluate(queries.into(), keys.into(), None)?.loss)
    }

    /// The loss with its slope by τ and its gradients: [`Gradients::hidden`] is of the queries,
    /// [`Gradients::classifier`] of the keys.
    ///
    /// # Errors
    /// As [`loss`](Self::loss); [`Error::Shape`] for gradients that do not fit, [`Error::Conflict`] for other ones.
    pub fn loss_and_gradients<'a>(
        &self,
        queries: impl Into<Matrix<'a>>,
        keys: impl Into<Matrix<'a>>,
        gradients: Gradients<'_>,
    ) -> Result<Contrast> {
        self.evaluate(queries.into(), keys.into(), Some(gradients))
    }

    fn evaluate(
        &self,
        queries: Matrix<'_>,
        keys: Matrix<'_>,
        gradients: Option<Gradients<'_>>,
    ) -> Result<Contrast> {
        let ((rows, width), (columns, key_width)) = (queries.dim(), keys.dim());
        if width != key_width || columns < rows || (self.symmetric && columns != rows) {
            let count = if self.symmetric { "" } else { " rows or more" };
            return Err(Error::Shape {
                argument: "keys",
                found: vec![columns, key_width],
                expected: format!("[{rows}{count}, {width}], a key for each query"),
            });
        }
        finite("queries", &queries)?;
        finite("keys", &keys)?;
        let targets: Vec<u32> = (0..rows as u32).collect();
        let inputs = Inputs::new(queries.shorter(), keys.shorter(), &targets);
        if let Some(gradients) = &gradients {
            of_embeddings_alone(gradients)?;
            gradients.check(&inputs)?;
        }
        match (self.normalized, inputs.is_double()) {
            (false, _) => self.of_rows(&queries, &keys, gradients),
            (true, true) => self.of_directions::<f64>(&queries, &keys, gradients),
            (true, false) => self.of_directions::<f32>(&queries, &keys, gradients),
        }
    }

    fn of_directions<R: Real>(
        &self,
        queries: &Matrix<'_>,
        keys: &Matrix<'_>,
        gradients: Option<Gradients<'_>>,
    ) -> Result<Contrast> {
        let queries = UnitRows::<R>::of("queries", queries)?;
        let keys = UnitRows::<R>::of("keys", keys)?;
        let matrices = [queries.view(), keys.view()].map(R::matrix);
        let Some(mut gradients) = gradients else {
            return self.of_rows(&matrices[0], &matrices[1], None);
        };
        let zeros = |rows: &UnitRows<R>| Array2::from_elem(rows.view().dim(), R::ZERO);
        let mut by_queries = gradients.hidden.is_some().then(|| zeros(&queries));
        let mut by_keys = gradients.classifier.is_some().then(|| zeros(&keys));
        let of_rows = Gradients {
            hidden: by_queries.as_mut().map(sink::<R>),
            classifier: by_keys.as_mut().map(sink::<R>),
            ..Gradients::new()
        };
        let contrast = self.of_rows(&matrices[0], &matrices[1], Some(of_rows))?;
        for (by, to, rows) in [
            (by_queries, &mut gradients.hidden, &queries),
            (by_keys, &mut gradients.classifier, &keys),
        ] {
            if let (Some(by), Some(to)) = (by, to) {
                rows.put_gradient(&by, to);
            }
        }
        Ok(contrast)
    }

    fn of_rows(
        &self,
        queries: &Matrix<'_>,
        keys: &Matrix<'_>,
        gradients: Option<Gradients<'_>>,
    ) -> Result<Contrast> {
        let loss = LinearCrossEntropy::builder()
            .temperature(self.temperature)
            .entropy(gradients.is_some())
            .memory_budget(self.memory_budget)
            .ignore_index(None)
            .build()?;
        let targets: Vec<u32> = (0..queries.dim().0 as u32).collect();
        let inputs = Inputs::new(queries.shorter(), keys.shorter(), &targets);
        match (self.symmetric, inputs.is_double(), gradients) {
            (true, true, gradients) => both_ways::<f64>(&loss, &inputs, gradients),
            (true, false, gradients) => both_ways::<f32>(&loss, &inputs, gradients),
            (false, _, None) => {
                Ok(Contrast { loss: loss.forward(&inputs)?.loss(), ..Contrast::NOTHING })
            }
            (false, _, Some(gradients)) => {
                let mut by_temperature = Array1::<f64>::zeros(targets.len());
                let Gradients { mut hidden, mut classifier, .. } = gradients;
                let gradients = Gradients {
                    hidden: hidden.as_mut().map(shorter),
                    classifier: classifier.as_mut().map(shorter),
                    ..Gradients::new().temperature(&mut by_temperature)
                };
                let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
                Ok(Contrast { loss: forward.loss(), by_temperature: by_temperature.sum() })
            }
        }
    }
}

fn sink<R: Real>(array: &mut Array2<R>) -> Sink<MatrixMut<'_>> {
    Sink { array: R::matrix_view_mut(array.view_mut()), accumulate: false }
}

fn shorter<'s>(sink: &'s mut Sink<MatrixMut<'_>>) -> Sink<MatrixMut<'s>> {
    Sink { array: sink.array.shorter_mut(), accumulate: sink.accumulate }
}
