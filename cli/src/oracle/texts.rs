//! What is said of texts by the log-probabilities of their tokens.

use serde_json::json;
use surprisal::information::{MinK, Perplexity, ReferenceCounts, Roc};

use super::answer::Answer;
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::Result;
use super::request::{Request, expect_length};
use crate::output::number;

const UNIT: Interval = Interval::above(0.0).up_to(1.0);

/// The share of a text's tokens that count.
pub const RATIO: Argument = Argument::number("ratio", UNIT);

const LOG_PROBS: Argument = Argument::new("log_probs", Kind::Numbers("[n]"));
const SCORES: Argument = Argument::new("scores", Kind::Numbers("[n]"));
const LABELS: Argument = Argument::new("labels", Kind::Classes("[n], 0 or 1"));

/// Whole numbers up to this are all numbers of JSON.
const MOST: usize = 1 << 53;

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "perplexity",
        arguments: &[
            Argument::new("nll", Kind::Numbers("[n]")),
            Argument::new("bytes", Kind::Whole("from 1")).optional(),
        ],
        gradient: &[],
        answer: perplexity,
    },
    Function {
        name: "min_k",
        arguments: &[LOG_PROBS, RATIO],
        gradient: &[],
        answer: |request| {
            let least = MinK::new(request.number("ratio")?)?;
            Ok(Answer::new(number(least.score(&request.vector("log_probs")?)?)))
        },
    },
    Function {
        name: "dc_pdd",
        arguments: &[
            LOG_PROBS,
            Argument::new("token_ids", Kind::Classes("[n], below V")),
            Argument::new("counts", Kind::Numbers("[V]")),
            Argument::number("cap", Interval::above(0.0))
                .or(Otherwise::Number(ReferenceCounts::CAP)),
        ],
        gradient: &[],
        answer: |request| {
            let log_probs = request.vector("log_probs")?;
            let reference = ReferenceCounts::new(&request.vector("counts")?)?;
            let (count, classes) = (log_probs.len(), reference.vocabulary());
            let tokens = request.classes("token_ids", count, classes)?;
            let score = reference.dc_pdd(&log_probs, &tokens, request.number("cap")?)?;
            Ok(Answer::new(number(score)))
        },
    },
    Function {
        name: "auroc",
        arguments: &[SCORES, LABELS],
        gradient: &[],
        answer: |request| {
            let roc = roc(request)?;
            Ok(Answer::new(json!({ "auc": number(roc.area()), "u": number(roc.u()) })))
        },
    },
    Function {
        name: "tpr_at_fpr",
        arguments: &[SCORES, LABELS, Argument::number("limit", UNIT)],
        gradient: &[],
        answer: |request| {
            let rate = roc(request)?.true_positive_rate(request.number("limit")?)?;
            Ok(Answer::new(number(rate)))
        },
    },
];

fn perplexity(request: &Request) -> Result<Answer> {
    let mut counted = Perplexity::new();
    counted.push_all(&request.vector("nll")?);
    if request.has("bytes") {
        counted.push_bytes(request.whole("bytes", 1, MOST)? as u64);
    }
    let mut value = json!({
        "tokens": counted.tokens(),
        "mean_nll": number(counted.mean_surprisal()),
        "perplexity": number(counted.perplexity()),
        "bits_per_token": number(counted.bits_per_token()),
        "standard_error": number(counted.standard_error()),
        "perplexity_standard_error": number(counted.perplexity_standard_error()),
    });
    if let Some(bits) = counted.bits_per_byte() {
        value["bits_per_byte"] = number(bits);
    }
    Ok(Answer::new(value))
}

fn roc(request: &Request) -> Result<Roc> {
    let scores = request.vector("scores")?;
    let labels = request.classes("labels", scores.len(), 2)?;
    expect_length("labels", labels.len(), scores.len())?;
    let labels: Vec<bool> = labels.iter().map(|&label| label == 1).collect();
    Ok(Roc::new(&scores, &labels)?)
}
