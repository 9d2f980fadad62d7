//! How a law is fitted.

use super::problem::Residuals;
use crate::error::Result;
use crate::numerics::{check, positive};

/// A fit of a scaling law by Huber's loss of the residuals, with its options.
///
/// ```text
/// min Σ_i ρ(r_i)      ρ(r) = r²/2 for |r| ≤ δ, δ(|r| − δ/2) beyond      r_i = ln law(x_i) − ln loss_i
/// ```
///
/// δ is 10⁻³ unless [`huber_delta`](ScalingFitBuilder::huber_delta) says otherwise: Hoffmann et al. 2022 and Tissue et
/// al. 2024 have it so, and where descriptions of a fit leave it open it is this one here. With residuals beyond δ the
/// fit is nearly one of least absolute residuals, which a few wrong losses hardly move.
///
/// For given exponents the law is linear in the rest (variable projection): a grid of exponents, each with its
/// weighted non-negative least squares, finds where minima are, and Levenberg and Marquardt's steps on all parameters
/// end in the lowest of them. The same points in another order give the same bits.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::fit::ScalingFit;
/// let x = arr1(&[1e4, 1e5, 1e6, 1e7, 1e8]);
/// let loss = x.mapv(|x: f64| 1.75 + (6e4 / x).powf(0.125));
/// let fitted = ScalingFit::builder().build()?.power_law(&x, &loss)?;
/// assert!((fitted.law.l_inf - 1.75).abs() < 1e-9 && (fitted.law.alpha - 0.125).abs() < 1e-9);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalingFit {
    pub(super) huber_delta: f64,
    pub(super) residuals: Residuals,
    pub(super) confidence: f64,
    pub(super) undetermined: bool,
}

impl ScalingFit {
    /// With δ = 10⁻³, residuals of logarithms and intervals of 95 %.
    pub fn builder() -> ScalingFitBuilder {
        ScalingFitBuilder {
            fit: ScalingFit {
                huber_delta: 1e-3,
                residuals: Residuals::Logarithms,
                confidence: 0.95,
                undetermined: false,
            },
        }
    }
}

/// The options of a [`ScalingFit`].
///
/// ```
/// use surprisal::fit::{Residuals, ScalingFit};
/// let fit = ScalingFit::builder().huber_delta(0.01).residuals(Residuals::Differences).confidence(0.9);
/// assert!(fit.build().is_ok() && fit.huber_delta(0.0).build().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalingFitBuilder {
    fit: ScalingFit,
}

impl ScalingFitBuilder {
    /// δ, where Huber's loss becomes straight, in the unit of the residuals: 10⁻³ by default.
    pub fn huber_delta(mut self, delta: f64) -> Self {
        self.fit.huber_delta = delta;
        self
    }

    /// What the residuals are: of logarithms by default.
    pub fn residuals(mut self, residuals: Residuals) -> Self {
        self.fit.residuals = residuals;
        self
    }

    /// The share of new losses that the intervals of predictions are to hold: 0.95 by default.
    pub fn confidence(mut self, confidence: f64) -> Self {
        self.fit.confidence = confidence;
        self
    }

    /// Whether laws are returned whose exponent is no larger than its standard error, such as those of losses that fall
    /// as straight as a logarithm: they may predict well near the data, but neither their parameters nor what they say
    /// far away mean much, and intervals are rough. They are refused by default.
    pub fn undetermined(mut self, undetermined: bool) -> Self {
        self.fit.undetermined = undetermined;
        self
    }

    /// The fit.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for a δ that is not finite and above 0, or a confidence that is not
    /// between 0 and 1.
    pub fn build(self) -> Result<ScalingFit> {
        let ScalingFit { huber_delta, confidence, .. } = self.fit;
        positive("huber_delta", huber_delta)?;
        let within = confidence > 0.0 && confidence < 1.0;
        check("confidence", confidence, within, "a number above 0 and below 1")?;
        Ok(self.fit)
    }
}
