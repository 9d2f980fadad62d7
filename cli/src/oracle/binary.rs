//! Losses of yes and no.

use ndarray::{Array1, Array2, Axis};
use serde_json::Value;
use surprisal::binary::{
    BinaryCrossEntropy, BranchWeights, Dice, MultiAspect, SetLosses, Sets, SquaredError,
    TriBinaryCrossEntropy, Tversky,
};

use super::answer::{Answer, matrix, vector};
use super::argument::{Argument, Interval, Kind, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, logits as row_logits};
use super::refusal::{Refusal, Result};
use super::request::{Request, expect_length};
use crate::output::number;

const LOGITS: Argument = Argument::new("logits", Kind::Numbers("[M]"));
const LABELS: Argument = Argument::new("labels", Kind::Numbers("[M]"));
const SETS: &[&str] = &["batch", "per_example", "per_class_batch"];

const fn not_negative(name: &'static str, otherwise: f64) -> Argument {
    Argument::number(name, Interval::at_least(0.0)).or(Otherwise::Number(otherwise))
}

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "binary_cross_entropy",
        arguments: &[LOGITS, LABELS],
        gradient: BY_LOGITS,
        answer: |request| {
            let (logits, labels) = (column(request, "logits")?, column(request, "labels")?);
            let losses = BinaryCrossEntropy::new().evaluate(&logits, &labels)?;
            mean(request, "logits", losses.mean(), &losses.mean_gradient())
        },
    },
    Function {
        name: "mean_squared_error",
        arguments: &[Argument::new("predictions", Kind::Numbers("[M]")), LABELS],
        gradient: &["predictions"],
        answer: |request| {
            let (x, labels) = (column(request, "predictions")?, column(request, "labels")?);
            let found = SquaredError::of(&x, &labels)?;
            mean(request, "predictions", found.value, &found.gradient)
        },
    },
    Function {
        name: "dice",
        arguments: &[
            Argument::new("logits", Kind::Numbers("[M], or [M][C] with per_class_batch")),
            Argument::new("labels", Kind::Numbers("as logits, from 0 to 1")),
            not_negative("smooth", 1.0),
            not_negative("alpha", 0.0),
            Argument::new("squared", Kind::Flag).or(Otherwise::Flag(false)),
            Argument::new("aggregation", Kind::Word(SETS)).or(Otherwise::Word("batch")),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let (logits, labels, sets) = overlapping(request)?;
            let loss = Dice::new(request.number("smooth")?)?;
            let loss = loss.self_adjusting(request.number("alpha")?)?.sets(sets);
            let loss = if request.flag("squared")? { loss.squared() } else { loss };
            of_sets(request, sets, &loss.evaluate(&logits, &labels)?)
        },
    },
    Function {
        name: "tversky",
        arguments: &[
            Argument::new("logits", Kind::Numbers("[M], or [M][C] with per_class_batch")),
            Argument::new("labels", Kind::Numbers("as logits, from 0 to 1")),
            Argument::number("alpha", Interval::at_least(0.0)),
            Argument::number("beta", Interval::at_least(0.0)),
            not_negative("smooth", 1.0),
            Argument::new("aggregation", Kind::Word(SETS)).or(Otherwise::Word("batch")),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let (logits, labels, sets) = overlapping(request)?;
            let (alpha, beta) = (request.number("alpha")?, request.number("beta")?);
            let loss = Tversky::new(alpha, beta, request.number("smooth")?)?.sets(sets);
            of_sets(request, sets, &loss.evaluate(&logits, &labels)?)
        },
    },
    Function {
        name: "tri_bce",
        arguments: &[
            Argument::new("deep_logits", Kind::Numbers("[M]")),
            Argument::new("shallow_logits", Kind::Numbers("[M]")),
            LABELS,
            Argument::new("weights", Kind::Word(&["attached", "detached"]))
                .or(Otherwise::Word("attached")),
        ],
        gradient: &["deep_logits", "shallow_logits"],
        answer: |request| {
            let (deep, shallow) =
                (column(request, "deep_logits")?, column(request, "shallow_logits")?);
            expect_length("shallow_logits", shallow.len(), deep.len())?;
            let weights = match request.word("weights")? {
                "attached" => BranchWeights::Attached,
                _ => BranchWeights::Detached,
            };
            let labels = column(request, "labels")?;
            let found = TriBinaryCrossEntropy::new(weights).evaluate(&deep, &shallow, &labels)?;
            let answer = Answer::new(number(found.value));
            Ok(match request.wants_gradient() {
                true => answer
                    .with_gradient("deep_logits", flat(&found.by_deep))
                    .with_gradient("shallow_logits", flat(&found.by_shallow)),
                false => answer,
            })
        },
    },
    Function {
        name: "multi_aspect_distillation",
        arguments: &[
            Argument::new("logits", Kind::Numbers("[N][C+Q]")),
            Argument::new("targets", Kind::Classes("[N], below C")),
            Argument::new("aspect_targets", Kind::Numbers("[N][Q], from 0 to 1")),
            Argument::new("classes", Kind::Whole("of at least 1, C")),
            not_negative("alpha", 4.0),
            not_negative("weight", 1.0),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let logits = row_logits(request, "logits")?;
            let (rows, columns) = logits.dim();
            let classes = request.whole("classes", 1, columns)?;
            let aspects = request.matrix("aspect_targets")?;
            if aspects.dim().1 != columns - classes {
                return Err(Refusal::new(format!(
                    "aspect_targets have {} columns, expected {}, what {classes} classes leave of \
                     the logits",
                    aspects.dim().1,
                    columns - classes
                )));
            }
            let targets = request.classes("targets", rows, classes)?;
            let loss = MultiAspect::new(request.number("weight")?, request.number("alpha")?)?;
            let found = loss.evaluate(&logits, &targets, &aspects)?;
            let answer = Answer::new(number(found.value));
            Ok(match request.wants_gradient() {
                true => answer.with_gradient("logits", matrix(found.gradient.view())),
                false => answer,
            })
        },
    },
];

/// Numbers in a column.
fn column(request: &Request, name: &str) -> Result<Array2<f64>> {
    Ok(request.vector(name)?.insert_axis(Axis(1)))
}

/// A column's numbers in the order of the rows.
fn flat(numbers: &Array2<f64>) -> Value {
    vector(numbers.iter().copied().collect::<Array1<f64>>().view())
}

/// A mean with its gradient.
fn mean(
    request: &Request,
    argument: &'static str,
    value: f64,
    gradient: &Array2<f64>,
) -> Result<Answer> {
    let answer = Answer::new(number(value));
    Ok(match request.wants_gradient() {
        true => answer.with_gradient(argument, flat(gradient)),
        false => answer,
    })
}

/// Logits and labels, and which of them are one set.
fn overlapping(request: &Request) -> Result<(Array2<f64>, Array2<f64>, Sets)> {
    Ok(match request.word("aggregation")? {
        "per_class_batch" => (request.matrix("logits")?, request.matrix("labels")?, Sets::Columns),
        "per_example" => (column(request, "logits")?, column(request, "labels")?, Sets::Entries),
        _ => (column(request, "logits")?, column(request, "labels")?, Sets::All),
    })
}

/// One number for all, or one for each set, with the gradients in the shape of the logits.
fn of_sets(request: &Request, sets: Sets, found: &SetLosses) -> Result<Answer> {
    let answer = match sets {
        Sets::All => Answer::new(number(found.values[0])),
        _ => Answer::new(vector(found.values.view())),
    };
    Ok(match (request.wants_gradient(), sets) {
        (false, _) => answer,
        (true, Sets::Columns) => answer.with_gradient("logits", matrix(found.gradient.view())),
        (true, _) => answer.with_gradient("logits", flat(&found.gradient)),
    })
}
