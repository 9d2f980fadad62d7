//! The law by which reward is bought with entropy.

use crate::error::{Error, Result};
use crate::matrix::Vector;

/// The least-squares fit of R = −a e^H + b to the entropies and rewards of a training.
///
/// ```text
/// s² = Σ (R − fit)²/(n − 2)      x = −e^H      var a = s²/Σ (x − x̄)²      var of the fit at x = s² (1/n + (x − x̄)²/Σ (x − x̄)²)
/// ```
///
/// With H in nats; b − a, the reward at H = 0, is the most that training the policy can reach by this law. Cui et
/// al. 2025, *The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models*.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::preference::EntropyRewardFit;
/// let entropies = arr1(&[1.0_f64, 0.5, 0.25]);
/// let rewards = entropies.mapv(|h| 0.75 - 0.25 * h.exp());
/// let fit = EntropyRewardFit::of(&entropies, &rewards)?;
/// assert!((fit.a - 0.25).abs() < 1e-14 && (fit.ceiling() - 0.5).abs() < 1e-14);
/// assert!(fit.sum_of_squares < 1e-28);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EntropyRewardFit {
    /// a.
    pub a: f64,
    /// b.
    pub b: f64,
    /// Σ (R − fit)².
    pub sum_of_squares: f64,
    /// The share of the rewards' variance that the fit explains; NaN where they do not vary.
    pub r_squared: f64,
    /// The standard error of a, of rewards that are independent and equally uncertain.
    pub a_standard_error: f64,
    /// That of b, which is the fit at x = 0.
    pub b_standard_error: f64,
    /// That of the [`ceiling`](Self::ceiling), which is the fit at x = −1. How far H was from 0 makes it large.
    pub ceiling_standard_error: f64,
}

impl EntropyRewardFit {
    /// Of entropies `[n]`, in nats, and rewards `[n]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than three points, or as many of one as not of the other; [`Error::Value`] for
    /// what is not finite, or entropies that are all equal.
    pub fn of<'a>(
        entropies: impl Into<Vector<'a>>,
        rewards: impl Into<Vector<'a>>,
    ) -> Result<Self> {
        Self::of_here(entropies.into(), rewards.into())
    }

    fn of_here(entropies: Vector<'_>, rewards: Vector<'_>) -> Result<Self> {
        let (entropies, rewards): (Vec<f64>, Vec<f64>) = (entropies.to_vec(), rewards.to_vec());
        let count = entropies.len();
        if count < 3 {
            let expected = "at least 3 points".into();
            return Err(Error::Shape { argument: "entropies", found: vec![count], expected });
        }
        if rewards.len() != count {
            let expected = format!("[{count}], a reward for each entropy");
            return Err(Error::Shape { argument: "rewards", found: vec![rewards.len()], expected });
        }
        let x: Vec<f64> = entropies.iter().map(|entropy| -entropy.exp()).collect();
        for (argument, numbers) in [("entropies", &x), ("rewards", &rewards)] {
            if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
                let value = if argument == "rewards" { rewards[at] } else { entropies[at] };
                return Err(Error::not_finite(argument, &[at], value));
            }
        }
        let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / count as f64;
        let (mean_x, mean_reward) = (mean(&x), mean(&rewards));
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, reward) in x.iter().zip(&rewards) {
            let (dx, dy) = (x - mean_x, reward - mean_reward);
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
        }
        if x.iter().all(|&other| other == x[0]) {
            return Err(Error::Value {
                argument: "entropies",
                index: vec![0],
                value: format!("{} throughout", entropies[0]),
                expected: "entropies that differ",
            });
        }
        let a = xy / xx;
        let b = mean_reward - a * mean_x;
        let residual = |(x, reward): (&f64, &f64)| {
            // About the means, where large parts of a x and b cancel.
            let residual = (reward - mean_reward) - a * (x - mean_x);
            residual * residual
        };
        let sum_of_squares: f64 = x.iter().zip(&rewards).map(residual).sum();
        let variance = sum_of_squares / (count as f64 - 2.0);
        let error_at =
            |x: f64| (variance * (1.0 / count as f64 + (x - mean_x) * (x - mean_x) / xx)).sqrt();
        Ok(Self {
            a,
            b,
            sum_of_squares,
            r_squared: 1.0 - sum_of_squares / yy,
            a_standard_error: (variance / xx).sqrt(),
            b_standard_error: error_at(0.0),
            ceiling_standard_error: error_at(-1.0),
        })
    }

    /// b − a, the reward where no entropy is left.
    pub fn ceiling(&self) -> f64 {
        self.b - self.a
    }
}
