//! Two models, of which the entropy says who decodes.

use std::collections::VecDeque;

use crate::error::{Error, Result, short};

/// Which of two models decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodingModel {
    /// The small one.
    Small,
    /// The large one.
    Large,
}

impl DecodingModel {
    /// `small` or `large`.
    ///
    /// ```
    /// assert_eq!(surprisal::information::DecodingModel::Large.name(), "large");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }
}

/// Entropy-adaptive decoding: a small model decodes where the text is easy, a large one where it is not.
///
/// ```text
/// H̄ = mean of the last w entropies, in bits, of the model that decodes (of fewer at first)
/// after d tokens since the last change, the present one among them: large if H̄ > τ, else small
/// ```
///
/// Of w, τ and d the paper has no defaults that are known here, so there are none. Simonds 2025, *Entropy Adaptive
/// Decoding: Dynamic Model Switching for Efficient Inference*; cases in `conformance/information.jsonl`:
/// `entropy_adaptive_decoding`.
///
/// ```
/// use surprisal::information::{DecodingModel, EntropySwitch};
/// let mut switch = EntropySwitch::new(2, 1.0, 2, DecodingModel::Small)?;
/// let models = [0.5, 4.0, 3.0, 0.0, 0.0].map(|bits| switch.push(bits).map(|step| step.model));
/// let (small, large) = (DecodingModel::Small, DecodingModel::Large);
/// assert_eq!(models.map(Result::unwrap), [small, large, large, large, small]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EntropySwitch {
    window: usize,
    threshold: f64,
    least_tokens: usize,
    model: DecodingModel,
    last: VecDeque<f64>,
    since: usize,
}

/// What [`EntropySwitch::push`] has decided.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SwitchStep {
    /// H̄, in bits.
    pub mean: f64,
    /// Who decodes the next token.
    pub model: DecodingModel,
}

impl EntropySwitch {
    /// With a window of w tokens, the threshold τ in bits, at least d tokens between changes, and who begins.
    ///
    /// # Errors
    /// [`Error::Option`] for a window of 0 tokens and a threshold that is not finite.
    pub fn new(
        window: usize,
        threshold: f64,
        least_tokens: usize,
        start: DecodingModel,
    ) -> Result<Self> {
        if window == 0 {
            let expected = "at least 1 token";
            return Err(Error::Option { name: "window", value: "0".into(), expected });
        }
        if !threshold.is_finite() {
            let (name, value) = ("threshold", short(threshold));
            return Err(Error::Option { name, value, expected: "a finite number of bits" });
        }
        let last = VecDeque::new();
        Ok(Self { window, threshold, least_tokens, model: start, last, since: 0 })
    }

    /// Who decodes now.
    pub fn model(&self) -> DecodingModel {
        self.model
    }

    /// Takes the entropy of the row from which the present token comes, in bits.
    ///
    /// # Errors
    /// [`Error::Option`] for an entropy that is not finite and at least 0; nothing has changed then.
    pub fn push(&mut self, bits: f64) -> Result<SwitchStep> {
        if !(bits >= 0.0 && bits.is_finite()) {
            let expected = "a finite entropy of at least 0 bits";
            return Err(Error::Option { name: "bits", value: short(bits), expected });
        }
        if self.last.len() == self.window {
            self.last.pop_front();
        }
        self.last.push_back(bits);
        // Summed anew: a running sum would keep what rounding left of each entropy that has gone.
        let mean = self.last.iter().sum::<f64>() / self.last.len() as f64;
        self.since = self.since.saturating_add(1);
        if self.since >= self.least_tokens {
            let model = match mean > self.threshold {
                true => DecodingModel::Large,
                false => DecodingModel::Small,
            };
            if model != self.model {
                (self.model, self.since) = (model, 0);
            }
        }
        Ok(SwitchStep { mean, model: self.model })
    }
}
