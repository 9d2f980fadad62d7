//! Hidden states, classifiers and targets to measure with.
//!
//! *Dense*: normal numbers, logits with a standard deviation of 1.5, no entry of the softmax
//! negligible. *Trained*: what the softmax of a trained model looks like, few likely tokens and a
//! long tail of next to nothing, in arrays whose product has this distribution.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use ndarray::{Array1, Array2, ArrayView1, ArrayViewMut1, Axis, s};
use surprisal::Element;
use surprisal::random::Generator;

use crate::parallel::for_each_row;

/// The standard deviation of dense logits.
const DENSE_DEVIATION: f32 = 1.5;

/// The trained data. A row has this many likely classes, or fewer where there are few classes or
/// dimensions: so many that the mean sorted probability falls below 2⁻¹² at about the 50th.
const CANDIDATES: usize = 40;
/// Dimensions for each candidate at least. The logits that the candidates need make noise on all
/// other classes, its variance their squares over D: with many more they would drown in it.
const DIMENSIONS_A_CANDIDATE: usize = 19;
/// The classes beside the candidates have this probability together.
const TAIL: f64 = 0.02;
/// The standard deviation of the logits about the bias.
const NOISE: f64 = 2.0;
/// Rows in succession that are on one topic, the words of a topic, and the share of the candidates
/// drawn from it.
const TOPIC_ROWS: usize = 256;
const TOPIC_WORDS: usize = 200;
const TOPIC_SHARE: f64 = 0.4;
/// A class of this rank has the bias −ln(rank + 10).
const ZIPF_SHIFT: f64 = 10.0;

/// The streams of random numbers of one seed.
const CLASSIFIER: u64 = 0;
const HIDDEN: u64 = 1;
const TOPIC: u64 = 2;
const ORDER: u64 = 3;
const TARGET: u64 = 4;

/// A type that the arrays may hold.
pub trait Number: Element {
    /// The nearest numbers of this type.
    fn narrow(from: &[f32], to: &mut [Self]);
}

impl Number for f64 {
    fn narrow(from: &[f32], to: &mut [f64]) {
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from.into());
    }
}

impl Number for f32 {
    fn narrow(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
}

impl Number for bf16 {
    fn narrow(from: &[f32], to: &mut [bf16]) {
        to.convert_from_f32_slice(from);
    }
}

impl Number for f16 {
    fn narrow(from: &[f32], to: &mut [f16]) {
        to.convert_from_f32_slice(from);
    }
}

/// N, D and V.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub tokens: usize,
    pub hidden: usize,
    pub vocabulary: usize,
}

/// What a loss is computed of.
pub struct Data<T> {
    pub hidden: Array2<T>,
    pub classifier: Array2<T>,
    pub targets: Vec<u32>,
}

impl<T: Number> Data<T> {
    /// Normal numbers.
    pub fn dense(sizes: Sizes, seed: u64) -> Self {
        let Sizes { tokens, hidden: width, vocabulary } = sizes;
        let deviation = 1.0 / (width as f32).sqrt();
        let classifier = rows(vocabulary, width, |class, row| {
            let mut random = Generator::of(seed, CLASSIFIER, class);
            row.fill_with(|| deviation * random.nearly_normal());
        });
        let hidden = rows(tokens, width, |i, row| {
            let mut random = Generator::of(seed, HIDDEN, i);
            row.fill_with(|| DENSE_DEVIATION * random.nearly_normal());
        });
        let mut random = Generator::of(seed, TARGET, 0);
        let targets = (0..tokens).map(|_| random.below(vocabulary) as u32).collect();
        Self { hidden, classifier, targets }
    }

    /// The softmax of a trained model. The hidden states' first dimension is 1, the classifier's
    /// is the bias of Zipf's law; in the others the classifier is random, and a hidden state is
    /// the shortest vector that gives its candidates their logits, with noise orthogonal to them.
    /// The classes are sorted by frequency, or in random order.
    pub fn trained(sizes: Sizes, sorted: bool, seed: u64) -> Self {
        let Sizes { tokens, hidden: width, vocabulary } = sizes;
        let zipf = Zipf { vocabulary };
        let mut class_of_rank: Vec<u32> = (0..vocabulary as u32).collect();
        if !sorted {
            Generator::of(seed, ORDER, 0).shuffle(&mut class_of_rank);
        }
        let mut rank_of_class = vec![0_u32; vocabulary];
        for (rank, &class) in class_of_rank.iter().enumerate() {
            rank_of_class[class as usize] = rank as u32;
        }
        let deviation = 1.0 / ((width - 1).max(1) as f32).sqrt();
        let classifier = rows(vocabulary, width, |class, row| {
            let mut random = Generator::of(seed, CLASSIFIER, class);
            row.fill_with(|| deviation * random.nearly_normal());
            row[0] = zipf.bias(rank_of_class[class] as usize) as f32;
        });
        let maker = Maker {
            zipf,
            seed,
            candidates: CANDIDATES.min(width / DIMENSIONS_A_CANDIDATE).min(vocabulary / 8),
            log_total: (0..vocabulary).map(|rank| zipf.bias(rank).exp()).sum::<f64>().ln(),
            class_of_rank: &class_of_rank,
            classifier: &classifier,
        };
        let hidden = rows(tokens, width, |i, row| maker.hidden(i, row));
        let targets = (0..tokens).map(|i| maker.target(i)).collect();
        Self { hidden, classifier, targets }
    }
}

/// An array whose rows are made one by one.
fn rows<T: Number>(
    count: usize,
    width: usize,
    make: impl Fn(usize, &mut [f32]) + Sync,
) -> Array2<T> {
    let mut numbers = vec![T::default(); count * width];
    for_each_row(&mut numbers, width, |i, row| {
        let mut wide = vec![0.0; width];
        make(i, &mut wide);
        T::narrow(&wide, row);
    });
    Array2::from_shape_vec((count, width), numbers).expect("a number for each place")
}

/// Words by frequency: p ∝ 1 / (rank + 10).
#[derive(Clone, Copy)]
struct Zipf {
    vocabulary: usize,
}

impl Zipf {
    fn bias(self, rank: usize) -> f64 {
        -(rank as f64 + ZIPF_SHIFT).ln()
    }

    /// A rank, by the integral of the density.
    fn draw(self, random: &mut Generator) -> usize {
        let ratio = (self.vocabulary as f64 + ZIPF_SHIFT) / ZIPF_SHIFT;
        let rank = ZIPF_SHIFT * (ratio.powf(random.uniform()) - 1.0);
        (rank as usize).min(self.vocabulary - 1)
    }
}

/// What the hidden states of the trained data are made of.
struct Maker<'a, T> {
    zipf: Zipf,
    seed: u64,
    /// How many candidates a row has.
    candidates: usize,
    /// ln Σ 1/(rank + 10).
    log_total: f64,
    class_of_rank: &'a [u32],
    classifier: &'a Array2<T>,
}

impl<T: Number> Maker<'_, T> {
    /// The ranks of the candidates of a row, the likeliest first.
    fn ranks(&self, row: usize, random: &mut Generator) -> Vec<usize> {
        let mut topic = Generator::of(self.seed, TOPIC, row / TOPIC_ROWS);
        let topic: Vec<_> = (0..TOPIC_WORDS).map(|_| self.zipf.draw(&mut topic)).collect();
        let mut ranks = Vec::with_capacity(self.candidates);
        while ranks.len() < self.candidates {
            let rank = match random.uniform() < TOPIC_SHARE {
                true => topic[random.below(TOPIC_WORDS)],
                false => self.zipf.draw(random),
            };
            if !ranks.contains(&rank) {
                ranks.push(rank);
            }
        }
        ranks
    }

    /// The probability of each candidate, ∝ 1/j².
    fn probabilities(&self) -> Array1<f64> {
        let squares = Array1::from_shape_fn(self.candidates, |j| 1.0 / ((j + 1) as f64).powi(2));
        let total = squares.sum();
        squares * ((1.0 - TAIL) / total)
    }

    /// One of the candidates of a row by its probability; by Zipf's law where there is none.
    fn target(&self, row: usize) -> u32 {
        let ranks = self.ranks(row, &mut Generator::of(self.seed, HIDDEN, row));
        let mut random = Generator::of(self.seed, TARGET, row);
        let probabilities = self.probabilities();
        let mut left = random.uniform() * probabilities.sum();
        let chosen = ranks.iter().zip(&probabilities).find(|(_, probability)| {
            left -= **probability;
            left < 0.0
        });
        let rank = match (chosen, ranks.first()) {
            (Some((&rank, _)), _) => rank,
            (None, Some(&first)) => first,
            (None, None) => self.zipf.draw(&mut random),
        };
        self.class_of_rank[rank]
    }

    /// A hidden state.
    fn hidden(&self, i: usize, row: &mut [f32]) {
        let mut random = Generator::of(self.seed, HIDDEN, i);
        let ranks = self.ranks(i, &mut random);
        let width = row.len() - 1;
        let mut hidden = ArrayViewMut1::from(&mut row[1..]);
        let mut rows = Array2::zeros((ranks.len(), width + 1));
        for (mut to, &rank) in rows.outer_iter_mut().zip(&ranks) {
            let from = self.classifier.row(self.class_of_rank[rank] as usize);
            let to = to.as_slice_mut().expect("rows in succession");
            T::widen_to_f32(from.to_slice().expect("rows in succession"), to);
        }
        let rows = rows.slice(s![.., 1..]);
        let factor = Factor::of(rows.dot(&rows.t()).mapv(f64::from));

        // The noise on every other class is the length of the hidden state over √D: where the
        // candidates alone make more of it than wanted, the tail is heavier and their logits higher.
        let biases: Array1<f64> = ranks.iter().map(|&rank| self.zipf.bias(rank)).collect();
        let logits = self.probabilities().mapv(|p| (p / TAIL).ln()) + self.log_total - biases;
        let mut variance = NOISE * NOISE;
        let (mut weights, mut spent) = (Array1::zeros(0), 0.0);
        for _ in 0..8 {
            let wanted = &logits + variance / 2.0;
            weights = factor.solve(wanted.view());
            spent = weights.dot(&wanted) / width.max(1) as f64;
            if spent <= variance {
                break;
            }
            variance = spent;
        }
        let deviation = (NOISE * NOISE - spent).max(0.0).sqrt() as f32;
        hidden.fill(0.0);
        if deviation > 0.0 {
            hidden.map_inplace(|x| *x = deviation * random.nearly_normal());
            weights -= &factor.solve(rows.dot(&hidden).mapv(f64::from).view());
        }
        hidden += &weights.mapv(|weight| weight as f32).dot(&rows);
        row[0] = 1.0;
    }
}

/// The Cholesky factor of a Gram matrix.
struct Factor(Array2<f64>);

impl Factor {
    fn of(mut gram: Array2<f64>) -> Self {
        let size = gram.len_of(Axis(0));
        for i in 0..size {
            for j in 0..=i {
                let inner = gram.slice(s![i, ..j]).dot(&gram.slice(s![j, ..j]));
                let rest = gram[[i, j]] - inner;
                // Nearly orthogonal rows: the pivots are far from 0, whatever is drawn.
                gram[[i, j]] = if i == j { rest.max(1e-6).sqrt() } else { rest / gram[[j, j]] };
            }
        }
        Self(gram)
    }

    fn solve(&self, right: ArrayView1<'_, f64>) -> Array1<f64> {
        let (factor, mut x) = (&self.0, right.to_owned());
        for i in 0..x.len() {
            let inner = factor.slice(s![i, ..i]).dot(&x.slice(s![..i]));
            x[i] = (x[i] - inner) / factor[[i, i]];
        }
        for i in (0..x.len()).rev() {
            let inner = factor.slice(s![i + 1.., i]).dot(&x.slice(s![i + 1..]));
            x[i] = (x[i] - inner) / factor[[i, i]];
        }
        x
    }
}
