//! The mean absolute error of the probabilities.

use crate::loss::row_loss::{RowLoss, RowScalars, Term, Terms};

/// The absolute error of the probabilities against the target, or half of it.
///
/// ```text
/// L = f (1 − p_y)      ∂L/∂s = f p_y      f = 2: Σ_v |p_v − [v = y]|,  f = 1: half of it
/// ```
///
/// A number of no unit, at most f. Ghosh, Kumar and Sastry 2017, *Robust Loss Functions under Label Noise
/// for Deep Neural Networks*. Half of it is [`CompSum`](super::CompSum) with τ = 2. Its gradient vanishes
/// where p_y does.
///
/// Over all targets of a row the whole errors sum to 2 (V − 1). A published code leaves out the absolute value and
/// sums to 0 whatever p is. Cases in `conformance/losses.jsonl`: `mae`.
///
/// ```
/// use surprisal::loss::MeanAbsoluteError;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(MeanAbsoluteError::whole()).build()?;
/// let logits = ndarray::arr2(&[[2.0_f64; 4]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - 1.5).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanAbsoluteError {
    factor: f64,
}

impl MeanAbsoluteError {
    /// The whole error, 2 (1 − p_y).
    ///
    /// ```
    /// use surprisal::loss::MeanAbsoluteError;
    /// assert_ne!(MeanAbsoluteError::whole(), MeanAbsoluteError::half());
    /// ```
    pub fn whole() -> Self {
        Self { factor: 2.0 }
    }

    /// Half of it, 1 − p_y.
    ///
    /// ```
    /// use surprisal::loss::{MeanAbsoluteError, RowLoss, RowScalars, Term, Terms};
    /// let mut state = surprisal::RowState::with_target(1);
    /// state.push(0, &[3.0_f64; 4])?;
    /// let terms = MeanAbsoluteError::half().evaluate(&RowScalars::new(&state, 4));
    /// assert_eq!(terms, Terms::weighted(Term::new(0.75).by_surprisal(0.25)));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn half() -> Self {
        Self { factor: 1.0 }
    }
}

impl RowLoss for MeanAbsoluteError {
    fn evaluate(&self, row: &RowScalars) -> Terms {
        let term = Term::new(row.others()).by_surprisal(row.probability());
        Terms::weighted(term.times(self.factor))
    }
}
