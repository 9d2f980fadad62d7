//! Embeddings brought to length 1, and the way back of their gradient.

use ndarray::{Array2, ArrayView2};

use crate::element::Real;
use crate::error::{Error, Result};
use crate::loss::gradients::Sink;
use crate::matrix::{Matrix, MatrixMut};
use crate::writing::put_row;

/// u_i = x_i/‖x_i‖.
pub(super) struct UnitRows<R> {
    rows: Array2<R>,
    lengths: Vec<f64>,
}

impl<R: Real> UnitRows<R> {
    /// # Errors
    /// [`Error::Value`] for a row of zeros. The numbers are finite.
    pub(super) fn of(argument: &'static str, matrix: &Matrix<'_>) -> Result<Self> {
        let (count, width) = matrix.dim();
        let mut rows = Array2::from_elem((count, width), R::ZERO);
        let mut lengths = Vec::with_capacity(count);
        let mut row = vec![0.0_f64; width];
        for (i, mut to) in rows.rows_mut().into_iter().enumerate() {
            matrix.read(i, 0..width, &mut row);
            // Relative to the largest, so that no square leaves the range.
            let largest = row.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
            if largest == 0.0 {
                return Err(Error::Value {
                    argument,
                    index: vec![i],
                    value: "all zeros".into(),
                    expected: "a row with a direction",
                });
            }
            let relative = row.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt();
            for (to, x) in to.iter_mut().zip(&row) {
                *to = R::from_f64(x / largest / relative);
            }
            lengths.push(largest * relative);
        }
        Ok(Self { rows, lengths })
    }

    pub(super) fn view(&self) -> ArrayView2<'_, R> {
        self.rows.view()
    }

    /// dx_i = (du_i − u_i (u_i·du_i))/‖x_i‖, into the caller's array.
    pub(super) fn put_gradient(&self, by_rows: &Array2<R>, to: &mut Sink<MatrixMut<'_>>) {
        let mut row = vec![R::ZERO; self.rows.dim().1];
        for (i, (u, g)) in self.rows.rows().into_iter().zip(by_rows.rows()).enumerate() {
            let along: f64 = u.iter().zip(g).map(|(u, g)| u.to_f64() * g.to_f64()).sum();
            for ((to, u), g) in row.iter_mut().zip(u).zip(g) {
                *to = R::from_f64((g.to_f64() - u.to_f64() * along) / self.lengths[i]);
            }
            put_row(&mut to.array, i, 0..row.len(), &row, to.accumulate);
        }
    }
}
