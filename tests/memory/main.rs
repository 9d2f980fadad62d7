//! What calls take from the heap, counted by an allocator of this program's own.

mod attention;
mod contrastive;
mod counting;
mod loss;
mod reversible;
#[cfg(all(feature = "spectral", feature = "io"))]
mod spectrum;
