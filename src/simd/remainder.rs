//! What the exponential has beyond its tangent: `(eˣ − 1 − x)/x²`.
//!
//! For `|x| ≤ 1`, by the series `Σ xᵏ/(k+2)!`: `eˣ − 1 − x` itself has no digits left where x is small. Within
//! 4 units in the last place (tested over a dense sample).

use super::vector::{Simd, SimdReal, Vector, splat};

/// `(eˣ − 1 − x)/x²` for `|x| ≤ 1`, lane by lane; ½ at 0.
#[inline(always)]
pub(crate) fn remainder<S: Simd, R: SimdReal>(simd: S, x: R::Vector<S>) -> R::Vector<S> {
    let mut sum = splat::<S, R>(simd, R::REMAINDER[0]);
    for &coefficient in &R::REMAINDER[1..] {
        sum = sum.mul_add(x, splat::<S, R>(simd, coefficient));
    }
    sum
}
