//! The most that a thread can compute: multiply-adds on registers alone.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::isa::Isa;
use super::kernel::Kernel;
use super::vector::{Simd, SimdReal, Vector, splat};

/// What a product is accumulated from, where instruction sets differ in their speed.
///
/// ```
/// use surprisal::{Isa, Precision};
/// let isa = Isa::current()?;
/// let (narrow, wide) = (isa.peak_flops(Precision::F32), isa.peak_flops(Precision::F64));
/// println!("{:.0} GFLOP/s in f32, {:.0} in f64, a thread", narrow / 1e9, wide / 1e9);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// f64 into f64.
    F64,
    /// f32 into f32; also f16, which is widened.
    F32,
    /// Pairs of bf16 into f32 where the processor has an instruction for it, else as f32.
    Bf16,
}

/// Steps of a chain between two looks at the clock: some tens of microseconds.
const STEPS: usize = 1 << 13;

/// How long one of the measurements takes; the result is the median of [`SAMPLES`]: 20 ms in all, short
/// enough to be taken between the runs that it is compared with.
const SAMPLE: Duration = Duration::from_millis(3);
const SAMPLES: usize = 7;

impl Isa {
    /// Floating-point operations a second of one thread at most: independent chains of
    /// multiply-adds (two operations a lane; a multiplication and an addition where they are not
    /// fused) that touch no memory. Takes about 20 ms.
    ///
    /// What the threads of a processor reach together is measured on all of them at once: it is
    /// less than the multiple where they share units or heat.
    ///
    /// ```
    /// use surprisal::{Isa, Precision};
    /// assert!(Isa::current()?.peak_flops(Precision::F32) > 0.0);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn peak_flops(self, precision: Precision) -> f64 {
        #[cfg(target_arch = "x86_64")]
        if let (Isa::Avx512(token), Precision::Bf16) = (self, precision)
            && let Some(run) = super::avx512::bf16_chains(token)
        {
            return rate(run);
        }
        // As many chains as leave registers for the two operands: latency times ports is 8 to 10.
        match (self, precision) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512(_), Precision::F64) => rate(|steps| self.chains::<f64, 24>(steps)),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512(_), _) => rate(|steps| self.chains::<f32, 24>(steps)),
            // A vector of `wide` is two registers of SSE2, which has 16.
            (Isa::Portable(_), Precision::F64) if NARROW => {
                rate(|steps| self.chains::<f64, 6>(steps))
            }
            (Isa::Portable(_), _) if NARROW => rate(|steps| self.chains::<f32, 6>(steps)),
            (_, Precision::F64) => rate(|steps| self.chains::<f64, 12>(steps)),
            (_, _) => rate(|steps| self.chains::<f32, 12>(steps)),
        }
    }

    /// Runs the chains; how many operations that was.
    fn chains<R: SimdReal + From<f32>, const CHAINS: usize>(self, steps: usize) -> usize {
        self.dispatch(Chains::<R, CHAINS> {
            steps,
            // Different starts, lest equal chains are computed once; all go to 1.5.
            starts: black_box(std::array::from_fn(|i| R::from(i as f32 * 0.0625))),
            operands: black_box([R::from(0.5), R::from(0.75)]),
        })
    }
}

const NARROW: bool = cfg!(all(target_arch = "x86_64", not(target_feature = "avx")));

/// Chains of `x ← x · operands[0] + operands[1]`.
struct Chains<R, const CHAINS: usize> {
    steps: usize,
    starts: [R; CHAINS],
    operands: [R; 2],
}

impl<R: SimdReal, const CHAINS: usize> Kernel for Chains<R, CHAINS> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        let [factor, term] = self.operands.map(|operand| splat::<S, R>(simd, operand));
        let mut chains = self.starts.map(|start| splat::<S, R>(simd, start));
        for _ in 0..self.steps {
            for chain in &mut chains {
                *chain = chain.mul_add(factor, term);
            }
        }
        black_box(chains.map(Vector::sum));
        2 * <R::Vector<S>>::LANES * CHAINS * self.steps
    }
}

/// The median rate of what returns how much it did, operations or bytes.
pub(super) fn rate(run: impl Fn(usize) -> usize) -> f64 {
    let mut rates = [0.0; SAMPLES];
    for rate in &mut rates {
        let (start, mut operations) = (Instant::now(), 0);
        let mut elapsed = Duration::ZERO;
        while elapsed < SAMPLE {
            operations += run(STEPS);
            elapsed = start.elapsed();
        }
        *rate = operations as f64 / elapsed.as_secs_f64();
    }
    rates.sort_unstable_by(f64::total_cmp);
    rates[SAMPLES / 2]
}
