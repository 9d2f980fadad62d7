//! What is negligible in the gradients, and the backward of the rest.

pub(crate) mod decision;
pub(crate) mod kept;
pub(crate) mod lists;
pub(crate) mod record;
pub(crate) mod smoothing;
pub(crate) mod tail;
