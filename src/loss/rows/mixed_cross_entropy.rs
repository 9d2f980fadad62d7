//! Forward and reverse cross-entropy, mixed.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// MixCE: cross-entropy in which likely targets count more, as the reverse cross-entropy would have it.
///
/// ```text
/// L = (η + (1−η) p_y) s      ∂L/∂s = η + (1−η) p_y,  the weight being a constant
/// ```
///
/// In nats. Zhang et al. 2023, *MixCE: Training Autoregressive Language Models by Mixing Forward and Reverse
/// Cross-Entropies*. The weight counts in the value and is not differentiated. η = 1 is cross-entropy.
///
/// Cases in `conformance/losses.jsonl`: `mixce`.
///
/// ```
/// use surprisal::loss::MixedCrossEntropy;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(MixedCrossEntropy::new(0.5)?).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - 0.625 * 4_f64.ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixedCrossEntropy {
    eta: f64,
}

impl MixedCrossEntropy {
    /// With this η.
    ///
    /// # Errors
    /// [`Error::Option`] for an η that is not from 0 to 1.
    pub fn new(eta: f64) -> Result<Self> {
        match (0.0..=1.0).contains(&eta) {
            true => Ok(Self { eta }),
            false => Err(Error::Option {
                name: "eta",
                value: short(eta),
                expected: "a number from 0 to 1",
            }),
        }
    }
}

impl RowLoss for MixedCrossEntropy {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let s = row.surprisal();
        let weight = self.eta + (1.0 - self.eta) * row.probability();
        // p ln p is 0 where p is.
        let value = if weight == 0.0 { 0.0 } else { weight * s };
        Terms::weighted(Term::new(value).by_surprisal(weight))
    }
}
