//! How much of k is multiplied at a time.

use super::format::Format;
use super::layout::PANEL;
use crate::simd::Caches;

/// Numbers along k that a product of logits, or of `G·C`, takes at a time: a panel of the right factor that deep has
/// half of the first cache, so that it stays there while the rows of the left one go by. The sums wait in
/// memory meanwhile and are gone on with: their bits do not depend on it.
pub(crate) fn row_depth<F: Format>(caches: Caches) -> usize {
    whole::<F>(caches.first / 2 / (PANEL * size_of::<F>()))
}

/// The same for `Gᵀ·E`, where panels of both factors that deep have three quarters of the first cache.
pub(crate) fn column_depth<F: Format>(caches: Caches) -> usize {
    whole::<F>(caches.first / 4 * 3 / (2 * PANEL * size_of::<F>()))
}

/// Whole panels, at least one.
fn whole<F: Format>(depth: usize) -> usize {
    (depth / PANEL).max(1) * PANEL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_are_whole_panels_within_the_first_cache() {
        for first in [1 << 10, 24 << 10, 32 << 10, 48 << 10, 64 << 10, 1 << 30] {
            let caches = Caches { first, ..Caches::in_use() };
            for (rows, columns, size) in [
                (row_depth::<f32>(caches), column_depth::<f32>(caches), 4),
                (row_depth::<f64>(caches), column_depth::<f64>(caches), 8),
                (row_depth::<half::bf16>(caches), column_depth::<half::bf16>(caches), 2),
            ] {
                assert!(rows > 0 && rows % PANEL == 0 && columns > 0 && columns % PANEL == 0);
                assert!(rows == PANEL || rows * PANEL * size <= first / 2);
                assert!(columns == PANEL || 2 * columns * PANEL * size <= first / 4 * 3);
            }
        }
    }
}
