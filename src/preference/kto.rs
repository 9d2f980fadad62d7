//! Kahneman–Tversky optimization.

use super::labelled::LabelledLoss;
use crate::error::Result;
use crate::numerics::{check, not_negative, positive, sigmoid, sigmoid_slope};

/// Kahneman–Tversky optimization (KTO): labels in place of pairs.
///
/// ```text
/// L = w σ(∓β (x − κ))      ∂L/∂x = ∓w β σ(y) σ(−y), y = β (x − κ)      − for what is desirable, + for what is not
/// ```
///
/// x = Σ (log π − log π_ref) of the sequence, in nats. κ = max(0, KL), where KL is the mean of x over answers to other
/// prompts, computed by the caller, constant here; with κ = 0 it is APO-zero without pairs. w is 1 unless it is set.
/// Ethayarajh et al. 2024, *KTO: Model Alignment as Prospect Theoretic Optimization*.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{Kto, LabelledLoss, Sequences};
/// let (policy, mask) = (arr2(&[[-1.0, -0.5], [-2.0, -0.5]]), arr2(&[[true, true]; 2]));
/// let sequences = Sequences::new(&policy, &mask).reference(&policy);
/// let losses = Kto::new(0.1)?.weights(1.0, 2.0)?.evaluate(&sequences, &[true, false])?;
/// assert_eq!(losses.losses.to_vec(), [0.5, 1.0]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kto {
    beta: f64,
    kappa: f64,
    desirable: f64,
    undesirable: f64,
}

impl Kto {
    /// With this β, κ = 0 and weights 1.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a β that is not finite and above 0.
    pub fn new(beta: f64) -> Result<Self> {
        let beta = positive("beta", beta)?;
        Ok(Self { beta, kappa: 0.0, desirable: 1.0, undesirable: 1.0 })
    }

    /// With κ = max(0, this estimate of the divergence of the policy from its reference), in nats.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for one that is not finite.
    pub fn divergence(self, kl: f64) -> Result<Self> {
        Ok(Self { kappa: check("kl", kl, true, "a finite number")?.max(0.0), ..self })
    }

    /// With these weights of desirable and undesirable sequences.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for one below 0 or not finite.
    pub fn weights(self, desirable: f64, undesirable: f64) -> Result<Self> {
        Ok(Self {
            desirable: not_negative("desirable_weight", desirable)?,
            undesirable: not_negative("undesirable_weight", undesirable)?,
            ..self
        })
    }
}

impl LabelledLoss for Kto {
    fn evaluate_sequence(&self, x: f64, desirable: bool) -> (f64, f64) {
        let (weight, sign) =
            if desirable { (self.desirable, -1.0) } else { (self.undesirable, 1.0) };
        let y = self.beta * (x - self.kappa);
        (weight * sigmoid(sign * y), sign * weight * self.beta * sigmoid_slope(y))
    }
}
