//! Kullback–Leibler divergences from a second head.

use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};
use crate::softmax::divergence::Divergence;

/// A Kullback–Leibler divergence between a row's distribution Q and that of a second head, P: distillation from
/// a teacher, or a penalty on leaving a reference policy. In nats.
///
/// ```text
/// forward: L = KL(P‖Q) = Σ_v P_v ln (P_v / Q_v)      dL/da_v = Q_v − P_v
/// reverse: L = KL(Q‖P) = Σ_v Q_v ln (Q_v / P_v)      dL/da_v = Q_v (ln (Q_v / P_v) − L)
/// ```
///
/// with P and Q at the temperature of the call or of the row; in
/// [`TemperatureSquared`](super::TemperatureSquared) its gradient keeps its size. The second head is in the inputs as
/// [`Companion::logits`](crate::loss::Companion::logits), and gets no gradient. The targets are without effect,
/// but that rows are ignored by them, and neither are the class weights; a mean is over the rows that are kept.
///
/// No term of the sum is negative: a divergence of 10⁻⁸ has its digits in f32, and two equal heads have one of 0
/// and a gradient of 0. +∞ where Q (forward) or P (reverse) is 0 and the other is not; such a row has no
/// gradient. Forward and gradients take two sweeps over both heads; N×V numbers are never stored, but for
/// the logits of both that a strip keeps.
///
/// *Distilling the Knowledge in a Neural Network* (Hinton, Vinyals, Dean, 2015) has the forward one.
///
/// Some codes of distillation leave out −H(P), with the same gradient and another value, or drop −∞ logits from the
/// sum. Cases in `conformance/losses.jsonl`: `kl_divergence`, `knowledge_distillation`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Companion, Head, KullbackLeibler};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let (student, teacher) = (arr2(&[[0.0_f64, 0.0]]), arr2(&[[0.0_f64, 3_f64.ln()]]));
/// let inputs = Inputs::from_logits(&student, &[0_u32])
///     .companion(Companion::logits(Head::from_logits(&teacher)));
/// let of = |divergence| LinearCrossEntropy::builder().row_loss(divergence).build();
/// let forward = of(KullbackLeibler::forward())?.forward(&inputs)?.loss();
/// assert!((forward - (0.25 * 0.5_f64.ln() + 0.75 * 1.5_f64.ln())).abs() < 1e-15);
/// let reverse = of(KullbackLeibler::reverse())?.forward(&inputs)?.loss();
/// assert!((reverse - 0.5 * (4.0_f64 / 3.0).ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KullbackLeibler {
    divergence: Divergence,
}

impl KullbackLeibler {
    /// KL(P‖Q): the row's distribution must be wherever that of the second head is.
    pub fn forward() -> Self {
        Self { divergence: Divergence::ForwardKullbackLeibler }
    }

    /// KL(Q‖P): it may be where that of the second head is alone.
    pub fn reverse() -> Self {
        Self { divergence: Divergence::ReverseKullbackLeibler }
    }
}

impl RowLoss for KullbackLeibler {
    fn needs(&self) -> Needs {
        Needs::nothing().divergence(self.divergence)
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let value = row.divergence(self.divergence);
        Terms::plain(Term::new(value).by_divergence(self.divergence, 1.0))
    }
}
