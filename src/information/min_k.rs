//! The tokens of a text that a model expects least.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// Min-K % and Min-K %++: the mean of the least numbers that the tokens of a text have. A text that a model was
/// trained on has few tokens that surprise it, so its score is higher.
///
/// ```text
/// Min-K %     of ln p_t
/// Min-K %++   of z_t = (ln p_t + H_t) / √V_t, 0 where V_t is     H entropy, V varentropy of the row
/// score       mean of the k least, k = max(1, ⌊n · ratio⌋)
/// ```
///
/// The product n · ratio is that of f64: 0.29 of 100 tokens, in f64 below 29, are 28.
///
/// The published program of Min-K % returns the negative, and NaN for k = 0. Shi et al. 2024, *Detecting Pretraining
/// Data from Large Language Models*; Zhang et al. 2025, *Min-K%++: Improved Baseline for Detecting Pre-Training Data
/// from Large Language Models*.
///
/// ```
/// use ndarray::{arr1, arr2};
/// use surprisal::information::MinK;
/// use surprisal::{Inputs, LinearCrossEntropy, Statistic};
/// let hidden = arr2(&[[1.0_f32, -0.5], [0.3, 2.0], [0.1, 0.4]]);
/// let classifier = arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
/// let loss = LinearCrossEntropy::builder().varentropy(true).build()?;
/// let forward = loss.forward(&Inputs::new(&hidden, &classifier, &[2_u32, 0, 1]))?;
/// let half = MinK::new(0.5)?;
/// let plain = half.score(&forward.statistic(Statistic::LogProbability)?)?;
/// let standardised = half.score(&forward.statistic(Statistic::ZScore)?)?;
/// assert!(plain < -1.0 && standardised < 0.0);
/// assert_eq!(half.score(&arr1(&[-3.0, -1.0, -2.0, 0.0]))?, -2.5);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinK {
    ratio: f64,
}

impl MinK {
    /// Of this share of a text's tokens, above 0 up to 1; papers take 0.05 to 0.2.
    ///
    /// # Errors
    /// [`Error::Option`] for another ratio.
    pub fn new(ratio: f64) -> Result<Self> {
        match ratio > 0.0 && ratio <= 1.0 {
            true => Ok(Self { ratio }),
            false => Err(Error::Option {
                name: "ratio",
                value: short(ratio),
                expected: "a number above 0 up to 1",
            }),
        }
    }

    /// The score of a text, from one number `[n]` for each of its tokens. A NaN among them gives NaN. Of finite numbers
    /// the score is finite, also where their sum is beyond f64.
    ///
    /// # Errors
    /// [`Error::Shape`] for a text without tokens.
    pub fn score<'a>(&self, tokens: impl Into<Vector<'a>>) -> Result<f64> {
        self.score_here(tokens.into())
    }

    fn score_here(&self, tokens: Vector<'_>) -> Result<f64> {
        let mut numbers: Vec<f64> = tokens.to_vec();
        if numbers.is_empty() {
            let expected = "at least one token".into();
            return Err(Error::Shape { argument: "the text", found: vec![0], expected });
        }
        if numbers.iter().any(|number| number.is_nan()) {
            return Ok(f64::NAN);
        }
        let k = ((numbers.len() as f64 * self.ratio) as usize).clamp(1, numbers.len());
        // In order, so that the sum has the same bits for any order of the tokens.
        numbers.sort_unstable_by(f64::total_cmp);
        Ok(mean(&numbers[..k]))
    }
}

/// The mean of ascending numbers, at least one.
fn mean(ascending: &[f64]) -> f64 {
    let count = ascending.len() as f64;
    let sum: f64 = ascending.iter().sum();
    if sum.is_finite() || ascending.iter().any(|number| !number.is_finite()) {
        return sum / count;
    }
    // No list is as long as 2⁶⁴. Rounding does not take the mean beyond the numbers.
    let smaller = |number: &f64| number * (-64_f64).exp2();
    let mean = ascending.iter().map(smaller).sum::<f64>() / count * 64_f64.exp2();
    mean.clamp(ascending[0], ascending[ascending.len() - 1])
}
