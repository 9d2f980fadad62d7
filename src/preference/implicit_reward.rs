//! Process rewards that are implicit in a policy.

use ndarray::{Array1, Array2};

use super::labelled::LabelledLoss;
use super::sequences::{NAMES, Sequences};
use crate::error::{Error, Result};
use crate::numerics::{positive, sigmoid, softplus};

/// The implicit process reward model (implicit PRM): a policy that is trained on labels of whole answers gives a
/// reward to each token.
///
/// ```text
/// r_t = β (log π_t − log π_ref,t)      q_t = Σ_{u≤t} r_u      r = Σ_t r_t
/// L = softplus(−r) where the answer is right, softplus(r) where it is wrong      ∂L/∂log π_t = β (σ(r) − label)
/// ```
///
/// in nats, over the tokens that count. Yuan et al. 2024, *Free Process Rewards without Process Labels*. Trained
/// on pairs it is [`Dpo`](super::Dpo).
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{ImplicitReward, LabelledLoss, Sequences};
/// let (policy, reference) = (arr2(&[[-0.5, -1.0]]), arr2(&[[-1.5, -0.5]]));
/// let mask = arr2(&[[true, true]]);
/// let sequences = Sequences::new(&policy, &mask).reference(&reference);
/// let model = ImplicitReward::new(0.5)?;
/// let rewards = model.rewards(&sequences)?;
/// assert_eq!(rewards.tokens, arr2(&[[0.5, -0.25]]));
/// assert_eq!((rewards.cumulative[[0, 1]], rewards.outcomes[0]), (0.25, 0.25));
/// let losses = model.evaluate(&sequences, &[true])?;
/// assert!((losses.value - (1.0 + (-0.25_f64).exp()).ln()).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImplicitReward {
    beta: f64,
}

/// The rewards of a batch, by [`ImplicitReward::rewards`].
///
/// ```
/// # use ndarray::arr2;
/// # use surprisal::preference::{ImplicitReward, Sequences};
/// let (policy, mask) = (arr2(&[[-0.5, f64::NAN]]), arr2(&[[true, false]]));
/// let sequences = Sequences::new(&policy, &mask).reference(&policy);
/// assert_eq!(ImplicitReward::new(0.05)?.rewards(&sequences)?.tokens, arr2(&[[0.0, 0.0]]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ImplicitRewards {
    /// r_t `[B,T]`, 0 for tokens that do not count.
    pub tokens: Array2<f64>,
    /// q_t `[B,T]`, the sum up to each token.
    pub cumulative: Array2<f64>,
    /// r `[B]`, that of the whole answer.
    pub outcomes: Array1<f64>,
}

impl ImplicitReward {
    /// With this β.
    ///
    /// # Errors
    /// [`Error::Option`] for a β that is not finite and above 0.
    pub fn new(beta: f64) -> Result<Self> {
        Ok(Self { beta: positive("beta", beta)? })
    }

    /// The rewards of the tokens.
    ///
    /// # Errors
    /// As [`LabelledLoss::evaluate`].
    pub fn rewards(&self, sequences: &Sequences<'_>) -> Result<ImplicitRewards> {
        let checked = sequences.checked(&NAMES)?;
        let Some(reference) = checked.reference else {
            let what = "rewards compare with a reference policy, expected its log-probabilities";
            return Err(Error::Conflict { what: what.into() });
        };
        let mut rewards = ImplicitRewards {
            tokens: Array2::zeros(checked.kept.dim()),
            cumulative: Array2::zeros(checked.kept.dim()),
            outcomes: Array1::zeros(checked.kept.nrows()),
        };
        for ((row, t), &kept) in checked.kept.indexed_iter() {
            if kept {
                let ratio = checked.log_probabilities.at(row, t) - reference.at(row, t);
                rewards.tokens[[row, t]] = self.beta * ratio;
                rewards.outcomes[row] += self.beta * ratio;
            }
            rewards.cumulative[[row, t]] = rewards.outcomes[row];
        }
        Ok(rewards)
    }
}

impl LabelledLoss for ImplicitReward {
    fn evaluate_sequence(&self, x: f64, right: bool) -> (f64, f64) {
        let r = self.beta * x;
        match right {
            true => (softplus(-r), -self.beta * sigmoid(-r)),
            false => (softplus(r), self.beta * sigmoid(r)),
        }
    }
}
