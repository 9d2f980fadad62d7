//! Random calls with all that stands beside their rows and logits, and how far a device may be from the truth.

use ndarray::{Array1, Array2, Axis};
use surprisal::gpu::Context;
use surprisal::loss::{Companion, Needs, RowLoss, RowScalars, Term, Terms};
use surprisal::{
    Forward, Gradients, Inputs, LinearCrossEntropy, LinearCrossEntropyBuilder, Matrix, Reduction,
    Targets, Upstream,
};
use testing::{Stream, cast};

/// a s + b X + c s X + d X²/2 + h H + z lse²/2, as a user would write it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mixed {
    pub(super) surprisal: f64,
    pub(super) companion: f64,
    pub(super) product: f64,
    pub(super) square: f64,
    pub(super) entropy: f64,
    pub(super) log_sum_exp: f64,
    pub(super) soft: bool,
}

impl Mixed {
    /// Of every scalar something, of random sizes.
    pub(super) fn random(stream: &mut Stream) -> Self {
        let mut next = || stream.normal();
        Self {
            surprisal: next(),
            companion: next(),
            product: 0.3 * next(),
            square: 0.3 * next(),
            entropy: 0.5 * next(),
            log_sum_exp: 0.1 * next(),
            soft: false,
        }
    }

    pub(super) fn without_companion(self) -> Self {
        Self { companion: 0.0, product: 0.0, square: 0.0, ..self }
    }

    /// With soft targets a loss is linear in s.
    pub(super) fn with_soft_targets(self) -> Self {
        Self { product: 0.0, soft: true, ..self }
    }

    fn has_companion(&self) -> bool {
        [self.companion, self.product, self.square] != [0.0; 3]
    }

    /// Its value, and its slopes by s, X and lse.
    fn at(&self, s: f64, x: f64, entropy: f64, lse: f64) -> (f64, [f64; 3]) {
        let value = self.surprisal * s
            + self.companion * x
            + self.product * s * x
            + 0.5 * self.square * x * x
            + self.entropy * entropy
            + 0.5 * self.log_sum_exp * lse * lse;
        let by_companion = self.companion + self.product * s + self.square * x;
        (value, [self.surprisal + self.product * x, by_companion, self.log_sum_exp * lse])
    }
}

impl RowLoss for Mixed {
    fn needs(&self) -> Needs {
        let needs = Needs::nothing().entropy();
        let needs = if self.has_companion() { needs.companion() } else { needs };
        if self.soft { needs.soft_targets() } else { needs }
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        let x = if self.has_companion() { row.companion() } else { 0.0 };
        let (value, [by_surprisal, by_companion, by_log_sum_exp]) =
            self.at(row.surprisal(), x, row.entropy(), row.log_sum_exp());
        Terms::weighted(
            Term::new(value)
                .by_surprisal(by_surprisal)
                .by_companion(by_companion)
                .by_entropy(self.entropy)
                .by_log_sum_exp(by_log_sum_exp),
        )
    }
}

/// The kinds of companions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Beside {
    Nothing,
    Classes,
    Entries,
    Listed,
}

/// What a row should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wanted {
    Hard,
    Dense,
    Sparse,
}

/// Numbers that f32 holds.
pub(super) struct Data {
    pub(super) hidden: Array2<f64>,
    pub(super) classifier: Array2<f64>,
    pub(super) bias: Array1<f64>,
    pub(super) class_weights: Array1<f64>,
    pub(super) hard: Vec<i64>,
    pub(super) upstream: Array1<f64>,
    pub(super) temperatures: Option<Array1<f64>>,
    pub(super) softcap: Option<f64>,
    pub(super) wanted: Wanted,
    pub(super) beside: Beside,
    pub(super) costs: Array1<f64>,
    pub(super) entries: Array2<f64>,
    pub(super) listed: Array2<u32>,
    pub(super) values: Array2<f64>,
    soft: Array2<f64>,
}

/// How many classes are listed beside a row, as targets or as companions.
const LISTED: usize = 4;

impl Data {
    pub(super) fn new(rows: usize, width: usize, classes: usize) -> Self {
        let mut stream = Stream((rows * 10_007 + classes) as u64);
        let narrow = |x: f64| f64::from(x as f32);
        let mut hard = stream.classes(rows, classes);
        if rows > 2 {
            hard[1] = -100;
        }
        let mut listed = Array2::zeros((rows, LISTED));
        for (i, mut row) in listed.outer_iter_mut().enumerate() {
            row.mapv_inplace(|_: u32| (stream.bits() % classes as u64) as u32);
            // One that stands twice, and the target.
            row[1] = row[0];
            if i % 2 == 0 && hard[i] >= 0 {
                row[2] = hard[i] as u32;
            }
        }
        let scale = 1.0 / (width as f64).sqrt();
        Self {
            hidden: stream.matrix(rows, width, scale).mapv(narrow),
            classifier: stream.matrix(classes, width, 1.5).mapv(narrow),
            bias: stream.vector(classes, 0.5).mapv(narrow),
            class_weights: stream.vector(classes, 1.0).mapv(|x| narrow(x.abs() + 0.1)),
            hard,
            upstream: stream.vector(rows, 1.0).mapv(narrow),
            temperatures: None,
            softcap: None,
            wanted: Wanted::Hard,
            beside: Beside::Nothing,
            costs: stream.vector(classes, 1.0).mapv(narrow),
            entries: stream.matrix(rows, classes, 1.0).mapv(narrow),
            listed,
            values: stream.matrix(rows, LISTED, 1.0).mapv(narrow),
            soft: stream.matrix(rows, LISTED, 0.5).mapv(|x| narrow(x.abs())),
        }
    }

    pub(super) fn with_temperatures(mut self) -> Self {
        let mut stream = Stream(self.hidden.len() as u64);
        let temperature = |_| f64::from((0.6 + 2.0 * stream.uniform()) as f32);
        self.temperatures = Some(self.upstream.iter().map(temperature).collect());
        self
    }

    /// The loss of these data.
    pub(super) fn builder(&self, loss: Mixed) -> LinearCrossEntropyBuilder {
        let builder = LinearCrossEntropy::builder().reduction(Reduction::None).scale(1.25);
        let builder = builder.row_loss(loss).varentropy(self.has_temperature_gradient());
        match self.softcap {
            Some(softcap) => builder.softcap(softcap),
            None => builder,
        }
    }

    pub(super) fn companion(&self) -> Option<Companion<'_>> {
        match self.beside {
            Beside::Nothing => None,
            Beside::Classes => Some(Companion::classes(&self.costs)),
            Beside::Entries => Some(Companion::entries(&self.entries)),
            Beside::Listed => Some(Companion::listed(&self.listed, &self.values)),
        }
    }

    /// The weights of the classes of each row as soft targets.
    fn dense(&self) -> Array2<f64> {
        let mut dense = Array2::zeros(self.entries.dim());
        for ((i, j), &class) in self.listed.indexed_iter() {
            dense[[i, class as usize]] += self.soft[[i, j]];
        }
        dense
    }

    /// What a run of these data gives, with gradients in f64 whatever is computed in.
    pub(super) fn run(&self, loss: &LinearCrossEntropy, context: Option<&Context>) -> Run {
        let (hidden, classifier) = (cast::<f32>(&self.hidden), cast::<f32>(&self.classifier));
        let dense = self.dense();
        match context {
            Some(_) => self.run_with((&hidden).into(), (&classifier).into(), &dense, loss, context),
            None => {
                let (hidden, classifier) = (&self.hidden, &self.classifier);
                self.run_with(hidden.into(), classifier.into(), &dense, loss, context)
            }
        }
    }

    fn run_with<'a>(
        &'a self,
        hidden: Matrix<'a>,
        classifier: Matrix<'a>,
        dense: &'a Array2<f64>,
        loss: &LinearCrossEntropy,
        context: Option<&Context>,
    ) -> Run {
        let targets = match self.wanted {
            Wanted::Hard => Targets::from(&self.hard),
            Wanted::Dense => Targets::soft(dense),
            Wanted::Sparse => Targets::sparse(&self.listed, &self.soft),
        };
        let mut inputs = Inputs::new(hidden, classifier, targets)
            .bias(&self.bias)
            .class_weights(&self.class_weights);
        if let Some(companion) = self.companion() {
            inputs = inputs.companion(companion);
        }
        if let Some(temperatures) = &self.temperatures {
            inputs = inputs.temperatures(temperatures);
        }
        let mut d_hidden = Array2::from_elem(self.hidden.dim(), f64::NAN);
        let mut d_classifier = Array2::from_elem(self.classifier.dim(), f64::NAN);
        let mut d_bias = Array1::from_elem(self.bias.len(), f64::NAN);
        let mut d_temperature = Array1::from_elem(self.upstream.len(), f64::NAN);
        let mut gradients =
            Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier).bias(&mut d_bias);
        if self.has_temperature_gradient() {
            gradients = gradients.temperature(&mut d_temperature);
        }
        let upstream = Upstream::rows(&self.upstream);
        let forward = match context {
            Some(context) => loss.on(context).loss_and_gradients(&inputs, &upstream, gradients),
            None => loss.loss_and_gradients(&inputs, &upstream, gradients),
        };
        let forward = forward.unwrap_or_else(|error| panic!("{error}"));
        Run {
            losses: forward.losses().to_vec(),
            forward,
            hidden: d_hidden,
            classifier: d_classifier,
            bias: d_bias,
            temperature: d_temperature,
        }
    }

    pub(super) fn has_temperature_gradient(&self) -> bool {
        self.temperatures.is_some() && self.beside == Beside::Nothing && self.softcap.is_none()
    }

    /// How far a device may be from the truth.
    ///
    /// A logit is off by a sum of D products, a probability by that and by the rounding of its exponent and
    /// of a sum of as many terms as a thread adds, the scalars of a row by their terms' and G by the slopes'
    /// and the probabilities' errors, each to first order. The gradients are off by those of G and by sums of
    /// so many products.
    pub(super) fn bounds(&self, loss: &Mixed) -> Bounds {
        // Half a unit of rounding, twice for what is of second order.
        let unit = f64::from(f32::EPSILON);
        let (rows, classes) = self.entries.dim();
        let width = self.hidden.dim().1 as f64;
        let dense = self.dense();
        let products = self.hidden.dot(&self.classifier.t()) + &self.bias;
        let sizes = self.hidden.mapv(f64::abs).dot(&self.classifier.mapv(f64::abs).t())
            + self.bias.mapv(f64::abs);
        let in_a_thread = classes.min(4096) as f64 / 16.0 + 32.0;
        let mut bounds = Bounds {
            losses: vec![0.0; rows],
            temperature: vec![0.0; rows],
            g: Array2::zeros(self.entries.dim()),
            off: Array2::zeros(self.entries.dim()),
        };
        for i in 0..rows {
            let y = self.hard[i];
            if self.wanted == Wanted::Hard && y < 0 {
                continue;
            }
            let temperature = self.temperatures.as_ref().map_or(1.0, |t| t[i]);
            let scale = 1.25 / temperature;
            let capped = |u: f64| self.softcap.map_or(u, |cap| cap * (u / cap).tanh());
            let slope = |u: f64| self.softcap.map_or(1.0, |cap| 1.0 - (u / cap).tanh().powi(2));
            let a = products.row(i).mapv(|z| capped(scale * z));
            let largest = sizes.row(i).fold(0.0_f64, |most, &x| most.max(x));
            let cap = self.softcap.unwrap_or(0.0);
            let logit = unit * ((width + 6.0) * scale * largest + 4.0 * cap);
            let m = a.fold(f64::NEG_INFINITY, |most, &x| most.max(x));
            let u = a.mapv(|a| a - m);
            let e = u.mapv(f64::exp);
            let sum = e.sum();
            let (p, lse) = (e / sum, m + sum.ln());
            let deepest = u.fold(0.0_f64, |most, x| most.max(-x));
            let relative = 4.0 * logit + unit * (8.0 + deepest + in_a_thread);
            let mean = |f: &dyn Fn(usize) -> f64| (0..classes).map(|v| p[v] * f(v)).sum::<f64>();

            let beside = |v: usize| match self.beside {
                Beside::Nothing => 0.0,
                Beside::Classes => self.costs[v],
                Beside::Entries => self.entries[[i, v]],
                Beside::Listed => {
                    let own = self.listed.row(i).into_iter().zip(self.values.row(i));
                    own.filter(|(class, _)| **class as usize == v).map(|(_, x)| x).sum()
                }
            };
            let c: Vec<f64> = (0..classes).map(beside).collect();
            let weight = |v: usize| match self.wanted {
                Wanted::Hard => f64::from(u8::from(v as i64 == y)),
                _ => dense[[i, v]] * self.class_weights[v],
            };
            let t: Vec<f64> = (0..classes).map(weight).collect();
            let all: f64 = t.iter().sum();
            let s: f64 = (0..classes).map(|v| t[v] * (lse - a[v])).sum();
            // Of dense targets the sums are a thread's, and each new maximum moves them.
            let in_sums = if self.wanted == Wanted::Dense { unit * in_a_thread } else { unit };
            let s_rounded = in_sums * (s + all * (m.abs() + 2.0 * deepest));
            let entropy = mean(&|v| lse - a[v]);
            let x = mean(&|v| c[v]);
            let s_off = all * (2.0 * logit + relative) + s_rounded;
            let x_off = 2.0 * (relative + 2.0 * unit) * mean(&|v| c[v].abs());
            let u_off = relative * (1.0 + mean(&|v| u[v].abs())) + 2.0 * logit;
            let entropy_off = relative + u_off;
            let lse_off = logit + relative + unit * lse.abs();
            let (value, [f_s, f_x, f_lse]) = loss.at(s, x, entropy, lse);
            let h = loss.entropy;
            let f_s_off = loss.product.abs() * x_off;
            let f_x_off = loss.product.abs() * s_off + loss.square.abs() * x_off;
            let f_lse_off = loss.log_sum_exp.abs() * lse_off;
            let own = match self.wanted {
                Wanted::Hard => self.class_weights[y as usize],
                _ => 1.0,
            };
            let factor = self.upstream[i] * own;
            let terms = f_s.abs() * s_off
                + f_x.abs() * x_off
                + h.abs() * entropy_off
                + f_lse.abs() * lse_off
                + loss.product.abs() * s_off * x_off;
            bounds.losses[i] = 2.0 * own * (terms + unit * value.abs());

            let coefficient = f_s * all + f_lse;
            let coefficient_off = f_s_off * all + f_lse_off + in_sums * f_s.abs() * all;
            for v in 0..classes {
                let (away, surprise) = (c[v] - x, p[v].ln() + entropy);
                let d = p[v] * (coefficient - h * surprise + f_x * away) - f_s * t[v];
                let size =
                    coefficient.abs() + (h * surprise).abs() + f_x.abs() * (c[v].abs() + x.abs());
                let off = p[v]
                    * (relative * size
                        + coefficient_off
                        + h.abs() * (relative + entropy_off)
                        + f_x.abs() * x_off
                        + f_x_off * away.abs()
                        + 8.0 * unit * size)
                    + t[v] * (f_s_off + 2.0 * unit * f_s.abs());
                let z = scale * products[[i, v]];
                // 1 − t² of a softcap moves with the logit.
                let slope_off = match self.softcap {
                    None => unit,
                    Some(cap) => 2.0 * logit / cap + 8.0 * unit,
                };
                bounds.g[[i, v]] = factor * d * scale * slope(z);
                bounds.off[[i, v]] =
                    2.0 * factor.abs() * scale * (off * slope(z) + d.abs() * slope_off)
                        + f64::from(f32::MIN_POSITIVE);
            }
            let (mu, m_off) = (mean(&|v| u[v]), logit);
            let variance = mean(&|v| (u[v] - mu).powi(2));
            let variance_off = relative * variance + 2.0 * variance.sqrt() * (2.0 * logit + u_off);
            let below: f64 = (0..classes).map(|v| t[v] * -u[v]).sum();
            bounds.temperature[i] = 2.0
                * (factor / temperature).abs()
                * (f_lse.abs() * m_off
                    + m.abs() * (f_lse_off + unit * f_lse.abs())
                    + coefficient.abs() * u_off
                    + mu.abs() * coefficient_off
                    + h.abs() * variance_off
                    + f_s_off * below
                    + f_s.abs() * (2.0 * all * logit + s_rounded));
        }
        bounds
    }

    /// Compares a device's run with the processor's in f64.
    #[track_caller]
    pub(super) fn compare(&self, what: &str, loss: &Mixed, found: &Run, truth: &Run) {
        let unit = f64::from(f32::EPSILON);
        let (rows, classes) = self.entries.dim();
        let (width, bounds) = (self.hidden.dim().1, self.bounds(loss));
        let what = format!("{what}: {rows} × {width} × {classes}, {:?}, {loss:?}", self.beside);
        let near = |name: &str, found: &[f64], expected: &[f64], bounds: &[f64]| {
            assert_eq!(found.len(), bounds.len());
            for (i, (a, b)) in found.iter().zip(expected).enumerate() {
                let bound = bounds[i];
                assert!((a - b).abs() <= bound, "{what}, {name}[{i}]: {a:e}, {b:e}, {bound:e}");
            }
        };
        let flat = |m: &Array2<f64>| m.iter().copied().collect::<Vec<_>>();
        near("loss", &found.losses, &truth.losses, &bounds.losses);
        let g = bounds.g.mapv(f64::abs);
        let along_classes = unit * (classes.min(512) + classes / 512 + 2) as f64;
        let off = &bounds.off + &g * along_classes;
        let hidden = off.dot(&self.classifier.mapv(f64::abs));
        near("dE", &flat(&found.hidden), &flat(&truth.hidden), &flat(&hidden));
        let off = &bounds.off + &g * (unit * (rows + 2) as f64);
        let classifier = off.t().dot(&self.hidden.mapv(f64::abs));
        near("dC", &flat(&found.classifier), &flat(&truth.classifier), &flat(&classifier));
        let bias = off.sum_axis(Axis(0)).to_vec();
        near("db", &found.bias.to_vec(), &truth.bias.to_vec(), &bias);
        if self.has_temperature_gradient() {
            let [found, truth] = [found, truth].map(|run| run.temperature.to_vec());
            near("dT", &found, &truth, &bounds.temperature);
        }
    }

    /// Runs on both, and compares.
    #[track_caller]
    pub(super) fn check(&self, what: &str, context: &Context, loss: Mixed) -> Run {
        let built = self.builder(loss).build().unwrap();
        let found = self.run(&built, Some(context));
        self.compare(what, &loss, &found, &self.run(&built, None));
        found
    }
}

/// How far what is computed from may be off: the losses, G beside its values, the temperatures' gradients.
pub(super) struct Bounds {
    losses: Vec<f64>,
    temperature: Vec<f64>,
    g: Array2<f64>,
    off: Array2<f64>,
}

/// Losses and gradients.
pub(super) struct Run {
    pub(super) forward: Forward,
    pub(super) losses: Vec<f64>,
    pub(super) hidden: Array2<f64>,
    pub(super) classifier: Array2<f64>,
    pub(super) bias: Array1<f64>,
    pub(super) temperature: Array1<f64>,
}

impl Run {
    pub(super) fn bits(&self) -> Vec<u64> {
        self.numbers().map(f64::to_bits).collect()
    }

    /// Losses and gradients.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f64> {
        let gradients = self.hidden.iter().chain(&self.classifier).chain(&self.bias);
        gradients.chain(&self.losses).copied()
    }
}
