//! Losses of pairs of sequences: what one is, and how a batch of them is evaluated.

use ndarray::{Array1, Array2};
use std::fmt::Debug;

use super::sequences::{Checked, NAMES, Names, Sequences, put_on_tokens};
use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// A loss of a pair of sequences, one of which is preferred.
///
/// It is a function of two scores, of the chosen sequence and of the rejected one:
///
/// ```text
/// s = Σ_t (log π_t − log π_ref,t)      over the tokens that count, or its mean; without π_ref where there is none
/// L = ℓ(s_chosen, s_rejected) + c · (−Σ log π / number of tokens, over all chosen sequences)
/// ```
///
/// [`Dpo`](super::Dpo), [`Cpo`](super::Cpo), [`Simpo`](super::Simpo) and [`Orpo`](super::Orpo) are such losses; one
/// of your own is its value and its two slopes.
///
/// ```
/// use surprisal::preference::{PairLoss, PairTerm, Pairs, Sequences};
/// /// Half the squared distance of the margin from 1.
/// #[derive(Debug)]
/// struct Squared;
/// impl PairLoss for Squared {
///     fn evaluate_pair(&self, chosen: f64, rejected: f64) -> PairTerm {
///         let short = 1.0 - (chosen - rejected);
///         PairTerm { value: 0.5 * short * short, by_chosen: -short, by_rejected: short }
///     }
/// }
/// let (chosen, rejected) = (ndarray::arr2(&[[-1.0, -0.5]]), ndarray::arr2(&[[-0.5, -1.5]]));
/// let mask = ndarray::arr2(&[[true, true]]);
/// let pairs = Pairs::new(Sequences::new(&chosen, &mask), Sequences::new(&rejected, &mask));
/// let losses = Squared.evaluate(&pairs)?;
/// assert_eq!((losses.value, losses.chosen[[0, 1]]), (0.125, -0.5));
/// # Ok::<(), surprisal::Error>(())
/// ```
pub trait PairLoss: Debug {
    /// The loss of a pair with these scores, and its slopes by them.
    fn evaluate_pair(&self, chosen: f64, rejected: f64) -> PairTerm;

    /// Whether a score is the mean over the tokens that count, not their sum.
    fn is_averaged(&self) -> bool {
        false
    }

    /// Whether the loss may have a reference policy.
    fn takes_reference(&self) -> bool {
        true
    }

    /// The coefficient c of the negative log-likelihood of the chosen sequences.
    fn likelihood_coefficient(&self) -> f64 {
        0.0
    }

    /// The largest score that the loss is defined for.
    fn largest_score(&self) -> f64 {
        f64::INFINITY
    }

    /// The loss of pairs that lie in two arrays, with the gradient by each.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::Value`] for arrays that do not fit; [`Error::Conflict`] for one reference of
    /// two, or one that the loss does not take.
    fn evaluate(&self, pairs: &Pairs<'_>) -> Result<PairLosses> {
        let chosen = pairs.chosen.checked(&CHOSEN)?;
        let rejected = pairs.rejected.checked(&REJECTED)?;
        let count = chosen.kept.nrows();
        if rejected.kept.nrows() != count {
            return Err(Error::Shape {
                argument: REJECTED.log_probabilities,
                found: rejected.kept.shape().to_vec(),
                expected: format!("{count} sequences, as many as are chosen"),
            });
        }
        let rows: Vec<_> = (0..count).map(|row| [row, row]).collect();
        let slopes = Slopes::new(self, &chosen, &rejected, &rows)?;
        let weights = weights(pairs.weights, count)?;
        let mut by_chosen = Array2::zeros(chosen.kept.dim());
        let mut by_rejected = Array2::zeros(rejected.kept.dim());
        slopes.spread_chosen(&chosen.kept, &rows, &weights, &mut by_chosen);
        slopes.spread_rejected(&rejected.kept, &rows, &weights, &mut by_rejected);
        Ok(PairLosses {
            value: weighted_sum(&weights, &slopes.losses),
            losses: slopes.losses.into(),
            chosen: by_chosen,
            rejected: by_rejected,
        })
    }

    /// The loss of pairs of rows of one array, with the gradient by it.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate); [`Error::Value`] for a row that is not there.
    fn evaluate_rows(&self, pairs: &RowPairs<'_, '_>) -> Result<SequenceLosses> {
        let (slopes, kept) = Slopes::of_rows(self, pairs)?;
        let weights = weights(pairs.weights, pairs.rows.len())?;
        let gradient = slopes.gradient(&kept, pairs.rows, &weights);
        let value = weighted_sum(&weights, &slopes.losses);
        Ok(SequenceLosses { value, losses: slopes.losses.into(), gradient })
    }
}

/// A pair's loss and its slopes by the two scores.
///
/// ```
/// use surprisal::preference::{Dpo, PairLoss};
/// let term = Dpo::new(0.1)?.evaluate_pair(3.0, 3.0);
/// assert_eq!((term.value, term.by_chosen), (2_f64.ln(), -0.05));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairTerm {
    /// ℓ, in nats.
    pub value: f64,
    /// ∂ℓ/∂s_chosen. It counts as 0 where the value is infinite.
    pub by_chosen: f64,
    /// ∂ℓ/∂s_rejected. It counts as 0 where the value is infinite.
    pub by_rejected: f64,
}

/// Pairs of sequences: row i of one array is preferred to row i of another.
///
/// ```
/// use ndarray::{Array2, s};
/// use surprisal::preference::{Dpo, PairLoss, Pairs, Sequences};
/// // One forward pass over both: the first half is chosen.
/// let log_probs = Array2::from_elem((4, 3), -1.0_f32);
/// let mask = Array2::from_elem((4, 3), true);
/// let of = |rows| Sequences::new(log_probs.slice(rows), mask.slice(rows));
/// let pairs = Pairs::new(of(s![..2, ..]), of(s![2.., ..]));
/// assert_eq!(Dpo::new(0.1)?.evaluate(&pairs)?.value, 2_f64.ln());
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    chosen: Sequences<'a>,
    rejected: Sequences<'a>,
    weights: Option<Vector<'a>>,
}

impl<'a> Pairs<'a> {
    /// Of sequences `[P,T]` and as many others `[P,T′]`.
    pub fn new(chosen: Sequences<'a>, rejected: Sequences<'a>) -> Self {
        Self { chosen, rejected, weights: None }
    }

    /// With weights w `[P]` of any sign: the value is Σ w ℓ in place of the mean. What weighs 0 adds 0, whatever
    /// its loss is.
    #[must_use]
    pub fn weights(mut self, weights: impl Into<Vector<'a>>) -> Self {
        self.weights = Some(weights.into());
        self
    }
}

/// Pairs of rows of one batch, as they come out of one forward pass.
///
/// ```
/// use surprisal::preference::{Dpo, PairLoss, RowPairs, Sequences};
/// let log_probs = ndarray::arr2(&[[-1.0, -2.0], [-1.0, -1.0], [-3.0, -0.5]]);
/// let mask = ndarray::arr2(&[[true, true]; 3]);
/// // Row 1 is better than both others.
/// let pairs = RowPairs::new(Sequences::new(&log_probs, &mask), &[[1, 0], [1, 2]]);
/// let losses = Dpo::new(0.1)?.evaluate_rows(&pairs)?;
/// assert_eq!((losses.losses.len(), losses.gradient.dim()), (2, (3, 2)));
/// assert!(losses.gradient[[1, 0]] < 0.0 && losses.gradient[[0, 0]] > 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RowPairs<'a, 'r> {
    sequences: Sequences<'a>,
    rows: &'r [[usize; 2]],
    weights: Option<Vector<'a>>,
}

impl<'a, 'r> RowPairs<'a, 'r> {
    /// Pairs `[P,2]` of rows of these sequences, the chosen one first. A row may stand in several.
    pub fn new(sequences: Sequences<'a>, rows: &'r [[usize; 2]]) -> Self {
        Self { sequences, rows, weights: None }
    }

    /// With weights `[P]`, as [`Pairs::weights`].
    #[must_use]
    pub fn weights(mut self, weights: impl Into<Vector<'a>>) -> Self {
        self.weights = Some(weights.into());
        self
    }
}

/// What a loss of [`Pairs`] comes to.
///
/// ```
/// # use surprisal::preference::{Dpo, PairLoss, Pairs, Sequences};
/// let (log_probs, mask) = (ndarray::arr2(&[[-1.0]]), ndarray::arr2(&[[true]]));
/// let sequences = Sequences::new(&log_probs, &mask);
/// let losses = Dpo::new(0.1)?.evaluate(&Pairs::new(sequences, sequences))?;
/// assert_eq!(losses.chosen, -losses.rejected);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PairLosses {
    /// The mean of the losses, or Σ w ℓ, in nats.
    pub value: f64,
    /// The loss of each pair `[P]`.
    pub losses: Array1<f64>,
    /// The gradient of the value by the chosen log-probabilities `[P,T]`.
    pub chosen: Array2<f64>,
    /// The gradient of the value by the rejected log-probabilities `[P,T′]`.
    pub rejected: Array2<f64>,
}

/// What a loss of sequences comes to.
///
/// ```
/// # use surprisal::preference::{Kto, LabelledLoss, Sequences};
/// let (log_probs, mask) = (ndarray::arr2(&[[-1.0]]), ndarray::arr2(&[[true]]));
/// let losses = Kto::new(0.1)?.evaluate(&Sequences::new(&log_probs, &mask).reference(&log_probs), &[true])?;
/// assert_eq!((losses.value, losses.losses.len()), (0.5, 1));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SequenceLosses {
    /// The mean of the losses, or Σ w ℓ, in nats.
    pub value: f64,
    /// The loss of each pair, or of each sequence.
    pub losses: Array1<f64>,
    /// The gradient of the value by the log-probabilities `[B,T]`.
    pub gradient: Array2<f64>,
}

const CHOSEN: Names = Names {
    log_probabilities: "chosen_log_probs",
    mask: "chosen_mask",
    reference: "reference_chosen_log_probs",
};
const REJECTED: Names = Names {
    log_probabilities: "rejected_log_probs",
    mask: "rejected_mask",
    reference: "reference_rejected_log_probs",
};

/// # Errors
/// [`Error::Shape`] for no pair, [`Error::Value`] for a row that is not there.
fn check_rows(rows: &[[usize; 2]], count: usize) -> Result<()> {
    if rows.is_empty() {
        let expected = "at least one pair of rows".into();
        return Err(Error::Shape { argument: "pairs", found: vec![0, 2], expected });
    }
    for (pair, rows) in rows.iter().enumerate() {
        if let Some(side) = rows.iter().position(|&row| row >= count) {
            return Err(Error::Value {
                argument: "pairs",
                index: vec![pair, side],
                value: rows[side].to_string(),
                expected: "a row of the log-probabilities",
            });
        }
    }
    Ok(())
}

/// One over their number, or the caller's.
///
/// # Errors
/// Where they are not as many, or not finite.
pub(super) fn weights(weights: Option<Vector<'_>>, count: usize) -> Result<Vec<f64>> {
    let Some(weights) = weights else { return Ok(vec![1.0 / count as f64; count]) };
    if weights.len() != count {
        return Err(Error::Shape {
            argument: "weights",
            found: vec![weights.len()],
            expected: format!("[{count}], a weight for each loss"),
        });
    }
    let weights: Vec<f64> = weights.to_vec();
    match weights.iter().position(|weight| !weight.is_finite()) {
        None => Ok(weights),
        Some(at) => Err(Error::not_finite("weights", &[at], weights[at])),
    }
}

/// Σ w ℓ, without what weighs 0.
pub(super) fn weighted_sum(weights: &[f64], losses: &[f64]) -> f64 {
    let pairs = weights.iter().zip(losses).filter(|(weight, _)| **weight != 0.0);
    pairs.fold(0.0, |sum, (weight, loss)| sum + weight * loss)
}

/// The losses of pairs, and their slopes by every token's log-probability.
pub(crate) struct Slopes {
    pub(crate) losses: Vec<f64>,
    by_chosen: Vec<f64>,
    by_rejected: Vec<f64>,
    /// Of the likelihood, which each loss has whole: by every token of every chosen sequence.
    by_likelihood: f64,
}

impl Slopes {
    fn new<L: PairLoss + ?Sized>(
        loss: &L,
        chosen: &Checked<'_>,
        rejected: &Checked<'_>,
        rows: &[[usize; 2]],
    ) -> Result<Self> {
        let has_reference = chosen.reference.is_some();
        if has_reference != rejected.reference.is_some() {
            let what = "one of the chosen and the rejected sequences has a reference policy, expected both or \
                        neither";
            return Err(Error::Conflict { what: what.into() });
        }
        if has_reference && !loss.takes_reference() {
            let what = format!("{loss:?} has no reference policy, expected sequences without one");
            return Err(Error::Conflict { what });
        }
        let averaged = loss.is_averaged();
        let score = |side: &Checked<'_>, row| {
            let share = side.share(row, averaged);
            (side.sum_over_reference(row) * share, share)
        };
        let mut slopes = Self {
            losses: Vec::with_capacity(rows.len()),
            by_chosen: Vec::with_capacity(rows.len()),
            by_rejected: Vec::with_capacity(rows.len()),
            by_likelihood: 0.0,
        };
        for &[better, worse] in rows {
            let (of_chosen, share) = score(chosen, better);
            let (of_rejected, other_share) = score(rejected, worse);
            for (argument, row, score) in [
                (CHOSEN.log_probabilities, better, of_chosen),
                (REJECTED.log_probabilities, worse, of_rejected),
            ] {
                if score > loss.largest_score() {
                    return Err(Error::Value {
                        argument,
                        index: vec![row],
                        value: format!("{} in the mean", short(score)),
                        expected: "log-probabilities of at most 0",
                    });
                }
            }
            let term = loss.evaluate_pair(of_chosen, of_rejected);
            let infinite = term.value.is_infinite();
            let slope = |slope: f64| if infinite { 0.0 } else { slope };
            slopes.losses.push(term.value);
            slopes.by_chosen.push(slope(term.by_chosen) * share);
            slopes.by_rejected.push(slope(term.by_rejected) * other_share);
        }
        slopes.add_likelihood(loss.likelihood_coefficient(), chosen, rows);
        Ok(slopes)
    }

    fn add_likelihood(&mut self, coefficient: f64, chosen: &Checked<'_>, rows: &[[usize; 2]]) {
        if coefficient == 0.0 {
            return;
        }
        let tokens: usize = rows.iter().map(|&[row, _]| chosen.count(row)).sum();
        let factor = coefficient / tokens.max(1) as f64;
        let likelihood = rows.iter().fold(0.0, |sum, &[row, _]| sum + chosen.sum(row));
        let value = -factor * likelihood;
        self.losses.iter_mut().for_each(|loss| *loss += value);
        self.by_likelihood = if value.is_infinite() { 0.0 } else { -factor };
    }

    /// Of pairs of rows of the sequences, which fit each other.
    pub(crate) fn of_rows<L: PairLoss + ?Sized>(
        loss: &L,
        pairs: &RowPairs<'_, '_>,
    ) -> Result<(Self, Array2<bool>)> {
        let sequences = pairs.sequences.checked(&NAMES)?;
        check_rows(pairs.rows, sequences.kept.nrows())?;
        let slopes = Self::new(loss, &sequences, &sequences, pairs.rows)?;
        Ok((slopes, sequences.kept))
    }

    /// The gradient of Σ w ℓ by the log-probabilities of which the pairs are rows.
    pub(crate) fn gradient(
        &self,
        kept: &Array2<bool>,
        rows: &[[usize; 2]],
        weights: &[f64],
    ) -> Array2<f64> {
        let mut gradient = Array2::zeros(kept.dim());
        self.spread_chosen(kept, rows, weights, &mut gradient);
        self.spread_rejected(kept, rows, weights, &mut gradient);
        gradient
    }

    fn spread_chosen(
        &self,
        kept: &Array2<bool>,
        rows: &[[usize; 2]],
        weights: &[f64],
        to: &mut Array2<f64>,
    ) {
        let by_likelihood = match self.by_likelihood {
            0.0 => 0.0,
            slope => slope * weights.iter().sum::<f64>(),
        };
        for ((&[row, _], slope), &weight) in rows.iter().zip(&self.by_chosen).zip(weights) {
            let slope = if weight == 0.0 { 0.0 } else { weight * slope };
            put_on_tokens(kept, row, slope + by_likelihood, to);
        }
    }

    fn spread_rejected(
        &self,
        kept: &Array2<bool>,
        rows: &[[usize; 2]],
        weights: &[f64],
        to: &mut Array2<f64>,
    ) {
        for ((&[_, row], slope), &weight) in rows.iter().zip(&self.by_rejected).zip(weights) {
            if weight != 0.0 {
                put_on_tokens(kept, row, weight * slope, to);
            }
        }
    }
}
