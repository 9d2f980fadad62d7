//! Products of packed panels, one thread a call.
//!
//! Every matrix is cut into panels of [`PANEL`] columns, in which its rows stand one after the other:
//! hidden states and G are the left factors of two products each, hidden states and classifier the
//! right ones, and all are read as they stand. Only the classifier is packed a second time, in steps
//! along k, for the logits, or the hidden states in its place where they are few; where a step takes a
//! pair of numbers (bf16), rows stand in pairs too.
//!
//! Every element of a product is summed in the same order of k whatever the tile that it stands in,
//! so that a logit has the same bits in every tile.

mod buffer;
mod format;
mod kernels;
mod pack;
mod products;

pub(crate) use buffer::Buffer;
pub use format::Format;
pub(crate) use pack::{
    pack_pairs, pack_rows, pack_steps, padded_rows, panels_length, steps_length,
};
pub(crate) use products::{
    Panels, Rows, Soon, add_columns, add_rows, add_rows_of_matrix, dots, few_products,
    line_products, put_rows, row_products,
};

/// Columns of a panel, and the classes that a filter keeps or drops together.
pub(crate) const PANEL: usize = 32;
/// Rows of a tile of logits, whatever the instruction set: its kernels' heights divide it.
pub(crate) const GROUP: usize = 12;

/// Whether a product replaces its destination or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Assign,
    Add,
}

#[cfg(test)]
mod tests;
