//! Logits with their labels, checked.

use ndarray::Array2;

use crate::error::{Error, Result, short};
use crate::matrix::Matrix;

/// What a label may be.
#[derive(Clone, Copy)]
pub(super) enum Labels {
    /// Any finite number.
    Real,
    /// From 0 to 1.
    Shares,
}

/// A matrix in f64, of one row and one column at least.
///
/// # Errors
/// [`Error::Shape`] where it has none.
pub(super) fn wide(argument: &'static str, matrix: Matrix<'_>) -> Result<Array2<f64>> {
    let (rows, columns) = matrix.dim();
    match rows == 0 || columns == 0 {
        true => Err(Error::empty_matrix(argument, &[rows, columns])),
        false => Ok(Array2::from_shape_fn((rows, columns), |(i, j)| matrix.at(i, j))),
    }
}

/// Labels in f64.
///
/// # Errors
/// [`Error::Shape`] where they have not that of the logits; [`Error::Value`] for what is no label.
pub(super) fn labels(
    argument: &'static str,
    matrix: Matrix<'_>,
    shape: (usize, usize),
    domain: Labels,
) -> Result<Array2<f64>> {
    let labels = wide(argument, matrix)?;
    if labels.dim() != shape {
        return Err(Error::Shape {
            argument,
            found: labels.shape().to_vec(),
            expected: format!("[{}, {}], a label for each logit", shape.0, shape.1),
        });
    }
    let expected = match domain {
        Labels::Real => "a finite number",
        Labels::Shares => "a number from 0 to 1",
    };
    let good = |y: f64| match domain {
        Labels::Real => y.is_finite(),
        Labels::Shares => (0.0..=1.0).contains(&y),
    };
    match labels.indexed_iter().find(|(_, y)| !good(**y)) {
        Some(((i, j), y)) => {
            Err(Error::Value { argument, index: vec![i, j], value: short(*y), expected })
        }
        None => Ok(labels),
    }
}
