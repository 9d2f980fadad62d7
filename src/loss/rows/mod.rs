//! The losses of one row, a file each.

mod cross_entropy;
mod entropy_bonus;
mod expected_cost;
mod generalized_cross_entropy;
mod sum;

pub use cross_entropy::CrossEntropy;
pub use entropy_bonus::EntropyBonus;
pub use expected_cost::ExpectedCost;
pub use generalized_cross_entropy::GeneralizedCrossEntropy;
pub use sum::Sum;
