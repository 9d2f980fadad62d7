//! Divergences from a second head on a GPU, against the processor in f64.

use ndarray::{Array1, Array2, Axis, arr2};
use surprisal::gpu::{Context, DeviceGradients, DeviceInputs, Workspace};
use surprisal::loss::{
    Companion, CrossEntropy, ExpectedCost, Head, JensenShannon, KullbackLeibler,
    SkewKullbackLeibler, Sum, TemperatureSquared, TotalVariation,
};
use surprisal::{Error, Gradients, Inputs, LinearCrossEntropy, Matrix, Reduction, Upstream};
use testing::{Stream, cast};

use super::loss::{context, tiny};

/// Where the second head's logits come from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Products,
    Given,
}

/// A divergence beside those of Kullback and Leibler.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Other {
    JensenShannon(f64),
    ForwardSkew(f64),
    ReverseSkew(f64),
    Variation,
}

impl Other {
    fn add(self, sum: Sum, share: f64) -> Sum {
        match self {
            Self::JensenShannon(beta) => sum.add(share, JensenShannon::new(beta).unwrap()),
            Self::ForwardSkew(alpha) => {
                sum.add(share, SkewKullbackLeibler::forward(alpha).unwrap())
            }
            Self::ReverseSkew(alpha) => {
                sum.add(share, SkewKullbackLeibler::reverse(alpha).unwrap())
            }
            Self::Variation => sum.add(share, TotalVariation),
        }
        .unwrap()
    }

    /// What a class with Q, P and ln P − ln Q adds to it: the value with its error and g with its own, where delta is
    /// off by so much and Q and P by a share of theirs.
    fn terms(self, q: f64, p: f64, delta: f64, of_delta: f64, relative: f64) -> [f64; 4] {
        let unit = f64::from(f32::EPSILON);
        let [w_q, w_p] = match self {
            Self::JensenShannon(share) | Self::ForwardSkew(share) => [1.0 - share, share],
            Self::ReverseSkew(share) => [share, 1.0 - share],
            Self::Variation => {
                let g = 0.5 * (-delta).signum();
                let value = 0.5 * (q - p).abs();
                let off = 0.5 * (p + q) * of_delta + relative * value;
                let flips = if delta.abs() <= of_delta { 1.0 } else { 0.0 };
                return [value, off, if delta == 0.0 { 0.0 } else { g }, flips];
            }
        };
        let m = w_q * q + w_p * p;
        // ln(M/A) moves by less than delta, and has the roundings of a logarithm.
        let of = |a: f64| {
            let x = (m / a).ln();
            let off = of_delta + unit * (4.0 + 4.0 * x.abs());
            let size = if x.abs() < 0.5 { a * x * x } else { a + m + a * x.abs() };
            let error = off * ((m - a).abs() + a * x.abs()) + relative * size;
            (x, off, m - a - a * x, error)
        };
        let ((x_q, off_q, of_q, q_error), (_, off_p, of_p, p_error)) = (of(q), of(p));
        match self {
            Self::JensenShannon(_) => {
                [w_q * of_q + w_p * of_p, w_q * q_error + w_p * p_error, -w_q * x_q, w_q * off_q]
            }
            Self::ForwardSkew(_) => {
                let share = w_q * p / m;
                [of_p, p_error, w_q - share, share * (off_p + 2.0 * relative) + 4.0 * unit]
            }
            _ => {
                let share = w_q * q / m;
                let off = share * (off_q + 2.0 * relative) + off_q + 4.0 * unit;
                [of_q, q_error, w_q - share - x_q, off]
            }
        }
    }
}

/// Two heads over the same classes, of numbers that f32 holds, and what their loss is of: shares of the
/// cross-entropy and of both divergences.
struct Heads {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
    wide: Array2<f64>,
    teacher: Array2<f64>,
    teacher_bias: Option<Array1<f64>>,
    given: Array2<f64>,
    from: From,
    scale: f64,
    softcaps: [Option<f64>; 2],
    temperatures: Option<Array1<f64>>,
    targets: Vec<i64>,
    upstream: Array1<f64>,
    shares: [f64; 3],
    other: Option<(f64, Other)>,
}

/// Values, gradients and, for bounds of them, what each number may be off by.
struct Found {
    losses: Array1<f64>,
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Array1<f64>,
}

impl Found {
    fn all(&self) -> Vec<f64> {
        let gradients = self.hidden.iter().chain(&self.classifier).chain(&self.bias);
        self.losses.iter().chain(gradients).copied().collect()
    }

    fn bits(&self) -> Vec<u64> {
        self.all().iter().map(|x| x.to_bits()).collect()
    }
}

fn narrow(x: f64) -> f64 {
    f64::from(x as f32)
}

impl Heads {
    fn new(rows: usize, widths: [usize; 2], classes: usize) -> Self {
        let mut stream = Stream((rows * 1000 + classes) as u64);
        let of_width = |width: usize| 1.0 / (width.max(1) as f64).sqrt();
        let mut targets = stream.classes(rows, classes);
        if rows > 2 {
            targets[1] = -100;
        }
        Self {
            hidden: stream.matrix(rows, widths[0], of_width(widths[0])).mapv(narrow),
            classifier: stream.matrix(classes, widths[0], 1.5).mapv(narrow),
            bias: stream.vector(classes, 0.5).mapv(narrow),
            wide: stream.matrix(rows, widths[1], of_width(widths[1])).mapv(narrow),
            teacher: stream.matrix(classes, widths[1], 1.5).mapv(narrow),
            teacher_bias: Some(stream.vector(classes, 0.5).mapv(narrow)),
            given: stream.matrix(rows, classes, 2.0).mapv(narrow),
            from: From::Products,
            scale: 0.75,
            softcaps: [None; 2],
            temperatures: None,
            targets,
            upstream: stream.vector(rows, 1.0).mapv(narrow),
            shares: [0.5, 1.0, -0.75],
            other: None,
        }
    }

    /// The second head is the first.
    fn equal(rows: usize, width: usize, classes: usize) -> Self {
        let heads = Self::new(rows, [width; 2], classes);
        Self {
            wide: heads.hidden.clone(),
            teacher: heads.classifier.clone(),
            teacher_bias: Some(heads.bias.clone()),
            scale: 1.0,
            ..heads
        }
    }

    fn with_temperatures(mut self) -> Self {
        self.temperatures =
            Some(Array1::from_shape_fn(self.targets.len(), |i| [1.0, 2.0, 0.5][i % 3]));
        self
    }

    fn loss(&self) -> LinearCrossEntropy {
        let [own, forward, reverse] = self.shares;
        let mut sum = Sum::new();
        if own != 0.0 {
            sum = sum.add(own, CrossEntropy::new(0.0, 0.0).unwrap()).unwrap();
        }
        if forward != 0.0 {
            sum = sum.add(forward, TemperatureSquared::new(KullbackLeibler::forward())).unwrap();
        }
        if reverse != 0.0 {
            sum = sum.add(reverse, KullbackLeibler::reverse()).unwrap();
        }
        if let Some((share, other)) = self.other {
            sum = other.add(sum, share);
        }
        let builder = LinearCrossEntropy::builder().reduction(Reduction::None).row_loss(sum);
        let builder = match self.softcaps[0] {
            Some(softcap) => builder.softcap(softcap),
            None => builder,
        };
        builder.build().unwrap()
    }

    /// On a device in f32, or on the processor in f64.
    fn run(&self, context: Option<&Context>) -> Found {
        let wide = [&self.hidden, &self.classifier, &self.wide, &self.teacher, &self.given];
        let all = wide.map(cast::<f32>);
        let of = |i: usize| -> Matrix<'_> {
            if context.is_some() { (&all[i]).into() } else { wide[i].into() }
        };
        let mut head = match self.from {
            From::Products => Head::new(of(2), of(3)),
            From::Given => Head::from_logits(of(4)),
        };
        head = head.scale(self.scale);
        if let Some(bias) = &self.teacher_bias {
            head = head.bias(bias);
        }
        if let Some(softcap) = self.softcaps[1] {
            head = head.softcap(softcap);
        }
        let mut inputs = Inputs::new(of(0), of(1), &self.targets)
            .bias(&self.bias)
            .companion(Companion::logits(head));
        if let Some(temperatures) = &self.temperatures {
            inputs = inputs.temperatures(temperatures);
        }
        let mut hidden = Array2::from_elem(self.hidden.dim(), f64::NAN);
        let mut classifier = Array2::from_elem(self.classifier.dim(), f64::NAN);
        let mut bias = Array1::from_elem(self.bias.len(), f64::NAN);
        let gradients =
            Gradients::new().hidden(&mut hidden).classifier(&mut classifier).bias(&mut bias);
        let (loss, upstream) = (self.loss(), Upstream::rows(&self.upstream));
        let forward = match context {
            None => loss.loss_and_gradients(&inputs, &upstream, gradients).unwrap(),
            Some(context) => {
                let on = loss.on(context);
                let forward = on.loss_and_gradients(&inputs, &upstream, gradients).unwrap();
                // The forward alone, and the backward from it.
                let alone = on.forward(&inputs).unwrap();
                assert!(alone.losses() == forward.losses());
                let mut again = Array2::from_elem(self.hidden.dim(), f64::NAN);
                let gradients = Gradients::new().hidden(&mut again);
                on.vjp(&inputs, &alone, &upstream, gradients).unwrap();
                assert!(again == hidden);
                forward
            }
        };
        Found { losses: forward.losses().to_owned(), hidden, classifier, bias }
    }

    /// By how much a device may be off: a logit by a sum of products, a probability by that and by the
    /// roundings of its exponent and of a thread's sum; delta by both heads' logits, each term by its slope
    /// by delta and by the probabilities' errors, to first order.
    fn bounds(&self) -> Found {
        let unit = f64::from(f32::EPSILON);
        let (rows, classes) = self.given.dim();
        let dot = |a: &Array2<f64>, b: &Array2<f64>, bias: Option<&Array1<f64>>| {
            let (plain, sizes) = (a.dot(&b.t()), a.mapv(f64::abs).dot(&b.mapv(f64::abs).t()));
            match bias {
                Some(bias) => (plain + bias, sizes + bias.mapv(f64::abs)),
                None => (plain, sizes),
            }
        };
        let own = dot(&self.hidden, &self.classifier, Some(&self.bias));
        let bias = self.teacher_bias.as_ref();
        let other = match self.from {
            From::Products => dot(&self.wide, &self.teacher, bias),
            From::Given => {
                let zero = Array1::zeros(classes);
                let bias = bias.unwrap_or(&zero);
                (&self.given + bias, self.given.mapv(f64::abs) + bias.mapv(f64::abs))
            }
        };
        let widths = [self.hidden.dim().1, self.wide.dim().1].map(|width| width as f64);
        let in_a_thread = classes.min(4096) as f64 / 16.0 + 32.0;
        let [share, forward, reverse] = self.shares;
        let mut losses = Array1::zeros(rows);
        let (mut g, mut off) = (Array2::zeros((rows, classes)), Array2::zeros((rows, classes)));
        for i in 0..rows {
            let y = self.targets[i];
            if y < 0 {
                continue;
            }
            let t = self.temperatures.as_ref().map_or(1.0, |t| t[i]);
            let head = |(plain, sizes): &(Array2<f64>, Array2<f64>),
                        width,
                        scale: f64,
                        cap: Option<f64>| {
                let capped = |u: f64| cap.map_or(u, |cap| cap * (u / cap).tanh());
                let a = plain.row(i).mapv(|z| capped(scale * z));
                let largest = sizes.row(i).fold(0.0_f64, |most, &x| most.max(x));
                let logit =
                    unit * ((width + 6.0) * scale.abs() * largest + 4.0 * cap.unwrap_or(0.0));
                let m = a.fold(f64::NEG_INFINITY, |most, &x| most.max(x));
                let lse = m + a.mapv(|a| (a - m).exp()).sum().ln();
                (a.mapv(|a| a - lse), a.mapv(|a| m - a), logit)
            };
            let (q, below_q, off_q) = head(&own, widths[0], 1.0 / t, self.softcaps[0]);
            let (p, below_p, off_p) = head(&other, widths[1], self.scale / t, self.softcaps[1]);
            let deepest = below_q.iter().chain(&below_p).fold(0.0_f64, |most, &x| most.max(x));
            let relative = 4.0 * (off_q + off_p) + unit * (16.0 + deepest + in_a_thread);
            let delta = &p - &q;
            let (q, log_q, p) = (q.mapv(f64::exp), q, p.mapv(f64::exp));
            // A logarithm of a sum is off as the sum is, all of a row alike.
            let of_delta = |v: usize| {
                off_q
                    + off_p
                    + 2.0 * relative.min(unit * in_a_thread)
                    + unit * (below_q[v] + below_p[v] + 2.0 * delta[v].abs() + 2.0)
            };
            let term = |a: f64, b: f64, x: f64, v: usize| {
                let value = if x.abs() < 0.5 { a * x * x } else { a + b + a * x.abs() };
                of_delta(v) * ((b - a).abs() + a * x.abs()) + relative * value
            };
            let sum = |f: &dyn Fn(usize) -> f64| (0..classes).map(f).sum::<f64>();
            let forward_off = sum(&|v| term(p[v], q[v], -delta[v], v));
            let reverse_off = sum(&|v| term(q[v], p[v], delta[v], v));
            let forward_mean =
                sum(&|v| (p[v] + q[v]) * of_delta(v) + relative * (p[v] - q[v]).abs());
            let reverse_mean = sum(&|v| q[v] * (of_delta(v) + relative * delta[v].abs()));
            let value = -sum(&|v| q[v] * delta[v]);
            let (other_share, others): (f64, Vec<[f64; 4]>) = match self.other {
                None => (0.0, vec![[0.0; 4]; classes]),
                Some((share, other)) => {
                    let of = |v: usize| other.terms(q[v], p[v], delta[v], of_delta(v), relative);
                    (share, (0..classes).map(of).collect())
                }
            };
            let other_off = sum(&|v| others[v][1]);
            let other_mean = sum(&|v| q[v] * others[v][2]);
            let other_mean_off = sum(&|v| q[v] * (others[v][3] + relative * others[v][2].abs()));
            let square = t * t;
            let own_off = 2.0 * off_q + relative + 2.0 * unit * log_q[y as usize].abs();
            losses[i] = 2.0
                * (share.abs() * own_off
                    + forward.abs() * square * forward_off
                    + reverse.abs() * reverse_off
                    + other_share.abs() * other_off)
                + f64::from(f32::MIN_POSITIVE);
            for v in 0..classes {
                let at = f64::from(u8::from(v as i64 == y));
                let parts = [
                    (share, q[v] - at, relative * q[v] + 4.0 * unit * at),
                    (
                        forward * square,
                        q[v] - p[v],
                        (p[v] + q[v]) * of_delta(v)
                            + relative * (p[v] - q[v]).abs()
                            + q[v] * forward_mean,
                    ),
                    (
                        reverse,
                        q[v] * (-delta[v] - value),
                        q[v] * (of_delta(v) + relative * (delta[v].abs() + value) + reverse_mean),
                    ),
                    (
                        other_share,
                        q[v] * (others[v][2] - other_mean),
                        q[v] * (others[v][3]
                            + relative * (others[v][2].abs() + other_mean.abs())
                            + other_mean_off),
                    ),
                ];
                // Parts that cancel leave their roundings.
                let size: f64 = parts.iter().map(|(k, d, _)| (k * d).abs()).sum();
                let d: f64 = parts.iter().map(|(k, d, _)| k * d).sum();
                let d_off: f64 = parts.iter().map(|(k, _, off)| k.abs() * off).sum();
                let z = own.0[[i, v]] / t;
                let (slope, slope_off) = match self.softcaps[0] {
                    None => (1.0, unit),
                    Some(cap) => (1.0 - (z / cap).tanh().powi(2), 2.0 * off_q / cap + 8.0 * unit),
                };
                let factor = self.upstream[i].abs() / t;
                g[[i, v]] = factor * d.abs() * slope;
                off[[i, v]] =
                    2.0 * factor * ((d_off + 8.0 * unit * size) * slope + size * slope_off)
                        + f64::from(f32::MIN_POSITIVE);
            }
        }
        let along_classes = unit * (classes.min(512) + classes / 512 + 2) as f64;
        let along_rows = unit * (rows + 2) as f64;
        let hidden = (&off + &g * along_classes).dot(&self.classifier.mapv(f64::abs));
        let off = off + &g * along_rows;
        Found {
            losses,
            hidden,
            classifier: off.t().dot(&self.hidden.mapv(f64::abs)),
            bias: off.sum_axis(Axis(0)),
        }
    }

    #[track_caller]
    fn check(&self, what: &str, context: &Context) -> Found {
        let (found, truth, bounds) = (self.run(Some(context)), self.run(None), self.bounds());
        let sizes = (self.hidden.dim(), self.wide.dim().1, self.classifier.dim().0);
        for ((name, at, found), (expected, bound)) in
            named(&found).into_iter().zip(truth.all().into_iter().zip(bounds.all()))
        {
            let near = (found - expected).abs() <= bound;
            assert!(
                near,
                "{what} {sizes:?} {:?} {:?} {:?}, {name}[{at}]: {found:e}, {expected:e}, {bound:e}",
                self.from, self.shares, self.other
            );
        }
        found
    }
}

/// Each number of what was found with its name and place.
fn named(found: &Found) -> Vec<(&'static str, usize, f64)> {
    let counts = [found.losses.len(), found.hidden.len(), found.classifier.len(), found.bias.len()];
    let names = ["loss", "dE", "dC", "db"].into_iter().zip(counts);
    let names = names.flat_map(|(name, count)| (0..count).map(move |at| (name, at)));
    names.zip(found.all()).map(|((name, at), x)| (name, at, x)).collect()
}

#[test]
fn each_is_what_it_is_on_the_processor_in_f64() {
    let context = context();
    for (n, (rows, widths, classes)) in [
        (1, [1, 1], 2),
        (2, [3, 5], 15),
        (15, [5, 3], 17),
        (65, [15, 9], 127),
        (5, [7, 1], 513),
        (3, [3, 0], 4097),
        (129, [9, 3], 1300),
    ]
    .into_iter()
    .enumerate()
    {
        let mut heads = Heads::new(rows, widths, classes);
        heads.check("products", context);
        if rows > 96 {
            continue;
        }
        heads.from = From::Given;
        heads.check("given", context);
        heads.shares = [0.5, -0.75, 1.0];
        heads.from = [From::Products, From::Given][n % 2];
        heads.softcaps = [[None, Some(3.0)], [Some(4.0), Some(3.0)]][n % 2];
        heads = heads.with_temperatures();
        heads.check("softcap", context);
    }
    for shares in [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] {
        let heads = Heads { shares, teacher_bias: None, ..Heads::new(20, [5, 7], 600) };
        heads.check("alone", context);
    }
}

#[test]
fn mixtures_and_the_total_variation_are_too() {
    let context = context();
    let all = [
        Other::JensenShannon(0.5),
        Other::JensenShannon(0.01),
        Other::JensenShannon(0.999),
        Other::ForwardSkew(0.1),
        Other::ReverseSkew(0.1),
        Other::ForwardSkew(0.9),
        Other::ReverseSkew(0.95),
        Other::Variation,
        // The divergences of Kullback and Leibler, and nothing.
        Other::ForwardSkew(0.0),
        Other::ReverseSkew(0.0),
        Other::JensenShannon(1.0),
    ];
    for (n, other) in all.into_iter().enumerate() {
        let (rows, classes) = [(3, 65), (17, 513), (5, 4200)][n % 3];
        let mut heads = Heads::new(rows, [7, 5], classes);
        heads.other = Some((1.25, other));
        heads.shares = [0.0; 3];
        heads.check("alone", context);
        if n % 2 == 0 {
            heads.shares = [0.5, 1.0, -0.75];
            heads.from = From::Given;
            heads.softcaps = [Some(4.0), None];
            let heads = heads.with_temperatures();
            heads.check("beside others", context);
        }
    }
    // Different ones at once, of which two are the same number.
    let sum = Sum::new().add(1.0, JensenShannon::new(0.3).unwrap()).unwrap();
    let sum = sum.add(0.5, TotalVariation).unwrap().add(0.25, KullbackLeibler::forward()).unwrap();
    let sum = sum.add(2.0, SkewKullbackLeibler::forward(0.0).unwrap()).unwrap();
    let heads = Heads::new(9, [5, 3], 300);
    let [hidden, classifier, wide, teacher] =
        [&heads.hidden, &heads.classifier, &heads.wide, &heads.teacher].map(cast::<f32>);
    let inputs = Inputs::new(&hidden, &classifier, &heads.targets)
        .companion(Companion::logits(Head::new(&wide, &teacher)));
    let loss = LinearCrossEntropy::builder().row_loss(sum).build().unwrap();
    let mut found = [Array2::<f32>::zeros((9, 5)), Array2::zeros((9, 5))];
    let [a, b] = &mut found;
    let up = Upstream::default();
    let on = loss.on(context);
    let there = on.loss_and_gradients(&inputs, &up, Gradients::new().hidden(a)).unwrap();
    let here = loss.loss_and_gradients(&inputs, &up, Gradients::new().hidden(b)).unwrap();
    assert!((there.loss() - here.loss()).abs() < 1e-5 * here.loss().abs());
    assert!(found[0].iter().zip(&found[1]).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn equal_heads_are_exactly_0_apart_and_near_ones_have_their_digits() {
    let context = context();
    for (rows, width, classes) in [(3, 5, 30), (70, 9, 600), (5, 7, 4200)] {
        let mut heads = Heads::equal(rows, width, classes);
        heads.shares = [0.0, 1.0, 2.0];
        for softcap in [Some(3.0), None] {
            if softcap.is_some() && rows > 5 {
                continue;
            }
            heads.softcaps = [softcap; 2];
            let found = heads.run(Some(context));
            assert!(found.all().iter().all(|&x| x == 0.0));
        }
        let mut stream = Stream(5);
        let noise = stream.matrix(classes, width, 1e-3);
        let equal = heads.teacher.clone();
        heads.teacher = (&heads.teacher + &noise).mapv(narrow);
        let found = heads.check("near", context);
        assert!(found.losses.iter().all(|&x| (0.0..1e-4).contains(&x)));
        heads.shares = [0.0; 3];
        for other in [
            Other::JensenShannon(0.3),
            Other::ForwardSkew(0.2),
            Other::ReverseSkew(0.2),
            Other::Variation,
        ] {
            heads.other = Some((1.0, other));
            if rows == 5 {
                heads.check("near", context);
            }
            let near = std::mem::replace(&mut heads.teacher, equal.clone());
            let found = heads.run(Some(context));
            assert!(found.all().iter().all(|&x| x == 0.0), "{other:?}");
            heads.teacher = near;
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_bindings_and_dispatches() {
    // 256 KiB are 1536 classes and rows of 39 numbers, 2560 of 23, and 128 × 512 numbers of each tile.
    let small = tiny(256 << 10, 16384);
    for from in [From::Products, From::Given] {
        let mut heads = Heads::new(300, [39, 23], 3500);
        heads.from = from;
        let [whole, cut] = [context(), &small].map(|context| heads.run(Some(context)));
        assert!(whole.bits() == cut.bits(), "{from:?}");
    }
    // The second head's bindings are shorter than the first's.
    let heads = Heads::new(300, [7, 71], 1700);
    let [whole, cut] = [context(), &small].map(|context| heads.run(Some(context)));
    assert!(whole.bits() == cut.bits());
    heads.check("cut", &small);
}

#[test]
fn classes_that_a_head_does_not_have() {
    let context = context();
    let none = f32::NEG_INFINITY;
    let hidden = arr2(&[[1.0_f32], [1.0], [1.0], [1.0]]);
    let classifier = arr2(&[[0.0_f32], [1.0], [0.5]]);
    let zero = Array1::<f32>::zeros(3);
    let own_none = Array1::from(vec![0.0_f32, none, 0.0]);
    let logits = arr2(&[[0.0_f32, 1.0, none], [none; 3], [0.0, f32::NAN, 0.0], [0.5, none, 0.0]]);
    let builders = || {
        let of = || LinearCrossEntropy::builder().reduction(Reduction::None);
        [
            of().row_loss(KullbackLeibler::forward()),
            of().row_loss(KullbackLeibler::reverse()),
            of().row_loss(JensenShannon::new(0.25).unwrap()),
            of().row_loss(SkewKullbackLeibler::forward(0.25).unwrap()),
            of().row_loss(SkewKullbackLeibler::reverse(0.25).unwrap()),
            of().row_loss(TotalVariation),
        ]
    };
    let all = builders().into_iter().map(|of| (of, &zero));
    for (builder, bias) in all.chain(builders().into_iter().map(|of| (of, &own_none))) {
        let built = builder.build().unwrap();
        let loss = &built;
        let inputs = Inputs::new(&hidden, &classifier, &[0_u32; 4])
            .bias(bias)
            .companion(Companion::logits(Head::from_logits(&logits)));
        let mut found = [Array2::<f32>::zeros((4, 1)), Array2::zeros((4, 1))];
        let [a, b] = &mut found;
        let ones = Array1::from_elem(4, 1.0_f32);
        let upstream = Upstream::rows(&ones);
        let on = built.on(context);
        let there = on.loss_and_gradients(&inputs, &upstream, Gradients::new().hidden(a)).unwrap();
        let here =
            built.loss_and_gradients(&inputs, &upstream, Gradients::new().hidden(b)).unwrap();
        let pairs = there.losses().to_vec().into_iter().zip(here.losses().to_vec());
        let gradients = found[0].iter().zip(&found[1]).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        for (at, (a, b)) in pairs.chain(gradients).enumerate() {
            let near = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-5;
            assert!(near, "{loss:?} {bias}, {at}: {a} {b}");
        }
    }
}

#[test]
fn of_arrays_that_stay_on_the_device() {
    let context = context();
    let heads = Heads::new(70, [9, 5], 200);
    let expected = heads.run(Some(context));
    let [hidden, classifier] =
        [&heads.hidden, &heads.classifier].map(|of| context.upload(&cast::<f32>(of)).unwrap());
    let [wide, teacher] = [&heads.wide, &heads.teacher].map(cast::<f32>);
    let head = Head::new(&wide, &teacher).scale(heads.scale);
    let head = head.bias(heads.teacher_bias.as_ref().unwrap());
    let inputs = DeviceInputs::new(hidden, classifier, &heads.targets)
        .bias(&heads.bias)
        .companion(Companion::logits(head));
    let (loss, there) = (heads.loss(), context.zeros(200, 9).unwrap());
    let (on, upstream) = (loss.on(context), Upstream::rows(&heads.upstream));
    let gradients = DeviceGradients::new().classifier(there.clone());
    let forward = on.loss_and_gradients(&inputs, &upstream, &gradients).unwrap();
    assert!(forward.losses() == expected.losses);
    assert!(context.download(&there).unwrap().mapv(f64::from) == expected.classifier);
    let mut encoder = context.device().create_command_encoder(&Default::default());
    let encoded = on.encode_forward(&mut encoder, &inputs, &mut Workspace::new());
    assert!(matches!(encoded.err(), Some(Error::Conflict { what }) if what.contains("encoded")));
}

#[test]
fn what_a_gpu_does_not_have_is_said() {
    let one = arr2(&[[1.0_f32], [2.0]]);
    let companion = || Companion::logits(Head::new(&one, &one));
    let inputs = Inputs::new(&one, &one, &[0_u32, 1]).companion(companion());
    let of = || LinearCrossEntropy::builder();
    let two = Sum::new().add(1.0, JensenShannon::new(0.5).unwrap()).unwrap();
    let two = two.add(1.0, JensenShannon::new(0.25).unwrap()).unwrap();
    let both = Sum::new().add(1.0, ExpectedCost).unwrap();
    let both = both.add(1.0, KullbackLeibler::forward()).unwrap();
    for (builder, what) in
        [(of().row_loss(both), "one of them"), (of().row_loss(two), "one mixture")]
    {
        let error = builder.build().unwrap().on(context()).forward(&inputs).unwrap_err();
        assert!(
            matches!(&error, Error::Conflict { what: found } if found.contains(what)),
            "{error}"
        );
    }
}
