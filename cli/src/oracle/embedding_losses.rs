//! Losses with a cost of each class by its embedding.

use ndarray::Array2;
use surprisal::loss::{EarthMover, EmbeddingCost, ExpectedCost, RowLoss};
use surprisal::{Inputs, LinearCrossEntropy};

use super::answer::Answer;
use super::argument::{Argument, Kind, Otherwise};
use super::distillation::Losses;
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, TARGETS, logits, targets};
use super::refusal::Result;
use super::request::{Request, expect_length};

const EMBEDDING: Argument = Argument::new("embedding", Kind::Numbers("[K][d]"));

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "demd",
        arguments: &[LOGITS, TARGETS, EMBEDDING],
        gradient: BY_LOGITS,
        answer: |request| with_costs(request, ExpectedCost),
    },
    Function {
        name: "emo",
        arguments: &[
            LOGITS,
            TARGETS,
            EMBEDDING,
            Argument::new("variant", Kind::Word(&["paper", "code", "continual"]))
                .or(Otherwise::Word("paper")),
        ],
        gradient: BY_LOGITS,
        answer: |request| {
            let loss = match request.word("variant")? {
                "code" => EarthMover::as_in_code(),
                "continual" => EarthMover::continual(),
                _ => EarthMover::paper(),
            };
            with_costs(request, loss)
        },
    },
];

/// Of each row, with the costs that the embedding makes.
fn with_costs(request: &Request, loss: impl RowLoss + 'static) -> Result<Answer> {
    let logits: Array2<f64> = logits(request, "logits")?;
    let targets = targets(request, &logits)?;
    let embedding = request.matrix("embedding")?;
    expect_length("embedding", embedding.dim().0, logits.dim().1)?;
    let costs = EmbeddingCost::<f64>::new(&embedding)?;
    let rows = costs.rows(&targets)?;
    let inputs = Inputs::from_logits(&logits, &targets).companion(costs.companion(&rows));
    let mut losses = Losses::new(request, &logits);
    losses.add(1.0, LinearCrossEntropy::builder().row_loss(loss), &inputs)?;
    Ok(losses.answer())
}
