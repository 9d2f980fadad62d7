//! Generalized cross-entropy.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// Generalized cross-entropy: between cross-entropy (q → 0) and 1 − p_y (q = 1), so that labels that are
/// wrong pull less.
///
/// ```text
/// L = (1 − p_y^q) / q = −expm1(−q s) / q      ∂L/∂s = p_y^q
/// ```
///
/// [`truncated`](Self::truncated) at k it is min(L, (1 − k^q)/q), without a slope where p_y ≤ k: rows that the
/// model finds so unlikely are left out as if they were wrong.
///
/// Zhang and Sabuncu 2018, *Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
/// Labels*. q = 0 is cross-entropy itself. Written with `expm1` the value keeps its digits where p_y is
/// nearly 1 and where q is nearly 0; `1 − p.pow(q)` does not.
///
/// For a small q it is s − q s²/2. Cases in `conformance/losses.jsonl`: `generalized_cross_entropy`.
///
/// ```
/// use surprisal::loss::GeneralizedCrossEntropy;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(GeneralizedCrossEntropy::new(0.5)?).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - 1.0).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeneralizedCrossEntropy {
    q: f64,
    /// −ln k; +∞ without truncation.
    most: f64,
}

impl GeneralizedCrossEntropy {
    /// With this q.
    ///
    /// # Errors
    /// [`Error::Option`] for a q that is not from 0 to 1.
    pub fn new(q: f64) -> Result<Self> {
        match (0.0..=1.0).contains(&q) {
            true => Ok(Self { q, most: f64::INFINITY }),
            false => {
                Err(Error::Option { name: "q", value: short(q), expected: "a number from 0 to 1" })
            }
        }
    }

    /// With this k, at which it is cut off.
    ///
    /// # Errors
    /// [`Error::Option`] for a k that is not between 0 and 1.
    pub fn truncated(self, k: f64) -> Result<Self> {
        match k > 0.0 && k < 1.0 {
            true => Ok(Self { most: -k.ln(), ..self }),
            false => {
                let expected = "a number between 0 and 1";
                Err(Error::Option { name: "k", value: short(k), expected })
            }
        }
    }
}

impl RowLoss for GeneralizedCrossEntropy {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let of = |s: f64| if self.q == 0.0 { s } else { -(-self.q * s).exp_m1() / self.q };
        let s = row.surprisal();
        if self.most.is_finite() && s >= self.most {
            return Terms::weighted(Term::new(of(self.most)));
        }
        // 0 · ∞ is 0 here: cross-entropy has a slope of 1 also where s is +∞.
        let slope = if self.q == 0.0 { 1.0 } else { (-self.q * s).exp() };
        Terms::weighted(Term::new(of(s)).by_surprisal(slope))
    }
}
