//! Eigenvalues of symmetric matrices.

use faer::diag::{DiagMut, DiagRef};
use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::evd::tridiag::{tridiag_in_place, tridiag_in_place_scratch};
use faer::linalg::evd::{
    ComputeEigenvectors, SelfAdjointEvdParams, self_adjoint_evd, self_adjoint_evd_scratch,
    tridiagonal_self_adjoint_evd,
};
use faer::{Auto, MatMut, MatRef, Par, Spec};
use ndarray::Array2;

use super::{no_convergence, parallelism, scratch, zeros};
use crate::Result;

const WHAT: &str = "eigenvalue decomposition";

/// The side from which on threads are worth their barriers.
const PARALLEL_FROM: usize = 256;

/// The eigenvalues of a symmetric matrix in descending order.
///
/// The matrix is reduced to tridiagonal form where it stands: beside it there are only vectors. In
/// standard layout its upper triangle is read, else its lower one.
pub(crate) fn symmetric_eigenvalues(matrix: Array2<f64>) -> Result<Vec<f64>> {
    let n = matrix.nrows();
    assert_eq!(matrix.ncols(), n, "a square");
    let mut values = zeros(n, 1)?;
    if n == 0 {
        return Ok(values);
    }
    let mut rows = if matrix.is_standard_layout() {
        matrix.into_raw_vec_and_offset().0
    } else {
        matrix.iter().copied().collect()
    };
    let par = if n < PARALLEL_FROM { Par::Seq } else { parallelism() };
    let params = <SelfAdjointEvdParams as Auto<f64>>::auto();
    let mut reflections = zeros(n.max(2) - 1, 1)?;
    let request = tridiag_in_place_scratch::<f64>(n, par, params.tridiag.into());
    let mut memory = scratch(request)?;
    // Symmetric: rows may stand for columns.
    let mut square = MatMut::from_column_major_slice_mut(&mut rows, n, n);
    tridiag_in_place(
        square.as_mut(),
        MatMut::from_row_major_slice_mut(&mut reflections[..n - 1], 1, n - 1),
        par,
        MemStack::new(&mut memory),
        params.tridiag.into(),
    );
    let diagonal: Vec<f64> = (0..n).map(|i| square[(i, i)]).collect();
    let mut beside: Vec<f64> = (1..n).map(|i| square[(i, i - 1)]).collect();
    beside.push(0.0);
    drop(rows);
    tridiagonal_values(&diagonal, &beside, &mut values)?;
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(values)
}

fn tridiagonal_values(diagonal: &[f64], beside: &[f64], to: &mut [f64]) -> Result<()> {
    let n = diagonal.len();
    let mut memory = MemBuffer::try_new(StackReq::new::<f64>(4 * n + 64))
        .map_err(|_| crate::Error::TooLarge { what: format!("a workspace of {n} rows") })?;
    tridiagonal_self_adjoint_evd(
        DiagRef::from_slice(diagonal),
        DiagRef::from_slice(beside),
        DiagMut::from_slice_mut(to),
        None,
        Par::Seq,
        MemStack::new(&mut memory),
        Spec::<SelfAdjointEvdParams, f64>::default(),
    )
    .map_err(|_| no_convergence(WHAT))
}

/// The eigenvalues in descending order, and the eigenvectors in the columns.
pub(crate) fn symmetric_eigen(matrix: Array2<f64>) -> Result<(Vec<f64>, Array2<f64>)> {
    let n = matrix.nrows();
    assert_eq!(matrix.ncols(), n, "a square");
    let mut values = zeros(n, 1)?;
    let mut vectors = zeros(n, n)?;
    if n > 0 {
        let standard = matrix.as_standard_layout();
        let rows = standard.as_slice().expect("standard layout");
        let par = if n < PARALLEL_FROM { Par::Seq } else { parallelism() };
        let params: Spec<_, f64> = Spec::default();
        let yes = ComputeEigenvectors::Yes;
        let mut memory = scratch(self_adjoint_evd_scratch::<f64>(n, yes, par, params))?;
        self_adjoint_evd(
            MatRef::from_column_major_slice(rows, n, n),
            DiagMut::from_slice_mut(&mut values),
            Some(MatMut::from_column_major_slice_mut(&mut vectors, n, n)),
            par,
            MemStack::new(&mut memory),
            params,
        )
        .map_err(|_| no_convergence(WHAT))?;
    }
    values.reverse();
    // Row i of what was written in columns is the vector of the i-th smallest eigenvalue.
    let ascending = Array2::from_shape_vec((n, n), vectors).expect("a square");
    Ok((values, ascending.slice(ndarray::s![..;-1, ..]).t().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path graph's second difference: λ_k = 2 − 2 cos(kπ/(n+1)).
    fn second_difference(n: usize) -> Array2<f64> {
        Array2::from_shape_fn((n, n), |(i, j)| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        })
    }

    #[test]
    fn eigenvalues_of_the_path() {
        for n in [0, 1, 2, 3, 50, 300] {
            let values = symmetric_eigenvalues(second_difference(n)).unwrap();
            assert_eq!(values.len(), n);
            for (k, value) in (1..=n).rev().zip(values) {
                let angle = k as f64 * std::f64::consts::PI / (n as f64 + 1.0);
                assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-13 * (n + 1) as f64);
            }
        }
    }

    #[test]
    fn eigenvectors_belong_to_their_eigenvalues() {
        let n = 37;
        let matrix = Array2::from_shape_fn((n, n), |(i, j)| 1.0 / (1 + i + j) as f64);
        let (values, vectors) = symmetric_eigen(matrix.clone()).unwrap();
        let alone = symmetric_eigenvalues(matrix.t().to_owned()).unwrap();
        let product = matrix.dot(&vectors);
        for k in 0..n {
            assert!((values[k] - alone[k]).abs() < 1e-14);
            for i in 0..n {
                assert!((product[[i, k]] - values[k] * vectors[[i, k]]).abs() < 1e-14);
            }
        }
    }
}
