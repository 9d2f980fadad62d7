//! What a loss makes of a forward for the pass that comes after it.

use ndarray::Array1;

use super::forward::Forward;
use super::rows::{AdaptiveDistributionallyRobust, CorrectnessCalibration};

impl CorrectnessCalibration {
    /// `[N]` token weights with which right and wrong rows count alike: 1 − accuracy for a right row, the accuracy
    /// for a wrong one, 0 for an ignored one; 1 for each where all are right or all are wrong. It costs a forward more.
    pub fn balanced_weights(forward: &Forward) -> Array1<f64> {
        let right = |i: usize| forward.states[i].argmax == forward.states[i].target;
        let kept = forward.states.len();
        let accuracy = (0..kept).filter(|&i| right(i)).count() as f64 / kept.max(1) as f64;
        let mut weights = Array1::zeros(forward.len());
        for (i, row) in forward.rows.iter().enumerate() {
            weights[row.output] = match (accuracy == 0.0 || accuracy == 1.0, right(i)) {
                (true, _) => 1.0,
                (false, true) => 1.0 - accuracy,
                (false, false) => accuracy,
            };
        }
        weights
    }
}

impl AdaptiveDistributionallyRobust {
    /// λ* of each row `[N]` from a forward of this loss at other temperatures; λ₀ at ignored rows.
    pub fn next(&self, forward: &Forward) -> Array1<f64> {
        let mut to = Array1::from_elem(forward.len(), self.first());
        for (i, row) in forward.rows.iter().enumerate() {
            to[row.output] = self.next_of(&forward.scalars(i));
        }
        to
    }
}
