//! The comp-sum losses.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// The comp-sum losses, one for each τ: the sum-exponential loss (τ = 0), cross-entropy (1), generalized
/// cross-entropy with q = τ − 1 (between 1 and 2), 1 − p_y (2), and bounded ones beyond.
///
/// ```text
/// L = expm1((1−τ) s) / (1−τ), for τ = 1: s      ∂L/∂s = e^((1−τ) s)
/// ```
///
/// s is in nats, L a number of no unit. Mao, Mohri and Zhong 2023, *Cross-Entropy Loss Functions:
/// Theoretical Analysis and Applications*, where it is Φ^τ(Σ_{v≠y} e^(a_v − a_y)). For τ > 1 it is at most
/// 1/(τ−1). For τ < 1 it has no bound: for (1−τ) s > 709 the value is +∞, and so are the entries of the
/// gradient that leave the type; the others are right.
///
/// It falls where τ grows. Slopes are numbers up to e^10000. Published codes of its kin take the exponentials of
/// differences of logits as they are, which overflow where the loss does not. Cases in `conformance/losses.jsonl`:
/// `comp_sum`.
///
/// ```
/// use surprisal::loss::CompSum;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(CompSum::new(0.0)?).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - 3.0).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompSum {
    tau: f64,
}

impl CompSum {
    /// With this τ.
    ///
    /// # Errors
    /// [`Error::Option`] for a τ below 0 or not finite.
    pub fn new(tau: f64) -> Result<Self> {
        match tau >= 0.0 && tau.is_finite() {
            true => Ok(Self { tau }),
            false => Err(Error::Option {
                name: "tau",
                value: short(tau),
                expected: "a finite number of at least 0",
            }),
        }
    }
}

impl RowLoss for CompSum {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let s = row.surprisal();
        let rate = 1.0 - self.tau;
        if rate == 0.0 {
            return Terms::weighted(Term::new(s).by_surprisal(1.0));
        }
        let power = rate * s;
        let term = match rate > 0.0 {
            // The power of e stays apart: it may be beyond f64.
            true => Term::new(-(-power).exp_m1() / rate).by_surprisal(1.0).times_exp(power),
            false => Term::new(power.exp_m1() / rate).by_surprisal(power.exp()),
        };
        Terms::weighted(term)
    }
}
