//! A penalty on entropies of attention that are far from what each head learns to have.

use ndarray::{Array1, Array4, ArrayView1, ArrayView4};

use crate::error::{Error, Result, short};

/// The regulariser of entropy-guided attention, of entropies H of L layers, B sequences, H heads and T queries:
///
/// ```text
/// dev = H − θ_h E          E = ln(context), θ_h of a head, shared by the layers
/// layer_l = Σ_{b,h,t} dev² [|dev| > tolerance · E] / heads
/// loss = coefficient · mean_l layer_l
/// ```
///
/// As its code has it: all of dev counts where it counts at all, so that the penalty jumps at the tolerance; and a layer is
/// a sum over sequences and queries, not a mean. E is the same for each query, though causal query t can reach ln(t + 1)
/// only.
///
/// Jha and Reagen 2025, *Entropy-Guided Attention for Private LLMs*. Cases in `conformance/information.jsonl`:
/// `attention_entropy_penalty`.
///
/// ```
/// use ndarray::{Array4, arr1};
/// use surprisal::information::AttentionPenalty;
/// let entropies = Array4::from_elem((1, 1, 1, 2), 1.0);
/// let penalty = AttentionPenalty::new(8)?.coefficient(1.0)?;
/// let found = penalty.evaluate(&entropies, &arr1(&[0.0]))?;
/// assert_eq!((found.loss, found.by_thresholds[0]), (2.0, -4.0 * 8_f64.ln()));
/// // Within a fifth of ln 8 of the threshold nothing counts.
/// assert_eq!(penalty.evaluate(&entropies, &arr1(&[0.5]))?.loss, 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct AttentionPenalty {
    maximum: f64,
    tolerance: f64,
    coefficient: f64,
}

/// What [`AttentionPenalty::evaluate`] gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttentionPenaltyValue {
    /// The loss.
    pub loss: f64,
    /// Of each layer `[L]`, without the coefficient.
    pub layer_losses: Array1<f64>,
    /// ∂loss/∂θ `[H]`.
    pub by_thresholds: Array1<f64>,
    /// ∂loss/∂H `[L,B,H,T]`, what [`AttentionEntropy::gradients`](super::AttentionEntropy::gradients) takes.
    pub by_entropies: Array4<f64>,
}

impl AttentionPenalty {
    /// With E = ln of a context of so many tokens, the tolerance 0.2 and the coefficient 1e-5 of the paper's code.
    ///
    /// # Errors
    /// [`Error::Option`] for less than 2 tokens.
    pub fn new(context: usize) -> Result<Self> {
        if context < 2 {
            let (value, expected) = (context.to_string(), "at least 2 tokens");
            return Err(Error::Option { name: "context", value, expected });
        }
        Ok(Self { maximum: (context as f64).ln(), tolerance: 0.2, coefficient: 1e-5 })
    }

    /// Deviations up to this share of E are free.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is finite and at least 0.
    pub fn tolerance(self, tolerance: f64) -> Result<Self> {
        match tolerance >= 0.0 && tolerance.is_finite() {
            true => Ok(Self { tolerance, ..self }),
            false => {
                let expected = "a finite number of at least 0";
                Err(Error::Option { name: "tolerance", value: short(tolerance), expected })
            }
        }
    }

    /// What the mean of the layers is multiplied with.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is finite.
    pub fn coefficient(self, coefficient: f64) -> Result<Self> {
        match coefficient.is_finite() {
            true => Ok(Self { coefficient, ..self }),
            false => {
                let (value, expected) = (short(coefficient), "a finite number");
                Err(Error::Option { name: "coefficient", value, expected })
            }
        }
    }

    /// Of entropies `[L,B,H,T]` in nats and thresholds `[H]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for arrays without elements and another number of thresholds than of heads; [`Error::Value`] for
    /// what is not finite.
    pub fn evaluate<'a, 'b>(
        &self,
        entropies: impl Into<ArrayView4<'a, f64>>,
        thresholds: impl Into<ArrayView1<'b, f64>>,
    ) -> Result<AttentionPenaltyValue> {
        self.evaluate_here(entropies.into(), thresholds.into())
    }

    fn evaluate_here(
        &self,
        entropies: ArrayView4<'_, f64>,
        thresholds: ArrayView1<'_, f64>,
    ) -> Result<AttentionPenaltyValue> {
        let (layers, batch, heads, queries) = entropies.dim();
        if entropies.is_empty() {
            return Err(Error::Shape {
                argument: "entropies",
                found: vec![layers, batch, heads, queries],
                expected: "at least one layer, sequence, head and query".into(),
            });
        }
        if thresholds.len() != heads {
            return Err(Error::Shape {
                argument: "thresholds",
                found: vec![thresholds.len()],
                expected: format!("[{heads}], one for each head"),
            });
        }
        if let Some((at, value)) = entropies.indexed_iter().find(|(_, h)| !h.is_finite()) {
            return Err(Error::not_finite("entropies", &[at.0, at.1, at.2, at.3], *value));
        }
        if let Some((at, value)) = thresholds.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            return Err(Error::not_finite("thresholds", &[at], *value));
        }
        let mut layer_losses = Array1::zeros(layers);
        let mut by_thresholds = Array1::zeros(heads);
        let mut by_entropies = Array4::zeros(entropies.dim());
        let factor = 2.0 * self.coefficient / (heads as f64 * layers as f64);
        for ((at, entropy), to) in entropies.indexed_iter().zip(&mut by_entropies) {
            let (layer, head) = (at.0, at.2);
            let deviation = entropy - thresholds[head] * self.maximum;
            if deviation.abs() > self.tolerance * self.maximum {
                layer_losses[layer] += deviation * deviation / heads as f64;
                *to = factor * deviation;
                by_thresholds[head] -= self.maximum * factor * deviation;
            }
        }
        let loss = self.coefficient * layer_losses.sum() / layers as f64;
        Ok(AttentionPenaltyValue { loss, layer_losses, by_thresholds, by_entropies })
    }
}
