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
//!
//! [`layout`] draws the panels. That one factor is packed so that its part of k stays in a cache while
//! a tile of sums stays in registers is Goto and van de Geijn's design (Anatomy of high-performance matrix
//! multiplication, 2008), the split into a small kernel and loops around it that of BLIS (Van Zee and van de
//! Geijn, 2015). How deep the parts of k are ([`depths`]) follows from the caches of the processor.

mod buffer;
mod depths;
mod dispatch;
mod format;
mod kernels;
mod layout;
mod pack;
mod products;
mod store;

pub(crate) use buffer::Buffer;
pub use dispatch::Dispatch;
pub(crate) use layout::{GROUP, PANEL, padded_rows, panels_length, steps_length};
pub(crate) use pack::{pack_pairs, pack_rows, pack_steps, put_rows};
pub(crate) use products::{
    Panels, Prefetch, Rows, add_columns, add_rows, add_rows_of_matrix, dots, few_products,
    line_products, row_products, thin_products, thin_rows,
};
pub(crate) use store::Store;

#[cfg(test)]
mod tests;
