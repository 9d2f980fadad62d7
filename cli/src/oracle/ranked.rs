//! Losses of rankings.

use ndarray::Array2;
use surprisal::loss::{PlaceWeights, PlackettLuce, Rankings};
use surprisal::{Gradients, Inputs, LinearCrossEntropy, Matrix, Reduction};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, TARGETS, logits, targets};
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};

const ORDER: Argument =
    Argument::new("order", Kind::Classes("[N][K], permutations of the classes"));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "plackett_luce_distillation",
        arguments: &[
            LOGITS,
            TARGETS,
            Argument::new("teacher_logits", Kind::Numbers("[N][K]")),
            Argument::number("teacher_temperature", Interval::above(0.0))
                .or(Otherwise::Number(1.0)),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let student = logits(request, "logits")?;
            let teacher = logits(request, "teacher_logits")?;
            if teacher.dim() != student.dim() {
                return Err(Refusal::new(format!(
                    "teacher_logits have the shape {:?}, expected {:?} as logits have",
                    teacher.shape(),
                    student.shape()
                )));
            }
            let targets = targets(request, &student)?;
            let temperature = request.number("teacher_temperature")?;
            of_logits(
                request,
                &student,
                &Rankings::of_teacher(&teacher, &targets, temperature, None)?,
            )
        },
    },
    Function {
        name: "list_mle",
        arguments: &[
            LOGITS,
            ORDER,
            // A word, or a number for each place.
            Argument::new(
                "weights",
                Kind::Numbers("[K], at least 0, or \"sum\", \"mean\" or \"position\""),
            )
            .optional(),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let logits = logits(request, "logits")?;
            let order = permutations(request, &logits)?;
            let each;
            let weights = if request.is_list("weights") {
                each = request.vector("weights")?.to_vec();
                expect_length("weights", each.len(), logits.dim().1)?;
                PlaceWeights::Each(&each)
            } else {
                match request.word_of("weights", &["sum", "mean", "position"])? {
                    None | Some("sum") => PlaceWeights::Ones,
                    Some("mean") => PlaceWeights::Mean,
                    Some(_) => PlaceWeights::Position,
                }
            };
            of_logits(request, &logits, &Rankings::new(&order, weights)?)
        },
    },
    Function {
        name: "partial_list_mle",
        arguments: &[
            LOGITS,
            ORDER,
            Argument::new("valid", Kind::Classes("[N], up to K")),
            Argument::number("temperature", Interval::above(0.0)).or(Otherwise::Number(1.0)),
        ],
        gradient: BY_LOGITS,
        answer: partial,
    },
];

/// Orders of all classes.
fn permutations(request: &Request, logits: &Array2<f64>) -> Result<Array2<u32>> {
    let (rows, classes) = logits.dim();
    let order = request.class_lists("order", rows, classes)?;
    match order.dim().1 == classes {
        true => Ok(order),
        false => Err(Refusal::new(format!(
            "order has {} places a row, expected {classes}, one for each class",
            order.dim().1
        ))),
    }
}

fn of_logits(request: &Request, logits: &Array2<f64>, rankings: &Rankings) -> Result<Answer> {
    let loss = PlackettLuce::new().reduction(Reduction::None)?;
    let losses = loss.of_logits(rankings, Matrix::from(logits))?;
    let answer = Answer::new(vector(losses.values.view()));
    Ok(match request.wants_gradient() {
        true => answer.with_gradient("logits", matrix(losses.gradient.view())),
        false => answer,
    })
}

/// Through the fold, whose temperature it is.
fn partial(request: &Request) -> Result<Answer> {
    let logits = logits(request, "logits")?;
    let (rows, classes) = logits.dim();
    let order = permutations(request, &logits)?;
    let valid = request.classes("valid", rows, classes + 1)?;
    let valid: Vec<usize> = valid.into_iter().map(|n| n as usize).collect();
    let rankings = Rankings::partial(&order, &valid)?;
    let head = LinearCrossEntropy::builder().temperature(request.number("temperature")?).build()?;
    let inputs = Inputs::unlabelled_logits(&logits).candidates(rankings.candidates());
    let forward = head.forward(&inputs)?;
    let loss = PlackettLuce::new().reduction(Reduction::None)?;
    let losses = loss.evaluate(&rankings, &forward)?;
    let answer = Answer::new(vector(losses.values.view()));
    if !request.wants_gradient() {
        return Ok(answer);
    }
    let mut gradient = Array2::zeros(logits.dim());
    let gradients = Gradients::new().logits(&mut gradient);
    head.vjp(&inputs, &forward, &losses.upstream(), gradients)?;
    Ok(answer.with_gradient("logits", matrix(gradient.view())))
}
