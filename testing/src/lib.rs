//! A second, plain implementation in f64 that holds all the logits: the truth of the tests.

pub mod golden;
pub mod rare;
pub mod route;

use ndarray::{Array1, Array2};
use surprisal::random::Generator;
use surprisal::{
    Element, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Real, Reduction, Targets,
};

/// What a row should be.
#[derive(Clone, Debug)]
pub enum Wanted {
    Hard(Vec<i64>),
    Soft(Array2<f64>),
}

/// A loss with its data and its upstream gradients.
#[derive(Clone, Debug)]
pub struct Case {
    pub hidden: Array2<f64>,
    /// The hidden states are the logits, and there is no classifier.
    pub given: bool,
    pub classifier: Array2<f64>,
    pub targets: Wanted,
    pub bias: Option<Array1<f64>>,
    pub class_weights: Option<Array1<f64>>,
    pub token_weights: Option<Array1<f64>>,
    pub scale: f64,
    pub softcap: Option<f64>,
    pub label_smoothing: f64,
    pub z_loss: f64,
    pub ignore_index: Option<i64>,
    pub reduction: Reduction,
    pub d_loss: Array1<f64>,
    pub d_log_sum_exp: Option<Array1<f64>>,
    pub d_entropy: Option<Array1<f64>>,
}

impl Case {
    pub fn new(hidden: Array2<f64>, classifier: Array2<f64>, targets: Wanted) -> Self {
        let rows = hidden.dim().0;
        Self {
            hidden,
            given: false,
            classifier,
            targets,
            bias: None,
            class_weights: None,
            token_weights: None,
            scale: 1.0,
            softcap: None,
            label_smoothing: 0.0,
            z_loss: 0.0,
            ignore_index: Some(-100),
            reduction: Reduction::Mean,
            d_loss: Array1::ones(rows),
            d_log_sum_exp: None,
            d_entropy: None,
        }
    }

    /// Logits that are given.
    pub fn of_logits(logits: Array2<f64>, targets: Wanted) -> Self {
        Self { given: true, ..Self::new(logits, Array2::zeros((0, 0)), targets) }
    }

    /// The options of this case.
    pub fn builder(&self) -> LinearCrossEntropyBuilder {
        let builder = LinearCrossEntropy::builder()
            .scale(self.scale)
            .label_smoothing(self.label_smoothing)
            .z_loss(self.z_loss)
            .ignore_index(self.ignore_index)
            .reduction(self.reduction);
        match self.softcap {
            Some(softcap) => builder.softcap(softcap),
            None => builder,
        }
    }

    /// a = c·tanh(s(E·Cᵀ + b)/c), and da/dz.
    pub fn logits(&self) -> (Array2<f64>, Array2<f64>) {
        let mut a = match self.given {
            true => self.hidden.clone(),
            false => self.hidden.dot(&self.classifier.t()),
        };
        if let Some(bias) = &self.bias {
            a += bias;
        }
        let mut slope = Array2::from_elem(a.dim(), self.scale);
        a *= self.scale;
        if let Some(softcap) = self.softcap {
            for (a, slope) in a.iter_mut().zip(&mut slope) {
                let t = (*a / softcap).tanh();
                let cosh = (*a / softcap).cosh();
                *a = softcap * t;
                *slope *= 1.0 / (cosh * cosh);
            }
        }
        (a, slope)
    }

    /// By what the cross-entropy is divided.
    pub fn divisor(&self) -> f64 {
        let weight = |v: usize| self.class_weights.as_ref().map_or(1.0, |w| w[v]);
        match (self.reduction, &self.targets) {
            (Reduction::Mean, Wanted::Hard(y)) => y
                .iter()
                .filter(|&&y| Some(y) != self.ignore_index)
                .map(|&y| weight(y as usize))
                .sum(),
            (Reduction::Mean, Wanted::Soft(_)) => self.hidden.dim().0 as f64,
            (Reduction::Divide(by), _) => by,
            _ => 1.0,
        }
    }

    /// k_i, the coefficient of each row's cross-entropy; 0 at ignored rows.
    pub fn coefficients(&self) -> Array1<f64> {
        let divisor = self.divisor();
        Array1::from_shape_fn(self.hidden.dim().0, |i| match &self.targets {
            Wanted::Hard(y) if Some(y[i]) == self.ignore_index => 0.0,
            _ => self.d_loss[i] * self.token_weights.as_ref().map_or(1.0, |w| w[i]) / divisor,
        })
    }

    /// G without what smoothing takes from each class: where a class is no target, the terms that
    /// are proportional to p.
    pub fn proportional(&self, answer: &Answer) -> Array2<f64> {
        let (_, slopes) = self.logits();
        let mut g = answer.d_products.clone();
        let (coefficients, classes) = (self.coefficients(), g.dim().1);
        for ((i, v), g) in g.indexed_iter_mut() {
            let weight = self.class_weights.as_ref().map_or(1.0, |w| w[v]);
            let spread = coefficients[i] * self.label_smoothing / classes as f64;
            *g += spread * weight * slopes[[i, v]];
        }
        g
    }

    pub fn run(&self) -> Answer {
        let (logits, slope) = self.logits();
        let (rows, classes) = logits.dim();
        let weight = |v: usize| self.class_weights.as_ref().map_or(1.0, |w| w[v]);
        let token = |i: usize| self.token_weights.as_ref().map_or(1.0, |w| w[i]);
        let kept = |i: usize| match &self.targets {
            Wanted::Hard(y) => Some(y[i]) != self.ignore_index,
            Wanted::Soft(_) => true,
        };
        let spread = self.label_smoothing / classes as f64;
        let kept_rows = (0..rows).filter(|&i| kept(i));
        let (by_loss, by_z) = match (self.reduction, &self.targets) {
            (Reduction::Mean, Wanted::Hard(y)) => (
                kept_rows.clone().map(|i| weight(y[i] as usize)).sum(),
                kept_rows.clone().count() as f64,
            ),
            (Reduction::Mean, Wanted::Soft(_)) => (rows as f64, rows as f64),
            (Reduction::Divide(by), _) => (by, by),
            _ => (1.0, 1.0),
        };
        let mut answer = Answer {
            losses: Array1::zeros(rows),
            loss: 0.0,
            log_sum_exp: Array1::zeros(rows),
            entropy: Array1::zeros(rows),
            varentropy: Array1::zeros(rows),
            argmax: Array1::from_elem(rows, -1),
            rank: Array1::from_elem(rows, -1),
            d_logits: Array2::zeros((rows, classes)),
            d_products: Array2::zeros((rows, classes)),
            d_hidden: Array2::zeros(self.hidden.dim()),
            d_classifier: Array2::zeros(self.classifier.dim()),
            d_bias: Array1::zeros(classes),
        };
        let (mut sum, mut z_sum) = (0.0, 0.0);
        for i in kept_rows {
            let a = logits.row(i);
            let argmax = (0..classes).fold(0, |best, v| if a[v] > a[best] { v } else { best });
            let m = a[argmax];
            let r: f64 = (0..classes).filter(|&v| v != argmax).map(|v| (a[v] - m).exp()).sum();
            let log_sum = r.ln_1p();
            let p = a.mapv(|a| (a - m).exp() / (1.0 + r));
            let below = a.mapv(|a| log_sum + (m - a));
            let times = |c: f64, x: f64| if c == 0.0 { 0.0 } else { c * x };
            let entropy: f64 = p.iter().zip(&below).map(|(&p, &s)| times(p, s)).sum();
            let mut weights = Array1::zeros(classes);
            match &self.targets {
                Wanted::Hard(y) => {
                    weights[y[i] as usize] += (1.0 - self.label_smoothing) * weight(y[i] as usize);
                    for v in 0..classes {
                        weights[v] += spread * weight(v);
                    }
                    let y = a[y[i] as usize];
                    answer.rank[i] = a.iter().filter(|&&a| a > y).count() as i64;
                }
                Wanted::Soft(t) => {
                    for v in 0..classes {
                        weights[v] =
                            weight(v) * ((1.0 - self.label_smoothing) * t[[i, v]] + spread);
                    }
                }
            }
            let ce: f64 = weights.iter().zip(&below).map(|(&w, &s)| times(w, s)).sum();
            let lse = m + log_sum;
            answer.losses[i] = token(i) * (ce + self.z_loss * lse * lse);
            sum += token(i) * ce;
            z_sum += token(i) * self.z_loss * lse * lse;
            answer.log_sum_exp[i] = lse;
            answer.entropy[i] = entropy;
            let square = |s: f64| (s - entropy).powi(2);
            answer.varentropy[i] = p.iter().zip(&below).map(|(&p, &s)| times(p, square(s))).sum();
            answer.argmax[i] = argmax as i64;

            let up = self.d_loss[i] * token(i);
            let d_lse = self.d_log_sum_exp.as_ref().map_or(0.0, |g| g[i])
                + 2.0 * self.z_loss * lse * up / by_z;
            let d_entropy = self.d_entropy.as_ref().map_or(0.0, |g| g[i]);
            let sum_of_weights: f64 = weights.sum();
            for v in 0..classes {
                // (Σ w) p − w at the arg-max, without the cancellation of p − 1.
                let others: f64 = sum_of_weights - weights[v];
                let pull = if v == argmax {
                    others - sum_of_weights * r / (1.0 + r)
                } else {
                    sum_of_weights * p[v] - weights[v]
                };
                answer.d_logits[[i, v]] = up / by_loss * pull + d_lse * p[v]
                    - times(p[v], d_entropy * (entropy - below[v]));
                answer.d_products[[i, v]] = answer.d_logits[[i, v]] * slope[[i, v]];
            }
        }
        answer.loss = sum / by_loss + if self.z_loss == 0.0 { 0.0 } else { z_sum / by_z };
        if self.given {
            answer.d_hidden = answer.d_products.clone();
        } else {
            answer.d_hidden = answer.d_products.dot(&self.classifier);
            answer.d_classifier = answer.d_products.t().dot(&self.hidden);
        }
        answer.d_bias = answer.d_products.sum_axis(ndarray::Axis(0));
        answer
    }
}

/// The inputs of a case whose arrays were cast.
pub fn inputs<'a, R: Real, T: Element<Real = R>>(
    case: &'a Case,
    hidden: &'a Array2<T>,
    classifier: &'a Array2<T>,
) -> Inputs<'a> {
    let targets = match &case.targets {
        Wanted::Hard(y) => Targets::from(y),
        Wanted::Soft(t) => Targets::soft(t),
    };
    inputs_with(case, hidden, classifier, targets)
}

/// The same with targets that say what the case's do in another way.
pub fn inputs_with<'a, R: Real, T: Element<Real = R>>(
    case: &'a Case,
    hidden: &'a Array2<T>,
    classifier: &'a Array2<T>,
    targets: Targets<'a>,
) -> Inputs<'a> {
    let mut inputs = Inputs::new(hidden.view(), classifier.view(), targets);
    if let Some(bias) = &case.bias {
        inputs = inputs.bias(bias.view());
    }
    if let Some(weights) = &case.class_weights {
        inputs = inputs.class_weights(weights.view());
    }
    if let Some(weights) = &case.token_weights {
        inputs = inputs.token_weights(weights.view());
    }
    inputs
}

/// An array in another type, rounded.
pub fn cast<T: Element>(from: &Array2<f64>) -> Array2<T> {
    from.mapv(T::from_f64)
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub losses: Array1<f64>,
    pub loss: f64,
    pub log_sum_exp: Array1<f64>,
    pub entropy: Array1<f64>,
    pub varentropy: Array1<f64>,
    pub argmax: Array1<i64>,
    pub rank: Array1<i64>,
    pub d_logits: Array2<f64>,
    pub d_products: Array2<f64>,
    pub d_hidden: Array2<f64>,
    pub d_classifier: Array2<f64>,
    pub d_bias: Array1<f64>,
}

/// Arrays of the random numbers of a seed.
pub struct Stream(pub u64);

impl Stream {
    pub fn bits(&mut self) -> u64 {
        let mut generator = Generator::from_state(self.0);
        let bits = generator.bits();
        self.0 = generator.state();
        bits
    }

    /// Uniform in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64 + 1e-17
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    pub fn matrix(&mut self, rows: usize, columns: usize, scale: f64) -> Array2<f64> {
        Array2::from_shape_simple_fn((rows, columns), || scale * self.normal())
    }

    pub fn vector(&mut self, length: usize, scale: f64) -> Array1<f64> {
        Array1::from_shape_simple_fn(length, || scale * self.normal())
    }

    pub fn classes(&mut self, rows: usize, classes: usize) -> Vec<i64> {
        (0..rows).map(|_| (self.bits() % classes as u64) as i64).collect()
    }
}

/// |a − b| within `relative`·|b| + `absolute`; NaN matches NaN, infinities match themselves.
pub fn close(a: f64, b: f64, relative: f64, absolute: f64) -> bool {
    let near = b.is_finite() && (a - b).abs() <= relative * b.abs() + absolute;
    a == b || (a.is_nan() && b.is_nan()) || near
}

#[track_caller]
pub fn assert_close<'a>(
    what: &str,
    a: impl IntoIterator<Item = f64>,
    b: impl IntoIterator<Item = &'a f64>,
    relative: f64,
    absolute: f64,
) {
    let mut b = b.into_iter();
    for (i, a) in a.into_iter().enumerate() {
        let b = *b.next().expect("as many expected numbers");
        assert!(close(a, b, relative, absolute), "{what}[{i}] is {a:e}, expected {b:e}");
    }
    assert!(b.next().is_none(), "{what} is too short");
}

/// Whether products of bf16 are computed as such, and G is rounded to it.
pub fn multiplies_bf16(isa: surprisal::Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return isa.name() == "avx512" && std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}
