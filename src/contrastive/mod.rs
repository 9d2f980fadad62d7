//! Losses of a batch of embeddings against itself.

mod checks;
mod contrast;
mod info_nce;
mod supervised;
mod unit_rows;

pub use contrast::Contrast;
pub use info_nce::InfoNce;
pub use supervised::SupervisedContrastive;
