//! Losses of a row that depend on more than its target's probability: on all of its surprisals, on its confidence,
//! on a temperature that they choose.

use ndarray::{Array1, Array2};
use surprisal::loss::{
    AdaptiveDistributionallyRobust, CorrectnessCalibration, CorrectnessPenalty,
    DistributionallyRobust, NormalizedCrossEntropy, SmoothAdversarial,
};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{
    BY_LOGITS, LOGITS, TARGETS, below_maximum, logits, row_losses, several_classes, targets,
};
use super::named::{Named, made};
use super::refusal::{Refusal, Result};
use super::request::Request;
use crate::output::number;

const MARGIN: Argument = Argument::number("margin", Interval::at_least(0.0));

/// The arguments of `ldr_kl`.
pub const ROBUST: [Argument; 2] =
    [Argument::number("lambda", Interval::above(0.0)), MARGIN.or(Otherwise::Number(0.0))];

/// Those of `aldr_kl`.
pub const ADAPTIVE: [Argument; 4] = [
    Argument::number("lambda0", Interval::above(0.0)),
    Argument::number("alpha", Interval::above(1.0)),
    MARGIN,
    Argument::new("update", Kind::Word(&["one_step", "fixed_point"]))
        .or(Otherwise::Word("fixed_point")),
];

/// Those of `correctness_calibration`.
pub const CALIBRATION: [Argument; 2] = [
    Argument::new("penalty", Kind::Word(&["mse", "abs", "bce"])).or(Otherwise::Word("mse")),
    Argument::new("balanced", Kind::Flag).or(Otherwise::Flag(false)),
];

pub const LOSSES: &[Named] =
    &[Named::new("normalized_cross_entropy", |_| made(Ok(NormalizedCrossEntropy)))
        .also(&["nce"])
        .of_several_classes()];

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "correctness_calibration",
        arguments: &[LOGITS, TARGETS, CALIBRATION[0], CALIBRATION[1]],
        gradient: BY_LOGITS,
        answer: correctness_calibration,
    },
    Function {
        name: "ldr_kl",
        arguments: &[LOGITS, TARGETS, ROBUST[0], ROBUST[1]],
        gradient: BY_LOGITS,
        answer: ldr_kl,
    },
    Function {
        name: "aldr_kl",
        arguments: &[LOGITS, TARGETS, ADAPTIVE[0], ADAPTIVE[1], ADAPTIVE[2], ADAPTIVE[3]],
        gradient: BY_LOGITS,
        answer: aldr_kl,
    },
    Function {
        name: "aldr_lambda",
        arguments: &[LOGITS, TARGETS, ADAPTIVE[0], ADAPTIVE[1], ADAPTIVE[2], ADAPTIVE[3]],
        gradient: &[],
        answer: |request| {
            let (logits, targets) = (tempered(request)?, targets_of(request)?);
            Ok(Answer::new(vector(lambdas_of(request, &logits, &targets)?.view())))
        },
    },
    Function {
        name: "smooth_adversarial_comp_sum",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::new("adversarial_logits", Kind::Numbers("[N][K]")),
            Argument::number("tau", Interval::at_least(0.0)).or(Otherwise::Number(1.0)),
            Argument::number("rho", Interval::above(0.0)).or(Otherwise::Number(1.0)),
            Argument::number("nu", Interval::at_least(0.0)).or(Otherwise::Number(1.0)),
        ],
        gradient: &["logits", "adversarial_logits"],
        answer: smooth_adversarial,
    },
];

fn smooth_adversarial(request: &Request) -> Result<Answer> {
    let (clean, attacked) = (logits(request, "logits")?, logits(request, "adversarial_logits")?);
    let loss = SmoothAdversarial::new(
        request.number("tau")?,
        request.number("rho")?,
        request.number("nu")?,
    )?;
    let found = loss.losses(&clean, &attacked, &targets(request, &clean)?)?;
    let answer = Answer::new(vector(found.losses.view()));
    Ok(match request.wants_gradient() {
        true => answer
            .with_gradient("logits", matrix(found.by_clean.view()))
            .with_gradient("adversarial_logits", matrix(found.by_attacked.view())),
        false => answer,
    })
}

/// Logits that a temperature divides.
fn tempered(request: &Request) -> Result<Array2<f64>> {
    let mut logits = logits(request, "logits")?;
    below_maximum(&mut logits);
    Ok(logits)
}

fn targets_of(request: &Request) -> Result<Vec<u32>> {
    targets(request, &logits(request, "logits")?)
}

/// The losses of rows with a weight and a temperature each, summed over a divisor or not at all.
fn of_rows(
    request: &Request,
    loss: LinearCrossEntropy,
    inputs: &Inputs<'_>,
    one: bool,
) -> Result<Answer> {
    let value = |forward: &surprisal::Forward| match one {
        true => number(forward.loss()),
        false => vector(forward.losses().view()),
    };
    if !request.wants_gradient() {
        return Ok(Answer::new(value(&loss.forward(inputs)?)));
    }
    let mut gradient = Array2::zeros(logits(request, "logits")?.dim());
    let gradients = Gradients::new().logits(&mut gradient);
    let forward = loss.loss_and_gradients(inputs, &Upstream::default(), gradients)?;
    Ok(Answer::new(value(&forward)).with_gradient("logits", matrix(gradient.view())))
}

/// As the arguments say.
pub fn calibration(request: &Request) -> Result<CorrectnessCalibration> {
    Ok(CorrectnessCalibration::new(match request.word("penalty")? {
        "abs" => CorrectnessPenalty::Absolute,
        "bce" => CorrectnessPenalty::CrossEntropy,
        _ => CorrectnessPenalty::Squared,
    }))
}

fn correctness_calibration(request: &Request) -> Result<Answer> {
    let loss = calibration(request)?;
    if !request.flag("balanced")? {
        return row_losses(request, loss);
    }
    let (logits, targets) = (logits(request, "logits")?, targets_of(request)?);
    let inputs = Inputs::from_logits(&logits, &targets);
    let of = LinearCrossEntropy::builder().row_loss(loss).ignore_index(None);
    let weights = CorrectnessCalibration::balanced_weights(&of.clone().build()?.forward(&inputs)?);
    let loss = of.reduction(Reduction::Divide(weights.sum())).build()?;
    of_rows(request, loss, &inputs.token_weights(&weights), true)
}

fn ldr_kl(request: &Request) -> Result<Answer> {
    let (logits, targets) = (tempered(request)?, targets_of(request)?);
    let loss = LinearCrossEntropy::builder()
        .row_loss(DistributionallyRobust::new(request.number("margin")?)?)
        .temperature(request.number("lambda")?)
        .reduction(Reduction::None)
        .ignore_index(None)
        .build()?;
    of_rows(request, loss, &Inputs::from_logits(&logits, &targets), false)
}

/// As the arguments say.
pub fn adaptive(request: &Request) -> Result<AdaptiveDistributionallyRobust> {
    let (lambda, alpha) = (request.number("lambda0")?, request.number("alpha")?);
    Ok(AdaptiveDistributionallyRobust::new(lambda, alpha, request.number("margin")?)?)
}

/// Steps towards a fixed point at most; each takes at least a part of what is left, and 31 reach 10⁻¹⁵.
const STEPS: usize = 10_000;

/// λ* of each row, by its `update`: of one step, whose p is without the margin, or where nothing changes any more
/// but the last digits, which `epsilon` says. `step` makes it of a forward at such temperatures; NaN stays NaN.
pub fn lambdas<E: From<Refusal>>(
    request: &Request,
    rows: usize,
    epsilon: f64,
    step: impl Fn(AdaptiveDistributionallyRobust, &Array1<f64>) -> std::result::Result<Array1<f64>, E>,
) -> std::result::Result<Array1<f64>, E> {
    let first = request.number("lambda0")?;
    let (robust, steps) = match request.word("update")? {
        "one_step" => {
            let alpha = request.number("alpha")?;
            let robust = AdaptiveDistributionallyRobust::new(first, alpha, 0.0);
            (robust.map_err(Refusal::from)?, 1)
        }
        _ => (adaptive(request)?, STEPS),
    };
    let mut lambdas = Array1::from_elem(rows, first);
    for _ in 0..steps {
        let known = lambdas.mapv(|lambda: f64| if lambda.is_nan() { first } else { lambda });
        lambdas = step(robust, &known)?;
        let still = |(a, b): (&f64, &f64)| (a - b).abs() <= 2.0 * epsilon * b || a.is_nan();
        if lambdas.iter().zip(&known).all(still) {
            break;
        }
    }
    Ok(lambdas)
}

/// λ* of given logits.
fn lambdas_of(request: &Request, logits: &Array2<f64>, targets: &[u32]) -> Result<Array1<f64>> {
    several_classes(logits)?;
    lambdas(request, targets.len(), f64::EPSILON, |robust, temperatures| {
        let loss = LinearCrossEntropy::builder().row_loss(robust).ignore_index(None).build()?;
        let inputs = Inputs::from_logits(logits, targets).temperatures(temperatures);
        Ok(robust.next(&loss.forward(&inputs)?))
    })
}

fn aldr_kl(request: &Request) -> Result<Answer> {
    let (logits, targets) = (tempered(request)?, targets_of(request)?);
    let lambdas = lambdas_of(request, &logits, &targets)?;
    let loss = LinearCrossEntropy::builder()
        .row_loss(adaptive(request)?)
        .reduction(Reduction::None)
        .ignore_index(None)
        .build()?;
    of_rows(request, loss, &Inputs::from_logits(&logits, &targets).temperatures(&lambdas), false)
}
