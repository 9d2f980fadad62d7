//! What takes the entropy of a policy away, and which tokens do.

use ndarray::{Array1, Array2, Axis};
use serde_json::{Value, json};
use surprisal::preference::{
    ClipCovariance, EntropyRewardFit, KlCovariance, PolicyEntropyChange, Rollout, SteerWeights,
    TokenCovariance, TokenEntropyChange,
};

use super::answer::{Answer, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::Result;
use super::request::Request;
use crate::output::number;

const LOG_PROBS: Argument = Argument::new("log_probs", Kind::Numbers("[n]"));
const ADVANTAGES: Argument = Argument::new("advantages", Kind::Numbers("[n]"));
const LOGITS: Argument = Argument::new("logits", Kind::Numbers("[K]"));
const POSITIVE: Interval = Interval::above(0.0);

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "policy_entropy_change",
        arguments: &[LOGITS, Argument::new("advantages", Kind::Numbers("[K]"))],
        gradient: &[],
        answer: policy_entropy_change,
    },
    Function {
        name: "token_covariance",
        arguments: &[LOG_PROBS, ADVANTAGES],
        gradient: &[],
        answer: |request| Ok(Answer::new(vector(covariance(request)?.tokens().row(0)))),
    },
    Function {
        name: "clip_cov",
        arguments: &[
            LOG_PROBS,
            ADVANTAGES,
            Argument::number("ratio", POSITIVE).or(Otherwise::Number(2e-4)),
            Argument::number("lower", Interval::ANY).or(Otherwise::Number(1.0)),
            Argument::number("upper", Interval::ANY).or(Otherwise::Number(5.0)),
            Argument::new("order", Kind::Classes("[n]")),
        ],
        gradient: &[],
        answer: clip_cov,
    },
    Function {
        name: "kl_cov",
        arguments: &[
            LOG_PROBS,
            ADVANTAGES,
            Argument::number("k_percent", POSITIVE.up_to(100.0)).or(Otherwise::Number(0.2)),
        ],
        gradient: &[],
        answer: |request| {
            let chosen = KlCovariance::new(request.number("k_percent")?)?;
            Ok(Answer::new(columns(&chosen.choose(&covariance(request)?))))
        },
    },
    Function {
        name: "entropy_reward_fit",
        arguments: &[
            Argument::new("entropies", Kind::Numbers("[n]")),
            Argument::new("rewards", Kind::Numbers("[n]")),
        ],
        gradient: &[],
        answer: entropy_reward_fit,
    },
    Function {
        name: "steer",
        arguments: &[
            LOGITS,
            Argument::new("token", Kind::Whole("from 0 below K")),
            Argument::number("advantage", Interval::ANY),
            Argument::number("old_probability", POSITIVE.up_to(1.0)),
        ],
        gradient: &[],
        answer: steer,
    },
    Function {
        name: "steer_weights",
        arguments: &[
            Argument::new("omega", Kind::Numbers("[n]")),
            Argument::new("schedule", Kind::Word(&["linear", "exp"])).or(Otherwise::Word("linear")),
            Argument::number("min", POSITIVE).or(Otherwise::Number(0.8)),
            Argument::number("max", POSITIVE).or(Otherwise::Number(1.2)),
        ],
        gradient: &[],
        answer: steer_weights,
    },
];

fn policy_entropy_change(request: &Request) -> Result<Answer> {
    let (logits, advantages) = (request.vector("logits")?, request.vector("advantages")?);
    let change = PolicyEntropyChange::of(&logits, &advantages)?;
    Ok(Answer::new(json!({
        "entropy": number(change.entropy),
        "covariance_natural": number(change.covariance_natural),
        "covariance_policy_gradient": number(change.covariance_policy_gradient),
    })))
}

/// A batch of one sequence, all of whose tokens count.
fn covariance(request: &Request) -> Result<TokenCovariance> {
    let row = |name: &str| request.vector(name).map(|vector| vector.insert_axis(Axis(0)));
    let (log_probs, advantages) = (row("log_probs")?, row("advantages")?);
    let mask = Array2::from_elem(log_probs.dim(), true);
    Ok(TokenCovariance::of(&log_probs, &Rollout::new(&mask, &advantages))?)
}

/// Where the chosen tokens of the one sequence stand.
fn columns(places: &[[usize; 2]]) -> Value {
    places.iter().map(|&[_, column]| Value::from(column)).collect()
}

fn clip_cov(request: &Request) -> Result<Answer> {
    let covariance = covariance(request)?;
    let count = covariance.tokens().ncols();
    let order: Vec<usize> =
        request.classes("order", count, count)?.into_iter().map(|token| token as usize).collect();
    let (lower, upper) = (request.number("lower")?, request.number("upper")?);
    let clip = ClipCovariance::new(request.number("ratio")?, lower, upper)?;
    let chosen = clip.choose_in_order(&covariance, &order)?;
    Ok(Answer::new(json!({
        "eligible": columns(&clip.eligible(&covariance)),
        "clipped": columns(&chosen),
    })))
}

fn entropy_reward_fit(request: &Request) -> Result<Answer> {
    let (entropies, rewards) = (request.vector("entropies")?, request.vector("rewards")?);
    let fit = EntropyRewardFit::of(&entropies, &rewards)?;
    Ok(Answer::new(json!({
        "a": number(fit.a),
        "b": number(fit.b),
        "ceiling": number(fit.ceiling()),
        "sse": number(fit.sum_of_squares),
        "r_squared": number(fit.r_squared),
        "a_standard_error": number(fit.a_standard_error),
        "b_standard_error": number(fit.b_standard_error),
        "ceiling_standard_error": number(fit.ceiling_standard_error),
    })))
}

fn steer(request: &Request) -> Result<Answer> {
    let logits = request.vector("logits")?;
    let token = request.whole("token", 0, logits.len() - 1)?;
    let change = TokenEntropyChange::of(
        &logits,
        token,
        request.number("advantage")?,
        request.number("old_probability")?,
    )?;
    Ok(Answer::new(json!({
        "omega": number(change.omega),
        "entropy_change": number(change.exact),
        "entropy_change_own_logit": number(change.own_logit),
    })))
}

fn steer_weights(request: &Request) -> Result<Answer> {
    let omega: Array1<f64> = request.vector("omega")?;
    let omega = omega.insert_axis(Axis(0));
    let least = request.number("min")?;
    let weights = match request.word("schedule")? {
        "exp" => SteerWeights::exponential(least)?,
        _ => SteerWeights::linear(least, request.number("max")?)?,
    };
    let mask = Array2::from_elem(omega.dim(), true);
    Ok(Answer::new(vector(weights.weights(&omega, &mask)?.row(0))))
}
