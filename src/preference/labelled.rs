//! Losses of single sequences with a label: what one is, and how a batch of them is evaluated.

use ndarray::Array2;
use std::fmt::Debug;

use super::pairs::{SequenceLosses, weighted_sum, weights};
use super::sequences::{NAMES, Sequences, put_on_tokens};
use crate::error::{Error, Result};
use crate::matrix::Vector;

/// A loss of a sequence that is labelled good or bad, with a reference policy.
///
/// It is a function of the label and of
///
/// ```text
/// x = Σ_t (log π_t − log π_ref,t)      over the tokens that count, in nats
/// ```
///
/// [`Kto`](super::Kto) and [`ImplicitReward`](super::ImplicitReward) are such losses; one of your own is its value
/// and its slope.
///
/// ```
/// use surprisal::preference::{LabelledLoss, Sequences};
/// /// What is good shall be at least as likely as under the reference, what is bad at most.
/// #[derive(Debug)]
/// struct Hinge;
/// impl LabelledLoss for Hinge {
///     fn evaluate_sequence(&self, x: f64, good: bool) -> (f64, f64) {
///         let sign = if good { -1.0 } else { 1.0 };
///         if sign * x > 0.0 { (sign * x, sign) } else { (0.0, 0.0) }
///     }
/// }
/// let (policy, reference) = (ndarray::arr2(&[[-1.0, -2.0]]), ndarray::arr2(&[[-1.0, -1.5]]));
/// let mask = ndarray::arr2(&[[true, true]]);
/// let sequences = Sequences::new(&policy, &mask).reference(&reference);
/// assert_eq!(Hinge.evaluate(&sequences, &[true])?.value, 0.5);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub trait LabelledLoss: Debug {
    /// The loss of a sequence with this x, and its slope, which counts as 0 where the loss is infinite.
    fn evaluate_sequence(&self, x: f64, good: bool) -> (f64, f64);

    /// The mean of the losses of sequences with labels `[B]`, and its gradient.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Value`] for arrays that do not fit; [`Error::Conflict`] for sequences without a
    /// reference.
    fn evaluate(&self, sequences: &Sequences<'_>, labels: &[bool]) -> Result<SequenceLosses> {
        evaluate(self, sequences, labels, None)
    }

    /// Σ w ℓ with weights `[B]` of any sign, and its gradient. What weighs 0 adds 0, whatever its loss is.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    fn evaluate_weighted(
        &self,
        sequences: &Sequences<'_>,
        labels: &[bool],
        weights: Vector<'_>,
    ) -> Result<SequenceLosses> {
        evaluate(self, sequences, labels, Some(weights))
    }
}

fn evaluate<L: LabelledLoss + ?Sized>(
    loss: &L,
    sequences: &Sequences<'_>,
    labels: &[bool],
    given: Option<Vector<'_>>,
) -> Result<SequenceLosses> {
    let slopes = Slopes::new(loss, sequences, labels)?;
    let weights = weights(given, labels.len())?;
    let gradient = slopes.gradient(&weights);
    Ok(SequenceLosses {
        value: weighted_sum(&weights, &slopes.losses),
        losses: slopes.losses.into(),
        gradient,
    })
}

/// The losses of sequences, and their slopes by every token's log-probability.
pub(crate) struct Slopes {
    pub(crate) losses: Vec<f64>,
    slopes: Vec<f64>,
    kept: Array2<bool>,
}

impl Slopes {
    pub(crate) fn new<L: LabelledLoss + ?Sized>(
        loss: &L,
        sequences: &Sequences<'_>,
        labels: &[bool],
    ) -> Result<Self> {
        let checked = sequences.checked(&NAMES)?;
        if !sequences.has_reference() {
            let what = format!(
                "{loss:?} compares with a reference policy, expected its log-probabilities"
            );
            return Err(Error::Conflict { what });
        }
        let rows = checked.kept.nrows();
        if labels.len() != rows {
            return Err(Error::Shape {
                argument: "labels",
                found: vec![labels.len()],
                expected: format!("[{rows}], a label for each sequence"),
            });
        }
        let of = |(row, &good): (usize, &bool)| {
            let (value, slope) = loss.evaluate_sequence(checked.sum_over_reference(row), good);
            (value, if value.is_infinite() { 0.0 } else { slope })
        };
        let (losses, slopes) = labels.iter().enumerate().map(of).unzip();
        Ok(Self { losses, slopes, kept: checked.kept })
    }

    /// The gradient of Σ w ℓ.
    pub(crate) fn gradient(&self, weights: &[f64]) -> Array2<f64> {
        let mut gradient = Array2::zeros(self.kept.dim());
        for (row, (&weight, &slope)) in weights.iter().zip(&self.slopes).enumerate() {
            if weight != 0.0 {
                put_on_tokens(&self.kept, row, weight * slope, &mut gradient);
            }
        }
        gradient
    }
}
