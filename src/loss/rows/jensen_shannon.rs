//! The Jensen–Shannon divergence from a second head.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};
use crate::softmax::divergence::Divergence;

/// The generalised Jensen–Shannon divergence between a row's distribution Q and that of a second head, P: finite
/// whatever either has alone, between the two Kullback–Leibler divergences. In nats.
///
/// ```text
/// L = β KL(P‖M) + (1−β) KL(Q‖M)      M = βP + (1−β)Q
/// dL/da_v = (1−β) Q_v (ln (Q_v / M_v) + KL(Q‖M))
/// ```
///
/// L is 0 at β = 0 and at β = 1, and at most the entropy of (β, 1−β). L/β tends to KL(P‖Q) for β → 0; some codes
/// put that, undivided, in the place of β = 0 itself. The rest is as
/// [`KullbackLeibler`](super::KullbackLeibler) has it.
///
/// *Divergence measures based on the Shannon entropy* (Lin, 1991); *On-policy distillation of language models*
/// (Agarwal et al., 2024) distils with it.
///
/// At β = ½ it is symmetric and at most ln 2. Cases in `conformance/losses.jsonl`: `jensen_shannon`, where β = 0 and
/// β = 1 are the Kullback–Leibler divergences of those codes.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Companion, Head, JensenShannon};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let (one, other) = (arr2(&[[0.0_f64, f64::NEG_INFINITY]]), arr2(&[[f64::NEG_INFINITY, 0.0_f64]]));
/// let inputs = Inputs::from_logits(&one, &[0_u32])
///     .companion(Companion::logits(Head::from_logits(&other)));
/// let loss = LinearCrossEntropy::builder().row_loss(JensenShannon::new(0.5)?).build()?;
/// assert!((loss.forward(&inputs)?.loss() - std::f64::consts::LN_2).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JensenShannon {
    beta: f64,
}

impl JensenShannon {
    /// With β, the share of the second head in the mixture.
    ///
    /// # Errors
    /// [`Error::Option`] where β is not from 0 to 1.
    pub fn new(beta: f64) -> Result<Self> {
        match (0.0..=1.0).contains(&beta) {
            true => Ok(Self { beta }),
            false => Err(Error::Option {
                name: "beta",
                value: short(beta),
                expected: "a number from 0 to 1",
            }),
        }
    }
}

impl RowLoss for JensenShannon {
    fn needs(&self) -> Needs {
        Needs::nothing().divergence(Divergence::JensenShannon { beta: self.beta })
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let divergence = Divergence::JensenShannon { beta: self.beta };
        let term = Term::new(row.divergence(divergence)).by_divergence(divergence, 1.0);
        Terms::plain(term)
    }
}
