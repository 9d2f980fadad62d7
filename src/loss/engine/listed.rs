//! The candidates of each loss, checked and in order.

use ndarray::Array2;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::loss::candidates::Candidates;
use crate::loss::gradients::Upstream;
use crate::loss::options::LinearCrossEntropy;

/// The classes of each loss: each once and in order.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// As the caller has them.
    pub(crate) given: Array2<u32>,
    pub(crate) classes: Vec<u32>,
    /// Where each loss begins, and the end of the last.
    starts: Vec<usize>,
    /// Whether what is not listed is summed for itself.
    pub(crate) others: bool,
    /// −Σ of the upstreams of each class; empty where nothing comes in.
    pub(crate) weights: Vec<f64>,
}

impl Listed {
    pub(crate) fn new(
        candidates: &Candidates<'_>,
        loss: &LinearCrossEntropy,
        outputs: usize,
        vocabulary: usize,
        (sharded, dense): (bool, bool),
    ) -> Result<Self> {
        let (rows, k) = candidates.classes.dim();
        let argument = candidates.argument;
        let conflict = |what: &str| Err(Error::Conflict { what: format!("{argument} {what}") });
        if rows != outputs {
            return Err(Error::Shape {
                argument,
                found: vec![rows, k],
                expected: format!("{outputs} rows, the number of losses"),
            });
        }
        if sharded {
            return conflict("go with the whole vocabulary, not with a shard");
        }
        if loss.filter.is_some() {
            return conflict("go without a filter, which looks at p alone");
        }
        let needs = &loss.needs;
        if candidates.others && (needs.weighs() || needs.companion || needs.diverges()) {
            return conflict(
                "with what they leave to the others go with losses of the target, of the log-sum-exp and of the \
                 entropy: not with smoothing, a companion, a divergence or a sum over all logits",
            );
        }
        if candidates.others && dense {
            return conflict(
                "with what they leave to the others go with hard or sparse targets, not with dense soft ones",
            );
        }
        let (mut classes, mut starts) =
            (Vec::with_capacity(rows * k), Vec::with_capacity(rows + 1));
        starts.push(0);
        for (i, row) in candidates.classes.outer_iter().enumerate() {
            let start = classes.len();
            classes.extend(row.iter().copied().filter(|&class| class != Candidates::NONE));
            classes[start..].sort_unstable();
            if let Some(&class) = classes[start..].last().filter(|&&c| c as usize >= vocabulary) {
                let j = row.iter().position(|&other| other == class).unwrap_or(0);
                return Err(Error::Value {
                    argument,
                    index: vec![i, j],
                    value: class.to_string(),
                    expected: "a class of the classifier",
                });
            }
            let mut last = start;
            for at in start + 1..classes.len() {
                if classes[at] != classes[last] {
                    last += 1;
                    classes[last] = classes[at];
                }
            }
            classes.truncate(classes.len().min(last + 1));
            starts.push(classes.len());
        }
        let given = candidates.classes.to_owned();
        Ok(Self { given, classes, starts, others: candidates.others, weights: Vec::new() })
    }

    /// N and K.
    pub(crate) fn dim(&self) -> (usize, usize) {
        self.given.dim()
    }

    /// Whether both name the same.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.others == other.others && self.given == other.given
    }

    /// Where the classes of a loss are.
    pub(crate) fn range(&self, output: usize) -> Range<usize> {
        self.starts[output]..self.starts[output + 1]
    }

    pub(crate) fn of(&self, output: usize) -> &[u32] {
        &self.classes[self.range(output)]
    }

    /// Takes the upstream gradients over.
    pub(crate) fn weigh(&mut self, upstream: &Upstream<'_>) {
        self.weights.clear();
        let Some(matrix) = &upstream.candidates else { return };
        self.weights.resize(self.classes.len(), 0.0);
        for (i, row) in self.given.outer_iter().enumerate() {
            let range = self.range(i);
            for (j, class) in
                row.iter().enumerate().filter(|&(_, &class)| class != Candidates::NONE)
            {
                if let Ok(at) = self.classes[range.clone()].binary_search(class) {
                    self.weights[range.start + at] -= matrix.at(i, j);
                }
            }
        }
    }
}
