//! Gradients against central differences.

use ndarray::{ArrayD, Dimension, IxDyn};

use super::array::{self, Shared};
use super::lanes;
use super::tape::{Tape, Variable};
use crate::error::Result;

/// The worst entry of a [`gradcheck`].
///
/// ```
/// use surprisal::autodiff::gradcheck;
/// let x = ndarray::arr1(&[0.5, 2.0]).into_dyn();
/// let worst = gradcheck(|_, x| Ok(x[0].exp()), &[x])?;
/// println!("{:e} at {:?} of input {}", worst.error, worst.index, worst.input);
/// assert!(worst.error < 1e-9);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GradientCheck {
    /// Which input it is of.
    pub input: usize,
    /// Where it stands there.
    pub index: Vec<usize>,
    /// The tape's derivative.
    pub analytic: f64,
    /// The difference quotient.
    pub numeric: f64,
    /// |analytic − numeric|, relative to the largest of both, of a thousandth of the input's largest
    /// difference quotient, and of a ten-thousandth of Σ |w·f|, whose rounding the quotients have in
    /// them. NaN where either is.
    pub error: f64,
}

/// Compares the tape's derivatives of Σ w·f(inputs) with difference quotients, at every element of every
/// input, and gives the worst one; the numbers w, from −3/2 to 3/2, differ from element to element.
///
/// A quotient is taken over five points, `(8(f₁ − f₋₁) − (f₂ − f₋₂))/12h` with `f_k = f(x + kh)` and
/// h = 1e-3·max(|x|, 1/4). For a smooth f of order 1 it is right to about 1e-11; where f has a kink within
/// 2h, it is not.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::autodiff::gradcheck;
/// let x = arr2(&[[0.3, -1.2], [0.7, 2.0]]).into_dyn();
/// let w = arr2(&[[1.0], [-0.5]]).into_dyn();
/// let worst = gradcheck(|_, inputs| Ok(inputs[0].matmul(inputs[1])?.tanh()), &[x, w])?;
/// assert!(worst.error < 1e-8, "{worst:?}");
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// Those of `f`, and of [`Variable::backward`] where its value depends on no input.
pub fn gradcheck<F>(f: F, inputs: &[ArrayD<f64>]) -> Result<GradientCheck>
where
    F: for<'t> Fn(&'t Tape<f64>, &[Variable<'t, f64>]) -> Result<Variable<'t, f64>>,
{
    let mut inputs: Vec<Shared<f64>> =
        inputs.iter().map(|input| lanes::standard(input.to_shared())).collect();
    let tape = Tape::new()?;
    let leaves: Vec<_> = inputs.iter().map(|input| tape.leaf(input)).collect();
    let value = f(&tape, &leaves)?;
    let weights = weights(&value.shape());
    let size: f64 = value.value().iter().zip(&weights).map(|(y, w)| (y * w).abs()).sum();
    let gradients = value.backward_with(weights.clone())?;
    let gradients: Vec<_> = leaves.iter().map(|&leaf| gradients.of(leaf)).collect();

    let quotient_at = |inputs: &mut Vec<Shared<f64>>, input: usize, at: usize| -> Result<f64> {
        let x = array::slice(&inputs[input])[at];
        let h = 1e-3 * x.abs().max(0.25);
        let mut moved = |k: f64| -> Result<f64> {
            array::slice_mut(&mut inputs[input])[at] = x + k * h;
            let tape = Tape::new()?;
            let constants: Vec<_> = inputs.iter().map(|input| tape.constant(input)).collect();
            let value = f(&tape, &constants)?.value();
            Ok(value.iter().zip(&weights).map(|(y, w)| y * w).sum())
        };
        let (near, far) = (moved(1.0)? - moved(-1.0)?, moved(2.0)? - moved(-2.0)?);
        array::slice_mut(&mut inputs[input])[at] = x;
        Ok((8.0 * near - far) / (12.0 * h))
    };
    let mut worst =
        GradientCheck { input: 0, index: Vec::new(), analytic: 0.0, numeric: 0.0, error: 0.0 };
    for input in 0..inputs.len() {
        let count = inputs[input].len();
        let quotients: Result<Vec<f64>> =
            (0..count).map(|at| quotient_at(&mut inputs, input, at)).collect();
        let quotients = quotients?;
        let largest = quotients.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        let least = (1e-3 * largest).max(1e-4 * size);
        for (at, (index, _)) in inputs[input].indexed_iter().enumerate() {
            let numeric = quotients[at];
            let analytic = gradients[input].as_ref().map_or(0.0, |gradient| gradient[&index]);
            let scale = numeric.abs().max(analytic.abs()).max(least);
            let error = match (numeric - analytic).abs() {
                0.0 => 0.0,
                difference => difference / scale,
            };
            // A NaN is worse than any number.
            if error > worst.error || (error.is_nan() && !worst.error.is_nan()) {
                let index = index.as_array_view().to_vec();
                worst = GradientCheck { input, index, analytic, numeric, error };
            }
        }
    }
    Ok(worst)
}

/// Numbers from −3/2 to −1/2 and from 1/2 to 3/2 without a pattern, so that no two derivatives cancel.
fn weights(shape: &[usize]) -> Shared<f64> {
    let mut generator = super::Generator::new(1);
    Shared::from_shape_simple_fn(IxDyn(shape), || {
        let x = 2.0 * generator.uniform() - 1.0;
        x + 0.5_f64.copysign(x)
    })
}
