//! How few entries of a softmax matter, counted.

use ndarray::{Array2, s};

use super::data::{Data, Number, Sizes};
use crate::parallel;

/// How many of a row's sorted probabilities are kept: no more of them can reach 2⁻¹².
const KEPT: usize = 1 << 12;
/// Rows whose logits are held at once, fewer where they are more numbers than this; classes that are
/// multiplied at once.
const ROWS: usize = 64;
const HELD: usize = 1 << 24;
const CLASSES: usize = 512;
/// The most rows that are looked at, and the multiplications that may be spent on them.
const MOST_ROWS: usize = 256;
const MULTIPLICATIONS: usize = 100_000_000_000;
/// Classes that a filter keeps or leaves together.
const SEGMENT: usize = 32;

/// The exponents of the thresholds.
const EXPONENTS: [i32; 3] = [-12, -16, -20];

/// The softmax over some rows.
pub struct Sparsity {
    /// The share of the entries that are at least 2⁻¹², 2⁻¹⁶ and 2⁻²⁰.
    pub at_least: [f64; 3],
    /// The mean over the rows of the probability in segments of 32 classes that are all below 2⁻¹².
    pub lost: f64,
    /// The mean probability of the 50th most likely class.
    pub at_50: Option<f64>,
    /// How many of the mean sorted probabilities are at least 2⁻¹².
    pub above: usize,
}

/// The same of one row.
struct Row {
    reached: [usize; 3],
    lost: f64,
    /// The largest probabilities, from the largest down.
    sorted: Vec<f64>,
}

impl Sparsity {
    /// That of up to 256 rows, evenly spaced.
    pub fn of<T: Number>(data: &Data<T>, sizes: Sizes) -> Self {
        let Sizes { tokens, hidden, vocabulary } = sizes;
        let affordable = MULTIPLICATIONS / (hidden * vocabulary);
        let count = affordable.clamp(ROWS, MOST_ROWS).min(tokens);
        let rows: Vec<usize> = (0..count).map(|i| i * tokens / count).collect();
        let at_once = (HELD / vocabulary).clamp(1, ROWS);
        let groups = rows.chunks(at_once).map(<[usize]>::to_vec).collect();
        let rows: Vec<Row> = parallel::map(groups, |rows: Vec<usize>| rows_of(data, &rows))
            .into_iter()
            .flatten()
            .collect();

        let mean = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>() / count as f64;
        let ranks = vocabulary.min(KEPT);
        let threshold = f64::from(EXPONENTS[0]).exp2();
        Self {
            at_least: std::array::from_fn(|i| {
                mean(&|row| row.reached[i] as f64 / vocabulary as f64)
            }),
            lost: mean(&|row| row.lost),
            at_50: (ranks >= 50).then(|| mean(&|row| row.sorted[49])),
            above: (0..ranks)
                .take_while(|&rank| mean(&|row| row.sorted[rank]) >= threshold)
                .count(),
        }
    }
}

/// What the softmax of each of these rows is like.
fn rows_of<T: Number>(data: &Data<T>, rows: &[usize]) -> Vec<Row> {
    let (vocabulary, width) = data.classifier.dim();
    let mut hidden = Array2::<f32>::zeros((rows.len(), width));
    for (mut to, &row) in hidden.outer_iter_mut().zip(rows) {
        let from = data.hidden.row(row);
        let to = to.as_slice_mut().expect("rows in succession");
        T::widen_to_f32(from.to_slice().expect("rows in succession"), to);
    }
    let mut logits = Array2::<f32>::zeros((rows.len(), vocabulary));
    let mut block = Array2::<f32>::zeros((CLASSES.min(vocabulary), width));
    for first in (0..vocabulary).step_by(CLASSES) {
        let end = (first + CLASSES).min(vocabulary);
        let classifier = data.classifier.slice(s![first..end, ..]);
        let mut block = block.slice_mut(s![..end - first, ..]);
        T::widen_to_f32(
            classifier.to_slice().expect("rows in succession"),
            block.as_slice_mut().expect("rows in succession"),
        );
        logits.slice_mut(s![.., first..end]).assign(&hidden.dot(&block.t()));
    }
    let rows = logits.outer_iter_mut();
    rows.map(|mut row| Row::of(row.as_slice_mut().expect("rows in succession"))).collect()
}

impl Row {
    /// Of logits, which are put into another order.
    fn of(logits: &mut [f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from((logit - largest).exp())).sum();
        let log_sum_exp = f64::from(largest) + sum.ln();
        let probability = |logit: f32| (f64::from(logit) - log_sum_exp).exp();
        let thresholds =
            EXPONENTS.map(|exponent| log_sum_exp + f64::from(exponent) * std::f64::consts::LN_2);
        let reaches = |logit: f32, i: usize| f64::from(logit) >= thresholds[i];

        let mut reached = [0; 3];
        let mut lost = 0.0;
        for segment in logits.chunks(SEGMENT) {
            for (i, count) in reached.iter_mut().enumerate() {
                *count += segment.iter().filter(|&&logit| reaches(logit, i)).count();
            }
            if !segment.iter().any(|&logit| reaches(logit, 0)) {
                lost += segment.iter().map(|&logit| probability(logit)).sum::<f64>();
            }
        }
        let kept = logits.len().min(KEPT);
        if kept < logits.len() {
            logits.select_nth_unstable_by(kept - 1, |a, b| b.total_cmp(a));
        }
        let sorted = &mut logits[..kept];
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        Self { reached, lost, sorted: sorted.iter().map(|&logit| probability(logit)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn a_row_that_is_known() {
        // Two segments: one likely class among 31 of e⁻¹⁰ of it, and 32 of e⁻⁹.
        let mut logits = [vec![0.0], vec![-10.0; 31], vec![-9.0; 32]].concat();
        let total = 1.0 + 31.0 * (-10.0_f64).exp() + 32.0 * (-9.0_f64).exp();
        let row = Row::of(&mut logits);
        // 2⁻¹² is e^−8.3, 2⁻¹⁶ e^−11.1: beside the first class none reaches the former, all the latter.
        assert_eq!(row.reached, [1, 64, 64]);
        assert!((row.lost - 32.0 * (-9.0_f64).exp() / total).abs() < 1e-7);
        assert!((row.sorted[0] * total - 1.0).abs() < 1e-6 && row.sorted.len() == 64);
        assert!(row.sorted.is_sorted_by(|a, b| a >= b));
    }
}
