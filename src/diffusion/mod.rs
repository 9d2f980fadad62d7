//! Diffusion spectral entropy and mutual information of feature vectors.
//!
//! How spread out are N points in D dimensions? A random walk that prefers near points has the
//! eigenvalues 1 = λ₁ ≥ λ₂ ≥ … ≥ λ_N ≥ 0; the entropy of their powers λᵗ, normalised to sum 1, counts
//! (as a logarithm) the directions in which the walk has not yet mixed after t steps.
//!
//! ```
//! use surprisal::diffusion::{Bandwidth, MutualInformation, SpectralEntropy};
//!
//! let features = ndarray::array![[0.0, 0.0], [0.0, 1.0], [8.0, 0.0], [8.0, 1.0]];
//! let entropy = SpectralEntropy::builder().bandwidth(Bandwidth::SqrtDimension).build()?;
//! let estimate = entropy.estimate(features.view())?;
//! // Two groups, each nearly mixed: a little more than a bit.
//! assert!((1.0..1.7).contains(&estimate.value));
//!
//! let information = MutualInformation::builder().entropy(entropy).build()?;
//! assert!(information.of_labels(features.view(), &[0, 0, 1, 1])?.value > 0.0);
//! # Ok::<(), surprisal::Error>(())
//! ```
//!
//! # Three ways
//! [`Method::Exact`] computes all eigenvalues in one N×N matrix. The other two never store one; below,
//! T = tr K = Σ 1/d_i is known exactly, and so is λ₁ = 1.
//!
//! ## Low rank, with a proof
//! A pivoted Cholesky factorisation stops with K = LLᵀ + R, where R is a Schur complement and so positive
//! semidefinite. Let μ₁ ≥ μ₂ ≥ … be the eigenvalues of LᵀL, filled up with zeros to N.
//!
//! *Interlacing.* K − LLᵀ = R ⪰ 0, so by Weyl's monotonicity λ_i ≥ μ_i for every i, and
//! Σ(λ_i − μ_i) = tr R = δ. As λ₁ = 1, the first takes 1 − μ₁ of it; δ′ = δ − (1 − μ₁) is left for the
//! others. So λ is one of the vectors (1, μ₂ + e₂, …, μ_N + e_N), e ≥ 0, Σe = δ′, μ_i + e_i ≤ 1.
//!
//! *t = 1.* All these have the sum T, so p = λ/T, and H is Schur-concave. Among them, raising the smallest
//! entries to a common level is majorised by every other (the sum of its k smallest entries is the
//! largest possible for every k), and putting all of δ′ on the largest, none above 1, majorises every
//! other (the sum of its k largest entries is min(k, 1 + μ₂ + … + μ_k + δ′), the largest possible). The
//! entropies of the two are the ends of the interval: the value is its middle, the bound half its width.
//!
//! *t ≠ 1.* Σλᵗ is Schur-convex for t > 1 and Schur-concave for t < 1, so that W = Σ(λᵗ − μᵗ) is at most
//! that of the piled and of the levelled vector (with μ₁ replaced by 1). With A = 1 + μ₂ᵗ + μ₃ᵗ + … and
//! p = μᵗ/A, q = λᵗ/Σλᵗ, each λ_iᵗ ≥ μ_iᵗ gives q = (1 − θ′) p + θ′ r for a distribution r and
//! θ′ ≤ θ = W/(A + W); their total variation distance is at most θ, and the inequality of Fannes and
//! Audenaert, |H(p) − H(q)| ≤ θ ln(N−1) + h₂(θ) nats, is the bound about H(p); it is ln N where
//! θ ≥ 1 − 1/N.
//!
//! *Rounding.* δ is the sum of the computed residual diagonal, and (r + 8)·ε·T on top, for each of its
//! entries is a difference of r + 1 terms of at most K_ii. The computed L is the exact partial factor of
//! K + E with E in the rows and columns of the pivots and |E_ij| ≤ (r + 8) ε √(K_ii K_jj); its nuclear
//! norm, at most 2 √(2r) (r + 8) ε T, enters as a change of the spectrum through the same inequality.
//! That the Schur complement of K + E is semidefinite to within that much is taken from practice
//! (theory bounds its growth by powers of the rank only); pivots at the level of rounding are not taken.
//! The bound is about the kernel as computed: a rounding of its entries is common to all ways.
//!
//! ## Lanczos, with a standard error
//! H = ln A − t·B/A with A = Σλᵗ and B = Σλᵗ ln λ. The leading eigenvector √d is known; a subspace of 32
//! Ritz vectors q is found by one product with K, and qᵀf(K)q is computed by Lanczos quadrature for each.
//! On the orthogonal complement, probes z of random signs give estimates zᵀf(K)z of the trace. Three
//! exact traces (of 1, K and K²) serve as control variates: the quadratic that fits f best in the
//! spectrum seen is taken out, its trace is known. For t = 1 and t = 2, A is exact too.
//!
//! For integer t the derivatives of λᵗ ln λ of order above t alternate in sign, so that the Gauss rule and
//! the Gauss–Radau rule with a node at 0 bracket each quadratic form; the degree grows until half of the
//! bracket's width is below a quarter of the standard error over the probes (a jackknife of the ratio),
//! and the middle is taken. Both go into the standard error. A block of probes shares its passes over the
//! kernel, whose tiles are made anew in each pass and are never stored.

mod approximation;
mod bandwidth;
mod clusters;
mod eigenvalues;
mod entropy;
mod kernel;
mod lanczos;
mod lowrank;
mod mutual_information;
mod neighbors;
mod options;
mod points;
mod quadrature;
mod sampling;
mod tiles;

pub use clusters::{equal_width_bins, k_means};
pub use entropy::EntropyEstimate;
#[cfg(feature = "gpu")]
pub(crate) use kernel::Products;
pub use mutual_information::{
    ClassTerm, MutualInformation, MutualInformationBuilder, MutualInformationEstimate,
};
pub use options::{
    Bandwidth, Base, Epsilon, Method, Operator, SpectralEntropy, SpectralEntropyBuilder,
};
#[cfg(feature = "gpu")]
pub(crate) use points::Points;
pub use sampling::sample_rows;
