//! Eigenvalues of square matrices without symmetry.

use faer::MatRef;
use ndarray::Array2;

use super::no_convergence;
use crate::Result;

/// The moduli of the complex eigenvalues, in descending order.
pub(crate) fn eigenvalue_moduli(matrix: Array2<f64>) -> Result<Vec<f64>> {
    let n = matrix.nrows();
    assert_eq!(matrix.ncols(), n, "a square");
    let standard = matrix.as_standard_layout();
    // The transpose has the same eigenvalues.
    let square =
        MatRef::from_column_major_slice(standard.as_slice().expect("standard layout"), n, n);
    let values = square.eigenvalues().map_err(|_| no_convergence("eigenvalue decomposition"))?;
    let mut moduli: Vec<f64> = values.iter().map(|z| z.re.hypot(z.im)).collect();
    moduli.sort_unstable_by(|a, b| b.total_cmp(a));
    Ok(moduli)
}
