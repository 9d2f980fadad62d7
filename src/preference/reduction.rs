//! How losses of tokens become one number.

use ndarray::Array2;

use crate::error::Result;
use crate::numerics::positive;

/// How the losses of a batch's tokens become one number.
///
/// With B sequences, n_b tokens that count in the b-th, and ℓ their losses:
///
/// | | value |
/// | --- | --- |
/// | [`TOKEN_MEAN`](Self::TOKEN_MEAN) | Σ ℓ / max(Σ n_b, 1) |
/// | [`divide`](Self::divide) | Σ ℓ / X |
/// | [`SEQUENCE_MEAN`](Self::SEQUENCE_MEAN) | mean over b of (Σ_t ℓ / max(n_b, 1)) |
/// | [`SEQUENCE_MEAN_TOKEN_SUM`](Self::SEQUENCE_MEAN_TOKEN_SUM) | mean over b of Σ_t ℓ |
/// | [`constant`](Self::constant) | Σ ℓ / (B · L) |
/// | [`NONE`](Self::NONE) | none: the value is Σ ℓ |
///
/// A batch that is cut into several, over machines or in time, has the same gradient as a whole only with
/// `divide`, X being the tokens of all parts, or with `constant`.
///
/// ```
/// use surprisal::preference::TokenReduction;
/// assert!(TokenReduction::divide(0.0).is_err());
/// let per_completion = TokenReduction::constant(1024.0)?;
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenReduction(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    None,
    TokenMean,
    Divide(f64),
    SequenceMean,
    SequenceMeanTokenSum,
    Constant(f64),
}

impl TokenReduction {
    /// They do not: the value is their sum.
    pub const NONE: Self = Self(Kind::None);
    /// The mean over all tokens.
    pub const TOKEN_MEAN: Self = Self(Kind::TokenMean);
    /// The mean over sequences of the mean over their tokens.
    pub const SEQUENCE_MEAN: Self = Self(Kind::SequenceMean);
    /// The mean over sequences of the sum over their tokens.
    pub const SEQUENCE_MEAN_TOKEN_SUM: Self = Self(Kind::SequenceMeanTokenSum);

    /// The sum over X.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an X that is not finite and above 0.
    pub fn divide(normalizer: f64) -> Result<Self> {
        Ok(Self(Kind::Divide(positive("normalizer", normalizer)?)))
    }

    /// The sum over the number of sequences and a length L that is the same for all.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an L that is not finite and above 0.
    pub fn constant(max_length: f64) -> Result<Self> {
        Ok(Self(Kind::Constant(positive("max_length", max_length)?)))
    }

    /// The losses of tokens, without a sum.
    pub(crate) fn is_none(self) -> bool {
        self.0 == Kind::None
    }

    /// What the tokens of each sequence weigh.
    pub(super) fn weights(self, kept: &Array2<bool>, empty: EmptySequences) -> Vec<f64> {
        let count = |row: ndarray::ArrayView1<'_, bool>| row.iter().filter(|&&kept| kept).count();
        let counts: Vec<usize> = kept.rows().into_iter().map(count).collect();
        let tokens: usize = counts.iter().sum();
        let sequences = match empty {
            EmptySequences::Counted => counts.len(),
            EmptySequences::Skipped => counts.iter().filter(|&&count| count > 0).count().max(1),
        } as f64;
        let weight = |&count: &usize| match self.0 {
            Kind::None => 1.0,
            Kind::TokenMean => 1.0 / tokens.max(1) as f64,
            Kind::Divide(normalizer) => 1.0 / normalizer,
            Kind::SequenceMean => 1.0 / (sequences * count.max(1) as f64),
            Kind::SequenceMeanTokenSum => 1.0 / sequences,
            Kind::Constant(length) => 1.0 / (sequences * length),
        };
        counts.iter().map(weight).collect()
    }
}

/// Whether a sequence without a token that counts is one of those that a mean is over.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{EmptySequences, PolicyLoss, Rollout};
/// let mask = arr2(&[[true], [false]]);
/// let (advantages, log_probs) = (ndarray::arr1(&[1.0, 1.0]), arr2(&[[-1.0], [f64::NAN]]));
/// let rollout = Rollout::new(&mask, &advantages);
/// let value = |empty| -> surprisal::Result<f64> {
///     Ok(PolicyLoss::grpo().empty_sequences(empty).evaluate(&log_probs, &rollout)?.value)
/// };
/// assert_eq!(value(EmptySequences::Counted)?, -0.5);
/// assert_eq!(value(EmptySequences::Skipped)?, -1.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmptySequences {
    /// It is, with 0.
    #[default]
    Counted,
    /// It is not.
    Skipped,
}
