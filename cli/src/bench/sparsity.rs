//! How few entries of a softmax matter, counted.

use ndarray::{Array2, s};
use surprisal::RowState;

use super::data::{Data, Number, Sizes};
use crate::parallel;

/// The largest logits of a row that are kept: no more entries of a softmax can reach 2⁻¹².
const KEPT: usize = 1 << 12;
/// Rows and classes whose logits are held at once.
const ROWS: usize = 64;
const CLASSES: usize = 512;
/// The most rows that are looked at, and the multiplications that may be spent on them.
const MOST_ROWS: usize = 256;
const MULTIPLICATIONS: usize = 100_000_000_000;

/// The softmax over some rows.
pub struct Sparsity {
    /// The share of the entries that are at least 2⁻¹².
    pub at_least: f64,
    /// The mean probability of the 50th most likely class.
    pub at_50: Option<f64>,
    /// How many of the mean sorted probabilities are at least 2⁻¹².
    pub above: usize,
}

impl Sparsity {
    /// That of up to 256 rows, evenly spaced.
    pub fn of<T: Number>(data: &Data<T>, sizes: Sizes) -> Self {
        let Sizes { tokens, hidden, vocabulary } = sizes;
        let affordable = MULTIPLICATIONS / (hidden * vocabulary);
        let count = affordable.clamp(ROWS, MOST_ROWS).min(tokens);
        let rows: Vec<usize> = (0..count).map(|i| i * tokens / count).collect();
        let groups = rows.chunks(ROWS).map(<[usize]>::to_vec).collect();
        let sorted = parallel::map(groups, |rows: Vec<usize>| sorted(data, &rows)).concat();

        let threshold = (-12.0_f64).exp2();
        let reached: usize =
            sorted.iter().map(|row| row.iter().filter(|&&p| p >= threshold).count()).sum();
        let mean =
            |rank: usize| sorted.iter().map(|row| row[rank]).sum::<f64>() / sorted.len() as f64;
        let ranks = vocabulary.min(KEPT);
        Self {
            at_least: reached as f64 / (count as f64 * vocabulary as f64),
            at_50: (ranks >= 50).then(|| mean(49)),
            above: (0..ranks).take_while(|&rank| mean(rank) >= threshold).count(),
        }
    }
}

/// The largest probabilities of each of these rows, from the largest down.
fn sorted<T: Number>(data: &Data<T>, rows: &[usize]) -> Vec<Vec<f64>> {
    let (vocabulary, width) = data.classifier.dim();
    let mut hidden = Array2::<f32>::zeros((rows.len(), width));
    for (mut to, &row) in hidden.outer_iter_mut().zip(rows) {
        let from = data.hidden.row(row);
        let to = to.as_slice_mut().expect("rows in succession");
        T::widen_to_f32(from.to_slice().expect("rows in succession"), to);
    }
    let mut states: Vec<(RowState, Largest)> = rows.iter().map(|_| Default::default()).collect();
    let mut block = Array2::<f32>::zeros((CLASSES.min(vocabulary), width));
    for first in (0..vocabulary).step_by(CLASSES) {
        let end = (first + CLASSES).min(vocabulary);
        let classifier = data.classifier.slice(s![first..end, ..]);
        let mut block = block.slice_mut(s![..end - first, ..]);
        T::widen_to_f32(
            classifier.to_slice().expect("rows in succession"),
            block.as_slice_mut().expect("rows in succession"),
        );
        let logits = hidden.dot(&block.t());
        for (logits, (state, largest)) in logits.outer_iter().zip(&mut states) {
            let logits = logits.to_vec();
            state.push(0, &logits).expect("every class is below V");
            largest.push(&logits);
        }
    }
    let probabilities = |(state, largest): (RowState, Largest)| {
        let log_sum_exp = state.log_sum_exp();
        let sorted = largest.sorted().into_iter();
        sorted.map(|logit| (f64::from(logit) - log_sum_exp).exp()).collect()
    };
    states.into_iter().map(probabilities).collect()
}

/// The [`KEPT`] largest of the numbers that it has seen.
struct Largest {
    numbers: Vec<f32>,
    /// What can be left out.
    below: f32,
}

impl Default for Largest {
    fn default() -> Self {
        Self { numbers: Vec::new(), below: f32::NEG_INFINITY }
    }
}

impl Largest {
    fn push(&mut self, numbers: &[f32]) {
        self.numbers.extend(numbers.iter().filter(|&&number| number > self.below));
        if self.numbers.len() >= 2 * KEPT {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.numbers.len() > KEPT {
            self.numbers.select_nth_unstable_by(KEPT - 1, |a, b| b.total_cmp(a));
            self.numbers.truncate(KEPT);
            self.below = self.numbers[KEPT - 1];
        }
    }

    fn sorted(mut self) -> Vec<f32> {
        self.cut();
        self.numbers.sort_by(|a, b| b.total_cmp(a));
        self.numbers
    }
}
