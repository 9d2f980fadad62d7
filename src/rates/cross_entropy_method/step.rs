//! What a step takes of its samples, and how far it goes.

use crate::error::{Error, Result, short};
use crate::sorting::sorted_places;

/// How many samples are elites, and how much of their fit is taken: `new = a·fit + (1 − a)·old`.
///
/// ```
/// use surprisal::rates::cross_entropy_method::Step;
/// let elites = Step::new(2)?.elites(&[3.0, 1.0, 4.0, 4.0])?;
/// assert_eq!((elites.indices, elites.threshold), (vec![2, 3], 4.0));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub(super) elites: usize,
    pub(super) smoothing: f64,
    pub(super) deviation_smoothing: f64,
}

/// The best samples.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Elites {
    /// Which samples, the best first; of equal scores the earlier first.
    pub indices: Vec<usize>,
    /// The score of the last of them.
    pub threshold: f64,
}

impl Step {
    /// With so many elites, of whose fit 0.7 is taken.
    ///
    /// # Errors
    /// [`Error::Option`] for no elites.
    pub fn new(elites: usize) -> Result<Self> {
        if elites == 0 {
            let expected = "at least one";
            return Err(Error::Option { name: "elites", value: "0".into(), expected });
        }
        Ok(Self { elites, smoothing: 0.7, deviation_smoothing: 0.7 })
    }

    /// With this much of the fit, of deviations too.
    ///
    /// # Errors
    /// [`Error::Option`] for a number that is not from 0 to 1.
    pub fn smoothing(self, smoothing: f64) -> Result<Self> {
        check("smoothing", smoothing)?;
        Ok(Self { smoothing, deviation_smoothing: smoothing, ..self })
    }

    /// With this much of the fitted deviations alone: less of them keeps the search wide.
    ///
    /// # Errors
    /// [`Error::Option`] for a number that is not from 0 to 1.
    pub fn deviation_smoothing(self, smoothing: f64) -> Result<Self> {
        check("std_smoothing", smoothing)?;
        Ok(Self { deviation_smoothing: smoothing, ..self })
    }

    /// The elites of these scores. A score of −∞ is the worst: of a sample that is not allowed.
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer scores than elites; [`Error::Value`] for a score that is NaN or +∞.
    pub fn elites(&self, scores: &[f64]) -> Result<Elites> {
        if scores.len() < self.elites {
            let expected = format!("at least {}, as many as there are elites", self.elites);
            return Err(Error::Shape { argument: "scores", found: vec![scores.len()], expected });
        }
        check_scores(scores)?;
        // −0 and 0 are equal.
        let descending = |a: usize, b: usize| scores[b].partial_cmp(&scores[a]).expect("no NaN");
        let mut indices = sorted_places(scores.len(), descending);
        indices.truncate(self.elites);
        let threshold = scores[indices[self.elites - 1]];
        Ok(Elites { indices, threshold })
    }

    /// Between the old and the fitted.
    pub(super) fn smoothed(&self, fitted: f64, old: f64) -> f64 {
        between(self.smoothing, fitted, old)
    }

    pub(super) fn smoothed_deviation(&self, fitted: f64, old: f64) -> f64 {
        between(self.deviation_smoothing, fitted, old)
    }
}

pub(super) fn check_scores(scores: &[f64]) -> Result<()> {
    match scores.iter().position(|&score| score.is_nan() || score == f64::INFINITY) {
        None => Ok(()),
        Some(at) => Err(Error::Value {
            argument: "scores",
            index: vec![at],
            value: short(scores[at]),
            expected: "a finite number, or -inf for what is not allowed",
        }),
    }
}

fn between(a: f64, fitted: f64, old: f64) -> f64 {
    a * fitted + (1.0 - a) * old
}

fn check(name: &'static str, value: f64) -> Result<()> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(Error::Option { name, value: short(value), expected: "a number from 0 to 1" }),
    }
}
