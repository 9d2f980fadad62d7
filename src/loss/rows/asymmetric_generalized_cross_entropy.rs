//! Asymmetric generalized cross-entropy.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// Asymmetric generalized cross-entropy (AGCE): robust where the right label is still the most frequent of the noisy ones.
///
/// ```text
/// L = ((a+1)^q − (a+p_y)^q) / q      ∂L/∂s = (a+p_y)^(q−1) p_y
/// ```
///
/// A number of no unit. Zhou, Liu, Jiang, Gao and Ji 2021, *Asymmetric Loss Functions for Learning with Noisy
/// Labels*. It is at most ((a+1)^q − a^q)/q; for a → 0 it is generalized cross-entropy, for q = 1 it is
/// 1 − p_y. The power (a+1)^q is carried apart, so that only a value beyond f64 is +∞.
///
/// Cases of it in `conformance/losses.jsonl`: `agce`.
///
/// ```
/// use surprisal::loss::AsymmetricGeneralizedCrossEntropy;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = AsymmetricGeneralizedCrossEntropy::new(1.0, 2.0)?;
/// let loss = LinearCrossEntropy::builder().row_loss(loss).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - (4.0 - 1.25 * 1.25) / 2.0).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AsymmetricGeneralizedCrossEntropy {
    a: f64,
    q: f64,
}

impl AsymmetricGeneralizedCrossEntropy {
    /// With this a and this q.
    ///
    /// # Errors
    /// [`Error::Option`] for a number that is not finite and above 0.
    pub fn new(a: f64, q: f64) -> Result<Self> {
        for (name, value) in [("a", a), ("q", q)] {
            if !(value > 0.0 && value.is_finite()) {
                let expected = "a finite number above 0";
                return Err(Error::Option { name, value: short(value), expected });
            }
        }
        Ok(Self { a, q })
    }
}

impl RowLoss for AsymmetricGeneralizedCrossEntropy {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let Self { a, q } = *self;
        let (p, others) = (row.probability(), row.others());
        // (a+p)/(a+1) = 1 − share.
        let share = others / (a + 1.0);
        let log = if share < 0.5 { (-share).ln_1p() } else { ((a + p) / (a + 1.0)).ln() };
        let term = Term::new(-(q * log).exp_m1() / q).by_surprisal((q * log).exp() * (p / (a + p)));
        Terms::weighted(term.times_exp(q * a.ln_1p()))
    }
}
