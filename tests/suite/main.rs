//! What the library computes, a module for each theme: one program, so that it is linked once.

mod attention_entropy;
mod autodiff;
mod autodiff_graph;
mod autodiff_log_probabilities;
mod binary;
mod candidates;
mod class_order;
#[cfg(feature = "io")]
mod classical;
mod contrastive;
mod coupling;
mod decoding;
#[cfg(feature = "spectral")]
mod diffusion;
#[cfg(feature = "spectral")]
mod diffusion_golden;
mod edge_cases;
mod ends_of_the_range;
mod filter;
mod filter_by_mass;
mod fit;
mod golden;
mod information;
mod instruction_set;
#[cfg(feature = "io")]
mod io;
mod narrow_strip;
mod preference;
mod properties;
mod random;
mod ranked;
mod rates;
mod reversible;
mod rooms;
mod row_losses;
mod sampling;
mod second_head;
mod shards;
#[cfg(feature = "spectral")]
mod spectrum;
#[cfg(all(feature = "spectral", feature = "io"))]
mod spectrum_golden;
mod statistics;
mod teacher_list;
mod truncation;
#[cfg(feature = "spectral")]
mod watch;
