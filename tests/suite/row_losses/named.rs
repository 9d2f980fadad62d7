//! Every loss of one row without a second head, with its direct form.

use ndarray::{Array1, ArrayView1};
use surprisal::loss::{
    AdaptiveDistributionallyRobust, AsymmetricGeneralizedCrossEntropy, AsymmetricUnhinged, CompSum,
    CorrectnessCalibration, CorrectnessPenalty, CrossEntropy, DirectCoverage,
    DistributionallyRobust, EarthMover, EntropyBonus, ExpectedCost, Focal, GeneralizedCrossEntropy,
    HardSymmetricCrossEntropy, MeanAbsoluteError, MixedCrossEntropy, NormalizedCrossEntropy, Poly1,
    RowLoss, Sum, Tailored, TemperatureSquared,
};
use surprisal::{LinearCrossEntropy, LinearCrossEntropyBuilder};

use super::own::{Everything, Tempered};

/// A row of logits at its temperature, with its scalars by plain sums.
pub struct Row<'a> {
    pub a: Array1<f64>,
    pub y: usize,
    pub temperature: f64,
    /// Class weights.
    pub weights: ArrayView1<'a, f64>,
    pub s: f64,
    pub p: f64,
    pub lse: f64,
    pub entropy: f64,
    pub most: f64,
    pub deviation: f64,
    pub companion: f64,
}

impl<'a> Row<'a> {
    pub fn new(
        logits: ArrayView1<'_, f64>,
        y: usize,
        temperature: f64,
        costs: ArrayView1<'_, f64>,
        weights: ArrayView1<'a, f64>,
    ) -> Self {
        let a = logits.mapv(|x| x / temperature);
        let m = a.fold(f64::NEG_INFINITY, |m, &x| m.max(x));
        let lse = m + a.mapv(|x| (x - m).exp()).sum().ln();
        let p = a.mapv(|x| (x - lse).exp());
        Self {
            y,
            temperature,
            weights,
            s: lse - a[y],
            p: p[y],
            lse,
            entropy: p.iter().zip(&a).map(|(p, a)| p * (lse - a)).sum(),
            most: lse - m,
            deviation: a.mapv(|x| lse - x).sum(),
            companion: p.dot(&costs),
            a,
        }
    }

    fn w(&self) -> f64 {
        self.weights[self.y]
    }

    fn classes(&self) -> f64 {
        self.a.len() as f64
    }

    /// λ ln (1/V) Σ_v e^(δ_v/λ).
    fn robust(&self, margin: f64) -> f64 {
        let others = (0..self.a.len()).filter(|&v| v != self.y);
        let margin = margin / self.temperature;
        let sum: f64 = others.map(|v| (self.a[v] - self.a[self.y] + margin).exp()).sum();
        self.temperature * ((1.0 + sum) / self.classes()).ln()
    }
}

/// Which costs a loss has beside its logits.
#[derive(Clone, Copy, PartialEq)]
pub enum Costs {
    None,
    /// Of either sign.
    Any,
    /// Above 0, and 0 at the target.
    OfMistakes,
}

/// The value of a row. What is detached is taken of the second one, the point of the derivative.
type Direct = Box<dyn Fn(&Row<'_>, &Row<'_>) -> f64>;

/// Value and ∂L/∂a_y of two classes of which the other has the logit −g, with q = e^−g as good as 0, and the
/// cost 3.
type Sure = Box<dyn Fn(f64, f64) -> (f64, f64)>;

pub struct Named {
    pub name: String,
    pub builder: LinearCrossEntropyBuilder,
    pub direct: Direct,
    pub costs: Costs,
    pub temperature: f64,
    /// Whether a factor is detached, so that the gradient is not that of the value.
    pub detached: bool,
    /// Whether it depends on lse itself.
    pub shifts: bool,
    /// A bound on the slopes by the scalars, and on how they move with these, relatively.
    pub steep: Box<dyn Fn(&Row<'_>) -> f64>,
    pub sure: Option<Sure>,
}

impl Named {
    fn new(
        loss: impl RowLoss + 'static,
        direct: impl Fn(&Row<'_>, &Row<'_>) -> f64 + 'static,
    ) -> Self {
        Self {
            name: format!("{loss:?}"),
            builder: LinearCrossEntropy::builder().row_loss(loss),
            direct: Box::new(direct),
            costs: Costs::None,
            temperature: 1.0,
            detached: false,
            shifts: false,
            steep: Box::new(|_| 8.0),
            sure: None,
        }
    }

    fn costs(self, costs: Costs) -> Self {
        Self { costs, ..self }
    }

    fn detached(self) -> Self {
        Self { detached: true, ..self }
    }

    fn shifts(self) -> Self {
        Self { shifts: true, ..self }
    }

    fn temperature(self, temperature: f64) -> Self {
        let builder = self.builder.temperature(temperature);
        let name = format!("{} at {temperature}", self.name);
        Self { temperature, builder, name, ..self }
    }

    fn steep(self, steep: impl Fn(&Row<'_>) -> f64 + 'static) -> Self {
        Self { steep: Box::new(steep), ..self }
    }

    fn sure(self, sure: impl Fn(f64, f64) -> (f64, f64) + 'static) -> Self {
        Self { sure: Some(Box::new(sure)), ..self }
    }
}

/// Of the target's surprisal alone, with a value of x q and a slope of f there.
fn of_target(
    loss: impl RowLoss + 'static,
    direct: impl Fn(f64, f64) -> f64 + 'static,
    sure: impl Fn(f64) -> (f64, f64) + 'static,
) -> Named {
    Named::new(loss, move |row, _| row.w() * direct(row.s, row.p)).sure(move |q, _| {
        let (value, slope) = sure(q);
        (value, -slope * q)
    })
}

fn targets() -> Vec<Named> {
    let mut all = vec![
        of_target(Tempered, |s, _| s * s / (1.0 + s), |q| (q * q, 2.0 * q)),
        of_target(CrossEntropy::default(), |s, _| s, |q| (q, 1.0)),
        of_target(MeanAbsoluteError::whole(), |_, p| 2.0 * (1.0 - p), |q| (2.0 * q, 2.0)),
        of_target(MeanAbsoluteError::half(), |_, p| 1.0 - p, |q| (q, 1.0)),
    ];
    for tau in [0.0, 0.5, 1.0, 1.5, 2.0, 2.5] {
        let rate = 1.0 - tau;
        let direct = move |s: f64, _| match tau {
            1.0 => s,
            _ => ((rate * s).exp() - 1.0) / rate,
        };
        let loss = of_target(CompSum::new(tau).unwrap(), direct, |q| (q, 1.0));
        all.push(loss.steep(move |row| 8.0 * (rate.max(0.0) * row.s).exp()));
    }
    for q in [0.0, 0.1, 0.7, 1.0] {
        let direct = move |s, p: f64| if q == 0.0 { s } else { (1.0 - p.powf(q)) / q };
        let loss = GeneralizedCrossEntropy::new(q).unwrap();
        all.push(of_target(loss, direct, |q| (q, 1.0)));
    }
    let truncated = GeneralizedCrossEntropy::new(0.5).unwrap().truncated(0.05).unwrap();
    let direct = |_, p: f64| (1.0 - p.max(0.05).sqrt()) / 0.5;
    all.push(of_target(truncated, direct, |q| (q, 1.0)));
    for gamma in [0.0, 0.5, 2.0] {
        let sure = move |q: f64| (q.powf(1.0 + gamma), (1.0 + gamma) * q.powf(gamma));
        let direct = move |s: f64, p: f64| (1.0 - p).powf(gamma) * s;
        all.push(of_target(Focal::new(gamma).unwrap(), direct, sure));
    }
    for epsilon in [-1.0, -0.9, 0.0, 2.0] {
        let sure = move |q: f64| match epsilon {
            -1.0 => (q * q / 2.0, q),
            _ => ((1.0 + epsilon) * q, 1.0 + epsilon),
        };
        let direct = move |s, p| s + epsilon * (1.0 - p);
        all.push(of_target(Poly1::new(epsilon).unwrap(), direct, sure));
    }
    for n in [1.0, 2.5, 4.0, 256.0] {
        let direct = move |_, p: f64| -(1.0 - (1.0 - p).powf(n)).ln();
        let sure = move |q: f64| (q.powf(n), n * q.powf(n - 1.0));
        all.push(of_target(DirectCoverage::new(n).unwrap(), direct, sure));
    }
    for (a, q) in [(1.0_f64, 2.0), (0.1, 0.5)] {
        let direct = move |_, p: f64| ((a + 1.0).powf(q) - (a + p).powf(q)) / q;
        let most = (a + 1.0).powf(q - 1.0);
        let loss = AsymmetricGeneralizedCrossEntropy::new(a, q).unwrap();
        all.push(of_target(loss, direct, move |others| (most * others, most)));
    }
    for (a, q) in [(1.5_f64, 0.9), (3.0, 2.0)] {
        let direct = move |_, p: f64| ((a - p).powf(q) - (a - 1.0).powf(q)) / q;
        let least = (a - 1.0).powf(q - 1.0);
        let loss = AsymmetricUnhinged::new(a, q).unwrap();
        all.push(of_target(loss, direct, move |others| (least * others, least)));
    }
    for (alpha, beta, clip) in [(0.1, 1.0, -4.0), (0.0, 1.0, -9.25)] {
        let direct = move |s, p| alpha * s - beta * clip * (1.0 - p);
        let loss = HardSymmetricCrossEntropy::new(alpha, beta, clip).unwrap();
        let slope = alpha - beta * clip;
        all.push(of_target(loss, direct, move |q| (slope * q, slope)).steep(|_| 16.0));
    }
    all
}

/// With factors that are no part of the derivative.
fn detached() -> Vec<Named> {
    let mut all = Vec::new();
    let sure = |q: f64, _| (q, -q);
    for eta in [0.5, 0.0] {
        let direct =
            move |row: &Row<'_>, at: &Row<'_>| row.w() * (eta + (1.0 - eta) * at.p) * row.s;
        all.push(Named::new(MixedCrossEntropy::new(eta).unwrap(), direct).sure(sure));
    }
    for (gamma, floor) in [(0.1, 0.2), (0.0, 0.0)] {
        let direct = move |row: &Row<'_>, at: &Row<'_>| {
            let weight = (at.p / ((1.0 - gamma) + gamma * at.p)).clamp(floor, 1.0);
            row.w() * (gamma + (1.0 - gamma) * weight) * row.s
        };
        all.push(Named::new(Tailored::new(gamma, floor, 1.0).unwrap(), direct).sure(sure));
    }
    let small = 1e-10;
    let direct = move |row: &Row<'_>, at: &Row<'_>| {
        row.w() * 0.5 * (row.s + at.s / (at.companion + small) * row.companion)
    };
    let paper = Named::new(EarthMover::paper(), direct).sure(move |q, _| {
        let both = 0.5 * q * (1.0 + 3.0 * q / (3.0 * q + small));
        (both, -both)
    });
    all.push(paper.steep(|row| 8.0 * (1.0 + row.s / row.companion)));
    let direct = move |row: &Row<'_>, at: &Row<'_>| {
        let ratio = at.s / (at.companion + at.p + small);
        row.w() * 0.5 * (row.s + ratio * (row.companion + at.p))
    };
    let code = Named::new(EarthMover::as_in_code(), direct).sure(move |q, _| {
        let ratio = q / (1.0 + small);
        (0.5 * (q + ratio), -0.5 * q)
    });
    all.push(code.steep(|row| 8.0 * (1.0 + row.s / row.companion)));
    let direct = move |row: &Row<'_>, at: &Row<'_>| {
        let distance = row.companion + at.p;
        row.w() * ((at.companion + at.p) / (at.s + small) * row.s + distance)
    };
    let continual = Named::new(EarthMover::continual(), direct).sure(move |q, _| {
        let ratio = 1.0 / (q + small);
        (1.0 + ratio * q, -ratio * q - 3.0 * q)
    });
    all.push(continual.steep(|row| 8.0 * (1.0 + (row.companion + 1.0) / row.s)));
    let costs = |named: Named| match named.name.contains("EarthMover") {
        true => named.costs(Costs::OfMistakes),
        false => named,
    };
    all.into_iter().map(|named| costs(named).detached()).collect()
}

/// Of more than the target.
fn others() -> Vec<Named> {
    let mut all = vec![
        Named::new(ExpectedCost, |row, _| row.w() * row.companion)
            .costs(Costs::Any)
            .sure(|q, _| (3.0 * q, -3.0 * q)),
        Named::new(Everything, |row, _| {
            let weighted = row.s / row.deviation + row.s * row.companion;
            row.w() * weighted + 0.1 * row.lse * row.lse + row.entropy * row.most
        })
        .costs(Costs::Any)
        .shifts(),
        Named::new(NormalizedCrossEntropy, |row, _| row.w() * row.s / row.deviation)
            .sure(|q, gap| (q / gap, -q / gap - q / (gap * gap))),
        Named::new(EntropyBonus::new(-0.5).unwrap(), |row, _| -0.5 * row.entropy)
            .sure(|q, gap| (-0.5 * q * (1.0 + gap), 0.5 * q * gap)),
    ];
    for (epsilon, zeta) in [(0.1, 0.01), (1.0, 0.0)] {
        let direct = move |row: &Row<'_>, _: &Row<'_>| {
            let all: f64 = row.a.iter().zip(row.weights).map(|(a, w)| w * (row.lse - a)).sum();
            let smoothing = epsilon / row.classes() * all;
            (1.0 - epsilon) * row.w() * row.s + smoothing + zeta * row.lse * row.lse
        };
        let loss = Named::new(CrossEntropy::new(epsilon, zeta).unwrap(), direct);
        all.push(if zeta == 0.0 { loss } else { loss.shifts() });
    }
    let right = |row: &Row<'_>| if row.s == row.most { 1.0 } else { 0.0 };
    let of = CorrectnessCalibration::new;
    all.push(
        Named::new(of(CorrectnessPenalty::Squared), move |row, _| {
            row.w() * ((-row.most).exp() - right(row)).powi(2)
        })
        .sure(|q, _| (q * q, -2.0 * q * q)),
    );
    all.push(
        Named::new(of(CorrectnessPenalty::Absolute), move |row, _| {
            row.w() * ((-row.most).exp() - right(row)).abs()
        })
        .sure(|q, _| (q, -q)),
    );
    all.push(
        Named::new(of(CorrectnessPenalty::CrossEntropy), move |row, _| {
            let wrong = -(1.0 - (-row.most).exp()).ln();
            row.w() * if right(row) == 1.0 { row.most } else { wrong }
        })
        .steep(|row| 8.0 * (1.0 + 1.0 / row.most.exp_m1()))
        .sure(|q, _| (q, -q)),
    );
    for (lambda, margin) in [(0.25, 0.0), (1.0, 0.1), (8.0, 1.0)] {
        let loss = DistributionallyRobust::new(margin).unwrap();
        let direct = move |row: &Row<'_>, _: &Row<'_>| row.w() * row.robust(margin);
        let slope = (margin / lambda).exp();
        let sure = move |q, _| (lambda * (slope * q - 2_f64.ln()), -slope * q);
        let steep = move |_: &Row<'_>| 8.0 * f64::max(lambda, 1.0 / lambda);
        all.push(Named::new(loss, direct).temperature(lambda).steep(steep).sure(sure));
    }
    let direct = |row: &Row<'_>, _: &Row<'_>| {
        let moved = row.temperature - 1.0;
        row.w() * (row.robust(0.1) - 2.0 * row.classes().ln() / 2.0 * moved * moved)
    };
    let loss = AdaptiveDistributionallyRobust::new(1.0, 2.0, 0.1).unwrap();
    all.push(Named::new(loss, direct).temperature(0.5).steep(|_| 16.0));
    let squared = TemperatureSquared::new(GeneralizedCrossEntropy::new(0.5).unwrap());
    let direct = |row: &Row<'_>, _: &Row<'_>| row.w() * 4.0 * 2.0 * (1.0 - row.p.sqrt());
    let squared = Named::new(squared, direct).temperature(2.0).sure(|q, _| (4.0 * q, -2.0 * q));
    all.push(squared.steep(|_| 16.0));
    let sum = Sum::new().add(0.5, CrossEntropy::new(0.0, 0.01).unwrap()).unwrap();
    let sum = sum.add(-0.3, EntropyBonus::new(1.0).unwrap()).unwrap();
    let sum = sum.add(2.0, GeneralizedCrossEntropy::new(1.0).unwrap()).unwrap();
    let direct = |row: &Row<'_>, _: &Row<'_>| {
        let cross_entropy = row.w() * row.s + 0.01 * row.lse * row.lse;
        0.5 * cross_entropy - 0.3 * row.entropy + 2.0 * row.w() * (1.0 - row.p)
    };
    all.push(Named::new(sum, direct).shifts());
    all
}

/// All losses of one row, with a few parameters each; those of a second head are in `second_head.rs`.
pub fn losses() -> Vec<Named> {
    targets().into_iter().chain(detached()).chain(others()).collect()
}
