//! What a filter leaves out of one call.

use crate::error::{Error, Result};
use crate::loss::inputs::{Inputs, Targets};
use crate::loss::options::{Filter, LinearCrossEntropy};
use crate::loss::source::Source;

/// Which segments a filter leaves out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum FilterRule {
    /// Segments whose probabilities all are below ε.
    Below(f64),
    /// Of each row the least likely segments, as many as have no more than δ of it together.
    Mass(f64),
}

impl FilterRule {
    /// That of a call; `None` without a filter, and where there are no products to save.
    pub(crate) fn new(loss: &LinearCrossEntropy, inputs: &Inputs<'_>) -> Result<Option<Self>> {
        let (Some(filter), Source::Product { hidden, classifier }) = (loss.filter, &inputs.source)
        else {
            return Ok(None);
        };
        if hidden.dim().1 == 0 {
            return Ok(None);
        }
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        if matches!(inputs.targets, Targets::Soft(_)) {
            return conflict(
                "a filter goes with hard or sparse targets: dense ones weigh every class",
            );
        }
        if loss.needs.companion || loss.needs.diverges() || loss.needs.min_entropy {
            return conflict(
                "a filter goes with losses that depend on the target and on sums over p alone: not \
                 with the min-entropy, not with a companion, not with a divergence",
            );
        }
        if loss.needs.weighs() && loss.transform.softcap.is_some() {
            return conflict("a filter goes with label smoothing or with a softcap, not with both");
        }
        Ok(Some(match filter {
            Filter::Auto => Self::Below(hidden.epsilon().min(classifier.epsilon()) / 32.0),
            Filter::Below(threshold) => Self::Below(threshold),
            Filter::Mass(mass) => Self::Mass(mass),
        }))
    }
}
