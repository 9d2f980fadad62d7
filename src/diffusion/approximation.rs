//! What the ways without all eigenvalues return.

/// An entropy and what it may be off, both in nats.
pub(crate) struct Approximation {
    pub(crate) value: f64,
    pub(crate) error: f64,
    pub(crate) rank: usize,
}
