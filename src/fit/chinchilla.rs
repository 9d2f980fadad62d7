//! A law of parameters and tokens whose powers are added.

use ndarray::Array1;

use super::checks::{distinct, positive_numbers, same_length};
use super::design::Form;
use super::fitted::{Fitted, Law, Shape, beyond, fit, sealed};
use super::options::ScalingFit;
use super::power_law::PowerLaw;
use super::solution::Names;
use super::triangle::MOST;
use crate::error::Result;
use crate::matrix::Vector;
use crate::numerics::{finite, positive};

/// Operations that a parameter and a token take: two forward, four backward.
const OPERATIONS: f64 = 6.0;

/// A loss that falls with the parameters of a model and the tokens it was trained on.
///
/// ```text
/// L(N, D) = E + A N^−α + B D^−β
/// ```
///
/// In nats. Hoffmann et al. 2022, *Training Compute-Optimal Large Language Models*.
///
/// ```
/// use surprisal::fit::{Chinchilla, Law};
/// let law = Chinchilla::new(1.5, (16.0, 0.5), (32.0, 0.5))?;
/// assert_eq!(law.at((1024.0, 4096.0))?, 2.5);
/// let best = law.optimal_allocation(6.0 * 1024.0 * 4096.0)?;
/// assert!((best.parameters / 1024.0 - 1.0).abs() < 1e-14 && (best.loss - 2.5).abs() < 1e-14);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Chinchilla {
    /// E, what no sizes go below.
    pub e: f64,
    /// A.
    pub a: f64,
    /// α.
    pub alpha: f64,
    /// B.
    pub b: f64,
    /// β.
    pub beta: f64,
}

/// What a number of operations is best spent on.
///
/// ```
/// # use surprisal::fit::Chinchilla;
/// // What Hoffmann et al. fitted, and the operations of their model.
/// let best = Chinchilla::new(1.69, (406.4, 0.34), (410.7, 0.28))?.optimal_allocation(5.76e23)?;
/// assert!((3e10..5e10).contains(&best.parameters) && (2e12..4e12).contains(&best.tokens));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Allocation {
    /// N.
    pub parameters: f64,
    /// D.
    pub tokens: f64,
    /// The loss with these, in nats.
    pub loss: f64,
}

impl Chinchilla {
    /// With E, A and α of the parameters, B and β of the tokens.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for an E that is not finite, or another number that is not finite and
    /// above 0.
    pub fn new(e: f64, (a, alpha): (f64, f64), (b, beta): (f64, f64)) -> Result<Self> {
        Ok(Self {
            e: finite("e", e)?,
            a: positive("a", a)?,
            alpha: positive("alpha", alpha)?,
            b: positive("b", b)?,
            beta: positive("beta", beta)?,
        })
    }

    /// The losses of parameters `[n]` and tokens `[n]`, `[n]`; ∞ where one is beyond f64.
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) for a size that is not finite and above 0, [`Error::Shape`](crate::Error::Shape)
    /// for lengths that differ.
    pub fn losses<'a, 'b>(
        &self,
        parameters: impl Into<Vector<'a>>,
        tokens: impl Into<Vector<'b>>,
    ) -> Result<Array1<f64>> {
        let parameters = positive_numbers("parameters", parameters.into())?;
        let tokens = positive_numbers("tokens", tokens.into())?;
        same_length("tokens", tokens.len(), "parameters", parameters.len())?;
        let loss =
            |(n, d): (f64, f64)| self.e + term(self.a, n, self.alpha) + term(self.b, d, self.beta);
        Ok(parameters.into_iter().zip(tokens).map(loss).collect())
    }

    /// The parameters and tokens with the least loss for so many operations C = 6 N D.
    ///
    /// ```text
    /// N = G (C/6)^(β/(α+β))      D = (C/6)^(α/(α+β)) / G      G = (αA/(βB))^(1/(α+β))
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) for operations that are not finite and above 0, [`Error::Value`](crate::Error::Value)
    /// where N or D is beyond f64.
    pub fn optimal_allocation(&self, operations: f64) -> Result<Allocation> {
        let pairs = positive("operations", operations)?.ln() - OPERATIONS.ln();
        let sum = self.alpha + self.beta;
        let lean = self.lean();
        let parameters = (lean + pairs * (self.beta / sum)).exp();
        let tokens = (pairs * (self.alpha / sum) - lean).exp();
        Ok(Allocation { parameters, tokens, loss: self.at((parameters, tokens))? })
    }

    /// The loss by the operations where these are spent so: a [`PowerLaw`] with the exponent αβ/(α+β), whose
    /// [`x_for`](PowerLaw::x_for) is the operations that a loss takes.
    ///
    /// # Errors
    /// [`Error::Option`](crate::Error::Option) where its x0 is beyond f64.
    pub fn of_operations(&self) -> Result<PowerLaw> {
        let (lean, exponent) = (self.lean(), self.alpha * self.beta / (self.alpha + self.beta));
        // A G^−α + B G^β, both times (C/6)^−exponent.
        let parameters = self.a.ln() - self.alpha * lean;
        let tokens = self.b.ln() + self.beta * lean;
        let (small, large) = (parameters.min(tokens), parameters.max(tokens));
        let amplitude = large + (small - large).exp().ln_1p();
        PowerLaw::new(self.e, (amplitude / exponent + OPERATIONS.ln()).exp(), exponent)
    }

    /// ln G.
    fn lean(&self) -> f64 {
        (self.alpha.ln() + self.a.ln() - self.beta.ln() - self.b.ln()) / (self.alpha + self.beta)
    }
}

/// a x^−alpha, without the power where that leaves f64.
fn term(a: f64, x: f64, alpha: f64) -> f64 {
    let power = x.powf(-alpha);
    if power.is_normal() { a * power } else { (a.ln() - alpha * x.ln()).exp() }
}

impl Law for Chinchilla {
    type Place = (f64, f64);

    const PARAMETERS: &'static [&'static str] = &["e", "a", "alpha", "b", "beta"];

    fn parameters(&self) -> Vec<f64> {
        vec![self.e, self.a, self.alpha, self.b, self.beta]
    }

    fn at(&self, (parameters, tokens): (f64, f64)) -> Result<f64> {
        let one = |size| Array1::from_elem(1, size);
        Ok(self.losses(&one(parameters), &one(tokens))?[0])
    }
}

impl sealed::Law for Chinchilla {
    fn numbers((parameters, tokens): (f64, f64)) -> ([f64; 2], f64) {
        ([parameters, tokens], 0.0)
    }
}

const SHAPE: Shape = Shape {
    form: Form { terms: &[&[0], &[1]], exponents: 2, subtracts: false },
    names: Names { sizes: &["parameters", "tokens"], exponents: &["alpha", "beta"] },
    least: 6,
};

impl ScalingFit {
    /// The [`Chinchilla`] law through losses `[n]` of parameters `[n]` and tokens `[n]`, with E of at least 0.
    ///
    /// ```
    /// use ndarray::Array1;
    /// use surprisal::fit::{Chinchilla, ScalingFit};
    /// let parameters = Array1::from_shape_fn(16, |i| 1e7 * 4_f64.powi(i as i32 / 4));
    /// let tokens = Array1::from_shape_fn(16, |i| 1e9 * 5_f64.powi(i as i32 % 4));
    /// let law = Chinchilla::new(1.69, (406.4, 0.34), (410.7, 0.28))?;
    /// let losses = law.losses(&parameters, &tokens)?;
    /// let fitted = ScalingFit::builder().build()?.chinchilla(&parameters, &tokens, &losses)?.law;
    /// assert!((fitted.e - 1.69).abs() < 1e-8 && (fitted.beta - 0.28).abs() < 1e-8);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`power_law`](Self::power_law), where there must be six points at least, with three different numbers of
    /// parameters and three of tokens.
    pub fn chinchilla<'a, 'b, 'c>(
        &self,
        parameters: impl Into<Vector<'a>>,
        tokens: impl Into<Vector<'b>>,
        loss: impl Into<Vector<'c>>,
    ) -> Result<Fitted<Chinchilla>> {
        self.chinchilla_here(parameters.into(), tokens.into(), loss.into())
    }

    fn chinchilla_here(
        &self,
        parameters: Vector<'_>,
        tokens: Vector<'_>,
        loss: Vector<'_>,
    ) -> Result<Fitted<Chinchilla>> {
        let parameters = positive_numbers("parameters", parameters)?;
        let tokens = positive_numbers("tokens", tokens)?;
        same_length("tokens", tokens.len(), "parameters", parameters.len())?;
        distinct("parameters", &parameters, 3)?;
        distinct("tokens", &tokens, 3)?;
        fit(self, &SHAPE, &[&parameters, &tokens], None, loss, |solution| {
            let [e, of_parameters, of_tokens, alpha, beta] = solution.parameters;
            let a = (of_parameters + alpha * solution.centres[0]).exp();
            let b = (of_tokens + beta * solution.centres[1]).exp();
            for (name, amplitude, size) in [("a", a, "parameters"), ("b", b, "tokens")] {
                if !(amplitude.is_finite() && amplitude > 0.0) {
                    return Err(beyond(name, &[size]));
                }
            }
            let mut slopes = vec![[0.0; MOST]; 5];
            slopes[0][0] = 1.0;
            slopes[1][1] = a;
            slopes[1][3] = a * solution.centres[0];
            slopes[2][3] = 1.0;
            slopes[3][2] = b;
            slopes[3][4] = b * solution.centres[1];
            slopes[4][4] = 1.0;
            Ok((Chinchilla { e, a, alpha, b, beta }, slopes))
        })
    }
}
