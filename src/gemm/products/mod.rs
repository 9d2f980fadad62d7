//! The products of panels, behind assertions.

mod dots;
mod few_rows;
mod gradients;
mod logits;
mod panels;
mod prefetch;
mod thin;
mod tile;

pub(crate) use dots::dots;
pub(crate) use few_rows::{few_products, line_products};
pub(crate) use gradients::{add_columns, add_rows, add_rows_of_matrix};
pub(crate) use logits::row_products;
pub(crate) use panels::{Panels, Rows};
pub(crate) use prefetch::Prefetch;
pub(crate) use thin::{thin_products, thin_rows};
