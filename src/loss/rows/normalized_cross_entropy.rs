//! Normalised cross-entropy.

use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};

/// The target's share of the surprisals of all classes: bounded, so that labels that are wrong pull less. From two
/// classes on.
///
/// ```text
/// L = s / D      s = −ln p_y      D = −Σ_v ln p_v
/// ∂L/∂s = 1/D      ∂L/∂D = −s/D²
/// ```
///
/// From 0 (the target is certain) to 1, which it is where the target's logit is −∞; 1/V where all classes are alike;
/// 0 where a logit of another class is −∞. Ma et al. 2020, *Normalized Loss Functions
/// for Deep Learning with Noisy Labels*.
///
/// Over all targets of a row it sums to 1. Cases in `conformance/losses.jsonl`: `normalized_cross_entropy`.
///
/// ```
/// use surprisal::loss::NormalizedCrossEntropy;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(NormalizedCrossEntropy).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - 0.25).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NormalizedCrossEntropy;

impl RowLoss for NormalizedCrossEntropy {
    fn needs(&self) -> Needs {
        Needs::nothing().deviation()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (s, all) = (row.surprisal(), row.deviation());
        if s == f64::INFINITY {
            // Where the target alone has no probability, it has all of the surprisals.
            return Terms::weighted(Term::new(1.0));
        }
        let share = s / all;
        Terms::weighted(Term::new(share).by_surprisal(1.0 / all).by_deviation(-share / all))
    }
}
