//! Numbers as arguments, and what is said of those that are none.

use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;

/// A whole number that may be 0.
pub fn from_zero<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    read(text, "expected a whole number from 0")
}

/// A whole number that counts something; that it is not 0 is for whoever knows what it counts.
pub fn from_one<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    read(text, "expected a whole number from 1")
}

/// A whole number of either sign.
pub fn any<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    read(text, "expected a whole number")
}

/// A number that need not be whole.
pub fn real(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "expected a number")
}

fn read<T: FromStr<Err = ParseIntError>>(text: &str, expected: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
            format!("is beyond this machine, {expected}")
        }
        _ => expected.into(),
    })
}
