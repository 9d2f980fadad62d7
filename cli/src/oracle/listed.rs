//! Log-probabilities of listed classes, and what is made of a teacher's lists.

use ndarray::{Array1, Array2};
use surprisal::loss::{
    Candidates, Divergence, ListDivergence, ListDivergenceBuilder, Outside, TeacherList,
};
use surprisal::{Gradients, LinearCrossEntropy, Reduction, Upstream};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::distillation::{
    ALPHA, BETA, BETA_LIMITS, MASK, REDUCTION, ROW_TEMPERATURE, SQUARED, WEIGHT, mask, reduced,
    temperatures,
};
use super::function::Function;
use super::fused::{BIAS, CLASSIFIER, HIDDEN};
use super::logits::{BY_LOGITS, LOGITS};
use super::refusal::{Refusal, Result};
use super::request::Request;
use super::rows::{BY_HEAD, Rows};
use crate::output::number;

const INDICES: Argument = Argument::new("indices", Kind::Classes("[N][M], below K"));
const UPSTREAM: Argument = Argument::new("upstream", Kind::Numbers("[N][M]")).optional();
const TEACHER_IDS: Argument = Argument::new("teacher_ids", Kind::Classes("[N][k], below K"));
const TEACHER_LOG_PROBS: Argument = Argument::new("teacher_log_probs", Kind::Numbers("[N][k]"));
const DIVERGENCE: Argument = Argument::new(
    "divergence",
    Kind::Word(&[
        "forward_kl",
        "reverse_kl",
        "jensen_shannon",
        "skew_forward_kl",
        "skew_reverse_kl",
        "symmetric_kl",
    ]),
);
const OUTSIDE: Argument =
    Argument::new("outside", Kind::Word(&["ignore", "renormalize", "tail", "floor"]))
        .or(Otherwise::Word("tail"));
const FLOOR: Argument =
    Argument::number("outside_log_prob", Interval::ANY.up_to(0.0)).or(Otherwise::Number(-100.0));
const CLAMP: Argument = Argument::new("clamp_negative", Kind::Flag).or(Otherwise::Flag(false));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "selected_log_probabilities",
        arguments: &[LOGITS, INDICES, ROW_TEMPERATURE, UPSTREAM],
        gradient: &["logits", "temperature"],
        answer: selected_log_probabilities,
    },
    Function {
        name: "linear_selected_log_probabilities",
        arguments: &[HIDDEN, CLASSIFIER, BIAS, INDICES, ROW_TEMPERATURE, UPSTREAM],
        gradient: &["hidden", "classifier", "bias", "temperature"],
        answer: selected_log_probabilities,
    },
    Function {
        name: "top_k_distillation",
        arguments: &[
            LOGITS,
            TEACHER_IDS,
            TEACHER_LOG_PROBS,
            DIVERGENCE,
            BETA,
            BETA_LIMITS,
            ALPHA,
            WEIGHT,
            OUTSIDE,
            FLOOR,
            CLAMP,
            ROW_TEMPERATURE,
            SQUARED,
            MASK,
            REDUCTION,
        ],
        gradient: BY_LOGITS,
        answer: top_k_distillation,
    },
    Function {
        name: "linear_top_k_distillation",
        arguments: &[
            HIDDEN,
            CLASSIFIER,
            BIAS,
            TEACHER_IDS,
            TEACHER_LOG_PROBS,
            DIVERGENCE,
            BETA,
            BETA_LIMITS,
            ALPHA,
            WEIGHT,
            OUTSIDE,
            FLOOR,
            CLAMP,
            ROW_TEMPERATURE,
            SQUARED,
            MASK,
            REDUCTION,
        ],
        gradient: BY_HEAD,
        answer: top_k_distillation,
    },
];

fn selected_log_probabilities(request: &Request) -> Result<Answer> {
    let rows = Rows::read(request)?;
    let (count, classes) = rows.dim();
    let indices = request.class_lists("indices", count, classes)?;
    let temperatures = temperatures(request, count)?;
    let inputs =
        rows.unlabelled().temperatures(&temperatures).candidates(Candidates::new(&indices));
    // The gradient of a temperature is made from the entropy.
    let loss = LinearCrossEntropy::builder().entropy(request.wants_gradient()).build()?;
    let forward = loss.forward(&inputs)?;
    let own = forward.candidates()?.log_probabilities;
    let answer = Answer::new(matrix(own.view()));
    let above = match request.has("upstream") {
        true => request.matrix("upstream")?,
        false => Array2::ones(indices.dim()),
    };
    if above.dim() != indices.dim() {
        let ((rows, columns), (own_rows, own_columns)) = (above.dim(), indices.dim());
        return Err(Refusal::new(format!(
            "upstream has {rows} rows and {columns} columns, expected {own_rows} and {own_columns} \
             as indices has"
        )));
    }
    if !request.wants_gradient() {
        return Ok(answer);
    }
    let upstream = Upstream::scalar(0.0).candidates(&above);
    let answer =
        rows.differentiated(answer, |gradients| loss.vjp(&inputs, &forward, &upstream, gradients))?;
    if !request.has("temperature") {
        return Ok(answer);
    }
    let mut gradient = Array1::zeros(count);
    loss.vjp(&inputs, &forward, &upstream, Gradients::new().temperature(&mut gradient))?;
    Ok(answer.with_gradient(
        "temperature",
        match request.is_list("temperature") {
            true => vector(gradient.view()),
            false => number(gradient.sum()),
        },
    ))
}

/// A divergence by its name, with what the request says of it.
fn named(request: &Request) -> Result<ListDivergenceBuilder> {
    let builder = ListDivergence::builder();
    let (forward, reverse) =
        (Divergence::ForwardKullbackLeibler, Divergence::ReverseKullbackLeibler);
    let divergence = match request.word("divergence")? {
        "forward_kl" => forward,
        "reverse_kl" => reverse,
        "jensen_shannon" => match (request.word("beta_limits")?, request.number("beta")?) {
            ("kl", 0.0) => forward,
            ("kl", 1.0) => reverse,
            (_, beta) => Divergence::JensenShannon { beta },
        },
        "skew_forward_kl" => Divergence::ForwardSkew { alpha: request.number("alpha")? },
        "skew_reverse_kl" => Divergence::ReverseSkew { alpha: request.number("alpha")? },
        _ => return Ok(builder.symmetric(request.number("weight")?)),
    };
    Ok(builder.divergence(divergence))
}

fn top_k_distillation(request: &Request) -> Result<Answer> {
    let rows = Rows::read(request)?;
    let (count, classes) = rows.dim();
    let ids = request.class_lists("teacher_ids", count, classes)?;
    let logs = request.matrix("teacher_log_probs")?;
    let mask = mask(request, count)?;
    let temperatures = temperatures(request, count)?;
    let teacher = TeacherList::new(&ids, &logs)?;
    let kept = |i: usize| mask[i] != 0.0;
    if let Some(((i, j), x)) = logs.indexed_iter().find(|&((i, _), &x)| kept(i) && x > 0.0) {
        let message = format!("teacher_log_probs[{i}][{j}] is {x}, expected at most 0");
        return Err(Refusal::new(message));
    }
    let divergence = named(request)?
        .outside(match request.word("outside")? {
            "ignore" => Outside::Ignore,
            "renormalize" => Outside::Renormalize,
            "tail" => Outside::Tail,
            _ => Outside::Floor { log_probability: request.number("outside_log_prob")? },
        })
        .clamp_negative(request.flag("clamp_negative")?)
        .scale_by_temperature_squared(request.flag("scale_by_temperature_squared")?)
        .reduction(reduced(request, &mask)?)
        .build()?;
    let ignored: Vec<bool> = mask.iter().map(|&keep| keep == 0.0).collect();
    let inputs = rows
        .unlabelled()
        .ignore(&ignored)
        .temperatures(&temperatures)
        .candidates(divergence.candidates(&teacher));
    let loss = LinearCrossEntropy::builder().entropy(true).build()?;
    let forward = loss.forward(&inputs)?;
    let losses = divergence.evaluate(&teacher, &forward)?;
    let answer = Answer::new(match reduced(request, &mask)? {
        Reduction::None => vector(losses.values.view()),
        _ => number(losses.loss()),
    });
    if !request.wants_gradient() {
        return Ok(answer);
    }
    rows.differentiated(answer, |gradients| {
        loss.vjp(&inputs, &forward, &losses.upstream(), gradients)
    })
}
