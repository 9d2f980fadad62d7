//! The hyperbolic tangent with its derivative, as the softcap needs it.
//!
//! `|x| < 5/8`: `x + x·x²·P(x²)`, `P` minimax. Else `(1 − e) / (1 + e)` with `e = exp(−2|x|)`.
//! The derivative is `4e / (1 + e)²` everywhere, which keeps its digits where `1 − tanh²` has none.

use super::exp::exp;
use super::vector::{Simd, SimdReal, Vector, splat};

/// The constants of one scalar type.
pub struct TanhConstants<T: 'static> {
    minus_two: T,
    four: T,
    /// Below it the polynomial serves.
    threshold: T,
    /// The coefficients of `P`, from the highest power down.
    polynomial: &'static [T],
}

pub(super) const F32: TanhConstants<f32> = TanhConstants {
    minus_two: -2.0,
    four: 4.0,
    threshold: 0.625,
    polynomial: &[
        0.002_144_026_8,
        -0.008_178_869,
        0.021_701_46,
        -0.053_946_94,
        0.133_332_07,
        -0.333_333_3,
    ],
};

pub(super) const F64: TanhConstants<f64> = TanhConstants {
    minus_two: -2.0,
    four: 4.0,
    threshold: 0.625,
    polynomial: &[
        -2.274831161046212e-06,
        1.1803004451852002e-05,
        -3.6635770239498515e-05,
        9.575835174108393e-05,
        -0.00023877416141082264,
        0.0005899502621648326,
        -0.0014558225140651156,
        0.003592126763361975,
        -0.008863235437574495,
        0.02186948853185811,
        -0.05396825396813652,
        0.13333333333333172,
        -0.3333333333333333,
    ],
};

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
