//! In what the panels of a product hold their numbers.

use half::bf16;
use std::ops::Add;

use super::kernels::portable;
#[cfg(target_arch = "x86_64")]
use super::kernels::{avx2, avx512};
use super::products::Job;
use crate::simd::Isa;

/// A number that panels hold, with what its products are summed in.
pub trait Format: bytemuck::Pod + Default + Send + Sync + 'static {
    /// What the products are summed in.
    type Sum: Copy + Default + Add<Output = Self::Sum> + Send + Sync + 'static;
    /// How many products along k one multiply-add takes.
    const DEPTH: usize;

    /// Runs a job on an instruction set that has this format.
    #[doc(hidden)]
    fn dispatch<J: Job<Self>>(isa: Isa, job: J);
}

macro_rules! plain {
    ($type:ident, $enter:ident) => {
        impl Format for $type {
            type Sum = $type;
            const DEPTH: usize = 1;

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

    fn dispatch<J: Job<Self>>(isa: Isa, job: J) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => avx512::pairs(token, job),
            _ => unreachable!("bf16 is widened where there are no products of it"),
        }
    }
}
