//! 256-bit vectors with fused multiply-add.

use std::arch::x86_64::*;

use super::kernel::Kernel;
use super::vector::{Simd, Vector};

/// The token of AVX2 and FMA: it exists only where the processor has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The token, where the processor has what [`enter`] enables.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

impl Simd for Avx2 {
    type F32 = F32;
    type F64 = F64;
}

/// Runs the kernel compiled for AVX2 and FMA.
#[inline]
pub(super) fn enter<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
    // The features here must be those that `detect` tests.
    #[target_feature(enable = "avx2,fma")]
    fn inner<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
        kernel.run(token)
    }
    // SAFETY: the token exists, so `detect` has seen every feature that `inner` enables.
    unsafe { inner(token, kernel) }
}

/// Calls an intrinsic from a method of a vector.
macro_rules! intrinsic {
    ($name:ident $(::<$constant:tt>)? ($($argument:expr),*)) => {{
        // SAFETY: a vector is made only from the token, whose existence proves the features; what
        // is loaded or stored is a reference to a whole array, at any alignment.
        unsafe { $name $(::<{ $constant }>)? ($($argument),*) }
    }};
}

#[derive(Clone, Copy)]
pub struct F32(__m256);

#[derive(Clone, Copy)]
pub struct F64(__m256d);

impl Vector for F32 {
    type Scalar = f32;
    type Token = Avx2;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(_: Avx2, value: f32) -> Self {
        Self(intrinsic!(_mm256_set1_ps(value)))
    }
    #[inline(always)]
    fn load(_: Avx2, from: &[f32]) -> Self {
        let lanes: &[f32; 8] = from.first_chunk().expect("a whole vector");
        Self(intrinsic!(_mm256_loadu_ps(lanes.as_ptr())))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        let lanes: &mut [f32; 8] = to.first_chunk_mut().expect("a whole vector");
        intrinsic!(_mm256_storeu_ps(lanes.as_mut_ptr(), self.0));
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_add_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_sub_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_mul_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_div_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_max_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(intrinsic!(_mm256_fmadd_ps(self.0, factor.0, term.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        let sign = intrinsic!(_mm256_set1_ps(-0.0));
        Self(intrinsic!(_mm256_andnot_ps(sign, self.0)))
    }
    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        let part = intrinsic!(_mm256_set1_ps(-0.0));
        let bit = intrinsic!(_mm256_and_ps(sign.0, part));
        Self(intrinsic!(_mm256_or_ps(self.abs().0, bit)))
    }
    #[inline(always)]
    fn select_less(a: Self, b: Self, less: Self, otherwise: Self) -> Self {
        let mask = intrinsic!(_mm256_cmp_ps::<_CMP_LT_OQ>(a.0, b.0));
        Self(intrinsic!(_mm256_blendv_ps(otherwise.0, less.0, mask)))
    }
    #[inline(always)]
    fn exp2_of_biased(self) -> Self {
        let part = intrinsic!(_mm256_castps_si256(self.0));
        let bits = intrinsic!(_mm256_slli_epi32::<23>(part));
        let one = intrinsic!(_mm256_set1_epi32(127 << 23));
        let part = intrinsic!(_mm256_add_epi32(bits, one));
        Self(intrinsic!(_mm256_castsi256_ps(part)))
    }
    #[inline(always)]
    fn mantissa_and_exponent(self) -> (Self, Self) {
        let bits = intrinsic!(_mm256_castps_si256(self.0));
        let mask = intrinsic!(_mm256_set1_epi32(0x7f_ffff));
        let part = intrinsic!(_mm256_and_si256(bits, mask));
        let one = intrinsic!(_mm256_set1_epi32(127 << 23));
        let part = intrinsic!(_mm256_or_si256(part, one));
        let mantissa = intrinsic!(_mm256_castsi256_ps(part));
        // The biased exponent is in the last place of 2^23.
        let part = intrinsic!(_mm256_srli_epi32::<23>(bits));
        let round = intrinsic!(_mm256_set1_epi32((127 + 23) << 23));
        let part = intrinsic!(_mm256_or_si256(part, round));
        let part = intrinsic!(_mm256_castsi256_ps(part));
        let offset = intrinsic!(_mm256_set1_ps(8_388_608.0 + 127.0));
        (Self(mantissa), Self(intrinsic!(_mm256_sub_ps(part, offset))))
    }
    #[inline(always)]
    fn nan_mask(self) -> u32 {
        let mask = intrinsic!(_mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0));
        intrinsic!(_mm256_movemask_ps(mask)) as u32
    }
    #[inline(always)]
    fn equal_mask(self, other: Self) -> u32 {
        let mask = intrinsic!(_mm256_cmp_ps::<_CMP_EQ_OQ>(self.0, other.0));
        intrinsic!(_mm256_movemask_ps(mask)) as u32
    }
    #[inline(always)]
    fn greater_mask(self, other: Self) -> u32 {
        let mask = intrinsic!(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0));
        intrinsic!(_mm256_movemask_ps(mask)) as u32
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut lanes = [0.0; 8];
        self.store(&mut lanes);
        let mut half = 8 / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }
    #[inline(always)]
    fn maximum(self) -> f32 {
        let mut lanes = [0.0; 8];
        self.store(&mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

impl Vector for F64 {
    type Scalar = f64;
    type Token = Avx2;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(_: Avx2, value: f64) -> Self {
        Self(intrinsic!(_mm256_set1_pd(value)))
    }
    #[inline(always)]
    fn load(_: Avx2, from: &[f64]) -> Self {
        let lanes: &[f64; 4] = from.first_chunk().expect("a whole vector");
        Self(intrinsic!(_mm256_loadu_pd(lanes.as_ptr())))
    }
    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        let lanes: &mut [f64; 4] = to.first_chunk_mut().expect("a whole vector");
        intrinsic!(_mm256_storeu_pd(lanes.as_mut_ptr(), self.0));
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_add_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_sub_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_mul_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_div_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(intrinsic!(_mm256_max_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(intrinsic!(_mm256_fmadd_pd(self.0, factor.0, term.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        let sign = intrinsic!(_mm256_set1_pd(-0.0));
        Self(intrinsic!(_mm256_andnot_pd(sign, self.0)))
    }
    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        let part = intrinsic!(_mm256_set1_pd(-0.0));
        let bit = intrinsic!(_mm256_and_pd(sign.0, part));
        Self(intrinsic!(_mm256_or_pd(self.abs().0, bit)))
    }
    #[inline(always)]
    fn select_less(a: Self, b: Self, less: Self, otherwise: Self) -> Self {
        let mask = intrinsic!(_mm256_cmp_pd::<_CMP_LT_OQ>(a.0, b.0));
        Self(intrinsic!(_mm256_blendv_pd(otherwise.0, less.0, mask)))
    }
    #[inline(always)]
    fn exp2_of_biased(self) -> Self {
        let part = intrinsic!(_mm256_castpd_si256(self.0));
        let bits = intrinsic!(_mm256_slli_epi64::<52>(part));
        let one = intrinsic!(_mm256_set1_epi64x(1023 << 52));
        let part = intrinsic!(_mm256_add_epi64(bits, one));
        Self(intrinsic!(_mm256_castsi256_pd(part)))
    }
    #[inline(always)]
    fn mantissa_and_exponent(self) -> (Self, Self) {
        let bits = intrinsic!(_mm256_castpd_si256(self.0));
        let mask = intrinsic!(_mm256_set1_epi64x((1 << 52) - 1));
        let part = intrinsic!(_mm256_and_si256(bits, mask));
        let one = intrinsic!(_mm256_set1_epi64x(1023 << 52));
        let part = intrinsic!(_mm256_or_si256(part, one));
        let mantissa = intrinsic!(_mm256_castsi256_pd(part));
        // The biased exponent is in the last place of 2^52.
        let part = intrinsic!(_mm256_srli_epi64::<52>(bits));
        let round = intrinsic!(_mm256_set1_epi64x((1023 + 52) << 52));
        let part = intrinsic!(_mm256_or_si256(part, round));
        let part = intrinsic!(_mm256_castsi256_pd(part));
        let offset = intrinsic!(_mm256_set1_pd(4_503_599_627_370_496.0 + 1023.0));
        (Self(mantissa), Self(intrinsic!(_mm256_sub_pd(part, offset))))
    }
    #[inline(always)]
    fn nan_mask(self) -> u32 {
        let mask = intrinsic!(_mm256_cmp_pd::<_CMP_UNORD_Q>(self.0, self.0));
        intrinsic!(_mm256_movemask_pd(mask)) as u32
    }
    #[inline(always)]
    fn equal_mask(self, other: Self) -> u32 {
        let mask = intrinsic!(_mm256_cmp_pd::<_CMP_EQ_OQ>(self.0, other.0));
        intrinsic!(_mm256_movemask_pd(mask)) as u32
    }
    #[inline(always)]
    fn greater_mask(self, other: Self) -> u32 {
        let mask = intrinsic!(_mm256_cmp_pd::<_CMP_GT_OQ>(self.0, other.0));
        intrinsic!(_mm256_movemask_pd(mask)) as u32
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        let mut lanes = [0.0; 4];
        self.store(&mut lanes);
        let mut half = 4 / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }
    #[inline(always)]
    fn maximum(self) -> f64 {
        let mut lanes = [0.0; 4];
        self.store(&mut lanes);
        lanes.into_iter().fold(f64::NEG_INFINITY, f64::max)
    }
}
