//! How fast a thread reads: sums over memory alone.

use std::hint::black_box;

use super::isa::Isa;
use super::kernel::Kernel;
use super::peak::rate;
use super::vector::{Simd, Vector, splat};

impl Isa {
    /// Bytes a second at which this thread reads these numbers from the first to the last, again and again:
    /// the median over seven times of at least 3 ms. Zero where there are none.
    ///
    /// Which memory that is, the length decides: of numbers that a cache holds it is the cache's rate, of many
    /// times more than the last cache holds it is that of the main memory. What threads reach together is measured
    /// on all of them at once, each with numbers of its own: they share what lies behind their caches.
    ///
    /// ```
    /// let numbers = vec![1.0; 1 << 16];
    /// let rate = surprisal::Isa::current()?.read_bandwidth(&numbers);
    /// println!("{:.0} GB/s from a cache of 256 KiB or more", rate / 1e9);
    /// # assert!(rate > 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn read_bandwidth(self, numbers: &[f32]) -> f64 {
        if numbers.is_empty() {
            return 0.0;
        }
        rate(|_| {
            black_box(self.dispatch(Sum(black_box(numbers))));
            size_of_val(numbers)
        })
    }
}

/// As many sums at a time as hide what an addition takes, with loads of both ports.
const SUMS: usize = 8;

/// The sum of some numbers.
struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let lanes = <S::F32 as Vector>::LANES;
        let mut sums = [splat::<S, f32>(simd, 0.0); SUMS];
        let mut blocks = self.0.chunks_exact(SUMS * lanes);
        for block in &mut blocks {
            for (sum, numbers) in sums.iter_mut().zip(block.chunks_exact(lanes)) {
                *sum = sum.add(<S::F32 as Vector>::load(simd, numbers));
            }
        }
        let rest: f32 = blocks.remainder().iter().sum();
        sums.map(Vector::sum).iter().sum::<f32>() + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read() {
        for isa in Isa::available() {
            for length in [0, 1, 15, 127, 128, 129, 1000] {
                // Sums of small whole numbers are exact in every order.
                let numbers: Vec<f32> = (0..length).map(|i| (i % 7) as f32).collect();
                let sum: f32 = numbers.iter().sum();
                assert_eq!(isa.dispatch(Sum(&numbers)), sum, "{} {length}", isa.name());
            }
            assert_eq!(isa.read_bandwidth(&[]), 0.0);
        }
    }
}
