//! Probabilities of rare events.

use super::gaussian::Gaussian;
use super::search::{Proposal, Search};
use super::step::check_scores;
use crate::error::{Error, Result, short};
use crate::random::Generator;

/// The probability of a rare event, estimated.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RareEvent {
    /// ln of the probability: it may be below all numbers.
    pub log_probability: f64,
    /// The standard error of the probability, divided by it.
    pub relative_error: f64,
    /// The samples of the last round that were beyond the level.
    pub hits: usize,
    /// What the last samples were drawn of.
    pub proposal: Gaussian,
    /// The levels of the rounds before, the last of which is the one asked for.
    pub levels: Vec<f64>,
}

impl RareEvent {
    /// The probability.
    pub fn probability(&self) -> f64 {
        self.log_probability.exp()
    }

    /// Its standard error.
    pub fn standard_error(&self) -> f64 {
        self.probability() * self.relative_error
    }
}

impl Search {
    /// P(score ≥ level) under a Gaussian f_u, by samples of a Gaussian f_v whose means are moved to where the event is:
    ///
    /// ```text
    /// γ = min(level, the last elite's score)      w = f_u/f_v
    /// v ← a·Σ 1[score ≥ γ] w x / Σ 1[score ≥ γ] w + (1 − a)·v       until γ is the level
    /// P ≈ mean of 1[score ≥ level] w, of `last` new samples
    /// ```
    ///
    /// The weighted mean is the fit of the least cross-entropy to f_u beyond γ. Deviations stay those of f_u: with smaller
    /// ones the weights would have no variance. All weights are added as logarithms.
    ///
    /// The standard error is that of the mean of the weights; it is itself an estimate, which is too small where the
    /// event has parts that f_v does not reach.
    ///
    /// ```
    /// use surprisal::random::Generator;
    /// use surprisal::rates::cross_entropy_method::{Gaussian, Search, Step};
    /// let nominal = Gaussian::new(vec![0.0], vec![1.0])?;
    /// let search = Search::new(Step::new(100)?.smoothing(1.0)?, 1000, 20)?;
    /// let found = search.rare_event(&nominal, 6.0, 10_000, &mut Generator::new(0), |x| x[0])?;
    /// // 1 − Φ(6)
    /// assert!((found.probability() - 9.865876450377e-10).abs() < 4.0 * found.standard_error());
    /// assert!(found.relative_error < 0.05);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] for a level that is not finite, or fewer than two last samples; [`Error::Value`] for a score that is NaN
    /// or +∞; [`Error::Conflict`] where the rounds end below the level, and where no last sample is beyond it.
    pub fn rare_event(
        &self,
        nominal: &Gaussian,
        level: f64,
        last: usize,
        generator: &mut Generator,
        mut score: impl FnMut(&Vec<f64>) -> f64,
    ) -> Result<RareEvent> {
        if !level.is_finite() {
            let (name, expected) = ("level", "a finite number");
            return Err(Error::Option { name, value: short(level), expected });
        }
        if last < 2 {
            let (name, expected) = ("last samples", "at least two");
            return Err(Error::Option { name, value: last.to_string(), expected });
        }
        let mut proposal = nominal.clone();
        let mut levels = Vec::new();
        while levels.last().is_none_or(|&reached| reached < level) {
            if levels.len() == self.rounds {
                let reached = levels.last().copied().unwrap_or(f64::NEG_INFINITY);
                return Err(Error::Conflict {
                    what: format!(
                        "the level {} is not reached in {} rounds, which came to {}; expected more rounds or samples",
                        short(level),
                        self.rounds,
                        short(reached)
                    ),
                });
            }
            let samples: Vec<Vec<f64>> =
                (0..self.samples).map(|_| proposal.draw(generator)).collect();
            let scores: Vec<f64> = samples.iter().map(&mut score).collect();
            let reached = self.step.elites(&scores)?.threshold.min(level);
            let beyond = samples.iter().zip(&scores).filter(|&(_, &score)| score >= reached);
            let beyond: Vec<&Vec<f64>> = beyond.map(|(sample, _)| sample).collect();
            let means = weighted_means(nominal, &proposal, &beyond);
            let smoothed = means.into_iter().zip(proposal.means());
            let smoothed = smoothed.map(|(new, &old)| self.step.smoothed(new, old)).collect();
            proposal = proposal.moved(smoothed);
            levels.push(reached);
        }
        let mut weights = Vec::new();
        for _ in 0..last {
            let sample = proposal.draw(generator);
            let found = score(&sample);
            check_scores(&[found])?;
            if found >= level {
                weights.push(log_weight(nominal, &proposal, &sample));
            }
        }
        let hits = weights.len();
        if hits == 0 {
            return Err(Error::Conflict {
                what: format!(
                    "none of {last} samples is beyond the level {}, expected more of them",
                    short(level)
                ),
            });
        }
        let (largest, weights) = scaled(weights);
        let count = last as f64;
        let mean = weights.iter().sum::<f64>() / count;
        let beside = (count - hits as f64) * mean * mean;
        let squares = weights.iter().map(|w| (w - mean) * (w - mean)).sum::<f64>() + beside;
        let error = (squares / (count - 1.0) / count).sqrt();
        let log_probability = largest + mean.ln();
        let relative_error = error / mean;
        if !(log_probability.is_finite() && relative_error.is_finite()) {
            let what = "the weights of the last samples are beyond all numbers, expected a score of which \
                        the deviations are a natural scale";
            return Err(Error::Conflict { what: what.into() });
        }
        Ok(RareEvent { log_probability, relative_error, hits, proposal, levels })
    }
}

/// ln f_u/f_v of Gaussians with the same deviations; a number without one does not vary.
fn log_weight(nominal: &Gaussian, proposal: &Gaussian, sample: &[f64]) -> f64 {
    let means = nominal.means().iter().zip(proposal.means());
    let each = means.zip(nominal.deviations()).zip(sample);
    let moving = each.filter(|&((_, &deviation), _)| deviation > 0.0);
    moving
        .map(|(((u, v), deviation), x)| {
            let shift = (v - u) / deviation;
            -shift * ((x - v) / deviation + 0.5 * shift)
        })
        .sum()
}

/// The largest of some logarithms, and the exponentials of what is below it.
fn scaled(logarithms: Vec<f64>) -> (f64, Vec<f64>) {
    let largest = logarithms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (largest, logarithms.into_iter().map(|x| (x - largest).exp()).collect())
}

fn weighted_means(nominal: &Gaussian, proposal: &Gaussian, samples: &[&Vec<f64>]) -> Vec<f64> {
    let logarithms = samples.iter().map(|sample| log_weight(nominal, proposal, sample)).collect();
    let (_, weights) = scaled(logarithms);
    let all: f64 = weights.iter().sum();
    let mut means = vec![0.0; nominal.means().len()];
    for (sample, weight) in samples.iter().zip(&weights) {
        for (mean, x) in means.iter_mut().zip(*sample) {
            *mean += weight / all * x;
        }
    }
    means
}
