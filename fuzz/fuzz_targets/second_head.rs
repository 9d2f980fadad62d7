//! Divergences from a second head and the mean of its logits, against direct sums in f64.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ndarray::{Array1, Array2, ArrayView1};
use std::sync::LazyLock;
use surprisal::loss::{
    Companion, ExpectedCost, Head, JensenShannon, KullbackLeibler, SkewKullbackLeibler, Sum,
    TotalVariation,
};
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
    widths: [u8; 2],
    classes: u8,
    seed: u32,
    spread: u8,
    /// How far the second head is from the first, where both are given: 2 to the minus this.
    near: u8,
    offsets: [bool; 2],
    /// Of the forward and of the reverse divergence, of the mean, and of one more divergence.
    factors: [i8; 4],
    kind: u8,
    share: u8,
    bias: bool,
    ignore: bool,
    /// Logits without a class.
    missing: bool,
    given: [bool; 2],
    temperature: u8,
    narrow: bool,
    strip: bool,
    isa: u8,
    budget: u8,
}

/// The divergence beside the two, with the share in its mixture.
#[derive(Clone, Copy)]
enum Other {
    JensenShannon(f64),
    ForwardSkew(f64),
    ReverseSkew(f64),
    TotalVariation,
}

impl Other {
    fn of(kind: u8, share: u8) -> Self {
        let share = [0.5, 0.1, 0.9, 1e-3, 0.0, 1.0][usize::from(share) % 6];
        match kind % 4 {
            0 => Self::JensenShannon(share),
            1 => Self::ForwardSkew(share),
            2 => Self::ReverseSkew(share),
            _ => Self::TotalVariation,
        }
    }

    /// What a class adds to the value, and g less what is the same for all classes, of −ln Q and −ln P.
    fn term(self, q: f64, p: f64) -> (f64, f64) {
        let (big_q, big_p) = ((-q).exp(), (-p).exp());
        if big_q == 0.0 && big_p == 0.0 {
            return (0.0, 0.0);
        }
        let delta = q - p;
        // ln M/P and ln M/Q, where P has this share of M: with the digits of equal heads, or of distant ones.
        let mixture = |share: f64| share * big_p + (1.0 - share) * big_q;
        let over = |share: f64, big: f64, other: f64| match delta.abs() < 1.0 {
            true => (share * other.exp_m1()).ln_1p(),
            false => mixture(if big == big_p { 1.0 - share } else { share }).ln() - big.ln(),
        };
        let over_p = |share: f64| over(1.0 - share, big_p, -delta);
        let over_q = |share: f64| over(share, big_q, delta);
        let told = |big: f64, x: f64, share: f64| match (big == 0.0, x.abs() < 1.0) {
            (true, _) => mixture(share),
            (_, true) => big * beyond_tangent(x),
            _ => mixture(share) - big - big * x,
        };
        let slope = |g: f64| if big_q == 0.0 { 0.0 } else { g };
        match self {
            Self::JensenShannon(beta) if beta == 0.0 || beta == 1.0 => (0.0, 0.0),
            Self::ForwardSkew(1.0) | Self::ReverseSkew(1.0) => (0.0, 0.0),
            Self::JensenShannon(beta) => {
                let value = beta * told(big_p, over_p(beta), beta)
                    + (1.0 - beta) * told(big_q, over_q(beta), beta);
                (value, slope(-(1.0 - beta) * over_q(beta)))
            }
            Self::ForwardSkew(alpha) => {
                let ratio = if big_p == 0.0 { -1.0 } else { (-over_p(alpha)).exp_m1() };
                (told(big_p, over_p(alpha), alpha), slope(-(1.0 - alpha) * ratio))
            }
            Self::ReverseSkew(alpha) => {
                let x = over_q(1.0 - alpha);
                (told(big_q, x, 1.0 - alpha), slope(-x - alpha * (-x).exp_m1()))
            }
            Self::TotalVariation => {
                let apart = match delta.abs() < 1.0 {
                    true => big_q * delta.exp_m1(),
                    false => big_p - big_q,
                };
                let sign = if apart == 0.0 { 0.0 } else { -apart.signum() };
                (0.5 * apart.abs(), slope(0.5 * sign))
            }
        }
    }

    fn add(self, factor: f64, sum: Sum) -> Sum {
        let added = match self {
            Self::JensenShannon(beta) => JensenShannon::new(beta).and_then(|l| sum.add(factor, l)),
            Self::ForwardSkew(alpha) => {
                SkewKullbackLeibler::forward(alpha).and_then(|l| sum.add(factor, l))
            }
            Self::ReverseSkew(alpha) => {
                SkewKullbackLeibler::reverse(alpha).and_then(|l| sum.add(factor, l))
            }
            Self::TotalVariation => sum.add(factor, TotalVariation),
        };
        added.expect("a share and a factor within their domains")
    }
}

/// Numbers that every type holds.
struct Case {
    hidden: Array2<f64>,
    classifier: Array2<f64>,
    wide: Array2<f64>,
    teacher: Array2<f64>,
    logits: [Array2<f64>; 2],
    bias: Option<Array1<f64>>,
    targets: Vec<i64>,
    upstream: Array1<f64>,
    factors: [f64; 4],
    other: Other,
    temperature: f64,
}

impl Case {
    fn of(config: &Config) -> Self {
        let mut stream = Stream(u64::from(config.seed));
        // Over a tile of 256 columns and a group of 96 rows seldom.
        let large = one_in(64, config);
        let (most_rows, most_classes) = if large { (110, 600) } else { (6, 40) };
        let rows = usize::from(config.rows) % most_rows;
        let [width, other_width] = config.widths.map(|width| usize::from(width) % 12);
        let classes = usize::from(config.classes) * if large { 3 } else { 1 };
        let classes = 1 + classes % most_classes;
        let spread = f64::from(config.spread % 40) / 10.0;
        let short = |x: f64| half::bf16::from_f64(x).to_f64();
        let hidden = stream.matrix(rows, width, spread).mapv(short);
        let classifier = stream.matrix(classes, width, 1.0).mapv(short);
        let wide = stream.matrix(rows, other_width, spread).mapv(short);
        let teacher = stream.matrix(classes, other_width, 1.0).mapv(short);
        let offset = |k: usize| if config.offsets[k] { 1024.0 } else { 0.0 };
        let bias = config.bias.then(|| stream.vector(classes, 1.0).mapv(|x| short(x) + offset(0)));
        let single = |m: Array2<f64>| m.mapv(|x| f64::from(x as f32));
        let mut own = stream.matrix(rows, classes, spread).mapv(|x| short(x) + offset(0));
        let step = 2.0_f64.powi(-i32::from(config.near % 24));
        let mut other = &own + &(stream.matrix(rows, classes, 1.0) * step);
        other.mapv_inplace(|x| x - offset(0) + offset(1));
        if config.missing && classes > 2 {
            // A class that neither head has, and one that the second has not.
            for i in 0..rows {
                own[[i, i % classes]] = f64::NEG_INFINITY;
                other[[i, i % classes]] = f64::NEG_INFINITY;
                other[[i, (i + 1) % classes]] = f64::NEG_INFINITY;
            }
        }
        let mut targets = stream.classes(rows, classes);
        if config.ignore && rows > 0 {
            targets[rows / 2] = -100;
        }
        Self {
            hidden,
            classifier,
            wide,
            teacher,
            logits: [single(own), single(other)],
            bias: bias.map(|bias| bias.mapv(|x| f64::from(x as f32))),
            targets,
            upstream: stream.vector(rows, 1.0).mapv(short),
            factors: config.factors.map(|c| f64::from(c) / 32.0),
            other: Other::of(config.kind, config.share),
            temperature: [1.0, 2.0, 0.5][usize::from(config.temperature) % 3],
        }
    }
}

/// Σ |E| |C| of each entry.
fn magnitudes(a: &Array2<f64>, b: &Array2<f64>) -> Array2<f64> {
    a.mapv(f64::abs).dot(&b.mapv(f64::abs).t())
}

/// lse − a of each class: the arg-max apart, so that what is far below it is not lost.
fn surprisals(a: ArrayView1<'_, f64>) -> Array1<f64> {
    let argmax = a.iter().enumerate().fold(0, |best, (v, x)| if *x > a[best] { v } else { best });
    let rest = a.iter().enumerate().filter(|(v, _)| *v != argmax);
    let log_sum = rest.map(|(_, x)| (x - a[argmax]).exp()).sum::<f64>().ln_1p();
    a.mapv(|x| log_sum + (a[argmax] - x))
}

/// e^x − 1 − x, where x is small by its series.
fn beyond_tangent(x: f64) -> f64 {
    if x.abs() > 0.1 {
        return x.exp_m1() - x;
    }
    let (mut term, mut sum, mut k) = (x * x / 2.0, 0.0, 2.0);
    while term.abs() > 1e-20 * sum {
        sum += term;
        k += 1.0;
        term *= x / k;
        if term == 0.0 {
            break;
        }
    }
    sum
}

/// KL of a from b, of lse − logit of each: by terms that are never negative.
fn divergence(a: &Array1<f64>, b: &Array1<f64>) -> f64 {
    let terms = a.iter().zip(b).map(|(&a, &b)| match (a == f64::INFINITY, b == f64::INFINITY) {
        (true, true) => 0.0,
        (true, false) => (-b).exp(),
        (false, true) => f64::INFINITY,
        (false, false) => {
            let x = a - b;
            match x > 1.0 {
                // ln b − ln a: e^−a e^x is e^−b.
                true => (-b).exp() - (-a).exp() * (1.0 + x),
                false => (-a).exp() * beyond_tangent(x),
            }
        }
    });
    terms.sum()
}

/// What direct sums say, and how far off what is computed may be.
struct Truth {
    losses: Array1<f64>,
    losses_off: Array1<f64>,
    g: Array2<f64>,
    g_off: Array2<f64>,
}

/// The error model. A logit is off by δ: a product, by the rounding of a sum of D products in the type's unit
/// u; given, by nothing. The logits below the largest, their difference and lse are rounded once more: ε. So
/// Δ = ln P − ln Q is off by e = 2 ε, of both heads, and
///
/// ```text
/// KL(P‖Q): Σ |Q − P| e + Σ P |Δ − KL| e + e²       KL(Q‖P): the same with P and Q the other way
/// Q − P: (P + Q) e       Q (−Δ − KL): Q (e (2 + |Δ| + KL) + that of KL)
/// mixtures: Σ (P + Q) min(|Δ|, 1) e + e², and of Q (g − ḡ) with g of the size of |Δ| or of 1/share
/// total variation: 4 e, of the first order
/// ```
///
/// beside what the sums of 256 terms and the steps of the formulas round, 64 u of what is summed.
fn truth(config: &Config, case: &Case, unit: f64) -> Truth {
    let scale = 1.0 / case.temperature;
    let largest = |m: &Array2<f64>| m.fold(0.0_f64, |m, x| m.max(x.abs()));
    let own = 4.0 * f64::EPSILON;
    let mut off = [0.0; 2];
    let logits = [0, 1].map(|k| {
        let (hidden, classifier) =
            [(&case.hidden, &case.classifier), (&case.wide, &case.teacher)][k];
        let bias = case.bias.as_ref().filter(|_| k == 0 && !config.given[k]);
        let z = match config.given[k] {
            true => case.logits[k].clone(),
            false => {
                let most = largest(&magnitudes(hidden, classifier));
                let bias = bias.map_or(0.0, |b| b.fold(0.0_f64, |m, x| m.max(x.abs())));
                off[k] = unit * (hidden.dim().1 as f64 + 4.0) * scale * (most + bias);
                hidden.dot(&classifier.t())
            }
        };
        let z = match bias {
            Some(bias) => z + bias,
            None => z,
        };
        z * scale
    });
    let shape = logits[0].dim();
    let mut truth = Truth {
        losses: Array1::zeros(shape.0),
        losses_off: Array1::zeros(shape.0),
        g: Array2::zeros(shape),
        g_off: Array2::zeros(shape),
    };
    let [forward, reverse, mean, more] = case.factors;
    for i in 0..shape.0 {
        if case.targets[i] < 0 {
            continue;
        }
        let (z, t) = (logits[0].row(i), logits[1].row(i));
        let (q, p) = (surprisals(z), surprisals(t));
        let (prob_q, prob_p) = (q.mapv(|s| (-s).exp()), p.mapv(|s| (-s).exp()));
        let range = |s: &Array1<f64>| {
            let finite = s.iter().filter(|x| x.is_finite());
            finite.fold(0.0_f64, |m, x| m.max(x.abs()))
        };
        let spread = range(&q) + range(&p);
        let size =
            [z, t].map(|a| a.iter().filter(|x| x.is_finite()).fold(0.0, |m, x| x.abs().max(m)));
        let epsilon =
            off[0] + off[1] + 4.0 * unit * (2.0 + spread) + own * (1.0 + size[0] + size[1]);
        let e = 2.0 * epsilon;
        let delta = |v: usize| match (q[v].is_finite(), p[v].is_finite()) {
            (true, true) => q[v] - p[v],
            _ => 0.0,
        };
        let (kl, back) = (divergence(&p, &q), divergence(&q, &p));
        let all = |f: &dyn Fn(usize) -> f64| (0..shape.1).map(f).sum::<f64>();
        let apart = all(&|v| (prob_q[v] - prob_p[v]).abs());
        let of = |weights: &Array1<f64>, value: f64| {
            (apart + all(&|v| weights[v] * (delta(v).abs() + value))) * e
                + e * e
                + 64.0 * unit * value
        };
        let (kl_off, back_off) = (of(&prob_p, kl), of(&prob_q, back));
        // −∞ beside a probability has none of it.
        let there = |v: usize| if t[v].is_finite() { t[v] } else { 0.0 };
        let x = all(&|v| prob_q[v] * there(v));
        let x_off =
            e * (all(&|v| prob_q[v] * (there(v) - x).abs()) + 1.0) + 64.0 * unit * (size[1] + 1.0);
        let infinite = [kl, back].map(f64::is_infinite);
        // A skew divergence with nothing of the other is a plain one: infinite where that is.
        let plain = match case.other {
            Other::ForwardSkew(0.0) => Some((kl, kl_off)),
            Other::ReverseSkew(0.0) => Some((back, back_off)),
            _ => None,
        };
        let terms: Vec<_> = (0..shape.1).map(|v| case.other.term(q[v], p[v])).collect();
        let other = plain.map_or(terms.iter().map(|(value, _)| value).sum(), |(value, _)| value);
        let near_sign = |v: usize| {
            let flips = matches!(case.other, Other::TotalVariation) && delta(v).abs() <= 2.0 * e;
            f64::from(flips)
        };
        let apart = |v: usize| (prob_q[v] + prob_p[v]) * (q[v] - p[v]).abs().min(1.0);
        let masses = all(&|v| if prob_q[v] + prob_p[v] > 0.0 { apart(v) } else { 0.0 });
        let other_off =
            plain.map_or(8.0 * masses * e + 8.0 * e * e + 64.0 * unit * other, |(_, off)| off);
        // Of the first order in Δ, as no sum of squares is.
        let other_off = match case.other {
            Other::TotalVariation => other_off + 4.0 * e,
            _ => other_off,
        };
        let mean_slope = all(&|v| prob_q[v] * terms[v].1);
        let size_of_slope = |v: usize| 2.0 + terms[v].1.abs() + mean_slope.abs();
        let mean_slope_off = all(&|v| {
            prob_q[v] * (8.0 * e * (size_of_slope(v) + 1.0) + near_sign(v)) + 8.0 * e * prob_p[v]
        });
        let factor = |factor: f64, value: f64| if factor == 0.0 { 0.0 } else { factor * value };
        truth.losses[i] =
            factor(forward, kl) + factor(reverse, back) + factor(mean, x) + factor(more, other);
        truth.losses_off[i] = factor(forward.abs(), kl_off + 8.0 * own * kl)
            + factor(reverse.abs(), back_off + 8.0 * own * back)
            + factor(more.abs(), other_off + 8.0 * own * other)
            + mean.abs() * (x_off + 8.0 * own * size[1]);
        let (forward, reverse) =
            (if infinite[0] { 0.0 } else { forward }, if infinite[1] { 0.0 } else { reverse });
        for v in 0..shape.1 {
            let (p, q, d) = (prob_p[v], prob_q[v], delta(v));
            let (back, back_off) = if infinite[1] { (0.0, 0.0) } else { (back, back_off) };
            let up = case.upstream[i] * scale;
            let above = there(v) - x;
            let (slope, more) = match other.is_infinite() {
                true => (0.0, 0.0),
                false => (terms[v].1 - mean_slope, more),
            };
            let all =
                [forward * (q - p), reverse * q * (-d - back), mean * q * above, more * q * slope];
            truth.g[[i, v]] = up * all.iter().sum::<f64>();
            let rounds = e + 16.0 * unit;
            truth.g_off[[i, v]] = up.abs()
                * (forward.abs() * (p + q) * rounds
                    + factor(
                        more.abs(),
                        q * (8.0 * rounds * size_of_slope(v) + mean_slope_off + near_sign(v))
                            + 8.0 * p * rounds,
                    )
                    + reverse.abs() * q * (rounds * (2.0 + d.abs() + back) + back_off)
                    + mean.abs() * q * (rounds * (2.0 + above.abs() + size[1]) + x_off));
        }
    }
    truth
}

fn near(
    what: &str,
    found: impl IntoIterator<Item = f64>,
    expected: impl IntoIterator<Item = f64>,
    off: impl IntoIterator<Item = f64>,
) {
    for (i, ((a, b), off)) in found.into_iter().zip(expected).zip(off).enumerate() {
        // The model is of the first order; a number below the least of f32 is lost.
        let bound = 2.0 * off + 1e-30;
        let same = a == b || (a.is_nan() && b.is_nan());
        assert!(
            same || (a - b).abs() <= bound,
            "{what}[{i}] is {a:e}, expected {b:e} within {bound:e}"
        );
    }
}

fn check<T: Element<Real = R>, R: Real>(config: &Config, case: &Case)
where
    for<'a> surprisal::Matrix<'a>: From<&'a Array2<T>>,
    for<'a> surprisal::MatrixMut<'a>: From<&'a mut Array2<R>>,
{
    let isas = Isa::available();
    let [forward, reverse, mean, more] = case.factors;
    let mut sum = Sum::new();
    for (factor, divergence) in
        [(forward, KullbackLeibler::forward()), (reverse, KullbackLeibler::reverse())]
    {
        if factor != 0.0 {
            sum = sum.add(factor, divergence).expect("a finite factor");
        }
    }
    if mean != 0.0 {
        sum = sum.add(mean, ExpectedCost).expect("a finite factor");
    }
    if more != 0.0 {
        sum = case.other.add(more, sum);
    }
    if case.factors == [0.0; 4] {
        return;
    }
    let loss = LinearCrossEntropy::builder()
        .row_loss(sum)
        .temperature(case.temperature)
        .reduction(Reduction::None)
        .isa(isas[usize::from(config.isa) % isas.len()])
        .backward(if config.strip { Backward::Strip } else { Backward::Recompute })
        .memory_budget((16 << 20) + (usize::from(config.budget) << 14))
        .build()
        .expect("options within their domains");
    let [hidden, classifier, wide, teacher] =
        [&case.hidden, &case.classifier, &case.wide, &case.teacher].map(|m| cast::<T>(m));
    let [own, other] = [0, 1].map(|k| cast::<T>(&case.logits[k]));
    let head = match config.given[1] {
        true => Head::from_logits(&other),
        false => Head::new(&wide, &teacher),
    };
    let mut inputs = match config.given[0] {
        true => Inputs::from_logits(&own, &case.targets),
        false => Inputs::new(&hidden, &classifier, &case.targets),
    };
    if let (Some(bias), false) = (&case.bias, config.given[0]) {
        inputs = inputs.bias(bias);
    }
    let inputs = inputs.companion(Companion::logits(head));
    let none = |shape: (usize, usize)| Array2::from_elem(shape, R::from_f64(f64::NAN));
    let mut d_given = none(own.dim());
    let (mut d_hidden, mut d_classifier) = (none(hidden.dim()), none(classifier.dim()));
    let gradients = match config.given[0] {
        true => Gradients::new().logits(&mut d_given),
        false => Gradients::new().hidden(&mut d_hidden).classifier(&mut d_classifier),
    };
    let upstream = Upstream::rows(&case.upstream);
    let forward = ONE
        .install(|| loss.loss_and_gradients(&inputs, &upstream, gradients))
        .unwrap_or_else(|error| panic!("{error}"));
    let truth = truth(config, case, R::EPSILON);
    // A mean over a class that the second head has not is no number.
    if mean != 0.0 && truth.losses.iter().zip(forward.losses()).any(|(_, a)| !a.is_finite()) {
        return;
    }
    near("losses", forward.losses(), truth.losses, truth.losses_off);
    let wide = |m: &Array2<R>| m.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let (g, g_off) = (&truth.g, &truth.g_off);
    if config.given[0] {
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
}

fuzz_target!(|config: Config| {
    let case = Case::of(&config);
    match config.narrow {
        true => check::<f32, f32>(&config, &case),
        false => check::<f64, f64>(&config, &case),
    }
});
