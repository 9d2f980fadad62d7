//! The fused linear cross-entropy: `E·Cᵀ` folded tile by tile, forward and backward; and the other losses of a row
//! on the same fold, given to [`LinearCrossEntropyBuilder::row_loss`].
//!
//! | I want … | use |
//! | --- | --- |
//! | cross-entropy, with label smoothing and a penalty on lse | the default, or [`CrossEntropy`] in a sum |
//! | robustness against wrong labels | [`GeneralizedCrossEntropy`], [`CompSum`], [`MeanAbsoluteError`], [`HardSymmetricCrossEntropy`], [`NormalizedCrossEntropy`], [`AsymmetricGeneralizedCrossEntropy`], [`AsymmetricUnhinged`], [`DistributionallyRobust`], [`AdaptiveDistributionallyRobust`] |
//! | more weight on hard rows, or on easy ones | [`Focal`], [`Poly1`], [`MixedCrossEntropy`], [`Tailored`] |
//! | rare classes to count as common ones do | the logarithm of the class frequencies as a bias (logit adjustment), class weights |
//! | confidence that is right as often as it says | [`CorrectnessCalibration`], temperatures |
//! | a policy that stays random | [`EntropyBonus`] |
//! | pass at N draws | [`DirectCoverage`] |
//! | costs of classes, rewards | [`ExpectedCost`], with an [`EmbeddingCost`] for those of an embedding, [`EarthMover`] |
//! | a teacher, or a reference policy | [`KullbackLeibler`], [`JensenShannon`], [`SkewKullbackLeibler`], [`TotalVariation`], [`SymmetricCrossEntropy`] with a [`Head`], in [`TemperatureSquared`] at a temperature; [`Targets::soft`] or [`Targets::sparse`] for its probabilities |
//! | log-probabilities of what a sampler drew | [`Truncation`] with [`LinearCrossEntropy::truncate`] |
//! | to draw from the softmax | [`LinearCrossEntropy::sample`] |
//! | a teacher's likeliest classes alone | [`ListDivergence`] of a [`TeacherList`] |
//! | a ranking of the classes, a teacher's or one's own, of all or the first of them | [`PlackettLuce`] of [`Rankings`] |
//! | labels of yes and no, their overlap | [`binary`](crate::binary) |
//! | values by classification | [`values`](crate::values) |
//! | robustness against an attack | [`SmoothAdversarial`], on logits |
//! | several of these | [`Sum`] |
//!
//! Handwritten digits of which 30 % of the labels are wrong, five runs each, the mean and the deviation
//! (`cargo run --release --example noisy_labels`):
//!
//! | loss | held-out accuracy | calibration error | wrong labels learned |
//! | --- | --- | --- | --- |
//! | cross-entropy | 93.8 % ± 0.7 | 0.304 | 7 % |
//! | generalized cross-entropy, q = 0.7 | 96.0 % ± 0.4 | 0.014 | 5 % |
//! | distributionally robust, λ = 10, m = 0.1 | 94.4 % ± 1.0 | 0.366 | 1 % |
//! | hard symmetric cross-entropy, α = 0.1, β = 1 | 96.5 % ± 0.5 | 0.034 | 4 % |
//!
//! # Write a loss
//!
//! A loss of one row of logits is often a function of a few numbers of the row. If yours is, write its value
//! and its slopes by these numbers, and the kernels do the rest: the logits are never stored, and no
//! derivative by a logit is yours to write.
//!
//! ## The scalars
//!
//! [`RowScalars`] has them, in nats and in f64 whatever the type of the logits. p is the softmax of the row's
//! logits a, y its target.
//!
//! | scalar | formula | its slope | to be asked for |
//! | --- | --- | --- | --- |
//! | [`surprisal`](RowScalars::surprisal) s | −ln p_y | [`by_surprisal`](Term::by_surprisal) | no |
//! | [`probability`](RowScalars::probability) | p_y = e^−s | that by s is −p_y times that by p_y | no |
//! | [`others`](RowScalars::others) | 1 − p_y | that by s is p_y times that by 1 − p_y | no |
//! | [`log_sum_exp`](RowScalars::log_sum_exp) lse | ln Σ_v e^a_v | [`by_log_sum_exp`](Term::by_log_sum_exp) | no |
//! | [`entropy`](RowScalars::entropy) H | −Σ_v p_v ln p_v | [`by_entropy`](Term::by_entropy) | [`Needs::entropy`] |
//! | [`min_entropy`](RowScalars::min_entropy) s_max | −ln max p | [`by_min_entropy`](Term::by_min_entropy) | [`Needs::min_entropy`] |
//! | [`deviation`](RowScalars::deviation) D | Σ_v (lse − a_v) | [`by_deviation`](Term::by_deviation) | [`Needs::deviation`] |
//! | [`companion`](RowScalars::companion) X | Σ_v p_v c_v | [`by_companion`](Term::by_companion) | [`Needs::companion`] |
//! | [`divergence`](RowScalars::divergence) K | KL(P‖p) and its kin | [`by_divergence`](Term::by_divergence) | [`Needs::divergence`] |
//!
//! [`RowScalars::class_weight`], [`vocabulary`](RowScalars::vocabulary),
//! [`temperature`](RowScalars::temperature) ([`Needs::temperature`]) and [`is_argmax`](RowScalars::is_argmax) are
//! there too; they have no slope.
//!
//! ## The slopes
//!
//! Take the scalars for independent variables and differentiate by each. s and lse both move with the
//! logits, but in a loss of s alone the slope by lse is 0: the kernels know how each scalar moves
//! ([`RowLoss`] has the formula). A slope that is not set is 0. A factor that is a constant, such as a weight
//! that is not to be differentiated, counts in the value and is left where it stands in the slope.
//!
//! ## Weighted or plain
//!
//! [`Terms::weighted`] is for what the class weights weigh, as they do the cross-entropy: in a mean it is
//! divided by the sum of the weights. [`Terms::plain`] is for what has nothing to do with the target, such as
//! a penalty on lse: in a mean it is divided by the number of rows. A loss may have one of each. Token
//! weights weigh both. Do not multiply with any of these yourself.
//!
//! ## Companions
//!
//! A [`Companion`] is a number c_v beside every logit: a cost, a reward, a distance of classes. The loss has
//! its mean X under p. The caller gives it with [`Inputs::companion`], for the classes, for every entry, as
//! lists, or as a second [`Head`], whose logits are made in the same tiles; a loss that asks for one gets an
//! error without, and the reverse.
//!
//! A [`Divergence`] K is that of p from the softmax P of a second head, such as a teacher's or that of a
//! reference policy.
//!
//! ## What to ask for
//!
//! [`RowLoss::needs`] names what is to be computed beside s and lse. What was not asked for is NaN, so a loss
//! that forgets is NaN and not wrong. Ask for nothing that is not used: H costs a second moment of every tile,
//! D and X a sum over it, and s_max and X go with no [`Filter`].
//! [`Needs::soft_targets`] says that the formula holds for soft targets, whose s is their cross-entropy;
//! without it they are refused.
//!
//! ## Digits
//!
//! s has all of its digits where p_y is nearly 1, and so should what is made of it. Where s = 10⁻²⁰, p_y is 1
//! and `1.0 - row.probability()` is 0.
//! - Take [`others`](RowScalars::others) for 1 − p_y.
//! - Take `-(-q * s).exp_m1()` for 1 − p_y^q, and `(q * s).exp_m1()` for p_y^−q − 1.
//! - Take `s` for −ln p_y, never the logarithm of [`probability`](RowScalars::probability), which is 0 from
//!   s = 746 on.
//! - Where a loss leaves f64, such as e^s, give what is left of it to [`Term::times_exp`]: gradients multiply
//!   with p_y and are within it.
//! - Look for 0 · ∞ and ∞/∞: s is +∞ where a target's logit is −∞.
//!
//! ## What you get for it
//!
//! - Forward and backward on the CPU with both strategies ([`Backward`]) under a budget of memory, on every
//!   instruction set, from f64, f32, bf16 and f16, and from logits that are there already.
//! - Shards of a vocabulary ([`LinearCrossEntropy::fold`]), but for losses with a second head. Two losses of the same type are told apart by how
//!   they are written ([`Debug`]): have all parameters there, or implement [`RowLoss::same`].
//! - A node of the tape
//!   ([`Variable::linear_cross_entropy`](crate::autodiff::Variable::linear_cross_entropy), and with a companion
//!   [`linear_cross_entropy_beside`](crate::autodiff::Variable::linear_cross_entropy_beside)).
//! - A GPU (feature `gpu`, `LinearCrossEntropy::on`), divergences from at most one mixture with a second head: it
//!   computes the scalars and G, your function runs on the CPU in between. Where a slope or a sum of companions
//!   leaves f32, what a GPU makes of it is not a number; the CPU's is right wherever the result is one.
//! - Bias, scale, softcap, temperatures, weights, ignored rows and all reductions; sums with other losses
//!   ([`Sum`]).
//!
//! ## An example
//!
//! Unlikelihood of the most likely class where that is not the target, beside cross-entropy, with a penalty
//! on lse:
//!
//! ```text
//! L = s − λ [argmax ≠ y] ln(1 − e^−s_max)      and beside it      ζ lse²
//! ```
//!
//! ```
//! use ndarray::{Array2, arr2};
//! use surprisal::loss::{Needs, RowLoss, RowScalars, Term, Terms};
//! use surprisal::{Backward, Gradients, Inputs, LinearCrossEntropy, Upstream};
//!
//! #[derive(Debug)]
//! struct Unlikelihood {
//!     lambda: f64,
//!     zeta: f64,
//! }
//!
//! impl RowLoss for Unlikelihood {
//!     fn needs(&self) -> Needs {
//!         Needs::nothing().min_entropy()
//!     }
//!
//!     fn evaluate(&self, row: &RowScalars) -> Terms {
//!         let (s, lse, most) = (row.surprisal(), row.log_sum_exp(), row.min_entropy());
//!         let mut term = Term::new(s).by_surprisal(1.0);
//!         if !row.is_argmax() {
//!             // 1 − e^−x with expm1: both are near 0 where the wrong class is nearly certain.
//!             let left = -(-most).exp_m1();
//!             term = Term::new(s - self.lambda * left.ln())
//!                 .by_surprisal(1.0)
//!                 .by_min_entropy(-self.lambda * (-most).exp() / left);
//!         }
//!         let z = Term::new(self.zeta * lse * lse).by_log_sum_exp(2.0 * self.zeta * lse);
//!         Terms::weighted(term).with_plain(z)
//!     }
//! }
//!
//! let of = || LinearCrossEntropy::builder().row_loss(Unlikelihood { lambda: 0.5, zeta: 0.01 });
//!
//! // Against the formula, on given logits in f64.
//! let logits = arr2(&[[1.0_f64, -0.5, 2.0]]);
//! let direct = |a: &Array2<f64>| {
//!     let lse = a.mapv(f64::exp).sum().ln();
//!     (lse - a[[0, 0]]) - 0.5 * (1.0 - (a[[0, 2]] - lse).exp()).ln() + 0.01 * lse * lse
//! };
//! let mut g = Array2::<f64>::zeros((1, 3));
//! let loss = of().build()?;
//! let forward = loss.loss_and_gradients(
//!     &Inputs::from_logits(&logits, &[0_u32]),
//!     &Upstream::default(),
//!     Gradients::new().logits(&mut g),
//! )?;
//! assert!((forward.loss() - direct(&logits)).abs() < 1e-14);
//!
//! // Its gradient against central differences of the formula.
//! for v in 0..3 {
//!     let moved = |h: f64| {
//!         let mut logits = logits.clone();
//!         logits[[0, v]] += h;
//!         direct(&logits)
//!     };
//!     let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
//!     assert!((g[[0, v]] - numeric).abs() < 1e-9);
//! }
//!
//! // Fused, it is what it is on the logits, with either strategy.
//! let hidden = arr2(&[[1.0_f64, 0.5]]);
//! let classifier = arr2(&[[1.0, 0.0], [-1.0, 1.0], [1.0, 2.0]]);
//! for backward in [Backward::Strip, Backward::Recompute] {
//!     let mut d_hidden = Array2::<f64>::zeros((1, 2));
//!     let forward = of().backward(backward).build()?.loss_and_gradients(
//!         &Inputs::new(&hidden, &classifier, &[0_u32]),
//!         &Upstream::default(),
//!         Gradients::new().hidden(&mut d_hidden),
//!     )?;
//!     assert!((forward.loss() - direct(&logits)).abs() < 1e-14);
//!     assert!((d_hidden - g.dot(&classifier)).iter().all(|x| x.abs() < 1e-14));
//! }
//! # Ok::<(), surprisal::Error>(())
//! ```
//!
//! ## How to test it
//!
//! As in the example, from the plain to the fast:
//! 1. Given logits in f64 ([`Inputs::from_logits`]) against the formula in direct sums, for a few
//!    vocabularies, from 2 classes on.
//! 2. Its gradient against central differences of that formula. A slope that was forgotten shows here.
//!    [`gradcheck`](crate::autodiff::gradcheck) does it on the tape.
//! 3. A confident row, such as a target 40 above all else, against what the formula is there in the limit.
//! 4. Fused against given, in f64; then in the types that you train in.
//!
//! `surprisal oracle` has the losses of this crate by name, for other implementations to be checked against: it
//! runs the same code, and so is no check of that.

mod between_passes;
pub(crate) mod candidates;
mod class_order;
pub(crate) mod companion;
mod doors;
mod embedding_cost;
pub(crate) mod engine;
pub(crate) mod filter;
pub(crate) mod floors;
pub(crate) mod forward;
pub(crate) mod gradients;
pub(crate) mod head;
pub(crate) mod inputs;
mod list_divergence;
mod list_row;
mod options;
mod outcomes;
pub(crate) mod ranked;
pub(crate) mod row_loss;
pub(crate) mod rows;
mod sampling;
mod shards;
mod smooth_adversarial;
pub(crate) mod source;
mod teacher_list;
mod truncation;

pub use candidates::{CandidateLogProbabilities, Candidates};
pub use class_order::ClassOrder;
pub use companion::Companion;
pub use embedding_cost::EmbeddingCost;
pub use engine::plan::Plan;
pub use engine::shapes::{Pass, Shapes, Strategy};
pub use floors::{Floors, Ties, Truncation};
pub use forward::{DroppedMass, Forward, Statistic, TopK};
pub use gradients::{Gradients, Upstream};
pub use head::Head;
pub use inputs::{Classes, Inputs, Shard, Targets};
pub use list_divergence::{ListDivergence, ListDivergenceBuilder, ListLosses, Outside};
pub use options::{Backward, Filter, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction};
pub use ranked::{PlaceWeights, PlackettLuce, RankedLosses, Rankings};
pub use row_loss::{Needs, RowLoss, RowScalars, Term, Terms};
pub use rows::{
    AdaptiveDistributionallyRobust, AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, CompSum,
    CorrectnessCalibration, CorrectnessPenalty, CrossEntropy, DirectCoverage,
    DistributionallyRobust, EarthMover, EntropyBonus, ExpectedCost, Focal, GeneralizedCrossEntropy,
    HardSymmetricCrossEntropy, JensenShannon, KullbackLeibler, MeanAbsoluteError,
    MixedCrossEntropy, NormalizedCrossEntropy, Poly1, SkewKullbackLeibler, Sum,
    SymmetricCrossEntropy, Tailored, TemperatureSquared, TotalVariation,
};
pub use sampling::{Samples, Sampling, ShardSamples};
pub use shards::Fold;
pub use smooth_adversarial::{AdversarialLosses, SmoothAdversarial};
pub use teacher_list::TeacherList;

pub use crate::softmax::divergence::Divergence;
