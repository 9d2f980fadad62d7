//! Folds over parts of the vocabulary, and how they become one.

use std::ops::Range;

use super::engine::problem::Row;
use super::forward::Forward;
use crate::error::{Error, Result};
use crate::softmax::RowState;
use crate::softmax::top_k;

/// What the examples of this file begin with.
macro_rules! example {
    () => {
        "# use ndarray::{arr2, s};
# use surprisal::{Inputs, LinearCrossEntropy, Shard};
# let hidden = arr2(&[[1.0_f64, -0.5]]);
# let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
# let loss = LinearCrossEntropy::builder().build()?;
# let (left, right) = (classifier.slice(s![..2, ..]), classifier.slice(s![2.., ..]));"
    };
}

/// The rows of a vocabulary, or of one shard of it, folded: what shards exchange.
///
/// ```
/// use ndarray::{arr2, s};
/// use surprisal::{Inputs, LinearCrossEntropy, Shard};
///
/// let hidden = arr2(&[[1.0_f64, -0.5], [0.3, 2.0]]);
/// let classifier = arr2(&[[0.5_f64, 1.0], [-1.0, 0.2], [0.7, 0.1], [0.0, -0.4]]);
/// let loss = LinearCrossEntropy::builder().label_smoothing(0.1).build()?;
/// let shard = |classes: std::ops::Range<usize>| {
///     let part = classifier.slice(s![classes.clone(), ..]);
///     let shard = Shard::new(classes.start, 4);
///     loss.fold(&Inputs::new(&hidden, part, &[3_u32, 0]).shard(shard))
/// };
/// let mut fold = shard(0..3)?;
/// fold.merge(&shard(3..4)?)?;
/// let whole = loss.forward(&Inputs::new(&hidden, &classifier, &[3_u32, 0]))?;
/// assert!((fold.finish()?.loss() - whole.loss()).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fold {
    pub(super) forward: Forward,
}

impl Fold {
    /// The state of each kept row.
    ///
    /// ```
    #[doc = example!()]
    /// let shard = Shard::new(0, 3);
    /// let fold = loss.fold(&Inputs::new(&hidden, left, &[2_u32]).shard(shard))?;
    /// assert_eq!(fold.states()[0].target_logit, None);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn states(&self) -> &[RowState] {
        &self.forward.states
    }

    /// Folds in the states of the same rows over other classes, as another machine has sent them.
    ///
    /// ```
    #[doc = example!()]
    /// let part = |part, first_class| {
    ///     let shard = Shard::new(first_class, 3);
    ///     loss.fold(&Inputs::new(&hidden, part, &[2_u32]).shard(shard))
    /// };
    /// let mut fold = part(left, 0)?;
    /// fold.merge_states(2..3, part(right, 2)?.states())?;
    /// assert!(fold.finish()?.loss() > 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] for another number of rows, for classes that have been folded in
    /// already, and with top-k, whose lists are not in the states.
    pub fn merge_states(&mut self, classes: Range<usize>, states: &[RowState]) -> Result<()> {
        let mine = &mut self.forward;
        let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
        if mine.states.len() != states.len() {
            return conflict("the states are of another number of rows, expected the same");
        }
        if mine.loss.statistics.top_k > 0 {
            return conflict("the lists of the top k are not in the states, expected whole folds");
        }
        mine.cover(&[classes])?;
        mine.forget();
        for (state, other) in mine.states.iter_mut().zip(states) {
            state.merge(other);
        }
        Ok(())
    }

    /// Folds in another shard of the same rows.
    ///
    /// ```
    #[doc = example!()]
    /// let part = |part, first_class| {
    ///     let shard = Shard::new(first_class, 3);
    ///     loss.fold(&Inputs::new(&hidden, part, &[2_u32]).shard(shard))
    /// };
    /// let mut fold = part(right, 2)?;
    /// fold.merge(&part(left, 0)?)?;
    /// assert!(fold.merge(&part(left, 0)?).is_err());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] where rows, targets, options or statistics are not the same, or where a
    /// class is in both.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let (mine, theirs) = (&mut self.forward, &other.forward);
        if mine.rows != theirs.rows || mine.outputs != theirs.outputs {
            let what = "the folds are of other rows or targets, expected the same".into();
            return Err(Error::Conflict { what });
        }
        let same = mine.loss.same_function(&theirs.loss)
            && mine.loss.statistics == theirs.loss.statistics
            && mine.vocabulary == theirs.vocabulary
            && mine.class_weights_of_targets == theirs.class_weights_of_targets
            && mine.divisors.of_weights == theirs.divisors.of_weights;
        if !same {
            let what = "the folds are of other options or vocabularies, expected the same".into();
            return Err(Error::Conflict { what });
        }
        mine.cover(&theirs.covered)?;
        mine.forget();
        for (state, other) in mine.states.iter_mut().zip(&theirs.states) {
            state.merge(other);
        }
        let k = mine.loss.statistics.top_k.max(1);
        for (list, other) in mine.top.chunks_mut(k).zip(theirs.top.chunks(k)) {
            top_k::merge(list, other);
        }
        Ok(())
    }

    /// The losses, once every shard is merged.
    ///
    /// ```
    #[doc = example!()]
    /// let shard = Shard::new(0, 3);
    /// let fold = loss.fold(&Inputs::new(&hidden, left, &[2_u32]).shard(shard))?;
    /// assert_eq!(
    ///     fold.finish().unwrap_err().to_string(),
    ///     "the fold has no class 2, expected shards of all 3 classes",
    /// );
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] where classes of the vocabulary are missing.
    pub fn finish(self) -> Result<Forward> {
        let forward = self.forward;
        let mut next = 0;
        for classes in forward.covered.iter().filter(|classes| !classes.is_empty()) {
            if classes.start != next {
                break;
            }
            next = classes.end;
        }
        if next != forward.vocabulary {
            return Err(Error::Conflict {
                what: format!(
                    "the fold has no class {next}, expected shards of all {} classes",
                    forward.vocabulary
                ),
            });
        }
        if !forward.soft {
            let missing = forward.states.iter().position(|state| state.target_logit.is_none());
            if let Some(i) = missing {
                let Row { target_row, target, .. } = forward.rows[i];
                return Err(Error::Conflict {
                    what: format!("targets[{target_row}] is {target}, a class that no shard holds"),
                });
            }
        }
        Ok(forward)
    }
}
