//! Confidence against correctness.

use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};

/// What the distance of confidence and correctness is measured by.
///
/// ```
/// use surprisal::loss::CorrectnessPenalty;
/// assert_eq!(CorrectnessPenalty::default(), CorrectnessPenalty::Squared);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorrectnessPenalty {
    /// (conf − a)².
    #[default]
    Squared,
    /// |conf − a|.
    Absolute,
    /// −a ln conf − (1 − a) ln(1 − conf), in nats.
    CrossEntropy,
}

/// How far the confidence of a row is from whether it is right: a loss for calibration, not for accuracy.
///
/// ```text
/// conf = max p = e^−s_max      a = 1 where the most likely class (the lowest of equals) is the target, else 0
/// L = (conf − a)²   or   |conf − a|   or   −a ln conf − (1 − a) ln(1 − conf)
/// ```
///
/// The most likely class is taken for constant: wrong rows lose confidence, also where cross-entropy would raise
/// another class. The squared form is that of the published code of Liu et al. 2025, *Correctness-aware
/// calibration* (which learns a temperature by it); its balanced mean, in which right and wrong rows count alike,
/// comes from [`balanced_weights`](Self::balanced_weights) as token weights and their sum as the divisor. Where
/// all rows are right, or all are wrong, that code is 0/0, and this is the plain mean.
///
/// A right row has 0 as its confidence tends to 1. Cases in `conformance/losses.jsonl`: `correctness_calibration`.
///
/// ```
/// use surprisal::loss::CorrectnessCalibration;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(CorrectnessCalibration::default()).build()?;
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0], [0.0, 0.0]]);
/// let forward = loss.forward(&Inputs::from_logits(&logits, &[0_u32, 1]))?;
/// assert!((forward.loss() - 0.25).abs() < 1e-15);
/// assert_eq!(CorrectnessCalibration::balanced_weights(&forward).to_vec(), [0.5, 0.5]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CorrectnessCalibration {
    penalty: CorrectnessPenalty,
}

impl CorrectnessCalibration {
    /// With this penalty.
    pub fn new(penalty: CorrectnessPenalty) -> Self {
        Self { penalty }
    }
}

impl RowLoss for CorrectnessCalibration {
    fn needs(&self) -> Needs {
        Needs::nothing().min_entropy()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let most = row.min_entropy();
        let (confidence, doubt) = ((-most).exp(), -(-most).exp_m1());
        // The value and its slope by s_max, of which the confidence has −conf.
        let (value, slope) = match (self.penalty, row.is_argmax()) {
            (CorrectnessPenalty::Squared, true) => (doubt * doubt, 2.0 * doubt * confidence),
            (CorrectnessPenalty::Squared, false) => {
                (confidence * confidence, -2.0 * confidence * confidence)
            }
            (CorrectnessPenalty::Absolute, true) => (doubt, confidence),
            (CorrectnessPenalty::Absolute, false) => (confidence, -confidence),
            (CorrectnessPenalty::CrossEntropy, true) => (most, 1.0),
            (CorrectnessPenalty::CrossEntropy, false) => (-doubt.ln(), -1.0 / most.exp_m1()),
        };
        Terms::weighted(Term::new(value).by_min_entropy(slope))
    }
}
