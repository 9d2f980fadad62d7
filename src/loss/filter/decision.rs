//! What is negligible in the gradients, decided once the log-sum-exp is known.

use std::ops::Range;

use super::lists::Lists;
use super::record::Record;
use crate::element::Real;
use crate::gemm::{GROUP, PANEL};
use crate::loss::engine::filter_rule::FilterRule;
use crate::loss::engine::problem::{Problem, Row};
use crate::loss::inputs::Targets;
use crate::parallel;
use crate::softmax::RowState;

/// What a filter leaves out of the gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dropped {
    /// The share of segments kept.
    pub(crate) kept: f64,
    /// The largest probability that one row loses.
    pub(crate) largest: f64,
    /// The mean probability that a row loses.
    pub(crate) mean: f64,
}

impl Dropped {
    /// Everything is kept.
    pub(crate) const NOTHING: Self = Self { kept: 1.0, largest: 0.0, mean: 0.0 };
}

/// Rows that are decided by one task: a bit of a word for each.
const ROWS: usize = 64;

/// A filter at work on one call.
pub(crate) struct ActiveFilter<'a> {
    record: &'a Record,
    panels: usize,
    /// Of each 64 rows and each panel a word, with the bits of those that are kept.
    kept: Vec<u64>,
    pub(crate) dropped: Dropped,
}

impl<'a> ActiveFilter<'a> {
    /// The filter of a problem that has one, with what its forward has recorded and folded.
    pub(crate) fn new<R: Real>(
        problem: &Problem<'_, R>,
        record: Option<&'a Record>,
        states: &[RowState],
        workers: usize,
    ) -> Option<Self> {
        let record = record.filter(|record| record.fits(problem.rows.len(), problem.columns))?;
        let rule = problem.filter?;
        let panels = problem.columns.div_ceil(PANEL);
        let mut kept = vec![0; states.len().div_ceil(ROWS) * panels];
        let mut results = vec![(0_usize, 0.0_f64); states.len()];
        let parts = kept.chunks_mut(panels.max(1)).zip(results.chunks_mut(ROWS));
        let mut all: Vec<Deciding> = (0..workers).map(|_| Deciding::default()).collect();
        type Part<'p> = (usize, (&'p mut [u64], &'p mut [(usize, f64)]));
        let task = |deciding: &mut Deciding, (i, (words, results)): Part<'_>| {
            for (row, result) in (i * ROWS..).zip(results) {
                let log_sum_exp = states[row].log_sum_exp();
                deciding.see(record, row, log_sum_exp, panels);
                problem.each_target_panel(&problem.rows[row], |p| deciding.kept[p] = true);
                deciding.decide(record, row, log_sum_exp, rule);
                *result = deciding.put(record, row, words);
            }
        };
        parallel::for_each(&mut all, parts.enumerate().collect(), task);
        let dropped = Dropped::of(&results, panels);
        Some(Self { record, panels, kept, dropped })
    }

    /// The bytes for so many rows and columns, and for each task.
    pub(crate) fn bytes(rows: usize, columns: usize) -> [usize; 2] {
        let panels = columns.div_ceil(PANEL);
        let words = rows.div_ceil(ROWS).saturating_mul(panels).saturating_mul(size_of::<u64>());
        // The masses, those of one size, and flags; tiles are a few panels at least, or few themselves.
        let of_panel = 2 * size_of::<f64>() + size_of::<bool>() + size_of::<f64>();
        [words, panels.saturating_mul(of_panel)]
    }

    /// Whether a panel of a row, by its place among the kept rows, is kept.
    fn keeps(&self, place: usize, panel: usize) -> bool {
        self.kept[place / ROWS * self.panels + panel] >> (place % ROWS) & 1 == 1
    }

    /// Lists the rows of a chunk that matter in each panel of a block. `places` gives of each its
    /// place among the kept rows.
    pub(crate) fn list(
        &self,
        places: impl ExactSizeIterator<Item = usize> + Clone,
        block: &Range<usize>,
        lists: &mut Lists,
    ) {
        let Lists { names, starts, counts } = lists;
        names.clear();
        starts.clear();
        counts.clear();
        for start in block.clone().step_by(PANEL) {
            let first = names.len();
            starts.push(first);
            let kept = places.clone().enumerate().filter(|(_, p)| self.keeps(*p, start / PANEL));
            names.extend(kept.map(|(i, _)| i as u32));
            counts.push(names.len() - first);
            let whole = (names.len() - first).next_multiple_of(GROUP);
            names.resize(first + whole, places.len() as u32);
        }
        starts.push(names.len());
    }

    /// The probability that a row loses in each panel of a block, of those that are dropped.
    pub(crate) fn lost(
        &self,
        (place, log_sum_exp): (usize, f64),
        block: &Range<usize>,
        mut each: impl FnMut(usize, f64),
    ) {
        let (_, segments) = self.record.tiling();
        let mut known = (usize::MAX, 0, 0.0);
        for (p, start) in block.clone().step_by(PANEL).enumerate() {
            let panel = start / PANEL;
            let (tile, segment) = (panel / segments, panel % segments);
            if known.0 != tile {
                let at = self.record.at(place, tile);
                known = (tile, at, (self.record.maximum(at) - log_sum_exp).exp());
            }
            let (_, at, factor) = known;
            if !self.keeps(place, panel) {
                each(p, f64::from(self.record.sum(at, segment)) * factor);
            }
        }
    }
}

impl<R: Real> Problem<'_, R> {
    /// The panels of this shard that hold a target of the row.
    fn each_target_panel(&self, row: &Row, mut each: impl FnMut(usize)) {
        let own = self.first_class..self.first_class + self.columns;
        let panel = |class: usize| (class - own.start) / PANEL;
        match &self.targets {
            Targets::Hard(_) => Some(row.target as usize)
                .filter(|y| own.contains(y))
                .map(panel)
                .into_iter()
                .for_each(each),
            Targets::Sparse { .. } => {
                let all = self.sparse_of(row, own.clone());
                all.iter().for_each(|&(class, _)| each(panel(class as usize)))
            }
            Targets::Soft(_) => (0..self.columns.div_ceil(PANEL)).for_each(each),
        }
    }
}

impl Dropped {
    /// That of rows, each with the number of its panels that are kept and the probability that it loses.
    fn of(results: &[(usize, f64)], panels: usize) -> Self {
        let rows = results.len().max(1) as f64;
        let kept: usize = results.iter().map(|&(kept, _)| kept).sum();
        let share = kept as f64 / (results.len() * panels).max(1) as f64;
        Self {
            kept: if results.is_empty() { 1.0 } else { share },
            largest: results.iter().fold(0.0, |most, &(_, lost)| lost.max(most)),
            mean: results.iter().map(|&(_, lost)| lost).sum::<f64>() / rows,
        }
    }
}

/// Sizes of masses, by powers of two: those below 2⁻⁶² are of one size.
const SIZES: usize = 64;

/// What a recorded sum may be below the exact one, relatively: bf16 is off by 2⁻⁸, and the rest is for the
/// roundings of f32.
const ROUNDING: f64 = 1.0 / 200.0;

/// A sum in bf16 that is smaller may have lost digits, or be 0 where none is.
const LEAST_SUM: f32 = f32::MIN_POSITIVE;

/// The decision about one row.
#[derive(Default)]
struct Deciding {
    /// e^(largest of the tile − lse) of each tile.
    factors: Vec<f64>,
    /// The most probability that each panel can have; NaN of those that are kept anyhow.
    masses: Vec<f64>,
    kept: Vec<bool>,
    /// The masses of one size.
    equals: Vec<f64>,
}

impl Deciding {
    /// Takes over what is recorded of a row; nothing is kept yet.
    fn see(&mut self, record: &Record, row: usize, log_sum_exp: f64, panels: usize) {
        let (tiles, _) = record.tiling();
        self.factors.clear();
        self.factors.extend(
            (0..tiles).map(|tile| (record.maximum(record.at(row, tile)) - log_sum_exp).exp()),
        );
        self.kept.clear();
        self.kept.resize(panels, false);
        // No more than this is counted in the plan.
        self.masses.clear();
        self.masses.reserve_exact(panels);
        self.equals.clear();
        self.equals.reserve_exact(panels);
    }

    /// Adds to what is kept what the cut keeps.
    #[allow(clippy::neg_cmp_op_on_partial_ord)] // What is NaN is kept.
    fn decide(&mut self, record: &Record, row: usize, log_sum_exp: f64, rule: FilterRule) {
        let (_, segments) = record.tiling();
        match rule {
            FilterRule::Below(threshold) => {
                let least = log_sum_exp + threshold.ln();
                for (tile, kept) in self.kept.chunks_mut(segments).enumerate() {
                    let at = record.at(row, tile);
                    for (segment, kept) in kept.iter_mut().enumerate() {
                        *kept |= !(record.largest(at, segment) < least);
                    }
                }
            }
            FilterRule::Mass(mass) => {
                let panels = self.kept.len();
                for (tile, &factor) in self.factors.iter().enumerate() {
                    let at = record.at(row, tile);
                    for segment in 0..segments.min(panels - self.masses.len()) {
                        let kept = self.kept[self.masses.len()];
                        // The largest is NaN where the segment has one.
                        let stays = kept || record.largest(at, segment).is_nan();
                        let sum = record.sum(at, segment).max(LEAST_SUM);
                        self.masses.push(if stays { f64::NAN } else { f64::from(sum) * factor });
                    }
                }
                let (threshold, mut equal) = self.threshold(mass / (1.0 + ROUNDING));
                for (kept, &mass) in self.kept.iter_mut().zip(&self.masses) {
                    *kept = !(mass < threshold);
                    if mass == threshold && equal > 0 {
                        equal -= 1;
                        *kept = false;
                    }
                }
            }
        }
    }

    /// The least mass that is not dropped with all that are smaller, where together at most `most` is, and how
    /// many of it are dropped all the same.
    fn threshold(&mut self, most: f64) -> (f64, usize) {
        let exponent = |mass: f64| (mass.to_bits() >> 52) as usize;
        let size = |mass: f64| (exponent(mass) + SIZES - 1).saturating_sub(1023).min(SIZES);
        let mut sums = [0.0; SIZES + 1];
        for &mass in self.masses.iter().filter(|mass| !mass.is_nan()) {
            sums[size(mass)] += mass;
        }
        let mut left = most;
        let Some(full) = sums.iter().position(|&sum| {
            let fits = sum <= left;
            left -= if fits { sum } else { 0.0 };
            !fits
        }) else {
            return (f64::INFINITY, 0);
        };
        self.equals.clear();
        let of_size = |mass: &f64| !mass.is_nan() && size(*mass) == full;
        self.equals.extend(self.masses.iter().copied().filter(of_size));
        self.equals.sort_unstable_by(f64::total_cmp);
        let mut smaller = left;
        let mut last = f64::NEG_INFINITY;
        for &mass in &self.equals {
            if mass != last {
                (smaller, last) = (left, mass);
            }
            if mass > left {
                break;
            }
            left -= mass;
        }
        (last, (smaller / last) as usize)
    }

    /// Puts the bits of a row; how many panels are kept, and what it loses with the others.
    fn put(&self, record: &Record, row: usize, words: &mut [u64]) -> (usize, f64) {
        let bit = row % ROWS;
        let (_, segments) = record.tiling();
        let (mut count, mut lost) = (0, 0.0);
        let tiles = self.kept.chunks(segments).zip(words.chunks_mut(segments)).zip(&self.factors);
        for (tile, ((kept, words), factor)) in tiles.enumerate() {
            let at = record.at(row, tile);
            let mut sum = 0.0;
            for (segment, (&kept, word)) in kept.iter().zip(words).enumerate() {
                *word |= u64::from(kept) << bit;
                count += usize::from(kept);
                if !kept {
                    sum += record.sum(at, segment);
                }
            }
            if sum > 0.0 {
                lost += f64::from(sum) * factor;
            }
        }
        (count, lost)
    }
}
