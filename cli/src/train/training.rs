//! The steps of training: a model, what it is trained on and with.

use ndarray::Array2;
use std::ops::Range;

use surprisal::LinearCrossEntropy;
use surprisal::autodiff::{self, AdamW, AdamWBuilder, Schedule, Shared, Tape, clip_gradient_norm};
use surprisal::random::Generator;

use super::bilinear::PLACES;
use super::corpus::Corpus;
use super::layers::{Dropout, Parameter};
use super::model::{HeadAttention, Kind, Model, classifier_of};
use super::teacher::Teacher;
use super::windows::{Order, Windows};
use crate::Failure;

/// Words of a window. Four of 256 a step, with the transformer's classifier tied, end 2 % lower in
/// perplexity than 16 of 64 with a classifier of its own.
const LENGTH: usize = 256;

/// Windows a step.
const WINDOWS: usize = 4;

/// The highest learning rate: high, since the steps are few. In the transformer 0.008 ends 3 % higher,
/// and 0.018 does as well.
pub const PEAK_RATE: f64 = 0.012;

/// Steps until the learning rate is at its highest: until AdamW's averages of squares mean
/// something. From there it falls linearly, nearly to 0 at the last step.
const WARM_UP_STEPS: usize = 50;

/// β₁, and β₂: the paper's 0.999 would average over more steps than a run has.
const BETAS: [f64; 2] = [0.9, 0.99];

/// Bytes of scratch of the loss for a class: 512 rows of its logits and a seventh. All rows of a step at once
/// would be twice as much memory that every step finds anew.
const BYTES_A_CLASS: usize = 2340;

/// Bytes of its scratch beside those: for as many threads as most machines have.
const BYTES_BESIDE: usize = 12 << 20;

/// Of the random numbers of the first parameters.
const STREAM: u64 = 0;

/// A model in training. Its next step is a function of itself, the seed and the step alone.
pub struct Training<'a> {
    corpus: &'a Corpus,
    pub model: Model,
    /// An optimiser for each of the model's parameters.
    pub optimisers: Vec<AdamW<f32>>,
    schedule: Schedule,
    order: Order,
    loss: LinearCrossEntropy,
    teacher: Option<Teacher>,
    pub seed: u64,
    /// How many steps there will be.
    pub steps: usize,
    /// How many there were.
    pub step: usize,
}

/// What a step was.
pub struct Stepped {
    /// The mean loss of its positions before it, with dropout.
    pub loss: f64,
    pub rate: f64,
    /// Of all gradients together.
    pub gradient_norm: f64,
}

/// What a parameter is trained with.
pub fn optimiser(parameter: &Parameter) -> AdamWBuilder<f32> {
    let [first, second] = BETAS;
    AdamW::builder().betas(first, second).weight_decay(parameter.decay)
}

impl<'a> Training<'a> {
    /// Before the first step.
    pub fn new(corpus: &'a Corpus, kind: Kind, seed: u64, steps: usize) -> Result<Self, Failure> {
        let model = Model::unigram(kind, corpus, &mut Generator::of(seed, STREAM, 0));
        let optimisers: surprisal::Result<_> =
            model.parameters.iter().map(|parameter| optimiser(parameter).build()).collect();
        Ok(Self {
            corpus,
            model,
            optimisers: optimisers?,
            schedule: schedule(steps)?,
            order: Order::new(seed, corpus.training, LENGTH, WINDOWS),
            loss: LinearCrossEntropy::builder()
                .memory_budget(BYTES_BESIDE + BYTES_A_CLASS.saturating_mul(corpus.vocabulary()))
                .build()?,
            teacher: None,
            seed,
            steps,
            step: 0,
        })
    }

    /// The same with a teacher.
    pub fn taught(self, teacher: Teacher) -> Result<Self, Failure> {
        Ok(Self { loss: Teacher::loss()?, teacher: Some(teacher), ..self })
    }

    pub fn teacher(&self) -> Option<&Teacher> {
        self.teacher.as_ref()
    }

    /// Words of a window.
    pub fn length(&self) -> usize {
        self.order.length
    }

    /// Positions of a step.
    pub fn batch(&self) -> usize {
        self.order.length * self.order.batch
    }

    /// The next step.
    pub fn advance(&mut self) -> Result<Stepped, Failure> {
        self.step += 1;
        let starts = self.order.starts(self.step).into_iter().map(|start| start as isize);
        let windows = Windows::of(self.corpus, starts, self.order.length, PLACES);
        let (loss, mut gradients) = self.gradients(&windows)?;
        // Only the norm is wanted: nothing is above this bound.
        let gradient_norm = clip_gradient_norm(&mut gradients, f64::INFINITY)?;
        if !gradient_norm.is_finite() {
            let step = self.step;
            return Err(Failure::Other(format!(
                "the gradient of step {step} is not finite: the training has diverged"
            )));
        }
        let rate = self.schedule.rate(self.step as u64 - 1);
        let parameters = self.model.parameters.iter_mut().zip(&mut self.optimisers);
        for ((parameter, optimiser), gradient) in parameters.zip(gradients) {
            let rate = rate * parameter.rate;
            let changed = autodiff::Parameter::new(&mut parameter.value, gradient.view());
            optimiser.step(rate, &mut [changed])?;
        }
        Ok(Stepped { loss, rate, gradient_norm })
    }

    /// The loss of windows, and its gradients by the parameters. When they return, the parameters are
    /// on no tape any more, and can be changed where they are.
    fn gradients(&self, windows: &Windows) -> Result<(f64, Vec<Shared<f32>>), Failure> {
        let tape = Tape::new()?;
        let leaves = self.model.leaves(&tape);
        let mut dropout = Dropout::of_step(self.seed, self.step);
        let hidden = self.model.hidden(&leaves, windows, &mut dropout)?;
        let (classifier, bias) = (leaves.of(classifier_of(self.model.kind)), leaves.of("bias"));
        let (bias, targets) = (Some(bias), &windows.targets);
        let loss = match &self.teacher {
            None => hidden.linear_cross_entropy(classifier, bias, targets, &self.loss)?,
            Some(teacher) => {
                let own = teacher.hidden(windows)?;
                let beside = teacher.head(&own);
                hidden.linear_cross_entropy_beside(classifier, bias, targets, beside, &self.loss)?
            }
        };
        let mut gradients = loss.backward()?;
        let all = leaves.all().map(|leaf| gradients.take(leaf).expect("every parameter counts"));
        Ok((loss.scalar()?.into(), all.collect()))
    }

    /// The hidden states [N, D] that predict these positions. Their contexts reach back as far as they
    /// may.
    pub fn hidden_of(&self, positions: Range<usize>) -> Result<Array2<f32>, Failure> {
        self.model.hidden_of(self.corpus, positions, self.order.length)
    }

    /// How spread the attention of each head is where these positions are predicted, if there is attention.
    pub fn attention_of(
        &self,
        positions: Range<usize>,
    ) -> Result<Option<Vec<HeadAttention>>, Failure> {
        self.model.attention_of(self.corpus, positions, self.order.length)
    }
}

/// The learning rates of a run.
pub fn schedule(steps: usize) -> Result<Schedule, Failure> {
    let warm_up = WARM_UP_STEPS.min(steps) as u64;
    Ok(Schedule::linear(PEAK_RATE, steps as u64).warm_up(warm_up).build()?)
}
