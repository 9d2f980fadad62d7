//! What the forward records of each row and 32 classes, for a filter to decide by.

use half::bf16;
use std::f64::consts::LN_2;
use std::ops::Range;

use crate::element::Real;
use crate::gemm::PANEL;
use crate::softmax::segments;

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
    pub(super) fn at(&self, row: usize, tile: usize) -> usize {
        let first = row / self.wave * self.wave;
        let rows = self.wave.min(self.rows - first);
        first * self.tiles + tile * rows + row - first
    }

    /// The largest logit of a tile, or what is above it.
    pub(super) fn maximum(&self, at: usize) -> f64 {
        f64::from(self.maxima[at])
    }

    /// A number that no logit of a segment is above; NaN where one is.
    pub(super) fn largest(&self, at: usize, segment: usize) -> f64 {
        let gap = f64::from(self.gaps[at * self.segments + segment]) * (LN_2 / STEPS);
        self.maximum(at) - gap
    }

    /// Σ e^(x − largest of the tile) over a segment, to 2⁻⁸ of it.
    pub(super) fn sum(&self, at: usize, segment: usize) -> f32 {
        self.sums[at * self.segments + segment].to_f32()
    }

    /// Tiles, and the segments of one.
    pub(super) fn tiling(&self) -> (usize, usize) {
        (self.tiles, self.segments)
    }

    /// Whether it is of so many rows and columns.
    pub(super) fn fits(&self, rows: usize, columns: usize) -> bool {
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
