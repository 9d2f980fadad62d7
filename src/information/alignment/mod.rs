//! What best-of-N and rewards make of a distribution, in closed form.

mod best_of_n;
mod cumulant;
mod renyi_cross_entropy;
mod rewards;
mod samples;
mod tilt;

pub use best_of_n::BestOfN;
pub use renyi_cross_entropy::renyi_cross_entropy;
pub use rewards::RewardDistribution;
pub use samples::{expected_best_of_n, pass_at_k};
pub use tilt::Tilted;
