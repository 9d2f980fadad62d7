//! The perplexity of tokens that come in parts.

use super::moments::Moments;
use crate::error::{Error, Result, short};
use crate::loss::Forward;
use crate::matrix::Vector;

/// The perplexity of a corpus, from the surprisals −ln p of its tokens in any parts and any order.
///
/// ```text
/// perplexity = exp(mean)             mean = Σ −ln p / n
/// bits per token = mean / ln 2       bits per byte = Σ −ln p / (ln 2 · bytes)
/// standard error of the mean = s/√n, s² = Σ (−ln p − mean)² / (n − 1)
/// interval = exp(mean ± z · standard error)
/// calibration gap = mean of (−ln p − H): 0 for a model whose entropies are what it meets
/// ```
///
/// [`merge`](Self::merge) joins what batches, threads or machines have counted: the result is that of one pass, up
/// to rounding. Means of the exponentials of parts, which some programs print, are something else: they are above
/// the perplexity by half the variance of the parts' means.
///
/// The standard error takes the tokens for independent, which those of a text are not quite: it is a lower
/// bound. A token of probability 0 has a surprisal of +∞: then the mean and the perplexity are +∞ and the errors
/// NaN. A NaN makes all NaN, and so do no tokens.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::information::Perplexity;
/// use surprisal::{Inputs, LinearCrossEntropy};
/// let hidden = arr2(&[[1.0_f32, -0.5], [0.3, 2.0], [0.1, 0.4]]);
/// let classifier = arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
/// let loss = LinearCrossEntropy::builder().entropy(true).build()?;
/// let mut whole = Perplexity::new();
/// for (rows, targets) in [(0..2, [2_u32, 0].as_slice()), (2..3, &[1])] {
///     let hidden = hidden.slice(ndarray::s![rows, ..]);
///     let mut part = Perplexity::new();
///     part.push_forward(&loss.forward(&Inputs::new(hidden, &classifier, targets))?)?;
///     part.push_bytes(4);
///     whole.merge(&part);
/// }
/// assert_eq!((whole.tokens(), whole.bytes()), (3, 8));
/// let [low, high] = whole.interval(Perplexity::NORMAL_95)?;
/// assert!(low < whole.perplexity() && whole.perplexity() < high);
/// let bits = whole.bits_per_byte().unwrap_or(f64::NAN);
/// assert!((bits - whole.bits_per_token() * 3.0 / 8.0).abs() < 1e-15);
/// assert!(whole.calibration_gap().is_some());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    surprisals: Moments,
    /// Of −ln p − H, where entropies came with them.
    gaps: Moments,
    bytes: u64,
}

impl Perplexity {
    /// z of the interval that holds a normal number 95 times in 100.
    pub const NORMAL_95: f64 = 1.959_963_984_540_054;

    /// Of no tokens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One token with this −ln p, in nats.
    pub fn push(&mut self, surprisal: f64) {
        self.surprisals.push(surprisal);
    }

    /// One token, with the entropy of the distribution that it came from as the model had it.
    pub fn push_with_entropy(&mut self, surprisal: f64, entropy: f64) {
        self.surprisals.push(surprisal);
        self.gaps.push(surprisal - entropy);
    }

    /// A token for each of these −ln p `[n]`.
    pub fn push_all<'a>(&mut self, surprisals: impl Into<Vector<'a>>) {
        surprisals.into().to_vec().into_iter().for_each(|surprisal| self.push(surprisal));
    }

    /// The kept rows of a forward, whatever weights they have, and their entropies where those were asked for.
    ///
    /// # Errors
    /// [`Error::Conflict`] for soft targets, and where a target's class has not been folded in; then nothing is
    /// pushed.
    pub fn push_forward(&mut self, forward: &Forward) -> Result<()> {
        let mut own = Self::new();
        let with_entropy = forward.mean_entropy().is_some();
        for state in forward.states() {
            let Some(surprisal) = state.surprisal() else {
                return Err(Error::Conflict {
                    what: "a row has no surprisal, expected a class as its target and all classes \
                           folded in"
                        .into(),
                });
            };
            match with_entropy {
                true => own.push_with_entropy(surprisal, state.entropy()),
                false => own.push(surprisal),
            }
        }
        self.merge(&own);
        Ok(())
    }

    /// So many bytes of text that the tokens stand for.
    pub fn push_bytes(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Joins what has been counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.surprisals.merge(&other.surprisals);
        self.gaps.merge(&other.gaps);
        self.push_bytes(other.bytes);
    }

    /// How many tokens there were.
    pub fn tokens(&self) -> u64 {
        self.surprisals.count()
    }

    /// How many bytes they stand for, as far as was said.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The mean −ln p, in nats.
    pub fn mean_surprisal(&self) -> f64 {
        self.surprisals.mean()
    }

    /// exp of the mean −ln p.
    pub fn perplexity(&self) -> f64 {
        self.mean_surprisal().exp()
    }

    /// The mean −log₂ p.
    pub fn bits_per_token(&self) -> f64 {
        self.mean_surprisal() / std::f64::consts::LN_2
    }

    /// Σ −log₂ p over the bytes; `None` where no bytes were pushed.
    pub fn bits_per_byte(&self) -> Option<f64> {
        let bits = || self.bits_per_token() * self.tokens() as f64 / self.bytes as f64;
        (self.bytes > 0).then(bits)
    }

    /// Of the mean −ln p, in nats; NaN below two tokens.
    pub fn standard_error(&self) -> f64 {
        self.surprisals.standard_error()
    }

    /// Of the perplexity, to first order: perplexity × the standard error of the mean.
    pub fn perplexity_standard_error(&self) -> f64 {
        self.perplexity() * self.standard_error()
    }

    /// exp(mean − z·se) and exp(mean + z·se).
    ///
    /// # Errors
    /// [`Error::Option`] for a z that is negative or not finite.
    pub fn interval(&self, z: f64) -> Result<[f64; 2]> {
        if !(z.is_finite() && z >= 0.0) {
            let expected = "a finite number of at least 0";
            return Err(Error::Option { name: "z", value: short(z), expected });
        }
        let width = z * self.standard_error();
        Ok([-width, width].map(|width| (self.mean_surprisal() + width).exp()))
    }

    /// The mean of −ln p − H in nats, of the tokens whose entropies came with them; `None` without any. Above 0
    /// the model is surer than it has reason to be.
    pub fn calibration_gap(&self) -> Option<f64> {
        (self.gaps.count() > 0).then(|| self.gaps.mean())
    }

    /// Of the calibration gap; `None` without entropies.
    pub fn calibration_gap_standard_error(&self) -> Option<f64> {
        (self.gaps.count() > 0).then(|| self.gaps.standard_error())
    }
}
