//! Direct preference optimization and its kin.

use super::objective::Objective;
use super::pairs::{PairLoss, PairTerm};
use crate::error::Result;
use crate::numerics::{check, positive};

/// Direct preference optimization (DPO), with the other functions of its margin.
///
/// With the scores a = Σ (log π − log π_ref) of the chosen and the rejected sequence, d = a_chosen − a_rejected and
/// h = β d, in nats:
///
/// | made by | ℓ |
/// | --- | --- |
/// | [`new`](Self::new) | softplus(−h) = −ln σ(h); with [`label_smoothing`](Self::label_smoothing) ε (1−ε) softplus(−h) + ε softplus(h) |
/// | [`hinge`](Self::hinge) | max(0, 1 − h) |
/// | [`ipo`](Self::ipo) | (d − 1/(2β))² |
/// | [`robust`](Self::robust) | ((1−ε) softplus(−h) − ε softplus(h)) / (1 − 2ε) |
/// | [`apo_zero`](Self::apo_zero) | σ(−β a_chosen) + σ(β a_rejected) |
/// | [`apo_down`](Self::apo_down) | σ(β a_chosen) + σ(−h) |
///
/// Where the policy is the reference, h is 0 and the first is ln 2. Without a reference π_ref counts as 1.
///
/// Rafailov et al. 2023, *Direct Preference Optimization*; label smoothing (conservative DPO): Mitchell 2023, *A
/// note on DPO with noisy preferences*; hinge: Zhao et al. 2023, *SLiC-HF*; Azar et al. 2023, *A General Theoretical
/// Paradigm to Understand Learning from Human Preferences* (IPO); Chowdhury, Kini and Natarajan 2024, *Provably
/// Robust DPO*; D'Oosterlinck et al. 2024, *Anchored Preference Optimization*.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{Dpo, PairLoss, Pairs, Sequences};
/// let (chosen, rejected) = (arr2(&[[-0.5, -1.0]]), arr2(&[[-2.0, -1.5]]));
/// let mask = arr2(&[[true, true]]);
/// let pairs = Pairs::new(
///     Sequences::new(&chosen, &mask).reference(&chosen),
///     Sequences::new(&rejected, &mask).reference(&rejected),
/// );
/// let losses = Dpo::new(0.1)?.label_smoothing(0.1)?.evaluate(&pairs)?;
/// assert!((losses.value - 2_f64.ln()).abs() < 1e-15);
/// assert!((losses.chosen[[0, 0]] + 0.1 * 0.4).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dpo {
    objective: Objective,
    beta: f64,
    smoothing: f64,
    averaged: bool,
}

impl Dpo {
    fn with(objective: Objective, beta: f64) -> Result<Self> {
        let beta = positive("beta", beta)?;
        Ok(Self { objective, beta, smoothing: 0.0, averaged: false })
    }

    /// −ln σ(h), with this β.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a β that is not finite and above 0; so for all others.
    pub fn new(beta: f64) -> Result<Self> {
        Self::with(Objective::Sigmoid, beta)
    }

    /// max(0, 1 − h); its slope at h = 1 is 0.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn hinge(beta: f64) -> Result<Self> {
        Self::with(Objective::Hinge, beta)
    }

    /// Identity preference optimization, (d − 1/(2β))².
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn ipo(beta: f64) -> Result<Self> {
        Self::with(Objective::Identity, beta)
    }

    /// Robust DPO, for preferences of which a share ε below ½ is reversed.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::Option`](crate::Error::Option) for an ε outside [0, ½).
    pub fn robust(beta: f64, label_smoothing: f64) -> Result<Self> {
        let good = (0.0..0.5).contains(&label_smoothing);
        let smoothing =
            check("label_smoothing", label_smoothing, good, "a number from 0 below 0.5")?;
        Ok(Self { smoothing, ..Self::with(Objective::Robust, beta)? })
    }

    /// Anchored preference optimization that raises the chosen sequences and lowers the rejected ones.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn apo_zero(beta: f64) -> Result<Self> {
        Self::with(Objective::ApoZero, beta)
    }

    /// Anchored preference optimization that lowers both, the rejected sequences more.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn apo_down(beta: f64) -> Result<Self> {
        Self::with(Objective::ApoDown, beta)
    }

    /// Conservative DPO: a share ε of the preferences is taken for reversed.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an ε outside [0, ½]; [`Error::Conflict`](crate::Error::Conflict) for an ε above 0 of another loss than that of
    /// [`new`](Self::new).
    pub fn label_smoothing(self, epsilon: f64) -> Result<Self> {
        Ok(Self { smoothing: self.objective.smoothing(epsilon, self.smoothing)?, ..self })
    }

    /// Whether scores are means over the tokens, not sums; they are sums else.
    #[must_use]
    pub fn averaged(self, averaged: bool) -> Self {
        Self { averaged, ..self }
    }
}

impl PairLoss for Dpo {
    fn evaluate_pair(&self, chosen: f64, rejected: f64) -> PairTerm {
        self.objective.at(chosen, rejected, self.beta, self.smoothing)
    }

    fn is_averaged(&self) -> bool {
        self.averaged
    }
}
