//! All pairs of points, a tile at a time, each pair once.
//!
//! The blocks of points meet as the players of a round-robin tournament do (the circle method): within
//! a round no block is in two tiles, so that a tile may write to the states of both its blocks, in
//! parallel and in an order that does not depend on the threads.

use std::ops::Range;

use super::points::{BLOCK, Entries, Points};
use crate::parallel;

/// A tile of distances or of the kernel: entry (i, j) at `i·BLOCK + j`.
pub(crate) struct Tile<'a> {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
    pub(crate) entries: &'a [f64],
}

impl<'a> Tile<'a> {
    /// The entries row by row.
    pub(crate) fn by_rows(&self) -> impl Iterator<Item = &'a [f64]> {
        let columns = self.columns.len();
        self.entries.chunks_exact(BLOCK).take(self.rows.len()).map(move |row| &row[..columns])
    }
}

/// How many blocks the points have.
pub(crate) fn blocks(rows: usize) -> usize {
    rows.div_ceil(BLOCK)
}

/// The points of a block.
pub(crate) fn block(index: usize, rows: usize) -> Range<usize> {
    index * BLOCK..rows.min((index + 1) * BLOCK)
}

/// Hands each tile on or above the diagonal to `work`, once, with the states of its blocks: of the
/// rows, and of the columns where they are another block.
pub(crate) fn for_each_tile<S: Send>(
    points: &Points,
    entries: Entries,
    states: &mut [S],
    work: impl Fn(&Tile<'_>, &mut S, Option<&mut S>) + Sync,
) {
    let rows = points.rows();
    let count = blocks(rows);
    assert_eq!(states.len(), count, "a state for each block");
    let mut scratches = vec![vec![0.0; BLOCK * BLOCK]; parallel::threads().clamp(1, count)];
    let players = count.next_multiple_of(2);
    for round in 0..players {
        let mut free: Vec<Option<&mut S>> = states.iter_mut().map(Some).collect();
        let mut take = |index: usize| free[index].take().expect("a block meets one in a round");
        let tasks: Vec<(usize, usize, &mut S, Option<&mut S>)> = if round == 0 {
            (0..count).map(|index| (index, index, take(index), None)).collect()
        } else {
            pairs(players, round - 1)
                .filter(|&(_, second)| second < count)
                .map(|(first, second)| (first, second, take(first), Some(take(second))))
                .collect()
        };
        parallel::for_each(&mut scratches, tasks, |scratch, (first, second, one, other)| {
            let (rows, columns) = (block(first, rows), block(second, rows));
            points.fill(rows.clone(), columns.clone(), entries, BLOCK, scratch);
            work(&Tile { rows, columns, entries: scratch }, one, other);
        });
    }
}

/// The pairs of a round, the smaller first.
fn pairs(players: usize, round: usize) -> impl Iterator<Item = (usize, usize)> {
    let circle = players - 1;
    (0..players / 2).map(move |k| {
        let (a, b) = match k {
            0 => (round, circle),
            _ => ((round + k) % circle, (round + circle - k) % circle),
        };
        (a.min(b), a.max(b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_meets_once_and_nobody_twice_in_a_round() {
        for players in [2, 4, 6, 8, 30] {
            let mut met = vec![0; players * players];
            for round in 0..players - 1 {
                let mut busy = vec![false; players];
                for (a, b) in pairs(players, round) {
                    assert!(a < b && !busy[a] && !busy[b]);
                    (busy[a], busy[b]) = (true, true);
                    met[a * players + b] += 1;
                }
            }
            assert_eq!(met.iter().sum::<usize>(), players * (players - 1) / 2);
            assert!(met.iter().all(|&times| times <= 1));
        }
    }
}
