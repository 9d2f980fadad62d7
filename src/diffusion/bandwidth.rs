//! Bandwidths by rule.

use std::sync::Mutex;

use super::neighbors::squared_neighbor_distances;
use super::options::Bandwidth;
use super::points::{Entries, Points};
use super::tiles::{Tile, blocks, for_each_tile};
use crate::{Error, Result};

/// σ by this rule, of at least two points.
pub(crate) fn resolve(points: &Points, rule: Bandwidth) -> Result<f64> {
    let sigma = match rule {
        Bandwidth::Sigma(sigma) => sigma,
        Bandwidth::SqrtDimension => (points.columns() as f64).sqrt(),
        Bandwidth::MedianDistance => points.distance(median_squared_distance(points) / 2.0),
        Bandwidth::NeighborDistance { neighbors } => {
            let mut squared = squared_neighbor_distances(points, neighbors)?;
            let middle = squared.len() / 2;
            let (below, &mut upper, _) = squared.select_nth_unstable_by(middle, f64::total_cmp);
            let lower = if points.rows().is_multiple_of(2) {
                below.iter().copied().fold(0.0, f64::max)
            } else {
                upper
            };
            0.5 * (points.distance(lower) + points.distance(upper))
        }
    };
    if sigma > 0.0 && sigma.is_finite() {
        return Ok(sigma);
    }
    Err(Error::Conflict {
        what: format!(
            "the rule {rule:?} gives the bandwidth {sigma} for these features, expected one above 0: \
             set sigma"
        ),
    })
}

/// The bits of a histogram's digit: its counters take 16 KiB, half of a first cache of 32. Not measured.
const DIGIT: u32 = 12;
/// So many values are sorted, not counted: 16 MiB, which saves a pass over all pairs. Not measured.
const SORTED: u64 = 1 << 21;

/// The median of d² over i < j: exact, in passes over the tiles that count by ever finer digits of
/// the bit patterns (whose order is that of the numbers).
fn median_squared_distance(points: &Points) -> f64 {
    let n = points.rows() as u64;
    let pairs = n * (n - 1) / 2;
    let (upper, below) = select(points, pairs, pairs / 2);
    if pairs % 2 == 1 {
        return upper;
    }
    let lower = below.unwrap_or_else(|| select(points, pairs, pairs / 2 - 1).0);
    0.5 * (lower + upper)
}

/// The value of this rank (from 0), and the one before where it was seen.
fn select(points: &Points, pairs: u64, rank: u64) -> (f64, Option<f64>) {
    let mut rank = rank as usize;
    let mut count = pairs;
    // All candidates share the bits above `shift`.
    let (mut prefix, mut shift) = (0_u64, 64_u32);
    let is_candidate = |bits: u64, prefix: u64, shift: u32| shift == 64 || bits >> shift == prefix;
    while count > SORTED && shift > 0 {
        let digit = DIGIT.min(shift);
        let next = shift - digit;
        let totals = Mutex::new(vec![0_u64; 1 << digit]);
        for_each_pair(points, |tile, first_column| {
            let mut counts = vec![0_u32; 1 << digit];
            for (i, row) in tile.by_rows().enumerate() {
                for squared in &row[first_column(i)..] {
                    let bits = squared.to_bits();
                    if is_candidate(bits, prefix, shift) {
                        counts[(bits >> next) as usize & ((1 << digit) - 1)] += 1;
                    }
                }
            }
            let mut totals = totals.lock().expect("no task panics while it counts");
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += u64::from(count);
            }
        });
        let totals = totals.into_inner().expect("no task panics while it counts");
        let mut bin = 0;
        while totals[bin] as usize <= rank {
            rank -= totals[bin] as usize;
            bin += 1;
        }
        count = totals[bin];
        prefix = if shift == 64 { bin as u64 } else { prefix << digit | bin as u64 };
        shift = next;
    }
    if shift == 0 {
        let value = f64::from_bits(prefix);
        return (value, (rank > 0).then_some(value));
    }
    let values = Mutex::new(Vec::new());
    for_each_pair(points, |tile, first_column| {
        let mut found = Vec::new();
        for (i, row) in tile.by_rows().enumerate() {
            let candidates = row[first_column(i)..].iter().copied();
            found.extend(candidates.filter(|x| is_candidate(x.to_bits(), prefix, shift)));
        }
        values.lock().expect("no task panics while it collects").extend(found);
    });
    let mut values = values.into_inner().expect("no task panics while it collects");
    let (below, &mut value, _) = values.select_nth_unstable_by(rank, f64::total_cmp);
    (value, below.iter().copied().reduce(f64::max))
}

/// Hands on each tile with the first column of each of its rows that is beyond the diagonal.
fn for_each_pair(points: &Points, work: impl Fn(&Tile<'_>, &dyn Fn(usize) -> usize) + Sync) {
    let mut states = vec![(); blocks(points.rows())];
    for_each_tile(points, Entries::SquaredDistances, &mut states, |tile, (), other| {
        let diagonal = other.is_none();
        work(tile, &|i| if diagonal { i + 1 } else { 0 });
    });
}
