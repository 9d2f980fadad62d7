//! Losses of pairs of sequences, and of sequences with labels.

use ndarray::{Array1, Array2, Axis};
use serde_json::json;
use surprisal::preference::{
    Cpo, Dpo, ImplicitReward, Kto, LabelledLoss, Orpo, PairLoss, Pairs, SequenceLosses, Sequences,
    Simpo,
};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::Result;
use super::request::Request;
use crate::output::number;

const POSITIVE: Interval = Interval::above(0.0);
const NOT_NEGATIVE: Interval = Interval::at_least(0.0);

const CHOSEN: Argument = Argument::new("chosen_log_probs", Kind::Numbers("[B][T]"));
const CHOSEN_MASK: Argument = Argument::new("chosen_mask", Kind::Numbers("[B][T]"));
const REJECTED: Argument = Argument::new("rejected_log_probs", Kind::Numbers("[B][T]"));
const REJECTED_MASK: Argument = Argument::new("rejected_mask", Kind::Numbers("[B][T]"));
const SMOOTHING: Argument =
    Argument::number("label_smoothing", NOT_NEGATIVE.up_to(0.5)).or(Otherwise::Number(0.0));
const REDUCTION: Argument =
    Argument::new("reduction", Kind::Word(&["none", "sum", "mean"])).or(Otherwise::Word("mean"));

const fn beta(default: f64) -> Argument {
    Argument::number("beta", POSITIVE).or(Otherwise::Number(default))
}

const fn likelihood(default: f64) -> Argument {
    Argument::number("nll_coefficient", NOT_NEGATIVE).or(Otherwise::Number(default))
}

/// Pairs, and more arguments.
macro_rules! of_pairs {
    ($($more:expr),*) => {
        &[CHOSEN, CHOSEN_MASK, REJECTED, REJECTED_MASK, REDUCTION, $($more),*]
    };
}

const BY_PAIRS: &[&str] = &["chosen_log_probs", "rejected_log_probs"];

pub const LOG_PROBS: Argument = Argument::new("log_probs", Kind::Numbers("[B][T]"));
pub const REFERENCE: Argument = Argument::new("reference_log_probs", Kind::Numbers("[B][T]"));
pub const MASK: Argument = Argument::new("mask", Kind::Numbers("[B][T]"));

const TOKENS: Argument = Argument::new("log_probs", Kind::Numbers("[T]"));
const REFERENCE_TOKENS: Argument = Argument::new("reference_log_probs", Kind::Numbers("[T]"));
const LABEL: Argument = Argument::new("label", Kind::Whole("from 0 to 1"));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "dpo",
        arguments: of_pairs!(
            Argument::new("reference_chosen_log_probs", Kind::Numbers("[B][T]")).optional(),
            Argument::new("reference_rejected_log_probs", Kind::Numbers("[B][T]")).optional(),
            Argument::new(
                "loss",
                Kind::Word(&["sigmoid", "hinge", "ipo", "robust", "apo_zero", "apo_down"])
            )
            .or(Otherwise::Word("sigmoid")),
            beta(0.1),
            SMOOTHING,
            Argument::new("average_log_prob", Kind::Flag).or(Otherwise::Flag(false))
        ),
        gradient: BY_PAIRS,
        answer: |request| pairs(request, &dpo(request)?),
    },
    Function {
        name: "cpo",
        arguments: of_pairs!(
            Argument::new("loss", Kind::Word(&["sigmoid", "hinge", "ipo"]))
                .or(Otherwise::Word("sigmoid")),
            beta(0.1),
            SMOOTHING,
            likelihood(1.0)
        ),
        gradient: BY_PAIRS,
        answer: |request| pairs(request, &cpo(request)?),
    },
    Function {
        name: "simpo",
        arguments: of_pairs!(
            beta(2.0),
            Argument::number("gamma", NOT_NEGATIVE).or(Otherwise::Number(1.0)),
            SMOOTHING,
            likelihood(0.0)
        ),
        gradient: BY_PAIRS,
        answer: |request| pairs(request, &simpo(request)?),
    },
    Function {
        name: "orpo",
        arguments: of_pairs!(
            Argument::number("beta", NOT_NEGATIVE).or(Otherwise::Number(0.1)),
            likelihood(1.0)
        ),
        gradient: BY_PAIRS,
        answer: |request| pairs(request, &orpo(request)?),
    },
    Function {
        name: "kto",
        arguments: &[
            LOG_PROBS,
            REFERENCE,
            MASK,
            Argument::new("labels", Kind::Flags("[B]")),
            Argument::number("kl", Interval::ANY).or(Otherwise::Number(0.0)),
            beta(0.1),
            Argument::new("loss", Kind::Word(&["kto", "apo_zero_unpaired"]))
                .or(Otherwise::Word("kto")),
            Argument::number("desirable_weight", NOT_NEGATIVE).or(Otherwise::Number(1.0)),
            Argument::number("undesirable_weight", NOT_NEGATIVE).or(Otherwise::Number(1.0)),
            REDUCTION,
        ],
        gradient: &["log_probs"],
        answer: kto,
    },
    Function {
        name: "implicit_prm_loss",
        arguments: &[TOKENS, REFERENCE_TOKENS, LABEL, Argument::number("beta", POSITIVE)],
        gradient: &["log_probs"],
        answer: implicit_prm_loss,
    },
    Function {
        name: "implicit_prm",
        arguments: &[TOKENS, REFERENCE_TOKENS, Argument::number("beta", POSITIVE)],
        gradient: &[],
        answer: implicit_prm,
    },
];

/// The loss of pairs that a function is, with the options of a request.
pub fn pair_loss(name: &str, request: &Request) -> Result<Option<Box<dyn PairLoss>>> {
    Ok(Some(match name {
        "dpo" => Box::new(dpo(request)?),
        "cpo" => Box::new(cpo(request)?),
        "simpo" => Box::new(simpo(request)?),
        "orpo" => Box::new(orpo(request)?),
        _ => return Ok(None),
    }))
}

/// The loss of labelled sequences that a function is, with the options of a request.
pub fn labelled_loss(name: &str, request: &Request) -> Result<Option<Box<dyn LabelledLoss>>> {
    Ok(Some(match name {
        "kto" => Box::new(kto_loss(request)?),
        "implicit_prm_loss" => Box::new(ImplicitReward::new(request.number("beta")?)?),
        _ => return Ok(None),
    }))
}

fn cpo(request: &Request) -> Result<Cpo> {
    let beta = request.number("beta")?;
    let loss = match request.word("loss")? {
        "hinge" => Cpo::hinge(beta)?,
        "ipo" => Cpo::ipo(beta)?,
        _ => Cpo::new(beta)?,
    };
    let loss = loss.label_smoothing(request.number("label_smoothing")?)?;
    Ok(loss.likelihood(request.number("nll_coefficient")?)?)
}

fn simpo(request: &Request) -> Result<Simpo> {
    let loss = Simpo::new(request.number("beta")?, request.number("gamma")?)?;
    let loss = loss.label_smoothing(request.number("label_smoothing")?)?;
    Ok(loss.likelihood(request.number("nll_coefficient")?)?)
}

fn orpo(request: &Request) -> Result<Orpo> {
    Ok(Orpo::new(request.number("beta")?)?.likelihood(request.number("nll_coefficient")?)?)
}

fn kto_loss(request: &Request) -> Result<Kto> {
    let loss = Kto::new(request.number("beta")?)?
        .weights(request.number("desirable_weight")?, request.number("undesirable_weight")?)?;
    Ok(match request.word("loss")? {
        "kto" => loss.divergence(request.number("kl")?)?,
        _ => loss,
    })
}

fn dpo(request: &Request) -> Result<Dpo> {
    let (beta, smoothing) = (request.number("beta")?, request.number("label_smoothing")?);
    let loss = match request.word("loss")? {
        "hinge" => Dpo::hinge(beta)?.label_smoothing(smoothing)?,
        "ipo" => Dpo::ipo(beta)?.label_smoothing(smoothing)?,
        "robust" => Dpo::robust(beta, smoothing)?,
        "apo_zero" => Dpo::apo_zero(beta)?.label_smoothing(smoothing)?,
        "apo_down" => Dpo::apo_down(beta)?.label_smoothing(smoothing)?,
        _ => Dpo::new(beta)?.label_smoothing(smoothing)?,
    };
    Ok(loss.averaged(request.flag("average_log_prob")?))
}

/// An array that may be missing.
pub fn optional(request: &Request, name: &str) -> Result<Option<Array2<f64>>> {
    let there = request.takes(name) && request.has(name);
    there.then(|| request.matrix(name)).transpose()
}

/// A weight of 1 for each loss, where their sum is asked for or each of them.
fn weights(request: &Request, count: usize) -> Result<Option<Array1<f64>>> {
    Ok((request.word("reduction")? != "mean").then(|| Array1::ones(count)))
}

/// The arrays of one side of the pairs.
struct Side {
    log_probs: Array2<f64>,
    mask: Array2<f64>,
    reference: Option<Array2<f64>>,
}

impl Side {
    fn read(
        request: &Request,
        log_probs: Argument,
        mask: Argument,
        reference: &str,
    ) -> Result<Self> {
        Ok(Self {
            log_probs: request.matrix(log_probs.name)?,
            mask: request.matrix(mask.name)?,
            reference: optional(request, reference)?,
        })
    }

    fn sequences(&self) -> Sequences<'_> {
        let sequences = Sequences::new(&self.log_probs, &self.mask);
        match &self.reference {
            Some(reference) => sequences.reference(reference),
            None => sequences,
        }
    }
}

fn pairs(request: &Request, loss: &dyn PairLoss) -> Result<Answer> {
    let chosen = Side::read(request, CHOSEN, CHOSEN_MASK, "reference_chosen_log_probs")?;
    let rejected = Side::read(request, REJECTED, REJECTED_MASK, "reference_rejected_log_probs")?;
    let weights = weights(request, chosen.log_probs.nrows())?;
    let mut batch = Pairs::new(chosen.sequences(), rejected.sequences());
    if let Some(weights) = &weights {
        batch = batch.weights(weights);
    }
    let losses = loss.evaluate(&batch)?;
    let answer = Answer::new(match request.word("reduction")? {
        "none" => vector(losses.losses.view()),
        _ => number(losses.value),
    });
    Ok(match request.wants_gradient() {
        true => answer
            .with_gradient("chosen_log_probs", matrix(losses.chosen.view()))
            .with_gradient("rejected_log_probs", matrix(losses.rejected.view())),
        false => answer,
    })
}

fn kto(request: &Request) -> Result<Answer> {
    let (log_probs, reference) =
        (request.matrix("log_probs")?, request.matrix("reference_log_probs")?);
    let mask = request.matrix("mask")?;
    let labels = request.flags("labels", log_probs.nrows())?;
    let loss = kto_loss(request)?;
    let sequences = Sequences::new(&log_probs, &mask).reference(&reference);
    let losses = match weights(request, labels.len())? {
        Some(weights) => loss.evaluate_weighted(&sequences, &labels, (&weights).into())?,
        None => loss.evaluate(&sequences, &labels)?,
    };
    let answer = Answer::new(match request.word("reduction")? {
        "none" => vector(losses.losses.view()),
        _ => number(losses.value),
    });
    Ok(match request.wants_gradient() {
        true => answer.with_gradient("log_probs", matrix(losses.gradient.view())),
        false => answer,
    })
}

/// One sequence of which all tokens count, with those of the reference.
fn sequence(request: &Request) -> Result<[Array2<f64>; 3]> {
    let row = |name: &str| request.vector(name).map(|vector| vector.insert_axis(Axis(0)));
    let (log_probs, reference) = (row("log_probs")?, row("reference_log_probs")?);
    let mask = Array2::ones(log_probs.dim());
    Ok([log_probs, reference, mask])
}

fn implicit_prm_loss(request: &Request) -> Result<Answer> {
    let [log_probs, reference, mask] = sequence(request)?;
    let label = request.whole("label", 0, 1)? == 1;
    let sequences = Sequences::new(&log_probs, &mask).reference(&reference);
    let SequenceLosses { value, gradient, .. } =
        ImplicitReward::new(request.number("beta")?)?.evaluate(&sequences, &[label])?;
    let answer = Answer::new(number(value));
    Ok(match request.wants_gradient() {
        true => answer.with_gradient("log_probs", vector(gradient.row(0))),
        false => answer,
    })
}

fn implicit_prm(request: &Request) -> Result<Answer> {
    let [log_probs, reference, mask] = sequence(request)?;
    let sequences = Sequences::new(&log_probs, &mask).reference(&reference);
    let rewards = ImplicitReward::new(request.number("beta")?)?.rewards(&sequences)?;
    Ok(Answer::new(json!({
        "token_reward": vector(rewards.tokens.row(0)),
        "cumulative": vector(rewards.cumulative.row(0)),
        "outcome": number(rewards.outcomes[0]),
    })))
}
