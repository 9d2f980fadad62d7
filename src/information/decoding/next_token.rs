//! One row's tokens by descending probability.

use crate::error::{Error, Result, short};
use crate::information::probabilities::probabilities;
use crate::matrix::Vector;
use crate::softmax::RowState;
use crate::sorting::sorted_places;

/// The tokens of one row by descending probability, ties by the lower token, and what truncations keep of them.
///
/// A set of the likeliest tokens is the number that it keeps; of a row of hidden states whose logits are never stored,
/// [`LinearCrossEntropy::truncate`](crate::LinearCrossEntropy::truncate) finds the same sets.
///
/// | | keeps |
/// | --- | --- |
/// | [`nucleus`](Self::nucleus) (top-p) | the fewest likeliest tokens whose probabilities sum to at least P |
/// | [`min_p`](Self::min_p) | p ≥ share · max p |
/// | [`least_surprise`](Self::least_surprise) (Mirostat 2) | −log₂ p ≤ μ |
/// | [`typical`](Self::typical) | the fewest tokens with \|−ln p − H\| least whose probabilities sum to at least P |
///
/// Holtzman et al. 2020, *The Curious Case of Neural Text Degeneration*; Nguyen et al. 2025, *Turning Up the Heat:
/// Min-p Sampling*; Meister et al. 2023, *Locally Typical Sampling*.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::NextToken;
/// let row = NextToken::of_probabilities(&arr1(&[0.1, 0.55, 0.05, 0.3]))?;
/// assert_eq!(row.tokens(), [1, 3, 0, 2]);
/// assert_eq!((row.nucleus(0.8)?, row.min_p(0.1)?, row.least_surprise(2.0)?), (2, 3, 2));
/// // H = 1.07: 0.3 tells 1.20 nats, the likeliest token only 0.60.
/// assert_eq!(row.typical(0.5)?, [3, 1]);
/// assert_eq!(row.draw(2, 0.6)?, 0);
/// assert_eq!(row.draw(2, 0.7)?, 1);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NextToken {
    tokens: Vec<u32>,
    log_probabilities: Vec<f64>,
    entropy: f64,
}

impl NextToken {
    /// Of logits `[K]`; −∞ is a token that cannot be.
    ///
    /// # Errors
    /// [`Error::Shape`] without logits; [`Error::Value`] for one that is NaN or +∞, and where all are −∞.
    pub fn of_logits<'a>(logits: impl Into<Vector<'a>>) -> Result<Self> {
        Self::of_logits_here(logits.into())
    }

    fn of_logits_here(logits: Vector<'_>) -> Result<Self> {
        let logits: Vec<f64> = logits.to_vec();
        let wrong = |index, expected| {
            let (argument, value) = ("logits", short(logits[index]));
            Err(Error::Value { argument, index: vec![index], value, expected })
        };
        if logits.is_empty() {
            let expected = "at least one logit".into();
            return Err(Error::Shape { argument: "logits", found: vec![0], expected });
        }
        if let Some(at) = logits.iter().position(|z| z.is_nan() || *z == f64::INFINITY) {
            return wrong(at, "a number below infinity");
        }
        if logits.iter().all(|z| *z == f64::NEG_INFINITY) {
            return wrong(0, "a number above −∞ in at least one place");
        }
        let mut state = RowState::new();
        state.push(0, &logits)?;
        let entropy = state.entropy();
        Ok(Self::sorted(
            |token| (logits[token] - state.maximum) - state.log_sum(),
            logits.len(),
            entropy,
        ))
    }

    /// Of probabilities `[K]`, whose sum is 1 within 1e-9.
    ///
    /// # Errors
    /// [`Error::Shape`] without any; [`Error::Value`] for one that is not finite and at least 0;
    /// [`Error::Conflict`] for another sum.
    pub fn of_probabilities<'a>(list: impl Into<Vector<'a>>) -> Result<Self> {
        let list = probabilities("probabilities", list.into())?;
        let entropy = list.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        Ok(Self::sorted(|token| list[token].ln(), list.len(), entropy))
    }

    fn sorted(log_probability: impl Fn(usize) -> f64, count: usize, entropy: f64) -> Self {
        let mut both: Vec<(f64, u32)> =
            (0..count).map(|token| (log_probability(token), token as u32)).collect();
        both.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        Self {
            tokens: both.iter().map(|&(_, token)| token).collect(),
            log_probabilities: both.iter().map(|&(log, _)| log).collect(),
            entropy,
        }
    }

    /// The tokens `[K]`, the likeliest first.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// ln p of [`tokens`](Self::tokens) `[K]`, in nats.
    pub fn log_probabilities(&self) -> &[f64] {
        &self.log_probabilities
    }

    /// H, in nats.
    pub fn entropy(&self) -> f64 {
        self.entropy
    }

    /// Σ p of the likeliest `kept` tokens; of all where there are fewer.
    ///
    /// ```
    /// use surprisal::information::NextToken;
    /// let row = NextToken::of_logits(&ndarray::arr1(&[0.0, 3_f64.ln()]))?;
    /// assert!((row.mass(1) - 0.75).abs() < 1e-15 && (row.mass(9) - 1.0).abs() < 1e-15);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn mass(&self, kept: usize) -> f64 {
        self.log_probabilities.iter().take(kept).map(|log| log.exp()).sum()
    }

    /// How many of the likeliest tokens have together at least this probability.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is above 0 and at most 1.
    pub fn nucleus(&self, mass: f64) -> Result<usize> {
        share("mass", mass)?;
        Ok(fewest(self.log_probabilities.iter().copied(), mass))
    }

    /// How many tokens are at least this share as likely as the likeliest.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is above 0 and at most 1.
    pub fn min_p(&self, least: f64) -> Result<usize> {
        share("min_p", least)?;
        let floor = self.log_probabilities[0] + least.ln();
        Ok(self.log_probabilities.partition_point(|log| *log >= floor))
    }

    /// How many tokens tell at most this many bits; 1 at least.
    ///
    /// # Errors
    /// [`Error::Option`] for NaN.
    pub fn least_surprise(&self, bits: f64) -> Result<usize> {
        if bits.is_nan() {
            let expected = "a number of bits";
            return Err(Error::Option { name: "bits", value: short(bits), expected });
        }
        let kept = self.log_probabilities.partition_point(|log| in_bits(*log) <= bits);
        Ok(kept.max(1))
    }

    /// The fewest tokens, those first that tell most nearly as much as the row does on average, with together at least
    /// this probability.
    ///
    /// # Errors
    /// [`Error::Option`] unless it is above 0 and at most 1.
    pub fn typical(&self, mass: f64) -> Result<Vec<u32>> {
        share("mass", mass)?;
        let off = |place: usize| (-self.log_probabilities[place] - self.entropy).abs();
        // Of equals the likelier is first.
        let order = sorted_places(self.tokens.len(), |a, b| off(a).total_cmp(&off(b)));
        let kept = fewest(order.iter().map(|&place| self.log_probabilities[place]), mass);
        Ok(order[..kept].iter().map(|&place| self.tokens[place]).collect())
    }

    /// The place, from 0 for the likeliest, that a uniform number draws of the likeliest `kept` tokens: the first where
    /// the sum of their probabilities is above that share of the sum of all of them.
    ///
    /// # Errors
    /// [`Error::Option`] for a number that is not at least 0 and below 1, and for none or more tokens than there are.
    pub fn draw(&self, kept: usize, uniform: f64) -> Result<usize> {
        if !(0.0..1.0).contains(&uniform) {
            let expected = "a number from 0 up to but not 1";
            return Err(Error::Option { name: "uniform", value: short(uniform), expected });
        }
        if kept == 0 || kept > self.tokens.len() {
            let expected = "a number of tokens from 1 up to those of the row";
            return Err(Error::Option { name: "kept", value: kept.to_string(), expected });
        }
        let bound = uniform * self.mass(kept);
        let mut sum = 0.0;
        let mut last = 0;
        for (place, log) in self.log_probabilities[..kept].iter().enumerate() {
            let p = log.exp();
            sum += p;
            if sum > bound {
                return Ok(place);
            }
            // Where rounding has the sum end at the bound.
            last = if p > 0.0 { place } else { last };
        }
        Ok(last)
    }
}

/// −ln p in bits.
pub(super) fn in_bits(log_probability: f64) -> f64 {
    -log_probability / std::f64::consts::LN_2
}

fn share(name: &'static str, share: f64) -> Result<()> {
    match share > 0.0 && share <= 1.0 {
        true => Ok(()),
        false => {
            let expected = "a number above 0 up to 1";
            Err(Error::Option { name, value: short(share), expected })
        }
    }
}

/// How many of the first have together at least this probability; of all that can be, where rounding leaves their sum
/// below it.
fn fewest(log_probabilities: impl Iterator<Item = f64>, mass: f64) -> usize {
    let (mut sum, mut kept) = (0.0, 0);
    for (place, log) in log_probabilities.enumerate() {
        if log == f64::NEG_INFINITY {
            continue;
        }
        sum += log.exp();
        kept = place + 1;
        if sum >= mass {
            break;
        }
    }
    kept
}
