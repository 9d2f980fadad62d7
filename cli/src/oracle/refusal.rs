//! Why a request has no answer.

use surprisal::printable;

/// One line that says what is wrong, where, and what was expected.
#[derive(Debug)]
pub struct Refusal(String);

pub type Result<T> = std::result::Result<T, Refusal>;

impl Refusal {
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    pub fn line(&self) -> String {
        printable(&self.0).into_owned()
    }
}

impl From<surprisal::Error> for Refusal {
    fn from(error: surprisal::Error) -> Self {
        Self(error.to_string())
    }
}
