//! 256-bit registers: 6 rows × 16 sums in f32, × 8 in f64.

use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::ptr::read;

use super::{Job, Lanes};
use crate::gemm::layout::PANEL;
use crate::simd::Avx2;

macro_rules! lanes {
    ($(#[$doc:meta])* $name:ident, $enter:ident, $real:ty, $vector:ty, $width:literal,
     $zero:ident, $splat:ident, $load:ident, $add:ident, $store:ident, $fused:ident,
     $transpose:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(in crate::gemm) struct $name(PhantomData<Avx2>);

        // SAFETY of each call: lanes are made only from the token, whose existence proves the
        // features; what is loaded or stored the caller has promised.
        impl Lanes for $name {
            type Format = $real;
            type Factor = $vector;
            type Sums = $vector;
            type Block = [$vector; $width];
            const WIDTH: usize = $width;
            // 12 of 16 registers are sums, two hold the right factor and one the left.
            const ROWS: usize = 6;
            // A panel in as many tiles of at most 6 rows as it takes, as even as can be.
            const COLUMNS: [(usize, usize); 2] = [(6, 2), (5, 4)];
            const CUT: bool = true;
            const TRANSPOSED: usize = $width;

            #[inline(always)]
            fn zero(self) -> $vector {
                // SAFETY: see above.
                unsafe { $zero() }
            }
            #[inline(always)]
            unsafe fn broadcast(self, from: *const $real) -> $vector {
                // SAFETY: see above.
                unsafe { $splat(read(from)) }
            }
            #[inline(always)]
            unsafe fn load(self, from: *const $real) -> $vector {
                // SAFETY: see above.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn load_rows(self, rows: [*const $real; 2]) -> [$vector; 2] {
                // SAFETY: see above.
                unsafe { [$load(rows[0]), $load(rows[0].add($width))] }
            }
            #[inline(always)]
            fn prefetch(self, at: *const $real) {
                // SAFETY: a prefetch reads nothing that the program sees, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }
            #[inline(always)]
            fn prefetch_far(self, at: *const $real) {
                // SAFETY: as above.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
            }
            #[inline(always)]
            unsafe fn interleave(self, _: [*const $real; 2], _: *mut $real) {
                unreachable!("a step is one number")
            }
            #[inline(always)]
            fn multiply_add(self, a: $vector, b: $vector, sums: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $fused(a, b, sums) }
            }
            #[inline(always)]
            unsafe fn load_sums(self, at: *const $real) -> $vector {
                // SAFETY: see above.
                unsafe { $load(at) }
            }
            #[inline(always)]
            unsafe fn add_to(self, at: *const $real, sums: $vector) -> $vector {
                // SAFETY: see above.
                unsafe { $add($load(at), sums) }
            }
            #[inline(always)]
            unsafe fn store(self, at: *mut $real, sums: $vector) {
                // SAFETY: see above.
                unsafe { $store(at, sums) }
            }
            #[inline(always)]
            fn total(self, sums: $vector) -> $real {
                let mut lanes = [0.0; $width];
                // SAFETY: see above.
                unsafe { $store(lanes.as_mut_ptr(), sums) };
                let mut half = $width / 2;
                while half > 0 {
                    for i in 0..half {
                        lanes[i] += lanes[i + half];
                    }
                    half /= 2;
                }
                lanes[0]
            }
            #[inline(always)]
            unsafe fn put(self, from: [*const $real; 2], rows: [*mut $real; 2], _: *mut $real) {
                // SAFETY: the caller has promised both rows, which do not overlap.
                unsafe {
                    rows[0].copy_from_nonoverlapping(from[0], PANEL);
                    rows[1].copy_from_nonoverlapping(from[1], PANEL);
                }
            }
            #[inline(always)]
            unsafe fn transposed(self, from: impl Fn(usize) -> *const $real) -> [$vector; $width] {
                // SAFETY: see above.
                unsafe { $transpose(from) }
            }
            #[inline(always)]
            unsafe fn transpose(self, from: impl Fn(usize) -> *const $real, to: *mut $real) {
                // SAFETY: see above.
                unsafe {
                    for (k, step) in $transpose(from).into_iter().enumerate() {
                        $store(to.add(k * PANEL), step);
                    }
                }
            }
        }

        /// Runs a job.
        pub(in crate::gemm) fn $enter<J: Job<$real>>(_: Avx2, job: J) {
            // The features here must be those that `detect` tests.
            #[target_feature(enable = "avx2,fma")]
            fn inner<J: Job<$real>>(lanes: $name, job: J) {
                job.run(lanes);
            }
            // SAFETY: the token exists, so `detect` has seen every feature that `inner` enables.
            unsafe { inner($name(PhantomData), job) }
        }
    };
}

lanes!(
    /// Of f32.
    F32, single, f32, __m256, 8,
    _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_add_ps, _mm256_storeu_ps,
    _mm256_fmadd_ps, transpose_single
);
lanes!(
    /// Of f64.
    F64, double, f64, __m256d, 4,
    _mm256_setzero_pd, _mm256_set1_pd, _mm256_loadu_pd, _mm256_add_pd, _mm256_storeu_pd,
    _mm256_fmadd_pd, transpose_double
);

/// 8×8 numbers.
///
/// # Safety
/// As [`Lanes::transpose`].
#[inline(always)]
unsafe fn transpose_single(from: impl Fn(usize) -> *const f32) -> [__m256; 8] {
    // SAFETY: AVX2 is there, as the caller's lanes prove; rows and panel are as it has promised.
    unsafe {
        let mut rows = [_mm256_setzero_ps(); 8];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = _mm256_loadu_ps(from(i));
        }
        let mut pairs = rows;
        for i in (0..8).step_by(2) {
            pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        }
        let mut quads = pairs;
        for i in (0..8).step_by(4) {
            quads[i] = _mm256_shuffle_ps::<0x44>(pairs[i], pairs[i + 2]);
            quads[i + 1] = _mm256_shuffle_ps::<0xee>(pairs[i], pairs[i + 2]);
            quads[i + 2] = _mm256_shuffle_ps::<0x44>(pairs[i + 1], pairs[i + 3]);
            quads[i + 3] = _mm256_shuffle_ps::<0xee>(pairs[i + 1], pairs[i + 3]);
        }
        let mut steps = quads;
        for i in 0..4 {
            steps[i] = _mm256_permute2f128_ps::<0x20>(quads[i], quads[i + 4]);
            steps[i + 4] = _mm256_permute2f128_ps::<0x31>(quads[i], quads[i + 4]);
        }
        steps
    }
}

/// 4×4 numbers.
///
/// # Safety
/// As [`Lanes::transpose`].
#[inline(always)]
unsafe fn transpose_double(from: impl Fn(usize) -> *const f64) -> [__m256d; 4] {
    // SAFETY: AVX2 is there, as the caller's lanes prove; rows and panel are as it has promised.
    unsafe {
        let mut rows = [_mm256_setzero_pd(); 4];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = _mm256_loadu_pd(from(i));
        }
        let even = [_mm256_unpacklo_pd(rows[0], rows[1]), _mm256_unpacklo_pd(rows[2], rows[3])];
        let odd = [_mm256_unpackhi_pd(rows[0], rows[1]), _mm256_unpackhi_pd(rows[2], rows[3])];
        [
            _mm256_permute2f128_pd::<0x20>(even[0], even[1]),
            _mm256_permute2f128_pd::<0x20>(odd[0], odd[1]),
            _mm256_permute2f128_pd::<0x31>(even[0], even[1]),
            _mm256_permute2f128_pd::<0x31>(odd[0], odd[1]),
        ]
    }
}
