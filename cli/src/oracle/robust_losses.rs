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
use super::logits::{BY_LOGITS, LOGITS, TARGETS, below_maximum, logits, row_losses, targets};
use super::refusal::{Refusal, Result};
use super::request::Request;
use crate::output::number;

const MARGIN: Argument = Argument::number("margin", Interval::at_least(0.0));
const LAMBDA: Argument = Argument::number("lambda0", Interval::above(0.0));
const ALPHA: Argument = Argument::number("alpha", Interval::above(1.0));
const UPDATE: Argument = Argument::new("update", Kind::Word(&["one_step", "fixed_point"]))
    .or(Otherwise::Word("fixed_point"));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "normalized_cross_entropy",
        arguments: &[LOGITS, TARGETS],
        gradient: BY_LOGITS,
        answer: |request| {
            several_classes(&logits(request, "logits")?)?;
            row_losses(request, NormalizedCrossEntropy)
        },
    },
    Function {
        name: "correctness_calibration",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::new("penalty", Kind::Word(&["mse", "abs", "bce"])).or(Otherwise::Word("mse")),
            Argument::new("balanced", Kind::Flag).or(Otherwise::Flag(false)),
        ],
        gradient: BY_LOGITS,
        answer: correctness_calibration,
    },
    Function {
        name: "ldr_kl",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::number("lambda", Interval::above(0.0)),
            MARGIN.or(Otherwise::Number(0.0)),
        ],
        gradient: BY_LOGITS,
        answer: ldr_kl,
    },
    Function {
        name: "aldr_kl",
        arguments: &[LOGITS, TARGETS, LAMBDA, ALPHA, MARGIN, UPDATE],
        gradient: BY_LOGITS,
        answer: aldr_kl,
    },
    Function {
        name: "aldr_lambda",
        arguments: &[LOGITS, TARGETS, LAMBDA, ALPHA, MARGIN, UPDATE],
        gradient: &[],
        answer: |request| {
            let (logits, targets) = (tempered(request)?, targets_of(request)?);
            Ok(Answer::new(vector(lambdas(request, &logits, &targets)?.view())))
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

fn several_classes(logits: &Array2<f64>) -> Result<()> {
    match logits.dim().1 {
        0 | 1 => Err(Refusal::new("logits have one column, expected at least two classes")),
        _ => Ok(()),
    }
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

fn correctness_calibration(request: &Request) -> Result<Answer> {
    let penalty = match request.word("penalty")? {
        "abs" => CorrectnessPenalty::Absolute,
        "bce" => CorrectnessPenalty::CrossEntropy,
        _ => CorrectnessPenalty::Squared,
    };
    let loss = CorrectnessCalibration::new(penalty);
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

/// As the arguments say, or without the margin.
fn adaptive(request: &Request, margin: bool) -> Result<AdaptiveDistributionallyRobust> {
    let margin = if margin { request.number("margin")? } else { 0.0 };
    let (lambda, alpha) = (request.number("lambda0")?, request.number("alpha")?);
    Ok(AdaptiveDistributionallyRobust::new(lambda, alpha, margin)?)
}

/// Steps towards a fixed point at most; each takes at least a part of what is left, and 31 reach 10⁻¹⁵.
const STEPS: usize = 10_000;

/// λ* of each row: of one step, whose p is without the margin, or where nothing changes any more.
fn lambdas(request: &Request, logits: &Array2<f64>, targets: &[u32]) -> Result<Array1<f64>> {
    several_classes(logits)?;
    let one_step = request.word("update")? == "one_step";
    let robust = adaptive(request, !one_step)?;
    let loss = LinearCrossEntropy::builder().row_loss(robust).ignore_index(None).build()?;
    let mut lambdas = Array1::from_elem(targets.len(), request.number("lambda0")?);
    for _ in 0..if one_step { 1 } else { STEPS } {
        let inputs = Inputs::from_logits(logits, targets).temperatures(&lambdas);
        let next = robust.next(&loss.forward(&inputs)?);
        let still = next.iter().zip(&lambdas).all(|(a, b)| {
            (a - b).abs() <= 2.0 * f64::EPSILON * b.abs() || (a.is_nan() && b.is_nan())
        });
        if next.iter().any(|lambda| lambda.is_nan()) {
            return Ok(next);
        }
        lambdas = next;
        if still {
            break;
        }
    }
    Ok(lambdas)
}

fn aldr_kl(request: &Request) -> Result<Answer> {
    let (logits, targets) = (tempered(request)?, targets_of(request)?);
    let lambdas = lambdas(request, &logits, &targets)?;
    let loss = LinearCrossEntropy::builder()
        .row_loss(adaptive(request, true)?)
        .reduction(Reduction::None)
        .ignore_index(None)
        .build()?;
    of_rows(request, loss, &Inputs::from_logits(&logits, &targets).temperatures(&lambdas), false)
}
