//! The rows that are kept of each panel of a block.

use std::ops::Range;

use crate::gemm::GROUP;

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
