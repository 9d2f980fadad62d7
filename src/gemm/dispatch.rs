//! Which kernels a format's products run on.

use half::bf16;

use super::format::Format;
use super::kernels::{Job, portable};
#[cfg(target_arch = "x86_64")]
use super::kernels::{avx2, avx512};
use crate::simd::Isa;

/// A format whose products there are kernels for.
pub trait Dispatch: Format {
    /// Runs a job on an instruction set that has this format.
    #[doc(hidden)]
    fn dispatch<J: Job<Self>>(isa: Isa, job: J);
}

macro_rules! plain {
    ($type:ident, $enter:ident) => {
        impl Dispatch for $type {
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

impl Dispatch for bf16 {
    fn dispatch<J: Job<Self>>(isa: Isa, job: J) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => avx512::pairs(token, job),
            _ => unreachable!("bf16 is widened where there are no products of it"),
        }
    }
}
