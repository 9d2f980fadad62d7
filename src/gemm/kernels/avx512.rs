//! 512-bit registers: 12 rows × 32 sums in f32, and in f32 of bf16 by `vdpbf16ps`; × 16 in f64.

use half::bf16;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::transmute;
use std::ptr::{copy_nonoverlapping, read};

use super::{Job, Lanes, depth};
use crate::gemm::layout::PANEL;
use crate::simd::Avx512;

/// Calls an intrinsic.
macro_rules! intrinsic {
    ($name:ident ($($argument:expr),*)) => {{
        // SAFETY: lanes are made only from the token, whose existence proves the features; what is
        // loaded or stored the caller has promised.
        unsafe { $name($($argument),*) }
    }};
}

/// The first 16 pairs of two rows of 32 numbers of 16 bits, and the last.
macro_rules! interleaved {
    ($a:expr, $b:expr) => {{
        let low = intrinsic!(_mm512_loadu_si512(INTERLEAVE[0].as_ptr().cast()));
        let high = intrinsic!(_mm512_loadu_si512(INTERLEAVE[1].as_ptr().cast()));
        [
            intrinsic!(_mm512_permutex2var_epi16($a, low, $b)),
            intrinsic!(_mm512_permutex2var_epi16($a, high, $b)),
        ]
    }};
}

macro_rules! lanes {
    ($(#[$doc:meta])* $name:ident, $format:ty, $real:ty, $factor:ty, $sums:ty, $width:literal,
     $zero:ident, $load_sums:ident, $add:ident, $store:ident, $total:ident, $transposed:literal, $transpose:ident,
     $store_step:ident, |$steps_of_block:ident| $as_factors:expr,
     |$one:ident| $broadcast:expr, |$vector:ident| $load:expr, |$rows:ident| $load_rows:expr,
     |$a:ident, $b:ident, $c:ident| $multiply_add:expr,
     |$from:ident, $to:ident, $pairs:ident| $put:expr,
     |$two:ident, $steps:ident| $interleave:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(in crate::gemm) struct $name(PhantomData<Avx512>);

        impl Lanes for $name {
            type Format = $format;
            type Factor = $factor;
            type Sums = $sums;
            type Block = [$factor; $transposed];
            const WIDTH: usize = $width;
            // 24 of 32 registers are sums, two hold the right factor; the left one comes from memory.
            const ROWS: usize = 12;
            // Measured: tiles of 12 rows are no better for `Gᵀ·E`, and 8 divides a panel.
            const COLUMNS: [(usize, usize); 2] = [(8, 4), (8, 0)];
            const CUT: bool = false;
            const TRANSPOSED: usize = $transposed;

            #[inline(always)]
            fn zero(self) -> $sums {
                intrinsic!($zero())
            }
            #[inline(always)]
            unsafe fn broadcast(self, $one: *const $format) -> $factor {
                $broadcast
            }
            #[inline(always)]
            unsafe fn load(self, $vector: *const $format) -> $factor {
                $load
            }
            #[inline(always)]
            unsafe fn load_rows(self, $rows: [*const $format; 2]) -> [$factor; 2] {
                $load_rows
            }
            #[inline(always)]
            fn prefetch(self, at: *const $format) {
                // SAFETY: a prefetch reads nothing that the program sees, whatever the address.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }
            #[inline(always)]
            fn prefetch_far(self, at: *const $format) {
                // SAFETY: as above.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
            }
            #[inline(always)]
            unsafe fn interleave(self, $two: [*const $format; 2], $steps: *mut $format) {
                $interleave
            }
            #[inline(always)]
            fn multiply_add(self, $a: $factor, $b: $factor, $c: $sums) -> $sums {
                $multiply_add
            }
            #[inline(always)]
            unsafe fn load_sums(self, at: *const $real) -> $sums {
                intrinsic!($load_sums(at))
            }
            #[inline(always)]
            unsafe fn add_to(self, at: *const $real, sums: $sums) -> $sums {
                let before = intrinsic!($load_sums(at));
                intrinsic!($add(before, sums))
            }
            #[inline(always)]
            unsafe fn store(self, at: *mut $real, sums: $sums) {
                intrinsic!($store(at, sums));
            }
            #[inline(always)]
            fn total(self, sums: $sums) -> $real {
                intrinsic!($total(sums))
            }
            #[inline(always)]
            unsafe fn put(
                self,
                $from: [*const $real; 2],
                $to: [*mut $format; 2],
                $pairs: *mut $format,
            ) {
                $put
            }
            #[inline(always)]
            unsafe fn transposed(
                self,
                from: impl Fn(usize) -> *const $format,
            ) -> [$factor; $transposed] {
                let $steps_of_block = intrinsic!($transpose(from));
                $as_factors
            }
            #[inline(always)]
            unsafe fn transpose(self, from: impl Fn(usize) -> *const $format, to: *mut $format) {
                for (k, step) in intrinsic!($transpose(from)).into_iter().enumerate() {
                    let to = to.wrapping_add(k * PANEL * depth::<Self>());
                    intrinsic!($store_step(to.cast(), step));
                }
            }
        }
    };
}

lanes!(
    /// Of f32.
    F32, f32, f32, __m512, __m512, 16,
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_add_ps, _mm512_storeu_ps,
    _mm512_reduce_add_ps, 16, transpose_words,
    _mm512_storeu_si512,
    |block| intrinsic!(as_floats(block)),
    |from| {
        let value = intrinsic!(read(from));
        intrinsic!(_mm512_set1_ps(value))
    },
    |from| intrinsic!(_mm512_loadu_ps(from)),
    |rows| {
        let second = rows[0].wrapping_add(16);
        [intrinsic!(_mm512_loadu_ps(rows[0])), intrinsic!(_mm512_loadu_ps(second))]
    },
    |a, b, sums| intrinsic!(_mm512_fmadd_ps(a, b, sums)),
    |from, to, _pairs| {
        intrinsic!(copy_nonoverlapping(from[0], to[0], PANEL));
        intrinsic!(copy_nonoverlapping(from[1], to[1], PANEL));
    },
    |_rows, _to| unreachable!("a step is one number")
);

lanes!(
    /// Of f64.
    F64, f64, f64, __m512d, __m512d, 8,
    _mm512_setzero_pd, _mm512_loadu_pd, _mm512_add_pd, _mm512_storeu_pd,
    _mm512_reduce_add_pd, 8, transpose_double,
    _mm512_storeu_pd, |block| block,
    |from| {
        let value = intrinsic!(read(from));
        intrinsic!(_mm512_set1_pd(value))
    },
    |from| intrinsic!(_mm512_loadu_pd(from)),
    |rows| {
        let second = rows[0].wrapping_add(8);
        [intrinsic!(_mm512_loadu_pd(rows[0])), intrinsic!(_mm512_loadu_pd(second))]
    },
    |a, b, sums| intrinsic!(_mm512_fmadd_pd(a, b, sums)),
    |from, to, _pairs| {
        intrinsic!(copy_nonoverlapping(from[0], to[0], PANEL));
        intrinsic!(copy_nonoverlapping(from[1], to[1], PANEL));
    },
    |_rows, _to| unreachable!("a step is one number")
);

lanes!(
    /// Of pairs of bf16.
    Bf16, bf16, f32, __m512i, __m512, 16,
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_add_ps, _mm512_storeu_ps,
    _mm512_reduce_add_ps, 16, transpose_words,
    _mm512_storeu_si512, |block| block,
    |from| {
        let pair = intrinsic!(read(from.cast::<i32>()));
        intrinsic!(_mm512_set1_epi32(pair))
    },
    |from| intrinsic!(_mm512_loadu_si512(from.cast())),
    |rows| {
        let a = intrinsic!(_mm512_loadu_si512(rows[0].cast()));
        let b = intrinsic!(_mm512_loadu_si512(rows[1].cast()));
        interleaved!(a, b)
    },
    |a, b, sums| {
        let a = intrinsic!(as_pairs(a));
        let b = intrinsic!(as_pairs(b));
        intrinsic!(_mm512_dpbf16_ps(sums, a, b))
    },
    |from, to, pairs| {
        let [a, b] = [intrinsic!(rounded(from[0])), intrinsic!(rounded(from[1]))];
        let [low, high] = interleaved!(a, b);
        intrinsic!(_mm512_storeu_si512(to[0].cast(), a));
        intrinsic!(_mm512_storeu_si512(to[1].cast(), b));
        intrinsic!(_mm512_storeu_si512(pairs.cast(), low));
        intrinsic!(_mm512_storeu_si512(pairs.wrapping_add(32).cast(), high));
    },
    |rows, to| {
        let a = intrinsic!(_mm512_loadu_si512(rows[0].cast()));
        let b = intrinsic!(_mm512_loadu_si512(rows[1].cast()));
        let [low, high] = interleaved!(a, b);
        intrinsic!(_mm512_storeu_si512(to.cast(), low));
        intrinsic!(_mm512_storeu_si512(to.wrapping_add(32).cast(), high));
    }
);

/// The lanes of two rows in turn: the first 16 pairs, and the last.
static INTERLEAVE: [[u16; 32]; 2] = {
    let mut lanes = [[0; 32]; 2];
    let mut i = 0;
    while i < 32 {
        let (half, lane) = (i / 16, i % 16);
        lanes[half][2 * lane] = i as u16;
        lanes[half][2 * lane + 1] = i as u16 + 32;
        i += 1;
    }
    lanes
};

/// The same bits, as numbers.
///
/// # Safety
/// None: any bits are numbers.
#[inline(always)]
unsafe fn as_floats(bits: [__m512i; 16]) -> [__m512; 16] {
    // SAFETY: two types of as many bits, of which every pattern is valid.
    unsafe { transmute::<[__m512i; 16], [__m512; 16]>(bits) }
}

/// The same bits, as pairs of bf16.
///
/// # Safety
/// None: any bits are pairs of bf16.
#[inline(always)]
unsafe fn as_pairs(bits: __m512i) -> __m512bh {
    // SAFETY: two types of 512 bits, of which every pattern is valid.
    unsafe { transmute::<__m512i, __m512bh>(bits) }
}

/// 32 numbers to bf16.
///
/// # Safety
/// 32 numbers can be read, and the processor has the conversion.
#[inline(always)]
unsafe fn rounded(from: *const f32) -> __m512i {
    // SAFETY: as the caller has promised.
    unsafe {
        let (low, high) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16)));
        transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
    }
}

macro_rules! enter {
    ($(#[$doc:meta])* $name:ident, $lanes:ident, $format:ty, $features:literal) => {
        $(#[$doc])*
        pub(in crate::gemm) fn $name<J: Job<$format>>(_: Avx512, job: J) {
            // The features here must be those that `detect` tests.
            #[target_feature(enable = $features)]
            fn inner<J: Job<$format>>(lanes: $lanes, job: J) {
                job.run(lanes);
            }
            // SAFETY: the token exists, so `detect` has seen every feature that `inner` enables.
            unsafe { inner($lanes(PhantomData), job) }
        }
    };
}

enter!(
    /// Runs a job in f32.
    single, F32, f32, "avx512f,avx512bw,avx512dq,avx512vl"
);
enter!(
    /// Runs a job in f64.
    double, F64, f64, "avx512f,avx512bw,avx512dq,avx512vl"
);

/// Runs a job of bf16.
pub(in crate::gemm) fn pairs<J: Job<bf16>>(token: Avx512, job: J) {
    // The features here must be those that `detect` and `has_bf16` test.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    fn inner<J: Job<bf16>>(lanes: Bf16, job: J) {
        job.run(lanes);
    }
    assert!(token.has_bf16(), "products of bf16 without the instruction");
    // SAFETY: the token exists, and the assertion has seen the one feature that it does not prove.
    unsafe { inner(Bf16(PhantomData), job) }
}

/// 16×16 words of 32 bits.
///
/// # Safety
/// As [`Lanes::transpose`].
#[inline(always)]
unsafe fn transpose_words<T>(from: impl Fn(usize) -> *const T) -> [__m512i; 16] {
    // SAFETY: AVX-512 is there, as the caller's lanes prove; rows and panel are as it has promised.
    unsafe {
        let mut rows = [_mm512_setzero_si512(); 16];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = _mm512_loadu_si512(from(i).cast());
        }
        let mut pairs = rows;
        for i in (0..16).step_by(2) {
            pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        // Now column c of four rows stands in quarter c / 4 of vector c % 4.
        let mut quads = pairs;
        for i in (0..16).step_by(4) {
            quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
            quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
            quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
            quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
        }
        let mut steps = quads;
        for c in 0..4 {
            let even_low = _mm512_shuffle_i32x4::<0x88>(quads[c], quads[c + 4]);
            let odd_low = _mm512_shuffle_i32x4::<0xdd>(quads[c], quads[c + 4]);
            let even_high = _mm512_shuffle_i32x4::<0x88>(quads[c + 8], quads[c + 12]);
            let odd_high = _mm512_shuffle_i32x4::<0xdd>(quads[c + 8], quads[c + 12]);
            let columns = [
                _mm512_shuffle_i32x4::<0x88>(even_low, even_high),
                _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high),
                _mm512_shuffle_i32x4::<0xdd>(even_low, even_high),
                _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high),
            ];
            for (i, column) in columns.into_iter().enumerate() {
                steps[4 * i + c] = column;
            }
        }
        steps
    }
}

/// 8×8 numbers.
///
/// # Safety
/// As [`Lanes::transpose`].
#[inline(always)]
unsafe fn transpose_double(from: impl Fn(usize) -> *const f64) -> [__m512d; 8] {
    // SAFETY: AVX-512 is there, as the caller's lanes prove; rows and panel are as it has promised.
    unsafe {
        let mut rows = [_mm512_setzero_pd(); 8];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = _mm512_loadu_pd(from(i));
        }
        let mut pairs = rows;
        for i in (0..8).step_by(2) {
            pairs[i] = _mm512_unpacklo_pd(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_pd(rows[i], rows[i + 1]);
        }
        // Now column c of two rows stands in quarter c / 2 of vector c % 2.
        let mut steps = pairs;
        for c in 0..2 {
            let even_low = _mm512_shuffle_f64x2::<0x88>(pairs[c], pairs[c + 2]);
            let odd_low = _mm512_shuffle_f64x2::<0xdd>(pairs[c], pairs[c + 2]);
            let even_high = _mm512_shuffle_f64x2::<0x88>(pairs[c + 4], pairs[c + 6]);
            let odd_high = _mm512_shuffle_f64x2::<0xdd>(pairs[c + 4], pairs[c + 6]);
            let columns = [
                _mm512_shuffle_f64x2::<0x88>(even_low, even_high),
                _mm512_shuffle_f64x2::<0x88>(odd_low, odd_high),
                _mm512_shuffle_f64x2::<0xdd>(even_low, even_high),
                _mm512_shuffle_f64x2::<0xdd>(odd_low, odd_high),
            ];
            for (i, column) in columns.into_iter().enumerate() {
                steps[2 * i + c] = column;
            }
        }
        steps
    }
}
