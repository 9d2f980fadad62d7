//! Classes beside a teacher's answers to questions.

use ndarray::{Array2, s};

use super::cross_entropy::of;
use super::given::{Labels, labels, wide};
use crate::error::{Error, Result};
use crate::loss::{Gradients, Inputs, LinearCrossEntropy, Upstream};
use crate::matrix::Matrix;
use crate::numerics::not_negative;

/// Multi-aspect distillation: a classifier of C classes that has Q logits more, for questions about the input (its aspects)
/// that a larger model has answered with probabilities q.
///
/// ```text
/// L = w · mean of −ln softmax(x_1..x_C)_y  +  α · mean over N·Q of ( ln(1 + e^x) − q x )
/// ```
///
/// The first part is cross-entropy, the second [`BinaryCrossEntropy`](super::BinaryCrossEntropy) with the answers for
/// labels: q is the softmax of the teacher's logits of "yes" and "no". With α = 0 the aspects are not learnt, with w = 0
/// they alone are.
///
/// # What published codes do
/// The official one has w = 1, α = 4 and Q = 50 for fine-grained data, and names a temperature of 1 that it does not use.
///
/// Lee et al. 2025, *Multi-aspect Knowledge Distillation with Large Language Model*. Cases in `conformance/losses.jsonl`:
/// `multi_aspect_distillation`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::binary::MultiAspect;
/// // Two classes and one question.
/// let loss = MultiAspect::new(1.0, 4.0)?;
/// let found = loss.evaluate(&arr2(&[[0.0_f64, 0.0, 0.0]]), &[1], &arr2(&[[0.5]]))?;
/// assert!((found.value - 5.0 * std::f64::consts::LN_2).abs() < 1e-15);
/// assert_eq!(found.gradient, arr2(&[[0.5, -0.5, 0.0]]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MultiAspect {
    weight: f64,
    alpha: f64,
}

/// What [`MultiAspect::evaluate`] gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MultiAspectLoss {
    /// L in nats.
    pub value: f64,
    /// The mean cross-entropy of the classes, without its weight.
    pub classes: f64,
    /// The mean binary cross-entropy of the aspects, without its weight.
    pub aspects: f64,
    /// `[N,C+Q]` of L by the logits.
    pub gradient: Array2<f64>,
}

impl MultiAspect {
    /// With w for the classes and α for the aspects.
    ///
    /// # Errors
    /// [`Error::Option`] for one of them below 0 or not finite.
    pub fn new(weight: f64, alpha: f64) -> Result<Self> {
        Ok(Self { weight: not_negative("weight", weight)?, alpha: not_negative("alpha", alpha)? })
    }

    /// The loss of logits `[N,C+Q]` with the N classes that are right, below C, and the answers `[N,Q]`, from 0 to 1. The
    /// example is above.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not go together, or no class or no aspect is left;
    /// [`Error::TargetOutOfRange`]; [`Error::Value`] for an answer that is not from 0 to 1.
    pub fn evaluate<'a, 'b>(
        &self,
        logits: impl Into<Matrix<'a>>,
        targets: &[u32],
        answers: impl Into<Matrix<'b>>,
    ) -> Result<MultiAspectLoss> {
        self.evaluate_here(logits.into(), targets, answers.into())
    }

    fn evaluate_here(
        &self,
        logits: Matrix<'_>,
        targets: &[u32],
        answers: Matrix<'_>,
    ) -> Result<MultiAspectLoss> {
        let logits = wide("logits", logits)?;
        let ((rows, columns), (_, questions)) = (logits.dim(), answers.dim());
        if questions >= columns {
            return Err(Error::Shape {
                argument: "the answers",
                found: vec![answers.dim().0, questions],
                expected: format!("[{rows}, Q] with a Q below {columns}, which leaves a class"),
            });
        }
        let classes = columns - questions;
        let answers = labels("the answers", answers, (rows, questions), Labels::Shares)?;
        let mut gradient = Array2::zeros(logits.dim());
        let inputs = Inputs::from_logits(logits.slice(s![.., ..classes]), targets);
        let to = Gradients::new().logits(gradient.slice_mut(s![.., ..classes]));
        let loss = LinearCrossEntropy::builder().ignore_index(None).build()?;
        let upstream = Upstream::scalar(self.weight);
        let of_classes = loss.loss_and_gradients(&inputs, &upstream, to)?.loss();
        let count = answers.len() as f64;
        let mut of_aspects = 0.0;
        for ((i, j), &q) in answers.indexed_iter() {
            let (loss, slope) = of(logits[[i, classes + j]], q, 1.0);
            of_aspects += loss / count;
            gradient[[i, classes + j]] = self.alpha * slope / count;
        }
        let part = |weight: f64, loss: f64| if weight == 0.0 { 0.0 } else { weight * loss };
        Ok(MultiAspectLoss {
            value: part(self.weight, of_classes) + part(self.alpha, of_aspects),
            classes: of_classes,
            aspects: of_aspects,
            gradient,
        })
    }
}
