//! The log-bilinear language model (Mnih and Hinton 2007), with diagonal matrices.
//!
//! The hidden state of a position is h = Σ_j s_j ⊙ e(w_j), the sum over the last few words of the
//! word's embedding times the scales of its place; the logits are C·h + b.

use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut1, ArrayViewMut2, azip};

use super::text::Corpus;
use crate::parallel::for_each_row;
use crate::random::Random;

/// Bound of the first embeddings: small, so that the first steps are those of the unigram model.
const FIRST_EMBEDDING: f32 = 0.1;

/// The parameters, or the gradients of each.
#[derive(Clone)]
pub struct Parameters {
    /// e [V,D], a row for each class.
    pub embedding: Array2<f32>,
    /// s, a row of D for each place, that of the last word first.
    pub scales: Array2<f32>,
    /// C [V,D], a row for each class.
    pub classifier: Array2<f32>,
    /// b, a number for each class.
    pub bias: Array1<f32>,
}

/// The classes that hidden states are computed from.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The class of each token.
    pub tokens: &'a [u32],
    /// What stands before the first token.
    pub padding: u32,
}

impl<'a> Context<'a> {
    /// All tokens of a text.
    pub fn of(corpus: &'a Corpus) -> Self {
        Self { tokens: &corpus.tokens, padding: corpus.padding }
    }

    /// The class that stands so many places before the one before a position.
    fn class(&self, position: usize, place: usize) -> usize {
        let at = position.checked_sub(place + 1);
        at.map_or(self.padding, |at| self.tokens[at]) as usize
    }
}

impl Parameters {
    /// All zero.
    pub fn zeros(vocabulary: usize, places: usize, width: usize) -> Self {
        Self {
            embedding: Array2::zeros((vocabulary, width)),
            scales: Array2::zeros((places, width)),
            classifier: Array2::zeros((vocabulary, width)),
            bias: Array1::zeros(vocabulary),
        }
    }

    /// The unigram model: a classifier of zeros, and the logarithms of the shares as the bias. The
    /// scales decay with the distance, 1/(place + 1), and the embeddings are random.
    pub fn unigram(corpus: &Corpus, places: usize, width: usize, random: &mut Random) -> Self {
        let mut parameters = Self::zeros(corpus.vocabulary(), places, width);
        parameters.embedding.mapv_inplace(|_| FIRST_EMBEDDING * random.symmetric());
        for (place, mut scale) in parameters.scales.outer_iter_mut().enumerate() {
            scale.fill(1.0 / (place + 1) as f32);
        }
        parameters.bias = corpus.log_shares().into_iter().map(|share| share as f32).collect();
        parameters
    }

    /// Every array as a slice, with whether it is a matrix of V rows, which are what is decayed.
    pub fn slices(&self) -> [(&[f32], bool); 4] {
        let slice = "in standard order";
        [
            (self.embedding.as_slice().expect(slice), true),
            (self.scales.as_slice().expect(slice), false),
            (self.classifier.as_slice().expect(slice), true),
            (self.bias.as_slice().expect(slice), false),
        ]
    }

    /// As [`slices`](Self::slices).
    pub fn slices_mut(&mut self) -> [(&mut [f32], bool); 4] {
        let slice = "in standard order";
        [
            (self.embedding.as_slice_mut().expect(slice), true),
            (self.scales.as_slice_mut().expect(slice), false),
            (self.classifier.as_slice_mut().expect(slice), true),
            (self.bias.as_slice_mut().expect(slice), false),
        ]
    }

    /// Writes h of these positions.
    pub fn hidden(
        &self,
        context: Context<'_>,
        positions: &[usize],
        mut hidden: ArrayViewMut2<'_, f32>,
    ) {
        let width = hidden.dim().1;
        let rows = hidden.as_slice_mut().expect("in standard order");
        for_each_row(rows, width, |i, row| {
            row.fill(0.0);
            for (place, scale) in self.scales.outer_iter().enumerate() {
                let embedding = self.embedding.row(context.class(positions[i], place));
                let mut row = ArrayViewMut1::from(&mut *row);
                azip!((h in &mut row, s in &scale, e in &embedding) *h += s * e);
            }
        });
    }

    /// Writes the gradients of e and s, given that of h at these positions. They are summed in the
    /// order of the positions, by one thread: the same bits on any number of threads.
    pub fn backward(
        &self,
        context: Context<'_>,
        positions: &[usize],
        d_hidden: ArrayView2<'_, f32>,
        gradient: &mut Parameters,
    ) {
        gradient.embedding.fill(0.0);
        gradient.scales.fill(0.0);
        for (&position, d_hidden) in positions.iter().zip(d_hidden.outer_iter()) {
            for (place, scale) in self.scales.outer_iter().enumerate() {
                let class = context.class(position, place);
                let mut d_embedding = gradient.embedding.row_mut(class);
                let mut d_scale = gradient.scales.row_mut(place);
                azip!((to in &mut d_embedding, s in &scale, g in &d_hidden) *to += s * g);
                let embedding = self.embedding.row(class);
                azip!((to in &mut d_scale, e in &embedding, g in &d_hidden) *to += e * g);
            }
        }
    }
}
