//! Data whose softmax is that of a trained model: few likely tokens and a long tail of next to nothing,
//! in arrays whose product has this distribution.

use ndarray::{Array1, Array2, ArrayView1, ArrayViewMut1, Axis, s};
use surprisal::random::Generator;

use super::data::{CLASSIFIER, Data, HIDDEN, Number, Sizes, TARGET, rows};
use super::profile::Profile;

/// Dimensions for each candidate at least. The logits that the candidates need make noise on all
/// other classes, its variance their squares over D: with many more they would drown in it.
const DIMENSIONS_A_CANDIDATE: usize = 19;
/// Rows in succession that are on one topic, the words of a topic, and the share of the candidates
/// drawn from it.
const TOPIC_ROWS: usize = 256;
const TOPIC_WORDS: usize = 200;
const TOPIC_SHARE: f64 = 0.4;
/// By what Zipf's law is shifted.
const ZIPF_SHIFT: f64 = 10.0;

/// Streams of random numbers beside those of all data.
const TOPIC: u64 = 2;
const ORDER: u64 = 3;
const TAIL: u64 = 5;

impl<T: Number> Data<T> {
    /// The softmax of a trained model. The hidden states' first dimension is 1, the classifier's
    /// is the bias of Zipf's law; in the others the classifier is random, and a hidden state is
    /// the shortest vector that gives its candidates their logits, with noise orthogonal to them.
    /// The classes are sorted by frequency, as far as the profile's are, or in random order.
    pub fn trained(profile: &'static Profile, sizes: Sizes, sorted: bool, seed: u64) -> Self {
        let Sizes { tokens, hidden: width, vocabulary } = sizes;
        let zipf = Zipf { vocabulary, fall: profile.fall };
        let class_of_rank = zipf.classes(sorted, profile.disorder, seed);
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
            profile,
            zipf,
            seed,
            candidates: profile.candidates.min(width / DIMENSIONS_A_CANDIDATE).min(vocabulary / 8),
            log_total: (0..vocabulary).map(|rank| zipf.bias(rank).exp()).sum::<f64>().ln(),
            class_of_rank: &class_of_rank,
            classifier: &classifier,
        };
        let hidden = rows(tokens, width, |i, row| maker.hidden(i, row));
        let targets = (0..tokens).map(|i| maker.target(i)).collect();
        Self { hidden, classifier, targets }
    }
}

/// Words by frequency: drawn with p ∝ 1 / (rank + 10).
#[derive(Clone, Copy)]
struct Zipf {
    vocabulary: usize,
    fall: f64,
}

impl Zipf {
    fn bias(self, rank: usize) -> f64 {
        let rank = rank as f64;
        -(rank + ZIPF_SHIFT).ln() - self.fall * rank / self.vocabulary as f64
    }

    /// The class of each rank.
    fn classes(self, sorted: bool, disorder: f64, seed: u64) -> Vec<u32> {
        let mut classes: Vec<u32> = (0..self.vocabulary as u32).collect();
        let mut random = Generator::of(seed, ORDER, 0);
        if !sorted {
            random.shuffle(&mut classes);
        } else if disorder > 0.0 {
            // The rank whose place this is, by its logarithm with noise.
            let place = |rank: usize| (rank as f64 + ZIPF_SHIFT).ln();
            let places: Vec<f64> = (0..self.vocabulary)
                .map(|rank| place(rank) + disorder * random.standard_normal())
                .collect();
            let mut ranks = classes.clone();
            ranks.sort_by(|&a, &b| places[a as usize].total_cmp(&places[b as usize]));
            for (class, &rank) in ranks.iter().enumerate() {
                classes[rank as usize] = class as u32;
            }
        }
        classes
    }

    /// A rank, by the integral of the density.
    fn draw(self, random: &mut Generator) -> usize {
        let ratio = (self.vocabulary as f64 + ZIPF_SHIFT) / ZIPF_SHIFT;
        let rank = ZIPF_SHIFT * (ratio.powf(random.uniform()) - 1.0);
        (rank as usize).min(self.vocabulary - 1)
    }
}

/// What the hidden states are made of.
struct Maker<'a, T> {
    profile: &'static Profile,
    zipf: Zipf,
    seed: u64,
    /// How many candidates a row has.
    candidates: usize,
    /// ln Σ exp(bias).
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

    /// What the classes beside the candidates of a row have together.
    fn tail(&self, row: usize) -> f64 {
        let [least, most] = self.profile.tail;
        least + (most - least) * Generator::of(self.seed, TAIL, row).uniform()
    }

    /// The probability of each candidate, ∝ j^−a.
    fn probabilities(&self, tail: f64) -> Array1<f64> {
        let power = -self.profile.power;
        let shares = Array1::from_shape_fn(self.candidates, |j| ((j + 1) as f64).powf(power));
        let total = shares.sum();
        shares * ((1.0 - tail) / total)
    }

    /// One of the candidates of a row by its probability; by Zipf's law where there is none.
    fn target(&self, row: usize) -> u32 {
        let ranks = self.ranks(row, &mut Generator::of(self.seed, HIDDEN, row));
        let mut random = Generator::of(self.seed, TARGET, row);
        let probabilities = self.probabilities(self.tail(row));
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
        let tail = self.tail(i);
        let logits = self.probabilities(tail).mapv(|p| (p / tail).ln()) + self.log_total - biases;
        let noise = self.profile.noise;
        let mut variance = noise * noise;
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
        let deviation = (noise * noise - spent).max(0.0).sqrt() as f32;
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
