//! The log-bilinear language model (Mnih and Hinton 2007), with diagonal matrices.
//!
//! The hidden state of a position is h = Σ_j s_j ⊙ e(w_j), the sum over the last few words of the
//! word's embedding times the scales of its place. The other models begin with it: what it knows
//! about the order of words need not be learnt from a small text.

use ndarray::Array2;
use surprisal::autodiff::Variable;
use surprisal::random::Generator;

use super::layers::{Dropout, EMBEDDING, Layers, Leaves, Parameter, WIDTH};
use super::windows::Windows;

/// How many words a sum is of: as many as a line of verse, with the name of its speaker; 6 end 1 %
/// higher, 16 gain half a per cent.
pub const PLACES: usize = 10;

/// Bound of the first embeddings: small, so that the first steps are those of the unigram model.
const FIRST_EMBEDDING: f32 = 0.1;

pub struct Bilinear;

impl Layers for Bilinear {
    fn context(&self, _: usize) -> usize {
        PLACES
    }

    /// The scales decay with the distance, 1/(place + 1), and the embeddings are random.
    fn parameters(&self, vocabulary: usize, random: &mut Generator) -> Vec<Parameter> {
        let embedding = Array2::from_shape_simple_fn((vocabulary, WIDTH), || {
            FIRST_EMBEDDING * random.symmetric()
        });
        let scales = Array2::from_shape_fn((PLACES, WIDTH), |(place, _)| 1.0 / (place + 1) as f32);
        vec![Parameter::table(EMBEDDING, embedding), Parameter::plain("scales", scales)]
    }

    fn hidden<'t>(
        &self,
        leaves: &Leaves<'t>,
        windows: &Windows,
        _: &mut Dropout,
    ) -> surprisal::Result<Variable<'t, f32>> {
        sum(leaves, words(leaves, windows)?, windows)
    }
}

/// The embeddings [windows, PLACES − 1 + length, D] of the words of windows.
pub fn words<'t>(leaves: &Leaves<'t>, windows: &Windows) -> surprisal::Result<Variable<'t, f32>> {
    let embeddings = leaves.of(EMBEDDING).gather(&windows.words)?;
    embeddings.reshape(&[windows.count, windows.words.len() / windows.count, WIDTH])
}

/// Of the embeddings of words, those that stand so many places before the one before each position:
/// [windows, length, D].
pub fn place<'t>(
    words: Variable<'t, f32>,
    windows: &Windows,
    place: usize,
) -> surprisal::Result<Variable<'t, f32>> {
    let first = PLACES - 1 - place;
    words.slice(1, first..first + windows.length)
}

/// h [windows · length, D].
pub fn sum<'t>(
    leaves: &Leaves<'t>,
    words: Variable<'t, f32>,
    windows: &Windows,
) -> surprisal::Result<Variable<'t, f32>> {
    let sum = words.causal_convolution(leaves.of("scales"))?;
    sum.reshape(&[windows.count * windows.length, WIDTH])
}
