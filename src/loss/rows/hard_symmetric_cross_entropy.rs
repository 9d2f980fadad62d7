//! Symmetric cross-entropy of hard targets.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// Cross-entropy with its reverse, in which ln 0 of the classes that are not the target is a number A.
///
/// ```text
/// L = α s − β A (1−p_y)      ∂L/∂s = α − β A p_y
/// ```
///
/// In nats. Wang et al. 2019, *Symmetric Cross Entropy for Robust Learning with Noisy Labels*; A = −4 there.
///
/// α = 1, β = 0 is cross-entropy. Some codes clip at 10⁻⁴, so that A = −9.21. Cases in `conformance/losses.jsonl`:
/// `symmetric_cross_entropy_hard`.
///
/// ```
/// use surprisal::loss::HardSymmetricCrossEntropy;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = HardSymmetricCrossEntropy::new(0.1, 1.0, -4.0)?;
/// let loss = LinearCrossEntropy::builder().row_loss(loss).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - (0.1 * 4_f64.ln() + 3.0)).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HardSymmetricCrossEntropy {
    alpha: f64,
    beta: f64,
    log_clip: f64,
}

impl HardSymmetricCrossEntropy {
    /// With this α, this β, and A, which is `log_clip`.
    ///
    /// # Errors
    /// [`Error::Option`] for an α or β below 0, an A that is not below 0, and what is not finite.
    pub fn new(alpha: f64, beta: f64, log_clip: f64) -> Result<Self> {
        for (name, value) in [("alpha", alpha), ("beta", beta)] {
            if !(value >= 0.0 && value.is_finite()) {
                let expected = "a finite number of at least 0";
                return Err(Error::Option { name, value: short(value), expected });
            }
        }
        match log_clip < 0.0 && log_clip.is_finite() {
            true => Ok(Self { alpha, beta, log_clip }),
            false => Err(Error::Option {
                name: "log_clip",
                value: short(log_clip),
                expected: "a finite number below 0",
            }),
        }
    }
}

impl RowLoss for HardSymmetricCrossEntropy {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        // A coefficient of 0 takes away a surprisal of +∞ too.
        let times = |x: f64, y: f64| if x == 0.0 && !y.is_nan() { 0.0 } else { x * y };
        let reverse = |share: f64| times(self.beta, -self.log_clip * share);
        let value = times(self.alpha, row.surprisal()) + reverse(row.others());
        Terms::weighted(Term::new(value).by_surprisal(self.alpha + reverse(row.probability())))
    }
}
