//! The mean of the squares.

use ndarray::Array2;

use super::given::{Labels, labels, wide};
use crate::error::Result;
use crate::matrix::Matrix;

/// The mean squared error of predictions, such as the cosines of pairs of sentences, with its gradient.
///
/// ```text
/// L = mean of (x − y)²        ∂L/∂x = 2 (x − y) / (N C)
/// ```
///
/// Cases in `conformance/losses.jsonl`: `mean_squared_error`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::binary::SquaredError;
/// let found = SquaredError::of(&arr2(&[[1.0_f64, 0.5]]), &arr2(&[[0.0, 0.5]]))?;
/// assert_eq!((found.value, found.gradient), (0.5, arr2(&[[1.0, 0.0]])));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SquaredError {
    /// L.
    pub value: f64,
    /// `[N,C]` by the predictions.
    pub gradient: Array2<f64>,
}

impl SquaredError {
    /// Of predictions `[N,C]` with labels `[N,C]`. The example is above.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) where the shapes do not go together;
    /// [`Error::Value`](crate::Error::Value) for a label that is not finite.
    pub fn of<'a, 'b>(
        predictions: impl Into<Matrix<'a>>,
        labels_of: impl Into<Matrix<'b>>,
    ) -> Result<Self> {
        let predictions = wide("the predictions", predictions.into())?;
        let labels = labels("labels", labels_of.into(), predictions.dim(), Labels::Real)?;
        let count = predictions.len() as f64;
        let apart = predictions - labels;
        let value = apart.iter().map(|d| d * d).sum::<f64>() / count;
        Ok(Self { value, gradient: apart.mapv(|d| 2.0 * (d / count)) })
    }
}
