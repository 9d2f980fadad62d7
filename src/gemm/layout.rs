//! How panels hold a matrix.
//!
//! A matrix of N rows and K columns stands in ⌈K/32⌉ *panels* of 32 columns, in which its rows follow each
//! other; rows are filled up with zeros to whole groups of 12, and there is at least one row of zeros:
//!
//! ```text
//!             panel 0                 panel 1
//! row 0   x[0,0]  … x[0,31]       x[0,32] … x[0,63]      panel q, row i, column j:
//! row 1   x[1,0]  … x[1,31]       x[1,32] … x[1,63]      (q · height + i) · 32 + j
//!   ⋮
//! row N   0       … 0             0       … 0
//! ```
//!
//! A panel packed in *steps* holds 32 rows of a matrix along k, what one multiply-add takes of each
//! side by side (a number, or a pair of bf16):
//!
//! ```text
//! step 0  y[0,0] y[1,0] … y[31,0]         step k, row j:  k · 32 + j
//! step 1  y[0,1] y[1,1] … y[31,1]
//! ```

use super::format::Format;

/// Columns of a panel, and the classes that a filter keeps or drops together: two registers of f32 with
/// AVX-512, which is the widest tile.
pub(crate) const PANEL: usize = 32;
/// Rows of a tile of logits, whatever the instruction set: its kernels' heights (12, 6 and 4) divide it.
pub(crate) const GROUP: usize = 12;

/// The height of panels of so many rows: whole groups, and at least one row of zeros, for what has
/// no partner.
pub(crate) fn padded_rows(rows: usize) -> usize {
    (rows / GROUP + 1).saturating_mul(GROUP)
}

/// The numbers of panels of this height.
pub(crate) fn panels_length(height: usize, columns: usize) -> usize {
    height.saturating_mul(columns.div_ceil(PANEL).max(1)).saturating_mul(PANEL)
}

/// The numbers of one panel packed in steps along k.
pub(crate) fn steps_length<F: Format>(depth: usize) -> usize {
    depth.next_multiple_of(F::DEPTH).saturating_mul(PANEL)
}
