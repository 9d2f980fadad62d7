//! Losses of rankings: Plackett–Luce, of whole lists and of the first classes of them.

mod places;
mod plackett_luce;
mod rankings;

pub use plackett_luce::{PlackettLuce, RankedLosses};
pub use rankings::{PlaceWeights, Rankings};
