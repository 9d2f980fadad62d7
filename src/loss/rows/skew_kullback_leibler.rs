//! Kullback–Leibler divergences from a mixture with a second head.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};
use crate::softmax::divergence::Divergence;

/// A Kullback–Leibler divergence from a mixture M of a row's distribution Q and that of a second head, P: finite
/// whatever either has alone. In nats.
///
/// ```text
/// forward: L = KL(P‖M), M = αP + (1−α)Q      dL/da_v = (1−α) Q_v (Σ_u Q_u P_u/M_u − P_v/M_v)
/// reverse: L = KL(Q‖M), M = (1−α)P + αQ      dL/da_v = Q_v (g_v − Σ_u Q_u g_u), g = ln (Q/M) − αQ/M
/// ```
///
/// At α = 0 they are [`KullbackLeibler`](super::KullbackLeibler) divergences, at α = 1 they are 0. The rest is as
/// [`KullbackLeibler`](super::KullbackLeibler) has it.
///
/// *On the effectiveness of the skew divergence for statistical language analysis* (Lee, 2001); *DistiLLM* (Ko et
/// al., 2024) distils with it.
///
/// The forward one is at most −ln α. Some codes give it without −H(P). Cases in `conformance/losses.jsonl`:
/// `skew_kl`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Companion, Head, SkewKullbackLeibler};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let (one, other) = (arr2(&[[0.0_f64, f64::NEG_INFINITY]]), arr2(&[[f64::NEG_INFINITY, 0.0_f64]]));
/// let inputs = Inputs::from_logits(&one, &[0_u32])
///     .companion(Companion::logits(Head::from_logits(&other)));
/// let loss = LinearCrossEntropy::builder().row_loss(SkewKullbackLeibler::forward(0.25)?).build()?;
/// assert!((loss.forward(&inputs)?.loss() - 4_f64.ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SkewKullbackLeibler {
    divergence: Divergence,
}

impl SkewKullbackLeibler {
    /// KL(P‖αP + (1−α)Q).
    ///
    /// # Errors
    /// [`Error::Option`] where α is not from 0 to 1.
    pub fn forward(alpha: f64) -> Result<Self> {
        Self::of(Divergence::ForwardSkew { alpha }, alpha)
    }

    /// KL(Q‖(1−α)P + αQ).
    ///
    /// # Errors
    /// [`Error::Option`] where α is not from 0 to 1.
    pub fn reverse(alpha: f64) -> Result<Self> {
        Self::of(Divergence::ReverseSkew { alpha }, alpha)
    }

    fn of(divergence: Divergence, alpha: f64) -> Result<Self> {
        match divergence.is_valid() {
            true => Ok(Self { divergence }),
            false => Err(Error::Option {
                name: "alpha",
                value: short(alpha),
                expected: "a number from 0 to 1",
            }),
        }
    }
}

impl RowLoss for SkewKullbackLeibler {
    fn needs(&self) -> Needs {
        Needs::nothing().divergence(self.divergence)
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let term = Term::new(row.divergence(self.divergence)).by_divergence(self.divergence, 1.0);
        Terms::plain(term)
    }
}
