//! The total variation from a second head.

use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};
use crate::softmax::divergence::Divergence;

/// The total variation between a row's distribution Q and that of a second head, P: the largest difference of
/// what they give to any set of classes, from 0 to 1.
///
/// ```text
/// L = ½ Σ_v |P_v − Q_v|      dL/da_v = ½ Q_v (sign(Q_v − P_v) − Σ_u Q_u sign(Q_u − P_u))      sign(0) = 0
/// ```
///
/// Where the heads are nearly equal it is of the first order in ln P − ln Q, as no divergence of squares is: the
/// rounding of the log-sum-exps is in it, some 10⁻⁷ in f32.
///
/// 1 − L is the share of tokens that speculative sampling accepts of draws from Q for P. The rest is as
/// [`KullbackLeibler`](super::KullbackLeibler) has it.
///
/// Twice its square is at most either Kullback–Leibler divergence (Pinsker). Cases in `conformance/losses.jsonl`:
/// `total_variation`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Companion, Head, TotalVariation};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let (one, other) = (arr2(&[[0.0_f64, 0.0]]), arr2(&[[0.0_f64, 3_f64.ln()]]));
/// let inputs = Inputs::from_logits(&one, &[0_u32])
///     .companion(Companion::logits(Head::from_logits(&other)));
/// let loss = LinearCrossEntropy::builder().row_loss(TotalVariation).build()?;
/// assert!((loss.forward(&inputs)?.loss() - 0.25).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TotalVariation;

impl RowLoss for TotalVariation {
    fn needs(&self) -> Needs {
        Needs::nothing().divergence(Divergence::TotalVariation)
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let value = row.divergence(Divergence::TotalVariation);
        let term = Term::new(value).by_divergence(Divergence::TotalVariation, 1.0);
        Terms::plain(term)
    }
}
