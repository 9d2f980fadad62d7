//! Each query against all keys.

use ndarray::{Array1, Array2};

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
/// In nats. It is the fused [`LinearCrossEntropy`] with the keys as classifier: the B×M matrix is never stored, and a
/// small loss has its digits. Of both directions each is one pass: twice the time of one. ln B − L bounds the mutual
/// information of queries and keys from below, and is at most ln B. Keys beyond the B-th are negatives alone.
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
}

impl InfoNce {
    /// At this τ, in one direction, of the embeddings as they are.
    ///
    /// # Errors
    /// [`Error::Option`] for a τ that is not finite and above 0.
    pub fn new(temperature: f64) -> Result<Self> {
        let temperature = positive("temperature", temperature)?;
        Ok(Self { temperature, symmetric: false, normalized: false })
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

    /// The loss of queries `[B,D]` and keys `[M,D]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for embeddings of different lengths, fewer keys than queries, or more in both directions;
    /// [`Error::Value`] for a number that is not finite, or a row of zeros that is to be normalized.
    pub fn loss<'a>(
        &self,
        queries: impl Into<Matrix<'a>>,
        keys: impl Into<Matrix<'a>>,
    ) -> Result<f64> {
        Ok(self.evaluate(queries.into(), keys.into(), None)?.loss)
    }

    /// The loss with its slope by τ and its gradients: [`Gradients::hidden`] is of the queries,
    /// [`Gradients::classifier`] of the keys. In both directions a gradient of 16 bits is rounded twice.
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
        let wanted = gradients.is_some();
        let Gradients { mut hidden, mut classifier, .. } = gradients.unwrap_or_default();
        let direction = Direction {
            loss: LinearCrossEntropy::builder()
                .temperature(self.temperature)
                .entropy(wanted)
                .ignore_index(None)
                .build()?,
            targets: (0..queries.dim().0 as u32).collect(),
            share: if self.symmetric { 0.5 } else { 1.0 },
            wanted,
        };
        let first = Gradients {
            hidden: hidden.as_mut().map(shorter),
            classifier: classifier.as_mut().map(shorter),
            ..Gradients::new()
        };
        let first = direction.evaluate(queries, keys, first)?;
        if !self.symmetric {
            return Ok(first);
        }
        let added = |sink: Sink<_>| Sink { accumulate: true, ..sink };
        let second = Gradients {
            hidden: classifier.map(added),
            classifier: hidden.map(added),
            ..Gradients::new()
        };
        let second = direction.evaluate(keys, queries, second)?;
        Ok(Contrast {
            loss: first.loss + second.loss,
            by_temperature: first.by_temperature + second.by_temperature,
        })
    }
}

/// One way to look.
struct Direction {
    loss: LinearCrossEntropy,
    targets: Vec<u32>,
    /// Of the whole loss.
    share: f64,
    /// Whether there are to be slopes.
    wanted: bool,
}

impl Direction {
    fn evaluate(
        &self,
        from: &Matrix<'_>,
        to: &Matrix<'_>,
        gradients: Gradients<'_>,
    ) -> Result<Contrast> {
        let inputs = Inputs::new(from.shorter(), to.shorter(), &self.targets);
        if !self.wanted {
            let loss = self.share * self.loss.forward(&inputs)?.loss();
            return Ok(Contrast { loss, ..Contrast::NOTHING });
        }
        let mut by_temperature = Array1::<f64>::zeros(self.targets.len());
        let Gradients { mut hidden, mut classifier, .. } = gradients;
        let gradients = Gradients {
            hidden: hidden.as_mut().map(shorter),
            classifier: classifier.as_mut().map(shorter),
            ..Gradients::new()
        };
        let gradients = gradients.temperature(&mut by_temperature);
        let upstream = Upstream::scalar(self.share);
        let forward = self.loss.loss_and_gradients(&inputs, &upstream, gradients)?;
        Ok(Contrast { loss: self.share * forward.loss(), by_temperature: by_temperature.sum() })
    }
}

fn sink<R: Real>(array: &mut Array2<R>) -> Sink<MatrixMut<'_>> {
    Sink { array: R::matrix_view_mut(array.view_mut()), accumulate: false }
}

fn shorter<'s>(sink: &'s mut Sink<MatrixMut<'_>>) -> Sink<MatrixMut<'s>> {
    Sink { array: sink.array.shorter_mut(), accumulate: sink.accumulate }
}
