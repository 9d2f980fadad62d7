//! What numbers must be, and what is said where they are not.

use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// The numbers of an argument, all of them finite.
pub(super) fn finite_numbers(argument: &'static str, numbers: Vector<'_>) -> Result<Vec<f64>> {
    let numbers: Vec<f64> = numbers.to_vec();
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(numbers),
        Some(at) => Err(Error::not_finite(argument, &[at], numbers[at])),
    }
}

/// The numbers of an argument, all of them finite and above 0.
pub(super) fn positive_numbers(argument: &'static str, numbers: Vector<'_>) -> Result<Vec<f64>> {
    let numbers: Vec<f64> = numbers.to_vec();
    let bad = |number: &f64| !(number.is_finite() && *number > 0.0);
    match numbers.iter().position(bad) {
        None => Ok(numbers),
        Some(at) => Err(Error::Value {
            argument,
            index: vec![at],
            value: short(numbers[at]),
            expected: "a finite number above 0",
        }),
    }
}

/// That there are as many of one argument as of another.
pub(super) fn same_length(
    argument: &'static str,
    found: usize,
    other: &'static str,
    expected: usize,
) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let expected = format!("[{expected}], as many as of {other}");
    Err(Error::Shape { argument, found: vec![found], expected })
}

/// That there are enough points.
pub(super) fn at_least(argument: &'static str, found: usize, least: usize) -> Result<()> {
    if found >= least {
        return Ok(());
    }
    let expected = format!("at least {least} points");
    Err(Error::Shape { argument, found: vec![found], expected })
}

/// That enough of the numbers differ.
pub(super) fn distinct(argument: &'static str, numbers: &[f64], least: usize) -> Result<()> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.dedup();
    if sorted.len() >= least {
        return Ok(());
    }
    let (found, points) = (sorted.len(), numbers.len());
    Err(Error::Conflict {
        what: format!(
            "{argument} has {found} distinct values among {points} points, expected at least {least}"
        ),
    })
}
