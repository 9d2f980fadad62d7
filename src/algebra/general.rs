//! Eigenvalues of square matrices without symmetry.

use faer::diag::DiagMut;
use faer::dyn_stack::MemStack;
use faer::linalg::evd::{ComputeEigenvectors, EvdParams, evd_real, evd_scratch};
use faer::{MatRef, Spec};
use ndarray::Array2;

use super::{no_convergence, parallelism, scratch, zeros};
use crate::Result;

/// The moduli of the complex eigenvalues, in descending order.
pub(crate) fn eigenvalue_moduli(matrix: Array2<f64>) -> Result<Vec<f64>> {
    let n = matrix.nrows();
    assert_eq!(matrix.ncols(), n, "a square");
    let (mut real, mut imaginary) = (zeros(n, 1)?, zeros(n, 1)?);
    if n > 0 {
        let standard = matrix.as_standard_layout();
        let rows = standard.as_slice().expect("standard layout");
        let (par, none) = (parallelism(), ComputeEigenvectors::No);
        let params: Spec<EvdParams, f64> = Spec::default();
        let mut memory = scratch(evd_scratch::<f64>(n, none, none, par, params))?;
        evd_real(
            // The transpose has the same eigenvalues.
            MatRef::from_column_major_slice(rows, n, n),
            DiagMut::from_slice_mut(&mut real),
            DiagMut::from_slice_mut(&mut imaginary),
            None,
            None,
            par,
            MemStack::new(&mut memory),
            params,
        )
        .map_err(|_| no_convergence("eigenvalue decomposition"))?;
    }
    let mut moduli: Vec<f64> = real.iter().zip(&imaginary).map(|(re, im)| re.hypot(*im)).collect();
    moduli.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(moduli)
}
