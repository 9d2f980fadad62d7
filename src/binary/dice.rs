//! The Dice loss, self-adjusting or not.

use super::given::{Labels, labels, wide};
use super::sets::{Overlap, SetLosses, Sets, losses};
use crate::error::Result;
use crate::matrix::Matrix;
use crate::numerics::{not_negative, sigmoid, softplus};

/// 1 less the Dice coefficient of what is predicted and what is labelled, p = σ(x):
///
/// ```text
/// L = 1 − (2 Σ w y + γ) / (Σ w + Σ y + γ)        w = (1−p)^α p
/// squared:  Σ w² + Σ y²  in the place of  Σ w + Σ y
/// ```
///
/// over each of the [`Sets`]; from 0 to 1. With α = 0 it is the Dice loss, with α > 0 the self-adjusting one, in which what
/// is nearly certain counts little, its gradient too. γ smooths: with γ = 0 and without any label above 0 the loss of a set
/// is 1 whatever is predicted, and has no gradient; so it is in the limit of p = 0, where it is 0/0.
///
/// The difference is summed for itself, as Σ w(1−y) + y(1−w) or Σ (w−y)², and has its digits where the loss is nearly 0.
///
/// # What published codes do
/// That of the paper has a batch as its set where the paper has the example, with γ = 10⁻⁴, α = 0 and squares in all its
/// scripts. For several classes without squares it divides the numerator of each example by the denominator of the
/// batch, and sums the classes; its selection of hard negatives takes one more than it says. Here a set is what is asked
/// for, and its numerator and denominator are of the same set.
///
/// Milletari, Navab and Ahmadi 2016, *V-Net*; Li et al. 2020, *Dice Loss for Data-imbalanced NLP Tasks*. Cases in
/// `conformance/losses.jsonl`: `dice`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::binary::{Dice, Sets};
/// let (logits, labels) = (arr2(&[[0.0_f64, 40.0]]), arr2(&[[0.0, 1.0]]));
/// // Overlap 1, sizes 1½ and 1.
/// let losses = Dice::new(0.0)?.evaluate(&logits, &labels)?;
/// assert!((losses.values[0] - 0.2).abs() < 1e-15);
/// // Each for itself: what is nearly right costs what it lacks.
/// let losses = Dice::new(1.0)?.sets(Sets::Entries).evaluate(&logits, &labels)?;
/// assert!((losses.values[1] / ((-40.0_f64).exp() / 3.0) - 1.0).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dice {
    smooth: f64,
    alpha: f64,
    squared: bool,
    sets: Sets,
}

impl Dice {
    /// With this γ, over the whole batch, α = 0, without squares.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a γ below 0 or not finite.
    pub fn new(smooth: f64) -> Result<Self> {
        let smooth = not_negative("smooth", smooth)?;
        Ok(Self { smooth, alpha: 0.0, squared: false, sets: Sets::All })
    }

    /// Self-adjusting with this α, which the paper has at 1.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an α below 0 or not finite.
    pub fn self_adjusting(self, alpha: f64) -> Result<Self> {
        Ok(Self { alpha: not_negative("alpha", alpha)?, ..self })
    }

    /// With squares in the denominator.
    pub fn squared(self) -> Self {
        Self { squared: true, ..self }
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
        let logits = wide("logits", logits.into())?;
        let labels = labels("labels", labels_of.into(), logits.dim(), Labels::Shares)?;
        Ok(losses(self.sets, self.smooth, logits.dim(), |i, j| {
            self.overlap(logits[[i, j]], labels[[i, j]])
        }))
    }

    fn overlap(&self, x: f64, y: f64) -> Overlap {
        let (p, q) = (sigmoid(x), sigmoid(-x));
        // w, 1 − w and dw/dx.
        let (w, left) = match self.alpha == 0.0 {
            true => (p, q),
            false => {
                let log = -self.alpha * softplus(x);
                (p * log.exp(), -(log - softplus(-x)).exp_m1())
            }
        };
        let by_logit = w * (q - self.alpha * p);
        let difference = w * (1.0 - y) - y * left;
        let (apart, by_apart) = match self.squared {
            true => (difference * difference, 2.0 * difference),
            false => (w * (1.0 - y) + y * left, 1.0 - 2.0 * y),
        };
        Overlap { common: 2.0 * w * y, apart, by_common: 2.0 * y, by_apart, by_logit }
    }
}
