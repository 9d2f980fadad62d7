//! The loss along a training, by its learning rates.

use ndarray::Array1;

use super::checks::{at_least, distinct, finite_numbers, positive_numbers, same_length};
use super::design::Form;
use super::fitted::{Fitted, Law, Shape, beyond, fit, sealed};
use super::options::ScalingFit;
use super::power_law::power;
use super::solution::Names;
use super::triangle::MOST;
use crate::error::{Error, Result};
use crate::matrix::Vector;
use crate::numerics::{check, finite, positive};

/// The loss after a number of steps, by the area under the learning rates and how far they have come down.
///
/// ```text
/// L(s) = L0 + A S1(s)^−α − C S2(s)
/// ```
///
/// In nats, with the sums of [`AnnealingSums`](super::AnnealingSums). Tissue, Wang and Wang 2024, *Scaling Law with
/// Learning Rate Annealing*: what is fitted to one schedule says what another would give.
///
/// ```
/// use surprisal::fit::{AnnealingLaw, Law};
/// let law = AnnealingLaw::new(2.5, 0.75, 0.125, 0.5)?;
/// assert_eq!(law.at((2.25, 2.0))?, 2.75);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AnnealingLaw {
    /// L0.
    pub l0: f64,
    /// A.
    pub a: f64,
    /// C.
    pub c: f64,
    /// α.
    pub alpha: f64,
}

impl AnnealingLaw {
    /// With L0, A, C and α.
    ///
    /// # Errors
    /// [`Error::Option`] for an L0 that is not finite, an A or C that is not finite and at least 0, or an α that is not
    /// finite and above 0.
    pub fn new(l0: f64, a: f64, c: f64, alpha: f64) -> Result<Self> {
        let expected = "a finite number of at least 0";
        Ok(Self {
            l0: finite("l0", l0)?,
            a: check("a", a, a >= 0.0, expected)?,
            c: check("c", c, c >= 0.0, expected)?,
            alpha: positive("alpha", alpha)?,
        })
    }

    /// The losses at the sums `[n]` and `[n]`, `[n]`; ∞ where one is beyond f64.
    ///
    /// # Errors
    /// [`Error::Value`] for an S1 that is not finite and above 0 (before the first step there is no loss), an S2 that
    /// is not finite, [`Error::Shape`] for lengths that differ.
    pub fn losses<'a, 'b>(
        &self,
        s1: impl Into<Vector<'a>>,
        s2: impl Into<Vector<'b>>,
    ) -> Result<Array1<f64>> {
        self.losses_here(s1.into(), s2.into())
    }

    fn losses_here(&self, s1: Vector<'_>, s2: Vector<'_>) -> Result<Array1<f64>> {
        let s1 = positive_numbers("s1", s1)?;
        let s2 = finite_numbers("s2", s2)?;
        same_length("s2", s2.len(), "s1", s1.len())?;
        let loss = |(s1, s2): (f64, f64)| {
            let fall = if self.a == 0.0 { 0.0 } else { self.a * power(1.0, s1, self.alpha) };
            self.l0 + fall - self.c * s2
        };
        Ok(s1.into_iter().zip(s2).map(loss).collect())
    }
}

impl Law for AnnealingLaw {
    type Place = (f64, f64);

    const PARAMETERS: &'static [&'static str] = &["l0", "a", "c", "alpha"];

    fn parameters(&self) -> Vec<f64> {
        vec![self.l0, self.a, self.c, self.alpha]
    }

    fn at(&self, (s1, s2): (f64, f64)) -> Result<f64> {
        let one = |sum| Array1::from_elem(1, sum);
        Ok(self.losses(&one(s1), &one(s2))?[0])
    }
}

impl sealed::Law for AnnealingLaw {
    fn numbers((s1, s2): (f64, f64)) -> ([f64; 2], f64) {
        ([s1, 1.0], s2)
    }
}

const SHAPE: Shape = Shape {
    form: Form { terms: &[&[0]], exponents: 1, subtracts: true },
    names: Names { sizes: &["s1"], exponents: &["alpha"] },
    least: 5,
};

impl ScalingFit {
    /// The [`AnnealingLaw`] through losses `[n]` at the sums S1 `[n]` and S2 `[n]`, of one training or several, with L0
    /// and C of at least 0.
    ///
    /// ```
    /// use ndarray::{Array1, arr1};
    /// use surprisal::fit::{AnnealingLaw, AnnealingSums, ScalingFit};
    /// let rates = Array1::from_shape_fn(101, |i| if i < 60 { 1e-3 } else { 1e-3 * (1.0 - (i - 60) as f64 / 50.0) });
    /// let sums = AnnealingSums::builder(&rates).lambda(0.99).build()?;
    /// let at = |sums: &[f64]| (1..=10).map(|k| sums[10 * k]).collect::<Array1<f64>>();
    /// let (s1, s2) = (at(sums.s1()), at(sums.s2()));
    /// let losses = AnnealingLaw::new(2.5, 0.25, 20.0, 0.5)?.losses(&s1, &s2)?;
    /// let fitted = ScalingFit::builder().build()?.annealing(&s1, &s2, &losses)?.law;
    /// assert!((fitted.l0 - 2.5).abs() < 1e-8 && (fitted.c - 20.0).abs() < 1e-6);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`power_law`](Self::power_law), of S1 in the place of x, where there must be five points at least, of three
    /// different S1, and S2 that are finite and differ: at a constant rate no data tells C.
    pub fn annealing<'a, 'b, 'c>(
        &self,
        s1: impl Into<Vector<'a>>,
        s2: impl Into<Vector<'b>>,
        loss: impl Into<Vector<'c>>,
    ) -> Result<Fitted<AnnealingLaw>> {
        self.annealing_here(s1.into(), s2.into(), loss.into())
    }

    fn annealing_here(
        &self,
        s1: Vector<'_>,
        s2: Vector<'_>,
        loss: Vector<'_>,
    ) -> Result<Fitted<AnnealingLaw>> {
        let s1 = positive_numbers("s1", s1)?;
        let s2 = finite_numbers("s2", s2)?;
        same_length("s2", s2.len(), "s1", s1.len())?;
        at_least("s1", s1.len(), SHAPE.least)?;
        distinct("s1", &s1, 3)?;
        if s2.iter().all(|&other| other == s2[0]) {
            return Err(Error::Conflict {
                what: format!(
                    "s2 is {} throughout, expected different ones: learning rates that come down",
                    s2[0]
                ),
            });
        }
        fit(self, &SHAPE, &[&s1], Some(&s2), loss, |solution| {
            let [l0, amplitude, alpha, c, ..] = solution.parameters;
            let a = (amplitude + alpha * solution.centres[0]).exp();
            if !(a.is_finite() && a > 0.0) {
                return Err(beyond("a", SHAPE.names.sizes));
            }
            let mut slopes = vec![[0.0; MOST]; 4];
            slopes[0][0] = 1.0;
            slopes[1][1] = a;
            slopes[1][2] = a * solution.centres[0];
            slopes[2][3] = 1.0;
            slopes[3][2] = 1.0;
            Ok((AnnealingLaw { l0, a, c, alpha }, slopes))
        })
    }
}
