//! Log-probabilities of the tokens of a batch, and what sequences sum to.

use ndarray::Array2;

use super::mask::Mask;
use crate::error::{Error, Result};
use crate::matrix::Matrix;

/// The log-probabilities `[B,T]` that a policy gives to the tokens of a batch of sequences, in nats, with the
/// tokens that count and, where a loss compares with one, those of a reference policy.
///
/// They are what [`log_probability`](crate::Statistic::LogProbability) gives, at the next tokens. Any element
/// type will do; all is computed in f64.
///
/// ```
/// use surprisal::preference::Sequences;
/// let log_probs = ndarray::arr2(&[[-0.5_f32, -1.0], [-0.25, f32::NAN]]);
/// let reference = ndarray::arr2(&[[-0.75_f32, -0.5], [-0.5, f32::NAN]]);
/// let mask = ndarray::arr2(&[[true, true], [true, false]]);
/// let sequences = Sequences::new(&log_probs, &mask).reference(&reference);
/// assert_eq!(sequences.dim(), (2, 2));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sequences<'a> {
    log_probabilities: Matrix<'a>,
    mask: Mask<'a>,
    reference: Option<Matrix<'a>>,
}

impl<'a> Sequences<'a> {
    /// These log-probabilities `[B,T]`, of which the tokens under the mask `[B,T]` count.
    pub fn new(log_probabilities: impl Into<Matrix<'a>>, mask: impl Into<Mask<'a>>) -> Self {
        Self { log_probabilities: log_probabilities.into(), mask: mask.into(), reference: None }
    }

    /// With the log-probabilities `[B,T]` of a reference policy, which get no gradient.
    #[must_use]
    pub fn reference(mut self, log_probabilities: impl Into<Matrix<'a>>) -> Self {
        self.reference = Some(log_probabilities.into());
        self
    }

    /// Sequences and tokens of each.
    pub fn dim(&self) -> (usize, usize) {
        self.log_probabilities.dim()
    }

    /// Whether there is a reference policy.
    pub(super) fn has_reference(&self) -> bool {
        self.reference.is_some()
    }

    /// # Errors
    /// [`Error::Shape`] for no sequence, no token, or arrays of several shapes; [`Error::Value`] for a mask that
    /// is neither 0 nor 1.
    pub(super) fn checked(&self, names: &Names) -> Result<Checked<'a>> {
        let dim = self.dim();
        if dim.0 == 0 || dim.1 == 0 {
            return Err(Error::empty_matrix(names.log_probabilities, &[dim.0, dim.1]));
        }
        if let Some(reference) = &self.reference {
            check_shape(names.reference, reference, dim)?;
        }
        let kept = self.mask.flags(names.mask, dim)?;
        Ok(Checked { log_probabilities: self.log_probabilities, reference: self.reference, kept })
    }
}

/// What errors call the arrays of a batch.
pub(super) struct Names {
    pub(super) log_probabilities: &'static str,
    pub(super) mask: &'static str,
    pub(super) reference: &'static str,
}

pub(super) const NAMES: Names =
    Names { log_probabilities: "log_probs", mask: "mask", reference: "reference_log_probs" };

/// # Errors
/// [`Error::Shape`] for another shape than the log-probabilities have.
pub(super) fn check_shape(
    argument: &'static str,
    matrix: &Matrix<'_>,
    dim: (usize, usize),
) -> Result<()> {
    let (rows, columns) = matrix.dim();
    match (rows, columns) == dim {
        true => Ok(()),
        false => Err(Error::Shape {
            argument,
            found: vec![rows, columns],
            expected: format!("[{}, {}], as the log-probabilities have", dim.0, dim.1),
        }),
    }
}

/// Sequences whose arrays fit each other.
pub(super) struct Checked<'a> {
    pub(super) log_probabilities: Matrix<'a>,
    pub(super) reference: Option<Matrix<'a>>,
    pub(super) kept: Array2<bool>,
}

impl Checked<'_> {
    /// How many tokens of a sequence count.
    pub(super) fn count(&self, row: usize) -> usize {
        self.kept.row(row).iter().filter(|&&kept| kept).count()
    }

    /// Σ log π over the tokens that count.
    pub(super) fn sum(&self, row: usize) -> f64 {
        self.tokens(row).map(|t| self.log_probabilities.at(row, t)).sum()
    }

    /// Σ (log π − log π_ref) over the tokens that count, of log π where there is no reference.
    pub(super) fn sum_over_reference(&self, row: usize) -> f64 {
        match &self.reference {
            None => self.sum(row),
            Some(reference) => {
                let of = |t| self.log_probabilities.at(row, t) - reference.at(row, t);
                self.tokens(row).map(of).sum()
            }
        }
    }

    fn tokens(&self, row: usize) -> impl Iterator<Item = usize> {
        self.kept.row(row).into_iter().enumerate().filter(|(_, kept)| **kept).map(|(t, _)| t)
    }

    /// What a token's gradient is of that of its sequence: 1, or one over the number of tokens.
    pub(super) fn share(&self, row: usize, averaged: bool) -> f64 {
        if averaged { 1.0 / self.count(row).max(1) as f64 } else { 1.0 }
    }
}

/// Adds `slope` to the gradient of every token of a sequence that counts.
pub(super) fn put_on_tokens(kept: &Array2<bool>, row: usize, slope: f64, to: &mut Array2<f64>) {
    for (kept, to) in kept.row(row).iter().zip(to.row_mut(row)) {
        if *kept {
            *to += slope;
        }
    }
}
