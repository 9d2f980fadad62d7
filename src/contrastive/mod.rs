//! Losses of a batch of embeddings against itself.
//!
//! | I want … | use |
//! | --- | --- |
//! | each query to find its key among all of the batch | [`InfoNce`] |
//! | and each key its query (CLIP), with a temperature that is learnt | [`InfoNce::symmetric`], [`Contrast::by_temperature`] |
//! | embeddings of one label together, or two views of one example (SimCLR) | [`SupervisedContrastive`] |
//! | scores with one threshold for all queries, that is a high AUC | [`MannWhitney`] |
//! | states to find their concept, and how high it ranks | [`in_batch`] |
//! | a classifier of few labelled rows that fits others, too | [`Repri`] |
//! | embeddings that do not collapse, without negatives | [`SigReg`] of [`EppsPulley`] |
//! | any of these in a graph | [`Variable::info_nce`](crate::autodiff::Variable::info_nce), [`supervised_contrastive`](crate::autodiff::Variable::supervised_contrastive), [`mann_whitney`](crate::autodiff::Variable::mann_whitney), [`sigreg`](crate::autodiff::Variable::sigreg) |
//!
//! What holds for all: no more scores of pairs are stored than a memory budget holds. Logarithms are natural. Options are
//! checked where they are set, arrays where they are used, numbers that are not finite among them; all are errors.
//! Embeddings of any type are computed with in f64 where either matrix holds it, else in f32; but where queries and keys
//! that are not normalized both are bf16 and the processor multiplies it, their slopes are rounded to bf16, 2⁻⁸ of each,
//! as [`LinearCrossEntropy::vjp`](crate::LinearCrossEntropy::vjp) says.

mod both_folds;
mod both_slopes;
mod both_ways;
mod checks;
mod contrast;
mod epps_pulley;
pub mod in_batch;
mod info_nce;
mod mann_whitney;
mod pair_kernels;
mod pair_sums;
mod repri;
mod sigreg;
mod supervised;
mod unit_rows;

pub use contrast::Contrast;
pub use epps_pulley::EppsPulley;
pub use info_nce::InfoNce;
pub use mann_whitney::{MannWhitney, PairReduction};
pub use repri::{Repri, RepriLosses};
pub use sigreg::SigReg;
pub use supervised::SupervisedContrastive;
