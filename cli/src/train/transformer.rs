//! A small causal transformer (Vaswani et al. 2017) with its normalisation before each branch, on the
//! log-bilinear sum in place of embeddings of positions.
//!
//! x ← h, the sum; then x ← x + W_o attention(W_q n, W_k n, W_v n) with n = rms(x) ⊙ g, and
//! x ← x + W₂ gelu(W₁ n + b₁) with another n. Nothing is dropped within the branches: a tenth of
//! either gains nothing.

use ndarray::Array1;
use surprisal::autodiff::Variable;
use surprisal::information::AttentionEntropy;
use surprisal::random::Generator;

use super::bilinear::{self, Bilinear};
use super::layers::{Dropout, Layers, Leaves, Parameter, WIDTH};
use super::windows::Windows;

/// Heads of the attention.
const HEADS: usize = 4;

/// Units of the layer behind it.
const UNITS: usize = 4 * WIDTH;

/// Under the root of the mean square.
const EPSILON: f64 = 1e-6;

pub struct Transformer;

impl Layers for Transformer {
    fn context(&self, length: usize) -> usize {
        length - 1 + Bilinear.context(length)
    }

    /// What attention finds earlier in the text can be said again, and there is less to learn by heart.
    fn ties_classifier(&self) -> bool {
        true
    }

    fn parameters(&self, vocabulary: usize, random: &mut Generator) -> Vec<Parameter> {
        let mut parameters = Bilinear.parameters(vocabulary, random);
        let square = (WIDTH, WIDTH);
        parameters.extend([
            Parameter::vector("attention.norm", Array1::ones(WIDTH)),
            Parameter::weights("attention.query", square, 1.0, random),
            Parameter::weights("attention.key", square, 1.0, random),
            Parameter::weights("attention.value", square, 1.0, random),
            Parameter::last_weights("attention.out", square),
            Parameter::vector("mlp.norm", Array1::ones(WIDTH)),
            Parameter::weights("mlp.in", (WIDTH, UNITS), 1.0 / 3.0, random),
            Parameter::vector("mlp.in.bias", Array1::zeros(UNITS)),
            Parameter::last_weights("mlp.out", (UNITS, WIDTH)),
        ]);
        parameters
    }

    fn hidden<'t>(
        &self,
        leaves: &Leaves<'t>,
        windows: &Windows,
        _: &mut Dropout,
    ) -> surprisal::Result<Variable<'t, f32>> {
        let Attended { state, query, key, value } = Attended::of(leaves, windows)?;
        let attention = query.causal_attention(key, value, HEADS)?;
        let attention = attention.reshape(&[windows.count * windows.length, WIDTH])?;
        let attention = attention.matmul(leaves.of("attention.out"))?;
        let state = state.add(attention)?;

        let normal = state.rms_norm(Some(leaves.of("mlp.norm")), EPSILON)?;
        let layer = normal.matmul(leaves.of("mlp.in"))?.add(leaves.of("mlp.in.bias"))?;
        let layer = layer.gelu().matmul(leaves.of("mlp.out"))?;
        state.add(layer)
    }

    fn attention_entropy<'t>(
        &self,
        leaves: &Leaves<'t>,
        windows: &Windows,
    ) -> surprisal::Result<Option<Variable<'t, f32>>> {
        let Attended { query, key, .. } = Attended::of(leaves, windows)?;
        query.attention_entropy(key, HEADS, &AttentionEntropy::causal()).map(Some)
    }
}

/// What comes in for the attention: the sum, and [windows, length, D] of it.
struct Attended<'t> {
    state: Variable<'t, f32>,
    query: Variable<'t, f32>,
    key: Variable<'t, f32>,
    value: Variable<'t, f32>,
}

impl<'t> Attended<'t> {
    fn of(leaves: &Leaves<'t>, windows: &Windows) -> surprisal::Result<Self> {
        let words = bilinear::words(leaves, windows)?;
        let state = bilinear::sum(leaves, words, windows)?;
        let normal = state.rms_norm(Some(leaves.of("attention.norm")), EPSILON)?;
        let in_windows = |name| {
            let product = normal.matmul(leaves.of(name))?;
            product.reshape(&[windows.count, windows.length, WIDTH])
        };
        let query = in_windows("attention.query")?;
        let (key, value) = (in_windows("attention.key")?, in_windows("attention.value")?);
        Ok(Self { state, query, key, value })
    }
}
