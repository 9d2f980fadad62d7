//! The losses of the crate with any of their options on random rows: value and gradient against an oracle of
//! 400 bits, in which the gradient is a central difference.

#![no_main]

use arbitrary::Arbitrary;
use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;
use libfuzzer_sys::fuzz_target;
use ndarray::{Array1, Array2};
use surprisal::loss::{
    AdaptiveDistributionallyRobust, AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, CompSum,
    Companion, CorrectnessCalibration, CorrectnessPenalty, CrossEntropy, DirectCoverage,
    DistributionallyRobust, EarthMover, EntropyBonus, ExpectedCost, Focal, GeneralizedCrossEntropy,
    HardSymmetricCrossEntropy, Head, JensenShannon, KullbackLeibler, MeanAbsoluteError,
    MixedCrossEntropy, NormalizedCrossEntropy, Poly1, SkewKullbackLeibler, SymmetricCrossEntropy,
    Tailored,
};
use surprisal::{Element, Gradients, Inputs, Isa, LinearCrossEntropy, Real, Upstream};

type Big = FBig<HalfEven, 2>;

fn big(x: f64) -> Big {
    Big::try_from(x).expect("a finite number").with_precision(400).value()
}

fn narrow(x: &Big) -> f64 {
    x.to_f64().value()
}

/// 2^−100, at which the central difference has 60 digits.
fn step() -> Big {
    big(2.0_f64.powi(-100))
}

#[derive(Arbitrary, Debug)]
struct Config {
    loss: u8,
    options: [u8; 3],
    logits: [i8; 6],
    second: [i8; 6],
    classes: u8,
    target: u8,
    size: u8,
    offset: bool,
    narrow: bool,
    isa: u8,
}

const KINDS: u8 = 25;

/// Its number, which loss it is, three options from 0 to 1, and its temperature.
struct Case {
    kind: u8,
    options: [f64; 3],
    temperature: f64,
    logits: Vec<f64>,
    second: Vec<f64>,
    y: usize,
}

/// Sums of a row at its temperature.
struct Row {
    /// a_v − a_y.
    over: Vec<Big>,
    odds: Big,
    s: Big,
    p: Big,
    others: Big,
    /// p and −ln p of each class.
    all: Vec<(Big, Big)>,
}

impl Row {
    fn new(z: &[Big], y: usize, temperature: f64) -> Self {
        let over: Vec<Big> = z.iter().map(|x| (x - &z[y]) / big(temperature)).collect();
        let exps: Vec<Big> = over.iter().map(Big::exp).collect();
        let rest = exps.iter().enumerate().filter(|(v, _)| *v != y).map(|(_, e)| e);
        let odds = rest.fold(big(0.0), |sum, e| sum + e);
        let whole = big(1.0) + &odds;
        let s = odds.ln_1p();
        let all = exps.iter().zip(&over).map(|(e, x)| (e / &whole, &s - x)).collect();
        Self { p: big(1.0) / &whole, others: &odds / &whole, s, odds, over, all }
    }

    fn entropy(&self) -> Big {
        self.all.iter().fold(big(0.0), |sum, (p, s)| sum + p * s)
    }

    fn mean(&self, of: impl Fn(usize) -> f64) -> Big {
        let terms = self.all.iter().enumerate().map(|(v, (p, _))| p * big(of(v)));
        terms.fold(big(0.0), |sum, x| sum + x)
    }
}

/// x^q.
fn power(x: &Big, q: f64) -> Big {
    if q == 0.0 || *x == big(0.0) {
        return if q == 0.0 { big(1.0) } else { big(0.0) };
    }
    (x.ln() * big(q)).exp()
}

fn ln_1p_of_minus(x: &Big) -> Big {
    (-x).ln_1p()
}

impl Case {
    fn of(config: &Config) -> Self {
        let classes = 2 + usize::from(config.classes) % 5;
        let scale = [0.0625, 1.0, 4.0][usize::from(config.size) % 3];
        let offset = if config.offset { 4096.0 } else { 0.0 };
        let of = |x: &i8| f64::from(*x) * scale;
        let kind = config.loss % KINDS;
        let options = config.options.map(|x| f64::from(x) / 256.0);
        let temperature = match kind {
            13 | 18 => [0.125, 0.5, 1.0, 2.0, 8.0][(options[0] * 5.0) as usize],
            _ => 1.0,
        };
        Self {
            kind,
            options,
            temperature,
            logits: config.logits[..classes].iter().map(|x| of(x) + offset).collect(),
            second: config.second[..classes].iter().map(|x| of(x).clamp(-40.0, 40.0)).collect(),
            y: usize::from(config.target) % classes,
        }
    }

    /// The loss, and how much more than a few units its own steps magnify what its scalars are off by.
    fn loss(&self) -> (surprisal::LinearCrossEntropyBuilder, f64) {
        let of = LinearCrossEntropy::builder().temperature(self.temperature);
        let [a, b, c] = self.options;
        let good = "options within their domains";
        match self.kind {
            0 => (of, 1.0),
            1 => (of.row_loss(CompSum::new(3.0 * a).expect(good)), 4.0),
            2 => (of.row_loss(GeneralizedCrossEntropy::new(a).expect(good)), 1.0),
            3 => (of.row_loss(MeanAbsoluteError::whole()), 1.0),
            4 => (of.row_loss(Focal::new(5.0 * a).expect(good)), 1.0 + 5.0 * a),
            5 => (of.row_loss(Poly1::new(4.0 * a - 1.0).expect(good)), 4.0),
            6 => (of.row_loss(DirectCoverage::new(self.draws()).expect(good)), self.draws()),
            7 => {
                let loss = AsymmetricGeneralizedCrossEntropy::new(4.0 * a + 0.01, 4.0 * b + 0.01);
                (of.row_loss(loss.expect(good)), 8.0)
            }
            8 => {
                let loss = AsymmetricUnhinged::new(1.01 + 4.0 * a, 4.0 * b + 0.01);
                (of.row_loss(loss.expect(good)), 8.0)
            }
            9 => {
                let loss = HardSymmetricCrossEntropy::new(a, b, -0.01 - 10.0 * c);
                (of.row_loss(loss.expect(good)), 1.0)
            }
            10 => (of.row_loss(MixedCrossEntropy::new(a).expect(good)), 1.0),
            11 => (of.row_loss(Tailored::new(a, 0.5 * b, 0.5 + c).expect(good)), 4.0),
            12 => (of.row_loss(NormalizedCrossEntropy), 4.0),
            13 => (of.row_loss(DistributionallyRobust::new(2.0 * b).expect(good)), 8.0),
            14 => (of.row_loss(EntropyBonus::new(4.0 * a - 2.0).expect(good)), 4.0),
            15 => (of.row_loss(CorrectnessCalibration::new(self.penalty())), 4.0),
            16 => (of.row_loss(CrossEntropy::new(a, b).expect(good)), 4.0),
            17 => (of.row_loss(self.mover()), 8.0),
            18 => {
                let loss = AdaptiveDistributionallyRobust::new(0.5 + a, 1.5 + b, 2.0 * c);
                (of.row_loss(loss.expect(good)), 16.0)
            }
            19 => (of.row_loss(KullbackLeibler::forward()), 4.0),
            20 => (of.row_loss(KullbackLeibler::reverse()), 4.0),
            21 => (of.row_loss(JensenShannon::new(a).expect(good)), 4.0),
            22 => (of.row_loss(SkewKullbackLeibler::forward(a).expect(good)), 4.0),
            23 => (of.row_loss(SymmetricCrossEntropy::new(a).expect(good)), 4.0),
            _ => (of.row_loss(ExpectedCost), 4.0),
        }
    }

    fn draws(&self) -> f64 {
        1.0 + self.options[0] * [3.0, 300.0][usize::from(self.options[1] > 0.5)]
    }

    fn penalty(&self) -> CorrectnessPenalty {
        match (3.0 * self.options[0]) as u8 {
            0 => CorrectnessPenalty::Squared,
            1 => CorrectnessPenalty::Absolute,
            _ => CorrectnessPenalty::CrossEntropy,
        }
    }

    fn mover(&self) -> EarthMover {
        match (3.0 * self.options[0]) as u8 {
            0 => EarthMover::paper(),
            1 => EarthMover::as_in_code(),
            _ => EarthMover::continual(),
        }
    }

    /// Costs above 0, and 0 at the target.
    fn cost(&self, v: usize) -> f64 {
        if v == self.y { 0.0 } else { 0.5 + self.options[(v + 1) % 3] }
    }

    /// The value, in which what is detached is of the second row.
    fn value(&self, z: &[Big], row: &Row, at: &Row) -> Big {
        let [a, b, c] = self.options;
        let one = || big(1.0);
        let classes = big(z.len() as f64);
        match self.kind {
            0 => row.s.clone(),
            1 | 2 => {
                let rate = if self.kind == 1 { 1.0 - 3.0 * a } else { -a };
                match rate {
                    0.0 => row.s.clone(),
                    _ => (&row.s * big(rate)).exp_m1() / big(rate),
                }
            }
            3 => big(2.0) * &row.others,
            4 => power(&row.others, 5.0 * a) * &row.s,
            5 => &row.s + big(4.0 * a - 1.0) * &row.others,
            6 => {
                // ln(1 − p), and 1 − (1 − p)^N, from whichever is small.
                let missed = match row.p < big(0.5) {
                    true => ln_1p_of_minus(&row.p),
                    false => row.others.ln(),
                };
                -(-(missed * big(self.draws())).exp_m1()).ln()
            }
            7 => {
                let (a, q) = (4.0 * a + 0.01, 4.0 * b + 0.01);
                (power(&(big(a) + one()), q) - power(&(big(a) + &row.p), q)) / big(q)
            }
            8 => {
                let (a, q) = (1.01 + 4.0 * a, 4.0 * b + 0.01);
                (power(&(big(a) - &row.p), q) - power(&(big(a) - one()), q)) / big(q)
            }
            9 => big(a) * &row.s + big(b) * big(0.01 + 10.0 * c) * &row.others,
            10 => (big(a) + big(1.0 - a) * &at.p) * &row.s,
            11 => {
                let weight = &at.p / (big(1.0 - a) + big(a) * &at.p);
                let weight = weight.max(big(0.5 * b)).min(big(0.5 + c));
                (big(a) + big(1.0 - a) * weight) * &row.s
            }
            12 => &row.s / row.all.iter().fold(big(0.0), |sum, (_, s)| sum + s),
            13 => self.robust(row, 2.0 * b),
            14 => big(4.0 * a - 2.0) * row.entropy(),
            15 => {
                let most = |row: &Row| {
                    let all = row.over.iter().enumerate();
                    all.fold(0, |best, (v, x)| if *x > row.over[best] { v } else { best })
                };
                let (most, right) = (most(at), most(at) == self.y);
                let confidence = row.all[most].0.clone();
                let rest = row.all.iter().enumerate().filter(|(v, _)| *v != most);
                let doubt = rest.fold(big(0.0), |sum, (_, (p, _))| sum + p);
                let far = if right { &doubt } else { &confidence };
                match (self.penalty(), right) {
                    (CorrectnessPenalty::Squared, _) => far * far,
                    (CorrectnessPenalty::Absolute, _) => far.clone(),
                    (_, true) => row.all[most].1.clone(),
                    (_, false) => -doubt.ln(),
                }
            }
            16 => {
                let lse = &z[self.y] + &row.s;
                let all = row.all.iter().fold(big(0.0), |sum, (_, s)| sum + s);
                big(1.0 - a) * &row.s + big(a) * all / classes + big(b) * &lse * &lse
            }
            17 => {
                let small = big(1e-10);
                let of = |row: &Row| row.mean(|v| self.cost(v));
                let (d, d_at) = (of(row), of(at));
                match (3.0 * a) as u8 {
                    0 => big(0.5) * (&row.s + &at.s / (d_at + small) * d),
                    1 => {
                        let ratio = &at.s / (d_at + &at.p + small);
                        big(0.5) * (&row.s + ratio * (d + &at.p))
                    }
                    _ => (d_at + &at.p) / (&at.s + small) * &row.s + d + &at.p,
                }
            }
            18 => {
                let (first, alpha) = (0.5 + a, 1.5 + b);
                let moved = big(self.temperature) - big(first);
                let most = big(alpha) * classes.ln();
                self.robust(row, 2.0 * c) - most / (big(2.0) * big(first)) * &moved * &moved
            }
            19..=23 => self.divergence(row),
            _ => row.mean(|v| self.cost(v)),
        }
    }

    fn robust(&self, row: &Row, margin: f64) -> Big {
        let odds = &row.odds * (big(margin) / big(self.temperature)).exp();
        big(self.temperature) * (odds.ln_1p() - big(row.all.len() as f64).ln())
    }

    fn divergence(&self, row: &Row) -> Big {
        let second: Vec<Big> = self.second.iter().map(|&x| big(x)).collect();
        let other = Row::new(&second, self.y, 1.0);
        let a = self.options[0];
        let mut sum = big(0.0);
        for ((q, q_s), (p, p_s)) in row.all.iter().zip(&other.all) {
            let mixture = |share: f64| (big(share) * p + big(1.0 - share) * q).ln();
            sum += match self.kind {
                19 => p * (q_s - p_s),
                20 => q * (p_s - q_s),
                21 => {
                    let m = mixture(a);
                    big(a) * p * (-p_s - &m) + big(1.0 - a) * q * (-q_s - &m)
                }
                22 => p * (-p_s - mixture(a)),
                _ => big(1.0 - a) * p * q_s + big(a) * q * p_s,
            };
        }
        sum
    }
}

/// The error model. Each scalar is off by a few units of itself and of the range of the logits, so that the value
/// is off by as much of itself and of what a move of the logits makes of it, Σ |G|; an entry of G by as much of
/// itself and of the coefficient that p is multiplied with. What is of all classes is a difference of sums.
fn check<T: Element<Real = R>, R: Real>(config: &Config, case: &Case, [least, most]: [f64; 2])
where
    for<'a> surprisal::Matrix<'a>: From<&'a Array2<T>>,
    for<'a> surprisal::MatrixMut<'a>: From<&'a mut Array2<R>>,
{
    let classes = case.logits.len();
    let z: Vec<Big> = case.logits.iter().map(|&x| big(x)).collect();
    let at = Row::new(&z, case.y, case.temperature);
    let exact = case.value(&z, &at, &at);
    let g: Vec<f64> = (0..classes)
        .map(|v| {
            let moved = |h: &Big| {
                let mut z = z.clone();
                z[v] += h;
                case.value(&z, &Row::new(&z, case.y, case.temperature), &at)
            };
            narrow(&((moved(&step()) - moved(&-step())) / (big(2.0) * step())))
        })
        .collect();
    let largest = case.logits.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x));
    let ties = case.logits.iter().filter(|&&x| x == largest).count() > 1;
    if case.kind == 15 && ties {
        // The slope jumps where the most likely class changes.
        return;
    }
    let isas = Isa::available();
    let (builder, steep) = case.loss();
    let builder = builder.isa(isas[usize::from(config.isa) % isas.len()]);
    let loss = builder.build().expect("options within their domains");
    let logits = Array2::from_shape_fn((1, classes), |(_, v)| T::from_f64(case.logits[v]));
    let second = Array2::from_shape_fn((1, classes), |(_, v)| case.second[v]);
    let costs = Array1::from_shape_fn(classes, |v| case.cost(v));
    let targets = [case.y as u32];
    let mut inputs = Inputs::from_logits(&logits, &targets);
    match case.kind {
        17 | 24 => inputs = inputs.companion(Companion::classes(&costs)),
        19..=23 => inputs = inputs.companion(Companion::logits(Head::from_logits(&second))),
        _ => {}
    }
    let mut found = Array2::from_elem((1, classes), R::from_f64(f64::NAN));
    let gradients = Gradients::new().logits(&mut found);
    let forward =
        loss.loss_and_gradients(&inputs, &Upstream::default(), gradients).expect("a call");
    let (value, exact) = (forward.loss(), narrow(&exact));
    let range = case.logits.iter().fold(0.0_f64, |m, x| m.max(largest - x));
    let range = (range / case.temperature).max(if case.kind >= 19 { 80.0 } else { 0.0 });
    let unit = 64.0 * R::EPSILON * steep * (1.0 + range);
    let all: f64 = g.iter().map(|x| x.abs()).sum();
    let lse = largest.abs() + 2.0;
    // The sizes of what is subtracted in a value, and in an entry of a gradient.
    let s = -narrow(&at.p).max(1e-300).ln();
    let (in_value, in_entry) = match case.kind {
        12 => (0.0, 1.0),
        13 | 18 => (8.0 * (1.0 + case.temperature), 0.0),
        14 | 19..=23 => (1.0, 1.0),
        15 => (0.0, 0.0),
        16 => (lse * lse, lse + 1.0),
        17 => (0.0, 3.0 + 3.0 * s),
        24 => (0.0, 3.0),
        _ => (0.0, 0.0),
    };
    let near = |what: &str, a: f64, b: f64, bound: f64| {
        if b.is_finite() && b.abs() < most / 4.0 {
            assert!((a - b).abs() <= bound, "{what}: {a:e}, expected {b:e} within {bound:e}");
        }
    };
    // What a difference can be seen to: in a gradient 400 bits less the 100 of the step.
    let seen = 2.0_f64.powi(-280) * (1.0 + exact.abs() + lse * lse);
    near("the value", value, exact, unit * (exact.abs() + all + in_value) + seen);
    for (v, (a, b)) in found.iter().zip(&g).enumerate() {
        let p = narrow(&at.all[v].0);
        let bound = unit * (b.abs() + p * all + in_entry);
        near(&format!("G[{v}]"), a.to_f64(), *b, bound + 64.0 * least + seen);
    }
}

fuzz_target!(|config: Config| {
    let case = Case::of(&config);
    match config.narrow {
        true => check::<f32, f32>(&config, &case, [f32::MIN_POSITIVE, f32::MAX].map(f64::from)),
        false => check::<f64, f64>(&config, &case, [f64::MIN_POSITIVE, f64::MAX]),
    }
});
