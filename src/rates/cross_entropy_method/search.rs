//! The search.

use super::step::Step;
use crate::error::{Error, Result, short};
use crate::random::Generator;

/// A family of distributions that samples are drawn of and that is fitted to some of them.
///
/// ```
/// use surprisal::random::Generator;
/// use surprisal::rates::cross_entropy_method::{Proposal, Search, Step};
/// /// Exponential waiting times with this mean.
/// struct Waiting(f64);
/// impl Proposal for Waiting {
///     type Sample = f64;
///     fn draw(&self, generator: &mut Generator) -> f64 {
///         -self.0 * (1.0 - generator.uniform()).ln()
///     }
///     fn fit(&self, elites: &[&f64], _: &Step) -> surprisal::Result<Self> {
///         Ok(Self(elites.iter().copied().sum::<f64>() / elites.len() as f64))
///     }
///     fn spread(&self) -> f64 {
///         self.0
///     }
/// }
/// let search = Search::new(Step::new(20)?, 200, 10)?;
/// let found = search.maximize(Waiting(1.0), &mut Generator::new(0), |x| -(x - 5.0).abs())?;
/// assert!((found.best - 5.0).abs() < 0.1);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub trait Proposal: Sized {
    /// What is drawn.
    type Sample;

    /// A sample.
    fn draw(&self, generator: &mut Generator) -> Self::Sample;

    /// What follows this distribution: fitted to the elites, of which there is at least one, and smoothed by the step.
    ///
    /// # Errors
    /// Where there is no such distribution.
    fn fit(&self, elites: &[&Self::Sample], step: &Step) -> Result<Self>;

    /// How far apart samples are, at 0 not at all: what a search compares with its tolerance.
    fn spread(&self) -> f64;
}

/// Rounds of samples and steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    pub(super) step: Step,
    pub(super) samples: usize,
    pub(super) rounds: usize,
    tolerance: f64,
}

/// What a search has found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Found<P: Proposal> {
    /// The sample with the largest score of all rounds, the earliest of them.
    pub best: P::Sample,
    /// Its score.
    pub score: f64,
    /// The distribution after the last step.
    pub proposal: P,
    /// The score of the last elite of each round.
    pub thresholds: Vec<f64>,
    /// Whether the spread came down to the tolerance before the rounds ended.
    pub converged: bool,
}

impl Search {
    /// With this step after each of so many rounds of so many samples, all of which are done.
    ///
    /// # Errors
    /// [`Error::Option`] for fewer samples than elites, and for no rounds.
    pub fn new(step: Step, samples: usize, rounds: usize) -> Result<Self> {
        if samples < step.elites {
            return Err(Error::Option {
                name: "samples",
                value: samples.to_string(),
                expected: "at least as many as there are elites",
            });
        }
        if rounds == 0 {
            let expected = "at least one";
            return Err(Error::Option { name: "rounds", value: "0".into(), expected });
        }
        Ok(Self { step, samples, rounds, tolerance: 0.0 })
    }

    /// Ended as soon as the spread of the distribution is at most this.
    ///
    /// # Errors
    /// [`Error::Option`] for a number that is not finite and at least 0.
    pub fn tolerance(self, tolerance: f64) -> Result<Self> {
        if !(tolerance >= 0.0 && tolerance.is_finite()) {
            let (name, expected) = ("tolerance", "a finite number of at least 0");
            return Err(Error::Option { name, value: short(tolerance), expected });
        }
        Ok(Self { tolerance, ..self })
    }

    /// Searches for the largest score, from this distribution on. A score of −∞ is that of a sample that is not allowed.
    ///
    /// # Errors
    /// [`Error::Value`] for a score that is NaN or +∞, with the number of its sample in the round; what
    /// [`Proposal::fit`] returns.
    pub fn maximize<P: Proposal>(
        &self,
        start: P,
        generator: &mut Generator,
        mut score: impl FnMut(&P::Sample) -> f64,
    ) -> Result<Found<P>> {
        let mut proposal = start;
        let mut best: Option<(P::Sample, f64)> = None;
        let mut thresholds = Vec::new();
        let mut converged = false;
        for _ in 0..self.rounds {
            let mut samples: Vec<P::Sample> =
                (0..self.samples).map(|_| proposal.draw(generator)).collect();
            let scores: Vec<f64> = samples.iter().map(&mut score).collect();
            let elites = self.step.elites(&scores)?;
            let chosen: Vec<&P::Sample> = elites.indices.iter().map(|&i| &samples[i]).collect();
            proposal = proposal.fit(&chosen, &self.step)?;
            thresholds.push(elites.threshold);
            let first = elites.indices[0];
            if best.as_ref().is_none_or(|(_, score)| scores[first] > *score) {
                best = Some((samples.swap_remove(first), scores[first]));
            }
            converged = proposal.spread() <= self.tolerance;
            if converged {
                break;
            }
        }
        let (best, score) = best.expect("a round at least");
        Ok(Found { best, score, proposal, thresholds, converged })
    }
}
