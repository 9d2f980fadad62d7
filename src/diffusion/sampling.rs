//! Samples of rows, as Python's `random.sample` draws them.

use std::collections::HashSet;

/// `count` of the numbers below `population`, none twice, in the order that Python's
/// `random.seed(seed); random.sample(range(population), count)` gives: the published code's samples.
///
/// All of them, in order, where `count` is not below `population`.
///
/// ```
/// use surprisal::diffusion::sample_rows;
/// assert_eq!(sample_rows(0, 10, 4), [6, 9, 0, 2]);
/// ```
pub fn sample_rows(seed: u64, population: usize, count: usize) -> Vec<usize> {
    if count >= population {
        return (0..population).collect();
    }
    PythonRandom::new(seed).sample(population, count)
}

/// Samples of one size one after the other from one generator.
pub(crate) fn samples(
    seed: u64,
    population: usize,
    count: usize,
    repetitions: usize,
) -> Vec<Vec<usize>> {
    let mut random = PythonRandom::new(seed);
    (0..repetitions).map(|_| random.sample(population, count)).collect()
}

/// CPython's generator: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded by an
/// array.
struct PythonRandom {
    state: [u32; SIZE],
    next: usize,
}

const SIZE: usize = 624;
const SHIFT: usize = 397;

impl PythonRandom {
    fn new(seed: u64) -> Self {
        let low = seed as u32;
        let high = (seed >> 32) as u32;
        let key = [low, high];
        let key = if high == 0 { &key[..1] } else { &key[..] };
        let mut state = [0; SIZE];
        state[0] = 19_650_218_u32;
        for i in 1..SIZE {
            state[i] = hash(state[i - 1]).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        let wrap = |state: &mut [u32; SIZE], i: &mut usize| {
            *i += 1;
            if *i == SIZE {
                state[0] = state[SIZE - 1];
                *i = 1;
            }
        };
        for _ in 0..SIZE {
            state[i] = (state[i] ^ hash(state[i - 1]).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            wrap(&mut state, &mut i);
            j = (j + 1) % key.len();
        }
        for _ in 1..SIZE {
            state[i] =
                (state[i] ^ hash(state[i - 1]).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            wrap(&mut state, &mut i);
        }
        state[0] = 0x8000_0000;
        Self { state, next: SIZE }
    }

    fn bits(&mut self) -> u32 {
        if self.next == SIZE {
            for i in 0..SIZE {
                let joined = self.state[i] & 0x8000_0000 | self.state[(i + 1) % SIZE] & 0x7fff_ffff;
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + SHIFT) % SIZE] ^ joined >> 1 ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    fn below(&mut self, bound: usize) -> usize {
        let length = usize::BITS - bound.leading_zeros();
        loop {
            // Python takes whole words, the least significant first.
            let drawn = if length <= 32 {
                (self.bits() >> (32 - length)) as usize
            } else {
                let low = u64::from(self.bits());
                (u64::from(self.bits() >> (64 - length)) << 32 | low) as usize
            };
            if drawn < bound {
                return drawn;
            }
        }
    }

    /// `random.sample(range(population), count)`; `count` is at most the population.
    fn sample(&mut self, population: usize, count: usize) -> Vec<usize> {
        // The size of a small set, then of one whose table is a quarter full at least.
        let mut set_size = 21_usize;
        if count > 5 {
            let mut table = 1_usize;
            while table < count.saturating_mul(3) {
                table = table.saturating_mul(4);
            }
            set_size = set_size.saturating_add(table);
        }
        if population <= set_size {
            let mut pool: Vec<usize> = (0..population).collect();
            return (0..count)
                .map(|i| {
                    let last = population - i - 1;
                    let at = self.below(last + 1);
                    let drawn = pool[at];
                    pool[at] = pool[last];
                    drawn
                })
                .collect();
        }
        let mut seen = HashSet::new();
        (0..count)
            .map(|_| {
                loop {
                    let drawn = self.below(population);
                    if seen.insert(drawn) {
                        return drawn;
                    }
                }
            })
            .collect()
    }
}

fn hash(x: u32) -> u32 {
    x ^ x >> 30
}
