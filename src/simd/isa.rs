//! Which instruction set runs.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::avx2::{self, Avx2};
#[cfg(target_arch = "x86_64")]
use super::avx512::{self, Avx512};
use super::caches::Caches;
use super::kernel::Kernel;
use super::portable::Portable;

/// An instruction set that this processor has.
///
/// The best one is taken, or the one that the environment variable `SURPRISAL_ISA` names
/// (`portable`, `avx2` or `avx512`); it steers the products, the folds and the elementary functions.
///
/// Where the name is none, or one that this processor does not have, [`current`](Self::current) is an
/// error, and nothing falls back to another. Whatever computes (a loss, a tape, an optimiser, an
/// accumulator) asks it once, when it is made, unless it is given an instruction set; functions without
/// something that is made ask it at every call. What has been made does not fail for it.
///
/// ```
/// use surprisal::Isa;
/// assert!(Isa::available().contains(&Isa::current()?));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// Vectors of the crate `wide`, as compiled: SSE2, NEON, simd128 or plain scalars.
    Portable(Portable),
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F, BW, DQ and VL; with products of bf16 where the processor has them.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Isa {
    /// The instruction sets of this processor, from the plainest on.
    ///
    /// ```
    /// # use surprisal::Isa;
    /// assert_eq!(Isa::available()[0].name(), "portable");
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn available() -> Vec<Isa> {
        let portable = [Isa::Portable(Portable)].into_iter();
        #[cfg(target_arch = "x86_64")]
        let portable =
            portable.chain(Avx2::detect().map(Isa::Avx2)).chain(Avx512::detect().map(Isa::Avx512));
        portable.collect()
    }

    /// The instruction set that is in use.
    ///
    /// ```
    /// # use surprisal::Isa;
    /// println!("folds run on {}", Isa::current()?.name());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) where `SURPRISAL_ISA` names none, or one that this
    /// processor does not have.
    pub fn current() -> crate::Result<Isa> {
        static CURRENT: OnceLock<Result<Isa, String>> = OnceLock::new();
        let chosen = CURRENT.get_or_init(|| match std::env::var_os("SURPRISAL_ISA") {
            None => Ok(*Isa::available().last().expect("portable is always available")),
            Some(name) => Isa::available()
                .into_iter()
                .find(|isa| name == isa.name())
                .ok_or_else(|| name.to_string_lossy().into_owned()),
        });
        chosen.clone().map_err(|value| crate::Error::Option {
            name: "SURPRISAL_ISA",
            value,
            expected: "portable, avx2 or avx512, where the processor has it",
        })
    }

    /// What a caller asked for, or the one in use: what everything asks that is made with an instruction
    /// set. That caches of a wrong size are said is known here too.
    pub(crate) fn or_current(asked: Option<Isa>) -> crate::Result<Isa> {
        Caches::current()?;
        asked.map_or_else(Isa::current, Ok)
    }

    /// `portable`, `avx2` or `avx512`.
    ///
    /// ```
    /// # use surprisal::Isa;
    /// assert!(["portable", "avx2", "avx512"].contains(&Isa::current()?.name()));
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
        }
    }

    /// Whether there are products of bf16 with sums in f32.
    pub(crate) fn has_bf16(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => token.has_bf16(),
            _ => false,
        }
    }

    /// Whether `mul_add` rounds once.
    #[cfg(test)]
    pub(crate) fn fuses(self) -> bool {
        !matches!(self, Isa::Portable(_)) || cfg!(target_feature = "fma")
    }

    /// Runs the kernel compiled for this instruction set.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Isa::Portable(token) => kernel.run(token),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => avx2::enter(token, kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => avx512::enter(token, kernel),
        }
    }
}
