//! How rows and classes are cut into tiles: from shapes alone, never from the number of threads.

use std::ops::Range;

use crate::gemm::PANEL;

/// Columns of a tile of logits at most: what is folded at once. With [`TILE_GROUPS`] 96 KiB of f32, a
/// tenth of the second cache of Zen 5 (1 MiB). Chosen by that.
pub(crate) const TILE_COLUMNS: usize = 8 * PANEL;
/// Rows of what is not a product, for one task: enough that taking a task costs nothing beside them. Not
/// measured.
pub(crate) const TILE_ROWS: usize = 512;
/// Rows that the forward takes at once at most. Each wave reads the classifier again: 8192 operations for
/// each of its numbers, 2048 a byte of f32, where 16 a byte are what two cores of Zen 5 do (540 GFLOP/s over
/// 34 GB/s). More would only take memory.
pub(crate) const WAVE: usize = 4096;
/// Columns of G that the recomputing backward holds at once at most: the depth of the sums of `G·C`, each of
/// which is read and written once for it. 32 panels took the place of 24 with the kernels for Zen 5, without
/// a record of by how much; the kernel alone has 88 % of the peak where G is 512 wide.
pub(crate) const BLOCK: usize = 32 * PANEL;
/// Rows of G that it holds at once at most: the depth of the sums of `Gᵀ·E`. With [`BLOCK`] G is 4 MiB of
/// f32, for a third cache. Chosen by that.
pub(crate) const CHUNK_ROWS: usize = 1024;
/// Columns of the hidden gradient that one task of a strip owns: 18 tasks at D = 2304. Chosen for tasks
/// enough; not measured.
pub(crate) const STRIP_COLUMNS: usize = 4 * PANEL;
/// Classes that a task of a strip takes at once, where a step is of so many numbers: what is packed of
/// them, the same of the next and their G stay in a second cache. With [`STRIP_COLUMNS`] what is packed is
/// 256 KiB, in f32 and in bf16. Chosen by that.
pub(crate) const fn strip_classes(depth: usize) -> usize {
    16 * PANEL * depth
}
/// Groups of rows of a tile of logits: 96 rows, see [`TILE_COLUMNS`].
pub(crate) const TILE_GROUPS: usize = 8;
/// Groups of rows of G that one task computes: 48 rows, so that 1024 are 22 tasks for each 256 columns. Not
/// measured.
pub(crate) const GROUPS: usize = 4;

/// Tiles of the first tasks of the forward: each task has states of all rows, which are merged. Not measured.
const LONG: usize = 8;
/// A task takes at most this part of the tiles that are left: the wait for the last is then small for up to
/// some 32 threads. Chosen by that.
const PART: usize = 32;

/// The columns of each task of the forward, in order: many at first, few at the end, so that no
/// thread waits long for the last.
pub(crate) fn spans(columns: usize, tile_columns: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let tiles = (columns - start).div_ceil(tile_columns);
        let end = columns.min(start + (tiles / PART).clamp(1, LONG) * tile_columns);
        let span = start..end;
        start = end;
        (!span.is_empty()).then_some(span)
    })
}

/// How many [`spans`] there are.
pub(crate) fn spans_count(columns: usize, tile_columns: usize) -> usize {
    let tiles = columns.div_ceil(tile_columns);
    let long = (tiles + LONG).saturating_sub(LONG * PART) / LONG;
    long + spans(columns - columns.min(long * LONG * tile_columns), tile_columns).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_cover_the_columns_once_and_are_counted() {
        for tile in [32, 64, 256] {
            for columns in (0..3000).chain([65_535, 65_536, 65_537, 256_000, 1_000_003]) {
                let mut end = 0;
                for span in spans(columns, tile) {
                    assert_eq!(span.start, end);
                    end = span.end;
                }
                assert_eq!(end, columns);
                assert_eq!(spans_count(columns, tile), spans(columns, tile).count());
            }
        }
    }
}
