//! How spread the attention of heads is.

mod entropy;
mod penalty;
pub(crate) mod streamed;

pub use entropy::{AttentionEntropies, AttentionEntropy, AttentionGradients};
pub use penalty::{AttentionPenalty, AttentionPenaltyValue};
