//! Direct coverage optimization.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// Direct coverage optimization (DCO) of single targets: −ln of the probability that one of n independent
/// draws is the target.
///
/// ```text
/// L = −ln(1 − (1−p_y)^n)      ∂L/∂s = n (1−p_y)^(n−1) p_y / (1 − (1−p_y)^n)
/// ```
///
/// In nats; n is a real number. Chen, Raventós, Cheng, Ganguli and Druckmann 2025, *Rethinking Fine-Tuning when
/// Scaling Test-Time Compute: Limiting Confidence Improves Mathematical Reasoning*. n = 1 is cross-entropy; a
/// row whose p_y is well above 1/n has nearly no gradient.
///
/// It is never above cross-entropy, falls where n grows, and tends to 0 for n → ∞. The published code gives the
/// cross-entropy times a constant of the same gradient for the value, and where n p_y is small a series that is off
/// by some 10⁻⁴; this is the loss itself. Cases in `conformance/losses.jsonl`: `dco`, `dco_factor`.
///
/// ```
/// use surprisal::loss::DirectCoverage;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(DirectCoverage::new(2.0)?).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value + (1.0_f64 - 0.75 * 0.75).ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirectCoverage {
    n: f64,
}

impl DirectCoverage {
    /// With so many draws.
    ///
    /// # Errors
    /// [`Error::Option`] for an n below 1 or not finite.
    pub fn new(n: f64) -> Result<Self> {
        match n >= 1.0 && n.is_finite() {
            true => Ok(Self { n }),
            false => Err(Error::Option {
                name: "n",
                value: short(n),
                expected: "a finite number of at least 1",
            }),
        }
    }

    /// L of an answer of so many nats: of a whole sequence the sum of its tokens' surprisals. NaN below 0.
    ///
    /// ```
    /// # use surprisal::loss::DirectCoverage;
    /// let loss = DirectCoverage::new(2.0)?;
    /// assert!((loss.value_at(4_f64.ln()) + (1.0_f64 - 0.75 * 0.75).ln()).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn value_at(&self, surprisal: f64) -> f64 {
        self.at(surprisal, (-surprisal).exp(), -(-surprisal).exp_m1()).0
    }

    /// ∂L/∂s there, from 0 to 1: what the gradient of each token's cross-entropy is multiplied with.
    ///
    /// ```
    /// # use surprisal::loss::DirectCoverage;
    /// assert_eq!(DirectCoverage::new(1.0)?.slope_at(3.0), 1.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn slope_at(&self, surprisal: f64) -> f64 {
        self.at(surprisal, (-surprisal).exp(), -(-surprisal).exp_m1()).1
    }

    /// Value and slope, of s, p and 1 − p.
    fn at(&self, s: f64, p: f64, others: f64) -> (f64, f64) {
        let n = self.n;
        if n == 1.0 {
            return (s, 1.0);
        }
        // p_y may have gone to 0: the first two terms in n p, the third is below 2⁻⁵³.
        if n * p < 1e-8 {
            let half = (n - 1.0) * p / 2.0;
            return (s - n.ln() + half, 1.0 - half);
        }
        let log_others = if p < 0.5 { (-p).ln_1p() } else { others.ln() };
        let power = n * log_others;
        let hit = -power.exp_m1();
        // Near 1 it is known by what is missing.
        let value = if hit < 0.5 { -hit.ln() } else { -(-power.exp()).ln_1p() };
        (value, n * p * ((n - 1.0) * log_others).exp() / hit)
    }
}

impl RowLoss for DirectCoverage {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (value, slope) = self.at(row.surprisal(), row.probability(), row.others());
        Terms::weighted(Term::new(value).by_surprisal(slope))
    }
}
