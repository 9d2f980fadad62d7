//! A power law with a constant.

use ndarray::Array1;

use super::checks::{distinct, positive_numbers};
use super::design::Form;
use super::fitted::{Fitted, Law, Shape, beyond, fit, sealed};
use super::options::ScalingFit;
use super::solution::Names;
use super::triangle::MOST;
use crate::error::{Error, Result, short};
use crate::matrix::Vector;
use crate::numerics::{finite, positive};

/// A loss that falls with x, the parameters, tokens or operations of a model, towards a constant.
///
/// ```text
/// L(x) = L∞ + (x0/x)^α
/// ```
///
/// In nats, x and x0 in one unit. L∞ stands for the entropy of the data, and the rest, the reducible loss, for the
/// divergence of the model from it. Henighan et al. 2020, *Scaling Laws for Autoregressive Generative Modeling*.
///
/// ```
/// use surprisal::fit::{Law, PowerLaw};
/// let law = PowerLaw::new(1.75, 1e6, 0.5)?;
/// assert_eq!(law.at(4e6)?, 2.25);
/// assert_eq!((law.reducible(2.25), law.x_for(2.25)?, law.x_for_kl(0.25)?), (0.5, 4e6, 1.6e7));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PowerLaw {
    /// L∞, what no x goes below.
    pub l_inf: f64,
    /// x0, where the reducible loss is one nat.
    pub x0: f64,
    /// α.
    pub alpha: f64,
}

impl PowerLaw {
    /// With these parameters.
    ///
    /// # Errors
    /// [`Error::Option`] for an L∞ that is not finite, or an x0 or α that is not finite and above 0.
    pub fn new(l_inf: f64, x0: f64, alpha: f64) -> Result<Self> {
        let l_inf = finite("l_inf", l_inf)?;
        Ok(Self { l_inf, x0: positive("x0", x0)?, alpha: positive("alpha", alpha)? })
    }

    /// The losses at each x, `[n]`; ∞ where one is beyond f64.
    ///
    /// # Errors
    /// [`Error::Value`] for an x that is not finite and above 0.
    pub fn losses<'a>(&self, x: impl Into<Vector<'a>>) -> Result<Array1<f64>> {
        let x = positive_numbers("x", x.into())?;
        Ok(x.into_iter().map(|x| self.l_inf + power(self.x0, x, self.alpha)).collect())
    }

    /// L − L∞ of a loss.
    pub fn reducible(&self, loss: f64) -> f64 {
        loss - self.l_inf
    }

    /// The x at which the law has this loss, x0 (L − L∞)^(−1/α).
    ///
    /// # Errors
    /// [`Error::Option`] for a loss that is not above L∞, which no x reaches, or is reached beyond f64.
    pub fn x_for(&self, loss: f64) -> Result<f64> {
        let kl = self.reducible(loss);
        if kl > 0.0 && kl.is_finite() {
            return self.x_for_kl(kl).map_err(|_| {
                let (value, expected) = (short(loss), "one that the law has at an x within f64");
                Error::Option { name: "loss", value, expected }
            });
        }
        let (value, expected) =
            (short(loss), "a finite number above l_inf, the loss that no x reaches");
        Err(Error::Option { name: "loss", value, expected })
    }

    /// The x at which this much of the loss is reducible, x0 KL^(−1/α).
    ///
    /// # Errors
    /// [`Error::Option`] for a number that is not finite and above 0, or is reached beyond f64.
    pub fn x_for_kl(&self, kl: f64) -> Result<f64> {
        positive("kl", kl)?;
        // In one power where it has the range.
        let (plain, wide) =
            (self.x0 * kl.powf(-1.0 / self.alpha), (self.x0.ln() - kl.ln() / self.alpha).exp());
        let x = if plain.is_normal() { plain } else { wide };
        if x.is_finite() && x > 0.0 {
            return Ok(x);
        }
        let (value, expected) = (short(kl), "one that the law has at an x within f64");
        Err(Error::Option { name: "kl", value, expected })
    }
}

/// (a/x)^α, without the quotient where that leaves f64.
pub(super) fn power(a: f64, x: f64, alpha: f64) -> f64 {
    let ratio = a / x;
    if ratio.is_normal() { ratio.powf(alpha) } else { (alpha * (a.ln() - x.ln())).exp() }
}

impl Law for PowerLaw {
    type Place = f64;

    const PARAMETERS: &'static [&'static str] = &["l_inf", "x0", "alpha"];

    fn parameters(&self) -> Vec<f64> {
        vec![self.l_inf, self.x0, self.alpha]
    }

    fn at(&self, x: f64) -> Result<f64> {
        Ok(self.losses(&Array1::from_elem(1, x))?[0])
    }
}

impl sealed::Law for PowerLaw {
    fn numbers(x: f64) -> ([f64; 2], f64) {
        ([x, 1.0], 0.0)
    }
}

const SHAPE: Shape = Shape {
    form: Form { terms: &[&[0]], exponents: 1, subtracts: false },
    names: Names { sizes: &["x"], exponents: &["alpha"] },
    least: 4,
};

impl ScalingFit {
    /// The [`PowerLaw`] through losses `[n]` at x `[n]`, with L∞ of at least 0.
    ///
    /// ```
    /// use ndarray::arr1;
    /// use surprisal::fit::ScalingFit;
    /// let x = arr1(&[1e5, 3e5, 1e6, 3e6, 1e7, 3e7]);
    /// let loss = arr1(&[3.1457, 3.0104, 2.9011, 2.8062, 2.7155, 2.6536]);
    /// let fitted = ScalingFit::builder().build()?.power_law(&x, &loss)?;
    /// let far = fitted.predict(1e9)?;
    /// assert!(far.lower < far.loss && far.loss < far.upper && far.loss > fitted.law.l_inf);
    /// assert!(fitted.r_squared > 0.999);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] for fewer than four points or lengths that differ, [`Error::Value`] for an x or loss that is
    /// not finite and above 0 (losses of [`Residuals::Differences`](super::Residuals::Differences): finite),
    /// [`Error::Conflict`] for fewer than four distinct x, a loss that does not fall, losses more than 10⁶⁰ apart, an x0
    /// beyond f64, and data that cannot tell the parameters: a condition of 10⁸, or an α that is not above its
    /// standard error, unless [`undetermined`](super::ScalingFitBuilder::undetermined) allows that.
    pub fn power_law<'a, 'b>(
        &self,
        x: impl Into<Vector<'a>>,
        loss: impl Into<Vector<'b>>,
    ) -> Result<Fitted<PowerLaw>> {
        self.power_law_here(x.into(), loss.into())
    }

    fn power_law_here(&self, x: Vector<'_>, loss: Vector<'_>) -> Result<Fitted<PowerLaw>> {
        let x = positive_numbers("x", x)?;
        distinct("x", &x, SHAPE.least)?;
        fit(self, &SHAPE, &[&x], None, loss, |solution| {
            let [l_inf, amplitude, alpha, ..] = solution.parameters;
            let x0 = (amplitude / alpha + solution.centres[0]).exp();
            if !(x0.is_finite() && x0 > 0.0) {
                return Err(beyond("x0", SHAPE.names.sizes));
            }
            let mut slopes = vec![[0.0; MOST]; 3];
            slopes[0][0] = 1.0;
            slopes[1][1] = x0 / alpha;
            slopes[1][2] = -x0 * (amplitude / alpha) / alpha;
            slopes[2][2] = 1.0;
            Ok((PowerLaw { l_inf, x0, alpha }, slopes))
        })
    }
}
