//! Couplings: joint distributions of which the marginals are given, and little else is left open.
//!
//! | I want … | use |
//! | --- | --- |
//! | a joint distribution of low entropy with these marginals | [`Coupling::greedy`] |
//! | fewer symbols, which have at most R nats or bits | [`EntropyBoundedMap`] |
//! | a coupling through a channel of R nats or bits | [`BottleneckCoupling`] |
//! | what two variables tell about each other | [`mutual_information`] of a joint distribution |
//! | what several do | [`Coupling::total_correlation`] |
//!
//! Distributions are lists of masses that sum to 1 within 1e-9; they are taken as they are, not divided by their sum. A
//! mass may be 0. What is no distribution is an error that says which mass, or the sum. All is computed in f64, in nats,
//! and told in the [`Unit`] that is asked for.
//!
//! ```
//! use surprisal::coupling::{BottleneckCoupling, Coupling, Unit, mutual_information};
//! let (pixels, outputs) = ([0.3125, 0.25, 0.1875, 0.125, 0.125], [0.46875, 0.3125, 0.21875]);
//! // Without a bound, the most that a greedy restorer can keep of the input …
//! let free = Coupling::greedy(&[&pixels[..], &outputs])?.total_correlation(Unit::Nats);
//! // … and through 0.9 nats.
//! let coupling = BottleneckCoupling::of(&pixels, &outputs, 0.9, Unit::Nats)?;
//! assert!(coupling.map().entropy(Unit::Nats) <= 0.9);
//! let through = coupling.mutual_information(Unit::Nats);
//! assert!(through < free);
//! let direct = mutual_information(coupling.joint()?.view(), Unit::Nats)?;
//! assert!((through - direct).abs() < 1e-15);
//! # Ok::<(), surprisal::Error>(())
//! ```

mod bottleneck;
mod bounded_map;
mod greedy;
mod information;
mod masses;
mod unit;

pub use bottleneck::BottleneckCoupling;
pub use bounded_map::EntropyBoundedMap;
pub use greedy::Coupling;
pub use information::mutual_information;
pub use unit::Unit;
