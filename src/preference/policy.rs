//! Policy losses: a surrogate of the return, a divergence from a reference, an entropy bonus, and a reduction.

use ndarray::Array2;

use super::cispo::Cispo;
use super::clipped::Clipped;
use super::gspo::Gspo;
use super::kl_estimator::KlEstimator;
use super::reduction::{EmptySequences, TokenReduction};
use super::rollout::{Rollout, Tokens};
use super::sapo::Sapo;
use super::sequences::check_shape;
use super::surrogate::Surrogate;
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::numerics::{check, positive};

/// A policy-gradient loss of tokens.
///
/// ```text
/// L = reduction of (w ℓ(ρ, A) + c_KL · k(log π, log π_ref) − c_H · H)      ρ = π/π_old
/// ```
///
/// over the tokens that count, in nats, with ℓ the [`Surrogate`], w the rollout's token weights, k a
/// [`KlEstimator`] and H the entropy of the policy at the token. No gradient flows to π_old, π_ref, A and w. A
/// token whose loss is infinite has no gradient; see [`log_ratio_clamp`](Self::log_ratio_clamp).
///
/// | made by | ℓ | defaults | reduction |
/// | --- | --- | --- | --- |
/// | [`ppo`](Self::ppo) | [`Clipped`] | ε 0.2, 0.2 | token mean |
/// | [`grpo`](Self::grpo) | [`Clipped`] | ε 0.2, 0.2 | sequence mean |
/// | [`bnpo`](Self::bnpo) | [`Clipped`] | ε 0.2, 0.2 | token mean |
/// | [`dr_grpo`](Self::dr_grpo) | [`Clipped`] | ε 0.2, 0.2 | constant |
/// | [`dapo`](Self::dapo) | [`Clipped`] | ε 0.2, 0.28 | token mean |
/// | [`cispo`](Self::cispo) | [`Cispo`] | ratios up to 5 | token mean |
/// | [`gspo`](Self::gspo) | [`Gspo`] | ε 3e-4, 4e-4 | sequence mean |
/// | [`sapo`](Self::sapo) | [`Sapo`] | τ 1, 1.05 | sequence mean |
///
/// All begin without penalty and bonus. Shao et al. 2024, *DeepSeekMath* (GRPO); Liu et al. 2025, *Understanding
/// R1-Zero-Like Training* (Dr. GRPO); Xiao et al. 2025, *BNPO*, whose loss is that of PPO; Yu et al. 2025, *DAPO*; the
/// others stand at their surrogates.
///
/// ```
/// use ndarray::{arr1, arr2};
/// use surprisal::preference::{KlEstimator, PolicyLoss, Rollout};
/// let log_probs = arr2(&[[-0.5_f32, -1.0, -0.25], [-2.0, -0.5, f32::NAN]]);
/// let (old, reference) = (arr2(&[[-0.6_f32, -1.1, -0.2], [-1.8, -0.4, 0.0]]), log_probs.clone());
/// let mask = arr2(&[[true, true, true], [true, true, false]]);
/// let advantages = arr1(&[1.0, -0.5]);
/// let rollout = Rollout::new(&mask, &advantages).old(&old).reference(&reference);
/// let loss = PolicyLoss::grpo().divergence(0.04, KlEstimator::K3)?;
/// let losses = loss.evaluate(&log_probs, &rollout)?;
/// assert!(losses.gradient[[0, 0]] < 0.0 && losses.gradient[[1, 0]] > 0.0);
/// assert_eq!(losses.gradient[[1, 2]], 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyLoss {
    surrogate: Surrogate,
    log_ratio_clamp: f64,
    kl_coefficient: f64,
    kl_estimator: KlEstimator,
    entropy_coefficient: f64,
    reduction: TokenReduction,
    empty: EmptySequences,
}

impl PolicyLoss {
    /// With this surrogate, as the mean over sequences of the mean over their tokens.
    pub fn new(surrogate: impl Into<Surrogate>) -> Self {
        Self::of(surrogate.into(), TokenReduction::SEQUENCE_MEAN)
    }

    const fn of(surrogate: Surrogate, reduction: TokenReduction) -> Self {
        Self {
            surrogate,
            log_ratio_clamp: f64::INFINITY,
            kl_coefficient: 0.0,
            kl_estimator: KlEstimator::K3,
            entropy_coefficient: 0.0,
            reduction,
            empty: EmptySequences::Counted,
        }
    }

    const fn clipped(high: f64, reduction: TokenReduction) -> Self {
        Self::of(Surrogate::Clipped(Clipped::within(0.2, high)), reduction)
    }

    /// Proximal policy optimization.
    pub fn ppo() -> Self {
        Self::clipped(0.2, TokenReduction::TOKEN_MEAN)
    }

    /// Group relative policy optimization.
    pub fn grpo() -> Self {
        Self::clipped(0.2, TokenReduction::SEQUENCE_MEAN)
    }

    /// Beta normalization policy optimization.
    pub fn bnpo() -> Self {
        Self::clipped(0.2, TokenReduction::TOKEN_MEAN)
    }

    /// GRPO done right, with completions of at most so many tokens.
    ///
    /// # Errors
    /// As [`TokenReduction::constant`].
    pub fn dr_grpo(max_length: f64) -> Result<Self> {
        Ok(Self::clipped(0.2, TokenReduction::constant(max_length)?))
    }

    /// Decoupled clip and dynamic sampling policy optimization.
    pub fn dapo() -> Self {
        Self::clipped(0.28, TokenReduction::TOKEN_MEAN)
    }

    /// Clipped importance sampling policy optimization.
    pub fn cispo() -> Self {
        Self::of(Surrogate::Cispo(Cispo::up_to(5.0)), TokenReduction::TOKEN_MEAN)
    }

    /// Group sequence policy optimization.
    pub fn gspo() -> Self {
        Self::of(Surrogate::Gspo(Gspo::within(3e-4, 4e-4)), TokenReduction::SEQUENCE_MEAN)
    }

    /// Soft adaptive policy optimization.
    pub fn sapo() -> Self {
        Self::of(Surrogate::Sapo(Sapo::with(1.0, 1.05)), TokenReduction::SEQUENCE_MEAN)
    }

    /// With another surrogate.
    #[must_use]
    pub fn surrogate(self, surrogate: impl Into<Surrogate>) -> Self {
        Self { surrogate: surrogate.into(), ..self }
    }

    /// With another reduction.
    #[must_use]
    pub fn reduction(self, reduction: TokenReduction) -> Self {
        Self { reduction, ..self }
    }

    /// With sequences without a token that counts left out of means over sequences, or not.
    #[must_use]
    pub fn empty_sequences(self, empty: EmptySequences) -> Self {
        Self { empty, ..self }
    }

    /// With logarithms of ratios held within ±c, and no gradient outside. Where A < 0 nothing else but a dual clip
    /// or a δ bounds the loss of a token that has become much more likely. The ratio of [`Gspo`] is the sequence's.
    ///
    /// # Errors
    /// [`Error::Option`] for a c that is not finite and above 0.
    pub fn log_ratio_clamp(self, c: f64) -> Result<Self> {
        Ok(Self { log_ratio_clamp: positive("log_ratio_clamp", c)?, ..self })
    }

    /// With this estimate of the divergence from the reference, times a coefficient.
    ///
    /// # Errors
    /// [`Error::Option`] for a coefficient that is not finite.
    pub fn divergence(self, coefficient: f64, estimator: KlEstimator) -> Result<Self> {
        let kl_coefficient = check("kl_coefficient", coefficient, true, "a finite number")?;
        Ok(Self { kl_coefficient, kl_estimator: estimator, ..self })
    }

    /// With a bonus of this coefficient on the policy's entropy, which
    /// [`evaluate_with_entropy`](Self::evaluate_with_entropy) takes.
    ///
    /// # Errors
    /// [`Error::Option`] for a coefficient that is not finite.
    pub fn entropy_bonus(self, coefficient: f64) -> Result<Self> {
        let coefficient = check("entropy_coefficient", coefficient, true, "a finite number")?;
        Ok(Self { entropy_coefficient: coefficient, ..self })
    }

    /// Of the policy's log-probabilities `[B,T]`.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Value`] for arrays that do not fit; [`Error::Conflict`] for a penalty without a
    /// reference, or a bonus without an entropy.
    pub fn evaluate<'a>(
        &self,
        log_probabilities: impl Into<Matrix<'a>>,
        rollout: &Rollout<'_>,
    ) -> Result<PolicyLosses> {
        self.at(log_probabilities.into().shorter(), None, &rollout.shorter())
    }

    /// Of the policy's log-probabilities `[B,T]` and its entropies `[B,T]` at the same tokens.
    ///
    /// ```
    /// use ndarray::{arr1, arr2};
    /// use surprisal::preference::{PolicyLoss, Rollout};
    /// let (log_probs, entropy) = (arr2(&[[-0.5, -1.0]]), arr2(&[[0.75, 1.25]]));
    /// let (mask, advantages) = (arr2(&[[true, true]]), arr1(&[0.0]));
    /// let losses = PolicyLoss::ppo()
    ///     .entropy_bonus(0.01)?
    ///     .evaluate_with_entropy(&log_probs, &entropy, &Rollout::new(&mask, &advantages))?;
    /// assert_eq!((losses.value, losses.by_entropy), (-0.01, arr2(&[[-0.005, -0.005]])));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn evaluate_with_entropy<'a, 'e>(
        &self,
        log_probabilities: impl Into<Matrix<'a>>,
        entropy: impl Into<Matrix<'e>>,
        rollout: &Rollout<'_>,
    ) -> Result<PolicyLosses> {
        let entropy = entropy.into();
        self.at(log_probabilities.into().shorter(), Some(entropy.shorter()), &rollout.shorter())
    }

    fn at<'a>(
        &self,
        log_probabilities: Matrix<'a>,
        entropy: Option<Matrix<'a>>,
        rollout: &Rollout<'a>,
    ) -> Result<PolicyLosses> {
        let slopes = self.slopes(log_probabilities, entropy, rollout)?;
        let weights = self.weights(&slopes);
        let (gradient, by_entropy) = slopes.gradient(&weights);
        let value = slopes.value(&weights);
        let clip_fraction = slopes.clipped as f64 / slopes.tokens().max(1) as f64;
        Ok(PolicyLosses { value, losses: slopes.losses, gradient, by_entropy, clip_fraction })
    }

    /// What the tokens weigh in the value.
    pub(crate) fn weights(&self, slopes: &Slopes) -> Array2<f64> {
        let weights = self.reduction.weights(&slopes.kept, self.empty);
        Array2::from_shape_fn(slopes.kept.dim(), |(row, _)| weights[row])
    }

    /// Whether there is no reduction.
    pub(crate) fn is_of_tokens(&self) -> bool {
        self.reduction.is_none()
    }

    /// The losses of the tokens and their slopes.
    pub(crate) fn slopes<'a>(
        &self,
        log_probabilities: Matrix<'a>,
        entropy: Option<Matrix<'a>>,
        rollout: &Rollout<'a>,
    ) -> Result<Slopes> {
        let tokens = rollout.checked(log_probabilities)?;
        if let Some(entropy) = &entropy {
            check_shape("entropy", entropy, tokens.kept.dim())?;
        }
        if self.kl_coefficient != 0.0 && !tokens.has_reference() {
            let what = "a divergence from the reference is penalised, expected reference_log_probs";
            return Err(Error::Conflict { what: what.into() });
        }
        if self.entropy_coefficient != 0.0 && entropy.is_none() {
            let what = "entropy has a bonus, expected the entropy of each token";
            return Err(Error::Conflict { what: what.into() });
        }
        let mut slopes = Slopes::new(tokens.kept.clone());
        for row in 0..tokens.kept.nrows() {
            self.add_row(&tokens, row, entropy.as_ref(), &mut slopes);
        }
        Ok(slopes)
    }

    fn add_row(
        &self,
        tokens: &Tokens<'_>,
        row: usize,
        entropy: Option<&Matrix<'_>>,
        to: &mut Slopes,
    ) {
        let kept = tokens.kept.row(row);
        let places: Vec<usize> = (0..kept.len()).filter(|&t| kept[t]).collect();
        let sequence = match self.surrogate {
            Surrogate::Gspo(_) => {
                let sum = places.iter().fold(0.0, |sum, &t| sum + tokens.log_ratio(row, t));
                Some(sum / places.len().max(1) as f64)
            }
            _ => None,
        };
        for &t in &places {
            let log_ratio = sequence.unwrap_or_else(|| tokens.log_ratio(row, t));
            let (held, moves) = self.held(log_ratio);
            let advantage = tokens.advantage(row, t);
            let log_probability = tokens.log_probability(row, t);
            let (mut value, mut slope, clipped) = match self.surrogate {
                Surrogate::Clipped(clipped) => clipped.parts(held, advantage),
                Surrogate::Gspo(gspo) => gspo.clipped.parts(held, advantage),
                Surrogate::Sapo(sapo) => sapo.parts(held, advantage),
                Surrogate::Cispo(cispo) => cispo.parts(log_probability, held, advantage),
            };
            // The weight of CISPO is constant, so holding it takes nothing from its gradient.
            if !moves && !matches!(self.surrogate, Surrogate::Cispo(_)) {
                slope = 0.0;
            }
            to.clipped += usize::from(clipped || !moves);
            let weight = tokens.weight(row, t);
            (value, slope) =
                if weight == 0.0 { (0.0, 0.0) } else { (weight * value, weight * slope) };
            let mut penalty = (0.0, 0.0);
            if self.kl_coefficient != 0.0
                && let Some(reference) = tokens.reference(row, t)
            {
                let (kl, by_kl) = self.kl_estimator.at(log_probability, reference);
                penalty = (self.kl_coefficient * kl, self.kl_coefficient * by_kl);
            }
            if self.entropy_coefficient != 0.0
                && let Some(entropy) = entropy
            {
                penalty.0 -= self.entropy_coefficient * entropy.at(row, t);
                to.by_entropy[[row, t]] = -self.entropy_coefficient;
            }
            let total = value + penalty.0;
            to.losses[[row, t]] = total;
            if total.is_infinite() {
                to.by_entropy[[row, t]] = 0.0;
                continue;
            }
            match self.surrogate {
                Surrogate::Gspo(gspo) if !gspo.token => to.by_sequence[[row, t]] = slope,
                _ => penalty.1 += slope,
            }
            to.by_token[[row, t]] = penalty.1;
        }
    }

    /// The logarithm of a ratio within its bounds, and whether it moves there.
    fn held(&self, log_ratio: f64) -> (f64, bool) {
        let c = self.log_ratio_clamp;
        (log_ratio.clamp(-c, c), log_ratio.abs() <= c || log_ratio.is_nan())
    }
}

/// What a [`PolicyLoss`] comes to.
///
/// ```
/// # use ndarray::{arr1, arr2};
/// # use surprisal::preference::{PolicyLoss, Rollout};
/// let (old, new) = (arr2(&[[-1.0, -1.0]]), arr2(&[[-1.0, -0.5]]));
/// let (mask, advantages) = (arr2(&[[true, true]]), arr1(&[1.0]));
/// let losses = PolicyLoss::ppo().evaluate(&new, &Rollout::new(&mask, &advantages).old(&old))?;
/// assert_eq!(losses.losses, arr2(&[[-1.0, -1.2]]));
/// assert_eq!((losses.gradient, losses.clip_fraction), (arr2(&[[-0.5, 0.0]]), 0.5));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyLosses {
    /// The reduced loss; Σ of the tokens' where there is no reduction.
    pub value: f64,
    /// The loss of each token `[B,T]`, 0 for those that do not count.
    pub losses: Array2<f64>,
    /// The gradient of the value by the policy's log-probabilities `[B,T]`.
    pub gradient: Array2<f64>,
    /// The gradient of the value by the entropies `[B,T]`; zeros where there is no bonus.
    pub by_entropy: Array2<f64>,
    /// The share of the tokens that count of which the surrogate is cut off, by clipping or by the bounds of
    /// [`log_ratio_clamp`](PolicyLoss::log_ratio_clamp).
    pub clip_fraction: f64,
}

/// The losses of tokens and their slopes.
pub(crate) struct Slopes {
    pub(crate) kept: Array2<bool>,
    pub(crate) losses: Array2<f64>,
    /// By the token's own log π.
    by_token: Array2<f64>,
    /// By the mean of the log π of the sequence.
    by_sequence: Array2<f64>,
    by_entropy: Array2<f64>,
    clipped: usize,
}

impl Slopes {
    fn new(kept: Array2<bool>) -> Self {
        let zeros = || Array2::zeros(kept.dim());
        let (losses, by_token, by_sequence, by_entropy) = (zeros(), zeros(), zeros(), zeros());
        Self { losses, by_token, by_sequence, by_entropy, clipped: 0, kept }
    }

    fn tokens(&self) -> usize {
        self.kept.iter().filter(|&&kept| kept).count()
    }

    /// Σ w ℓ.
    pub(crate) fn value(&self, weights: &Array2<f64>) -> f64 {
        let terms = self.kept.iter().zip(&self.losses).zip(weights).filter(|((kept, _), _)| **kept);
        terms.fold(0.0, |sum, ((_, loss), weight)| sum + weight * loss)
    }

    /// The gradients of Σ w ℓ by log π and by the entropies.
    pub(crate) fn gradient(&self, weights: &Array2<f64>) -> (Array2<f64>, Array2<f64>) {
        let mut gradient = Array2::zeros(self.kept.dim());
        let mut by_entropy = Array2::zeros(self.kept.dim());
        for row in 0..self.kept.nrows() {
            let places = || (0..self.kept.ncols()).filter(|&t| self.kept[[row, t]]);
            let of_sequence =
                places().fold(0.0, |sum, t| sum + weights[[row, t]] * self.by_sequence[[row, t]]);
            let share = of_sequence / places().count().max(1) as f64;
            for t in places() {
                gradient[[row, t]] = weights[[row, t]] * self.by_token[[row, t]] + share;
                by_entropy[[row, t]] = weights[[row, t]] * self.by_entropy[[row, t]];
            }
        }
        (gradient, by_entropy)
    }
}
