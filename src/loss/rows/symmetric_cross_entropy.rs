//! Symmetric cross-entropy with a second head.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};
use crate::softmax::divergence::Divergence;

/// The cross-entropy of a row's distribution Q to that of a second head, P, and its reverse. In nats.
///
/// ```text
/// L = −(1−α) Σ_v P_v ln Q_v − α Σ_v Q_v ln P_v
///   = (1−α) (KL(P‖Q) + H(P)) + α (KL(Q‖P) + H(Q))
/// ```
///
/// As [`KullbackLeibler`](super::KullbackLeibler) it does not depend on the targets, and the second head gets no
/// gradient: that is the loss with the heads the other way and 1−α.
///
/// α = 0 is the cross-entropy to P; of two equal heads it is their entropy; at α = ½ the heads may change places.
/// Cases in `conformance/losses.jsonl`: `symmetric_cross_entropy`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Companion, Head, SymmetricCrossEntropy};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let (one, other) = (arr2(&[[0.0_f64, 0.0]]), arr2(&[[0.0_f64, 3_f64.ln()]]));
/// let inputs = Inputs::from_logits(&one, &[0_u32])
///     .companion(Companion::logits(Head::from_logits(&other)));
/// let loss = LinearCrossEntropy::builder().row_loss(SymmetricCrossEntropy::new(0.0)?).build()?;
/// assert!((loss.forward(&inputs)?.loss() - 2_f64.ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SymmetricCrossEntropy {
    alpha: f64,
}

impl SymmetricCrossEntropy {
    /// With α, the share of the reverse.
    ///
    /// # Errors
    /// [`Error::Option`] where α is not from 0 to 1.
    pub fn new(alpha: f64) -> Result<Self> {
        match (0.0..=1.0).contains(&alpha) {
            true => Ok(Self { alpha }),
            false => Err(Error::Option {
                name: "alpha",
                value: short(alpha),
                expected: "a number from 0 to 1",
            }),
        }
    }
}

impl RowLoss for SymmetricCrossEntropy {
    fn needs(&self) -> Needs {
        let mut needs = Needs::nothing();
        if self.alpha < 1.0 {
            needs = needs.divergence(Divergence::ForwardKullbackLeibler).second_entropy();
        }
        if self.alpha > 0.0 {
            needs = needs.divergence(Divergence::ReverseKullbackLeibler).entropy();
        }
        needs
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let mut terms = Terms::default();
        // A part that may be infinite is not there where it has no share.
        if self.alpha < 1.0 {
            let divergence = Divergence::ForwardKullbackLeibler;
            let term = Term::new(row.divergence(divergence) + row.second_entropy());
            terms = terms.with_plain(term.by_divergence(divergence, 1.0).times(1.0 - self.alpha));
        }
        if self.alpha > 0.0 {
            let divergence = Divergence::ReverseKullbackLeibler;
            let term = Term::new(row.divergence(divergence) + row.entropy()).by_entropy(1.0);
            terms = terms.with_plain(term.by_divergence(divergence, 1.0).times(self.alpha));
        }
        terms
    }
}
