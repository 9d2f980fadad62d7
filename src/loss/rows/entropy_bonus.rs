//! The entropy as a term of a loss.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};

/// β times the entropy of the row's distribution, for sums with another loss.
///
/// ```text
/// L = β H,  H = −Σ p ln p in nats
/// ```
///
/// A β below 0 rewards entropy (the bonus of policy gradients, and the confidence penalty of Pereyra et
/// al. 2017, *Regularizing Neural Networks by Penalizing Confident Output Distributions*), a β above 0
/// sharpens. Class weights do not weigh it; in a mean it is divided by the number of kept rows.
///
/// Cases in `conformance/losses.jsonl`: `entropy`.
///
/// ```
/// use surprisal::loss::{CrossEntropy, EntropyBonus, Sum};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let sum = Sum::new().add(1.0, CrossEntropy::default())?.add(-0.01, EntropyBonus::new(1.0)?)?;
/// let loss = LinearCrossEntropy::builder().row_loss(sum).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64, 2.0]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - 0.99 * std::f64::consts::LN_2).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntropyBonus {
    coefficient: f64,
}

impl EntropyBonus {
    /// With this β.
    ///
    /// # Errors
    /// [`Error::Option`] for a number that is not finite.
    pub fn new(coefficient: f64) -> Result<Self> {
        match coefficient.is_finite() {
            true => Ok(Self { coefficient }),
            false => Err(Error::Option {
                name: "the coefficient of the entropy",
                value: short(coefficient),
                expected: "a finite number",
            }),
        }
    }
}

impl RowLoss for EntropyBonus {
    fn needs(&self) -> Needs {
        Needs::nothing().entropy().soft_targets()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        Terms::plain(Term::new(row.entropy()).by_entropy(1.0).times(self.coefficient))
    }
}
