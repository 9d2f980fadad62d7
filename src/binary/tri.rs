//! Two branches and their mean.

use ndarray::Array2;

use super::cross_entropy::of;
use super::given::{Labels, labels, wide};
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// Whether the weights of the branches in a [`TriBinaryCrossEntropy`] have gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BranchWeights {
    /// They do, as in the official code.
    #[default]
    Attached,
    /// They are constants, as adaptive weights are in the paper's words.
    Detached,
}

/// The binary cross-entropy of two branches of a network, deep and shallow, and of the mean of their logits, in which each
/// branch weighs as much as it is behind the mean:
///
/// ```text
/// L = L_f + w_d L_d + w_s L_s        w_b = max(0, L_b − L_f),  f = (d + s)/2,  each L the mean over all entries
///
/// attached:  dL = (1 − [w_d>0] L_d − [w_s>0] L_s) dL_f + Σ_b [w_b>0] (2 L_b − L_f) dL_b
/// detached:  dL = dL_f + Σ_b w_b dL_b
/// ```
///
/// Attached, L_f may count negatively: where a branch has a loss above 1 and is behind, L falls as L_f rises.
///
/// # What published codes do
/// The official one takes the cross-entropy of σ(x), which is clamped from x = ±104 in f32 on, and leaves the weights
/// attached; others average the probabilities in the place of the logits.
///
/// Li et al. 2024, *DCNv3: Towards Next Generation Deep Cross Network for CTR Prediction* (FCN). Cases in
/// `conformance/losses.jsonl`: `tri_bce`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::binary::{BranchWeights, TriBinaryCrossEntropy};
/// let (deep, shallow) = (arr2(&[[2.0_f64], [-1.0]]), arr2(&[[-1.0_f64], [-1.0]]));
/// let loss = TriBinaryCrossEntropy::new(BranchWeights::Detached);
/// let found = loss.evaluate(&deep, &shallow, &arr2(&[[1.0], [0.0]]))?;
/// // The deep branch is ahead of the mean: it has the gradient of the mean alone.
/// assert!(found.deep < found.fused && found.fused < found.shallow);
/// assert!(found.by_shallow[[0, 0]] < found.by_deep[[0, 0]]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TriBinaryCrossEntropy {
    weights: BranchWeights,
}

/// What [`TriBinaryCrossEntropy::evaluate`] gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TriLoss {
    /// L.
    pub value: f64,
    /// L_f, of the mean of the logits.
    pub fused: f64,
    /// L_d.
    pub deep: f64,
    /// L_s.
    pub shallow: f64,
    /// `[N,C]` of L by the logits of the deep branch.
    pub by_deep: Array2<f64>,
    /// `[N,C]` of L by the logits of the shallow branch.
    pub by_shallow: Array2<f64>,
}

impl TriBinaryCrossEntropy {
    /// With weights that have gradients, or not.
    pub fn new(weights: BranchWeights) -> Self {
        Self { weights }
    }

    /// The loss of two branches' logits `[N,C]` with labels `[N,C]`, any finite numbers. The example is above.
    ///
    /// # Errors
    /// [`Error::Shape`] where the shapes do not go together; [`Error::Value`] for a label that is not finite.
    pub fn evaluate<'a, 'b, 'c>(
        &self,
        deep: impl Into<Matrix<'a>>,
        shallow: impl Into<Matrix<'b>>,
        labels_of: impl Into<Matrix<'c>>,
    ) -> Result<TriLoss> {
        self.evaluate_here(deep.into(), shallow.into(), labels_of.into())
    }

    fn evaluate_here(
        &self,
        deep: Matrix<'_>,
        shallow: Matrix<'_>,
        labels_of: Matrix<'_>,
    ) -> Result<TriLoss> {
        let deep = wide("the deep logits", deep)?;
        let shallow = wide("the shallow logits", shallow)?;
        if shallow.dim() != deep.dim() {
            return Err(Error::Shape {
                argument: "the shallow logits",
                found: shallow.shape().to_vec(),
                expected: format!("{:?}, as the deep ones have", deep.shape()),
            });
        }
        let labels = labels("labels", labels_of, deep.dim(), Labels::Real)?;
        let count = deep.len() as f64;
        // The mean of each, and what its own logits have for slopes.
        let mean = |logits: &Array2<f64>| {
            let (mut sum, mut slopes) = (0.0, Array2::zeros(logits.dim()));
            for ((to, &x), &y) in slopes.iter_mut().zip(logits).zip(&labels) {
                let (loss, slope) = of(x, y, 1.0);
                sum += loss;
                *to = slope / count;
            }
            (sum / count, slopes)
        };
        let (of_deep, deep_slopes) = mean(&deep);
        let (of_shallow, shallow_slopes) = mean(&shallow);
        // Halves first: the sum of two large logits may leave f64.
        let (of_fused, fused_slopes) = mean(&(deep * 0.5 + shallow * 0.5));
        let behind = |loss: f64| if loss > of_fused { loss - of_fused } else { 0.0 };
        let (by_deep, by_shallow) = (behind(of_deep), behind(of_shallow));
        let weighed = |weight: f64, loss: f64| if weight == 0.0 { 0.0 } else { weight * loss };
        let value = of_fused + weighed(by_deep, of_deep) + weighed(by_shallow, of_shallow);
        let own = |weight: f64, loss: f64| match self.weights {
            _ if weight == 0.0 => 0.0,
            BranchWeights::Attached => loss + weight,
            BranchWeights::Detached => weight,
        };
        let given_up = |weight: f64, loss: f64| match self.weights {
            BranchWeights::Attached if weight > 0.0 => loss,
            _ => 0.0,
        };
        let of_mean = 1.0 - given_up(by_deep, of_deep) - given_up(by_shallow, of_shallow);
        let gradient = |own: f64, slopes: Array2<f64>| own * slopes + 0.5 * of_mean * &fused_slopes;
        Ok(TriLoss {
            value,
            fused: of_fused,
            deep: of_deep,
            shallow: of_shallow,
            by_deep: gradient(own(by_deep, of_deep), deep_slopes),
            by_shallow: gradient(own(by_shallow, of_shallow), shallow_slopes),
        })
    }
}
