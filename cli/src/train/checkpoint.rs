//! `checkpoint.safetensors`: all that the next step depends on.
//!
//! The parameters by their names, the first and second moments of their gradients as
//! `first.NAME` and `second.NAME`, and `run`, eight numbers: the format, the model, the seed, the steps
//! that there will be and that there were, the text's fingerprint, the nanoseconds so far, and what a
//! token is. With a teacher there is its fingerprint as `teacher`. Random numbers are functions of the
//! seed and the step, so no generator has a state.

use clap::ValueEnum;
use ndarray::aview1;
use std::path::{Path, PathBuf};
use std::time::Duration;

use surprisal::autodiff::{AdamWState, Shared};
use surprisal::io::{Tensor, TensorView, write_safetensors};

use super::corpus::Corpus;
use super::model::Kind;
use super::tokens::TokenKind;
use super::training::{self, Training};
use crate::Failure;

/// Of these files. It changes where a run that goes on would not be the same one.
const FORMAT: u64 = 2;

/// A checkpoint that was found.
pub struct Checkpoint {
    path: PathBuf,
    pub kind: Kind,
    pub seed: u64,
    pub steps: usize,
    /// How many steps there were.
    pub step: usize,
    /// What its tokens are.
    pub tokens: TokenKind,
    /// The fingerprint of its text.
    pub text: u64,
    /// The fingerprint of the model it learns from, if there is one.
    pub teacher: Option<u64>,
    /// The time that the run had taken.
    pub elapsed: Duration,
}

/// Writes it. The file takes its name only when it is whole.
pub fn write(
    out: &Path,
    training: &Training<'_>,
    text: u64,
    tokens: TokenKind,
    elapsed: Duration,
) -> Result<(), Failure> {
    let run = [
        FORMAT,
        training.model.kind as u64,
        training.seed,
        training.steps as u64,
        training.step as u64,
        text,
        elapsed.as_nanos() as u64,
        tokens as u64,
    ];
    let parameters = &training.model.parameters;
    let states: Vec<_> = training.optimisers.iter().map(|optimiser| optimiser.state()).collect();
    let named = |prefix| parameters.iter().map(move |of| moment(prefix, of.name));
    let names: Vec<[String; 2]> = named("first").zip(named("second")).map(Into::into).collect();
    let mut tensors = vec![("run", aview1(&run).into_dyn().into())];
    let teacher = training.teacher().map(|teacher| [teacher.fingerprint()]);
    tensors.extend(teacher.iter().map(|number| ("teacher", aview1(number).into_dyn().into())));
    for ((parameter, state), [first, second]) in parameters.iter().zip(&states).zip(&names) {
        tensors.push((parameter.name, parameter.value.view().into()));
        // None before the first step.
        tensors.extend(state.first.iter().map(|array| (first.as_str(), array.view().into())));
        tensors.extend(state.second.iter().map(|array| (second.as_str(), array.view().into())));
    }
    Ok(write_safetensors(&path(out), &tensors)?)
}

impl Checkpoint {
    /// What the one in a directory says about its run.
    pub fn read(out: &Path) -> Result<Self, Failure> {
        let path = path(out);
        let run = Tensor::open(&location(&path, "run"))?;
        let damaged = || wrong(&path, "expected a checkpoint of surprisal train of this version");
        let TensorView::U64(run) = run.view() else { return Err(damaged()) };
        let Some(&[FORMAT, kind, seed, steps, step, text, nanoseconds, tokens]) = run.as_slice()
        else {
            return Err(damaged());
        };
        let kind = Kind::value_variants().iter().find(|&&known| known as u64 == kind);
        let tokens = TokenKind::value_variants().iter().find(|&&known| known as u64 == tokens);
        let (Some(&kind), Some(&tokens)) = (kind, tokens) else { return Err(damaged()) };
        let (Ok(steps), Ok(step)) = (steps.try_into(), step.try_into()) else {
            return Err(damaged());
        };
        if step > steps {
            return Err(damaged());
        }
        let elapsed = Duration::from_nanos(nanoseconds);
        let teacher = match Tensor::open(&location(&path, "teacher")) {
            Err(_) => None,
            Ok(tensor) => match tensor.view() {
                TensorView::U64(number) if number.len() == 1 => number.first().copied(),
                _ => return Err(damaged()),
            },
        };
        Ok(Self { path, kind, seed, steps, step, tokens, text, teacher, elapsed })
    }

    /// The training that goes on from there, on the same text, to so many steps in all. From here on
    /// the learning rate is that of a run with as many steps planned from its beginning.
    pub fn training<'a>(&self, corpus: &'a Corpus, steps: usize) -> Result<Training<'a>, Failure> {
        let mut training = Training::new(corpus, self.kind, self.seed, steps)?;
        training.step = self.step;
        let parameters = training.model.parameters.iter_mut().zip(&mut training.optimisers);
        for (parameter, optimiser) in parameters {
            let shape = parameter.value.shape().to_vec();
            parameter.value = self.array(parameter.name, &shape)?;
            if self.step > 0 {
                let moment = |prefix| self.array(&moment(prefix, parameter.name), &shape);
                let (first, second) = (vec![moment("first")?], vec![moment("second")?]);
                let state = AdamWState::new(self.step as u64, first, second);
                *optimiser = training::optimiser(parameter).state(state).build()?;
            }
        }
        Ok(training)
    }

    fn array(&self, name: &str, shape: &[usize]) -> Result<Shared<f32>, Failure> {
        let tensor = Tensor::open(&location(&self.path, name))?;
        match tensor.view() {
            TensorView::F32(array) if array.shape() == shape => Ok(array.to_owned().into_shared()),
            other => Err(wrong(
                &self.path,
                &format!(
                    "`{name}` is {} {:?}, expected f32 {shape:?}",
                    other.dtype_name(),
                    other.shape()
                ),
            )),
        }
    }
}

fn path(out: &Path) -> PathBuf {
    out.join("checkpoint.safetensors")
}

fn location(path: &Path, tensor: &str) -> String {
    format!("{}:{tensor}", path.display())
}

fn moment(prefix: &str, name: &str) -> String {
    format!("{prefix}.{name}")
}

fn wrong(path: &Path, what: &str) -> Failure {
    Failure::Input(format!("{}: {what}", path.display()))
}
