//! The focal loss.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// The focal loss: cross-entropy in which confident rows count less.
///
/// ```text
/// L = (1−p_y)^γ s      ∂L/∂s = (1−p_y)^γ (1 + γ p_y s / (1−p_y)),  where s / (1−p_y) → 1 as p_y → 1
/// ```
///
/// In nats. Lin, Goyal, Girshick, He and Dollár 2017, *Focal Loss for Dense Object Detection*, without its
/// class weights, which [`Inputs::class_weights`](crate::Inputs::class_weights) are. γ = 0 is
/// cross-entropy.
///
/// Cases in `conformance/losses.jsonl`: `focal`.
///
/// ```
/// use surprisal::loss::Focal;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(Focal::new(2.0)?).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - 0.75 * 0.75 * 4_f64.ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Focal {
    gamma: f64,
}

impl Focal {
    /// With this γ.
    ///
    /// # Errors
    /// [`Error::Option`] for a γ below 0 or not finite.
    pub fn new(gamma: f64) -> Result<Self> {
        match gamma >= 0.0 && gamma.is_finite() {
            true => Ok(Self { gamma }),
            false => Err(Error::Option {
                name: "gamma",
                value: short(gamma),
                expected: "a finite number of at least 0",
            }),
        }
    }
}

impl RowLoss for Focal {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (s, p, others) = (row.surprisal(), row.probability(), row.others());
        let weight = others.powf(self.gamma);
        let ratio = if others == 0.0 { 1.0 } else { s / others };
        // Where p_y or the weight is 0, the other factor may be +∞.
        let bend = if p == 0.0 || weight == 0.0 { 0.0 } else { weight * self.gamma * p * ratio };
        Terms::weighted(Term::new(weight * s).by_surprisal(weight + bend))
    }
}
