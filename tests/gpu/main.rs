//! What the library computes on a GPU, on the software adapter (without one these tests fail) or on another: a
//! program of its own, so that the others are not compiled again with the feature.

mod adapter;
mod candidates;
mod companion;
mod loss;
mod model;
mod row_loss;
mod second_head;
#[cfg(feature = "spectral")]
mod spectra;
mod temperature;
