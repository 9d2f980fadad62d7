//! Divergence-based calibration of token probabilities.

use std::collections::HashSet;

use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// How often each token occurs in a reference corpus: what a model's probabilities are calibrated by.
///
/// ```text
/// f_v = (count_v + 1) / (Σ count + V)                                    Laplace
/// DC-PDD = mean over first occurrences of min(a, −p_t ln f_{x_t})        a: the cap
/// ```
///
/// A token that is likely although it is rare elsewhere has been seen. Zhang et al. 2024, *Pretraining Data Detection
/// for Large Language Models: A Divergence-based Calibration Method*; the program negates the score.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::information::ReferenceCounts;
/// let reference = ReferenceCounts::of_tokens(&[0_u32, 2, 2, 0, 2], 3)?;
/// assert!((reference.log_frequency(1).unwrap_or(f64::NAN) - 0.125_f64.ln()).abs() < 1e-15);
/// // The second 1 does not count.
/// let score = reference.dc_pdd(&arr1(&[-1.0, -0.1]), &[1, 1], ReferenceCounts::CAP)?;
/// assert_eq!(score, 0.01);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceCounts {
    counts: Vec<f64>,
    total: f64,
}

impl ReferenceCounts {
    /// The cap a that the paper's program has.
    pub const CAP: f64 = 0.01;

    /// Counts `[V]`, finite and not negative.
    ///
    /// # Errors
    /// [`Error::Shape`] for no class, [`Error::Value`] for a count that is negative or not finite,
    /// [`Error::Conflict`] for counts whose sum is beyond f64.
    pub fn new<'a>(counts: impl Into<Vector<'a>>) -> Result<Self> {
        Self::new_here(counts.into())
    }

    fn new_here(counts: Vector<'_>) -> Result<Self> {
        let counts: Vec<f64> = counts.to_vec();
        if counts.is_empty() {
            let expected = "a count for each class".into();
            return Err(Error::Shape { argument: "counts", found: vec![0], expected });
        }
        let mut total = 0.0;
        for (at, &count) in counts.iter().enumerate() {
            if !(count >= 0.0 && count.is_finite()) {
                return Err(Error::Value {
                    argument: "counts",
                    index: vec![at],
                    value: short(count),
                    expected: "a finite number of at least 0",
                });
            }
            total += count;
        }
        if !f64::is_finite(total) {
            let what = "the sum of counts is beyond f64, expected counts with a finite sum".into();
            return Err(Error::Conflict { what });
        }
        Ok(Self { counts, total })
    }

    /// The counts of the tokens of a corpus over so many classes.
    ///
    /// # Errors
    /// [`Error::Shape`] for no class, [`Error::Value`] for a token that is none.
    pub fn of_tokens(tokens: &[u32], vocabulary: usize) -> Result<Self> {
        let mut counts = vec![0_u64; vocabulary];
        for (at, &token) in tokens.iter().enumerate() {
            match counts.get_mut(token as usize) {
                Some(count) => *count += 1,
                None => return Err(no_class(at, token)),
            }
        }
        let counts: Vec<f64> = counts.into_iter().map(|count| count as f64).collect();
        Self::new(&ndarray::Array1::from(counts))
    }

    /// The number of classes.
    pub fn vocabulary(&self) -> usize {
        self.counts.len()
    }

    /// ln f of a class, in nats; `None` where there is no such class.
    pub fn log_frequency(&self, class: u32) -> Option<f64> {
        let count = self.counts.get(class as usize)?;
        Some(((count + 1.0) / (self.total + self.counts.len() as f64)).ln())
    }

    /// The score of a text: ln p `[n]` of each predicted token, and which token it is.
    ///
    /// First occurrences are those among the tokens given: the first token of a text, which nothing predicts, is
    /// not among them, so that a repeat of it counts.
    ///
    /// # Errors
    /// [`Error::Shape`] for a text without tokens, or as many of one as not of the other; [`Error::Value`] for a token
    /// that is no class, and for a log-probability that is NaN or above 0; [`Error::Option`] for a cap that is not
    /// above 0 and finite.
    pub fn dc_pdd<'a>(
        &self,
        log_probabilities: impl Into<Vector<'a>>,
        tokens: &[u32],
        cap: f64,
    ) -> Result<f64> {
        self.dc_pdd_here(log_probabilities.into(), tokens, cap)
    }

    fn dc_pdd_here(&self, log_probabilities: Vector<'_>, tokens: &[u32], cap: f64) -> Result<f64> {
        let log_probabilities: Vec<f64> = log_probabilities.to_vec();
        if tokens.is_empty() || log_probabilities.len() != tokens.len() {
            return Err(Error::Shape {
                argument: "log_probabilities",
                found: vec![log_probabilities.len()],
                expected: format!("[{}], one for each token, and at least one", tokens.len()),
            });
        }
        if !(cap.is_finite() && cap > 0.0) {
            let expected = "a finite number above 0";
            return Err(Error::Option { name: "cap", value: short(cap), expected });
        }
        let (mut seen, mut sum) = (HashSet::new(), 0.0);
        for (at, (&token, log_probability)) in tokens.iter().zip(log_probabilities).enumerate() {
            let Some(log_frequency) = self.log_frequency(token) else {
                return Err(no_class(at, token));
            };
            if log_probability.is_nan() || log_probability > 0.0 {
                return Err(Error::Value {
                    argument: "log_probabilities",
                    index: vec![at],
                    value: short(log_probability),
                    expected: "a log-probability of at most 0",
                });
            }
            if seen.insert(token) {
                sum += (-log_probability.exp() * log_frequency).min(cap);
            }
        }
        Ok(sum / seen.len() as f64)
    }
}

fn no_class(at: usize, token: u32) -> Error {
    Error::Value {
        argument: "tokens",
        index: vec![at],
        value: token.to_string(),
        expected: "a class that the counts have",
    }
}
