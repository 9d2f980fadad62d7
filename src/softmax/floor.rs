//! The floor of a truncated row: what is below it is no class of the row.

use std::cmp::Ordering;

use super::block::{self, Moments};
use crate::element::Real;
use crate::simd::{Isa, Kernel, Simd, Vector, read, splat};

/// The logits of a row that stay: those above θ, and at θ the classes up to one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Floor {
    /// θ, a number of the type that is computed in.
    pub(crate) threshold: f64,
    /// The last class that stays with a logit of θ.
    pub(crate) last: u32,
}

/// Which classes of a row are to stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// At least 1.
    pub(crate) top_k: usize,
    /// From 1 on all.
    pub(crate) top_p: f64,
    /// 0 for all.
    pub(crate) min_p: f64,
    /// Whether equal logits stay or go together; else the lower classes come first.
    pub(crate) ties_together: bool,
}

impl Rule {
    /// Whether the largest logit of a row of so many says which of them stay.
    pub(crate) fn needs_maximum_alone(&self, columns: usize) -> bool {
        self.top_k >= columns && self.top_p >= 1.0
    }

    /// The floor of a row without top-k and top-p, from its largest logit.
    pub(crate) fn below_maximum<R: Real>(&self, maximum: f64) -> Floor {
        match self.min_p > 0.0 && maximum.is_finite() {
            true => {
                let threshold = at_least::<R>(maximum, self.min_p.ln());
                Floor { threshold, last: u32::MAX }
            }
            false => Floor::NONE,
        }
    }

    /// The floor of a row of logits; `room` is as long. A row with a NaN, or without a finite maximum, has none.
    pub(crate) fn floor<R: Real>(&self, isa: Isa, logits: &[R], room: &mut [R]) -> Floor {
        let (maximum, _) = block::maximum(isa, logits);
        if !maximum.to_f64().is_finite() {
            return Floor::NONE;
        }
        let mut floor = self.below_maximum::<R>(maximum.to_f64());
        if self.needs_maximum_alone(logits.len()) {
            return floor;
        }
        room.copy_from_slice(logits);
        let (mut threshold, mut count) = (R::NEG_INFINITY, room.len());
        if self.top_k < count {
            let (_, least, rest) = room.select_nth_unstable_by(self.top_k - 1, descending);
            threshold = *least;
            count = self.top_k;
            if self.ties_together {
                count += to_the_front(rest, threshold);
            }
        }
        if self.top_p < 1.0 {
            (threshold, count) = nucleus(isa, &mut room[..count], maximum, self.top_p);
        }
        let threshold_of = threshold.to_f64();
        if threshold_of > f64::NEG_INFINITY && threshold_of >= floor.threshold {
            let last = match self.ties_together {
                true => u32::MAX,
                false => last_of(isa, logits, threshold, count),
            };
            floor = Floor { threshold: threshold_of, last };
        }
        floor
    }
}

/// The larger first.
fn descending<R: Real>(a: &R, b: &R) -> Ordering {
    b.partial_cmp(a).unwrap_or(Ordering::Equal)
}

/// Brings what equals `value` to the front; how many there are.
fn to_the_front<R: Real>(logits: &mut [R], value: R) -> usize {
    let mut count = 0;
    for i in 0..logits.len() {
        if logits[i] == value {
            logits.swap(i, count);
            count += 1;
        }
    }
    count
}

/// The class of the last of `count` logits, the larger and of equals the lower classes first, of which the least
/// is `threshold`.
fn last_of<R: Real>(isa: Isa, logits: &[R], threshold: R, count: usize) -> u32 {
    let nth = count - block::count_above(isa, logits, threshold);
    let mut equals = (0_u32..).zip(logits).filter(|(_, x)| **x == threshold);
    equals.nth(nth.saturating_sub(1)).map_or(u32::MAX, |(class, _)| class)
}

/// Σ e^(x−m) in f64.
fn mass<R: Real>(isa: Isa, logits: &[R], maximum: f64) -> f64 {
    let mut wide = [0.0; 256];
    let sum = |some: &[R]| {
        let wide = &mut wide[..some.len()];
        for (to, x) in wide.iter_mut().zip(some) {
            *to = x.to_f64();
        }
        block::reduce_below(isa, wide, maximum, Moments::Zeroth).map_or(0.0, |(sum, _)| sum)
    };
    logits.chunks(256).map(sum).sum()
}

/// The least of the largest logits that have `top_p` of the mass of all of these, and how many those are. The
/// logits change their order: those are halved, so to say, by their number, until few are left to be sorted.
fn nucleus<R: Real>(isa: Isa, logits: &mut [R], maximum: R, top_p: f64) -> (R, usize) {
    let m = maximum.to_f64();
    let wanted = top_p * mass(isa, logits, m);
    let (mut above, mut at) = (0.0, 0..logits.len());
    while at.len() > 64 {
        // The few largest mostly have it.
        let some = at.len() / 8;
        logits[at.clone()].select_nth_unstable_by(some, descending);
        let own = mass(isa, &logits[at.start..at.start + some], m);
        if above + own >= wanted {
            at.end = at.start + some;
        } else {
            above += own;
            at.start += some;
        }
    }
    let end = at.end;
    logits[at.clone()].sort_unstable_by(descending);
    for i in at {
        above += (logits[i].to_f64() - m).exp();
        if above >= wanted {
            return (logits[i], i + 1);
        }
    }
    (logits[end - 1], end)
}

/// The least number of the type from m + l on.
fn at_least<R: Real>(m: f64, l: f64) -> f64 {
    let sum = m + l;
    // What the sum has lost.
    let part = sum - m;
    let lost = (m - (sum - part)) + (l - part);
    let least = if lost > 0.0 { sum.next_up() } else { sum };
    let rounded = R::from_f64(least).to_f64();
    match rounded < least {
        true if R::EPSILON > f64::EPSILON => f64::from((rounded as f32).next_up()),
        _ => rounded,
    }
}

impl Floor {
    /// Nothing is below.
    pub(crate) const NONE: Self = Self { threshold: f64::NEG_INFINITY, last: u32::MAX };

    /// Whether nothing is below.
    pub(crate) fn is_none(&self) -> bool {
        self.threshold == f64::NEG_INFINITY
    }

    /// Puts −∞ in the place of the logits below, of the classes from `first_class` on. A NaN stays.
    pub(crate) fn apply<R: Real>(&self, isa: Isa, first_class: usize, logits: &mut [R]) {
        if self.is_none() {
            return;
        }
        let threshold = R::from_f64(self.threshold);
        isa.dispatch(ApplyFloor { logits: &mut *logits, threshold });
        let beyond = (self.last as usize).saturating_add(1).saturating_sub(first_class);
        for x in logits.iter_mut().skip(beyond).filter(|x| **x == threshold) {
            *x = R::NEG_INFINITY;
        }
    }
}

struct ApplyFloor<'a, R> {
    logits: &'a mut [R],
    threshold: R,
}

impl<R: Real> Kernel for ApplyFloor<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let lanes = <R::Vector<S>>::LANES;
        let Self { logits, threshold } = self;
        let threshold = splat::<S, R>(simd, threshold);
        let nothing = splat::<S, R>(simd, R::NEG_INFINITY);
        let mut offset = 0;
        while offset < logits.len() {
            let whole = offset + lanes <= logits.len();
            let x = read::<S, R>(simd, logits, offset, whole);
            let x = <R::Vector<S>>::select_less(x, threshold, nothing, x);
            if whole {
                x.store(&mut logits[offset..]);
            } else {
                x.store_tail(&mut logits[offset..], R::ZERO);
            }
            offset += lanes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Generator;

    /// By a sort of all, in the words of the definition.
    fn kept(rule: &Rule, logits: &[f64]) -> Vec<bool> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let m = logits[order[0]];
        let mut stays = vec![true; logits.len()];
        if rule.top_k < logits.len() {
            let least = logits[order[rule.top_k - 1]];
            for (at, &v) in order.iter().enumerate() {
                let tie = rule.ties_together && logits[v] == least;
                stays[v] = at < rule.top_k || tie;
            }
        }
        if rule.top_p < 1.0 {
            let p = |v: usize| if stays[v] { (logits[v] - m).exp() } else { 0.0 };
            let all: f64 = order.iter().map(|&v| p(v)).sum();
            let before = |at: usize| -> f64 {
                let own = logits[order[at]];
                let above = |&(i, &v): &(usize, &usize)| match rule.ties_together {
                    true => logits[v] > own,
                    false => i < at,
                };
                order.iter().enumerate().filter(above).map(|(_, &v)| p(v) / all).sum()
            };
            let within: Vec<bool> = (0..order.len()).map(|at| before(at) < rule.top_p).collect();
            for (at, &v) in order.iter().enumerate() {
                stays[v] &= within[at];
            }
        }
        for (stays, &x) in stays.iter_mut().zip(logits) {
            *stays &= x > f64::NEG_INFINITY && (rule.min_p == 0.0 || x - m >= rule.min_p.ln());
        }
        stays
    }

    #[test]
    fn what_stays_is_what_a_whole_sort_says() {
        let isa = Isa::current().unwrap();
        let mut generator = Generator::new(3);
        for columns in [1, 2, 7, 63, 65, 300, 700] {
            for trial in 0..60 {
                // Quarters, so that many are equal; in every third row some are −∞.
                let logits: Vec<f64> = (0..columns)
                    .map(|_| {
                        let lost = trial % 3 == 0 && generator.below(4) == 0;
                        let x = (generator.standard_normal() * 12.0).round() / 4.0;
                        if lost { f64::NEG_INFINITY } else { x }
                    })
                    .collect();
                if logits.iter().all(|x| *x == f64::NEG_INFINITY) {
                    continue;
                }
                let rule = Rule {
                    top_k: [usize::MAX, 1 + generator.below(columns)][trial % 2],
                    // No mass of quarters in e is within rounding of these.
                    top_p: [1.0, 0.1 + 0.8 * generator.uniform()][trial / 2 % 2],
                    min_p: [0.0, 0.2 * generator.uniform() + 1e-6][trial / 4 % 2],
                    ties_together: trial / 8 % 2 == 0,
                };
                let mut room = vec![0.0; columns];
                let mut cut = logits.clone();
                rule.floor(isa, &logits, &mut room).apply(isa, 0, &mut cut);
                let found: Vec<bool> = cut.iter().map(|x| *x > f64::NEG_INFINITY).collect();
                assert_eq!(found, kept(&rule, &logits), "{columns} {trial} {rule:?}");
                // In pieces it is the same.
                let floor = rule.floor(isa, &logits, &mut room);
                let mut pieces = logits.clone();
                for (i, piece) in pieces.chunks_mut(5).enumerate() {
                    floor.apply(isa, 5 * i, piece);
                }
                assert_eq!(pieces, cut);
            }
        }
    }

    #[test]
    fn a_threshold_is_the_least_number_of_the_type_that_is_not_below() {
        assert_eq!(at_least::<f64>(3.0, 0.0), 3.0);
        let l = -2_f64.powi(-60);
        assert_eq!(at_least::<f64>(1.0, l), 1.0);
        assert_eq!(at_least::<f64>(1.0, -l), 1.0_f64.next_up());
        assert_eq!(at_least::<f32>(1.0, 2_f64.powi(-40)), f64::from(1.0_f32.next_up()));
        assert_eq!(at_least::<f32>(1.0, l), 1.0);
    }

    #[test]
    fn a_row_without_a_maximum_has_no_floor() {
        let isa = Isa::current().unwrap();
        let rule = Rule { top_k: 1, top_p: 0.5, min_p: 0.5, ties_together: true };
        for lost in [f64::NAN, f64::INFINITY] {
            assert_eq!(rule.floor(isa, &[0.0, lost, 1.0], &mut [0.0; 3]), Floor::NONE);
        }
        assert_eq!(rule.floor(isa, &[f64::NEG_INFINITY; 2], &mut [0.0; 2]), Floor::NONE);
    }
}
