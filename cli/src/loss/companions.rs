//! What stands beside the logits: a second head, costs.

use ndarray::Array2;

use surprisal::Real;
use surprisal::loss::{Companion, EmbeddingCost, Head};

use super::inputs::{Arrays, Positions, Second};
use crate::Failure;
use crate::arrays::Opened;

impl Second {
    /// The head, where there is one.
    pub(super) fn head(&self) -> Result<Option<Head<'_>>, Failure> {
        let head = match (&self.hidden, &self.classifier, &self.logits) {
            (Some(hidden), Some(classifier), _) => {
                Head::new(hidden.matrix()?, classifier.matrix()?)
            }
            (_, _, Some(logits)) => Head::from_logits(logits.matrix()?),
            _ => return Ok(None),
        };
        Ok(Some(match &self.bias {
            Some(bias) => head.bias(bias.vector()?),
            None => head,
        }))
    }
}

/// Costs by an embedding, with that of each row's target.
pub(super) struct Embedded<R> {
    costs: EmbeddingCost<R>,
    rows: Array2<R>,
}

impl<R: Real> Embedded<R> {
    pub(super) fn new(
        embedding: &Opened,
        arrays: &Arrays,
        positions: &Positions,
    ) -> Result<Self, Failure> {
        let (matrix, classes) = (embedding.matrix()?, arrays.classes()?);
        if matrix.dim().0 != classes {
            return Err(embedding.unfit(&format!("{classes} rows, an embedding of each class")));
        }
        let costs = EmbeddingCost::new(matrix)?;
        // A second head goes by the rows of the first, not by their targets.
        let predicted = arrays.targets.as_ref().map(|targets| positions.predicted(targets));
        let rows = costs.rows(&predicted.unwrap_or_default())?;
        Ok(Self { costs, rows })
    }

    pub(super) fn companion(&self) -> Companion<'_> {
        self.costs.companion(&self.rows)
    }
}

/// Costs of the classes [V], or of each target's [N,V].
pub(super) fn cost_of(costs: &Opened) -> Result<Companion<'_>, Failure> {
    Ok(match costs.view().shape().len() {
        1 => Companion::classes(costs.vector()?),
        _ => Companion::entries(costs.matrix()?),
    })
}
