//! What can go wrong with a GPU.

use std::fmt;
use std::time::Duration;

/// Why a GPU did not do what it was asked to; inside [`Error::Gpu`](crate::Error::Gpu).
///
/// ```
/// use surprisal::{Error, gpu};
/// match gpu::Context::builder().adapter("no such adapter").build() {
///     Err(Error::Gpu(gpu::Failure::NoAdapter { .. })) => {}
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Failure {
    /// No adapter that was asked for.
    NoAdapter {
        /// What there is, and what would help.
        what: String,
    },
    /// The device is gone: its driver was reset or removed.
    DeviceLost {
        /// As the driver says it.
        what: String,
    },
    /// The device has no memory left.
    OutOfMemory {
        /// As the driver says it.
        what: String,
    },
    /// A limit of the device that leaves no way.
    LimitExceeded {
        /// What is too large.
        what: String,
        /// How much it would take.
        need: u64,
        /// How much there is.
        have: u64,
    },
    /// An interface of the device was used in a way that it does not allow.
    Validation {
        /// As the interface says it.
        what: String,
    },
    /// The device computes something else than the processor.
    Mismatch {
        /// What differs, and by how much.
        what: String,
    },
    /// The device did not finish in time.
    Timeout {
        /// How long was waited.
        waited: Duration,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAdapter { what } => write!(f, "no GPU: {what}"),
            Self::DeviceLost { what } => write!(f, "the GPU was lost: {what}"),
            Self::OutOfMemory { what } => write!(f, "the GPU is out of memory: {what}"),
            Self::LimitExceeded { what, need, have } => {
                write!(f, "{what} needs {need}, expected at most the {have} of this GPU")
            }
            Self::Validation { what } => write!(f, "the GPU refused a command: {what}"),
            Self::Mismatch { what } => write!(f, "the GPU computes wrongly: {what}"),
            Self::Timeout { waited } => {
                write!(f, "the GPU did not finish within {} s", waited.as_secs_f64())
            }
        }
    }
}

impl std::error::Error for Failure {}
