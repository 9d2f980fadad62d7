//! Log-probabilities of listed classes on a GPU, and of what they leave to the others, against the processor in f64.

use ndarray::{Array1, Array2, Axis, arr2};
use surprisal::gpu::{Context, DeviceGradients, DeviceInputs, Workspace};
use surprisal::loss::{Candidates, Companion, Head, KullbackLeibler};
use surprisal::{
    Error, Gradients, Inputs, LinearCrossEntropy, Matrix, Reduction, Targets, Upstream,
};
use testing::{Stream, cast};

use super::loss::{context, tiny};

/// What the rows should be, beside their candidates.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Hard,
    Sparse,
    Dense,
}

/// Rows with lists of different lengths, some of which name a class twice, of numbers that f32 holds.
struct Lists {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    hard: Vec<i64>,
    temperatures: Option<Array1<f64>>,
    softcap: Option<f64>,
    wanted: Wanted,
    others: bool,
    classes: Array2<u32>,
    /// Weights of the listed classes as soft targets.
    soft: Array2<f64>,
    of_loss: Array1<f64>,
    of_entropy: Array1<f64>,
    of_candidates: Array2<f64>,
    of_others: Array1<f64>,
}

/// What a run gives.
struct Found {
    losses: Array1<f64>,
    log_probabilities: Array2<f64>,
    log_others: Array1<f64>,
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    temperature: Array1<f64>,
}

impl Found {
    fn all(&self) -> Vec<(&'static str, Vec<f64>)> {
        let flat = |m: &Array2<f64>| m.iter().copied().collect();
        vec![
            ("loss", self.losses.to_vec()),
            ("log-probability", flat(&self.log_probabilities)),
            ("others", self.log_others.to_vec()),
            ("dE", flat(&self.hidden)),
            ("dC", flat(&self.classifier)),
            ("db", self.bias.to_vec()),
            ("dT", self.temperature.to_vec()),
        ]
    }

    fn bits(&self) -> Vec<u64> {
        self.all().into_iter().flat_map(|(_, all)| all).map(f64::to_bits).collect()
    }
}

fn narrow(x: f64) -> f64 {
    f64::from(x as f32)
}

impl Lists {
    fn new(rows: usize, width: usize, classes: usize, k: usize) -> Self {
        let mut stream = Stream((rows * 1000 + classes + k) as u64);
        let mut hard = stream.classes(rows, classes);
        if rows > 2 {
            hard[1] = -100;
        }
        let mut listed = Array2::from_shape_fn((rows, k), |(i, _)| match i % 5 {
            3 => Candidates::NONE,
            _ => stream.classes(1, classes)[0] as u32,
        });
        for i in 0..rows.min(k) {
            listed[[i, i]] = if i % 3 == 1 { Candidates::NONE } else { listed[[i, 0]] };
            if hard[i] >= 0 && i % 2 == 0 {
                listed[[i, k - 1]] = hard[i] as u32;
            }
        }
        let scale = 1.0 / (width as f64).sqrt();
        Self {
            hidden: stream.matrix(rows, width, scale).mapv(narrow),
            classifier: stream.matrix(classes, width, 1.5).mapv(narrow),
            bias: stream.vector(classes, 0.5).mapv(narrow),
            hard,
            temperatures: None,
            softcap: None,
            wanted: Wanted::Hard,
            others: false,
            soft: stream.matrix(rows, k, 0.5).mapv(|x| narrow(x.abs())),
            classes: listed,
            of_loss: stream.vector(rows, 1.0).mapv(narrow),
            of_entropy: stream.vector(rows, 1.0).mapv(narrow),
            of_candidates: stream.matrix(rows, k, 1.0).mapv(narrow),
            of_others: stream.vector(rows, 1.0).mapv(narrow),
        }
    }

    fn with_temperatures(mut self) -> Self {
        self.temperatures =
            Some(Array1::from_shape_fn(self.hard.len(), |i| [1.0, 2.0, 0.5][i % 3]));
        self
    }

    fn loss(&self) -> LinearCrossEntropy {
        let builder = LinearCrossEntropy::builder().reduction(Reduction::None).varentropy(true);
        match self.softcap {
            Some(softcap) => builder.softcap(softcap),
            None => builder,
        }
        .build()
        .unwrap()
    }

    fn candidates(&self) -> Candidates<'_> {
        let candidates = Candidates::new(&self.classes);
        if self.others { candidates.with_others() } else { candidates }
    }

    fn upstream(&self) -> Upstream<'_> {
        let upstream = Upstream::rows(&self.of_loss).entropy(&self.of_entropy);
        let upstream = upstream.candidates(&self.of_candidates);
        if self.others { upstream.log_others(&self.of_others) } else { upstream }
    }

    /// Where no class is listed there is none that is wanted.
    fn sparse(&self) -> (Array2<u32>, Array2<f64>) {
        let none = self.classes.mapv(|class| class == Candidates::NONE);
        let classes =
            Array2::from_shape_fn(none.dim(), |at| if none[at] { 0 } else { self.classes[at] });
        (
            classes,
            Array2::from_shape_fn(none.dim(), |at| if none[at] { 0.0 } else { self.soft[at] }),
        )
    }

    fn dense(&self) -> Array2<f64> {
        let (classes, weights) = self.sparse();
        let mut dense = Array2::zeros((self.hard.len(), self.bias.len()));
        for ((i, j), &class) in classes.indexed_iter() {
            dense[[i, class as usize]] += weights[[i, j]];
        }
        dense
    }

    /// On a device in f32, or on the processor in f64.
    fn run(&self, context: Option<&Context>) -> Found {
        let narrowed = (cast::<f32>(&self.hidden), cast::<f32>(&self.classifier));
        let [hidden, classifier]: [Matrix<'_>; 2] = match context {
            Some(_) => [(&narrowed.0).into(), (&narrowed.1).into()],
            None => [(&self.hidden).into(), (&self.classifier).into()],
        };
        let ((classes, weights), dense) = (self.sparse(), self.dense());
        let targets = match self.wanted {
            Wanted::Hard => Targets::from(&self.hard),
            Wanted::Sparse => Targets::sparse(&classes, &weights),
            Wanted::Dense => Targets::soft(&dense),
        };
        let inputs = Inputs::new(hidden, classifier, targets).bias(&self.bias);
        let mut inputs = inputs.candidates(self.candidates());
        if let Some(temperatures) = &self.temperatures {
            inputs = inputs.temperatures(temperatures);
        }
        let mut found = Found {
            losses: Array1::zeros(0),
            log_probabilities: Array2::zeros((0, 0)),
            log_others: Array1::zeros(0),
            hidden: Array2::from_elem(self.hidden.dim(), f64::NAN),
            classifier: Array2::from_elem(self.classifier.dim(), f64::NAN),
            bias: Array1::from_elem(self.bias.len(), f64::NAN),
            temperature: Array1::zeros(self.hard.len()),
        };
        let mut gradients = Gradients::new()
            .hidden(&mut found.hidden)
            .classifier(&mut found.classifier)
            .bias(&mut found.bias);
        if self.softcap.is_none() {
            gradients = gradients.temperature(&mut found.temperature);
        }
        let (loss, upstream) = (self.loss(), self.upstream());
        let forward = match context {
            None => loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap(),
            Some(context) => {
                let on = loss.on(context);
                let forward = on.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
                // The forward alone, and the backward from it.
                let alone = on.forward(&inputs).unwrap();
                assert_eq!(alone.candidates().unwrap(), forward.candidates().unwrap());
                let mut again = Array2::from_elem(self.hidden.dim(), f64::NAN);
                let gradients = Gradients::new().hidden(&mut again);
                on.vjp(&inputs, &alone, &upstream, gradients).unwrap();
                assert!(again == found.hidden);
                forward
            }
        };
        let own = forward.candidates().unwrap();
        (found.log_probabilities, found.log_others) = (own.log_probabilities, own.log_others);
        Found { losses: forward.losses().to_owned(), ..found }
    }

    /// By how much a device may be off: a logit by a sum of D products, a probability by that and by the roundings of
    /// its exponent and of as many terms as a thread adds, G by its coefficients' and the probabilities' errors, to
    /// first order, and twice that for the second.
    fn bounds(&self) -> Found {
        let unit = f64::from(f32::EPSILON);
        let (rows, k) = self.classes.dim();
        let classes = self.bias.len();
        let width = self.hidden.dim().1 as f64;
        let products = self.hidden.dot(&self.classifier.t()) + &self.bias;
        let sizes = self.hidden.mapv(f64::abs).dot(&self.classifier.mapv(f64::abs).t())
            + self.bias.mapv(f64::abs);
        let in_a_thread = classes.min(4096) as f64 / 16.0 + 32.0;
        let dense = self.dense();
        let mut bounds = Found {
            losses: Array1::zeros(rows),
            log_probabilities: Array2::zeros((rows, k)),
            log_others: Array1::zeros(if self.others { rows } else { 0 }),
            hidden: Array2::zeros(self.hidden.dim()),
            classifier: Array2::zeros(self.classifier.dim()),
            bias: Array1::zeros(classes),
            temperature: Array1::zeros(rows),
        };
        let (mut g, mut off) = (Array2::zeros(products.dim()), Array2::zeros(products.dim()));
        for i in 0..rows {
            let y = self.hard[i];
            if self.wanted == Wanted::Hard && y < 0 {
                continue;
            }
            let scale = 1.0 / self.temperatures.as_ref().map_or(1.0, |t| t[i]);
            let cap = self.softcap;
            let a = products.row(i).mapv(|z| cap.map_or(scale * z, |c| c * (scale * z / c).tanh()));
            let largest = sizes.row(i).fold(0.0_f64, |most, &x| most.max(x));
            let logit = unit * ((width + 6.0) * scale * largest + 4.0 * cap.unwrap_or(0.0));
            let m = a.fold(f64::NEG_INFINITY, |most, &x| most.max(x));
            let lse = m + a.mapv(|a| (a - m).exp()).sum().ln();
            let log_p = a.mapv(|a| a - lse);
            let p = log_p.mapv(f64::exp);
            let deepest = a.fold(0.0_f64, |most, &x| most.max(m - x));
            let relative = 4.0 * logit + unit * (8.0 + deepest + in_a_thread);
            let entropy = -p.dot(&log_p);
            let t: Array1<f64> = match self.wanted {
                Wanted::Hard => (0..classes).map(|v| f64::from(u8::from(v as i64 == y))).collect(),
                _ => dense.row(i).to_owned(),
            };
            let all = t.sum();
            let mut own = Array1::<f64>::zeros(classes);
            let mut outside = vec![true; classes];
            for (j, &class) in self.classes.row(i).iter().enumerate() {
                if class != Candidates::NONE {
                    own[class as usize] += self.of_candidates[[i, j]];
                    outside[class as usize] = false;
                    bounds.log_probabilities[[i, j]] =
                        2.0 * (2.0 * logit + relative + unit * m.abs());
                }
            }
            let left: f64 = (0..classes).filter(|&v| outside[v]).map(|v| p[v]).sum();
            let above = if self.others && left > 0.0 { self.of_others[i] } else { 0.0 };
            if self.others {
                bounds.log_others[i] = 2.0 * (2.0 * relative + 2.0 * logit);
            }
            // Of dense targets the sums are a thread's.
            let in_sums = if self.wanted == Wanted::Dense { unit * in_a_thread } else { unit };
            let s: f64 = (0..classes).map(|v| -t[v] * log_p[v]).sum();
            bounds.losses[i] = 2.0
                * (all * (2.0 * logit + relative)
                    + in_sums * (s + all * (m.abs() + 2.0 * deepest)));
            let u_off = relative * (1.0 + p.dot(&a.mapv(|a| m - a))) + 2.0 * logit;
            let entropy_off = relative + u_off;
            let (f, h) = (self.of_loss[i], self.of_entropy[i]);
            let coefficient = f * all - own.sum() - above;
            let coefficient_off = in_sums * f.abs() * all;
            let mut above_mean = 0.0;
            for v in 0..classes {
                let surprise = log_p[v] + entropy;
                let share = if outside[v] { above / left } else { 0.0 };
                let d = p[v] * (coefficient + share - h * surprise) - f * t[v] + own[v];
                let size = coefficient.abs() + 2.0 * share.abs() + (h * surprise).abs();
                let part = p[v]
                    * ((relative + 8.0 * unit) * size
                        + coefficient_off
                        + h.abs() * (relative + entropy_off))
                    + 2.0 * unit * ((f * t[v]).abs() + own[v].abs());
                let (slope, slope_off) = match cap {
                    None => (1.0, unit),
                    Some(cap) => (1.0 - (a[v] / cap).powi(2), 2.0 * logit / cap + 8.0 * unit),
                };
                g[[i, v]] = scale * (d * slope).abs();
                off[[i, v]] = 2.0 * scale * (part * slope + d.abs() * slope_off)
                    + f64::from(f32::MIN_POSITIVE);
                above_mean += part * (m - a[v]) + 2.0 * logit * d.abs();
            }
            // −Σ (dL/da) a / T, of which every part is off by its own.
            let mean = p.dot(&a.mapv(|a| m - a));
            let variance = p.dot(&a.mapv(|a| (m - a - mean).powi(2)));
            let spread = relative * variance + 2.0 * variance.sqrt() * (2.0 * logit + u_off);
            let shares = coefficient.abs() + 2.0 * above.abs();
            bounds.temperature[i] = 4.0
                * scale
                * (above_mean + h.abs() * spread + shares * u_off + coefficient_off * mean);
        }
        let along_classes = unit * (classes.min(512) + classes / 512 + 2) as f64;
        bounds.hidden = (&off + &g * along_classes).dot(&self.classifier.mapv(f64::abs));
        let off = off + &g * (unit * (rows + 2) as f64);
        bounds.classifier = off.t().dot(&self.hidden.mapv(f64::abs));
        bounds.bias = off.sum_axis(Axis(0));
        bounds
    }

    #[track_caller]
    fn check(&self, context: &Context) -> Found {
        let (found, truth, bounds) = (self.run(Some(context)), self.run(None), self.bounds());
        let ((rows, k), classes) = (self.classes.dim(), self.bias.len());
        let what = format!("{rows} × {classes}, {k}, {:?}, {}", self.wanted, self.others);
        let all = found.all().into_iter().zip(truth.all()).zip(bounds.all());
        for (((name, found), (_, truth)), (_, bounds)) in all {
            assert_eq!(found.len(), truth.len());
            for (at, ((a, b), bound)) in found.iter().zip(&truth).zip(&bounds).enumerate() {
                let near = (a - b).abs() <= *bound || a == b;
                assert!(near, "{what}, {name}[{at}]: {a:e}, {b:e}, {bound:e}");
            }
        }
        found
    }
}

/// Around the edges of tiles and spans, and lists of nearly everything.
const SHAPES: [(usize, usize, usize, usize); 5] =
    [(1, 1, 2, 1), (9, 7, 33, 3), (70, 9, 257, 9), (5, 5, 4200, 60), (7, 3, 12, 30)];

#[test]
fn they_are_what_they_are_on_the_processor_in_f64() {
    let context = context();
    for (rows, width, classes, k) in SHAPES {
        for others in [false, true] {
            let lists = Lists { others, ..Lists::new(rows, width, classes, k) };
            lists.check(context);
            let lists = Lists { softcap: Some(6.0), ..lists.with_temperatures() };
            lists.check(context);
        }
        let mut lists = Lists::new(rows, width, classes, k).with_temperatures();
        for wanted in [Wanted::Sparse, Wanted::Dense] {
            lists.wanted = wanted;
            lists.check(context);
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_bindings_and_dispatches() {
    // 256 KiB are 1536 classes and rows of 39 numbers.
    let small = tiny(256 << 10, 16384);
    for others in [false, true] {
        let lists = Lists { others, ..Lists::new(300, 39, 3500, 7) };
        let [whole, cut] = [context(), &small].map(|context| lists.run(Some(context)));
        assert!(whole.bits() == cut.bits(), "{others}");
    }
}

/// The rank and the arg-max are those of all classes.
#[test]
fn what_else_is_asked_of_the_fold_stays() {
    let lists = Lists::new(40, 5, 700, 6);
    let (hidden, classifier) = (cast::<f32>(&lists.hidden), cast::<f32>(&lists.classifier));
    let loss = LinearCrossEntropy::builder().rank(true).varentropy(true).build().unwrap();
    let plain = Inputs::new(&hidden, &classifier, &lists.hard);
    let before = loss.on(context()).forward(&plain).unwrap();
    let with = plain.candidates(Candidates::new(&lists.classes).with_others());
    let after = loss.on(context()).forward(&with).unwrap();
    assert_eq!(before.rank().unwrap(), after.rank().unwrap());
    assert_eq!(before.argmax(), after.argmax());
    for (a, b) in before.states().iter().zip(after.states()) {
        // A row's sums are cut in other places.
        assert!((a.entropy() - b.entropy()).abs() < 64.0 * f64::from(f32::EPSILON));
        assert_eq!((a.target_logit, a.maximum), (b.target_logit, b.maximum));
    }
}

/// A row whose list has nearly everything: the others' own softmax does not leave f32 where their share does.
#[test]
fn what_is_nearly_nothing_keeps_its_digits() {
    let (hidden, classifier) = (arr2(&[[1.0_f32]]), arr2(&[[200.0_f32], [1.0], [2.0], [-3.0]]));
    let classes = arr2(&[[0_u32]]);
    let inputs = Inputs::unlabelled(&hidden, &classifier)
        .candidates(Candidates::new(&classes).with_others());
    let loss = LinearCrossEntropy::builder().build().unwrap();
    let mut bias = Array1::<f32>::zeros(4);
    let (of_candidates, of_others) = (arr2(&[[0.0]]), Array1::from_elem(1, 1.0));
    let upstream = Upstream::scalar(0.0).candidates(&of_candidates).log_others(&of_others);
    let gradients = Gradients::new().bias(&mut bias);
    let on = loss.on(context());
    let forward = on.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    let left = 1_f64.exp() + 2_f64.exp() + (-3_f64).exp();
    let close = |a: f64, b: f64| {
        assert!((a - b).abs() <= 8.0 * f64::from(f32::EPSILON) * b.abs(), "{a:e} {b:e}");
    };
    close(forward.candidates().unwrap().log_others[0], left.ln() - 200.0);
    close(f64::from(bias[0]), -1.0);
    for (v, a) in [(1, 1.0_f64), (2, 2.0), (3, -3.0)] {
        close(f64::from(bias[v]), a.exp() / left);
    }
}

/// What has no probability moves nothing.
#[test]
fn classes_without_a_probability_have_no_gradient() {
    let hidden = arr2(&[[1.0_f32], [1.0]]);
    let classifier = arr2(&[[1.0_f32], [0.0], [2.0]]);
    let bias = Array1::from(vec![0.0_f32, f32::NEG_INFINITY, 0.0]);
    let classes = arr2(&[[0_u32, 1, 2], [1, 1, Candidates::NONE]]);
    let inputs = Inputs::unlabelled(&hidden, &classifier)
        .bias(&bias)
        .candidates(Candidates::new(&classes).with_others());
    let loss = LinearCrossEntropy::builder().entropy(true).build().unwrap();
    let of_candidates = arr2(&[[0.0_f64, 3.0, 0.0], [1.0, 1.0, f64::NAN]]);
    let of_others = Array1::from_elem(2, 1.0);
    let upstream = Upstream::scalar(0.0).candidates(&of_candidates).log_others(&of_others);
    let mut gradient = Array1::<f32>::from_elem(3, f32::NAN);
    let gradients = Gradients::new().bias(&mut gradient);
    let forward = loss.on(context()).loss_and_gradients(&inputs, &upstream, gradients).unwrap();
    let own = forward.candidates().unwrap();
    assert_eq!(own.log_probabilities[[0, 1]], f64::NEG_INFINITY);
    assert_eq!(own.log_others.to_vec(), [f64::NEG_INFINITY, 0.0]);
    // The others have everything: their softmax less p, each rounded for itself.
    assert!(gradient.iter().all(|g| g.abs() <= 4.0 * f32::EPSILON), "{gradient}");
    assert_eq!(gradient[1], 0.0);
}

#[test]
fn of_arrays_that_stay_on_the_device() {
    let context = context();
    for others in [false, true] {
        let lists = Lists { others, ..Lists::new(70, 9, 200, 5) };
        let expected = lists.run(Some(context));
        let [hidden, classifier] =
            [&lists.hidden, &lists.classifier].map(|of| context.upload(&cast::<f32>(of)).unwrap());
        let inputs = DeviceInputs::new(hidden, classifier, &lists.hard)
            .bias(&lists.bias)
            .candidates(lists.candidates());
        let (loss, upstream) = (lists.loss(), lists.upstream());
        let (on, there) = (loss.on(context), context.zeros(200, 9).unwrap());
        let gradients = DeviceGradients::new().classifier(there.clone());
        on.loss_and_gradients(&inputs, &upstream, &gradients).unwrap();
        assert!(context.download(&there).unwrap().mapv(f64::from) == expected.classifier);
        let (mut encoder, mut workspace) =
            (context.device().create_command_encoder(&Default::default()), Workspace::new());
        let encoded = on.encode_forward(&mut encoder, &inputs, &mut workspace).unwrap();
        let encoded = encoded.finish(context.queue().submit([encoder.finish()])).unwrap();
        let own = encoded.candidates().unwrap();
        assert_eq!(own.log_probabilities, expected.log_probabilities);
        assert_eq!(own.log_others, expected.log_others);
        let mut encoder = context.device().create_command_encoder(&Default::default());
        let to = DeviceGradients::new();
        let result = on.encode_vjp(&mut encoder, &inputs, &encoded, &upstream, &to, &mut workspace);
        assert!(matches!(result, Err(Error::Conflict { what }) if what.contains("candidates")));
    }
}

#[test]
fn a_second_head_goes_without_them() {
    let one = arr2(&[[1.0_f32], [2.0]]);
    let classes = arr2(&[[0_u32], [1]]);
    let inputs = Inputs::new(&one, &one, &[0_u32, 1])
        .companion(Companion::logits(Head::new(&one, &one)))
        .candidates(Candidates::new(&classes));
    let loss = LinearCrossEntropy::builder().row_loss(KullbackLeibler::forward()).build().unwrap();
    let error = loss.on(context()).forward(&inputs).unwrap_err();
    assert!(matches!(&error, Error::Conflict { what } if what.contains("candidates")), "{error}");
}
