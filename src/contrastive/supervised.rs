//! Each embedding against all others, with those of its label as positives.

use ndarray::{Array1, Array2};
use std::collections::BTreeMap;

use super::checks::{finite, of_embeddings_alone, positive};
use super::contrast::Contrast;
use super::unit_rows::UnitRows;
use crate::element::Real;
use crate::error::{Error, Result};
use crate::loss::{Candidates, Gradients, Inputs, LinearCrossEntropy, Upstream};
use crate::matrix::Matrix;

/// Supervised contrastive loss (SupCon) of embeddings with labels; with two embeddings a label it is SimCLR's
/// (NT-Xent), of which both are views of one example.
///
/// ```text
/// z_ij = u_i·u_j/τ,  u = x/‖x‖        P_i = {p ≠ i : y_p = y_i}
/// L = (1/N) Σ_i ( ln Σ_{j≠i} e^(z_ij) − (1/|P_i|) Σ_{p∈P_i} z_ip )        dL/dτ = −(1/τ) Σ_ij (∂L/∂z_ij) z_ij
/// ```
///
/// In nats. The sums over j are those of the fused [`LinearCrossEntropy`] with the embeddings as their own classifier,
/// from which each row leaves itself out ([`Candidates::with_others`]); positives are summed by label, in O(N·D). No
/// N×N matrix is stored. L is at least the mean of ln |P_i|. What is left of it is known to about the rounding of z,
/// ε/τ: with one positive each a loss near 0 has no more digits than that.
///
/// Khosla et al. 2020, *Supervised Contrastive Learning* (L_out, the sum outside of the logarithm); Chen et al. 2020,
/// *A Simple Framework for Contrastive Learning of Visual Representations*. The former's code multiplies by
/// τ/τ_base, 0.07 both by default, and leaves rows without a positive to be NaN; others leave them out. Here they
/// are an error: nothing pulls them anywhere.
///
/// Cases in `conformance/losses.jsonl`: `supervised_contrastive`.
///
/// ```
/// use ndarray::{Array2, arr2};
/// use surprisal::{Gradients, contrastive::SupervisedContrastive};
/// let rows = arr2(&[[1.0_f64, 0.1], [2.0, -0.1], [0.1, 1.0], [-0.2, 3.0]]);
/// let mut gradient = Array2::<f64>::zeros((4, 2));
/// let supcon = SupervisedContrastive::new(0.1)?;
/// let contrast = supcon.loss_and_gradients(&rows, &[7, 7, 3, 3], Gradients::new().hidden(&mut gradient))?;
/// assert!(contrast.loss < 1e-2);
/// assert!(supcon.loss(&rows, &[7, 3, 7, 3])? > 5.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SupervisedContrastive {
    temperature: f64,
}

impl SupervisedContrastive {
    /// At this τ.
    ///
    /// # Errors
    /// [`Error::Option`] for a τ that is not finite and above 0.
    pub fn new(temperature: f64) -> Result<Self> {
        Ok(Self { temperature: positive("temperature", temperature)? })
    }

    /// The same at another τ, such as one that is learnt.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn at(&self, temperature: f64) -> Result<Self> {
        Self::new(temperature)
    }

    /// The loss of embeddings `[N,D]` with these labels.
    ///
    /// # Errors
    /// [`Error::Shape`] for labels that are not one a row; [`Error::Value`] for a number that is not finite, a row of
    /// zeros, or a label that stands once.
    pub fn loss<'a>(&self, embeddings: impl Into<Matrix<'a>>, labels: &[u32]) -> Result<f64> {
        Ok(self.evaluate(embeddings.into(), labels, None)?.loss)
    }

    /// The loss with its slope by τ and its gradient by the embeddings, [`Gradients::hidden`].
    ///
    /// # Errors
    /// As [`loss`](Self::loss); [`Error::Shape`] for a gradient that does not fit, [`Error::Conflict`] for other ones.
    pub fn loss_and_gradients<'a>(
        &self,
        embeddings: impl Into<Matrix<'a>>,
        labels: &[u32],
        gradients: Gradients<'_>,
    ) -> Result<Contrast> {
        self.evaluate(embeddings.into(), labels, Some(gradients))
    }

    fn evaluate(
        &self,
        embeddings: Matrix<'_>,
        labels: &[u32],
        gradients: Option<Gradients<'_>>,
    ) -> Result<Contrast> {
        finite("embeddings", &embeddings)?;
        let rows = embeddings.dim().0;
        if labels.len() != rows {
            let expected = format!("[{rows}], one for each embedding");
            return Err(Error::Shape { argument: "labels", found: vec![labels.len()], expected });
        }
        let inputs = Inputs::unlabelled(embeddings.shorter(), embeddings.shorter());
        if let Some(gradients) = &gradients {
            of_embeddings_alone(gradients)?;
            if gradients.classifier.is_some() {
                let what =
                    "embeddings are their own classifier, expected a gradient of hidden alone";
                return Err(Error::Conflict { what: what.into() });
            }
            gradients.check(&inputs)?;
        }
        match inputs.is_double() {
            true => self.of_directions::<f64>(&embeddings, labels, gradients),
            false => self.of_directions::<f32>(&embeddings, labels, gradients),
        }
    }

    fn of_directions<R: Real>(
        &self,
        embeddings: &Matrix<'_>,
        labels: &[u32],
        gradients: Option<Gradients<'_>>,
    ) -> Result<Contrast> {
        let positives = Positives::of(labels)?;
        let unit = UnitRows::<R>::of("embeddings", embeddings)?;
        let (rows, width) = unit.view().dim();
        let wanted = gradients.is_some();
        let loss = LinearCrossEntropy::builder()
            .temperature(self.temperature)
            .entropy(wanted)
            .ignore_index(None)
            .build()?;
        let own = Array2::from_shape_fn((rows, 1), |(i, _)| i as u32);
        let inputs = Inputs::unlabelled(R::matrix(unit.view()), R::matrix(unit.view()))
            .candidates(Candidates::new(&own).with_others());
        let mut by_rows = Array2::from_elem((rows, width), R::ZERO);
        let mut by_classifier = Array2::from_elem((rows, width), R::ZERO);
        let mut by_temperature = Array1::<f64>::zeros(rows);
        let forward = match wanted {
            true => {
                // The log-sum-exp over the others is that over all and the logarithm of their share.
                let each = Array1::from_elem(rows, 1.0 / rows as f64);
                let upstream = Upstream::scalar(0.0).log_sum_exp(&each).log_others(&each);
                let gradients = Gradients::new()
                    .hidden(R::matrix_view_mut(by_rows.view_mut()))
                    .classifier(R::matrix_view_mut(by_classifier.view_mut()))
                    .temperature(&mut by_temperature);
                loss.loss_and_gradients(&inputs, &upstream, gradients)?
            }
            false => loss.forward(&inputs)?,
        };
        let log_others = forward.candidates()?.log_others;
        let log_sums: f64 = forward.log_sum_exp().iter().zip(&log_others).map(|(a, b)| a + b).sum();

        let sums = positives.sums::<R>(&unit);
        let mut pulls = 0.0;
        for (i, u) in unit.view().rows().into_iter().enumerate() {
            let (label, share) = positives.of_row(i);
            let factor = share / (self.temperature * rows as f64);
            let mut along = 0.0;
            for (j, x) in u.iter().enumerate() {
                let x = x.to_f64();
                let others = sums[[label, j]] - x;
                along += x * others;
                if wanted {
                    // As anchor and as positive of others.
                    let g = by_rows[[i, j]].to_f64() + by_classifier[[i, j]].to_f64();
                    by_rows[[i, j]] = R::from_f64(g - 2.0 * factor * others);
                }
            }
            pulls += factor * along;
        }
        if let Some(to) = &mut gradients.unwrap_or_default().hidden {
            unit.put_gradient(&by_rows, to);
        }
        Ok(Contrast {
            loss: log_sums / rows as f64 - pulls,
            by_temperature: by_temperature.sum() + pulls / self.temperature,
        })
    }
}

/// Which rows have one label.
struct Positives {
    labels: Vec<usize>,
    counts: Vec<usize>,
}

impl Positives {
    /// # Errors
    /// [`Error::Value`] for a label that stands once.
    fn of(labels: &[u32]) -> Result<Self> {
        let mut numbers = BTreeMap::new();
        let mut counts = Vec::new();
        let numbered = |&label| {
            let number = *numbers.entry(label).or_insert(counts.len());
            if number == counts.len() {
                counts.push(0);
            }
            counts[number] += 1;
            number
        };
        let numbered: Vec<usize> = labels.iter().map(numbered).collect();
        match numbered.iter().position(|&label| counts[label] < 2) {
            Some(i) => Err(Error::Value {
                argument: "labels",
                index: vec![i],
                value: labels[i].to_string(),
                expected: "a label that another embedding has, too",
            }),
            None => Ok(Self { labels: numbered, counts }),
        }
    }

    /// The label of a row, and 1 over the number of its positives.
    fn of_row(&self, row: usize) -> (usize, f64) {
        let label = self.labels[row];
        (label, 1.0 / (self.counts[label] - 1) as f64)
    }

    /// The sum of the rows of each label.
    fn sums<R: Real>(&self, unit: &UnitRows<R>) -> Array2<f64> {
        let mut sums = Array2::zeros((self.counts.len(), unit.view().dim().1));
        for (u, &label) in unit.view().rows().into_iter().zip(&self.labels) {
            for (sum, x) in sums.row_mut(label).iter_mut().zip(u) {
                *sum += x.to_f64();
            }
        }
        sums
    }
}
