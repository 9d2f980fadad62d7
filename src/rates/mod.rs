//! Rates: what numbers cost once they are whole, and searches by cross-entropy.
//!
//! | I want … | use |
//! | --- | --- |
//! | the bits of rounded latents under a learnt Gaussian or logistic distribution | [`Discretized`] |
//! | the same in a graph | [`Variable::discretized_bits`](crate::autodiff::Variable::discretized_bits) |
//! | ln Φ far into the tails | [`log_normal_distribution`] |
//! | a distribution that a coder of ranges takes | [`quantized_cdf`] |
//! | activations in a few bits, and what share of them becomes 0 | [`CrossQuant`] |
//! | the largest score of samples, or the probability of a rare event | [`cross_entropy_method`] |
//!
//! ```
//! use ndarray::Array1;
//! use surprisal::rates::{Discretized, quantized_cdf};
//! // The whole numbers from −8 to 8 under a Gaussian around 0.3, for a coder with 16 bits of precision.
//! let values = Array1::linspace(-8.0, 8.0, 17);
//! let (means, scales) = (Array1::from_elem(17, 0.3), Array1::from_elem(17, 1.5));
//! let rates = Discretized::gaussian().evaluate(&values, &means, &scales)?;
//! let p: Vec<f64> = rates.log_probs.iter().map(|x| x.exp()).collect();
//! let cdf = quantized_cdf(&p, 16)?;
//! assert!(cdf.windows(2).all(|edges| edges[0] < edges[1]) && cdf[17] == 65536);
//! # Ok::<(), surprisal::Error>(())
//! ```

pub mod cross_entropy_method;
mod crossquant;
mod discretized;
mod gaussian;
mod logistic;
mod normal;
mod quantized_cdf;

pub use crossquant::{CrossQuant, Quantized};
pub use discretized::{Discretized, Rates};
pub use normal::log_normal_distribution;
pub use quantized_cdf::quantized_cdf;
