//! The inputs of the library's call, out of the arrays that were opened.

use ndarray::Array1;

use surprisal::loss::Companion;
use surprisal::{Inputs, Real, Targets};

use super::arguments::Loss;
use super::companions::{Embedded, cost_of};
use super::inputs::{Arrays, Positions};
use super::objective::Objective;
use crate::Failure;
use crate::arrays::Opened;
use crate::oracle::Beside;

/// What inputs refer to that is in no file.
pub(super) struct Besides<R> {
    /// Targets of a loss that has no use for them.
    unused: Array1<u32>,
    embedded: Option<Embedded<R>>,
}

impl<R: Real> Besides<R> {
    pub(super) fn new(
        call: &Loss,
        objective: &Objective,
        arrays: &Arrays,
        positions: &Positions,
    ) -> Result<Self, Failure> {
        let embedding = arrays.costs.as_ref().filter(|_| objective.has(Beside::Embedding));
        let unused = if call.has_no_targets() { positions.targets } else { 0 };
        Ok(Self {
            unused: Array1::zeros(unused),
            embedded: embedding
                .map(|embedding| Embedded::new(embedding, arrays, positions))
                .transpose()?,
        })
    }
}

impl Loss {
    pub(super) fn inputs<'a, R: Real>(
        &self,
        arrays: &'a Arrays,
        beside: &'a Besides<R>,
    ) -> Result<Inputs<'a>, Failure> {
        let targets = match (&arrays.targets, &arrays.soft_targets, &arrays.teacher) {
            (_, Some(weights), _) => Targets::soft(weights.matrix()?),
            (_, None, Some(teacher)) => Targets::sparse(&teacher.classes, &teacher.weights),
            (Some(classes), None, None) => Targets::from(classes),
            (None, None, None) => Targets::from(&beside.unused),
        };
        let loss = self.has_loss();
        let mut inputs = match (&arrays.hidden, &arrays.classifier, &arrays.logits) {
            (Some(hidden), Some(classifier), _) if loss => {
                Inputs::new(hidden.matrix()?, classifier.matrix()?, targets)
            }
            (Some(hidden), Some(classifier), _) => {
                Inputs::unlabelled(hidden.matrix()?, classifier.matrix()?)
            }
            (_, _, Some(logits)) if loss => Inputs::from_logits(logits.matrix()?, targets),
            (_, _, Some(logits)) => Inputs::unlabelled_logits(logits.matrix()?),
            _ => return Err(Failure::Input("--hidden and --classifier are missing".into())),
        };
        if let Some(lists) = &arrays.candidates {
            inputs = lists.add(inputs);
        }
        if let Some(bias) = &arrays.bias {
            inputs = inputs.bias(bias.vector()?);
        }
        if let Some(weights) = &arrays.class_weights {
            inputs = inputs.class_weights(weights.class_weights()?);
        }
        if let Some(weights) = &arrays.token_weights {
            inputs = inputs.token_weights(weights.row_weights()?);
        }
        if let Some(ignored) = &arrays.ignored {
            inputs = inputs.ignore(ignored);
        }
        if let Some(shift) = self.shift {
            let from = arrays.hidden.as_ref().or(arrays.logits.as_ref());
            inputs = match from.and_then(Opened::sequence) {
                Some(sequence) => inputs.shift_within(shift, sequence),
                None => inputs.shift(shift),
            };
        }
        if let Some(temperatures) = &arrays.temperatures {
            inputs = inputs.temperatures(temperatures.per_row()?);
        }
        if let Some(head) = arrays.second.head()? {
            inputs = inputs.companion(Companion::logits(head));
        }
        match (&beside.embedded, &arrays.costs) {
            (Some(embedded), _) => Ok(inputs.companion(embedded.companion())),
            (None, Some(costs)) => Ok(inputs.companion(cost_of(costs)?)),
            (None, None) => Ok(inputs),
        }
    }
}
