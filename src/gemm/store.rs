//! What becomes of what stands where a product goes.

/// Whether a product replaces its destination or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Assign,
    Add,
}
