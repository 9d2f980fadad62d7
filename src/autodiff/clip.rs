//! Gradients no longer than a bound.

use super::array::{self, Shared};
use super::lanes;
use crate::element::{Real, compiled};
use crate::error::Result;
use crate::quotient::{exponent, times_power};
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
    let mut norm = squares.sqrt();
    if !(T::FADED..f64::INFINITY).contains(&squares) {
        // The squares may be beyond the type's range, or below it, where their root is not.
        let all = || gradients.iter().flat_map(|gradient| gradient.iter()).map(|g| g.to_f64());
        let power = exponent(all().fold(0.0, |most, g| g.abs().max(most)));
        let squares: f64 = all().map(|g| times_power(g, -power).powi(2)).sum();
        norm = times_power(squares.sqrt(), power);
    }
    if norm.is_finite() && norm > bound {
        // Two factors: one alone may be no normal number of the type where what it gives is.
        let root = T::from_f64(bound.sqrt() / norm.sqrt());
        let factor = T::from_f64(bound / norm);
        let whole = factor.to_f64() >= T::FADED;
        for gradient in gradients {
            lanes::for_every(isa, array::slice_mut(gradient), |g| match whole {
                true => g * factor,
                false => g * root * root,
            });
        }
    }
    Ok(norm)
}
