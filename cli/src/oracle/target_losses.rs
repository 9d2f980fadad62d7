//! The losses of rows that depend on the target's probability alone.

use surprisal::loss::GeneralizedCrossEntropy;

use super::argument::{Argument, Interval, Otherwise};
use super::function::Function;
use super::logits::{BY_LOGITS, LOGITS, TARGETS, row_losses};

pub const FUNCTIONS: &[Function] = &[Function {
    name: "generalized_cross_entropy",
    arguments: &[
        LOGITS,
        TARGETS,
        Argument::number("q", Interval::above(0.0).up_to(1.0)).or(Otherwise::Number(0.7)),
    ],
    gradient: BY_LOGITS,
    answer: |request| row_losses(request, GeneralizedCrossEntropy::new(request.number("q")?)?),
}];
