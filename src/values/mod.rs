//! Values as distributions over bins: a head that classifies where it would regress.
//!
//! A value (a return, a price, a length) becomes a distribution over V bins, which the cross-entropy of soft targets
//! learns; the mean of the bins under the softmax is the value again.
//!
//! | I want … | use |
//! | --- | --- |
//! | a target that is smooth in the value, and bins around it | [`HlGauss`] |
//! | a target whose mean is the value itself | [`TwoHot`] |
//! | the distribution of returns after a step, by the Bellman operator | [`TwoHot::project`] |
//! | the value of a head's logits | [`HlGauss::decode`], [`TwoHot::decode`] |
//!
//! Farebrother et al. 2024, *Stop Regressing: Training Value Functions via Classification for Scalable Deep RL*,
//! compares them.
//!
//! ```
//! use surprisal::values::HlGauss;
//! use surprisal::{Inputs, LinearCrossEntropy, Targets};
//! let bins = HlGauss::new(-10.0, 10.0, 51, 0.75)?;
//! let targets = bins.targets(&[1.5, -3.0])?;
//! let logits = targets.mapv(|t: f64| t.max(1e-30).ln());
//! let inputs = Inputs::from_logits(&logits, Targets::soft(&targets));
//! let loss = LinearCrossEntropy::builder().build()?.forward(&inputs)?.loss();
//! assert!(loss > 0.0);
//! assert!((bins.decode(&logits)?[0] - 1.5).abs() < 1e-3);
//! # Ok::<(), surprisal::Error>(())
//! ```

mod hl_gauss;
mod support;
mod two_hot;

pub use hl_gauss::HlGauss;
pub use two_hot::TwoHot;
