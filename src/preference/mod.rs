//! Sequence losses: preferences and policy gradients, from the log-probabilities of tokens and a mask.
//!
//! All of them need one number of each token, its log-probability under the policy, and give back one, the slope
//! of the loss by it. With the linear head that gives the former, and takes the latter as an upstream gradient, no
//! logit of a sequence is ever stored: [`forward`](crate::LinearCrossEntropy::forward) gives −log π as the
//! losses of the rows, [`vjp`](crate::LinearCrossEntropy::vjp) takes minus the gradient.
//!
//! | I want … | use |
//! | --- | --- |
//! | to learn from pairs, with a reference policy | [`Dpo`]: sigmoid, label smoothing, hinge, IPO, robust, APO |
//! | to learn from pairs, without one | [`Simpo`], [`Cpo`], [`Orpo`] |
//! | to learn from labels of single answers | [`Kto`] |
//! | a reward of each token from labels of answers | [`ImplicitReward`] |
//! | a policy gradient with clipped ratios | [`PolicyLoss::ppo`], [`grpo`](PolicyLoss::grpo), [`bnpo`](PolicyLoss::bnpo), [`dr_grpo`](PolicyLoss::dr_grpo), [`dapo`](PolicyLoss::dapo) |
//! | one that is clipped otherwise | [`PolicyLoss::cispo`], [`gspo`](PolicyLoss::gspo), [`sapo`](PolicyLoss::sapo) |
//! | a policy that stays near a reference | [`PolicyLoss::divergence`], [`KlEstimates`] on its own tokens; [`FDivergence`] on the reference's |
//! | a policy that stays random | [`PolicyLoss::entropy_bonus`], [`ClipCovariance`], [`KlCovariance`], [`SteerWeights`] |
//! | to see where its entropy goes | [`PolicyEntropyChange`], [`TokenEntropyChange`], [`TokenCovariance`], [`EntropyRewardFit`] |
//! | pass at N draws of whole answers | [`DirectCoverage::slope_at`](crate::loss::DirectCoverage::slope_at) of an answer's surprisal |
//! | a loss of my own | [`PairLoss`], [`LabelledLoss`] |
//! | any of these in a graph | [`Variable::pair_losses`](crate::autodiff::Variable::pair_losses), [`labelled_losses`](crate::autodiff::Variable::labelled_losses), [`policy_loss`](crate::autodiff::Variable::policy_loss) |
//!
//! What holds for all:
//! - Arrays are `[B,T]`, B sequences of T tokens, of any element type; all is computed in f64. The mask selects:
//!   what does not count may be NaN or −∞ and adds exactly 0. A NaN that counts is NaN in what it is part of.
//! - Options are checked where they are set, arrays where they are used; both are errors, not NaN.
//! - A sequence without a token that counts has a score of 0, and counts in means over sequences.
//! - What has an infinite loss has a gradient of 0.
//! - No gradient flows to references, old policies, advantages and weights.
//!
//! ```
//! use ndarray::{Array2, arr2};
//! use surprisal::preference::{Dpo, PairLoss, RowPairs, Sequences};
//! use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};
//!
//! // Four sequences of three tokens, all in one pass; rows 0 and 2 are better than 1 and 3.
//! let hidden = Array2::from_shape_fn((12, 5), |(i, j)| ((i * 3 + j) as f64).sin());
//! let classifier = Array2::from_shape_fn((50, 5), |(i, j)| ((i + 2 * j) as f64).cos());
//! let tokens: Vec<u32> = (0..12).map(|i| i * 4).collect();
//! let mask = arr2(&[[true, true, false], [true, true, true], [true, false, false], [true, true, true]]);
//!
//! let head = LinearCrossEntropy::builder().reduction(Reduction::None).build()?;
//! let inputs = Inputs::new(&hidden, &classifier, &tokens);
//! let forward = head.forward(&inputs)?;
//! let log_probs = -forward.losses().into_shape_with_order((4, 3)).expect("as many");
//!
//! let sequences = Sequences::new(&log_probs, &mask);
//! let losses = Dpo::new(0.1)?.evaluate_rows(&RowPairs::new(sequences, &[[0, 1], [2, 3]]))?;
//!
//! let upstream = -losses.gradient.flatten().into_owned();
//! let mut d_hidden = Array2::<f64>::zeros((12, 5));
//! let upstream = Upstream::rows(&upstream);
//! head.vjp(&inputs, &forward, &upstream, Gradients::new().hidden(&mut d_hidden))?;
//! assert!(d_hidden.row(2).iter().all(|&g| g == 0.0));
//! assert!(d_hidden.row(0).iter().any(|&g| g != 0.0));
//! # Ok::<(), surprisal::Error>(())
//! ```

mod cispo;
mod clipped;
mod covariance;
mod cpo;
mod dpo;
mod entropy_change;
mod f_divergence;
mod gspo;
mod implicit_reward;
mod kl_estimates;
mod kl_estimator;
mod kto;
pub(crate) mod labelled;
mod mask;
mod objective;
mod orpo;
pub(crate) mod pairs;
mod policy;
mod reduction;
mod reward_fit;
mod rollout;
mod sapo;
mod sequences;
mod simpo;
mod steer;
mod surrogate;

pub use cispo::Cispo;
pub use clipped::Clipped;
pub use covariance::{ClipCovariance, KlCovariance, TokenCovariance};
pub use cpo::Cpo;
pub use dpo::Dpo;
pub use entropy_change::{PolicyEntropyChange, TokenEntropyChange};
pub use f_divergence::FDivergence;
pub use gspo::Gspo;
pub use implicit_reward::{ImplicitReward, ImplicitRewards};
pub use kl_estimates::KlEstimates;
pub use kl_estimator::KlEstimator;
pub use kto::Kto;
pub use labelled::LabelledLoss;
pub use mask::{Mask, MaskElement};
pub use orpo::Orpo;
pub use pairs::{PairLoss, PairLosses, PairTerm, Pairs, RowPairs, SequenceLosses};
pub use policy::{PolicyLoss, PolicyLosses};
pub use reduction::{EmptySequences, TokenReduction};
pub use reward_fit::EntropyRewardFit;
pub use rollout::{Advantages, Rollout};
pub use sapo::Sapo;
pub use sequences::Sequences;
pub use simpo::Simpo;
pub use steer::SteerWeights;
pub use surrogate::Surrogate;
