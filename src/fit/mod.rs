//! Scaling laws: how a loss falls with the size of a model, its data and its training, fitted to a few losses.
//!
//! | law | the loss by | fitted by |
//! | --- | --- | --- |
//! | [`PowerLaw`] | one size: L∞ + (x0/x)^α | [`ScalingFit::power_law`] |
//! | [`BivariateLaw`] | an encoder's and a decoder's: α (N̄_e/N_e)^p_e (N̄_d/N_d)^p_d + L∞ | [`ScalingFit::bivariate`] |
//! | [`Chinchilla`] | parameters and tokens: E + A N^−α + B D^−β | [`ScalingFit::chinchilla`] |
//! | [`AnnealingLaw`] | the learning rates so far: L0 + A S1^−α − C S2, of [`AnnealingSums`] | [`ScalingFit::annealing`] |
//!
//! A fit is robust: a few wrong losses hardly move it. It comes with the covariance of its parameters, a condition
//! number and [predictions](Fitted::predict) with intervals, and is refused where the data cannot tell: a loss that
//! does not fall, parameters that cannot be told apart, an exponent that is no larger than its standard error.
//! Laws go both ways: [`PowerLaw::x_for`] is the size that a loss takes, [`BivariateLaw::optimal_split`] and
//! [`Chinchilla::optimal_allocation`] what a budget is best spent on.
//!
//! All arithmetic is f64; times and sizes are in whatever unit the caller has.

mod annealing;
mod annealing_sums;
mod bivariate;
mod checks;
mod chinchilla;
mod descent;
mod design;
mod fitted;
mod huber;
mod information_gain;
mod options;
mod power_law;
mod problem;
mod scan;
mod solution;
mod student;
mod triangle;

pub use annealing::AnnealingLaw;
pub use annealing_sums::{AnnealingSums, AnnealingSumsBuilder};
pub use bivariate::{BivariateLaw, Split};
pub use chinchilla::{Allocation, Chinchilla};
pub use fitted::{Fitted, Law, Prediction};
pub use huber::huber;
pub use information_gain::InformationGain;
pub use options::{ScalingFit, ScalingFitBuilder};
pub use power_law::PowerLaw;
pub use problem::Residuals;
