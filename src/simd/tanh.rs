//! The hyperbolic tangent with its derivative, as the softcap needs it.
//!
//! `|x| < 5/8`: `x + x·x²·P(x²)`, `P` minimax. Else `(1 − e) / (1 + e)` with `e = exp(−2|x|)`.
//! The derivative is `4e / (1 + e)²` everywhere, which keeps its digits where `1 − tanh²` has none.

use super::exp::exp;
use super::vector::{Simd, SimdReal, Vector, splat};

/// `(tanh x, 1 − tanh² x)`, lane by lane. NaN gives NaN, ±∞ gives (±1, 0).
#[inline(always)]
pub(crate) fn tanh_with_derivative<S: Simd, R: SimdReal>(
    simd: S,
    x: R::Vector<S>,
) -> (R::Vector<S>, R::Vector<S>) {
    let constants = R::TANH;
    let (one, magnitude) = (splat::<S, R>(simd, R::EXP.one), x.abs());
    let e = exp::<S, R>(simd, magnitude.mul(splat::<S, R>(simd, constants.minus_two)));
    let inverse = one.div(one.add(e));
    let four = splat::<S, R>(simd, constants.four);
    let derivative = four.mul(e).mul(inverse).mul(inverse);
    let large = one.sub(e).mul(inverse);
    let square = x.mul(x);
    let mut p = splat::<S, R>(simd, constants.polynomial[0]);
    for &coefficient in &constants.polynomial[1..] {
        p = p.mul_add(square, splat::<S, R>(simd, coefficient));
    }
    let small = p.mul(square).mul_add(magnitude, magnitude);
    let threshold = splat::<S, R>(simd, constants.threshold);
    let value = <R::Vector<S>>::select_less(magnitude, threshold, small, large);
    (value.copy_sign(x), derivative)
}
