//! What spectral entropies are compared with: estimators of Shannon entropy and mutual information
//! from counts in bins and from nearest neighbours.
//!
//! | function | estimates | by |
//! | --- | --- | --- |
//! | [`binned_entropy`] | entropy, bits | counts of equal cells |
//! | [`binned_mutual_information`] | information between features and labels, bits | counts, at equal sample sizes |
//! | [`kozachenko_leonenko_entropy`] | differential entropy, nats | distances to the k-th neighbour |
//! | [`kraskov_mutual_information`] | information between two sets of features, nats | neighbours counted in each |
//! | [`ross_mutual_information`] | information between features and labels, nats | neighbours counted with and without labels |
//!
//! They answer other questions than DSE and DSMI do, and each has its limits: bins are empty in many
//! dimensions, nearest neighbours need far more rows than e^(information), and features on a grid,
//! where neighbours coincide, have no differential entropy.
//!
//! Results are the same for any number of threads.
//!
//! The crate `infomeasure` has more estimators, and its KSG1 and Kozachenko–Leonenko agree with the
//! golden values of this one, at the same speed. They are written here because its version 0.6.0 misses
//! all six golden values of KSG2, answers 0 for rows that all coincide and a number for NaN, panics
//! where `k` does not fit, wants the number of columns at compile time, and brings some 160 crates,
//! OpenBLAS and wgpu among them.

mod binned;
mod digamma;
mod kozachenko_leonenko;
mod kraskov;
mod neighbours;
mod points;
mod ross;

pub use binned::{binned_entropy, binned_mutual_information};
pub use kozachenko_leonenko::{Metric, kozachenko_leonenko_entropy};
pub use kraskov::{Kraskov, kraskov_mutual_information};
pub use ross::ross_mutual_information;
