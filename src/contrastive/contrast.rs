//! What a loss of embeddings returns beside its gradients.

/// A loss of a batch of embeddings against itself.
///
/// ```
/// use surprisal::{Gradients, contrastive::InfoNce};
/// let rows = ndarray::arr2(&[[1.0_f64], [1.0]]);
/// let contrast = InfoNce::new(0.1)?.loss_and_gradients(&rows, &rows, Gradients::new())?;
/// assert!((contrast.loss - 2_f64.ln()).abs() < 1e-15 && contrast.by_temperature.abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Contrast {
    /// L, in nats.
    pub loss: f64,
    /// dL/dτ, for a temperature that is learnt.
    pub by_temperature: f64,
}

impl Contrast {
    pub(super) const NOTHING: Self = Self { loss: 0.0, by_temperature: 0.0 };
}
