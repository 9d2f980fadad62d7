//! Rows over the classes that a truncation leaves.

use crate::error::{Error, Result};
use crate::loss::gradients::RowUpstream;
use crate::loss::inputs::{Inputs, Targets};
use crate::loss::options::LinearCrossEntropy;
use crate::loss::row_loss::{Term, Terms};
use crate::softmax::RowState;
use crate::softmax::floor::Floor;

/// Whether the inputs' floors, if there are any, are of such logits and go with the loss.
pub(super) fn check_floors(
    loss: &LinearCrossEntropy,
    inputs: &Inputs<'_>,
    outputs: usize,
) -> Result<()> {
    let Some(floors) = inputs.floors else { return Ok(()) };
    let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
    if inputs.shard.is_some() {
        return conflict("floors go with a whole vocabulary, expected no shard");
    }
    if loss.filter.is_some() {
        return conflict("floors go without a filter");
    }
    if inputs.second_head().is_some() {
        return conflict("floors go without a second head");
    }
    let weighs = match &inputs.targets {
        Targets::Hard(_) => false,
        Targets::Soft(_) => true,
        Targets::Sparse { classes, .. } => classes.dim().1 > 0,
    };
    if weighs {
        return conflict("floors go with hard targets: soft ones weigh what is left out");
    }
    if loss.needs.smoothing() > 0.0 || loss.needs.deviation {
        return conflict("floors go without label smoothing and sums over all classes");
    }
    if floors.rows.len() != outputs {
        return Err(Error::Shape {
            argument: "floors",
            found: vec![floors.rows.len()],
            expected: format!("[{outputs}], the number of losses"),
        });
    }
    let same = floors.vocabulary == inputs.source.sizes().2
        && floors.transform == loss.transform
        && floors.isa == loss.isa;
    if !same {
        return conflict(
            "the floors are of other logits, expected the vocabulary, scale, softcap, temperature and \
             instruction set of this call",
        );
    }
    Ok(())
}

/// The floor of a row at its temperature.
pub(super) fn floor_of(inputs: &Inputs<'_>, output: usize, temperature: f64) -> Result<Floor> {
    let Some(floors) = inputs.floors else { return Ok(Floor::NONE) };
    let value = match floors.rows[output] {
        Some((floor, of)) if of == temperature => return Ok(floor),
        Some(_) => "of another temperature",
        None => "of an ignored row",
    };
    Err(Error::Value {
        argument: "floors",
        index: vec![output],
        value: value.into(),
        expected: "one of this row at its temperature",
    })
}

/// What comes in of the loss of a row, and its terms: nothing where the target is left out and the loss infinite.
pub(super) fn of_classes_left(
    floor: &Floor,
    state: &RowState,
    above: RowUpstream,
    terms: Terms,
) -> (RowUpstream, Terms) {
    let left_out = state.target_logit == Some(f64::NEG_INFINITY);
    if !floor.is_none() && left_out && [terms.weighted, terms.plain].iter().any(is_infinite) {
        return (RowUpstream { loss: [0.0; 2], ..above }, Terms::default());
    }
    (above, terms)
}

fn is_infinite(term: &Option<Term>) -> bool {
    term.is_some_and(|term| !(term.factor * term.value).is_finite())
}
