//! In what the panels of a product hold their numbers.

use half::bf16;
use ndarray::ArrayView2;
use std::ops::Range;

use super::kernels::portable;
#[cfg(target_arch = "x86_64")]
use super::kernels::{avx2, avx512};
use super::products::Job;
use crate::element;
use crate::matrix::Matrix;
use crate::simd::Isa;

/// A number that panels hold, with what its products are summed in.
pub trait Format: bytemuck::Pod + Default + Send + Sync + 'static {
    /// What the products are summed in.
    type Sum: element::Real + Format<Sum = Self::Sum>;
    /// How many products along k one multiply-add takes.
    const DEPTH: usize;

    /// Some columns of a row, in this format.
    #[doc(hidden)]
    fn read(matrix: &Matrix<'_>, row: usize, columns: Range<usize>, to: &mut [Self]);
    /// The matrix, where it holds this format.
    #[doc(hidden)]
    fn stored<'a>(matrix: &Matrix<'a>) -> Option<ArrayView2<'a, Self>>;
    /// The number, in what products are summed in.
    #[doc(hidden)]
    fn to_sum(self) -> Self::Sum;
    /// Runs a job on an instruction set that has this format.
    #[doc(hidden)]
    fn dispatch<J: Job<Self>>(isa: Isa, job: J);
}

macro_rules! plain {
    ($type:ident, $enter:ident) => {
        impl Format for $type {
            type Sum = $type;
            const DEPTH: usize = 1;

            fn read(matrix: &Matrix<'_>, row: usize, columns: Range<usize>, to: &mut [Self]) {
                matrix.read(row, columns, to);
            }
            fn stored<'a>(matrix: &Matrix<'a>) -> Option<ArrayView2<'a, Self>> {
                <$type as element::Real>::view(matrix)
            }
            #[inline(always)]
            fn to_sum(self) -> Self {
                self
            }
            fn dispatch<J: Job<Self>>(isa: Isa, job: J) {
                match isa {
                    Isa::Portable(token) => portable::$enter(token, job),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2(token) => avx2::$enter(token, job),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512(token) => avx512::$enter(token, job),
                }
            }
        }
    };
}

plain!(f32, single);
plain!(f64, double);

impl Format for bf16 {
    type Sum = f32;
    const DEPTH: usize = 2;

    fn read(matrix: &Matrix<'_>, row: usize, columns: Range<usize>, to: &mut [Self]) {
        let view = <Self as Format>::stored(matrix).expect("a matrix of bf16");
        for (to, from) in to.iter_mut().zip(view.row(row).iter().skip(columns.start)) {
            *to = *from;
        }
    }
    fn stored<'a>(matrix: &Matrix<'a>) -> Option<ArrayView2<'a, Self>> {
        match matrix {
            Matrix::Bf16(view) => Some(*view),
            _ => None,
        }
    }
    #[inline(always)]
    fn to_sum(self) -> f32 {
        self.to_f32()
    }
    fn dispatch<J: Job<Self>>(isa: Isa, job: J) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => avx512::pairs(token, job),
            _ => unreachable!("bf16 is widened where there are no products of it"),
        }
    }
}
