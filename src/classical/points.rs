//! Rows of features, checked and widened.

use ndarray::ArrayView2;

use crate::element::Element;
use crate::error::{Error, Result};
use crate::matrix::{Matrix, each};
use crate::sorting::sorted_places;

/// Beyond this a difference of two numbers, or the length of one in many dimensions, may overflow.
const TOO_LARGE: f64 = f64::from_bits((1023 + 960) << 52);

/// What brings every number below [`TOO_LARGE`].
const SMALLER: f64 = f64::from_bits((1023 - 64) << 52);

/// Finite numbers in rows of one width, at least one of them.
pub(super) struct Points {
    values: Vec<f64>,
    width: usize,
}

impl Points {
    /// A copy of `matrix`, in C order.
    pub fn new(argument: &'static str, matrix: Matrix<'_>) -> Result<Self> {
        each!(matrix, Matrix, view => Self::of_view(argument, view))
    }

    fn of_view<T: Element>(argument: &'static str, view: ArrayView2<'_, T>) -> Result<Self> {
        let (rows, width) = view.dim();
        if rows == 0 || width == 0 {
            return Err(Error::empty_matrix(argument, &[rows, width]));
        }
        let mut values = Vec::new();
        values
            .try_reserve_exact(view.len())
            .map_err(|_| Error::TooLarge { what: format!("a copy of {argument} in f64") })?;
        values.extend(view.iter().map(|value| value.to_f64()));
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::not_finite(argument, &[at / width, at % width], values[at]));
        }
        Ok(Self { values, width })
    }

    /// These rows, in this order.
    pub fn select(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|&row| self.row(row)).copied().collect();
        Self { values, width: self.width }
    }

    /// Rows of two arrays, side by side.
    pub fn beside(&self, other: &Self) -> Self {
        let rows = self.rows().zip(other.rows());
        let values = rows.flat_map(|(left, right)| left.iter().chain(right)).copied().collect();
        Self { values, width: self.width + other.width }
    }

    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.width..][..self.width]
    }

    pub fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }
}

/// Shrinks all points alike, where distances between them might overflow; the logarithm of what
/// distances must be multiplied by then.
pub(super) fn shrink<const COUNT: usize>(all: [&mut Points; COUNT]) -> f64 {
    let large = |points: &&mut Points| points.values.iter().any(|value| value.abs() > TOO_LARGE);
    if !all.iter().any(large) {
        return 0.0;
    }
    for value in all.into_iter().flat_map(|points| &mut points.values) {
        *value *= SMALLER;
    }
    -SMALLER.ln()
}

/// Refuses a number of neighbours that `rows` points do not have.
pub(super) fn check_neighbours(k: usize, rows: usize) -> Result<()> {
    if k == 0 || k >= rows {
        return Err(Error::Option {
            name: "k",
            value: k.to_string(),
            expected: "at least 1 and less than the number of rows",
        });
    }
    Ok(())
}

/// Refuses labels that are not one for each row.
pub(super) fn check_labels(labels: &[i64], rows: usize) -> Result<()> {
    if labels.len() != rows {
        return Err(Error::Shape {
            argument: "labels",
            found: vec![labels.len()],
            expected: format!("[{rows}], one for each row of the features"),
        });
    }
    Ok(())
}

/// The rows of each label, labels in ascending order.
pub(super) fn rows_by_label(labels: &[i64]) -> Vec<Vec<usize>> {
    let rows = sorted_places(labels.len(), |a, b| labels[a].cmp(&labels[b]));
    rows.chunk_by(|&a, &b| labels[a] == labels[b]).map(<[usize]>::to_vec).collect()
}
