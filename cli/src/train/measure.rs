//! What a model makes of held-out text, and how its hidden states lie.

use ndarray::{Array1, ArrayView1, ArrayView2, Axis};
use std::time::Duration;

use surprisal::diffusion::{Bandwidth, MutualInformation, SpectralEntropy, sample_rows};
use surprisal::spectrum::{Centering, Covariance, RANKME_EPSILON, Spectrum};
use surprisal::{Backward, Error, Filter, Inputs, LinearCrossEntropy, Statistic};

use super::record::Measurement;
use super::spelling::Spelling;
use super::tokens::TokenKind;
use crate::Failure;
use crate::parallel::{both, on_one_thread};

/// Rows that diffusion entropies and gradient tiles are of, the same ones in every measurement of a
/// run: the kernel's eigenvalues take the cube of them.
const SAMPLE: usize = 1000;

/// The ranks that α-ReQ is fitted over, indices from 0: the usual ones.
const ALPHA_RANGE: std::ops::Range<usize> = 10..100;

/// The fewest points of that fit.
const FEWEST_POINTS: usize = 3;

/// The most eigenvalues that are written down.
const EIGENVALUES: usize = 256;

/// The published filter's ε, of *Cut Your Losses in Large-Vocabulary Language Models* (Wijmans et al.
/// 2024).
const PUBLISHED_FILTER: f64 = 1.0 / 4096.0;

/// Whether a measurement is due after a step: before the first, after the 1st, 2nd, 5th, 10th, 20th,
/// 50th, … as long as that is more often than after every `regular` steps, and after those.
pub fn is_due(step: usize, regular: usize) -> bool {
    let mut leading = step;
    while leading >= 10 && leading.is_multiple_of(10) {
        leading /= 10;
    }
    step.is_multiple_of(regular) || (step < regular && matches!(leading, 1 | 2 | 5))
}

/// What predicts, and what was to be predicted.
#[derive(Clone, Copy)]
pub struct Predictions<'a> {
    /// Hidden states [N,D].
    pub hidden: ArrayView2<'a, f32>,
    /// [V,D].
    pub classifier: ArrayView2<'a, f32>,
    /// [V].
    pub bias: ArrayView1<'a, f32>,
    /// The classes [N] that came.
    pub targets: &'a [u32],
}

impl<'a> Predictions<'a> {
    /// As arguments of the loss.
    pub fn inputs(&self) -> Inputs<'a> {
        Inputs::new(self.hidden, self.classifier, self.targets).bias(self.bias)
    }

    /// Everything about them. Nothing but the step and the time depends on anything else, nor on the
    /// number of threads.
    pub fn measure(
        &self,
        spelling: &Spelling,
        step: usize,
        elapsed: Duration,
    ) -> Result<Measurement, Failure> {
        let rows = sample_rows(0, self.targets.len(), SAMPLE.min(self.targets.len()));
        let hidden = self.hidden.select(Axis(0), &rows);
        let targets: Vec<u32> = rows.iter().map(|&row| self.targets[row]).collect();
        let sample = Predictions { hidden: hidden.view(), targets: &targets, ..*self };
        // The geometry keeps one thread busy, and would leave the others idle.
        let (geometry, losses) = both(
            || on_one_thread(|| Geometry::of(self.hidden, &sample)),
            || -> Result<_, Failure> {
                let loss = LinearCrossEntropy::builder().entropy(true).varentropy(true).build()?;
                let forward = loss.forward(&self.inputs())?;
                let kept = [Filter::Auto, Filter::Below(PUBLISHED_FILTER)];
                let [kept, kept_2e_12] = kept.map(|filter| sample.tiles_kept(filter));
                Ok((forward, kept?, kept_2e_12?))
            },
        );
        let (geometry, (forward, tiles_kept, tiles_kept_2e_12)) = (geometry?, losses?);
        let surprisal = forward.mean_surprisal().unwrap_or(f64::NAN);
        let varentropy = forward.statistic(Statistic::Varentropy)?;
        let log_probabilities = forward.statistic(Statistic::LogProbability)?;
        let bits = surprisal / std::f64::consts::LN_2;

        let fit = geometry.fit()?;

        Ok(Measurement {
            step,
            seconds: elapsed.as_secs_f64(),
            positions: self.targets.len(),
            loss: surprisal,
            loss_standard_error: standard_error(&log_probabilities),
            perplexity: surprisal.exp(),
            bits_per_token: bits,
            bits_per_word: (spelling.kind == TokenKind::Words).then_some(bits),
            bits_per_byte: spelling.bits_per_byte(surprisal, self.targets.len()),
            entropy: forward.mean_entropy().unwrap_or(f64::NAN),
            varentropy: mean(&varentropy),
            accuracy: forward.accuracy().unwrap_or(f64::NAN),
            rows: rows.len(),
            rankme: geometry.raw.rankme(RANKME_EPSILON)?,
            effective_rank: geometry.covariance.rankme_covariance(RANKME_EPSILON)?,
            alpha_req: fit.as_ref().map(|fit| fit.alpha),
            alpha_req_r2: fit.as_ref().map(|fit| fit.r_squared),
            alpha_req_range: fit.map(|fit| [fit.range.start, fit.range.end]),
            dse: geometry.dse,
            dsmi: geometry.dsmi,
            sigma: geometry.sigma,
            tiles_kept,
            tiles_kept_2e_12,
            eigenvalues: geometry.eigenvalues(self.targets.len()),
        })
    }

    /// The share of the gradient's segments of 32 classes that a filter keeps.
    fn tiles_kept(&self, filter: Filter) -> Result<f64, Failure> {
        // A strip drops nothing.
        let loss = LinearCrossEntropy::builder().filter(filter).backward(Backward::Recompute);
        Ok(loss.build()?.forward(&self.inputs())?.segments_kept().unwrap_or(1.0))
    }
}

/// How hidden states lie.
struct Geometry {
    raw: Spectrum,
    covariance: Spectrum,
    dse: f64,
    dsmi: f64,
    sigma: f64,
}

impl Geometry {
    /// Ranks of all hidden states, entropies of a sample.
    fn of(hidden: ArrayView2<'_, f32>, sample: &Predictions<'_>) -> Result<Self, Failure> {
        let raw = Spectrum::from_features(hidden, Centering::Raw)?;
        let covariance = Covariance::from_features(hidden)?.spectrum()?;
        let entropy = SpectralEntropy::builder().bandwidth(Bandwidth::MedianDistance).build()?;
        let (dse, sigma) = match entropy.estimate(sample.hidden) {
            Ok(estimate) => (estimate.value, estimate.sigma),
            // More than half of the rows coincide: there is no distance to measure with.
            Err(Error::Conflict { .. }) => (f64::NAN, None),
            Err(error) => return Err(error.into()),
        };
        let dsmi = match sigma {
            Some(sigma) => {
                let entropy = SpectralEntropy::builder().sigma(sigma).build()?;
                let information =
                    MutualInformation::builder().entropy(entropy).repetitions(1).build()?;
                let labels: Vec<i64> = sample.targets.iter().map(|&class| class.into()).collect();
                information.of_labels(sample.hidden, &labels)?.value
            }
            None => f64::NAN,
        };
        Ok(Self { raw, covariance, dse, dsmi, sigma: sigma.unwrap_or(f64::NAN) })
    }

    /// The power law of the covariance's eigenvalues, where enough of them are above the rounding.
    fn fit(&self) -> Result<Option<surprisal::spectrum::PowerLaw>, Failure> {
        let range = ALPHA_RANGE.start..ALPHA_RANGE.end.min(self.covariance.rank());
        Ok(match range.len() < FEWEST_POINTS {
            true => None,
            false => Some(self.covariance.alpha_req(range)?),
        })
    }

    /// The largest eigenvalues of the covariance of so many rows.
    fn eigenvalues(&self, rows: usize) -> Vec<f64> {
        let values = self.covariance.singular_values().iter().take(EIGENVALUES);
        values.map(|value| value * value / (rows.max(2) - 1) as f64).collect()
    }
}

/// Of the mean of independent numbers: the root of their variance over their number.
fn standard_error(numbers: &Array1<f64>) -> f64 {
    let mean = mean(numbers);
    let squares = numbers.iter().map(|&number| (number - mean).powi(2));
    let count = numbers.len() as f64;
    (squares.sum::<f64>() / (count - 1.0).max(1.0) / count).sqrt()
}

fn mean(numbers: &Array1<f64>) -> f64 {
    numbers.sum() / numbers.len() as f64
}
