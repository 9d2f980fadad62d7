//! Policy-gradient losses, and estimates of divergences from single tokens.

use ndarray::Array1;
use surprisal::preference::{
    Advantages, Cispo, Clipped, EmptySequences, FDivergence, Gspo, KlEstimates, KlEstimator,
    PolicyLoss, Rollout, Sapo, Sequences, Surrogate, TokenReduction,
};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::preferences::{LOG_PROBS, MASK, REFERENCE, optional};
use super::refusal::{Refusal, Result};
use super::request::Request;
use crate::output::number;

const POSITIVE: Interval = Interval::above(0.0);
const NOT_NEGATIVE: Interval = Interval::at_least(0.0);

const REDUCTIONS: Kind =
    Kind::Word(&["none", "token_mean", "sequence_mean", "sequence_mean_token_sum", "constant"]);

const fn reduction(default: &'static str) -> Argument {
    Argument::new("reduction", REDUCTIONS).or(Otherwise::Word(default))
}

const fn epsilon_low(default: f64) -> Argument {
    Argument::number("epsilon_low", NOT_NEGATIVE.up_to(1.0)).or(Otherwise::Number(default))
}

const fn epsilon_high(default: f64) -> Argument {
    Argument::number("epsilon_high", NOT_NEGATIVE).or(Otherwise::Number(default))
}

const DUAL_CLIP: Argument = Argument::number("dual_clip", Interval::above(1.0)).optional();
const DELTA: Argument = Argument::number("delta", POSITIVE).optional();
const ESTIMATORS: Kind = Kind::Word(&["k1", "k2", "k3"]);
const MAX_LENGTH: Argument = Argument::number("max_length", POSITIVE).optional();
const NORMALIZER: Argument = Argument::number("normalizer", POSITIVE).optional();
const EMPTY: Argument =
    Argument::new("empty_sequences", Kind::Word(&["count", "skip"])).or(Otherwise::Word("count"));

/// Tokens with advantages, and more arguments.
macro_rules! of_policy {
    ($reduction:literal, $($more:expr),*) => {
        &[
            LOG_PROBS,
            MASK,
            Argument::new("old_log_probs", Kind::Numbers("[B][T]")).optional(),
            Argument::new("advantages", Kind::Numbers("[B] or [B][T]")),
            Argument::number("log_ratio_clamp", POSITIVE).optional(),
            Argument::number("kl_coefficient", Interval::ANY).or(Otherwise::Number(0.0)),
            Argument::new("kl_estimator", ESTIMATORS).or(Otherwise::Word("k3")),
            REFERENCE.optional(),
            Argument::new("entropy", Kind::Numbers("[B][T]")).optional(),
            Argument::number("entropy_coefficient", Interval::ANY).or(Otherwise::Number(0.0)),
            reduction($reduction),
            MAX_LENGTH,
            NORMALIZER,
            EMPTY,
            $($more),*
        ]
    };
}

const BY_TOKENS: &[&str] = &["log_probs", "entropy"];

/// A function of the clipped surrogate.
macro_rules! clipped {
    ($name:literal, $high:literal, $reduction:literal) => {
        Function {
            name: $name,
            arguments: of_policy!(
                $reduction,
                epsilon_low(0.2),
                epsilon_high($high),
                DUAL_CLIP,
                DELTA
            ),
            gradient: BY_TOKENS,
            answer: |request| policy(request, clipped(request)?.into()),
        }
    };
}

pub const FUNCTIONS: &[Function] = &[
    clipped!("ppo", 0.2, "token_mean"),
    clipped!("grpo", 0.2, "sequence_mean"),
    clipped!("bnpo", 0.2, "token_mean"),
    clipped!("dr_grpo", 0.2, "constant"),
    clipped!("dapo", 0.28, "token_mean"),
    Function {
        name: "cispo",
        arguments: of_policy!(
            "token_mean",
            Argument::number("ratio_low", NOT_NEGATIVE).optional(),
            Argument::number("ratio_high", POSITIVE).or(Otherwise::Number(5.0))
        ),
        gradient: BY_TOKENS,
        answer: |request| policy(request, cispo(request)?.into()),
    },
    Function {
        name: "gspo",
        arguments: of_policy!(
            "sequence_mean",
            epsilon_low(3e-4),
            epsilon_high(4e-4),
            DUAL_CLIP,
            DELTA,
            Argument::new("variant", Kind::Word(&["sequence", "token"]))
                .or(Otherwise::Word("sequence"))
        ),
        gradient: BY_TOKENS,
        answer: |request| policy(request, gspo(request)?.into()),
    },
    Function {
        name: "sapo",
        arguments: of_policy!(
            "sequence_mean",
            Argument::number("temperature_positive", POSITIVE).or(Otherwise::Number(1.0)),
            Argument::number("temperature_negative", POSITIVE).or(Otherwise::Number(1.05))
        ),
        gradient: BY_TOKENS,
        answer: |request| policy(request, sapo(request)?.into()),
    },
    Function {
        name: "kl_estimate",
        arguments: &[
            LOG_PROBS,
            REFERENCE,
            MASK,
            Argument::new("estimator", ESTIMATORS).or(Otherwise::Word("k3")),
            reduction("none"),
            MAX_LENGTH,
            NORMALIZER,
            EMPTY,
        ],
        gradient: &["log_probs"],
        answer: kl_estimate,
    },
    Function {
        name: "f_divergence",
        arguments: &[
            Argument::new("log_ratio", Kind::Numbers("[M]")),
            Argument::new("kind", Kind::Word(&["k1", "k2", "k3", "js", "alpha", "reverse_kl"])),
            Argument::number("alpha", POSITIVE.below(1.0)).or(Otherwise::Number(0.2)),
        ],
        gradient: &["log_ratio"],
        answer: f_divergence,
    },
];

fn clipped(request: &Request) -> Result<Clipped> {
    let mut surrogate =
        Clipped::new(request.number("epsilon_low")?, request.number("epsilon_high")?)?;
    if request.has("dual_clip") {
        surrogate = surrogate.dual_clip(request.number("dual_clip")?)?;
    }
    if request.has("delta") {
        surrogate = surrogate.delta(request.number("delta")?)?;
    }
    Ok(surrogate)
}

fn gspo(request: &Request) -> Result<Gspo> {
    let mut surrogate = Gspo::new(request.number("epsilon_low")?, request.number("epsilon_high")?)?;
    if request.has("dual_clip") {
        surrogate = surrogate.dual_clip(request.number("dual_clip")?)?;
    }
    if request.has("delta") {
        surrogate = surrogate.delta(request.number("delta")?)?;
    }
    Ok(match request.word("variant")? {
        "token" => surrogate.token(),
        _ => surrogate,
    })
}

fn cispo(request: &Request) -> Result<Cispo> {
    let surrogate = Cispo::new(request.number("ratio_high")?)?;
    Ok(match request.has("ratio_low") {
        true => surrogate.low(request.number("ratio_low")?)?,
        false => surrogate,
    })
}

fn sapo(request: &Request) -> Result<Sapo> {
    let positive = request.number("temperature_positive")?;
    Ok(Sapo::new(positive, request.number("temperature_negative")?)?)
}

/// The policy loss that a function is, with the options of a request.
pub fn policy_loss(name: &str, request: &Request) -> Result<Option<PolicyLoss>> {
    let surrogate = match name {
        "ppo" | "grpo" | "bnpo" | "dr_grpo" | "dapo" => clipped(request)?.into(),
        "cispo" => cispo(request)?.into(),
        "gspo" => gspo(request)?.into(),
        "sapo" => sapo(request)?.into(),
        _ => return Ok(None),
    };
    with_options(request, surrogate).map(Some)
}

/// A surrogate with the options of every policy loss.
fn with_options(request: &Request, surrogate: Surrogate) -> Result<PolicyLoss> {
    let loss = PolicyLoss::new(surrogate)
        .reduction(token_reduction(request)?)
        .empty_sequences(empty_sequences(request)?)
        .divergence(request.number("kl_coefficient")?, estimator(request.word("kl_estimator")?))?
        .entropy_bonus(request.number("entropy_coefficient")?)?;
    Ok(match request.has("log_ratio_clamp") {
        true => loss.log_ratio_clamp(request.number("log_ratio_clamp")?)?,
        false => loss,
    })
}

fn estimator(word: &str) -> KlEstimator {
    match word {
        "k1" => KlEstimator::K1,
        "k2" => KlEstimator::K2,
        _ => KlEstimator::K3,
    }
}

fn token_reduction(request: &Request) -> Result<TokenReduction> {
    let word = request.word("reduction")?;
    for (argument, reduction) in [("max_length", "constant"), ("normalizer", "token_mean")] {
        if request.has(argument) && word != reduction {
            return Err(Refusal::new(format!(
                "{argument} stands beside the reduction \"{word}\", expected \"{reduction}\""
            )));
        }
    }
    Ok(match word {
        "none" => TokenReduction::NONE,
        "token_mean" if request.has("normalizer") => {
            TokenReduction::divide(request.number("normalizer")?)?
        }
        "token_mean" => TokenReduction::TOKEN_MEAN,
        "sequence_mean" => TokenReduction::SEQUENCE_MEAN,
        "sequence_mean_token_sum" => TokenReduction::SEQUENCE_MEAN_TOKEN_SUM,
        _ => TokenReduction::constant(request.number("max_length")?)?,
    })
}

fn empty_sequences(request: &Request) -> Result<EmptySequences> {
    Ok(match request.word("empty_sequences")? {
        "skip" => EmptySequences::Skipped,
        _ => EmptySequences::Counted,
    })
}

fn policy(request: &Request, surrogate: Surrogate) -> Result<Answer> {
    let (log_probs, mask) = (request.matrix("log_probs")?, request.matrix("mask")?);
    let (old, reference) =
        (optional(request, "old_log_probs")?, optional(request, "reference_log_probs")?);
    let entropy = optional(request, "entropy")?;
    let (of_tokens, of_sequences);
    let advantages = match request.is_nested("advantages") {
        true => {
            of_tokens = request.matrix("advantages")?;
            Advantages::from(&of_tokens)
        }
        false => {
            of_sequences = request.vector("advantages")?;
            Advantages::from(&of_sequences)
        }
    };
    let mut rollout = Rollout::new(&mask, advantages);
    if let Some(old) = &old {
        rollout = rollout.old(old);
    }
    if let Some(reference) = &reference {
        rollout = rollout.reference(reference);
    }
    let loss = with_options(request, surrogate)?;
    let losses = match &entropy {
        Some(entropy) => loss.evaluate_with_entropy(&log_probs, entropy, &rollout)?,
        None => loss.evaluate(&log_probs, &rollout)?,
    };
    let answer = Answer::new(match request.word("reduction")? {
        "none" => matrix(losses.losses.view()),
        _ => number(losses.value),
    });
    if !request.wants_gradient() {
        return Ok(answer);
    }
    let answer = answer.with_gradient("log_probs", matrix(losses.gradient.view()));
    Ok(match &entropy {
        Some(_) => answer.with_gradient("entropy", matrix(losses.by_entropy.view())),
        None => answer,
    })
}

fn kl_estimate(request: &Request) -> Result<Answer> {
    let (log_probs, mask) = (request.matrix("log_probs")?, request.matrix("mask")?);
    let reference = request.matrix("reference_log_probs")?;
    let sequences = Sequences::new(&log_probs, &mask).reference(&reference);
    let estimates = KlEstimates::with(
        &sequences,
        estimator(request.word("estimator")?),
        token_reduction(request)?,
        empty_sequences(request)?,
    )?;
    let answer = Answer::new(match request.word("reduction")? {
        "none" => matrix(estimates.estimates.view()),
        _ => number(estimates.value),
    });
    Ok(match request.wants_gradient() {
        true => answer.with_gradient("log_probs", matrix(estimates.gradient.view())),
        false => answer,
    })
}

fn f_divergence(request: &Request) -> Result<Answer> {
    let log_ratio = request.vector("log_ratio")?;
    let divergence = match request.word("kind")? {
        "k1" => FDivergence::k1(),
        "k2" => FDivergence::k2(),
        "k3" => FDivergence::k3(),
        "js" => FDivergence::jensen_shannon(),
        "alpha" => FDivergence::alpha(request.number("alpha")?)?,
        _ => FDivergence::reverse(),
    };
    let values: Array1<f64> = log_ratio.iter().map(|&delta| divergence.at(delta).0).collect();
    let answer = Answer::new(vector(values.view()));
    if !request.wants_gradient() {
        return Ok(answer);
    }
    let slopes: Array1<f64> = log_ratio.iter().map(|&delta| divergence.at(delta).1).collect();
    Ok(answer.with_gradient("log_ratio", vector(slopes.view())))
}
