//! What turns words into hidden states: layers, their parameters, and dropout.

use ndarray::{Array, Array1, Array2, Dimension};

use surprisal::autodiff::{Generator, Shared, Variable};

use super::windows::Windows;

/// D, the width of the hidden states: 96 ends 3 % higher in perplexity, and the time grows with it.
pub const WIDTH: usize = 128;

/// The weight decay of embeddings and classifier, in units of the learning rate; 1 does as well, in
/// the bilinear model 0.2 and 1 end 3 % and 5 % higher.
pub const TABLE_DECAY: f64 = 0.5;

/// The learning rate of the layers' matrices, in units of that of the tables; twice as much does as
/// well.
const WEIGHTS_RATE: f64 = 0.25;

/// Their weight decay.
const WEIGHTS_DECAY: f64 = 0.1;

/// The table of the words that are read.
pub const EMBEDDING: &str = "embedding";

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
        random: &mut Generator,
    ) -> Self {
        let deviation = (variance / rows as f32).sqrt();
        let normal = || deviation * random.nearly_normal();
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
    fn parameters(&self, vocabulary: usize, random: &mut Generator) -> Vec<Parameter>;

    /// The hidden states [windows · length, D].
    fn hidden<'t>(
        &self,
        leaves: &Leaves<'t>,
        windows: &Windows,
        dropout: &mut Dropout,
    ) -> surprisal::Result<Variable<'t, f32>>;

    /// The entropy of the attention of each head at each position [windows, heads, length], in nats, where there is
    /// attention.
    fn attention_entropy<'t>(
        &self,
        _: &Leaves<'t>,
        _: &Windows,
    ) -> surprisal::Result<Option<Variable<'t, f32>>> {
        Ok(None)
    }
}

/// The parameters of a model on a tape.
pub struct Leaves<'t>(pub Vec<(&'static str, Variable<'t, f32>)>);

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
        Self(Some(Generator::new(Generator::of(seed, STREAM, step).bits())))
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
