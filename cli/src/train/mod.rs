//! `surprisal train`: a small language model, trained with the fused loss, and watched while it
//! learns.
//!
//! The text that is embedded, `tragedies.txt`, is six tragedies of William Shakespeare, plain ASCII
//! and in the public domain: see `tragedies.md`. The constants of the models and the training were
//! chosen by its held-out perplexity: 69.6 with these, 76.6 with `--model bilinear`, 72.2 with `--model
//! mlp`. Another seed moves it by up to half a per cent, and less than that is called "as well" below.

mod bilinear;
mod checkpoint;
mod corpus;
mod cost;
mod interrupt;
mod kneser_ney;
mod layers;
mod measure;
mod metrics;
mod mlp;
mod model;
mod outcome;
mod record;
mod report;
mod spelling;
mod teacher;
#[cfg(test)]
mod tests;
mod text;
mod tokens;
mod training;
mod transformer;
mod unknown;
mod windows;
mod words;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::Array2;
use std::borrow::Cow;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use surprisal::Isa;
use surprisal::io::write_npy;

use self::checkpoint::Checkpoint;
use self::corpus::Corpus;
use self::cost::Cost;
use self::interrupt::Interrupt;
use self::kneser_ney::KneserNey;
use self::layers::{TABLE_DECAY, WIDTH};
use self::measure::{Predictions, is_due};
use self::metrics::Metrics;
use self::model::{DROPOUT, Kind};
use self::outcome::printable;
use self::record::{Finish, Line, Measurement, Run, Step};
use self::spelling::Spelling;
use self::teacher::Teacher;
use self::tokens::{TokenKind, Tokens};
use self::training::{PEAK_RATE, Training};
use crate::output::{make_directory, print_text, write_whole};
use crate::report::significant;
use crate::{Failure, Global, numerals, parallel};

/// The text without `--text`.
const TRAGEDIES: &str = include_str!("tragedies.txt");

/// Steps without `--steps`: three times through the default text. With 1000 the text is learnt by
/// heart: they end 11 % higher (in the transformer with a classifier of its own).
const STEPS: usize = 600;

/// The model without `--model`: the one that learns most in the time.
const MODEL: Kind = Kind::Transformer;

/// Steps between two measurements, after the first few: all of them together then take a fifth of
/// the time.
const STEPS_A_MEASUREMENT: usize = 100;

/// Steps between two checkpoints: what a crash costs at most.
const STEPS_A_CHECKPOINT: usize = 50;

/// The most held-out positions that a measurement takes, from the first on, since those of a long
/// text would take longer than the training. The last one takes all.
const MEASURED_POSITIONS: usize = 1 << 15;

/// Train a small language model with the fused loss, on a text of yours or on six tragedies
///
/// Writes metrics.jsonl, report.html, model.safetensors (classifier, bias, embedding, and what else
/// the model has), hidden.npy and targets.npy of the last tenth of the text, which is held out,
/// hidden_seen.npy and targets_seen.npy of as much text before it, which was trained on, and
/// checkpoint.safetensors, with which --resume goes on. Ctrl-c ends a run early, with all of these.
///
/// Tokens that the training part has only once are one class, the unknown ones. Perplexity and bits per
/// token are those of the classes; bits per byte have the spelling of the unknown tokens and the white
/// space in them, and can be compared between words, characters and bytes. There is a warning where more
/// than 10 % of the tokens are unknown, and no training above 50 %.
#[derive(Args)]
pub struct Train {
    /// Text to train on: UTF-8, or UTF-16 with its byte-order mark [default: six tragedies of Shakespeare]
    #[arg(long, value_name = "FILE", help_heading = "Text")]
    text: Option<PathBuf>,
    /// What a token is [default: words]
    #[arg(long, value_enum, help_heading = "Text")]
    tokens: Option<TokenKind>,
    /// The model [default: transformer]
    #[arg(long, value_enum, help_heading = "Training")]
    model: Option<Kind>,
    /// Learn from the model of the run in DIR too: half of the loss is then the Jensen-Shannon
    /// divergence from its predictions. A run of the same text and tokens
    #[arg(long, value_name = "DIR", help_heading = "Training")]
    teacher: Option<PathBuf>,
    /// Steps of 1024 tokens, fewer in a short text [default: 600]
    #[arg(
        long,
        value_name = "STEPS",
        value_parser = numerals::from_one::<usize>,
        allow_hyphen_values = true,
        help_heading = "Training"
    )]
    steps: Option<usize>,
    /// Seed of the random numbers, an integer from 0 to 2^64 - 1 [default: 0]
    #[arg(
        long,
        value_name = "SEED",
        value_parser = numerals::from_zero::<u64>,
        allow_hyphen_values = true,
        help_heading = "Training"
    )]
    seed: Option<u64>,
    /// Go on with the run that DIR holds, from its last checkpoint, finished or not
    ///
    /// With --steps to as many in all as that says, from the current step on at the learning rate of a run
    /// that had as many planned: there is no second warm-up, and the linear fall ends at the new last step.
    /// A run that goes on to the steps it had planned ends with the same bits as one that was never ended.
    #[arg(long, help_heading = "Training")]
    resume: bool,
    /// Directory of the files written
    #[arg(long, value_name = "DIR", default_value = "surprisal-out", help_heading = "Output")]
    out: PathBuf,
}

impl Train {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        if self.steps == Some(0) {
            return Err(Failure::Input("--steps is 0, expected at least 1".into()));
        }
        let start = Instant::now();
        let checkpoint = match self.resume {
            true => Some(Checkpoint::read(&self.out)?),
            false => None,
        };
        if let Some(checkpoint) = &checkpoint {
            self.check(checkpoint)?;
        }
        let (bytes, name) = match &self.text {
            Some(path) => {
                let name = printable(&path.display().to_string());
                (Cow::from(text::read(path, &name)?), name)
            }
            None => (Cow::from(TRAGEDIES.as_bytes()), "the embedded text".into()),
        };
        let kind = self.tokens.or(checkpoint.as_ref().map(|checkpoint| checkpoint.tokens));
        let decode = || text::decode(&bytes, &name);
        let decoded;
        let tokens = match kind.unwrap_or(TokenKind::Words) {
            TokenKind::Words => {
                decoded = decode()?;
                Tokens::words(&decoded)
            }
            TokenKind::Characters => {
                decoded = decode()?;
                Tokens::characters(&decoded)
            }
            TokenKind::Bytes => Tokens::bytes(&bytes),
        };
        let corpus = Corpus::new(&tokens, &name)?;
        let warning = unknown::check(&corpus, tokens.kind, &name)?;
        let text =
            Text { name: &name, corpus: &corpus, spelling: &Spelling::new(&tokens, &corpus) };
        drop(tokens);
        if let Some(warning) = warning {
            // Where stderr is closed, the report says it alone.
            let _ = writeln!(std::io::stderr(), "warning: {warning}");
        }
        let interrupt = Interrupt::listen(global.quiet);
        let mut session = match &checkpoint {
            None => self.begin(text, start)?,
            Some(checkpoint) => self.go_on(checkpoint, text, start)?,
        };
        let bar = match global.quiet {
            true => ProgressBar::hidden(),
            false => progress_bar(session.training.steps),
        };
        session.train(&interrupt, &bar)?;
        bar.finish_and_clear();
        let (last, finish) = session.finish()?;

        outcome::report(&session.run, &last, &finish, &session.out).print(global.json)?;
        match global.json {
            true => Ok(()),
            false => {
                let text = self.text.as_deref();
                print_text(&outcome::next(&session.run, &finish, text, &session.out))
            }
        }
    }

    /// A run from its first step.
    fn begin<'a>(&self, text: Text<'a>, start: Instant) -> Result<Session<'a>, Failure> {
        let kind = self.model.unwrap_or(MODEL);
        let (seed, steps) = (self.seed.unwrap_or(0), self.steps.unwrap_or(STEPS));
        let training = self.taught(Training::new(text.corpus, kind, seed, steps)?, text.corpus)?;
        let run = describe(text, &training)?;
        let out = make_directory(&self.out)?;
        let metrics = Metrics::create(&out)?;
        let mut session =
            Session { text, training, run, metrics, out, start, before: Duration::ZERO };
        session.metrics.write(&Line::Run(session.run.clone()))?;
        session.measure_if_due()?;
        session.save()?;
        Ok(session)
    }

    /// The run that the directory holds, from its last checkpoint.
    fn go_on<'a>(
        &self,
        checkpoint: &Checkpoint,
        text: Text<'a>,
        start: Instant,
    ) -> Result<Session<'a>, Failure> {
        let out = self.out.clone();
        if checkpoint.text != text.corpus.fingerprint() {
            return Err(Failure::Input(format!(
                "--resume: the run in {} is of another text than {}, expected the same",
                out.display(),
                text.name
            )));
        }
        let steps = self.steps.unwrap_or(checkpoint.steps);
        let training = self.taught(checkpoint.training(text.corpus, steps)?, text.corpus)?;
        if training.teacher().map(|teacher| teacher.fingerprint()) != checkpoint.teacher {
            let expected = match checkpoint.teacher {
                Some(_) => "the --teacher that it had",
                None => "no --teacher: it had none",
            };
            return Err(Failure::Input(format!(
                "--resume: the run in {} had another teacher, expected {expected}",
                out.display()
            )));
        }
        let (metrics, run) = Metrics::go_on(&out, training.step, steps, |step| {
            step < steps && is_due(step, STEPS_A_MEASUREMENT)
        })?;
        let run = match run {
            Some(run) => run,
            None => describe(text, &training)?,
        };
        let before = checkpoint.elapsed;
        let session = Session { text, training, run, metrics, out, start, before };
        if steps != checkpoint.steps {
            // What is planned now holds for who resumes without --steps.
            session.save()?;
        }
        Ok(session)
    }

    /// The training with the teacher that was asked for.
    fn taught<'a>(&self, training: Training<'a>, corpus: &Corpus) -> Result<Training<'a>, Failure> {
        let Some(directory) = &self.teacher else { return Ok(training) };
        let checkpoint = Checkpoint::read(directory)?;
        let name = printable(&directory.display().to_string());
        if checkpoint.text != corpus.fingerprint() {
            return Err(Failure::Input(format!(
                "--teacher: the run in {name} is of another text or of other tokens, expected the same"
            )));
        }
        let model = checkpoint.training(corpus, checkpoint.steps)?.model;
        training.taught(Teacher::new(model, name))
    }

    /// Refuses to go on as another run.
    fn check(&self, checkpoint: &Checkpoint) -> Result<(), Failure> {
        let out = self.out.display();
        let other = |option: &str, asked: &str, held: &str| {
            Err(Failure::Input(format!(
                "--resume: {option} is {asked}, but the run in {out} has {held}, expected the same"
            )))
        };
        match (self.model, self.seed, self.tokens, self.steps) {
            (Some(kind), ..) if kind != checkpoint.kind => {
                other("--model", kind.name(), checkpoint.kind.name())
            }
            (_, Some(seed), ..) if seed != checkpoint.seed => {
                other("--seed", &seed.to_string(), &checkpoint.seed.to_string())
            }
            (_, _, Some(tokens), _) if tokens != checkpoint.tokens => {
                other("--tokens", tokens.name(), checkpoint.tokens.name())
            }
            (.., Some(steps)) if steps < checkpoint.step => Err(Failure::Input(format!(
                "--resume: --steps is {steps}, but the run in {out} has made {} already, expected at \
                 least as many",
                checkpoint.step
            ))),
            _ => Ok(()),
        }
    }
}

/// What is trained on.
#[derive(Clone, Copy)]
struct Text<'a> {
    /// Where it is from.
    name: &'a str,
    corpus: &'a Corpus,
    spelling: &'a Spelling,
}

/// The first line of the record.
fn describe(text: Text<'_>, training: &Training<'_>) -> Result<Run, Failure> {
    let Text { name, corpus, spelling } = text;
    let held_out = corpus.held_out().len();
    Ok(Run {
        model: training.model.kind.name().into(),
        parameters: training.model.size(),
        teacher: training.teacher().map(|teacher| teacher.name.clone()),
        text: name.into(),
        token_kind: spelling.kind.name().into(),
        tokens: corpus.tokens.len(),
        training_tokens: corpus.training,
        held_out,
        unknown_share: corpus.unknown_in_held_out(),
        training_unknown_share: corpus.unknown_in_training(),
        bytes: spelling.bytes(held_out),
        spelling_bits: spelling.bits(held_out),
        vocabulary: corpus.vocabulary(),
        width: WIDTH,
        context: training.model.context(training.length()),
        steps: training.steps,
        steps_at_first: training.steps,
        batch: training.batch(),
        seed: training.seed,
        threads: parallel::threads(),
        dropout: DROPOUT,
        learning_rate: PEAK_RATE,
        weight_decay: TABLE_DECAY,
        unigram_perplexity: corpus.unigram_perplexity(),
        kneser_ney_perplexity: KneserNey::new(corpus).perplexity(corpus),
        instruction_set: Isa::current()?.name().into(),
        version: env!("CARGO_PKG_VERSION").into(),
    })
}

fn progress_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, {eta} left  {msg}");
    // A bar draws on stderr, and only where that is a terminal.
    ProgressBar::new(steps as u64).with_style(style.expect("a template that is right"))
}

/// A run that is under way, with where it is written.
struct Session<'a> {
    text: Text<'a>,
    training: Training<'a>,
    run: Run,
    metrics: Metrics,
    out: PathBuf,
    start: Instant,
    /// The time that the run had taken when it was interrupted.
    before: Duration,
}

impl Session<'_> {
    fn elapsed(&self) -> Duration {
        self.before + self.start.elapsed()
    }

    /// All steps that are left, or until someone interrupts.
    fn train(&mut self, interrupt: &Interrupt, bar: &ProgressBar) -> Result<(), Failure> {
        bar.set_position(self.training.step as u64);
        while self.training.step < self.training.steps && !interrupt.requested() {
            let stepped = self.training.advance()?;
            self.metrics.write(&Line::Step(Step {
                step: self.training.step,
                loss: stepped.loss,
                rate: stepped.rate,
                gradient_norm: stepped.gradient_norm,
                seconds: self.elapsed().as_secs_f64(),
            }))?;
            if let Some(measurement) = self.measure_if_due()? {
                let perplexity = significant(measurement.perplexity, 3);
                bar.set_message(format!("held-out perplexity {perplexity}"));
            }
            if self.training.step.is_multiple_of(STEPS_A_CHECKPOINT) {
                self.save()?;
            }
            bar.inc(1);
        }
        Ok(())
    }

    /// A measurement between the first step and the last, where one is due.
    fn measure_if_due(&mut self) -> Result<Option<Measurement>, Failure> {
        let (step, steps) = (self.training.step, self.training.steps);
        if step == steps || !is_due(step, STEPS_A_MEASUREMENT) {
            return Ok(None);
        }
        let hidden = self.hidden(self.text.corpus.held_out().len().min(MEASURED_POSITIONS))?;
        let measurement =
            self.predictions(&hidden).measure(self.text.spelling, step, self.elapsed())?;
        self.metrics.write(&Line::Measurement(measurement.clone()))?;
        Ok(Some(measurement))
    }

    /// The hidden states of the first so many held-out positions.
    fn hidden(&self, count: usize) -> Result<Array2<f32>, Failure> {
        let first = self.text.corpus.training;
        self.training.hidden_of(first..first + count)
    }

    fn predictions<'h>(&'h self, hidden: &'h Array2<f32>) -> Predictions<'h> {
        Predictions {
            hidden: hidden.view(),
            classifier: self.training.model.classifier(),
            bias: self.training.model.bias(),
            targets: &self.text.corpus.held_out()[..hidden.nrows()],
        }
    }

    fn save(&self) -> Result<(), Failure> {
        let (text, tokens) = (self.text.corpus.fingerprint(), self.text.spelling.kind);
        checkpoint::write(&self.out, &self.training, text, tokens, self.elapsed())
    }

    /// The hidden states and targets of as many positions just before the held-out ones, which were trained on:
    /// beside those, they show what the model remembers.
    fn write_seen(&self, count: usize) -> Result<(), Failure> {
        let corpus = self.text.corpus;
        let seen = corpus.training - count.min(corpus.training)..corpus.training;
        let hidden = self.training.hidden_of(seen.clone())?;
        write_npy(&self.out.join("hidden_seen.npy"), hidden.view())?;
        let targets: Vec<i64> = corpus.tokens[seen].iter().map(|&class| class.into()).collect();
        Ok(write_npy(&self.out.join("targets_seen.npy"), ndarray::aview1(&targets))?)
    }

    /// The last measurement, of all held-out positions, and every file.
    fn finish(&mut self) -> Result<(Measurement, Finish), Failure> {
        let step = self.training.step;
        self.save()?;
        let held_out = self.text.corpus.held_out();
        let hidden = self.hidden(held_out.len())?;
        let last = self.predictions(&hidden).measure(self.text.spelling, step, self.elapsed())?;
        self.metrics.write(&Line::Measurement(last.clone()))?;

        self.training.model.write(&self.out)?;
        write_npy(&self.out.join("hidden.npy"), hidden.view())?;
        let targets: Vec<i64> = held_out.iter().map(|&class| class.into()).collect();
        write_npy(&self.out.join("targets.npy"), ndarray::aview1(&targets))?;
        self.write_seen(held_out.len())?;

        let rows = self.training.batch().min(hidden.nrows());
        let some = hidden.slice(ndarray::s![..rows, ..]).to_owned();
        let cost = Cost::of(&self.predictions(&some))?;
        let first = self.text.corpus.training;
        let heads = self.training.attention_of(first..first + held_out.len())?.unwrap_or_default();
        let finish = Finish {
            seconds: self.elapsed().as_secs_f64(),
            perplexity: last.perplexity,
            workspace_bytes: Some(cost.workspace_bytes),
            materialised_bytes: Some(cost.materialised_bytes),
            fused_seconds: Some(cost.fused_seconds),
            materialised_seconds: cost.materialised_seconds,
            attention_entropy: heads.iter().map(|head| head.entropy).collect(),
            attention_entropy_share: heads.iter().map(|head| head.share).collect(),
            interrupted: step < self.training.steps,
        };
        self.metrics.write(&Line::Finish(finish.clone()))?;
        let report = report::html(&self.metrics.lines()?);
        write_whole(&self.out.join("report.html"), report.as_bytes())?;
        Ok((last, finish))
    }
}
