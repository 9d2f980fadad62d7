//! Spectra of feature matrices, and the entropies and ranks that are read from them.
//!
//! A [`Spectrum`] is the singular values of an `N×D` matrix of features, in `f64`, whether the matrix
//! is given whole ([`Spectrum::from_features`]), in batches ([`Factor`]), or as its covariance
//! ([`Covariance`]). Its methods are the measures of the field: [RankMe](Spectrum::rankme), the
//! [effective rank](Spectrum::effective_rank), [α-ReQ](Spectrum::alpha_req), the
//! [participation ratio](Spectrum::participation_ratio) and so on. Measures that need more than the
//! singular values are functions of the features: [`diff_erank`], [`lidar`], [`vendi_score`],
//! [`uniformity`], [`self_cluster`]; [`KernelMatrix`] has the matrix-based Rényi entropies.
//!
//! ```
//! use ndarray::array;
//! use surprisal::spectrum::{Centering, Spectrum};
//!
//! let features = array![[3.0_f32, 0.0], [0.0, 1.0], [0.0, 0.0]];
//! let spectrum = Spectrum::from_features(features.view(), Centering::Raw)?;
//! assert_eq!(spectrum.singular_values(), [3.0, 1.0]);
//! // exp of the entropy of (3/4, 1/4)
//! assert!((spectrum.effective_rank() - 1.7547653506033232).abs() < 1e-12);
//! # Ok::<(), surprisal::Error>(())
//! ```
//!
//! # Which spectrum a measure is of
//! [`Centering::Raw`] keeps the features as they are, [`Centering::Centered`] subtracts the mean of
//! each column. RankMe is defined on the raw ones; the measures of the covariance (RankMe's
//! covariance form, α-ReQ, participation ratio, NESum, von Neumann entropy) on the centred ones.
//! Every method answers for the spectrum that it is asked of: of a raw one, "covariance" is the
//! second moment `XᵀX`.
//!
//! # What of a spectrum is rounding
//! Of features of rank r that were rounded to their type, min(N, D) singular values are above 0. One
//! rule says which of them are rounding: those up to the [noise floor](Spectrum::noise_floor), which
//! follows from the type, the root mean square and the shape of the features ([`Precision`]). It decides
//! the [rank](Spectrum::rank), the window of α-ReQ, and which eigenvalues have a part in a Rényi
//! entropy or a Vendi score of an order below 1, and LiDAR's scatter within objects.
//!
//! # Degenerate spectra
//! Where all singular values are zero (features that are all zero; one row or a constant one,
//! centred), every rank and every entropy is 0. A fit over ranks that are not there is an error.
//!
//! # Threads and bits
//! Accumulating a [`Covariance`] has the same bits for any number of threads and any division into
//! batches. Triangular factors, singular values and eigenvalues are `faer`'s, whose last bits may
//! depend on the number of threads in the ambient pool.

mod alpha_req;
mod covariance;
mod diff_erank;
mod directions;
mod effective_rank;
mod factor;
mod features;
mod kernel_matrix;
mod lidar;
mod nesum;
mod nuclear_rank;
mod participation_ratio;
mod precision;
mod rankme;
mod renyi;
mod scatter;
mod self_cluster;
mod singular_values;
mod stable_rank;
mod uniformity;
mod vendi;
mod von_neumann;

pub use alpha_req::PowerLaw;
pub use covariance::Covariance;
pub use diff_erank::diff_erank;
pub use factor::Factor;
pub use kernel_matrix::KernelMatrix;
pub use lidar::{Lidar, LidarBuilder, lidar};
pub use precision::Precision;
pub use rankme::RANKME_EPSILON;
pub use self_cluster::self_cluster;
pub use singular_values::{Centering, Spectrum};
pub use uniformity::uniformity;
pub use vendi::vendi_score;
pub use von_neumann::cosine_von_neumann_entropy;
