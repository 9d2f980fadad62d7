//! 512-bit vectors.

use std::arch::x86_64::*;
use std::hint::black_box;

use super::kernel::Kernel;
use super::vector::{Simd, Vector};

/// The token of AVX-512 F, BW, DQ and VL: it exists only where the processor has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512 {
    bf16: bool,
}

impl Avx512 {
    /// The token, where the processor has what [`enter`] enables.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl"))
        .then(|| Self { bf16: is_x86_feature_detected!("avx512bf16") })
    }

    /// Whether the processor has products of bf16 too.
    pub(crate) fn has_bf16(self) -> bool {
        self.bf16
    }
}

impl Simd for Avx512 {
    type F32 = F32;
    type F64 = F64;
}

/// Runs the kernel compiled for AVX-512 F, BW, DQ and VL.
#[inline]
pub(super) fn enter<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
    // The features here must be those that `detect` tests.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn inner<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
        kernel.run(token)
    }
    // SAFETY: the token exists, so `detect` has seen every feature that `inner` enables.
    unsafe { inner(token, kernel) }
}

/// Chains of `vdpbf16ps` as [`Isa::peak_flops`](super::Isa::peak_flops) times them, from the number
/// of steps to that of operations; `None` where the processor has no AVX-512 BF16.
pub(super) fn bf16_chains(_: Avx512) -> Option<impl Fn(usize) -> usize> {
    const CHAINS: usize = 16;
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn inner(steps: usize, starts: [f32; CHAINS], operands: [f32; 2]) -> [f32; CHAINS] {
        // A step adds two products to each lane, 1 in all: the sums stay finite.
        let [a, b] = operands.map(|operand| {
            let lanes = _mm512_set1_ps(operand);
            _mm512_cvtne2ps_pbh(lanes, lanes)
        });
        let mut chains = starts.map(|start| _mm512_set1_ps(start));
        for _ in 0..steps {
            for chain in &mut chains {
                *chain = _mm512_dpbf16_ps(*chain, a, b);
            }
        }
        chains.map(|chain| _mm512_reduce_add_ps(chain))
    }
    is_x86_feature_detected!("avx512bf16").then_some(|steps| {
        let starts = std::array::from_fn(|i| i as f32);
        let (starts, operands) = (black_box(starts), black_box([0.5, 1.0]));
        // SAFETY: the token exists and the processor was asked for AVX-512 BF16 just now.
        black_box(unsafe { inner(steps, starts, operands) });
        64 * CHAINS * steps
    })
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
pub struct F32(__m512);

#[derive(Clone, Copy)]
pub struct F64(__m512d);

impl Vector for F32 {
    type Scalar = f32;
    type Token = Avx512;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(_: Avx512, value: f32) -> Self {
        Self(intrinsic!(_mm512_set1_ps(value)))
    }
    #[inline(always)]
    fn load(_: Avx512, from: &[f32]) -> Self {
        let lanes: &[f32; 16] = from.first_chunk().expect("a whole vector");
        Self(intrinsic!(_mm512_loadu_ps(lanes.as_ptr())))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        let lanes: &mut [f32; 16] = to.first_chunk_mut().expect("a whole vector");
        intrinsic!(_mm512_storeu_ps(lanes.as_mut_ptr(), self.0));
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_add_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_sub_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_mul_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_div_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_max_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(intrinsic!(_mm512_fmadd_ps(self.0, factor.0, term.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        let sign = intrinsic!(_mm512_set1_ps(-0.0));
        Self(intrinsic!(_mm512_andnot_ps(sign, self.0)))
    }
    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        let part = intrinsic!(_mm512_set1_ps(-0.0));
        let bit = intrinsic!(_mm512_and_ps(sign.0, part));
        Self(intrinsic!(_mm512_or_ps(self.abs().0, bit)))
    }
    #[inline(always)]
    fn select_less(a: Self, b: Self, less: Self, otherwise: Self) -> Self {
        let mask = intrinsic!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a.0, b.0));
        Self(intrinsic!(_mm512_mask_blend_ps(mask, otherwise.0, less.0)))
    }
    #[inline(always)]
    fn exp2_of_biased(self) -> Self {
        let part = intrinsic!(_mm512_castps_si512(self.0));
        let bits = intrinsic!(_mm512_slli_epi32::<23>(part));
        let one = intrinsic!(_mm512_set1_epi32(127 << 23));
        let part = intrinsic!(_mm512_add_epi32(bits, one));
        Self(intrinsic!(_mm512_castsi512_ps(part)))
    }
    #[inline(always)]
    fn mantissa_and_exponent(self) -> (Self, Self) {
        let bits = intrinsic!(_mm512_castps_si512(self.0));
        let mask = intrinsic!(_mm512_set1_epi32(0x7f_ffff));
        let part = intrinsic!(_mm512_and_si512(bits, mask));
        let one = intrinsic!(_mm512_set1_epi32(127 << 23));
        let part = intrinsic!(_mm512_or_si512(part, one));
        let mantissa = intrinsic!(_mm512_castsi512_ps(part));
        // The biased exponent is in the last place of 2^23.
        let part = intrinsic!(_mm512_srli_epi32::<23>(bits));
        let round = intrinsic!(_mm512_set1_epi32((127 + 23) << 23));
        let part = intrinsic!(_mm512_or_si512(part, round));
        let part = intrinsic!(_mm512_castsi512_ps(part));
        let offset = intrinsic!(_mm512_set1_ps(8_388_608.0 + 127.0));
        (Self(mantissa), Self(intrinsic!(_mm512_sub_ps(part, offset))))
    }
    #[inline(always)]
    fn nan_mask(self) -> u32 {
        u32::from(intrinsic!(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0)))
    }
    #[inline(always)]
    fn equal_mask(self, other: Self) -> u32 {
        u32::from(intrinsic!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn greater_mask(self, other: Self) -> u32 {
        u32::from(intrinsic!(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        intrinsic!(_mm512_reduce_add_ps(self.0))
    }
    #[inline(always)]
    fn maximum(self) -> f32 {
        intrinsic!(_mm512_reduce_max_ps(self.0))
    }
}

impl Vector for F64 {
    type Scalar = f64;
    type Token = Avx512;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(_: Avx512, value: f64) -> Self {
        Self(intrinsic!(_mm512_set1_pd(value)))
    }
    #[inline(always)]
    fn load(_: Avx512, from: &[f64]) -> Self {
        let lanes: &[f64; 8] = from.first_chunk().expect("a whole vector");
        Self(intrinsic!(_mm512_loadu_pd(lanes.as_ptr())))
    }
    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        let lanes: &mut [f64; 8] = to.first_chunk_mut().expect("a whole vector");
        intrinsic!(_mm512_storeu_pd(lanes.as_mut_ptr(), self.0));
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_add_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_sub_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_mul_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_div_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(intrinsic!(_mm512_max_pd(self.0, other.0)))
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Self(intrinsic!(_mm512_fmadd_pd(self.0, factor.0, term.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        let sign = intrinsic!(_mm512_set1_pd(-0.0));
        Self(intrinsic!(_mm512_andnot_pd(sign, self.0)))
    }
    #[inline(always)]
    fn copy_sign(self, sign: Self) -> Self {
        let part = intrinsic!(_mm512_set1_pd(-0.0));
        let bit = intrinsic!(_mm512_and_pd(sign.0, part));
        Self(intrinsic!(_mm512_or_pd(self.abs().0, bit)))
    }
    #[inline(always)]
    fn select_less(a: Self, b: Self, less: Self, otherwise: Self) -> Self {
        let mask = intrinsic!(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(a.0, b.0));
        Self(intrinsic!(_mm512_mask_blend_pd(mask, otherwise.0, less.0)))
    }
    #[inline(always)]
    fn exp2_of_biased(self) -> Self {
        let part = intrinsic!(_mm512_castpd_si512(self.0));
        let bits = intrinsic!(_mm512_slli_epi64::<52>(part));
        let one = intrinsic!(_mm512_set1_epi64(1023 << 52));
        let part = intrinsic!(_mm512_add_epi64(bits, one));
        Self(intrinsic!(_mm512_castsi512_pd(part)))
    }
    #[inline(always)]
    fn mantissa_and_exponent(self) -> (Self, Self) {
        let bits = intrinsic!(_mm512_castpd_si512(self.0));
        let mask = intrinsic!(_mm512_set1_epi64((1 << 52) - 1));
        let part = intrinsic!(_mm512_and_si512(bits, mask));
        let one = intrinsic!(_mm512_set1_epi64(1023 << 52));
        let part = intrinsic!(_mm512_or_si512(part, one));
        let mantissa = intrinsic!(_mm512_castsi512_pd(part));
        // The biased exponent is in the last place of 2^52.
        let part = intrinsic!(_mm512_srli_epi64::<52>(bits));
        let round = intrinsic!(_mm512_set1_epi64((1023 + 52) << 52));
        let part = intrinsic!(_mm512_or_si512(part, round));
        let part = intrinsic!(_mm512_castsi512_pd(part));
        let offset = intrinsic!(_mm512_set1_pd(4_503_599_627_370_496.0 + 1023.0));
        (Self(mantissa), Self(intrinsic!(_mm512_sub_pd(part, offset))))
    }
    #[inline(always)]
    fn nan_mask(self) -> u32 {
        u32::from(intrinsic!(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(self.0, self.0)))
    }
    #[inline(always)]
    fn equal_mask(self, other: Self) -> u32 {
        u32::from(intrinsic!(_mm512_cmp_pd_mask::<_CMP_EQ_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn greater_mask(self, other: Self) -> u32 {
        u32::from(intrinsic!(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(self.0, other.0)))
    }
    #[inline(always)]
    fn sum(self) -> f64 {
        intrinsic!(_mm512_reduce_add_pd(self.0))
    }
    #[inline(always)]
    fn maximum(self) -> f64 {
        intrinsic!(_mm512_reduce_max_pd(self.0))
    }
}
