//! A loss with any options over any shapes, and the oracle's answer to it.

use arbitrary::Arbitrary;
use ndarray::{Array1, Array2};
use surprisal::{Backward, Filter, Isa, LinearCrossEntropyBuilder, Reduction, Targets};
use testing::rare::one_in;

pub use testing::{Answer, Case, Stream, Wanted, cast, inputs, inputs_with};

#[derive(Arbitrary, Debug, Hash)]
pub struct Config {
    rows: u8,
    width: u8,
    classes: u8,
    wide: bool,
    seed: u32,
    spread: u8,
    scale: Option<u8>,
    softcap: Option<u8>,
    label_smoothing: u8,
    z_loss: u8,
    bias: bool,
    offset: bool,
    class_weights: bool,
    token_weights: bool,
    ignore: Option<u8>,
    reduction: u8,
    soft: bool,
    sparse: bool,
    tall: bool,
    top_k: u8,
    backward: bool,
    isa: u8,
    pub narrow: bool,
    pub half: bool,
    budget: u8,
    filter: Option<u8>,
    unfiltered: u8,
}

/// Classes that a filter keeps or drops together.
const SEGMENT: usize = 32;

impl Config {
    pub fn case(&self) -> Case {
        let mut stream = Stream(u64::from(self.seed));
        // Mostly small, with a tail of every vector and panel. Wide: over a tile of 256 columns, a few of
        // them over a span of 2048; tall: over a panel's groups of rows and the depth of a product.
        let rare = one_in(64, &(self, "large"));
        let tall = self.tall && one_in(4, &(self, "tall"));
        let (rows, width, classes) = match (tall, self.wide) {
            (true, _) => (self.rows % if rare { 120 } else { 40 }, self.width, self.classes % 40),
            (false, true) => (self.rows % 5, self.width % 12, self.classes),
            (false, false) => (self.rows % 9, self.width % 20, self.classes % 80),
        };
        let (rows, width) = (usize::from(rows), usize::from(width));
        let more = if self.wide && !tall && rare { 9 } else { 2 };
        let classes = 1 + usize::from(classes) * if self.wide && !tall { more } else { 1 };
        let spread = f64::from(self.spread % 40) / 10.0;
        // Numbers that every type holds.
        let mut matrix = |rows, columns, scale| {
            stream.matrix(rows, columns, scale).mapv(|x| half::bf16::from_f64(x).to_f64())
        };
        let hidden = matrix(rows, width, spread);
        let classifier = matrix(classes, width, 1.0);
        let targets = if self.soft {
            let mut weights =
                stream.matrix(rows, classes, 1.0).mapv(|x| f64::from(x.max(0.0) as f32));
            // So that a filter has something to drop.
            if self.sparse && self.filter.is_some() {
                for ((_, v), weight) in weights.indexed_iter_mut() {
                    *weight = if v / SEGMENT % 3 == 1 { *weight } else { 0.0 };
                }
            }
            Wanted::Soft(weights)
        } else {
            Wanted::Hard(stream.classes(rows, classes))
        };
        let mut case = Case::new(hidden, classifier, targets);
        let offset = if self.offset { 1024.0 } else { 0.0 };
        let narrow = |v: Array1<f64>| v.mapv(|x| f64::from(x as f32));
        case.bias =
            self.bias.then(|| stream.vector(classes, 1.0).mapv(|x| f64::from((x + offset) as f32)));
        case.class_weights = self.class_weights.then(|| narrow(stream.vector(classes, 1.0)).abs());
        case.token_weights = self.token_weights.then(|| narrow(stream.vector(rows, 1.0)));
        case.scale = self.scale.map_or(1.0, |s| (f64::from(s) - 100.0) / 64.0);
        case.softcap = self.softcap.map(|c| f64::from(c) / 4.0 + 0.25);
        case.label_smoothing = f64::from(self.label_smoothing % 5) / 4.0;
        case.z_loss = f64::from(self.z_loss % 3) / 64.0;
        case.ignore_index = self.ignore.map(|i| i64::from(i) % classes as i64);
        case.reduction = match self.reduction % 4 {
            0 => Reduction::None,
            1 => Reduction::Mean,
            2 => Reduction::Sum,
            _ => Reduction::Divide(7.5),
        };
        case
    }

    /// The threshold of a filter, where the options go with one.
    pub fn threshold(&self, case: &Case) -> Option<f64> {
        let dense = self.soft && !self.sparse;
        let both = case.softcap.is_some() && case.label_smoothing > 0.0;
        const THRESHOLDS: [i32; 6] = [-28, -20, -12, -6, -2, 0];
        let threshold = |which: u8| match THRESHOLDS.get(usize::from(which % 7)) {
            Some(&power) => 2.0_f64.powi(power),
            None => 0.0,
        };
        self.filter.filter(|_| !dense && !both).map(threshold)
    }

    /// Whether the filter acts on the gradients of hidden, classifier and bias.
    pub fn filtered(&self) -> [bool; 3] {
        [1, 2, 4].map(|bit| self.unfiltered & bit == 0)
    }

    /// Whether this input is worth more than one thread.
    pub fn on_threads(&self) -> bool {
        one_in(16, &(self, "threads"))
    }

    /// Whether G is rounded to bf16, for inputs of bf16.
    pub fn rounds(&self) -> bool {
        testing::multiplies_bf16(self.isa())
    }

    fn isa(&self) -> Isa {
        let isas = Isa::available();
        isas[usize::from(self.isa) % isas.len()]
    }

    pub fn builder(&self, case: &Case) -> LinearCrossEntropyBuilder {
        let [hidden, classifier, bias] = self.filtered();
        let builder =
            case.builder().filter_hidden(hidden).filter_classifier(classifier).filter_bias(bias);
        let builder = match self.threshold(case) {
            Some(threshold) => builder.filter(Filter::Below(threshold)),
            None => builder,
        };
        builder
            .varentropy(true)
            .rank(!self.soft)
            .top_k(usize::from(self.top_k % 5))
            .isa(self.isa())
            .backward(if self.backward { Backward::Strip } else { Backward::Recompute })
            .memory_budget((8 << 20) + (usize::from(self.budget) << 14))
    }
}

/// The classes that lists of soft targets name: under a filter those alone that a row weighs.
fn used(config: &Config, dense: &Array2<f64>) -> Vec<usize> {
    let weighed = |v: usize| dense.column(v).iter().any(|&t| t != 0.0);
    (0..dense.dim().1).filter(|&v| config.filter.is_none() || weighed(v)).collect()
}

/// What a filter may leave out: |G| of the classes that are in no segment with a target or with a p
/// at the threshold, the segments kept at least, and the probability dropped at most.
pub struct Droppable {
    pub entries: Array2<f64>,
    pub kept: f64,
    pub largest: f64,
}

impl Droppable {
    pub fn of(
        config: &Config,
        case: &Case,
        answer: &Answer,
        logit: f64,
        unit: f64,
    ) -> Option<Self> {
        let threshold = config.threshold(case)?;
        // p is off by its logit, relatively, and the few units of exp, ln and a sum.
        let off = 8.0 * logit + 600.0 * unit;
        let (logits, _) = case.logits();
        let (rows, classes) = logits.dim();
        let segments = classes.div_ceil(SEGMENT);
        let mut entries = case.proportional(answer).mapv(f64::abs);
        let named = match &case.targets {
            Wanted::Soft(dense) => used(config, dense),
            Wanted::Hard(_) => Vec::new(),
        };
        let (mut dropped, mut all, mut largest) = (0, 0, 0.0_f64);
        for i in 0..rows {
            let target = match &case.targets {
                Wanted::Hard(y) if Some(y[i]) == case.ignore_index => continue,
                Wanted::Hard(y) => Some(y[i] as usize),
                Wanted::Soft(_) => None,
            };
            let mut lost = 0.0;
            for segment in 0..segments {
                let own = segment * SEGMENT..classes.min((segment + 1) * SEGMENT);
                let p = own.clone().map(|v| (logits[[i, v]] - answer.log_sum_exp[i]).exp());
                let (most, sum) = p.fold((0.0_f64, 0.0), |(most, sum), p| (most.max(p), sum + p));
                let holds = |v: &usize| own.contains(v);
                all += 1;
                if most < threshold * (1.0 + off) && !named.iter().chain(&target).any(holds) {
                    dropped += 1;
                    lost += sum;
                } else {
                    own.for_each(|v| entries[[i, v]] = 0.0);
                }
            }
            largest = largest.max(lost);
        }
        let kept = 1.0 - f64::from(dropped) / f64::from(all.max(1));
        Some(Self { entries, kept, largest: largest * (1.01 + off) })
    }
}

/// Soft targets as lists of classes, from the last class to the first and some of them twice.
pub struct Sparse {
    classes: Array2<u32>,
    weights: Array2<f64>,
}

impl Sparse {
    pub fn of(config: &Config, case: &Case) -> Option<Self> {
        let Wanted::Soft(dense) = &case.targets else { return None };
        let rows = dense.dim().0;
        let used = used(config, dense);
        let count = used.len();
        let class = |j: usize| used[(2 * count - 1 - j) % count];
        let list = (rows, count + count / 3);
        config.sparse.then(|| Self {
            classes: Array2::from_shape_fn(list, |(_, j)| class(j) as u32),
            weights: Array2::from_shape_fn(list, |(i, j)| {
                let twice = (2 * count - 1 - j) % count >= count - count / 3;
                dense[[i, class(j)]] * if twice { 0.5 } else { 1.0 }
            }),
        })
    }

    pub fn targets(&self) -> Targets<'_> {
        Targets::sparse(&self.classes, &self.weights)
    }
}

/// How far the parts of a case may be from the oracle, from the arithmetic that is done.
pub struct Tolerance {
    /// Of a logit, absolutely; of a probability, relatively.
    pub logit: f64,
    /// Of a loss: the logit's, times the weights of the row.
    pub loss: f64,
    /// Of a gradient.
    pub gradient: f64,
}

impl Tolerance {
    pub fn of(case: &Case, answer: &Answer, unit: f64) -> Self {
        let largest = |m: &Array2<f64>| m.iter().fold(0.0_f64, |m, x| x.abs().max(m));
        let vector = |v: &Option<Array1<f64>>, none: f64| {
            v.as_ref().map_or(none, |v| v.iter().fold(0.0_f64, |m, x| x.abs().max(m)))
        };
        let products = case.hidden.mapv(f64::abs).dot(&case.classifier.mapv(f64::abs).t());
        let magnitude = (largest(&products) + vector(&case.bias, 0.0)) * case.scale.abs();
        let (rows, width) = case.hidden.dim();
        let classes = case.classifier.dim().0;
        let magnitude = magnitude.max(vector(&Some(answer.log_sum_exp.clone()), 0.0));
        let logit = unit * (width as f64 + 8.0) * (magnitude + 1.0);
        let soft = match &case.targets {
            Wanted::Soft(t) => t.sum_axis(ndarray::Axis(1)).fold(1.0_f64, |m, &x| m.max(x)),
            Wanted::Hard(_) => 1.0,
        };
        let weight = vector(&case.class_weights, 1.0) * soft.max(1.0);
        let weight = weight.max(weight * case.label_smoothing * 2.0);
        let token = vector(&case.token_weights, 1.0);
        let coefficient = token * (weight + 2.0 * case.z_loss * (1.0 + magnitude));
        let loss = 8.0 * coefficient * (logit + unit * 64.0) * (1.0 + magnitude);
        let upstream = case.d_loss.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
        let factor = largest(&case.hidden).max(largest(&case.classifier)).max(1.0);
        let entropy = vector(&case.d_entropy, 0.0) * (2.0 + 2.0 * magnitude);
        let all = (coefficient * upstream + vector(&case.d_log_sum_exp, 0.0) + entropy)
            * case.scale.abs().max(1.0)
            * factor;
        // Σ_v |G| is at most twice the coefficient; a sum of n terms adds n units.
        let terms = (64 + rows + classes) as f64;
        let gradient = 4.0 * all * (logit + unit * terms) * (1 + rows) as f64;
        Self { logit, loss, gradient }
    }

    pub fn check<'a>(
        what: &str,
        a: impl IntoIterator<Item = f64>,
        b: impl IntoIterator<Item = &'a f64>,
        relative: f64,
        absolute: f64,
    ) {
        testing::assert_close(what, a, b, relative, absolute);
    }
}
