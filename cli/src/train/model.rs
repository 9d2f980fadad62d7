//! What the three models share: parameters by name, and hidden states of positions, which a
//! classifier and a bias turn into predictions.

use clap::ValueEnum;
use ndarray::{
    Array, Array1, Array2, ArrayView1, ArrayView2, ArrayViewD, Axis, Dimension, Ix1, Ix2, s,
};
use std::ops::Range;
use std::path::Path;

use surprisal::autodiff::{Generator, Shared, Tape, Variable};
use surprisal::io::write_safetensors;

use super::bilinear::{Bilinear, PLACES};
use super::corpus::Corpus;
use super::mlp::Mlp;
use super::transformer::Transformer;
use super::windows::Windows;
use crate::Failure;
use crate::random::Random;

/// D, the width of the hidden states: 96 ends 3 % higher in perplexity, and the time grows with it.
pub const WIDTH: usize = 128;

/// The share of the hidden states' numbers that are dropped in each step of training: 0.2 does as well,
/// 0.3 ends 2 % higher.
pub const DROPOUT: f64 = 0.1;

/// The weight decay of embeddings and classifier, in units of the learning rate; 1 does as well, in
/// the bilinear model 0.2 and 1 end 3 % and 5 % higher.
pub const TABLE_DECAY: f64 = 0.5;

/// The learning rate of the layers' matrices, in units of that of the tables; twice as much does as
/// well.
const WEIGHTS_RATE: f64 = 0.25;

/// Their weight decay.
const WEIGHTS_DECAY: f64 = 0.1;

/// Windows whose hidden states are computed at once where nothing is trained.
const WINDOWS_AT_ONCE: usize = 16;

/// Which model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A weighted sum of the last tokens' embeddings
    Bilinear,
    /// That, and a layer on the last tokens side by side
    Mlp,
    /// That sum, then attention over the window
    Transformer,
}

impl Kind {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bilinear => "bilinear",
            Kind::Mlp => "mlp",
            Kind::Transformer => "transformer",
        }
    }

    fn layers(self) -> &'static dyn Layers {
        match self {
            Kind::Bilinear => &Bilinear,
            Kind::Mlp => &Mlp,
            Kind::Transformer => &Transformer,
        }
    }
}

/// The table of the words that are read.
pub const EMBEDDING: &str = "embedding";

/// The table of the words that are predicted, unless it is that one.
const CLASSIFIER: &str = "classifier";

/// Of the random numbers of dropout.
const STREAM: u64 = 2;

/// An array that is trained.
pub struct Parameter {
    pub name: &'static str,
    pub value: Shared<f32>,
    /// Its learning rate, in units of the run's.
    pub rate: f64,
    /// Its weight decay, in units of its learning rate.
    pub decay: f64,
}

impl Parameter {
    /// A row of D for each class.
    pub fn table(name: &'static str, value: Array2<f32>) -> Self {
        Self::new(name, value, 1.0, TABLE_DECAY)
    }

    /// Factors and offsets, which begin where they should be, and do not shrink.
    pub fn plain<D: Dimension>(name: &'static str, value: Array<f32, D>) -> Self {
        Self::new(name, value, 1.0, 0.0)
    }

    /// The matrix of a layer, of normal numbers with this variance in units of that which keeps the
    /// variance of what it multiplies.
    pub fn weights(
        name: &'static str,
        (rows, columns): (usize, usize),
        variance: f32,
        random: &mut Random,
    ) -> Self {
        let deviation = (variance / rows as f32).sqrt();
        let normal = || deviation * random.normal();
        let value = Array2::from_shape_simple_fn((rows, columns), normal);
        Self::new(name, value, WEIGHTS_RATE, WEIGHTS_DECAY)
    }

    /// The factors or offsets of a layer, which learn as slowly as its matrix.
    pub fn vector(name: &'static str, value: Array1<f32>) -> Self {
        Self::new(name, value, WEIGHTS_RATE, 0.0)
    }

    /// The matrix that a branch ends with: of zeros, so that the model begins without the branch.
    pub fn last_weights(name: &'static str, shape: (usize, usize)) -> Self {
        Self::new(name, Array2::zeros(shape), WEIGHTS_RATE, WEIGHTS_DECAY)
    }

    fn new<D: Dimension>(name: &'static str, value: Array<f32, D>, rate: f64, decay: f64) -> Self {
        Self { name, value: value.into_dyn().into_shared(), rate, decay }
    }
}

/// What turns words into hidden states.
pub trait Layers: Sync {
    /// How many words back it sees at most.
    fn context(&self, length: usize) -> usize;

    /// Whether the classifier is the embedding (Press and Wolf 2017).
    fn ties_classifier(&self) -> bool {
        false
    }

    /// Its parameters before the first step.
    fn parameters(&self, vocabulary: usize, random: &mut Random) -> Vec<Parameter>;

    /// The hidden states [windows · length, D].
    fn hidden<'t>(
        &self,
        leaves: &Leaves<'t>,
        windows: &Windows,
        dropout: &mut Dropout,
    ) -> surprisal::Result<Variable<'t, f32>>;
}

/// A model: its kind and its parameters.
pub struct Model {
    pub kind: Kind,
    pub parameters: Vec<Parameter>,
}

impl Model {
    /// The unigram model, or nearly: a classifier of zeros, or of small numbers where it is the
    /// embedding, and the logarithms of the shares as the bias.
    pub fn unigram(kind: Kind, corpus: &Corpus, random: &mut Random) -> Self {
        let mut parameters = kind.layers().parameters(corpus.vocabulary(), random);
        if !kind.layers().ties_classifier() {
            let classifier = Array2::zeros((corpus.vocabulary(), WIDTH));
            parameters.push(Parameter::table(CLASSIFIER, classifier));
        }
        let bias = corpus.log_shares().into_iter().map(|share| share as f32);
        parameters.push(Parameter::plain("bias", bias.collect::<Array1<f32>>()));
        Self { kind, parameters }
    }

    /// How many numbers are trained.
    pub fn size(&self) -> usize {
        self.parameters.iter().map(|parameter| parameter.value.len()).sum()
    }

    /// How many words back it sees at most, in windows of this length.
    pub fn context(&self, length: usize) -> usize {
        self.kind.layers().context(length)
    }

    /// Its parameters on a tape.
    pub fn leaves<'t>(&self, tape: &'t Tape<f32>) -> Leaves<'t> {
        let leaf = |parameter: &Parameter| (parameter.name, tape.leaf(&parameter.value));
        Leaves(self.parameters.iter().map(leaf).collect())
    }

    /// The hidden states [windows · length, D], with dropout.
    pub fn hidden<'t>(
        &self,
        leaves: &Leaves<'t>,
        windows: &Windows,
        dropout: &mut Dropout,
    ) -> Result<Variable<'t, f32>, Failure> {
        let hidden = self.kind.layers().hidden(leaves, windows, dropout)?;
        Ok(dropout.apply(hidden, DROPOUT)?)
    }

    /// The hidden states [N, D] that predict these positions, without dropout.
    pub fn hidden_of(
        &self,
        corpus: &Corpus,
        positions: Range<usize>,
        length: usize,
    ) -> Result<Array2<f32>, Failure> {
        let kept = length - length / 2;
        let mut hidden = Array2::zeros((positions.len(), WIDTH));
        let at_once = kept * WINDOWS_AT_ONCE;
        let firsts = positions.clone().step_by(at_once);
        for (first, mut to) in firsts.zip(hidden.axis_chunks_iter_mut(Axis(0), at_once)) {
            let positions = first..first + to.nrows();
            let windows = Windows::behind_context(corpus, positions, length, PLACES);
            let tape = Tape::new();
            let constant =
                |parameter: &Parameter| (parameter.name, tape.constant(&parameter.value));
            let constants = Leaves(self.parameters.iter().map(constant).collect());
            let states = self.hidden(&constants, &windows, &mut Dropout::none())?.value();
            let states = states.view().into_shape_with_order((windows.count, length, WIDTH));
            let states = states.expect("a row for each word of a window");
            let windows = states.outer_iter().zip(to.axis_chunks_iter_mut(Axis(0), kept));
            for (states, mut to) in windows {
                let first = length - kept;
                let states = states.slice(s![first..first + to.nrows(), ..]);
                to.assign(&states);
            }
        }
        Ok(hidden)
    }

    /// Writes `model.safetensors`.
    pub fn write(&self, out: &Path) -> Result<(), Failure> {
        let named = self.parameters.iter().map(|of| (of.name, of.value.view().into()));
        let mut tensors: Vec<_> = named.collect();
        if self.kind.layers().ties_classifier() {
            tensors.push((CLASSIFIER, self.classifier().into()));
        }
        Ok(write_safetensors(&out.join("model.safetensors"), &tensors)?)
    }

    /// C [V,D].
    pub fn classifier(&self) -> ArrayView2<'_, f32> {
        self.array(classifier_of(self.kind)).into_dimensionality::<Ix2>().expect("a matrix")
    }

    /// b [V].
    pub fn bias(&self) -> ArrayView1<'_, f32> {
        self.array("bias").into_dimensionality::<Ix1>().expect("a vector")
    }

    fn array(&self, name: &str) -> ArrayViewD<'_, f32> {
        let parameter = self.parameters.iter().find(|parameter| parameter.name == name);
        parameter.expect("a parameter of every model").value.view()
    }
}

/// The name of the parameter that a model's classifier is.
pub fn classifier_of(kind: Kind) -> &'static str {
    if kind.layers().ties_classifier() { EMBEDDING } else { CLASSIFIER }
}

/// The parameters of a model on a tape.
pub struct Leaves<'t>(Vec<(&'static str, Variable<'t, f32>)>);

impl<'t> Leaves<'t> {
    /// One of them, which must be there.
    pub fn of(&self, name: &str) -> Variable<'t, f32> {
        let leaf = self.0.iter().find(|(known, _)| *known == name);
        leaf.expect("a parameter of this model").1
    }

    /// All, in the order of the model's parameters.
    pub fn all(&self) -> impl Iterator<Item = Variable<'t, f32>> {
        self.0.iter().map(|&(_, leaf)| leaf)
    }
}

/// Dropout, of as many values as there are in a step.
pub struct Dropout(Option<Generator>);

impl Dropout {
    /// Nothing is dropped.
    pub fn none() -> Self {
        Self(None)
    }

    /// With the random numbers of a step.
    pub fn of_step(seed: u64, step: usize) -> Self {
        Self(Some(Generator::new(Random::of(seed, STREAM, step).bits())))
    }

    /// Makes a share of the numbers zero, and the others larger to make up for it.
    pub fn apply<'t>(
        &mut self,
        variable: Variable<'t, f32>,
        rate: f64,
    ) -> surprisal::Result<Variable<'t, f32>> {
        match &mut self.0 {
            None => Ok(variable),
            Some(generator) => variable.dropout(rate, generator),
        }
    }
}
