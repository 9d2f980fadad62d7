//! Values as distributions over bins.

use ndarray::{Array1, Array2};
use surprisal::values::{HlGauss, TwoHot};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Reduction, Targets, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, logits};
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};

const VALUES: Argument = Argument::new("values", Kind::Numbers("[N]"));
const LOW: Argument = Argument::number("vmin", Interval::ANY);
const HIGH: Argument = Argument::number("vmax", Interval::ANY);
const BINS: Argument = Argument::new("bins", Kind::Whole("of at least 1"));
const RATIO: Argument =
    Argument::number("sigma_ratio", Interval::above(0.0)).or(Otherwise::Number(0.75));
const NEXT: Argument = Argument::new("next_logits", Kind::Numbers("[N][K]"));
const REWARDS: Argument = Argument::new("rewards", Kind::Numbers("[N]"));
const DONE: Argument = Argument::new("done", Kind::Numbers("[N] of 0 and 1"));
const GAMMA: Argument = Argument::number("gamma", Interval::at_least(0.0).up_to(1.0));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "hl_gauss",
        arguments: &[LOGITS, VALUES, LOW, HIGH, RATIO],
        gradient: BY_LOGITS,
        answer: |request| {
            let logits = logits(request, "logits")?;
            let bins = hl_gauss(request, logits.dim().1)?;
            learnt(request, &logits, &bins.targets(&values(request)?)?)
        },
    },
    Function {
        name: "two_hot",
        arguments: &[LOGITS, VALUES, LOW, HIGH],
        gradient: BY_LOGITS,
        answer: |request| {
            let logits = logits(request, "logits")?;
            let atoms = two_hot(request, logits.dim().1)?;
            learnt(request, &logits, &atoms.targets(&values(request)?)?)
        },
    },
    Function {
        name: "c51",
        arguments: &[LOGITS, NEXT, REWARDS, DONE, GAMMA, LOW, HIGH],
        gradient: BY_LOGITS,
        answer: |request| {
            let logits = logits(request, "logits")?;
            learnt(request, &logits, &projected(request)?)
        },
    },
    Function {
        name: "hl_gauss_targets",
        arguments: &[VALUES, LOW, HIGH, BINS, RATIO],
        gradient: &[],
        answer: |request| {
            let bins = hl_gauss(request, request.whole("bins", 1, MOST)?)?;
            Ok(Answer::new(matrix(bins.targets(&values(request)?)?.view())))
        },
    },
    Function {
        name: "two_hot_targets",
        arguments: &[VALUES, LOW, HIGH, BINS],
        gradient: &[],
        answer: |request| {
            let atoms = two_hot(request, request.whole("bins", 1, MOST)?)?;
            Ok(Answer::new(matrix(atoms.targets(&values(request)?)?.view())))
        },
    },
    Function {
        name: "c51_targets",
        arguments: &[NEXT, REWARDS, DONE, GAMMA, LOW, HIGH],
        gradient: &[],
        answer: |request| Ok(Answer::new(matrix(projected(request)?.view()))),
    },
    Function {
        name: "decode_value",
        arguments: &[LOGITS, LOW, HIGH, Argument::new("support", Kind::Word(&["bins", "atoms"]))],
        gradient: &[],
        answer: |request| {
            let logits = logits(request, "logits")?;
            let values = match request.word("support")? {
                "bins" => hl_gauss(request, logits.dim().1)?.decode(&logits)?,
                _ => two_hot(request, logits.dim().1)?.decode(&logits)?,
            };
            Ok(Answer::new(vector(values.view())))
        },
    },
];

/// Bins of a value that an answer is made of.
const MOST: usize = 1 << 20;

fn values(request: &Request) -> Result<Vec<f64>> {
    Ok(request.vector("values")?.to_vec())
}

fn hl_gauss(request: &Request, bins: usize) -> Result<HlGauss> {
    let ratio = if request.takes("sigma_ratio") { request.number("sigma_ratio")? } else { 0.75 };
    Ok(HlGauss::new(request.number("vmin")?, request.number("vmax")?, bins, ratio)?)
}

fn two_hot(request: &Request, atoms: usize) -> Result<TwoHot> {
    Ok(TwoHot::new(request.number("vmin")?, request.number("vmax")?, atoms)?)
}

fn projected(request: &Request) -> Result<Array2<f64>> {
    let next = logits(request, "next_logits")?;
    let mut done = Vec::new();
    for (i, &x) in request.vector("done")?.iter().enumerate() {
        if x != 0.0 && x != 1.0 {
            return Err(Refusal::new(format!("done[{i}] is {x:?}, expected 0 or 1")));
        }
        done.push(x == 1.0);
    }
    let rewards = request.vector("rewards")?.to_vec();
    let atoms = two_hot(request, next.dim().1)?;
    Ok(atoms.project(&next, &rewards, &done, request.number("gamma")?)?)
}

/// The cross-entropy of each row to its distribution.
fn learnt(request: &Request, logits: &Array2<f64>, targets: &Array2<f64>) -> Result<Answer> {
    expect_length("logits", logits.dim().0, targets.dim().0)?;
    let loss = LinearCrossEntropy::builder().reduction(Reduction::None).build()?;
    let inputs = Inputs::from_logits(logits, Targets::soft(targets));
    let value = |losses: Array1<f64>| vector(losses.view());
    if !request.wants_gradient() {
        return Ok(Answer::new(value(loss.forward(&inputs)?.losses())));
    }
    let mut gradient = Array2::zeros(logits.dim());
    let gradients = Gradients::new().logits(&mut gradient);
    let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
    Ok(Answer::new(value(forward.losses())).with_gradient("logits", matrix(gradient.view())))
}
