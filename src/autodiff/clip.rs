//! Gradients no longer than a bound.

use super::array::{self, Shared};
use super::lanes;
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::simd::Isa;

/// Scales all gradients by min(1, bound/‖g‖), with ‖g‖ the Euclidean norm of all of them together
/// (Pascanu, Mikolov and Bengio, 2013), and gives ‖g‖ as it was.
///
/// Where ‖g‖ is NaN or infinite nothing is changed: look at it before a step is taken.
///
/// ```
/// use surprisal::autodiff::{Shared, clip_gradient_norm};
/// let (mut a, mut b) = (Shared::from_elem(vec![1], 3.0), Shared::from_elem(vec![1], 4.0));
/// assert_eq!(clip_gradient_norm([&mut a, &mut b], 1.0)?, 5.0);
/// assert!((a[[0]] - 0.6_f64).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
///
/// # Errors
/// [`Error::Option`](crate::Error::Option) for a bound that is not above 0.
pub fn clip_gradient_norm<'a, T: Real>(
    gradients: impl IntoIterator<Item = &'a mut Shared<T>>,
    bound: f64,
) -> Result<f64> {
    let gradients = gradients.into_iter().collect();
    compiled!(['a] T: (Vec<&'a mut Shared<T>>, f64) => Result<f64>,
        |(gradients, bound)| clip(gradients, bound), (gradients, bound))
}

fn clip<T: Real>(mut gradients: Vec<&mut Shared<T>>, bound: f64) -> Result<f64> {
    super::check_option("bound", bound, bound > 0.0, "a number above 0")?;
    let isa = Isa::current()?;
    let mut squares = 0.0;
    for gradient in &mut gradients {
        **gradient = lanes::standard(std::mem::take(*gradient));
        squares += lanes::total_of_squares(isa, array::slice(gradient));
    }
    if !squares.is_finite() {
        // The squares may be beyond the type's range where their root is not.
        let squares_of = |of: &Shared<T>| -> f64 { of.iter().map(|g| g.to_f64().powi(2)).sum() };
        squares = gradients.iter().map(|gradient| squares_of(gradient)).sum();
    }
    let norm = squares.sqrt();
    if norm.is_finite() && norm > bound {
        let factor = T::from_f64(bound / norm);
        for gradient in gradients {
            lanes::for_every(isa, array::slice_mut(gradient), |g| g * factor);
        }
    }
    Ok(norm)
}
