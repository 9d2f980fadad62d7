//! Losses of a row given by a table of coefficients, against direct sums over the logits in f64.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::{Array1, Array2, ArrayView1, Axis};
use std::sync::LazyLock;
use surprisal::loss::{Companion, Needs, RowLoss, RowScalars, Term, Terms};
use surprisal::{
    Backward, Element, Gradients, Inputs, Isa, LinearCrossEntropy, Real, Reduction, Upstream,
};
use testing::rare::one_in;
use testing::{Stream, cast};

/// One thread: most inputs are too small for more.
static ONE: LazyLock<rayon::ThreadPool> =
    LazyLock::new(|| rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread"));

#[derive(Arbitrary, Debug, Hash)]
struct Config {
    rows: u8,
    width: u8,
    classes: u8,
    seed: u32,
    spread: u8,
    offset: bool,
    /// Of s, s², 1 − e^−s, s/(1+D), X, X s; of lse², H, s_max.
    weighted: [i8; 6],
    plain: [i8; 3],
    bias: bool,
    class_weights: bool,
    token_weights: bool,
    ignore: bool,
    companion: u8,
    reduction: u8,
    scale: u8,
    given: bool,
    narrow: bool,
    strip: bool,
    isa: u8,
    budget: u8,
}

/// Σ c_k f_k.
#[derive(Clone, Copy, Debug)]
struct Table {
    weighted: [f64; 6],
    plain: [f64; 3],
}

/// s, lse, H, s_max, D and X, or how far each may be off.
#[derive(Clone, Copy)]
struct Scalars {
    s: f64,
    lse: f64,
    h: f64,
    most: f64,
    d: f64,
    x: f64,
}

/// The slopes by the same scalars, of the weighted part and of the plain one.
#[derive(Clone, Copy)]
struct Slopes {
    s: f64,
    d: f64,
    x: f64,
    lse: f64,
    h: f64,
    most: f64,
}

impl Table {
    fn has_companion(&self) -> bool {
        self.weighted[4] != 0.0 || self.weighted[5] != 0.0
    }

    fn weighted(&self, at: &Scalars) -> f64 {
        let [one, square, robust, share, mean, both] = self.weighted;
        let Scalars { s, d, x, .. } = *at;
        one * s + square * s * s - robust * (-s).exp_m1()
            + share * s / (1.0 + d)
            + mean * x
            + both * x * s
    }

    fn plain(&self, at: &Scalars) -> f64 {
        let [square, entropy, most] = self.plain;
        square * at.lse * at.lse + entropy * at.h + most * at.most
    }

    fn slopes(&self, at: &Scalars) -> Slopes {
        let [one, square, robust, share, mean, both] = self.weighted;
        let Scalars { s, d, x, .. } = *at;
        Slopes {
            s: one + 2.0 * square * s + robust * (-s).exp() + share / (1.0 + d) + both * x,
            d: -share * s / ((1.0 + d) * (1.0 + d)),
            x: mean + both * s,
            lse: 2.0 * self.plain[0] * at.lse,
            h: self.plain[1],
            most: self.plain[2],
        }
    }

    /// How far the slopes are off where the scalars are, and what their own sums round.
    fn slopes_off(&self, at: &Scalars, off: &Scalars) -> Slopes {
        let [one, square, robust, share, mean, both] = self.weighted.map(f64::abs);
        let Scalars { s, d, x, .. } = *at;
        let terms = one + 2.0 * square * s + robust + share + both * x.abs();
        let below = 1.0 / (1.0 + d);
        Slopes {
            s: (2.0 * square + robust) * off.s
                + share * off.d * below
                + both * off.x
                + 4.0 * f64::EPSILON * terms,
            d: share * below * below * (off.s + 2.0 * s * off.d * below),
            x: both * off.s + 4.0 * f64::EPSILON * (mean + both * s),
            lse: 2.0 * self.plain[0].abs() * off.lse,
            h: 0.0,
            most: 0.0,
        }
    }
}

impl RowLoss for Table {
    fn needs(&self) -> Needs {
        let asked = |needs: Needs, coefficient: f64, more: fn(Needs) -> Needs| match coefficient {
            0.0 => needs,
            _ => more(needs),
        };
        let needs = asked(Needs::nothing(), self.weighted[3], Needs::deviation);
        let needs = asked(needs, self.weighted[4], Needs::companion);
        let needs = asked(needs, self.weighted[5], Needs::companion);
        let needs = asked(needs, self.plain[1], Needs::entropy);
        asked(needs, self.plain[2], Needs::min_entropy)
    }

    fn evaluate(&self, row: &RowScalars) -> Terms {
        // What was not asked for is NaN, and has a coefficient of 0.
        let or_none = |x: f64, asked: bool| if asked { x } else { 0.0 };
        let at = Scalars {
            s: row.surprisal(),
            lse: row.log_sum_exp(),
            h: or_none(row.entropy(), self.plain[1] != 0.0),
            most: or_none(row.min_entropy(), self.plain[2] != 0.0),
            d: or_none(row.deviation(), self.weighted[3] != 0.0),
            x: or_none(row.companion(), self.has_companion()),
        };
        let slopes = self.slopes(&at);
        let weighted = Term::new(self.weighted(&at))
            .by_surprisal(slopes.s)
            .by_deviation(slopes.d)
            .by_companion(slopes.x);
        let plain = Term::new(self.plain(&at))
            .by_log_sum_exp(slopes.lse)
            .by_entropy(slopes.h)
            .by_min_entropy(slopes.most);
        Terms::weighted(weighted).with_plain(plain)
    }
}

/// Numbers that every type holds.
struct Case {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    bias: Option<Array1<f64>>,
    /// What is given, where it is.
    given: Array2<f64>,
    targets: Vec<i64>,
    class_weights: Option<Array1<f64>>,
    token_weights: Option<Array1<f64>>,
    costs: Array2<f64>,
    listed: Array2<u32>,
    values: Array2<f64>,
    upstream: Array1<f64>,
    scale: f64,
    table: Table,
}

impl Case {
    fn of(config: &Config) -> Self {
        let mut stream = Stream(u64::from(config.seed));
        // Over a tile of 256 columns and a group of 96 rows seldom.
        let large = one_in(64, config);
        let (most_rows, most_classes) = if large { (110, 600) } else { (6, 40) };
        let rows = usize::from(config.rows) % most_rows;
        let width = usize::from(config.width) % 12;
        let classes = usize::from(config.classes) * if large { 3 } else { 1 };
        let classes = 1 + classes % most_classes;
        let spread = f64::from(config.spread % 40) / 10.0;
        let short = |x: f64| half::bf16::from_f64(x).to_f64();
        let hidden = stream.matrix(rows, width, spread).mapv(short);
        let classifier = stream.matrix(classes, width, 1.0).mapv(short);
        let offset = if config.offset { 1024.0 } else { 0.0 };
        let bias = stream.vector(classes, 1.0).mapv(|x| short(x) + offset);
        let given = stream.matrix(rows, classes, spread).mapv(|x| short(x) + offset);
        let given = given.mapv(|x| f64::from(x as f32));
        let mut targets = stream.classes(rows, classes);
        if config.ignore && rows > 0 {
            targets[rows / 2] = -100;
        }
        let class_weights = stream.vector(classes, 1.0).mapv(|x| short(x.abs() + 0.1));
        let token_weights = stream.vector(rows, 1.0).mapv(short);
        // The same numbers in each form.
        let mut costs = stream.matrix(rows, classes, 2.0).mapv(short);
        let count = classes.min(5);
        let listed = Array2::from_shape_fn((rows, count), |(i, j)| ((i + 7 * j) % classes) as u32);
        let values = stream.matrix(rows, count, 2.0).mapv(short);
        match config.companion % 3 {
            0 => {}
            1 if rows > 0 => {
                let first = costs.row(0).to_owned();
                costs.outer_iter_mut().for_each(|mut row| row.assign(&first));
            }
            _ => {
                costs.fill(0.0);
                for ((i, j), &class) in listed.indexed_iter() {
                    costs[[i, class as usize]] += values[[i, j]];
                }
            }
        }
        let coefficient = |c: i8| f64::from(c) / 32.0;
        Self {
            bias: config.bias.then(|| bias.mapv(|x| f64::from(x as f32))),
            class_weights: config.class_weights.then_some(class_weights),
            token_weights: config.token_weights.then_some(token_weights),
            upstream: stream.vector(rows, 1.0).mapv(short),
            // Products with it are exact.
            scale: [1.0, 0.5, 2.0][usize::from(config.scale) % 3],
            table: Table {
                weighted: config.weighted.map(coefficient),
                plain: config.plain.map(coefficient),
            },
            hidden,
            classifier,
            given,
            targets,
            costs,
            listed,
            values,
        }
    }

    fn classes(&self) -> usize {
        self.classifier.dim().0
    }
}

/// What direct sums say, and how far off what is computed may be.
struct Truth {
    losses: Array1<f64>,
    losses_off: Array1<f64>,
    loss: f64,
    loss_off: f64,
    g: Array2<f64>,
    g_off: Array2<f64>,
    /// Whether each row's arg-max is beyond doubt, which s_max has a jump in its slope at.
    certain: bool,
}

/// The scalars of a row of logits, with p.
fn scalars(
    a: ArrayView1<'_, f64>,
    y: usize,
    c: ArrayView1<'_, f64>,
) -> (Scalars, Array1<f64>, usize) {
    let argmax = a.iter().enumerate().fold(0, |best, (v, x)| if *x > a[best] { v } else { best });
    let m = a[argmax];
    // Without the arg-max's 1, so that what is far below it is not lost.
    let rest = a.iter().enumerate().filter(|(v, _)| *v != argmax).map(|(_, x)| (x - m).exp());
    let log_sum = rest.sum::<f64>().ln_1p();
    let below = a.mapv(|x| log_sum + (m - x));
    let p = below.mapv(|s| (-s).exp());
    let at = Scalars {
        s: below[y],
        lse: m + log_sum,
        h: p.dot(&below),
        most: log_sum,
        d: below.sum(),
        x: p.dot(&c),
    };
    (at, p, argmax)
}

/// The error model. A logit is off by δ: fused, by the rounding of a sum of D products and a bias in the
/// type's unit u; given, by nothing. The logits below the largest are rounded once more. A block's sum of
/// exponentials, in lanes of the type, is off by at most 64 u beside that (as in the other targets), so
/// that with ε = 2δ + u (range + 64)
///
/// ```text
/// s, lse, s_max: ε       D: V ε + 64 u D       X: 4 ε max |c|       H: ε (2 + ln V + range)
/// ```
///
/// and what is made of them by the slopes, and their own errors by the second derivatives; a p is off by
/// 2 ε p. `G` is rounded to the type at every step of its formula.
fn truth(config: &Config, case: &Case, unit: f64) -> Truth {
    let classes = case.classes();
    let z = match config.given {
        true => case.given.clone(),
        false => {
            let products = case.hidden.dot(&case.classifier.t());
            match &case.bias {
                Some(bias) => products + bias,
                None => products,
            }
        }
    };
    let logits = z * case.scale;
    let largest = |m: &Array2<f64>| m.fold(0.0_f64, |m, x| m.max(x.abs()));
    let delta = match config.given {
        true => 0.0,
        false => {
            let products = case.hidden.mapv(f64::abs).dot(&case.classifier.mapv(f64::abs).t());
            let bias = case.bias.as_ref().map_or(0.0, |b| b.fold(0.0_f64, |m, x| m.max(x.abs())));
            unit * (case.hidden.dim().1 as f64 + 4.0) * case.scale * (largest(&products) + bias)
        }
    };
    // The direct sums round lse themselves.
    let own = 4.0 * f64::EPSILON * (1.0 + largest(&logits));
    let rows = case.targets.len();
    let mut truth = Truth {
        losses: Array1::zeros(rows),
        losses_off: Array1::zeros(rows),
        loss: 0.0,
        loss_off: 0.0,
        g: Array2::zeros(logits.dim()),
        g_off: Array2::zeros(logits.dim()),
        certain: true,
    };
    let weight_of = |y: usize| case.class_weights.as_ref().map_or(1.0, |w| w[y]);
    let kept = || case.targets.iter().filter(|&&y| y >= 0);
    let (weighted_by, plain_by) = match reduction(config) {
        Reduction::Mean => (kept().map(|&y| weight_of(y as usize)).sum(), kept().count() as f64),
        _ => (1.0, 1.0),
    };
    for (i, a) in logits.outer_iter().enumerate() {
        let Ok(y) = usize::try_from(case.targets[i]) else { continue };
        let c = case.costs.row(i);
        let (at, p, argmax) = scalars(a, y, c);
        let range = a.fold(0.0_f64, |most, x| most.max(a[argmax] - x));
        let second = (0..classes).filter(|&v| v != argmax).map(|v| a[v]);
        let gap = a[argmax] - second.fold(f64::NEG_INFINITY, f64::max);
        truth.certain &= gap > 4.0 * delta || delta == 0.0;
        let epsilon = 2.0 * delta + unit * (range + 64.0) + own;
        let v = classes as f64;
        let most_cost = c.fold(0.0_f64, |m, c| m.max(c.abs()));
        let off = Scalars {
            s: epsilon,
            lse: epsilon,
            most: epsilon,
            d: v * epsilon + 64.0 * unit * at.d,
            x: 4.0 * epsilon * most_cost,
            h: epsilon * (2.0 + v.ln() + range),
        };
        let tau = case.token_weights.as_ref().map_or(1.0, |w| w[i]);
        let w = weight_of(y);
        let (weighted, plain) = (tau * w / weighted_by, tau / plain_by);
        let slopes = case.table.slopes(&at);
        let wrong = case.table.slopes_off(&at, &off);
        let value_off = weighted.abs()
            * ((slopes.s.abs() + wrong.s) * off.s
                + (slopes.d.abs() + wrong.d) * off.d
                + (slopes.x.abs() + wrong.x) * off.x)
            + plain.abs()
                * ((slopes.lse.abs() + wrong.lse) * off.lse
                    + slopes.h.abs() * off.h
                    + slopes.most.abs() * off.most);
        let terms = weighted * case.table.weighted(&at);
        let (loss, beside) = (terms + plain * case.table.plain(&at), plain * case.table.plain(&at));
        let rounds = 8.0 * f64::EPSILON * (terms.abs() + beside.abs());
        truth.losses[i] = loss;
        truth.losses_off[i] = value_off + rounds;
        truth.loss += loss;
        truth.loss_off += value_off + rounds * (1.0 + rows as f64);

        let up = if reduction(config) == Reduction::None { case.upstream[i] } else { 1.0 };
        let (weighted, plain) = (weighted * up, plain * up);
        let (g_y, k, b) = (weighted * slopes.s, weighted * slopes.d, weighted * slopes.x);
        let (by_lse, h, g_max) = (plain * slopes.lse, plain * slopes.h, plain * slopes.most);
        let coefficient = g_y + by_lse + g_max + v * k;
        let (weighted, plain) = (weighted.abs(), plain.abs());
        let (s_off, k_off) = (weighted * wrong.s, weighted * wrong.d);
        let (x_off, lse_off) = (weighted * wrong.x, plain * wrong.lse);
        for (class, &p) in p.iter().enumerate() {
            let surprisal = at.lse - a[class];
            let (bend, above) = (at.h - surprisal, c[class] - at.x);
            let whole = coefficient - h * bend + b * above;
            let single = f64::from(class == y) * g_y + f64::from(class == argmax) * g_max;
            truth.g[[i, class]] = case.scale * (p * whole - k - single);
            // What is summed into `whole`, each term rounded and off by itself.
            let sizes = g_y.abs()
                + by_lse.abs()
                + g_max.abs()
                + v * k.abs()
                + h.abs() * (bend.abs() + at.h + range)
                + b.abs() * (above.abs() + 2.0 * most_cost);
            let whole_off = s_off
                + lse_off
                + v * k_off
                + h.abs() * (off.h + epsilon)
                + b.abs() * off.x
                + x_off * above.abs()
                + 8.0 * unit * sizes;
            let single_off = f64::from(class == y) * s_off;
            truth.g_off[[i, class]] = case.scale
                * (p * (2.0 * epsilon * (whole.abs() + whole_off) + whole_off)
                    + k_off
                    + single_off
                    + 4.0 * unit * (p * sizes + k.abs() + single.abs()));
        }
    }
    truth
}

fn reduction(config: &Config) -> Reduction {
    [Reduction::None, Reduction::Sum, Reduction::Mean][usize::from(config.reduction) % 3]
}

fn near(
    what: &str,
    found: impl IntoIterator<Item = f64>,
    expected: impl IntoIterator<Item = f64>,
    off: impl IntoIterator<Item = f64>,
) {
    let all = found.into_iter().zip(expected).zip(off);
    for (i, ((a, b), off)) in all.enumerate() {
        // The model is of the first order; a number below the least of f32 is lost.
        let bound = 2.0 * off + 1e-30;
        assert!((a - b).abs() <= bound, "{what}[{i}] is {a:e}, expected {b:e} within {bound:e}");
    }
}

fn check<T: Element<Real = R>, R: Real>(config: &Config, case: &Case)
where
    for<'a> surprisal::Matrix<'a>: From<&'a Array2<T>>,
    for<'a> surprisal::MatrixMut<'a>: From<&'a mut Array2<R>>,
    for<'a> surprisal::VectorMut<'a>: From<&'a mut Array1<R>>,
{
    let isas = Isa::available();
    let loss = LinearCrossEntropy::builder()
        .row_loss(case.table)
        .scale(case.scale)
        .reduction(reduction(config))
        .isa(isas[usize::from(config.isa) % isas.len()])
        .backward(if config.strip { Backward::Strip } else { Backward::Recompute })
        .memory_budget((8 << 20) + (usize::from(config.budget) << 14))
        .build()
        .expect("options within their domains");
    let (hidden, classifier) = (cast::<T>(&case.hidden), cast::<T>(&case.classifier));
    let given = cast::<T>(&case.given);
    let mut inputs = match config.given {
        true => Inputs::from_logits(&given, &case.targets),
        false => Inputs::new(&hidden, &classifier, &case.targets),
    };
    if let (Some(bias), false) = (&case.bias, config.given) {
        inputs = inputs.bias(bias);
    }
    if let Some(weights) = &case.class_weights {
        inputs = inputs.class_weights(weights);
    }
    if let Some(weights) = &case.token_weights {
        inputs = inputs.token_weights(weights);
    }
    let first = Array1::from_iter(case.costs.outer_iter().take(1).flatten().copied());
    if case.table.has_companion() {
        inputs = inputs.companion(match config.companion % 3 {
            1 if !first.is_empty() => Companion::classes(&first),
            2 => Companion::listed(&case.listed, &case.values),
            _ => Companion::entries(&case.costs),
        });
    }
    let none = |shape: (usize, usize)| Array2::from_elem(shape, R::from_f64(f64::NAN));
    let mut d_given = none(case.given.dim());
    let (mut d_hidden, mut d_classifier) = (none(hidden.dim()), none(classifier.dim()));
    let mut d_bias = Array1::from_elem(case.classes(), R::from_f64(f64::NAN));
    let gradients = match (config.given, case.bias.is_some()) {
        (true, _) => Gradients::new().logits(&mut d_given),
        (false, true) => {
            Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier).bias(&mut d_bias)
        }
        (false, false) => Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier),
    };
    let upstream = match reduction(config) {
        Reduction::None => Upstream::rows(&case.upstream),
        _ => Upstream::default(),
    };
    let forward = ONE
        .install(|| loss.loss_and_gradients(&inputs, &upstream, gradients))
        .unwrap_or_else(|error| panic!("{error}"));

    let truth = truth(config, case, R::EPSILON);
    if reduction(config) == Reduction::None {
        near("losses", forward.losses(), truth.losses, truth.losses_off);
    } else if case.targets.iter().any(|&y| y >= 0) {
        near("loss", [forward.loss()], [truth.loss], [truth.loss_off]);
    }
    if !truth.certain && case.table.plain[2] != 0.0 {
        return;
    }
    let wide = |m: &Array2<R>| m.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let (g, g_off) = (&truth.g, &truth.g_off);
    if config.given {
        near("dz", wide(&d_given), g.iter().copied(), g_off.iter().copied());
        return;
    }
    // A sum of n terms, in any order, rounds each of them at most n times.
    let (rows, classes) = g.dim();
    let all = |n: usize| g_off + g.mapv(f64::abs) * (R::EPSILON * (n as f64 + 8.0));
    let off = all(classes).dot(&case.classifier.mapv(f64::abs));
    near("dE", wide(&d_hidden), g.dot(&case.classifier), off);
    let off = all(rows).t().dot(&case.hidden.mapv(f64::abs));
    near("dC", wide(&d_classifier), g.t().dot(&case.hidden), off);
    if case.bias.is_some() {
        let off = all(rows).sum_axis(Axis(0));
        near("db", d_bias.iter().map(|x| x.to_f64()), g.sum_axis(Axis(0)), off);
    }
}

fuzz_target!(|config: Config| {
    let case = Case::of(&config);
    match config.narrow {
        true => check::<f32, f32>(&config, &case),
        false => check::<f64, f64>(&config, &case),
    }
});
