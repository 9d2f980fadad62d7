//! Which tokens a decoder keeps and draws.

use serde_json::{Value, json};
use surprisal::information::{
    DecodingModel, EntropySwitch, Mirostat, MirostatStep, NextToken, SurpriseOf,
};

use super::answer::Answer;
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::{Refusal, Result};
use super::request::Request;
use crate::output::number;

const LOGITS: Argument = Argument::new("logits", Kind::Numbers("[K]"));
const MASS: Argument = Argument::number("mass", Interval::above(0.0).up_to(1.0));
/// More of a row or a window than can be.
const MOST: usize = 1 << 26;

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "mirostat_v1",
        arguments: &[
            LOGITS.optional(),
            Argument::new("probabilities", Kind::Numbers("[K], with the sum 1")).optional(),
            Argument::number("mu", Interval::ANY),
            Argument::new("pairs", Kind::Whole("at least 1")).or(Otherwise::Number(100.0)),
        ],
        gradient: &[],
        answer: |request| {
            let row = match (request.has("logits"), request.has("probabilities")) {
                (true, false) => NextToken::of_logits(&request.vector("logits")?)?,
                (false, true) => NextToken::of_probabilities(&request.vector("probabilities")?)?,
                _ => return Err(Refusal::new("expected either logits or probabilities")),
            };
            let exponent = row.zipf_exponent(request.whole("pairs", 1, MOST)?);
            let k = row.mirostat_k(exponent, request.number("mu")?);
            Ok(Answer::new(json!({ "exponent": number(exponent), "k": number(k) })))
        },
    },
    Function {
        name: "mirostat_v2",
        arguments: &[
            LOGITS,
            Argument::number("tau", Interval::ANY),
            Argument::number("eta", Interval::at_least(0.0)),
            Argument::number("mu", Interval::ANY).optional(),
            Argument::new("uniforms", Kind::Numbers("[n], from 0 up to but not 1")),
            Argument::new("convention", Kind::Word(&["full", "renormalised"])),
        ],
        gradient: &[],
        answer: mirostat,
    },
    Function {
        name: "entropy_adaptive_decoding",
        arguments: &[
            Argument::new("entropies", Kind::Numbers("[n], bits")),
            Argument::new("window", Kind::Whole("at least 1")),
            Argument::number("threshold", Interval::ANY),
            Argument::new("min_tokens", Kind::Whole("at least 0")),
            Argument::new("start", Kind::Word(&["small", "large"])).or(Otherwise::Word("small")),
        ],
        gradient: &[],
        answer: switch,
    },
    Function {
        name: "nucleus_set",
        arguments: &[LOGITS, MASS],
        gradient: &[],
        answer: |request| likeliest(request, |row| Ok(row.nucleus(request.number("mass")?)?)),
    },
    Function {
        name: "min_p_set",
        arguments: &[LOGITS, Argument::number("min_p", Interval::above(0.0).up_to(1.0))],
        gradient: &[],
        answer: |request| likeliest(request, |row| Ok(row.min_p(request.number("min_p")?)?)),
    },
    Function {
        name: "typical_set",
        arguments: &[LOGITS, MASS],
        gradient: &[],
        answer: |request| {
            let row = NextToken::of_logits(&request.vector("logits")?)?;
            Ok(Answer::new(json!({ "tokens": row.typical(request.number("mass")?)? })))
        },
    },
];

/// The likeliest tokens of the row, as many as are kept.
fn likeliest(request: &Request, kept: impl Fn(&NextToken) -> Result<usize>) -> Result<Answer> {
    let row = NextToken::of_logits(&request.vector("logits")?)?;
    let kept = kept(&row)?;
    Ok(Answer::new(json!({ "tokens": row.tokens()[..kept], "mass": number(row.mass(kept)) })))
}

fn mirostat(request: &Request) -> Result<Answer> {
    let row = NextToken::of_logits(&request.vector("logits")?)?;
    let mut mirostat = Mirostat::v2(request.number("tau")?, request.number("eta")?)?;
    if request.has("mu") {
        mirostat = mirostat.with_mu(request.number("mu")?)?;
    }
    mirostat = mirostat.surprise_of(match request.word("convention")? {
        "full" => SurpriseOf::Full,
        _ => SurpriseOf::Kept,
    });
    let uniforms = request.vector("uniforms")?;
    let steps: Vec<MirostatStep> =
        uniforms.iter().map(|&u| mirostat.step(&row, u)).collect::<surprisal::Result<_>>()?;
    let all = |of: fn(&MirostatStep) -> Value| steps.iter().map(of).collect::<Value>();
    Ok(Answer::new(json!({
        "keep": all(|step| step.kept.into()),
        "token": all(|step| step.token.into()),
        "surprise": all(|step| number(step.surprise)),
        "mu": all(|step| number(step.mu)),
    })))
}

fn switch(request: &Request) -> Result<Answer> {
    let start = match request.word("start")? {
        "small" => DecodingModel::Small,
        _ => DecodingModel::Large,
    };
    let mut switch = EntropySwitch::new(
        request.whole("window", 1, MOST)?,
        request.number("threshold")?,
        request.whole("min_tokens", 0, MOST)?,
        start,
    )?;
    let (mut means, mut models) = (Vec::new(), Vec::new());
    for &bits in &request.vector("entropies")? {
        let step = switch.push(bits)?;
        means.push(number(step.mean));
        models.push(step.model.name());
    }
    Ok(Answer::new(json!({ "mean": means, "model": models })))
}
