//! The asymmetric unhinged loss.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// The asymmetric unhinged loss (AUL): robust where the right label is still the most frequent of the noisy ones.
///
/// ```text
/// L = ((a−p_y)^q − (a−1)^q) / q      ∂L/∂s = (a−p_y)^(q−1) p_y
/// ```
///
/// A number of no unit. Zhou, Liu, Jiang, Gao and Ji 2021, *Asymmetric Loss Functions for Learning with Noisy
/// Labels*. It is at most (a^q − (a−1)^q)/q; q = 1 is 1 − p_y. The power (a−p_y)^q is carried apart, so that
/// only a value beyond f64 is +∞.
///
/// Cases of it in `conformance/losses.jsonl`: `aul`.
///
/// ```
/// use surprisal::loss::AsymmetricUnhinged;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = AsymmetricUnhinged::new(2.0, 2.0)?;
/// let loss = LinearCrossEntropy::builder().row_loss(loss).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - (1.75 * 1.75 - 1.0) / 2.0).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AsymmetricUnhinged {
    a: f64,
    q: f64,
}

impl AsymmetricUnhinged {
    /// With this a and this q.
    ///
    /// # Errors
    /// [`Error::Option`] for an a that is not finite and above 1, and for a q that is not finite and above
    /// 0.
    pub fn new(a: f64, q: f64) -> Result<Self> {
        let check =
            |name, value: f64, least: f64, expected| match value > least && value.is_finite() {
                true => Ok(()),
                false => Err(Error::Option { name, value: short(value), expected }),
            };
        check("a", a, 1.0, "a finite number above 1")?;
        check("q", q, 0.0, "a finite number above 0")?;
        Ok(Self { a, q })
    }
}

impl RowLoss for AsymmetricUnhinged {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let Self { a, q } = *self;
        let (p, others) = (row.probability(), row.others());
        let least = a - 1.0;
        // ln of (a−p)/(a−1); a − p is a sum, in which nothing cancels.
        let log = (others / least).ln_1p();
        let base = least + others;
        let term = Term::new(-(-q * log).exp_m1() / q).by_surprisal(p / base);
        Terms::weighted(term.times_exp(q * base.ln()))
    }
}
