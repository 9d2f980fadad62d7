//! The one error type.

use std::fmt;
use std::path::PathBuf;

use crate::printable::printable;

/// What went wrong, where, and what was expected.
///
/// User input never panics: whatever a function of this crate does not accept comes back as one
/// of these, with a message of one line. What is in it of file names and files is
/// [`printable`](crate::printable).
///
/// ```
/// let error = surprisal::LinearCrossEntropy::builder().softcap(-1.0).build().unwrap_err();
/// assert_eq!(error.to_string(), "softcap is -1, expected a finite number above 0");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An option outside its domain.
    Option {
        /// The option's name.
        name: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An array whose shape does not fit the others.
    Shape {
        /// The argument's name.
        argument: &'static str,
        /// The shape it has.
        found: Vec<usize>,
        /// The shape it should have, in words.
        expected: String,
    },
    /// An array element outside its domain.
    Value {
        /// The argument's name.
        argument: &'static str,
        /// Where the element stands.
        index: Vec<usize>,
        /// What it is.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A class outside the vocabulary that is not the ignore index.
    TargetOutOfRange {
        /// The row of the target.
        row: usize,
        /// The class.
        value: i64,
        /// The number of classes.
        vocabulary: usize,
    },
    /// Options or arguments that exclude each other.
    Conflict {
        /// What was asked for, and why it cannot be.
        what: String,
    },
    /// A memory budget under which the strategy cannot work.
    MemoryBudget {
        /// `forward`, `recompute backward` or `strip backward`.
        strategy: &'static str,
        /// The budget in bytes.
        budget: usize,
        /// The smallest budget in bytes that works.
        smallest: usize,
    },
    /// Sizes whose product is beyond the address space.
    TooLarge {
        /// What would be that large.
        what: String,
    },
    /// A file that cannot be opened, read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file whose contents are not what they should be.
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// A GPU that is not there, or did not do what it was asked to.
    #[cfg(feature = "gpu")]
    Gpu(crate::gpu_failure::Failure),
}

impl Error {
    /// A matrix without rows or columns.
    pub(crate) fn empty_matrix(argument: &'static str, shape: &[usize]) -> Self {
        let expected = "at least one row and one column".into();
        Error::Shape { argument, found: shape.to_vec(), expected }
    }

    /// An element that is NaN or infinite.
    pub(crate) fn not_finite(argument: &'static str, index: &[usize], value: f64) -> Self {
        let (index, value) = (index.to_vec(), short(value));
        Error::Value { argument, index, value, expected: "a finite number" }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&Message(self).to_string()))
    }
}

/// What an error says, as names and files have it.
struct Message<'a>(&'a Error);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::Option { name, value, expected } => {
                write!(f, "{name} is {value}, expected {expected}")
            }
            Error::Shape { argument, found, expected } => {
                write!(f, "{argument} has shape {found:?}, expected {expected}")
            }
            Error::Value { argument, index, value, expected } => {
                write!(f, "{argument}{index:?} is {value}, expected {expected}")
            }
            Error::TargetOutOfRange { row, value, vocabulary } => write!(
                f,
                "targets[{row}] is {value}, expected a class below {vocabulary} or the ignore index"
            ),
            Error::Conflict { what } => f.write_str(what),
            Error::MemoryBudget { strategy, budget, smallest } => write!(
                f,
                "memory budget is {budget} bytes, expected at least {smallest} for the {strategy}"
            ),
            Error::TooLarge { what } => {
                write!(f, "{what} is beyond the address space of this machine, expected less")
            }
            Error::Io { path, action, source } => {
                write!(f, "cannot {action} {}: {source}", path.display())
            }
            Error::Format { path, what } => write!(f, "{}: {what}", path.display()),
            #[cfg(feature = "gpu")]
            Error::Gpu(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            #[cfg(feature = "gpu")]
            Error::Gpu(failure) => Some(failure),
            _ => None,
        }
    }
}

/// A number in a message: with few characters, whatever its exponent.
pub(crate) fn short(value: impl fmt::Display + fmt::LowerExp) -> String {
    let plain = value.to_string();
    if plain.len() <= 20 { plain } else { format!("{value:e}") }
}

/// The result of every function that can fail.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_in_messages_are_short() {
        for (value, expected) in [
            (1e300, "1e300"),
            (-1e-320, "-1e-320"),
            (0.5, "0.5"),
            (1e15, "1000000000000000"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(short(value), expected);
        }
        assert_eq!(short(-0.1_f32), "-0.1");
        assert!(short(-f64::MAX / 3.0).len() < 25 && short(-f64::from_bits(1)).len() < 25);
    }
}
