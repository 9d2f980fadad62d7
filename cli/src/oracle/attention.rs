//! Entropies of attention, and the penalty on them.

use ndarray::{Array3, Array4};
use serde_json::{Value, json};
use surprisal::information::{AttentionEntropy, AttentionPenalty};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::refusal::Result;
use super::request::Request;
use crate::output::number;

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "attention_entropy",
        arguments: &[
            Argument::new("scores", Kind::Numbers("[H][T][S]")),
            Argument::new("causal", Kind::Flag).or(Otherwise::Flag(false)),
        ],
        gradient: &[],
        answer: entropy,
    },
    Function {
        name: "attention_entropy_penalty",
        arguments: &[
            Argument::new("entropies", Kind::Numbers("[L][B][H][T]")),
            Argument::new("thresholds", Kind::Numbers("[H]")),
            Argument::number("tolerance", Interval::at_least(0.0)).or(Otherwise::Number(0.2)),
            Argument::new("context_size", Kind::Whole("at least 2")),
            Argument::number("coefficient", Interval::ANY).or(Otherwise::Number(1e-5)),
        ],
        gradient: &["thresholds", "entropies"],
        answer: penalty,
    },
];

fn entropy(request: &Request) -> Result<Answer> {
    let (shape, scores) = request.nested("scores", 3)?;
    let scores = Array3::from_shape_vec((shape[0], shape[1], shape[2]), scores);
    let scores = scores.expect("the numbers of the shape");
    let call = match request.flag("causal")? {
        true => AttentionEntropy::causal(),
        false => AttentionEntropy::full(),
    };
    let of = call.of_scores(&scores)?;
    Ok(Answer::new(json!({
        "entropy": matrix(of.entropies.view()),
        "head_mean": vector(of.head_means().view()),
    })))
}

fn penalty(request: &Request) -> Result<Answer> {
    let (shape, entropies) = request.nested("entropies", 4)?;
    let dim = (shape[0], shape[1], shape[2], shape[3]);
    let entropies = Array4::from_shape_vec(dim, entropies).expect("the numbers of the shape");
    let thresholds = request.vector("thresholds")?;
    let found = AttentionPenalty::new(request.whole("context_size", 2, 1 << 53)?)?
        .tolerance(request.number("tolerance")?)?
        .coefficient(request.number("coefficient")?)?
        .evaluate(&entropies, &thresholds)?;
    let answer = Answer::new(json!({
        "loss": number(found.loss),
        "layer_losses": vector(found.layer_losses.view()),
    }));
    if !request.wants_gradient() {
        return Ok(answer);
    }
    let by_entropies = found
        .by_entropies
        .outer_iter()
        .map(|layer| layer.outer_iter().map(matrix).collect::<Value>())
        .collect();
    Ok(answer
        .with_gradient("thresholds", vector(found.by_thresholds.view()))
        .with_gradient("entropies", by_entropies))
}
