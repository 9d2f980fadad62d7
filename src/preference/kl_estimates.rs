//! Estimates of the divergence of a policy from its reference, over a batch.

use ndarray::Array2;

use super::kl_estimator::KlEstimator;
use super::reduction::{EmptySequences, TokenReduction};
use super::sequences::{NAMES, Sequences};
use crate::error::{Error, Result};

/// Estimates of KL(π‖π_ref) from the tokens of a batch, by [`KlEstimator`].
///
/// ```
/// use ndarray::arr2;
/// use surprisal::preference::{KlEstimates, KlEstimator, Sequences, TokenReduction};
/// let (policy, reference) = (arr2(&[[-1.0, -2.0]]), arr2(&[[-1.5, f64::NAN]]));
/// let mask = arr2(&[[true, false]]);
/// let sequences = Sequences::new(&policy, &mask).reference(&reference);
/// let of = |estimator| KlEstimates::of(&sequences, estimator, TokenReduction::TOKEN_MEAN);
/// assert_eq!(of(KlEstimator::K1)?.value, 0.5);
/// assert_eq!(of(KlEstimator::K2)?.gradient, arr2(&[[0.5, 0.0]]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KlEstimates {
    /// The reduced estimate, in nats; Σ of the tokens' where there is no reduction.
    pub value: f64,
    /// The estimate of each token `[B,T]`, 0 for those that do not count.
    pub estimates: Array2<f64>,
    /// The gradient of the value by the policy's log-probabilities `[B,T]`; 0 where an estimate is infinite.
    pub gradient: Array2<f64>,
}

impl KlEstimates {
    /// Of these sequences, which have a reference. Empty ones count in means over sequences.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Value`] for arrays that do not fit; [`Error::Conflict`] for sequences without a
    /// reference.
    pub fn of(
        sequences: &Sequences<'_>,
        estimator: KlEstimator,
        reduction: TokenReduction,
    ) -> Result<Self> {
        Self::with(sequences, estimator, reduction, EmptySequences::Counted)
    }

    /// The same, with empty sequences counted or not.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn with(
        sequences: &Sequences<'_>,
        estimator: KlEstimator,
        reduction: TokenReduction,
        empty: EmptySequences,
    ) -> Result<Self> {
        let checked = sequences.checked(&NAMES)?;
        let Some(reference) = checked.reference else {
            let what =
                "a divergence is of a policy from its reference, expected reference_log_probs";
            return Err(Error::Conflict { what: what.into() });
        };
        let weights = reduction.weights(&checked.kept, empty);
        let mut estimates = Array2::zeros(checked.kept.dim());
        let mut gradient = Array2::zeros(checked.kept.dim());
        let mut value = 0.0;
        for ((row, t), _) in checked.kept.indexed_iter().filter(|(_, kept)| **kept) {
            let (estimate, slope) =
                estimator.at(checked.log_probabilities.at(row, t), reference.at(row, t));
            estimates[[row, t]] = estimate;
            value += weights[row] * estimate;
            gradient[[row, t]] = if estimate.is_infinite() { 0.0 } else { weights[row] * slope };
        }
        Ok(Self { value, estimates, gradient })
    }
}
