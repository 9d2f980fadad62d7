//! The Tversky loss.

use super::given::{Labels, labels, wide};
use super::sets::{Overlap, SetLosses, Sets, losses};
use crate::error::Result;
use crate::matrix::Matrix;
use crate::numerics::{not_negative, sigmoid, sigmoid_slope};

/// 1 less the Tversky index of what is predicted and what is labelled, p = σ(x): the Dice loss with a price for false
/// positives and one for misses.
///
/// ```text
/// L = 1 − (Σ p y + γ) / (Σ p y + α Σ p (1−y) + β Σ (1−p) y + γ)
/// ```
///
/// over each of the [`Sets`]; from 0 to 1. With α = β = ½ it is [`Dice`](super::Dice) with 2γ, with α = β = 1 that of
/// Jaccard. Its limits are those of Dice: with γ = 0 and without any label above 0 a set has the loss 1 and no gradient. The
/// difference α Σ p (1−y) + β Σ (1−p) y is summed for itself, and has its digits where the loss is nearly 0.
///
/// # What published codes do
/// Papers and codes differ in which of the two prices is called α: here as in the index, α is for false positives.
///
/// Salehi, Erdogmus and Gholipour 2017, *Tversky loss function for image segmentation*; Li et al. 2020, *Dice Loss for
/// Data-imbalanced NLP Tasks*. Cases in `conformance/losses.jsonl`: `tversky`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::binary::{Dice, Tversky};
/// let (logits, labels) = (arr2(&[[0.3_f64], [-2.0]]), arr2(&[[0.0], [1.0]]));
/// let half = Tversky::new(0.5, 0.5, 1.0)?.evaluate(&logits, &labels)?;
/// let dice = Dice::new(2.0)?.evaluate(&logits, &labels)?;
/// assert!((half.values[0] - dice.values[0]).abs() < 1e-15);
/// // A miss that costs more.
/// assert!(Tversky::new(0.3, 0.7, 1.0)?.evaluate(&logits, &labels)?.values[0] > half.values[0]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tversky {
    alpha: f64,
    beta: f64,
    smooth: f64,
    sets: Sets,
}

impl Tversky {
    /// With α for false positives, β for misses, and γ, over the whole batch.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for one of them below 0 or not finite.
    pub fn new(alpha: f64, beta: f64, smooth: f64) -> Result<Self> {
        Ok(Self {
            alpha: not_negative("alpha", alpha)?,
            beta: not_negative("beta", beta)?,
            smooth: not_negative("smooth", smooth)?,
            sets: Sets::All,
        })
    }

    /// Over these sets.
    pub fn sets(self, sets: Sets) -> Self {
        Self { sets, ..self }
    }

    /// The losses of the sets of logits `[N,C]` with labels `[N,C]` from 0 to 1. The example is above.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where the shapes do not go together;
    /// [`Error::Value`](crate::Error::Value) for a label that is not from 0 to 1.
    pub fn evaluate<'a, 'b>(
        &self,
        logits: impl Into<Matrix<'a>>,
        labels_of: impl Into<Matrix<'b>>,
    ) -> Result<SetLosses> {
        self.evaluate_here(logits.into(), labels_of.into())
    }

    fn evaluate_here(&self, logits: Matrix<'_>, labels_of: Matrix<'_>) -> Result<SetLosses> {
        let logits = wide("logits", logits)?;
        let labels = labels("labels", labels_of, logits.dim(), Labels::Shares)?;
        Ok(losses(self.sets, self.smooth, logits.dim(), |i, j| {
            let (x, y) = (logits[[i, j]], labels[[i, j]]);
            Overlap {
                common: sigmoid(x) * y,
                apart: self.alpha * sigmoid(x) * (1.0 - y) + self.beta * sigmoid(-x) * y,
                by_common: y,
                by_apart: self.alpha * (1.0 - y) - self.beta * y,
                by_logit: sigmoid_slope(x),
            }
        }))
    }
}
