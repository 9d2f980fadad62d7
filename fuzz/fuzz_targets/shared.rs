//! A loss with any options over any shapes, and the oracle's answer to it.

use arbitrary::Arbitrary;
use ndarray::{Array1, Array2};
use surprisal::{Backward, Isa, LinearCrossEntropyBuilder, Reduction, Targets};

#[path = "../../tests/common/mod.rs"]
mod common;
pub use common::{Answer, Case, Stream, Wanted, cast, inputs, inputs_with};

#[derive(Arbitrary, Debug)]
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
}

impl Config {
    pub fn case(&self) -> Case {
        let mut stream = Stream(u64::from(self.seed));
        // Wide: over the columns of a block; tall: over the rows of a tile and the depth of a product.
        let (more_rows, more_classes) = match (self.tall, self.wide) {
            (true, _) => (32, 1),
            (false, true) => (1, 9),
            (false, false) => (1, 1),
        };
        let rows = usize::from(self.rows % 24) * more_rows;
        let width = usize::from(self.width % 20) * if self.tall { 16 } else { 1 };
        let classes = if self.tall { self.classes % 40 } else { self.classes };
        let classes = 1 + usize::from(classes) * more_classes;
        let spread = f64::from(self.spread % 40) / 10.0;
        // Numbers that every type holds.
        let mut matrix = |rows, columns, scale| {
            stream.matrix(rows, columns, scale).mapv(|x| half::bf16::from_f64(x).to_f64())
        };
        let hidden = matrix(rows, width, spread);
        let classifier = matrix(classes, width, 1.0);
        let targets = if self.soft {
            Wanted::Soft(stream.matrix(rows, classes, 1.0).mapv(|x| f64::from(x.max(0.0) as f32)))
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

    pub fn builder(&self, case: &Case) -> LinearCrossEntropyBuilder {
        let isas = Isa::available();
        case.builder()
            .varentropy(true)
            .rank(!self.soft)
            .top_k(usize::from(self.top_k % 5))
            .isa(isas[usize::from(self.isa) % isas.len()])
            .backward(if self.backward { Backward::Strip } else { Backward::Recompute })
            .memory_budget((8 << 20) + (usize::from(self.budget) << 14))
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
        let (rows, classes) = dense.dim();
        let class = |j: usize| (2 * classes - 1 - j) % classes;
        let list = (rows, classes + classes / 3);
        config.sparse.then(|| Self {
            classes: Array2::from_shape_fn(list, |(_, j)| class(j) as u32),
            weights: Array2::from_shape_fn(list, |(i, j)| {
                let twice = class(j) >= classes - classes / 3;
                dense[[i, class(j)]] * if twice { 0.5 } else { 1.0 }
            }),
        })
    }

    pub fn targets(&self) -> Targets<'_> {
        Targets::Sparse { classes: self.classes.view(), weights: self.weights.view().into() }
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
        common::assert_close(what, a, b, relative, absolute);
    }
}
