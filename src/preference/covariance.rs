//! Which tokens take the entropy of a policy away: the covariance of log-probability and advantage.

use ndarray::Array2;

use super::rollout::Rollout;
use crate::error::{Error, Result};
use crate::matrix::Matrix;
use crate::numerics::{check, positive};
use crate::random::Generator;
use crate::sorting::sorted_places;

/// What each token of a batch adds to the covariance of log π and the advantage.
///
/// ```text
/// c_t = (A_t − mean A) (log π_t − mean log π)      means over the n tokens that count; mean c = Cov(log π, A)
/// ```
///
/// A step of the natural policy gradient changes the policy's entropy by −Cov, to first order. Cui et al. 2025, *The
/// Entropy Mechanism of Reinforcement Learning for Reasoning Language Models*.
///
/// ```
/// use ndarray::{arr1, arr2};
/// use surprisal::preference::{Rollout, TokenCovariance};
/// let (log_probs, mask) = (arr2(&[[-1.0, -3.0]]), arr2(&[[true, true]]));
/// let advantages = arr2(&[[1.0, -1.0]]);
/// let covariance = TokenCovariance::of(&log_probs, &Rollout::new(&mask, &advantages))?;
/// assert_eq!(covariance.tokens(), arr2(&[[1.0, 1.0]]));
/// assert_eq!(covariance.mean(), 1.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TokenCovariance {
    tokens: Array2<f64>,
    /// Those that count, in the order of rows.
    places: Vec<[usize; 2]>,
}

impl TokenCovariance {
    /// Of the policy's log-probabilities `[B,T]`; of the rollout the mask and the advantages count.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Value`] for arrays that do not fit.
    pub fn of<'a>(log_probabilities: impl Into<Matrix<'a>>, rollout: &Rollout<'_>) -> Result<Self> {
        Self::of_here(log_probabilities.into(), rollout)
    }

    fn of_here(log_probabilities: Matrix<'_>, rollout: &Rollout<'_>) -> Result<Self> {
        let rollout = rollout.shorter();
        let tokens = rollout.checked(log_probabilities.shorter())?;
        let places: Vec<[usize; 2]> = tokens
            .kept
            .indexed_iter()
            .filter(|(_, kept)| **kept)
            .map(|((b, t), _)| [b, t])
            .collect();
        let mean = |of: &dyn Fn(usize, usize) -> f64| {
            places.iter().fold(0.0, |sum, &[b, t]| sum + of(b, t)) / places.len().max(1) as f64
        };
        let log_probability = mean(&|b, t| tokens.log_probability(b, t));
        let advantage = mean(&|b, t| tokens.advantage(b, t));
        let mut covariance = Array2::zeros(tokens.kept.dim());
        for &[b, t] in &places {
            covariance[[b, t]] = (tokens.advantage(b, t) - advantage)
                * (tokens.log_probability(b, t) - log_probability);
        }
        Ok(Self { tokens: covariance, places })
    }

    /// c `[B,T]`, 0 for tokens that do not count.
    pub fn tokens(&self) -> &Array2<f64> {
        &self.tokens
    }

    /// The covariance of log π and A; 0 without a token.
    pub fn mean(&self) -> f64 {
        let sum = self.places.iter().fold(0.0, |sum, &place| sum + self.tokens[place]);
        sum / self.places.len().max(1) as f64
    }
}

/// Clip-Cov: some tokens of high covariance, chosen at random, lose their policy gradient.
///
/// Eligible are those with lower < c < upper; max(⌊ratio · n⌋, 1) of them are chosen, or all there are. Cui et al.
/// 2025, with a ratio of 2e-4 and bounds of 1 and 5.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{ClipCovariance, PolicyLoss, Rollout, TokenCovariance};
/// use surprisal::random::Generator;
/// let log_probs = arr2(&[[-0.1, -3.0, -0.02, -4.0]]);
/// let (mask, advantages) = (arr2(&[[true; 4]]), arr2(&[[2.0, -1.0, 1.0, -2.0]]));
/// let rollout = Rollout::new(&mask, &advantages);
/// let covariance = TokenCovariance::of(&log_probs, &rollout)?;
/// let chosen = ClipCovariance::new(0.25, 1.0, 5.0)?.choose(&covariance, &mut Generator::new(0));
/// assert_eq!(chosen.len(), 1);
/// let mut weights = ndarray::Array2::<f64>::ones((1, 4));
/// chosen.iter().for_each(|&place| weights[place] = 0.0);
/// let losses = PolicyLoss::ppo().evaluate(&log_probs, &rollout.token_weights(&weights))?;
/// assert_eq!(losses.gradient[chosen[0]], 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipCovariance {
    ratio: f64,
    lower: f64,
    upper: f64,
}

impl ClipCovariance {
    /// With this share of the tokens, and these bounds of their covariance.
    ///
    /// # Errors
    /// [`Error::Option`] for a ratio that is not finite and above 0, bounds that are not finite, or an upper bound
    /// below the lower.
    pub fn new(ratio: f64, lower: f64, upper: f64) -> Result<Self> {
        let ratio = positive("ratio", ratio)?;
        let lower = check("lower", lower, true, "a finite number")?;
        let upper =
            check("upper", upper, upper >= lower, "a finite number of at least the lower bound")?;
        Ok(Self { ratio, lower, upper })
    }

    /// The eligible tokens, as places in `[B,T]`, in the order of rows.
    pub fn eligible(&self, covariance: &TokenCovariance) -> Vec<[usize; 2]> {
        let within = |place: &&[usize; 2]| {
            let c = covariance.tokens[**place];
            c > self.lower && c < self.upper
        };
        covariance.places.iter().filter(within).copied().collect()
    }

    /// The tokens whose gradient is to be left out, as places in `[B,T]`, in the order of rows.
    pub fn choose(
        &self,
        covariance: &TokenCovariance,
        generator: &mut Generator,
    ) -> Vec<[usize; 2]> {
        let mut order: Vec<usize> = (0..covariance.places.len()).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, generator.below(last + 1));
        }
        self.first_of(covariance, &order)
    }

    /// The same, where the tokens that count, numbered in the order of rows, are taken in an order of the
    /// caller's.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Value`] unless it has each of them once.
    pub fn choose_in_order(
        &self,
        covariance: &TokenCovariance,
        order: &[usize],
    ) -> Result<Vec<[usize; 2]>> {
        let count = covariance.places.len();
        if order.len() != count {
            let expected = format!("[{count}], the tokens that count");
            return Err(Error::Shape { argument: "order", found: vec![order.len()], expected });
        }
        let mut seen = vec![false; count];
        for (i, &token) in order.iter().enumerate() {
            if token >= count || std::mem::replace(&mut seen[token], true) {
                return Err(Error::Value {
                    argument: "order",
                    index: vec![i],
                    value: token.to_string(),
                    expected: "each token that counts, once",
                });
            }
        }
        Ok(self.first_of(covariance, order))
    }

    fn first_of(&self, covariance: &TokenCovariance, order: &[usize]) -> Vec<[usize; 2]> {
        let count = (self.ratio * covariance.places.len() as f64).floor().max(1.0) as usize;
        let eligible = self.eligible(covariance);
        let in_order = order.iter().map(|&token| covariance.places[token]);
        let mut chosen: Vec<[usize; 2]> =
            in_order.filter(|place| eligible.binary_search(place).is_ok()).take(count).collect();
        chosen.sort_unstable();
        chosen
    }
}

/// KL-Cov: the tokens of the highest covariance get a penalty on their distance from the old policy.
///
/// They are max(1, ⌊n · percent/100⌋), of equals the first. Their loss is without clipping:
/// −ρ A + coefficient · |log π − log π_old|. Cui et al. 2025, with 0.2 percent and a coefficient of 1.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{KlCovariance, Rollout, TokenCovariance};
/// let log_probs = arr2(&[[-0.1, -3.0, -0.02, -4.0]]);
/// let (mask, advantages) = (arr2(&[[true; 4]]), arr2(&[[2.0, -1.0, 1.0, -2.0]]));
/// let covariance = TokenCovariance::of(&log_probs, &Rollout::new(&mask, &advantages))?;
/// assert_eq!(KlCovariance::new(25.0)?.choose(&covariance), [[0, 3]]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlCovariance {
    percent: f64,
}

impl KlCovariance {
    /// With so many percent of the tokens.
    ///
    /// # Errors
    /// [`Error::Option`] for a number outside (0, 100].
    pub fn new(percent: f64) -> Result<Self> {
        let good = percent > 0.0 && percent <= 100.0;
        Ok(Self { percent: check("k_percent", percent, good, "a number above 0 up to 100")? })
    }

    /// The tokens with the highest covariance, as places in `[B,T]`, the highest first. What is NaN comes last.
    pub fn choose(&self, covariance: &TokenCovariance) -> Vec<[usize; 2]> {
        let count =
            (covariance.places.len() as f64 * self.percent / 100.0).floor().max(1.0) as usize;
        let places = &covariance.places;
        let key = |at: usize| {
            let c = covariance.tokens[places[at]];
            if c.is_nan() { f64::NEG_INFINITY } else { c }
        };
        let mut order = sorted_places(places.len(), |a, b| key(b).total_cmp(&key(a)));
        order.truncate(count);
        order.into_iter().map(|at| places[at]).collect()
    }
}
