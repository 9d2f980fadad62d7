//! How large the caches of a core are.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of the caches of a core, by which products choose how much of a factor they take at a time.
///
/// They change the speed of a product, never its bits. They are what the processor reports (`cpuid` on x86-64), or
/// what the environment variable `SURPRISAL_CACHES` says: the bytes of the first and the second cache, as in
/// `32K,512K`. Where neither is known they are 32 KiB and 512 KiB.
///
/// ```
/// let caches = surprisal::Caches::current()?;
/// assert!(caches.first >= 1 << 10 && caches.second >= caches.first);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caches {
    /// The first cache of data.
    pub first: usize,
    /// The second cache, of one core.
    pub second: usize,
    /// The last cache, which cores share; 0 where it is not known.
    pub last: usize,
}

/// Where nothing is known: those of the smaller processors of today.
const UNKNOWN: Caches = Caches { first: 32 << 10, second: 512 << 10, last: 0 };

/// What a size may be: no processor has less or more.
const SIZES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 30;

static FIRST: AtomicUsize = AtomicUsize::new(0);
static SECOND: AtomicUsize = AtomicUsize::new(0);

impl Caches {
    /// The caches that are in use.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) where `SURPRISAL_CACHES` is not two sizes.
    pub fn current() -> crate::Result<Self> {
        Self::read().clone().map_err(|value| crate::Error::Option {
            name: "SURPRISAL_CACHES",
            value,
            expected: "the bytes of the first and the second cache, 1K to 1G, as in 32K,512K",
        })
    }

    /// The same for what cannot fail; whatever is made has asked [`current`](Self::current) before.
    pub(crate) fn in_use() -> Self {
        let own = Self::read().as_ref().copied().unwrap_or(UNKNOWN);
        // Zero is "not set"; a mixture of two settings is as good as either.
        match (FIRST.load(Ordering::Relaxed), SECOND.load(Ordering::Relaxed)) {
            (0, _) | (_, 0) => own,
            (first, second) => Self { first, second, ..own },
        }
    }

    /// Other sizes for all products from now on: for tests, since nothing but time depends on them.
    #[cfg(test)]
    pub(crate) fn set(first: usize, second: usize) {
        FIRST.store(first, Ordering::Relaxed);
        SECOND.store(second, Ordering::Relaxed);
    }

    fn read() -> &'static Result<Self, String> {
        static CACHES: OnceLock<Result<Caches, String>> = OnceLock::new();
        CACHES.get_or_init(|| {
            let own = reported().unwrap_or(UNKNOWN);
            let Some(value) = std::env::var_os("SURPRISAL_CACHES") else { return Ok(own) };
            let value = value.to_string_lossy();
            let sizes = value.split_once(',').and_then(|(a, b)| Some((size(a)?, size(b)?)));
            match sizes {
                Some((first, second)) => Ok(Self { first, second, ..own }),
                None => Err(value.into_owned()),
            }
        })
    }
}

/// A number of bytes, KiB, MiB or GiB.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let unit = units.into_iter().find_map(|(unit, power)| {
        let digits = text.strip_suffix([unit, unit.to_ascii_lowercase()])?;
        Some((digits, 1 << power))
    });
    let (digits, unit) = unit.unwrap_or((text, 1));
    let size = digits.parse::<usize>().ok()?.checked_mul(unit)?;
    SIZES.contains(&size).then_some(size)
}

/// What the processor says of its caches.
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn reported() -> Option<Caches> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // AMD describes its caches at 0x8000_001d where bit 22 of this says so, Intel at 4, alike.
    let amd = __cpuid(0x8000_0000).eax >= 0x8000_001d && __cpuid(0x8000_0001).ecx >> 22 & 1 == 1;
    let leaf = match amd {
        true => 0x8000_001d,
        false if __cpuid(0).eax >= 4 => 4,
        false => return None,
    };
    let mut caches = Caches { first: 0, second: 0, last: 0 };
    for index in 0..8 {
        let found = __cpuid_count(leaf, index);
        let (kind, level) = (found.eax & 31, found.eax >> 5 & 7);
        let field = |register: u32, from: u32, bits: u32| {
            (register >> from & ((1 << bits) - 1)) as usize + 1
        };
        let ways = field(found.ebx, 22, 10) * field(found.ebx, 12, 10) * field(found.ebx, 0, 12);
        let bytes = ways.saturating_mul(found.ecx as usize + 1);
        match (kind, level) {
            (0, _) => break,
            (1 | 3, 1) => caches.first = bytes,
            (1 | 3, 2) => caches.second = bytes,
            (1 | 3, _) => caches.last = bytes,
            _ => {}
        }
    }
    let known = SIZES.contains(&caches.first) && SIZES.contains(&caches.second);
    known.then_some(caches)
}

// Miri has no such instruction.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn reported() -> Option<Caches> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(size("32K"), Some(32 << 10));
        assert_eq!(size(" 1m"), Some(1 << 20));
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("1G"), Some(1 << 30));
        for wrong in ["", "K", "1", "-32K", "32Q", "9999999999999999999M", "2048M", "3 2K"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_processor_reports_caches_that_grow() {
        if let Some(Caches { first, second, last }) = reported() {
            assert!(first < second && (last == 0 || second <= last), "{first} {second} {last}");
        }
    }
}
