//! Dense linear algebra in `f64`, through `faer`.
//!
//! `faer` divides its loops by the number of threads: the last bits of what is computed here may
//! differ between pools of different sizes.

mod bidiagonal;
mod general;
mod singular;
mod symmetric;
mod triangular;

pub(crate) use general::eigenvalue_moduli;
pub(crate) use singular::{singular_values, singular_values_in_place};
pub(crate) use symmetric::{symmetric_eigen, symmetric_eigenvalues};
pub(crate) use triangular::triangular_factor;

use faer::Par;
use faer::dyn_stack::{MemBuffer, StackReq};

use crate::{Error, Result};

/// As many threads as the ambient pool has.
pub(crate) fn parallelism() -> Par {
    #[cfg(feature = "parallel")]
    if crate::parallel::threads() > 1 {
        return Par::rayon(crate::parallel::threads());
    }
    Par::Seq
}

/// Scratch memory of an algorithm.
fn scratch(request: StackReq) -> Result<MemBuffer> {
    MemBuffer::try_new(request).map_err(|_| Error::TooLarge {
        what: format!("a workspace of {} bytes", request.size_bytes()),
    })
}

/// So many zeros, or the error that they do not fit.
pub(crate) fn zeros(rows: usize, columns: usize) -> Result<Vec<f64>> {
    let too_large = || Error::TooLarge { what: format!("a matrix of {rows}×{columns} f64") };
    let length = rows.checked_mul(columns).ok_or_else(too_large)?;
    let mut zeros = Vec::new();
    zeros.try_reserve_exact(length).map_err(|_| too_large())?;
    zeros.resize(length, 0.0);
    Ok(zeros)
}

fn no_convergence(what: &'static str) -> Error {
    Error::Conflict { what: format!("the {what} did not converge, expected finite numbers") }
}

/// Σ x·y in eight running sums.
pub(crate) fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (xs, ys) = (x.chunks_exact(8), y.chunks_exact(8));
    let tail: f64 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in xs.zip(ys) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (b + f)) + ((c + g) + (d + h)) + tail
}
