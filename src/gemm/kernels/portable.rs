//! 128-bit registers of the crate `wide`: 4 rows × 8 sums in f32, × 4 in f64.

use wide::{f32x4, f64x2};

use super::{Job, Lanes};
use crate::gemm::layout::PANEL;
use crate::simd::Portable;

macro_rules! lanes {
    ($(#[$doc:meta])* $name:ident, $enter:ident, $real:ty, $vector:ty, $width:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(in crate::gemm) struct $name;

        impl Lanes for $name {
            type Format = $real;
            type Factor = $vector;
            type Sums = $vector;
            type Block = [$vector; 1];
            const WIDTH: usize = $width;
            // 8 of 16 registers of SSE2 are sums: a product needs one of its own where nothing is fused.
            const ROWS: usize = 4;
            const COLUMNS: [(usize, usize); 2] = [(4, 8), (4, 0)];
            const CUT: bool = false;
            const TRANSPOSED: usize = 0;

            #[inline(always)]
            fn zero(self) -> $vector {
                <$vector>::splat(0.0)
            }
            #[inline(always)]
            unsafe fn broadcast(self, from: *const $real) -> $vector {
                // SAFETY: the caller has promised one number.
                <$vector>::splat(unsafe { *from })
            }
            #[inline(always)]
            unsafe fn load(self, from: *const $real) -> $vector {
                // SAFETY: the caller has promised a vector; an array has the alignment of a number.
                <$vector>::new(unsafe { *from.cast::<[$real; $width]>() })
            }
            #[inline(always)]
            unsafe fn load_rows(self, rows: [*const $real; 2]) -> [$vector; 2] {
                // SAFETY: the caller has promised two vectors.
                unsafe { [self.load(rows[0]), self.load(rows[0].add($width))] }
            }
            #[inline(always)]
            fn prefetch(self, _: *const $real) {}
            #[inline(always)]
            fn prefetch_far(self, _: *const $real) {}
            #[inline(always)]
            unsafe fn interleave(self, _: [*const $real; 2], _: *mut $real) {
                unreachable!("a step is one number")
            }
            #[inline(always)]
            fn multiply_add(self, a: $vector, b: $vector, sums: $vector) -> $vector {
                a.mul_add(b, sums)
            }
            #[inline(always)]
            unsafe fn load_sums(self, at: *const $real) -> $vector {
                // SAFETY: the caller has promised a vector.
                unsafe { self.load(at) }
            }
            #[inline(always)]
            unsafe fn add_to(self, at: *const $real, sums: $vector) -> $vector {
                // SAFETY: the caller has promised a vector.
                unsafe { self.load(at) + sums }
            }
            #[inline(always)]
            unsafe fn store(self, at: *mut $real, sums: $vector) {
                // SAFETY: the caller has promised a vector; an array has the alignment of a number.
                unsafe { *at.cast::<[$real; $width]>() = sums.to_array() }
            }
            #[inline(always)]
            fn total(self, sums: $vector) -> $real {
                sums.reduce_add()
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
            unsafe fn transposed(self, _: impl Fn(usize) -> *const $real) -> [$vector; 1] {
                unreachable!("nothing is transposed at once")
            }
            #[inline(always)]
            unsafe fn transpose(self, _: impl Fn(usize) -> *const $real, _: *mut $real) {
                unreachable!("nothing is transposed at once")
            }
        }

        /// Runs a job.
        pub(in crate::gemm) fn $enter<J: Job<$real>>(_: Portable, job: J) {
            job.run($name);
        }
    };
}

lanes!(
    /// Of f32.
    F32, single, f32, f32x4, 4
);
lanes!(
    /// Of f64.
    F64, double, f64, f64x2, 2
);
