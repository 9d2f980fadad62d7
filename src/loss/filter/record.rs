//! What is negligible in the gradients: recorded by the forward, decided once the log-sum-exp is
//! known.

use half::bf16;
use std::f64::consts::LN_2;
use std::ops::Range;

use crate::element::Real;
use crate::gemm::{GROUP, PANEL};
use crate::loss::engine::problem::{Problem, Row};
use crate::loss::inputs::Targets;
use crate::parallel;
use crate::softmax::{RowState, segments};

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

/// Steps of a gap between logits in a factor of two: a byte then reaches down to e⁻⁸⁸, as
/// the normal numbers of f32 do.
const STEPS: f64 = 2.0;

/// What the forward has seen of each row's segments of 32 classes.
///
/// Of every tile of columns its largest logit, and of every segment in it how far its largest logit
/// is below that (in steps of ½ ln 2, rounded so that the segment is not taken for smaller than it
/// is) and Σ e^(x − largest of the tile).
#[derive(Clone, Debug)]
pub(crate) struct Record {
    rows: usize,
    columns: usize,
    /// Rows that were folded at once: those of one tile stand together.
    wave: usize,
    tiles: usize,
    /// Segments of a tile.
    segments: usize,
    maxima: Vec<f32>,
    gaps: Vec<u8>,
    sums: Vec<bf16>,
}

/// What one task of the forward writes: some tiles of the rows of a wave.
pub(crate) struct RecordPart<'a> {
    rows: usize,
    segments: usize,
    maxima: &'a mut [f32],
    gaps: &'a mut [u8],
    sums: &'a mut [bf16],
}

impl Record {
    /// The bytes for so many rows and columns.
    pub(crate) fn bytes(rows: usize, columns: usize, tile_columns: usize) -> [usize; 3] {
        let segment = size_of::<u8>() + size_of::<bf16>();
        let tile = size_of::<f32>() + tile_columns / PANEL * segment;
        [rows, columns.div_ceil(tile_columns), tile]
    }

    pub(crate) fn new(rows: usize, wave: usize, columns: usize, tile_columns: usize) -> Self {
        let (tiles, segments) = (columns.div_ceil(tile_columns), tile_columns / PANEL);
        let all = rows * tiles;
        Self {
            rows,
            columns,
            wave,
            tiles,
            segments,
            maxima: vec![0.0; all],
            gaps: vec![0; all * segments],
            sums: vec![bf16::ZERO; all * segments],
        }
    }

    /// The parts of tasks that fold so many tiles each of the rows of a wave.
    pub(crate) fn parts(
        &mut self,
        rows: Range<usize>,
        tiles: impl Iterator<Item = usize>,
    ) -> Vec<RecordPart<'_>> {
        let (first, last) = (rows.start * self.tiles, rows.end * self.tiles);
        let segments = self.segments;
        let mut maxima = &mut self.maxima[first..last];
        let mut gaps = &mut self.gaps[first * segments..last * segments];
        let mut sums = &mut self.sums[first * segments..last * segments];
        let mut part = |count: usize| {
            let count = count * rows.len();
            let (own_maxima, rest) = std::mem::take(&mut maxima).split_at_mut(count);
            maxima = rest;
            let (own_gaps, rest) = std::mem::take(&mut gaps).split_at_mut(count * segments);
            gaps = rest;
            let (own_sums, rest) = std::mem::take(&mut sums).split_at_mut(count * segments);
            sums = rest;
            let rows = rows.len();
            RecordPart { rows, segments, maxima: own_maxima, gaps: own_gaps, sums: own_sums }
        };
        tiles.map(&mut part).collect()
    }

    /// Where a row's tile stands.
    fn at(&self, row: usize, tile: usize) -> usize {
        let first = row / self.wave * self.wave;
        let rows = self.wave.min(self.rows - first);
        first * self.tiles + tile * rows + row - first
    }

    /// Whether a segment of a row may matter. `!(a < b)` keeps what is NaN.
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    fn matters(&self, at: usize, segment: usize, cut: f64) -> bool {
        let gap = f64::from(self.gaps[at * self.segments + segment]) * (LN_2 / STEPS);
        !(f64::from(self.maxima[at]) - gap < cut)
    }

    /// Whether it is of so many rows and columns.
    fn fits(&self, rows: usize, columns: usize) -> bool {
        (self.rows, self.columns) == (rows, columns)
    }
}

impl RecordPart<'_> {
    /// Records the logits of a row in a tile of this part.
    pub(crate) fn put<R: Real>(
        &mut self,
        isa: crate::simd::Isa,
        tile: usize,
        row: usize,
        logits: &[R],
        maximum: R,
    ) {
        let at = tile * self.rows + row;
        let (mut largest, mut sums) = ([R::ZERO; 8], [R::ZERO; 8]);
        let count = logits.len().div_ceil(PANEL);
        segments::reduce(isa, logits, maximum, &mut largest[..count], &mut sums[..count]);
        let maximum = maximum.to_f64();
        self.maxima[at] = rounded_up(maximum);
        // Gaps and sums are to what is recorded, which may be far above a huge maximum of f64.
        let recorded = f64::from(self.maxima[at]);
        let factor = if recorded > maximum { (maximum - recorded).exp() } else { 1.0 };
        for (i, (largest, sum)) in largest[..count].iter().zip(&sums).enumerate() {
            // A little less than the gap, whatever the roundings: the segment is not taken for
            // smaller than it is.
            let gap = (recorded - largest.to_f64()) * (STEPS / LN_2 * (1.0 - 1e-6));
            // Where it is NaN, this is 0.
            self.gaps[at * self.segments + i] = gap.clamp(0.0, 255.0) as u8;
            self.sums[at * self.segments + i] = bf16::from_f32((sum.to_f64() * factor) as f32);
        }
    }
}

/// The least f32 that is not below.
fn rounded_up(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) < x { near.next_up() } else { near }
}

/// Of each panel of a block the rows that are kept, as indices into a chunk of rows.
pub(crate) struct Lists {
    /// Panel after panel, each filled up to whole groups with the row of zeros.
    pub(crate) names: Vec<u32>,
    /// Where each panel's begin, and the end of the last.
    pub(crate) starts: Vec<usize>,
    /// How many rows of each panel are kept.
    pub(crate) counts: Vec<usize>,
}

impl Lists {
    pub(crate) fn with_capacity(rows: usize, panels: usize) -> Self {
        Self {
            names: Vec::with_capacity((rows + GROUP) * panels),
            starts: Vec::with_capacity(panels + 1),
            counts: Vec::with_capacity(panels),
        }
    }

    /// Bytes for so many rows and panels.
    pub(crate) fn bytes(rows: usize, panels: usize) -> [usize; 2] {
        [rows.saturating_add(GROUP + 16), panels.saturating_add(2).saturating_mul(4)]
    }

    /// The places of a panel in `names`, the fill included.
    pub(crate) fn places(&self, panel: usize) -> Range<usize> {
        self.starts[panel]..self.starts[panel + 1]
    }
}

/// A filter at work on one call.
pub(crate) struct ActiveFilter<'a> {
    pub(crate) record: &'a Record,
    /// ln ε.
    threshold: f64,
}

impl<'a> ActiveFilter<'a> {
    /// The filter of a problem that has one, with what its forward has recorded.
    pub(crate) fn new<R: Real>(
        problem: &Problem<'_, R>,
        record: Option<&'a Record>,
    ) -> Option<Self> {
        let record = record.filter(|record| record.fits(problem.rows.len(), problem.columns))?;
        Some(Self { record, threshold: problem.threshold?.ln() })
    }

    /// Lists the rows of a chunk that matter in each panel of a block. `places` gives of each its
    /// place among the kept rows and its log-sum-exp.
    pub(crate) fn list<R: Real>(
        &self,
        problem: &Problem<'_, R>,
        places: impl Iterator<Item = (usize, f64)> + Clone,
        rows: &[Row],
        block: &Range<usize>,
        lists: &mut Lists,
    ) {
        let Lists { names, starts, counts } = lists;
        names.clear();
        starts.clear();
        counts.clear();
        let record = self.record;
        for start in block.clone().step_by(PANEL) {
            let panel = start / PANEL;
            let (tile, segment) = (panel / record.segments, panel % record.segments);
            let first = names.len();
            starts.push(first);
            let columns = start..block.end.min(start + PANEL);
            for (i, ((row, log_sum_exp), own)) in places.clone().zip(rows).enumerate() {
                let at = record.at(row, tile);
                if record.matters(at, segment, log_sum_exp + self.threshold)
                    || problem.has_target(own, &columns)
                {
                    names.push(i as u32);
                }
            }
            counts.push(names.len() - first);
            let whole = (names.len() - first).next_multiple_of(GROUP);
            names.resize(first + whole, rows.len() as u32);
        }
        starts.push(names.len());
    }

    /// The probability that a row loses in each panel of a block, 0 where it is kept.
    pub(crate) fn lost<R: Real>(
        &self,
        problem: &Problem<'_, R>,
        (place, log_sum_exp): (usize, f64),
        row: &Row,
        block: &Range<usize>,
        mut each: impl FnMut(usize, f64),
    ) {
        let record = self.record;
        let mut known = (usize::MAX, 0, 0.0);
        for (p, start) in block.clone().step_by(PANEL).enumerate() {
            let panel = start / PANEL;
            let (tile, segment) = (panel / record.segments, panel % record.segments);
            if known.0 != tile {
                let at = record.at(place, tile);
                known = (tile, at, (f64::from(record.maxima[at]) - log_sum_exp).exp());
            }
            let (_, at, factor) = known;
            let columns = start..block.end.min(start + PANEL);
            if !record.matters(at, segment, log_sum_exp + self.threshold)
                && !problem.has_target(row, &columns)
            {
                let sum = record.sums[at * record.segments + segment].to_f32();
                each(p, f64::from(sum) * factor);
            }
        }
    }

    /// What the filter leaves out of all rows.
    pub(crate) fn dropped<R: Real>(
        &self,
        problem: &Problem<'_, R>,
        states: &[RowState],
        slots: usize,
    ) -> Dropped {
        // Rows of a task; not measured.
        const ROWS: usize = 32;
        let panels = problem.columns.div_ceil(PANEL);
        let mut results = vec![(0_usize, 0.0_f64); states.len()];
        let tasks = results.chunks_mut(ROWS).enumerate().collect();
        parallel::for_each(&mut vec![(); slots], tasks, |_, (i, results): (usize, &mut [_])| {
            for (row, (kept, lost)) in (i * ROWS..).zip(results) {
                let log_sum_exp = states[row].log_sum_exp();
                let cut = log_sum_exp + self.threshold;
                for tile in 0..self.record.tiles {
                    let at = self.record.at(row, tile);
                    let factor = (f64::from(self.record.maxima[at]) - log_sum_exp).exp();
                    let mut sum = 0.0;
                    let first = tile * self.record.segments;
                    for segment in 0..self.record.segments.min(panels - first) {
                        let start = (first + segment) * PANEL;
                        let columns = start..problem.columns.min(start + PANEL);
                        if self.record.matters(at, segment, cut)
                            || problem.has_target(&problem.rows[row], &columns)
                        {
                            *kept += 1;
                        } else {
                            let at = at * self.record.segments + segment;
                            sum += self.record.sums[at].to_f32();
                        }
                    }
                    if sum > 0.0 {
                        *lost += f64::from(sum) * factor;
                    }
                }
            }
        });
        let rows = results.len().max(1) as f64;
        let kept: usize = results.iter().map(|&(kept, _)| kept).sum();
        let share = kept as f64 / (results.len() * panels).max(1) as f64;
        Dropped {
            kept: if results.is_empty() { 1.0 } else { share },
            largest: results.iter().fold(0.0, |most, &(_, lost)| lost.max(most)),
            mean: results.iter().map(|&(_, lost)| lost).sum::<f64>() / rows,
        }
    }
}

impl<R: Real> Problem<'_, R> {
    /// Whether one of these columns of the shard is a target of the row.
    fn has_target(&self, row: &Row, columns: &Range<usize>) -> bool {
        let classes = self.first_class + columns.start..self.first_class + columns.end;
        match &self.targets {
            Targets::Hard(_) => classes.contains(&(row.target as usize)),
            Targets::Sparse { .. } => !self.sparse_of(row, classes).is_empty(),
            Targets::Soft(_) => true,
        }
    }
}
