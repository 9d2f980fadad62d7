//! The class whose logit with noise is the largest: an exact draw from the softmax of a row.
//!
//! With G = −ln(−ln u) for each class and u uniform, the class of the largest a_v + G_v is v with probability p_v
//! (Gumbel 1954). That is a maximum, so blocks, threads and shards may find it in any order.

use std::sync::atomic::{AtomicU32, Ordering};

use super::block;
use crate::element::Real;
use crate::random::bits_at;
use crate::simd::{Isa, Kernel, Simd};

/// The best class of a row so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Draw {
    /// a + G.
    pub(crate) score: f64,
    /// a.
    pub(crate) logit: f64,
    pub(crate) class: u32,
}

/// A score of a row that some task has reached: what cannot reach it need not be looked at.
#[derive(Debug)]
pub(crate) struct Bound(AtomicU32);

impl Bound {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(f32::NEG_INFINITY.to_bits()))
    }

    fn get(&self) -> f64 {
        f64::from(f32::from_bits(self.0.load(Ordering::Relaxed)))
    }

    /// A smaller bound that comes late does no harm: it was reached as well.
    fn raise(&self, score: f64) {
        let near = score as f32;
        let below = if f64::from(near) > score { near.next_down() } else { near };
        if f64::from(below) > self.get() {
            self.0.store(below.to_bits(), Ordering::Relaxed);
        }
    }
}

/// Classes whose random bits are looked at together.
const TOGETHER: usize = 32;
/// Bits of a uniform number.
const BITS: u32 = 53;
const UNITS: u64 = 1 << BITS;
/// More than the largest noise, −ln(2⁻⁵⁴) = 37.43.
const MOST_NOISE: f64 = 37.5;
/// Less than the least, −ln(54 ln 2) = −3.62.
const LEAST_NOISE: f64 = -3.7;

/// G of u = (units + ½) 2⁻⁵³, which is neither 0 nor 1: with the same bits everywhere.
pub(crate) fn noise(units: u64) -> f64 {
    const UNIT: f64 = 1.0 / UNITS as f64;
    // Whichever of u and 1 − u is at most ½ is exact.
    let surprise = match units < UNITS / 2 {
        true => -libm::log((units as f64 + 0.5) * UNIT),
        false => -libm::log1p(-(((UNITS - 1 - units) as f64 + 0.5) * UNIT)),
    };
    -libm::log(surprise)
}

/// The least bits that may have a noise of at least so much; a few less do no harm. `None` where none have.
fn least_bits(wanted: f64) -> Option<u64> {
    if wanted > MOST_NOISE {
        return None;
    }
    if wanted < LEAST_NOISE {
        return Some(0);
    }
    // 1 − u ≤ 1 − e^(−e^−G)
    let rest = -(-(-wanted).exp()).exp_m1();
    let units = (rest * UNITS as f64 * (1.0 + 1e-9)) as u64 + 2;
    Some(UNITS.saturating_sub(units) << (64 - BITS))
}

/// Classes of a block: a bit for each [`TOGETHER`] of them.
const BLOCK: usize = 32 * TOGETHER;

/// Looks at the logits of a row, of the classes from `first_class` on, for several draws with their keys and bounds.
/// What is below a bound may be left out. Logits of −∞ never win, and nothing comes of a block with a NaN.
pub(crate) fn see<R: Real>(
    isa: Isa,
    (keys, bounds): (&[u64], &[Bound]),
    first_class: u32,
    logits: &[R],
    draws: &mut [Draw],
) {
    for (logits, first) in logits.chunks(BLOCK).zip((first_class..).step_by(BLOCK)) {
        let (largest, argmax) = block::maximum(isa, logits);
        let largest = (largest.to_f64(), argmax);
        if largest.0.is_finite() {
            for ((draw, &key), bound) in draws.iter_mut().zip(keys).zip(bounds) {
                draw.see(isa, key, bound, (first, logits), largest);
            }
        }
    }
}

impl Draw {
    /// Of no class.
    pub(crate) const NONE: Self =
        Self { score: f64::NEG_INFINITY, logit: f64::NEG_INFINITY, class: u32::MAX };

    /// Takes the better: the larger score, of equals the lower class.
    pub(crate) fn merge(&mut self, other: &Self) {
        let equal = other.score == self.score;
        if other.score > self.score || (equal && other.class < self.class) {
            *self = *other;
        }
    }

    /// Looks at a block of logits, the largest of which is finite; `key` is that of the row and the draw.
    fn see<R: Real>(
        &mut self,
        isa: Isa,
        key: u64,
        bound: &Bound,
        (first, logits): (u32, &[R]),
        (largest, argmax): (f64, usize),
    ) {
        let before = self.score;
        // Scores are rounded, and so may equal what is a little above them.
        let wanted = |own: f64| {
            let best = own.max(bound.get());
            best - largest - 4.0 * f64::EPSILON * best.abs().max(largest.abs())
        };
        if wanted(before) > MOST_NOISE {
            return;
        }
        // What the largest reaches, most others do not.
        self.try_class(key, first, logits, argmax);
        let Some(least) = least_bits(wanted(self.score)) else { return };
        let mut parts = isa.dispatch(Above { key, first, count: logits.len(), least });
        while parts != 0 {
            let start = parts.trailing_zeros() as usize * TOGETHER;
            parts &= parts - 1;
            for at in start..logits.len().min(start + TOGETHER) {
                if bits_at(key, place(first, at)) >= least {
                    self.try_class(key, first, logits, at);
                }
            }
        }
        if self.score > before {
            bound.raise(self.score);
        }
    }

    fn try_class<R: Real>(&mut self, key: u64, first: u32, logits: &[R], at: usize) {
        let logit = logits[at].to_f64();
        if logit > f64::NEG_INFINITY {
            let units = bits_at(key, place(first, at)) >> (64 - BITS);
            let class = first + at as u32;
            self.merge(&Self { score: logit + noise(units), logit, class });
        }
    }
}

/// Where the bits of a class stand in the sequence of a key.
#[inline(always)]
fn place(first: u32, at: usize) -> u64 {
    u64::from(first) + at as u64 + 1
}

/// Which of so many classes, some together, have bits of at least `least` among them.
struct Above {
    key: u64,
    first: u32,
    count: usize,
    least: u64,
}

impl Kernel for Above {
    type Output = u32;

    /// The loop is the compiler's to put into vectors.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u32 {
        let mut parts = 0;
        for (part, start) in (0..self.count).step_by(TOGETHER).enumerate() {
            let mut most = 0;
            // Those beyond the end are looked at for nothing.
            for at in start..start + TOGETHER {
                most = bits_at(self.key, place(self.first, at)).max(most);
            }
            parts |= u32::from(most >= self.least) << part;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Generator;

    #[test]
    fn the_noise_is_finite_at_both_ends_and_rises() {
        assert!((noise(UNITS - 1) - 54.0 * std::f64::consts::LN_2).abs() < 1e-14 * 38.0);
        assert!((noise(0) + (54.0 * std::f64::consts::LN_2).ln()).abs() < 1e-15 * 4.0);
        let around = [UNITS / 2 - 2, UNITS / 2 - 1, UNITS / 2, UNITS / 2 + 1];
        let found = around.map(noise);
        assert!(found.windows(2).all(|pair| pair[0] <= pair[1]), "{found:?}");
        assert!(noise(UNITS - 1) < MOST_NOISE && noise(0) > LEAST_NOISE);
    }

    /// Mean γ and variance π²/6; the sums of so many are within four of their standard deviations, of one in
    /// sixteen thousand of which a right sum is not.
    #[test]
    fn the_noise_has_the_moments_of_its_distribution() {
        const COUNT: usize = 200_000;
        let key = Generator::new(1).state();
        let all: Vec<f64> =
            (0..COUNT).map(|at| noise(bits_at(key, place(0, at)) >> (64 - BITS))).collect();
        let mean = all.iter().sum::<f64>() / COUNT as f64;
        let variance = all.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / COUNT as f64;
        let wanted = std::f64::consts::PI.powi(2) / 6.0;
        let deviations = 4.0 / (COUNT as f64).sqrt();
        assert!((mean - 0.577_215_664_901_532_9).abs() < deviations * wanted.sqrt(), "{mean}");
        // The fourth moment is 5.4 times the square of the variance.
        assert!((variance - wanted).abs() < deviations * wanted * 4.4_f64.sqrt(), "{variance}");
        // Neighbours go together no more than chance has it.
        let together: f64 = all.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
        assert!((together / COUNT as f64).abs() < deviations * wanted, "{together}");
    }

    /// No bits that reach what is wanted are left out, and not many others are looked at.
    #[test]
    fn the_least_bits_are_below_all_that_reach_a_noise() {
        let mut generator = Generator::new(5);
        for _ in 0..20_000 {
            let shift = generator.below(53) as u32;
            let units = match generator.below(2) {
                0 => (generator.bits() >> 11) >> shift,
                _ => UNITS - 1 - ((generator.bits() >> 11) >> shift),
            };
            let g = noise(units);
            let least = least_bits(g).unwrap() >> (64 - BITS);
            assert!(least <= units, "{units} {least}");
            let lost = (units - least) as f64;
            assert!(lost <= 8.0 + 2e-9 * (UNITS - units) as f64 + 1e-15 * UNITS as f64, "{units}");
        }
        assert_eq!((least_bits(38.0), least_bits(-4.0)), (None, Some(0)));
    }

    /// A look in pieces and with a bound finds what a look at each class finds.
    #[test]
    fn the_best_class_is_that_of_all_scores() {
        let isa = Isa::current().unwrap();
        let mut generator = Generator::new(7);
        for (trial, spread) in (0..300).zip([0.0, 0.3, 3.0, 30.0, 1000.0].into_iter().cycle()) {
            let count = 1 + generator.below(2500);
            // At the last of these many scores are equal after rounding.
            let offset = [0.0, -1e8, 1e15][trial / 5 % 3];
            let mut logits: Vec<f64> =
                (0..count).map(|_| offset + spread * generator.standard_normal()).collect();
            if trial % 7 == 0 {
                logits[generator.below(count)] = f64::NEG_INFINITY;
            }
            let (key, first) = (generator.bits(), generator.below(1000) as u32);
            let mut wanted = Draw::NONE;
            for at in 0..count {
                wanted.try_class(key, first, &logits, at);
            }
            let mut whole = [Draw::NONE];
            see(isa, (&[key], &[Bound::new()]), first, &logits, &mut whole);
            assert_eq!(whole, [wanted]);
            let (bounds, mut merged) = ([Bound::new()], Draw::NONE);
            let width = 1 + generator.below(300);
            for (i, piece) in logits.chunks(width).enumerate().rev() {
                let mut draw = [Draw::NONE];
                see(isa, (&[key], &bounds), first + (i * width) as u32, piece, &mut draw);
                merged.merge(&draw[0]);
            }
            assert_eq!(merged, wanted);
        }
    }
}
