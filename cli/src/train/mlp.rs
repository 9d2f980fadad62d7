//! The log-bilinear sum, and a hidden layer on the last few words side by side (Bengio et al. 2003,
//! with its direct connections): h = Σ_j s_j ⊙ e(w_j) + W₂ gelu(W₁ [e(w_1), …, e(w_k)] + b₁).

use ndarray::Array1;
use surprisal::autodiff::Variable;
use surprisal::random::Generator;

use super::bilinear::{self, Bilinear};
use super::layers::{Dropout, Layers, Leaves, Parameter, WIDTH};
use super::windows::Windows;

/// k, the words that the layer sees.
const WORDS: usize = 6;

/// Units of the layer.
const UNITS: usize = 256;

/// The share of the layer's outcome that is dropped in each step.
const DROPOUT: f64 = 0.1;

pub struct Mlp;

impl Layers for Mlp {
    fn context(&self, length: usize) -> usize {
        Bilinear.context(length)
    }

    fn parameters(&self, vocabulary: usize, random: &mut Generator) -> Vec<Parameter> {
        let mut parameters = Bilinear.parameters(vocabulary, random);
        parameters.extend([
            Parameter::weights("mlp.in", (WORDS * WIDTH, UNITS), 1.0, random),
            Parameter::vector("mlp.in.bias", Array1::zeros(UNITS)),
            Parameter::last_weights("mlp.out", (UNITS, WIDTH)),
        ]);
        parameters
    }

    fn hidden<'t>(
        &self,
        leaves: &Leaves<'t>,
        windows: &Windows,
        dropout: &mut Dropout,
    ) -> surprisal::Result<Variable<'t, f32>> {
        let words = bilinear::words(leaves, windows)?;
        let places = (0..WORDS).map(|at| bilinear::place(words, windows, at));
        let places = places.collect::<surprisal::Result<Vec<_>>>()?;
        let rows = windows.count * windows.length;
        let side_by_side = Variable::concat(&places, 2)?.reshape(&[rows, WORDS * WIDTH])?;
        let layer = side_by_side.matmul(leaves.of("mlp.in"))?.add(leaves.of("mlp.in.bias"))?;
        let layer = dropout.apply(layer.gelu().matmul(leaves.of("mlp.out"))?, DROPOUT)?;
        bilinear::sum(leaves, words, windows)?.add(layer)
    }
}
