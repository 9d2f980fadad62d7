//! What the arguments of these losses must be.

use crate::element::Element;
use crate::error::{Error, Result, short};
use crate::loss::Gradients;
use crate::matrix::Matrix;

/// # Errors
/// [`Error::Option`] unless the number is finite and above 0.
pub(super) fn positive(name: &'static str, value: f64) -> Result<f64> {
    match value > 0.0 && value.is_finite() {
        true => Ok(value),
        false => {
            Err(Error::Option { name, value: short(value), expected: "a finite number above 0" })
        }
    }
}

/// # Errors
/// [`Error::Option`] unless the number is finite and at least 0.
pub(super) fn not_negative(name: &'static str, value: f64) -> Result<f64> {
    match value >= 0.0 && value.is_finite() {
        true => Ok(value),
        false => {
            let expected = "a finite number of at least 0";
            Err(Error::Option { name, value: short(value), expected })
        }
    }
}

/// # Errors
/// [`Error::Shape`] for a matrix without rows or columns, [`Error::Value`] for a number that is not finite.
pub(super) fn finite(argument: &'static str, matrix: &Matrix<'_>) -> Result<()> {
    let (rows, width) = matrix.dim();
    if rows == 0 || width == 0 {
        return Err(Error::empty_matrix(argument, &[rows, width]));
    }
    let mut row = vec![0.0_f64; width];
    for i in 0..rows {
        matrix.read(i, 0..width, &mut row);
        if let Some(j) = row.iter().position(|x| !x.is_finite()) {
            return Err(Error::not_finite(argument, &[i, j], row[j]));
        }
    }
    Ok(())
}

/// # Errors
/// [`Error::Conflict`] for gradients of anything but the two matrices.
pub(super) fn of_embeddings_alone(gradients: &Gradients<'_>) -> Result<()> {
    let Gradients { bias, logits, temperature, .. } = gradients;
    if bias.is_some() || logits.is_some() || temperature.is_some() {
        return Err(Error::Conflict {
            what: "a loss of embeddings has gradients of hidden and classifier alone; that of the temperature is \
                   returned"
                .into(),
        });
    }
    Ok(())
}

/// As [`finite`], for one number of a list.
pub(super) fn finite_at<T: Element>(argument: &'static str, index: usize, value: T) -> Result<f64> {
    let value = value.to_f64();
    match value.is_finite() {
        true => Ok(value),
        false => Err(Error::not_finite(argument, &[index], value)),
    }
}
