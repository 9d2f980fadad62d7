//! How well a score tells two classes apart.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// The receiver operating characteristic of a score: at each threshold t, the shares of positives and of negatives
/// that score at least t.
///
/// The area below it is U / (n⁺ n⁻), with Mann and Whitney's U: how many pairs of a positive and a negative the score
/// has in the right order, ties for half. It is found by sorting, in O(n log n); U is exact.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::Roc;
/// let roc = Roc::new(&arr1(&[0.9, 0.5, 0.5, 0.1]), &[true, true, false, false])?;
/// assert_eq!((roc.u(), roc.area()), (3.5, 0.875));
/// assert_eq!(roc.true_positive_rate(0.05)?, 0.5);
/// assert_eq!(roc.points(), [[0.0, 0.0], [0.0, 0.5], [0.5, 1.0], [1.0, 1.0]]);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Roc {
    /// How many positives and negatives have each score, the highest first.
    groups: Vec<[u64; 2]>,
    positives: u64,
    negatives: u64,
}

impl Roc {
    /// Of scores `[n]`, higher for positives, and whether each is of a positive.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of labels, [`Error::Value`] for a score that is NaN,
    /// [`Error::Conflict`] where all labels are the same.
    pub fn new<'a>(scores: impl Into<Vector<'a>>, labels: &[bool]) -> Result<Self> {
        Self::new_here(scores.into(), labels)
    }

    fn new_here(scores: Vector<'_>, labels: &[bool]) -> Result<Self> {
        let scores: Vec<f64> = scores.to_vec();
        if scores.len() != labels.len() {
            return Err(Error::Shape {
                argument: "labels",
                found: vec![labels.len()],
                expected: format!("[{}], one for each score", scores.len()),
            });
        }
        if let Some(at) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::Value {
                argument: "scores",
                index: vec![at],
                value: short(scores[at]),
                expected: "a number",
            });
        }
        let positives = labels.iter().filter(|&&label| label).count() as u64;
        let negatives = labels.len() as u64 - positives;
        if positives == 0 || negatives == 0 {
            return Err(Error::Conflict {
                what: format!(
                    "the labels are of {positives} positives and {negatives} negatives, expected at least \
                     one of each"
                ),
            });
        }
        // −0 and 0 are equal.
        let mut order: Vec<(f64, bool)> =
            scores.iter().map(|score| score + 0.0).zip(labels.iter().copied()).collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let count = |equal: &[(f64, bool)]| {
            let positive = equal.iter().filter(|one| one.1).count() as u64;
            [positive, equal.len() as u64 - positive]
        };
        let groups = order.chunk_by(|a, b| a.0 == b.0).map(count).collect();
        Ok(Self { groups, positives, negatives })
    }

    /// For each score from the highest, how many positives and negatives are above it, and have it.
    fn steps(&self) -> impl Iterator<Item = ([u64; 2], [u64; 2])> {
        self.groups.iter().scan([0, 0], |above, &[positive, negative]| {
            let step = (*above, [positive, negative]);
            *above = [above[0] + positive, above[1] + negative];
            Some(step)
        })
    }

    /// Mann and Whitney's U of the positives.
    pub fn u(&self) -> f64 {
        let halves = self.steps().map(|([_, above], [positive, negative])| {
            let below = self.negatives - above - negative;
            u128::from(positive) * (2 * u128::from(below) + u128::from(negative))
        });
        halves.sum::<u128>() as f64 / 2.0
    }

    /// The area below the curve: the probability that a positive scores above a negative, ties for half.
    pub fn area(&self) -> f64 {
        self.u() / (self.positives as f64 * self.negatives as f64)
    }

    /// Of the area (DeLong, DeLong and Clarke-Pearson 1988); NaN with fewer than two of either. It takes the items
    /// for independent.
    pub fn standard_error(&self) -> f64 {
        let (positives, negatives) = (self.positives as f64, self.negatives as f64);
        let area = self.area();
        let mut squares = [0.0; 2];
        for ([positives_above, above], [positive, negative]) in self.steps() {
            let below = (self.negatives - above - negative) as f64;
            // The share of the others that each of these is on the right side of.
            let of_positive = (below + 0.5 * negative as f64) / negatives;
            let of_negative = (positives_above as f64 + 0.5 * positive as f64) / positives;
            squares[0] += positive as f64 * (of_positive - area).powi(2);
            squares[1] += negative as f64 * (of_negative - area).powi(2);
        }
        if self.positives < 2 || self.negatives < 2 {
            return f64::NAN;
        }
        let variance =
            squares[0] / (positives - 1.0) / positives + squares[1] / (negatives - 1.0) / negatives;
        variance.sqrt()
    }

    /// The largest share of positives that reach a threshold at which the share of negatives, the false positive rate, is
    /// strictly below `limit`: one that is equal to it is too many. 0 where every threshold lets in too many.
    ///
    /// # Errors
    /// [`Error::Option`] for a limit that is not above 0 up to 1.
    pub fn true_positive_rate(&self, limit: f64) -> Result<f64> {
        if !(limit > 0.0 && limit <= 1.0) {
            let expected = "a number above 0 up to 1";
            return Err(Error::Option { name: "limit", value: short(limit), expected });
        }
        let below = |[false_rate, _]: &[f64; 2]| *false_rate < limit;
        Ok(self.points().iter().take_while(|point| below(point)).last().map_or(0.0, |p| p[1]))
    }

    /// The curve: false and true positive rate at each threshold, from `[0, 0]` to `[1, 1]`.
    pub fn points(&self) -> Vec<[f64; 2]> {
        let point = |([positives, negatives], [positive, negative]): ([u64; 2], [u64; 2])| {
            [
                (negatives + negative) as f64 / self.negatives as f64,
                (positives + positive) as f64 / self.positives as f64,
            ]
        };
        std::iter::once([0.0, 0.0]).chain(self.steps().map(point)).collect()
    }
}
