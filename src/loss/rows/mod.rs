//! The losses of one row, a file each.

mod asymmetric_generalized_cross_entropy;
mod asymmetric_unhinged;
mod comp_sum;
mod cross_entropy;
mod direct_coverage;
mod entropy_bonus;
mod expected_cost;
mod focal;
mod generalized_cross_entropy;
mod hard_symmetric_cross_entropy;
mod kullback_leibler;
mod mean_absolute_error;
mod mixed_cross_entropy;
mod poly1;
mod sum;
mod tailored;

pub use asymmetric_generalized_cross_entropy::AsymmetricGeneralizedCrossEntropy;
pub use asymmetric_unhinged::AsymmetricUnhinged;
pub use comp_sum::CompSum;
pub use cross_entropy::CrossEntropy;
pub use direct_coverage::DirectCoverage;
pub use entropy_bonus::EntropyBonus;
pub use expected_cost::ExpectedCost;
pub use focal::Focal;
pub use generalized_cross_entropy::GeneralizedCrossEntropy;
pub use hard_symmetric_cross_entropy::HardSymmetricCrossEntropy;
pub use kullback_leibler::KullbackLeibler;
pub use mean_absolute_error::MeanAbsoluteError;
pub use mixed_cross_entropy::MixedCrossEntropy;
pub use poly1::Poly1;
pub use sum::Sum;
pub use tailored::Tailored;
