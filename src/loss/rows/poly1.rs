//! The first of the polynomial losses.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// Poly-1: cross-entropy whose expansion in 1 − p_y has another first coefficient.
///
/// ```text
/// L = s + ε (1−p_y)      ∂L/∂s = 1 + ε p_y      s = (1−p_y) + (1−p_y)²/2 + (1−p_y)³/3 + …
/// ```
///
/// s is in nats. Leng et al. 2022, *PolyLoss: A Polynomial Expansion Perspective of Classification Loss
/// Functions*. ε = 0 is cross-entropy; at the least, ε = −1, the expansion begins with its square.
///
/// Cases in `conformance/losses.jsonl`: `poly1`.
///
/// ```
/// use surprisal::loss::Poly1;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(Poly1::new(2.0)?).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - (4_f64.ln() + 1.5)).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poly1 {
    epsilon: f64,
}

impl Poly1 {
    /// With this ε.
    ///
    /// # Errors
    /// [`Error::Option`] for an ε below −1 or not finite.
    pub fn new(epsilon: f64) -> Result<Self> {
        match epsilon >= -1.0 && epsilon.is_finite() {
            true => Ok(Self { epsilon }),
            false => Err(Error::Option {
                name: "epsilon",
                value: short(epsilon),
                expected: "a finite number of at least -1",
            }),
        }
    }
}

impl RowLoss for Poly1 {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (s, p, others) = (row.surprisal(), row.probability(), row.others());
        let term = match self.epsilon < 0.0 {
            // Near ε = −1 the first coefficients would cancel: they are taken together.
            true => {
                let first = 1.0 + self.epsilon;
                Term::new(beyond_first(s) + first * others).by_surprisal(others + first * p)
            }
            false => Term::new(s + self.epsilon * others).by_surprisal(1.0 + self.epsilon * p),
        };
        Terms::weighted(term)
    }
}

/// s − (1 − e^−s) = s²/2 − s³/6 + …, to all its digits.
fn beyond_first(s: f64) -> f64 {
    if s >= 0.5 {
        return s + (-s).exp_m1();
    }
    // s²/2 (1 − s/3 (1 − s/4 (…))): at ½ the 16th factor ends below 2⁻⁵³.
    let tail = (3..=16).rev().fold(1.0, |tail, k| 1.0 - s / f64::from(k) * tail);
    s * s / 2.0 * tail
}

#[cfg(test)]
mod tests {
    use super::beyond_first;

    #[test]
    fn the_expansion_beyond_its_first_term_has_all_its_digits() {
        // At 1e-4 what is left out is 3e-19 of it.
        for s in [1e-200_f64, 1e-9, 1e-4] {
            let wanted = s * s / 2.0 * (1.0 - s / 3.0 * (1.0 - s / 4.0 * (1.0 - s / 5.0)));
            assert!((beyond_first(s) - wanted).abs() <= 1e-15 * wanted, "{s}");
        }
        let (below, above) = (beyond_first(0.5_f64.next_down()), beyond_first(0.5));
        assert!((below - above).abs() < 1e-15, "{below} {above}");
        assert_eq!(beyond_first(0.0), 0.0);
        assert_eq!(beyond_first(f64::INFINITY), f64::INFINITY);
        assert!(beyond_first(f64::NAN).is_nan());
    }
}
