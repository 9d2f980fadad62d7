//! The smooth adversarial loss, of clean logits and attacked ones.

use ndarray::{Array1, Array2};

use super::gradients::{Gradients, Upstream};
use super::inputs::{Inputs, Targets};
use super::options::{LinearCrossEntropy, Reduction};
use super::rows::CompSum;
use crate::error::{Error, Result, short};
use crate::matrix::Matrix;

/// A comp-sum loss of clean logits with a penalty on how far an attack moves the margins.
///
/// ```text
/// Δ_v = z_y − z_v      L = Φ_τ(Σ_{v≠y} e^(−Δ_v/ρ)) + ν ‖Δ′ − Δ‖₂
/// ```
///
/// with Φ_τ as in [`CompSum`], z the logits of the clean input and z′ those of an attacked one, which the caller
/// has found. The guarantee of the paper is for ν ≥ √(V−1)/ρ. Where the attack moves nothing, the norm has no
/// slope.
///
/// Mao, Mohri and Zhong 2023, *Cross-Entropy Loss Functions: Theoretical Analysis and Applications*.
///
/// Finding the attack is the caller's matter, and both sets of logits are read once; an attack that moves nothing leaves the comp-sum loss at temperature ρ.
/// Cases in `conformance/losses.jsonl`: `smooth_adversarial_comp_sum`.
///
/// ```
/// use surprisal::loss::SmoothAdversarial;
/// let (clean, attacked) = (ndarray::arr2(&[[1.0_f64, 0.0]]), ndarray::arr2(&[[0.0_f64, 0.0]]));
/// let loss = SmoothAdversarial::new(1.0, 1.0, 2.0)?;
/// let found = loss.losses(&clean, &attacked, &[0_u32])?;
/// assert!((found.losses[0] - ((-1.0_f64).exp().ln_1p() + 2.0)).abs() < 1e-15);
/// assert_eq!(found.by_attacked, ndarray::arr2(&[[-2.0, 2.0]]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothAdversarial {
    comp_sum: CompSum,
    rho: f64,
    nu: f64,
}

/// The losses of rows with their gradients by the logits of both inputs; what [`SmoothAdversarial::losses`] gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdversarialLosses {
    /// `[N]`, in nats where τ is 1.
    pub losses: Array1<f64>,
    /// `[N,V]`, of each loss by the clean logits.
    pub by_clean: Array2<f64>,
    /// `[N,V]`, of each loss by the attacked logits.
    pub by_attacked: Array2<f64>,
}

impl SmoothAdversarial {
    /// With τ, ρ and ν.
    ///
    /// # Errors
    /// [`Error::Option`] for a τ or ν below 0, a ρ that is not above 0, and what is not finite.
    pub fn new(tau: f64, rho: f64, nu: f64) -> Result<Self> {
        let comp_sum = CompSum::new(tau)?;
        if !(rho > 0.0 && rho.is_finite()) {
            let expected = "a finite number above 0";
            return Err(Error::Option { name: "rho", value: short(rho), expected });
        }
        if !(nu >= 0.0 && nu.is_finite()) {
            let expected = "a finite number of at least 0";
            return Err(Error::Option { name: "nu", value: short(nu), expected });
        }
        Ok(Self { comp_sum, rho, nu })
    }

    /// The loss of each row of clean and attacked logits `[N,V]`, with its gradients, in f64.
    ///
    /// # Errors
    /// [`Error::Shape`] where the two have other shapes; else as [`LinearCrossEntropy::forward`].
    pub fn losses<'a>(
        &self,
        clean: impl Into<Matrix<'a>>,
        attacked: impl Into<Matrix<'a>>,
        targets: &[u32],
    ) -> Result<AdversarialLosses> {
        self.losses_here(clean.into(), attacked.into(), targets)
    }

    fn losses_here(
        &self,
        clean: Matrix<'_>,
        attacked: Matrix<'_>,
        targets: &[u32],
    ) -> Result<AdversarialLosses> {
        let wide =
            |matrix: Matrix<'_>| Array2::from_shape_fn(matrix.dim(), |(i, v)| matrix.at(i, v));
        let (mut clean, attacked) = (wide(clean), wide(attacked));
        if attacked.dim() != clean.dim() {
            return Err(Error::Shape {
                argument: "the attacked logits",
                found: attacked.shape().to_vec(),
                expected: format!("{:?}, as the clean ones", clean.shape()),
            });
        }
        let moved = &attacked - &clean;
        // No margin sees what a row has in common, and the part of it that ρ leaves has its digits.
        for mut row in clean.rows_mut() {
            let maximum = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row -= maximum;
        }
        let mut by_clean = Array2::zeros(clean.dim());
        let loss = LinearCrossEntropy::builder()
            .row_loss(self.comp_sum)
            .temperature(self.rho)
            .reduction(Reduction::None)
            .ignore_index(None)
            .build()?;
        let inputs = Inputs::from_logits(&clean, Targets::from(targets));
        let gradients = Gradients::new().logits(&mut by_clean);
        let forward = loss.loss_and_gradients(&inputs, &Upstream::default(), gradients)?;
        let mut losses = forward.losses();
        let mut by_attacked = Array2::zeros(clean.dim());
        for (i, &target) in targets.iter().enumerate() {
            let y = target as usize;
            // Δ′ − Δ; a class that neither has is not moved.
            let moved = moved.row(i);
            let apart: Vec<f64> = moved
                .iter()
                .enumerate()
                .map(|(v, x)| {
                    if v == y || x.is_nan() && clean[[i, v]] == f64::NEG_INFINITY {
                        0.0
                    } else {
                        moved[y] - x
                    }
                })
                .collect();
            let largest = apart.iter().fold(0.0_f64, |most, d| most.max(d.abs()));
            let squares: f64 = apart.iter().map(|d| (d / largest) * (d / largest)).sum();
            let norm = if largest == 0.0 { 0.0 } else { largest * squares.sqrt() };
            losses[i] += self.nu * norm;
            if norm == 0.0 || !norm.is_finite() {
                continue;
            }
            for (v, d) in apart.iter().enumerate() {
                by_attacked[[i, v]] -= self.nu * d / norm;
                by_attacked[[i, y]] += self.nu * d / norm;
            }
        }
        by_clean -= &by_attacked;
        Ok(AdversarialLosses { losses, by_clean, by_attacked })
    }
}
