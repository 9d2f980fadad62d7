//! The fold over blocks of logits: what one row of a softmax is reduced to, and how two such
//! reductions are joined.

pub(crate) mod block;
pub(crate) mod columns;
pub(crate) mod divergence;
pub(crate) mod floor;
pub(crate) mod gradient;
pub(crate) mod gumbel;
mod renyi;
mod row_state;
pub(crate) mod segments;
pub(crate) mod top_k;
pub(crate) mod transform;

pub use row_state::RowState;
