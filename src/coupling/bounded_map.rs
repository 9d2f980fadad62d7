//! A map of symbols to fewer, whose entropy is bounded.

use super::masses::{Sum, check_distribution, entropy, term};
use super::unit::Unit;
use crate::error::{Error, Result, short};
use crate::sorting::sort_places;

/// How much an entropy may be above the rate, in nats, so that equality can be told.
const SLACK: f64 = 1e-12;

/// A map T = g(X) with H(T) ≤ R, and I(X;T) = H(T) large: the search for a bottleneck without noise.
///
/// Masses of 0 are left out. Where H(X) ≤ R it is the identity; else these two take turns until one ends it:
///
/// ```text
/// 1. merge the two smallest masses of the map; if the entropy is at most R, that map is it
/// 2. merge the two largest and keep that; if the entropy is at most R, this map is it
/// ```
///
/// So it is k merges of the largest, and then at most one of the smallest: after a sort, O(n). A merge of masses a and b
/// takes a ln(1 + b/a) + b ln(1 + a/b) from the entropy; here each entropy is of sums over what is not merged. The map
/// with the largest entropy is hard to find, and this is not always it. Of equal masses the one that holds the lowest
/// symbol comes first, and entropies are compared with a slack of 1e-12 nats.
///
/// The search is that of the code released with *Minimum Entropy Coupling with Bottleneck* (Ebrahimi et al. 2024).
/// Cases in `conformance/geometry.jsonl`: `entropy_bounded_map`.
///
/// ```
/// use surprisal::coupling::{EntropyBoundedMap, Unit};
/// let map = EntropyBoundedMap::of(&[0.25, 0.0, 0.25, 0.25, 0.25], 1.0, Unit::Bits)?;
/// assert_eq!(map.labels(), [Some(0), None, Some(0), Some(1), Some(1)]);
/// assert_eq!(map.masses(), [0.5, 0.5]);
/// assert_eq!(map.entropy(Unit::Bits), 1.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EntropyBoundedMap {
    labels: Vec<Option<usize>>,
    masses: Vec<f64>,
}

impl EntropyBoundedMap {
    /// The map of symbols with these masses at this rate, which may be infinite.
    ///
    /// # Errors
    /// [`Error::Shape`] for no symbols; [`Error::Value`] for a mass that is negative or not finite;
    /// [`Error::Conflict`] where they do not sum to 1 within 1e-9; [`Error::Option`] for a rate below 0 or NaN.
    pub fn of(masses: &[f64], rate: f64, unit: Unit) -> Result<Self> {
        check_distribution("p", masses)?;
        if rate.is_nan() || rate < 0.0 {
            let expected = "a number of at least 0, or infinity";
            return Err(Error::Option { name: "rate", value: short(rate), expected });
        }
        let bound = unit.to_nats(rate) + SLACK;
        let merges = Merges::until(masses, bound);
        Ok(Self::merged(masses, &merges))
    }

    /// Numbers the groups in the order in which their first symbols stand.
    fn merged(masses: &[f64], merges: &Merges) -> Self {
        // Of each symbol the one that stands for its group: none yet.
        let mut group: Vec<usize> = (0..masses.len()).collect();
        for list in [&merges.largest[..], &merges.smallest] {
            if let Some(&first) = list.first() {
                list.iter().for_each(|&symbol| group[symbol] = first);
            }
        }
        let mut numbers: Vec<Option<usize>> = vec![None; masses.len()];
        let mut sums: Vec<Sum> = Vec::new();
        let label = |(symbol, &mass): (usize, &f64)| {
            if mass == 0.0 {
                return None;
            }
            let number = *numbers[group[symbol]].get_or_insert_with(|| {
                sums.push(Sum::default());
                sums.len() - 1
            });
            sums[number].add(mass);
            Some(number)
        };
        let labels = masses.iter().enumerate().map(label).collect();
        Self { labels, masses: sums.into_iter().map(Sum::value).collect() }
    }

    /// The group that each symbol is mapped to, numbered by their first symbols; none of a symbol without mass.
    pub fn labels(&self) -> &[Option<usize>] {
        &self.labels
    }

    /// The mass of each group.
    pub fn masses(&self) -> &[f64] {
        &self.masses
    }

    /// H(T) = I(X;T).
    pub fn entropy(&self, unit: Unit) -> f64 {
        unit.of_nats(entropy(self.masses.iter().copied()))
    }
}

/// Which symbols become one: the k + 1 largest, and perhaps two of the smallest.
struct Merges {
    largest: Vec<usize>,
    smallest: Vec<usize>,
}

impl Merges {
    fn until(masses: &[f64], bound: f64) -> Self {
        // Ascending (mass, index), and descending (−mass, index): not each other's reverse where masses are equal.
        let symbols = || (0..masses.len()).filter(|&symbol| masses[symbol] > 0.0);
        let mut ascending: Vec<usize> = symbols().collect();
        sort_places(&mut ascending, |a, b| masses[a].total_cmp(&masses[b]));
        let mut descending: Vec<usize> = symbols().collect();
        sort_places(&mut descending, |a, b| masses[b].total_cmp(&masses[a]));
        let count = descending.len();
        let none = || Self { largest: Vec::new(), smallest: Vec::new() };

        // The entropy terms of all from the k-th largest on, summed from the small end.
        let mut beyond = vec![0.0; count + 1];
        let mut sum = Sum::default();
        for k in (0..count).rev() {
            sum.add(term(masses[descending[k]]));
            beyond[k] = sum.value();
        }
        if beyond[0] <= bound {
            return none();
        }
        let mut inside = vec![false; masses.len()];
        let mut first = 0;
        let mut large = Sum::default();
        for merged in 1..=count {
            // The largest `merged` symbols are one, with the mass `large`.
            let newest = descending[merged - 1];
            large.add(masses[newest]);
            inside[newest] = true;
            let entropy = term(large.value()) + beyond[merged];
            let largest = || match merged {
                1 => Vec::new(),
                _ => descending[..merged].to_vec(),
            };
            if merged == count || (merged > 1 && entropy <= bound) {
                return Self { largest: largest(), smallest: Vec::new() };
            }
            // A single symbol is not merged yet: it may be one of the smallest.
            let taken = |symbol: usize| merged > 1 && inside[symbol];
            while first < count && taken(ascending[first]) {
                first += 1;
            }
            let mut free = ascending[first..].iter().copied().filter(|&symbol| !taken(symbol));
            let (Some(a), Some(b)) = (free.next(), free.next()) else { continue };
            if entropy - taken_by(masses[a], masses[b]) <= bound {
                return Self { largest: largest(), smallest: vec![a, b] };
            }
        }
        none()
    }
}

/// What a merge of two masses takes from the entropy, the first of them the smaller.
fn taken_by(small: f64, large: f64) -> f64 {
    let quotient = large / small;
    let of_small = match quotient.is_finite() {
        true => quotient.ln_1p(),
        false => (small + large).ln() - small.ln(),
    };
    small * of_small + large * (small / large).ln_1p()
}
