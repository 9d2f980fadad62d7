//! `surprisal train`: a small language model, trained with the fused loss.
//!
//! The text that is embedded, `tragedies.txt`, is six tragedies of William Shakespeare, plain ASCII
//! and in the public domain: see `tragedies.md`. The constants below were chosen by its held-out
//! perplexity (77 with these).

mod adam;
mod model;
#[allow(dead_code)]
mod record;
#[allow(dead_code)]
mod report;
#[cfg(test)]
mod tests;
mod text;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::Array2;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use surprisal::io::{write_npy, write_safetensors};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Upstream};

use self::adam::Adam;
use self::model::{Context, Parameters};
use self::text::Corpus;
use crate::output::{make_directory, number, print};
use crate::random::Random;
use crate::{Failure, Global};

/// The text without `--text`.
const TRAGEDIES: &str = include_str!("tragedies.txt");

/// D, the width of the hidden states: 96 ends 3 % higher in perplexity, and the time grows with it.
const WIDTH: usize = 128;

/// How many words a hidden state is made of: as many as a line of verse, with the name of its
/// speaker; 6 end 1 % higher, 16 gain half a per cent.
const PLACES: usize = 10;

/// Positions a step: with half of them and twice the steps the optimiser takes twice the time, for
/// a gain of 1 %.
const BATCH: usize = 1024;

/// Steps without `--steps`: three times through the default text; a third more gains half a per
/// cent.
const STEPS: usize = 600;

/// The highest learning rate: high, since the steps are few; anything from here to 0.02 does as
/// well, 0.004 ends 15 % higher.
const PEAK_RATE: f32 = 0.012;

/// Steps until the learning rate is at its highest: until Adam's averages of squares mean
/// something. From there it falls linearly, nearly to 0 at the last step.
const WARM_UP_STEPS: usize = 50;

/// The share of the hidden states' numbers that are dropped in each step; 0.1 does as well, 0.4 ends
/// higher.
const DROPOUT: f64 = 0.2;

/// The weight decay of embeddings and classifier, in units of the learning rate. Scales and bias
/// have none: the bias begins where it should be without any context. 0.2 and 1 end 3 % and 5 %
/// higher.
const WEIGHT_DECAY: f32 = 0.5;

/// Steps between two held-out perplexities in the metrics: they then take about a twentieth of the
/// time.
const STEPS_A_CHECK: usize = 100;

/// The most held-out positions that such a perplexity takes, from the first on, since those of a
/// long text would take longer than the training. That of the last step takes all.
const CHECKED_POSITIONS: usize = 1 << 15;

/// Train a small language model with the fused loss, on a text of yours or on six tragedies
///
/// Writes metrics.jsonl, model.safetensors (classifier, bias, embedding, scales), hidden.npy and
/// targets.npy of the last tenth of the text, which is held out.
#[derive(Args)]
pub struct Train {
    /// Text to train on, UTF-8 [default: six tragedies of Shakespeare]
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Directory of the files written
    #[arg(long, value_name = "DIR", default_value = "surprisal-out")]
    out: PathBuf,
    /// Steps of 1024 positions
    #[arg(long, value_name = "N", default_value_t = STEPS, allow_hyphen_values = true)]
    steps: usize,
    /// Seed of the random numbers
    #[arg(long, value_name = "S", default_value_t = 0, allow_hyphen_values = true)]
    seed: u64,
}

impl Train {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        if self.steps == 0 {
            return Err(Failure::Input("--steps is 0, expected at least 1".into()));
        }
        let start = Instant::now();
        let (text, name) = match &self.text {
            Some(path) => (Cow::from(text::read(path)?), path.display().to_string()),
            None => (Cow::from(TRAGEDIES), "the embedded text".into()),
        };
        let corpus = Corpus::new(&text, &name)?;
        let out = make_directory(&self.out)?;
        let mut metrics = Metrics::create(&out, start)?;
        let bar = match global.quiet {
            true => ProgressBar::hidden(),
            false => progress_bar(self.steps),
        };
        let mut training = Training::new(&corpus, self.seed)?;
        let all = corpus.held_out().len();
        for step in 1..self.steps {
            let loss = training.step(learning_rate(step, self.steps))?;
            let perplexity = match step % STEPS_A_CHECK {
                0 => Some(training.held_out(all.min(CHECKED_POSITIONS))?.perplexity()),
                _ => None,
            };
            metrics.write(step, loss, perplexity)?;
            if let Some(perplexity) = perplexity {
                bar.set_message(format!("held-out perplexity {perplexity:.1}"));
            }
            bar.inc(1);
        }
        let loss = training.step(learning_rate(self.steps, self.steps))?;
        let held_out = training.held_out(all)?;
        metrics.write(self.steps, loss, Some(held_out.perplexity()))?;
        bar.finish_and_clear();

        training.parameters.write(&out)?;
        write_npy(&out.join("hidden.npy"), held_out.hidden.view())?;
        let targets: Vec<i64> = corpus.held_out().iter().map(|&class| class.into()).collect();
        write_npy(&out.join("targets.npy"), ndarray::aview1(&targets))?;

        let unigram_perplexity = corpus.unigram_perplexity();
        let mut result = Map::new();
        let mut add = |key: &str, value| result.insert(key.into(), value);
        add("perplexity", number(held_out.perplexity()));
        add("bits_per_word", number(held_out.surprisal / std::f64::consts::LN_2));
        add("unigram_perplexity", number(unigram_perplexity));
        if !global.json {
            add("unigram_bits_per_word", number(unigram_perplexity.log2()));
        }
        add("vocabulary", corpus.vocabulary().into());
        add("tokens", corpus.tokens.len().into());
        add("steps", self.steps.into());
        add("seconds", number(start.elapsed().as_secs_f64()));
        add("out", out.display().to_string().into());
        print(global.json, &result)
    }
}

/// The learning rate of a step, from 1 to `steps`.
fn learning_rate(step: usize, steps: usize) -> f32 {
    let warm_up = (step as f32 / WARM_UP_STEPS as f32).min(1.0);
    PEAK_RATE * warm_up * (steps - step + 1) as f32 / steps as f32
}

fn progress_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {eta} left  {msg}");
    // A bar draws on stderr, and only where that is a terminal.
    ProgressBar::new(steps as u64).with_style(style.expect("a template that is right"))
}

/// A model with what it is trained on and with.
struct Training<'a> {
    corpus: &'a Corpus,
    loss: LinearCrossEntropy,
    parameters: Parameters,
    gradient: Parameters,
    optimisers: [Adam; 4],
    random: Random,
    /// The training positions that this pass through the text has not reached yet.
    positions: Vec<usize>,
}

/// What the model makes of held-out positions.
struct HeldOut {
    hidden: Array2<f32>,
    /// The mean of −ln p in nats.
    surprisal: f64,
}

impl HeldOut {
    fn perplexity(&self) -> f64 {
        self.surprisal.exp()
    }
}

impl<'a> Training<'a> {
    fn new(corpus: &'a Corpus, seed: u64) -> Result<Self, Failure> {
        let mut random = Random::new(seed);
        let parameters = Parameters::unigram(corpus, PLACES, WIDTH, &mut random);
        Ok(Self {
            corpus,
            loss: LinearCrossEntropy::builder().build()?,
            gradient: Parameters::zeros(corpus.vocabulary(), PLACES, WIDTH),
            optimisers: parameters.slices().map(|(numbers, _)| Adam::new(numbers.len())),
            parameters,
            random,
            positions: Vec::new(),
        })
    }

    /// One step; the mean loss of its positions before it, with dropout.
    fn step(&mut self, rate: f32) -> Result<f32, Failure> {
        let positions = self.next_positions();
        let context = Context::of(self.corpus);
        let tokens = &self.corpus.tokens;
        let targets: Vec<u32> = positions.iter().map(|&position| tokens[position]).collect();

        let mut hidden = Array2::zeros((positions.len(), WIDTH));
        self.parameters.hidden(context, &positions, hidden.view_mut());
        let mut mask = vec![0.0; hidden.len()];
        self.random.dropout_mask(&mut mask, DROPOUT);
        let mask = Array2::from_shape_vec(hidden.dim(), mask).expect("a number for each");
        hidden *= &mask;

        let mut d_hidden = Array2::zeros(hidden.dim());
        let (parameters, gradient) = (&self.parameters, &mut self.gradient);
        let inputs = Inputs::new(hidden.view(), parameters.classifier.view(), &targets);
        let forward = self.loss.loss_and_gradients(
            &inputs.bias(parameters.bias.view()),
            &Upstream::default(),
            Gradients::new()
                .hidden(d_hidden.view_mut())
                .classifier(gradient.classifier.view_mut())
                .bias(gradient.bias.view_mut()),
        )?;
        d_hidden *= &mask;
        parameters.backward(context, &positions, d_hidden.view(), gradient);

        let arrays = self.parameters.slices_mut().into_iter().zip(self.gradient.slices());
        for (optimiser, ((numbers, matrix), (gradient, _))) in
            self.optimisers.iter_mut().zip(arrays)
        {
            let decay = if matrix { WEIGHT_DECAY } else { 0.0 };
            optimiser.step(numbers, gradient, rate, decay);
        }
        Ok(forward.loss())
    }

    /// The positions of one step: each pass through the text is in another random order, and its
    /// last few are left out where they are no whole step.
    fn next_positions(&mut self) -> Vec<usize> {
        let batch = BATCH.min(self.corpus.training);
        if self.positions.len() < batch {
            self.positions = (0..self.corpus.training).collect();
            self.random.shuffle(&mut self.positions);
        }
        self.positions.split_off(self.positions.len() - batch)
    }

    /// The first so many held-out positions. Their contexts reach back into the training part.
    fn held_out(&self, count: usize) -> Result<HeldOut, Failure> {
        let first = self.corpus.training;
        let positions: Vec<usize> = (first..first + count).collect();
        let mut hidden = Array2::zeros((count, WIDTH));
        self.parameters.hidden(Context::of(self.corpus), &positions, hidden.view_mut());
        let targets = &self.corpus.held_out()[..count];
        let inputs = Inputs::new(hidden.view(), self.parameters.classifier.view(), targets);
        let forward = self.loss.forward(&inputs.bias(self.parameters.bias.view()))?;
        let surprisal = forward.mean_surprisal().unwrap_or(f64::NAN);
        Ok(HeldOut { hidden, surprisal })
    }
}

impl Parameters {
    /// Writes `model.safetensors`.
    fn write(&self, out: &Path) -> Result<(), Failure> {
        let tensors = [
            ("classifier", self.classifier.view().into()),
            ("bias", self.bias.view().into()),
            ("embedding", self.embedding.view().into()),
            ("scales", self.scales.view().into()),
        ];
        Ok(write_safetensors(&out.join("model.safetensors"), &tensors)?)
    }
}

/// `metrics.jsonl`: what happens, as it happens.
struct Metrics {
    file: File,
    path: PathBuf,
    start: Instant,
}

impl Metrics {
    fn create(out: &Path, start: Instant) -> Result<Self, Failure> {
        let path = out.join("metrics.jsonl");
        let file = File::create(&path).map_err(|error| {
            Failure::Other(format!("cannot create {}: {error}", path.display()))
        })?;
        Ok(Self { file, path, start })
    }

    /// One line, at once in the file.
    fn write(&mut self, step: usize, loss: f32, perplexity: Option<f64>) -> Result<(), Failure> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        line.insert("loss".into(), number(loss.into()));
        if let Some(perplexity) = perplexity {
            line.insert("held_out_perplexity".into(), number(perplexity));
        }
        line.insert("seconds".into(), number(self.start.elapsed().as_secs_f64()));
        let written = self.file.write_all(format!("{}\n", Value::Object(line)).as_bytes());
        written.map_err(|error| {
            Failure::Other(format!("cannot write {}: {error}", self.path.display()))
        })
    }
}
