//! What two variables tell about each other, from their joint distribution.

use ndarray::ArrayView2;

use super::masses::{Sum, check_masses};
use super::unit::Unit;
use crate::error::{Error, Result};

/// The mutual information of two variables with this joint distribution `[n,m]`, never below 0.
///
/// ```text
/// I(X;Y) = Σ p(x,y) ln(p(x,y) / (p(x) p(y)))
/// ```
///
/// It is summed as p ln(p/q) − p + q with q = p(x) p(y), whose terms are never negative: what variables that are
/// nearly independent tell has its digits too, where H(X) + H(Y) − H(X,Y) has none.
///
/// Cases in `conformance/geometry.jsonl`: `joint_mutual_information`.
///
/// ```
/// use surprisal::coupling::{Unit, mutual_information};
/// let alike = ndarray::arr2(&[[0.5, 0.0], [0.0, 0.5]]);
/// assert_eq!(mutual_information(alike.view(), Unit::Bits)?, 1.0);
/// let independent = ndarray::arr2(&[[0.25, 0.25], [0.25, 0.25]]);
/// assert_eq!(mutual_information(independent.view(), Unit::Bits)?, 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] for a matrix without rows or columns; [`Error::Value`] for an entry that is negative or not finite;
/// [`Error::Conflict`] where they do not sum to 1 within 1e-9.
pub fn mutual_information(joint: ArrayView2<'_, f64>, unit: Unit) -> Result<f64> {
    let (rows, columns) = joint.dim();
    if rows == 0 || columns == 0 {
        return Err(Error::empty_matrix("joint", &[rows, columns]));
    }
    let entries = joint.indexed_iter().map(|((i, j), &p)| (vec![i, j], p));
    check_masses("joint", "joint", entries)?;
    let of_rows: Vec<f64> = joint.rows().into_iter().map(total).collect();
    let of_columns: Vec<f64> = joint.columns().into_iter().map(total).collect();
    let cells = joint.indexed_iter().map(|((i, j), &p)| (p, of_rows[i], of_columns[j]));
    Ok(unit.of_nats(of_cells(cells)))
}

/// The sum of the terms of these cells, each with the masses of its row and its column.
fn of_cells(cells: impl Iterator<Item = (f64, f64, f64)>) -> f64 {
    cells.map(|(p, row, column)| divergence(p, row, column)).collect::<Sum>().value()
}

fn total(line: ndarray::ArrayView1<'_, f64>) -> f64 {
    line.iter().copied().collect::<Sum>().value()
}

/// p ln(p/q) − p + q for q = row·column.
fn divergence(p: f64, row: f64, column: f64) -> f64 {
    let q = row * column;
    if p == 0.0 {
        return q;
    }
    let x = (p - q) / q;
    if x.abs() > 0.25 || q < f64::MIN_POSITIVE {
        // The quotient in two steps: the product may be below all numbers, and what a column below the least normal
        // number divides above them.
        let logarithm = match column < f64::MIN_POSITIVE {
            true => (p / row).ln() - column.ln(),
            false => (p / row / column).ln(),
        };
        return (p * logarithm - p + q).max(0.0);
    }
    // q·((1 + x) ln(1 + x) − x) = q·Σ (−x)^k/(k (k−1)) from k = 2: at ¼ the 26th term is below 2⁻⁵³ of the first.
    let series = (2..=26).rev().fold(0.0, |sum, k| 1.0 / f64::from(k * (k - 1)) - x * sum);
    q * x * x * series
}
