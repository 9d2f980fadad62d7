//! Cross-entropy tailored to the total variation.

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// TaiLr: cross-entropy whose rows are weighed so that it bounds the total variation.
///
/// ```text
/// w = clamp(p_y / ((1−γ) + γ p_y), floor, ceiling)
/// L = (γ + (1−γ) w) s      ∂L/∂s = γ + (1−γ) w,  w being a constant
/// ```
///
/// In nats. Ji et al. 2023, *Tailoring Language Generation Models under Total Variation Distance*, in the form
/// that the authors of EMO (Ren, Wu and Zhu 2024) compare with, in which γ mixes as well. The weight counts in
/// the value and is not differentiated. γ = 1 is cross-entropy.
///
/// Cases in `conformance/losses.jsonl`: `tailr`.
///
/// ```
/// use surprisal::loss::Tailored;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(Tailored::new(0.0, 0.2, 1.0)?).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - 0.25 * 4_f64.ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tailored {
    gamma: f64,
    floor: f64,
    ceiling: f64,
}

impl Tailored {
    /// With this γ, and a weight between these two.
    ///
    /// # Errors
    /// [`Error::Option`] for a γ that is not from 0 to 1, a floor below 0 or not finite, and a ceiling below
    /// the floor or not finite.
    pub fn new(gamma: f64, floor: f64, ceiling: f64) -> Result<Self> {
        let check = |name, value: f64, good: bool, expected| match good && value.is_finite() {
            true => Ok(()),
            false => Err(Error::Option { name, value: short(value), expected }),
        };
        check("gamma", gamma, (0.0..=1.0).contains(&gamma), "a number from 0 to 1")?;
        check("floor", floor, floor >= 0.0, "a finite number of at least 0")?;
        check("ceiling", ceiling, ceiling >= floor, "a finite number of at least the floor")?;
        Ok(Self { gamma, floor, ceiling })
    }
}

impl RowLoss for Tailored {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let (s, p) = (row.surprisal(), row.probability());
        // With γ = 1 it is p/p.
        let share = if self.gamma == 1.0 { 1.0 } else { p / ((1.0 - self.gamma) + self.gamma * p) };
        let weight = self.gamma + (1.0 - self.gamma) * share.clamp(self.floor, self.ceiling);
        // p ln p is 0 where p is.
        let value = if weight == 0.0 { 0.0 } else { weight * s };
        Terms::weighted(Term::new(value).by_surprisal(weight))
    }
}
