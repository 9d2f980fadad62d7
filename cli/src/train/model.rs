//! What the three models share: parameters by name, and hidden states of positions, which a
//! classifier and a bias turn into predictions.

use clap::ValueEnum;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewD, Axis, Ix1, Ix2, s};
use std::ops::Range;
use std::path::Path;

use surprisal::autodiff::{Tape, Variable};
use surprisal::io::write_safetensors;
use surprisal::random::Generator;

use super::bilinear::{Bilinear, PLACES};
use super::corpus::Corpus;
use super::layers::{Dropout, EMBEDDING, Layers, Leaves, Parameter, WIDTH};
use super::mlp::Mlp;
use super::transformer::Transformer;
use super::windows::Windows;
use crate::Failure;

/// The share of the hidden states' numbers that are dropped in each step of training: 0.2 does as well,
/// 0.3 ends 2 % higher.
pub const DROPOUT: f64 = 0.1;

/// Windows whose hidden states are computed at once where nothing is trained: as many as in a step, so that the
/// memory of one serves the other.
const WINDOWS_AT_ONCE: usize = 4;

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

/// The attention of a head, on average over positions.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadAttention {
    /// In nats.
    pub entropy: f64,
    /// As a share of the most that a position can have, ln of how many it sees.
    pub share: f64,
}

/// The table of the words that are predicted, unless it is that one.
const CLASSIFIER: &str = "classifier";

/// A model: its kind and its parameters.
pub struct Model {
    pub kind: Kind,
    pub parameters: Vec<Parameter>,
}

impl Model {
    /// The unigram model, or nearly: a classifier of zeros, or of small numbers where it is the
    /// embedding, and the logarithms of the shares as the bias.
    pub fn unigram(kind: Kind, corpus: &Corpus, random: &mut Generator) -> Self {
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
            let tape = Tape::new()?;
            let constants = self.constants(&tape);
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

    /// How spread the attention of each head is at these positions, where there is attention.
    pub fn attention_of(
        &self,
        corpus: &Corpus,
        positions: Range<usize>,
        length: usize,
    ) -> Result<Option<Vec<HeadAttention>>, Failure> {
        let kept = length - length / 2;
        let mut heads: Vec<HeadAttention> = Vec::new();
        let mut count = 0.0;
        for first in positions.clone().step_by(kept * WINDOWS_AT_ONCE) {
            let some = first..(first + kept * WINDOWS_AT_ONCE).min(positions.end);
            let windows = Windows::behind_context(corpus, some.clone(), length, PLACES);
            let tape = Tape::new()?;
            let constants = self.constants(&tape);
            let of = self.kind.layers().attention_entropy(&constants, &windows)?;
            let Some(entropies) = of else { return Ok(None) };
            let entropies = entropies.value();
            heads.resize(entropies.shape()[1], HeadAttention::default());
            for i in 0..some.len() {
                let (window, at) = (i / kept, length - kept + i % kept);
                for (head, sum) in heads.iter_mut().enumerate() {
                    let entropy = f64::from(entropies[[window, head, at]]);
                    sum.entropy += entropy;
                    // A window of one word sees nothing else.
                    sum.share += if at == 0 { 0.0 } else { entropy / ((at + 1) as f64).ln() };
                }
                count += 1.0;
            }
        }
        for head in &mut heads {
            head.entropy /= count;
            head.share /= count;
        }
        Ok((count > 0.0).then_some(heads))
    }

    fn constants<'t>(&self, tape: &'t Tape<f32>) -> Leaves<'t> {
        let constant = |parameter: &Parameter| (parameter.name, tape.constant(&parameter.value));
        Leaves(self.parameters.iter().map(constant).collect())
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
