//! Losses of yes and no: logits of which each stands for itself, with labels from 0 to 1.
//!
//! | I want … | use |
//! | --- | --- |
//! | −ln of the probability of each label, rare positives weighing more | [`BinaryCrossEntropy`] |
//! | a loss of the overlap, for few positives among many negatives | [`Dice`], self-adjusting where easy ones should not count |
//! | the same where misses and false alarms cost differently | [`Tversky`] |
//! | two branches of a network and their mean, each learning as much as it lags | [`TriBinaryCrossEntropy`] |
//! | classes beside a teacher's answers to questions about the input | [`MultiAspect`] |
//! | pairs of sentences, of cross- and bi-encoders that teach each other | [`BinaryCrossEntropy`], [`SquaredError`], with labels by [`labels_of_cosines`] and [`labels_of_logits`] |
//!
//! Logits and labels are `[N,C]`: N examples with C labels each, C = 1 for one. All is computed in f64. A NaN is the affair
//! of its own entry, or of the set that it is in.
//!
//! ```
//! use ndarray::arr2;
//! use surprisal::binary::{BinaryCrossEntropy, Dice, Sets};
//! let logits = arr2(&[[2.0_f64, -3.0], [-1.0, 0.5]]);
//! let labels = arr2(&[[1.0, 0.0], [0.0, 1.0]]);
//! let losses = BinaryCrossEntropy::new().evaluate(&logits, &labels)?;
//! assert!(losses.mean() < 0.3 && losses.slopes[[0, 0]] < 0.0);
//! let dice = Dice::new(1.0)?.sets(Sets::Columns).evaluate(&logits, &labels)?;
//! assert_eq!(dice.values.len(), 2);
//! # Ok::<(), surprisal::Error>(())
//! ```

mod cross_entropy;
mod dice;
mod given;
mod multi_aspect;
mod pseudo_labels;
mod sets;
mod squared_error;
mod tri;
mod tversky;

pub use cross_entropy::{BinaryCrossEntropy, BinaryLosses};
pub use dice::Dice;
pub use multi_aspect::{MultiAspect, MultiAspectLoss};
pub use pseudo_labels::{labels_of_cosines, labels_of_logits};
pub use sets::{SetLosses, Sets};
pub use squared_error::SquaredError;
pub use tri::{BranchWeights, TriBinaryCrossEntropy, TriLoss};
pub use tversky::Tversky;
