//! Eigenvalues of symmetric matrices.

use faer::diag::DiagMut;
use faer::dyn_stack::MemStack;
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{MatMut, MatRef, Spec};
use ndarray::Array2;

use super::{no_convergence, parallelism, scratch, zeros};
use crate::Result;

/// The eigenvalues of a symmetric matrix, of which one triangle is read, in descending order.
pub(crate) fn symmetric_eigenvalues(matrix: Array2<f64>) -> Result<Vec<f64>> {
    decompose(&matrix, None)
}

/// The eigenvalues in descending order, and the eigenvectors in the columns.
pub(crate) fn symmetric_eigen(matrix: Array2<f64>) -> Result<(Vec<f64>, Array2<f64>)> {
    let n = matrix.nrows();
    let mut vectors = zeros(n, n)?;
    let values = decompose(&matrix, Some(&mut vectors))?;
    // Row i of what was written in columns is the vector of the i-th smallest eigenvalue.
    let ascending = Array2::from_shape_vec((n, n), vectors).expect("a square");
    Ok((values, ascending.slice(ndarray::s![..;-1, ..]).t().to_owned()))
}

fn decompose(matrix: &Array2<f64>, vectors: Option<&mut [f64]>) -> Result<Vec<f64>> {
    let n = matrix.nrows();
    let mut values = zeros(n, 1)?;
    if n == 0 {
        return Ok(values);
    }
    let standard = matrix.as_standard_layout();
    let rows = standard.as_slice().expect("standard layout");
    let par = parallelism();
    let params: Spec<_, f64> = Spec::default();
    let wanted = match vectors {
        Some(_) => ComputeEigenvectors::Yes,
        None => ComputeEigenvectors::No,
    };
    let mut memory = scratch(self_adjoint_evd_scratch::<f64>(n, wanted, par, params))?;
    // Symmetric: rows may stand for columns.
    let matrix = MatRef::from_column_major_slice(rows, n, n);
    let to = DiagMut::from_slice_mut(&mut values);
    let vectors = vectors.map(|vectors| MatMut::from_column_major_slice_mut(vectors, n, n));
    self_adjoint_evd(matrix, to, vectors, par, MemStack::new(&mut memory), params)
        .map_err(|_| no_convergence("eigenvalue decomposition"))?;
    values.reverse();
    Ok(values)
}
