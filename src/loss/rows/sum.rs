//! Sums and multiples of losses.

use std::sync::Arc;

use crate::error::{Error, Result, short};
use crate::loss::row_loss::{Needs, RowLoss, RowScalars, Terms};

/// Σ_j x_j L_j of losses L_j with factors x_j of either sign: a loss as they are.
///
/// ```
/// use surprisal::loss::{CrossEntropy, GeneralizedCrossEntropy, Sum};
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let sum = Sum::new()
///     .add(0.5, CrossEntropy::default())?
///     .add(2.0, GeneralizedCrossEntropy::new(1.0)?)?;
/// let loss = LinearCrossEntropy::builder().row_loss(sum).build()?;
/// let logits = ndarray::arr2(&[[0.0_f64, 0.0]]);
/// let value = loss.forward(&Inputs::from_logits(&logits, &[1_u32]))?.loss();
/// assert!((value - (0.5 * std::f64::consts::LN_2 + 2.0 * 0.5)).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Sum {
    parts: Vec<(f64, Arc<dyn RowLoss>)>,
}

impl Sum {
    /// A sum of nothing, which is 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// With another loss, times a factor.
    ///
    /// # Errors
    /// [`Error::Option`] for a factor that is not finite; [`Error::Conflict`] for cross-entropies with
    /// different label smoothings: targets are smoothed once.
    pub fn add(mut self, factor: f64, loss: impl RowLoss + 'static) -> Result<Self> {
        if !factor.is_finite() {
            return Err(Error::Option {
                name: "the factor of a loss",
                value: short(factor),
                expected: "a finite number",
            });
        }
        let label_smoothing = loss.needs().label_smoothing;
        let other = |(_, part): &(f64, Arc<dyn RowLoss>)| {
            let both = part.needs().label_smoothing.zip(label_smoothing);
            both.is_some_and(|(own, other)| own != other)
        };
        if self.parts.iter().any(other) {
            return Err(Error::Conflict {
                what: "the losses of a sum have different label smoothings, expected one".into(),
            });
        }
        self.parts.push((factor, Arc::new(loss)));
        Ok(self)
    }
}

impl RowLoss for Sum {
    fn needs(&self) -> Needs {
        let mut all = Needs::nothing();
        all.soft_targets = true;
        for (_, part) in &self.parts {
            let own = part.needs();
            all.entropy |= own.entropy;
            all.deviation |= own.deviation;
            all.min_entropy |= own.min_entropy;
            all.companion |= own.companion;
            all.temperature |= own.temperature;
            all.second_entropy |= own.second_entropy;
            for (divergence, _) in own.divergences.iter() {
                all = all.divergence(divergence);
            }
            all.too_many_divergences |= own.too_many_divergences;
            all.soft_targets &= own.soft_targets;
            all.label_smoothing = all.label_smoothing.or(own.label_smoothing);
        }
        all
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let parts = self.parts.iter().map(|(factor, part)| part.evaluate(row).times(*factor));
        parts.reduce(Terms::plus).unwrap_or_default()
    }
}
