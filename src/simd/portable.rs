//! The vectors of `wide`: whatever the target was compiled for.

use wide::{f32x8, f64x4, i32x8, i64x4};

use super::vector::{Simd, Vector};

/// The token of the vectors that every target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portable;

impl Simd for Portable {
    type F32 = F32;
    type F64 = F64;
}

#[derive(Clone, Copy)]
pub struct F32(f32x8);

#[derive(Clone, Copy)]
pub struct F64(f64x4);

macro_rules! portable_vector {
    ($name:ident, $inner:ty, $scalar:ty, $integer:ty, $integer_scalar:ty, $lanes:literal,
     $mantissa:literal, $bias:literal) => {
        impl Vector for $name {
            type Scalar = $scalar;
            type Token = Portable;
            const LANES: usize = $lanes;

            #[inline(always)]
            fn splat(_: Portable, value: $scalar) -> Self {
                Self(<$inner>::splat(value))
            }
            #[inline(always)]
            fn load(_: Portable, from: &[$scalar]) -> Self {
                let lanes: [$scalar; $lanes] = *from.first_chunk().expect("a whole vector");
                Self(<$inner>::from(lanes))
            }
            #[inline(always)]
            fn store(self, to: &mut [$scalar]) {
                *to.first_chunk_mut().expect("a whole vector") = self.0.to_array();
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                Self(self.0 * other.0)
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                Self(self.0 / other.0)
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, term: Self) -> Self {
                Self(self.0.mul_add(factor.0, term.0))
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                Self(self.0.fast_max(other.0))
            }
            #[inline(always)]
            fn abs(self) -> Self {
                Self(self.0.abs())
            }
            #[inline(always)]
            fn copy_sign(self, sign: Self) -> Self {
                Self(self.0.abs() | (sign.0 & <$inner>::splat(-0.0)))
            }
            #[inline(always)]
            fn select_less(a: Self, b: Self, less: Self, otherwise: Self) -> Self {
                Self(a.0.simd_lt(b.0).bitselect(less.0, otherwise.0))
            }
            #[inline(always)]
            fn exp2_of_biased(self) -> Self {
                let bits: $integer = bytemuck::cast(self.0);
                let one = <$integer>::splat($bias << $mantissa);
                Self(bytemuck::cast((bits << $mantissa) + one))
            }
            #[inline(always)]
            fn mantissa_and_exponent(self) -> (Self, Self) {
                let bits: $integer = bytemuck::cast(self.0);
                let one = <$integer>::splat($bias << $mantissa);
                let mantissa = (bits & <$integer>::splat((1 << $mantissa) - 1)) | one;
                // The biased exponent is in the last place of 2^mantissa bits.
                let round = <$integer>::splat(($bias + $mantissa) << $mantissa);
                let part: $inner = bytemuck::cast((bits >> $mantissa) | round);
                let offset = ((1_u64 << $mantissa) + $bias) as $scalar;
                (Self(bytemuck::cast(mantissa)), Self(part - <$inner>::splat(offset)))
            }
            #[inline(always)]
            fn nan_mask(self) -> u32 {
                self.0.is_nan().to_bitmask()
            }
            #[inline(always)]
            fn equal_mask(self, other: Self) -> u32 {
                self.0.simd_eq(other.0).to_bitmask()
            }
            #[inline(always)]
            fn greater_mask(self, other: Self) -> u32 {
                self.0.simd_gt(other.0).to_bitmask()
            }
            #[inline(always)]
            fn sum(self) -> $scalar {
                let mut lanes = self.0.to_array();
                let mut half = $lanes / 2;
                while half > 0 {
                    for i in 0..half {
                        lanes[i] += lanes[i + half];
                    }
                    half /= 2;
                }
                lanes[0]
            }
            #[inline(always)]
            fn maximum(self) -> $scalar {
                self.0.to_array().into_iter().fold(<$scalar>::NEG_INFINITY, <$scalar>::max)
            }
        }
    };
}

portable_vector!(F32, f32x8, f32, i32x8, i32, 8, 23, 127);
portable_vector!(F64, f64x4, f64, i64x4, i64, 4, 52, 1023);
