//! Binary cross-entropy from logits.

use ndarray::Array2;

use super::given::{Labels, labels, wide};
use crate::error::{Error, Result, short};
use crate::matrix::Matrix;
use crate::numerics::{sigmoid, softplus};

/// The cross-entropy of a logit x with a label y, of which a positive weighs w:
///
/// ```text
/// L = w y ln(1 + e^−x) + (1−y) ln(1 + e^x)        ∂L/∂x = (1−y) σ(x) − w y σ(−x)
/// ```
///
/// which with w = 1 is ln(1 + e^x) − y x. y may be any finite number, as a cosine from −1 to 1 is: below 0 and above 1 the
/// loss may be negative and has no minimum. With y from 0 to 1 both terms are at least 0 and keep their digits at both
/// ends; a logit of ±∞ costs nothing where its label is certain and right, +∞ where it is wrong.
///
/// # What published codes do
/// Some take the logarithms of σ(x), which are −∞ from x = −746 on (−104 in f32), or clamp them, which stops the gradient;
/// this one is of the logits and does neither.
///
/// Cases in `conformance/losses.jsonl`: `binary_cross_entropy`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::binary::BinaryCrossEntropy;
/// let loss = BinaryCrossEntropy::new().positive_weights(&[3.0])?;
/// let losses = loss.evaluate(&arr2(&[[0.0_f64], [-800.0]]), &arr2(&[[1.0], [1.0]]))?;
/// assert_eq!(losses.losses, arr2(&[[3.0 * std::f64::consts::LN_2], [2400.0]]));
/// assert_eq!(losses.slopes, arr2(&[[-1.5], [-3.0]]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BinaryCrossEntropy {
    /// One for all columns, or one for each; none is 1.
    positive_weights: Vec<f64>,
}

impl BinaryCrossEntropy {
    /// Whose positives weigh as much as the negatives.
    pub fn new() -> Self {
        Self::default()
    }

    /// What positives weigh: one number for all columns, or one for each. The negatives of a column over its positives
    /// balance it.
    ///
    /// # Errors
    /// [`Error::Value`] for a weight that is not finite and at least 0; [`Error::Shape`] for none.
    pub fn positive_weights(self, weights: &[f64]) -> Result<Self> {
        if weights.is_empty() {
            return Err(Error::Shape {
                argument: "the positive weights",
                found: vec![0],
                expected: "one number, or one for each column".into(),
            });
        }
        if let Some(i) = weights.iter().position(|w| !(*w >= 0.0 && w.is_finite())) {
            return Err(Error::Value {
                argument: "the positive weights",
                index: vec![i],
                value: short(weights[i]),
                expected: "a finite number of at least 0",
            });
        }
        Ok(Self { positive_weights: weights.to_vec() })
    }

    /// The losses of logits `[N,C]` with labels `[N,C]`. The example is above.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes or the number of weights do not go together; [`Error::Value`] for a label that
    /// is not finite.
    pub fn evaluate<'a, 'b>(
        &self,
        logits: impl Into<Matrix<'a>>,
        labels_of: impl Into<Matrix<'b>>,
    ) -> Result<BinaryLosses> {
        self.evaluate_here(logits.into(), labels_of.into())
    }

    fn evaluate_here(&self, logits: Matrix<'_>, labels_of: Matrix<'_>) -> Result<BinaryLosses> {
        let logits = wide("logits", logits)?;
        let labels = labels("labels", labels_of, logits.dim(), Labels::Real)?;
        let columns = logits.dim().1;
        if self.positive_weights.len() > 1 && self.positive_weights.len() != columns {
            return Err(Error::Shape {
                argument: "the positive weights",
                found: vec![self.positive_weights.len()],
                expected: format!("[{columns}], one for each column of the logits"),
            });
        }
        let weight = |j: usize| match self.positive_weights[..] {
            [] => 1.0,
            [one] => one,
            ref each => each[j],
        };
        let mut losses = Array2::zeros(logits.dim());
        let mut slopes = Array2::zeros(logits.dim());
        for ((i, j), &x) in logits.indexed_iter() {
            (losses[[i, j]], slopes[[i, j]]) = of(x, labels[[i, j]], weight(j));
        }
        Ok(BinaryLosses { losses, slopes })
    }
}

/// The loss of a logit and its slope.
pub(super) fn of(x: f64, label: f64, weight: f64) -> (f64, f64) {
    let (positive, negative) = (weight * label, 1.0 - label);
    if x.is_nan() {
        return (x, x);
    }
    // 0 · ∞ is 0: what has no share costs nothing.
    let share = |share: f64, x: f64| if share == 0.0 { 0.0 } else { share * softplus(x) };
    let value = share(positive, -x) + share(negative, x);
    (value, negative * sigmoid(x) - positive * sigmoid(-x))
}

/// The losses of logits, each with its slope; what [`BinaryCrossEntropy::evaluate`] gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BinaryLosses {
    /// `[N,C]` in nats.
    pub losses: Array2<f64>,
    /// `[N,C]` the derivative of each loss by its own logit.
    pub slopes: Array2<f64>,
}

impl BinaryLosses {
    /// The mean over all entries, whose gradient is [`mean_gradient`](Self::mean_gradient).
    ///
    /// ```
    /// use ndarray::arr2;
    /// use surprisal::binary::BinaryCrossEntropy;
    /// let losses = BinaryCrossEntropy::new().evaluate(&arr2(&[[0.0_f64; 4]]), &arr2(&[[1.0; 4]]))?;
    /// assert_eq!(losses.mean(), std::f64::consts::LN_2);
    /// assert_eq!(losses.mean_gradient(), arr2(&[[-0.125; 4]]));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mean(&self) -> f64 {
        self.losses.sum() / self.losses.len() as f64
    }

    /// `[N,C]` the derivatives of the mean.
    pub fn mean_gradient(&self) -> Array2<f64> {
        &self.slopes / self.slopes.len() as f64
    }
}
