//! A loss times the square of the temperature.

use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Terms};

/// T² L, with T the temperature of the row: that of a distilled distribution, whose gradients would else shrink with
/// 1/T² and no longer go with those of the targets.
///
/// *Distilling the Knowledge in a Neural Network* (Hinton, Vinyals, Dean, 2015).
///
/// For T → ∞ that of a Kullback–Leibler divergence tends to ½ Σ_v (d_v − d̄)²/V, with d the difference of the logits.
/// Cases in `conformance/losses.jsonl`: `kl_divergence`, `knowledge_distillation`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::loss::{Companion, Head, KullbackLeibler, TemperatureSquared};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let (one, other) = (arr2(&[[0.0_f64, 1.0]]), arr2(&[[0.0_f64, 3.0]]));
/// let inputs = Inputs::from_logits(&one, &[0_u32])
///     .companion(Companion::logits(Head::from_logits(&other)));
/// let of = || LinearCrossEntropy::builder().temperature(2.0);
/// let plain = of().row_loss(KullbackLeibler::forward()).build()?.forward(&inputs)?.loss();
/// let squared = TemperatureSquared::new(KullbackLeibler::forward());
/// assert_eq!(of().row_loss(squared).build()?.forward(&inputs)?.loss(), 4.0 * plain);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TemperatureSquared<L> {
    loss: L,
}

impl<L: RowLoss> TemperatureSquared<L> {
    /// T² times this loss.
    pub fn new(loss: L) -> Self {
        Self { loss }
    }
}

impl<L: RowLoss> RowLoss for TemperatureSquared<L> {
    fn needs(&self) -> Needs {
        self.loss.needs().temperature()
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        // One after the other: the square alone may leave f64.
        let temperature = row.temperature();
        self.loss.evaluate(row).times(temperature).times(temperature)
    }
}
