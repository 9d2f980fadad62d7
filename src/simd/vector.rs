//! What a kernel may ask of a vector.

use super::constants::{
    EXP_F32, EXP_F64, ExpConstants, LOG_F32, LOG_F64, LogConstants, NORMAL_F32, NORMAL_F64,
    NormalConstants, REMAINDER_F32, REMAINDER_F64, TANH_F32, TANH_F64, TanhConstants,
};

/// An instruction set, as a token whose existence proves that the processor has it.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Its vector of `f32`.
    type F32: Vector<Scalar = f32, Token = Self>;
    /// Its vector of `f64`.
    type F64: Vector<Scalar = f64, Token = Self>;
}

/// A scalar with its vectors and with the constants of its elementary functions.
pub trait SimdReal: Copy + 'static {
    /// The vector of this scalar on `S`.
    type Vector<S: Simd>: Vector<Scalar = Self, Token = S>;
    /// The constants of `exp` for this scalar.
    const EXP: ExpConstants<Self>;
    /// The constants of `tanh` for this scalar.
    const TANH: TanhConstants<Self>;
    /// The coefficients of `(eˣ − 1 − x)/x²`, from the highest power down.
    const REMAINDER: &'static [Self];
    /// The constants of the logarithm for this scalar.
    const LOG: LogConstants<Self>;
    /// The constants of the normal distribution for this scalar.
    const NORMAL: NormalConstants<Self>;
}

impl SimdReal for f32 {
    type Vector<S: Simd> = S::F32;
    const EXP: ExpConstants<f32> = EXP_F32;
    const TANH: TanhConstants<f32> = TANH_F32;
    const REMAINDER: &'static [f32] = REMAINDER_F32;
    const LOG: LogConstants<f32> = LOG_F32;
    const NORMAL: NormalConstants<f32> = NORMAL_F32;
}

impl SimdReal for f64 {
    type Vector<S: Simd> = S::F64;
    const EXP: ExpConstants<f64> = EXP_F64;
    const TANH: TanhConstants<f64> = TANH_F64;
    const REMAINDER: &'static [f64] = REMAINDER_F64;
    const LOG: LogConstants<f64> = LOG_F64;
    const NORMAL: NormalConstants<f64> = NORMAL_F64;
}

/// A few numbers that are worked on at once.
pub trait Vector: Copy {
    /// What it holds.
    type Scalar: Copy;
    /// The token of its instruction set.
    type Token: Simd;
    /// How many it holds; at most 16.
    const LANES: usize;

    fn splat(token: Self::Token, value: Self::Scalar) -> Self;
    /// The first `LANES` of `from`; panics where there are fewer.
    fn load(token: Self::Token, from: &[Self::Scalar]) -> Self;
    /// Into the first `LANES` of `to`; panics where there are fewer.
    fn store(self, to: &mut [Self::Scalar]);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `self · factor + term`, with one rounding where the instruction set has it.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// The larger; unspecified where one is NaN.
    fn max(self, other: Self) -> Self;
    fn abs(self) -> Self;
    /// The magnitude of `self` with the sign of `sign`.
    fn copy_sign(self, sign: Self) -> Self;
    /// Lane by lane `if a < b { less } else { otherwise }`: a NaN in `a` or `b` takes `otherwise`.
    fn select_less(a: Self, b: Self, less: Self, otherwise: Self) -> Self;
    /// 2 to the integer that the low mantissa bits of `1.5·2^mantissa_bits + k` hold.
    fn exp2_of_biased(self) -> Self;
    /// Of positive normal numbers m and e with `self = m 2^e`, m from 1 to below 2.
    fn mantissa_and_exponent(self) -> (Self, Self);
    /// A bit for each lane that is NaN.
    fn nan_mask(self) -> u32;
    /// A bit for each lane that equals the other's.
    fn equal_mask(self, other: Self) -> u32;
    /// A bit for each lane above the other's.
    fn greater_mask(self, other: Self) -> u32;
    /// The sum of the lanes, in pairs.
    fn sum(self) -> Self::Scalar;
    /// The largest lane; unspecified where one is NaN.
    fn maximum(self) -> Self::Scalar;

    /// All of `from` (fewer than `LANES`), then `fill`.
    #[inline(always)]
    fn load_tail(token: Self::Token, from: &[Self::Scalar], fill: Self::Scalar) -> Self {
        let mut lanes = [fill; 16];
        lanes[..from.len()].copy_from_slice(from);
        Self::load(token, &lanes)
    }

    /// The first lanes into all of `to` (fewer than `LANES`).
    #[inline(always)]
    fn store_tail(self, to: &mut [Self::Scalar], fill: Self::Scalar) {
        let mut lanes = [fill; 16];
        self.store(&mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }
}

/// `value` in every lane.
#[inline(always)]
pub(crate) fn splat<S: Simd, R: SimdReal>(simd: S, value: R) -> R::Vector<S> {
    <R::Vector<S>>::splat(simd, value)
}

/// The vector at `offset`, filled up with zeros where there is no `whole` one.
#[inline(always)]
pub(crate) fn read<S: Simd, R: SimdReal>(
    simd: S,
    from: &[R],
    offset: usize,
    whole: bool,
) -> R::Vector<S> {
    if whole {
        <R::Vector<S>>::load(simd, &from[offset..])
    } else {
        <R::Vector<S>>::load_tail(simd, &from[offset..], R::EXP.zero)
    }
}

/// Runs `$body` with `$x` = each vector of `$slice` in turn, the last filled up with `$fill`.
macro_rules! for_each_vector {
    ($vector:ty, $token:expr, $slice:expr, $fill:expr, |$x:ident, $offset:ident| $body:block) => {
        let slice = $slice;
        let lanes = <$vector>::LANES;
        let whole = slice.len() / lanes * lanes;
        let mut $offset = 0;
        while $offset < whole {
            let $x = <$vector>::load($token, &slice[$offset..]);
            $body
            $offset += lanes;
        }
        if whole < slice.len() {
            let $x = <$vector>::load_tail($token, &slice[whole..], $fill);
            $body
        }
    };
}
pub(crate) use for_each_vector;
