//! The cost that sampling from the row's distribution is expected to have.

use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Term, Terms};

/// The expected cost of a row, with a cost c_v of each class in a [`Companion`](crate::loss::Companion).
///
/// ```text
/// L = X = Σ_v p_v c_v      dL/da_v = p_v (c_v − X)
/// ```
///
/// The target is without effect but through the costs; class weights weigh the row as they do the
/// cross-entropy. With c_v = −reward of class v it is the policy gradient of one step, without sampling.
///
/// Cases in `conformance/losses.jsonl`, with the costs of an embedding: `demd`.
///
/// ```
/// use surprisal::loss::{Companion, ExpectedCost};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let loss = LinearCrossEntropy::builder().row_loss(ExpectedCost).build()?;
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0, 0.0, 0.0]]);
/// let costs = ndarray::arr1(&[1.0_f64, -2.0, 0.0, 4.0]);
/// let inputs = Inputs::from_logits(&logits, &[0_u32]).companion(Companion::classes(&costs));
/// assert!((loss.forward(&inputs)?.loss() - 0.75).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExpectedCost;

impl RowLoss for ExpectedCost {
    fn needs(&self) -> Needs {
        Needs::nothing().companion()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        Terms::weighted(Term::new(row.companion()).by_companion(1.0))
    }
}
