//! What a fit makes small.

use super::design::{Form, Point};
use super::huber;
use super::triangle::{MOST, Row, Triangle};

/// What a law is compared with a measured loss by.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::fit::{Residuals, ScalingFit};
/// let (x, losses) = (arr1(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0]), arr1(&[4.0, 2.0, 1.0, 0.5, 0.25, -0.01]));
/// assert!(ScalingFit::builder().build()?.power_law(&x, &losses).is_err());
/// let fit = ScalingFit::builder().residuals(Residuals::Differences).build()?;
/// assert!(fit.power_law(&x, &losses)?.law.l_inf < 0.1);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Residuals {
    /// ln of the law less ln of the loss: relative errors. All losses must be above 0.
    #[default]
    Logarithms,
    /// The law less the loss, in nats. The losses may be anything.
    Differences,
}

impl Residuals {
    /// NaN where there is none.
    pub(super) fn of(self, value: f64, loss: f64) -> f64 {
        match self {
            Residuals::Differences => value - loss,
            Residuals::Logarithms => {
                let relative = (value - loss) / loss;
                // A small one keeps its digits so.
                if relative.abs() < 0.5 { relative.ln_1p() } else { (value / loss).ln() }
            }
        }
    }

    /// The slope of the residual by the value.
    fn slope(self, value: f64) -> f64 {
        match self {
            Residuals::Differences => 1.0,
            Residuals::Logarithms => 1.0 / value,
        }
    }
}

/// Points and the law that is to go through them.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) form: Form,
    pub(super) points: Vec<Point>,
    pub(super) residuals: Residuals,
    pub(super) delta: f64,
    /// Whether an exponent may be no larger than its error.
    pub(super) undetermined: bool,
}

impl Problem {
    /// Σ ρ(residual); ∞ where the law has no residual.
    pub(super) fn objective(&self, parameters: &Row) -> f64 {
        let loss = |point: &Point| {
            let value = self.form.value(parameters, &point.logs, point.column);
            huber::loss(self.residuals.of(value, point.loss), self.delta)
        };
        let sum: f64 = self.points.iter().map(loss).sum();
        if sum.is_nan() { f64::INFINITY } else { sum }
    }

    /// From the least logarithm to the largest.
    pub(super) fn spread(&self, which: usize) -> f64 {
        let logs = self.points.iter().map(|point| point.logs[which]);
        let (low, high) =
            logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), u| (a.min(u), b.max(u)));
        high - low
    }

    /// Each residual with its slopes by the parameters.
    pub(super) fn linear<'a>(
        &'a self,
        parameters: &'a Row,
    ) -> impl Iterator<Item = (f64, Row)> + 'a {
        self.points.iter().map(move |point| {
            let (value, mut slopes) = self.form.slopes(parameters, &point.logs, point.column);
            let factor = self.residuals.slope(value);
            slopes.iter_mut().for_each(|slope| *slope *= factor);
            (self.residuals.of(value, point.loss), slopes)
        })
    }

    /// The slopes of all residuals as equations, without weights.
    pub(super) fn jacobian(&self, parameters: &Row) -> Triangle {
        let count = self.form.parameters();
        let mut triangle = Triangle::new(count);
        for (residual, slopes) in self.linear(parameters) {
            triangle.push(&slopes[..count], residual);
        }
        triangle
    }

    /// The point where the amplitudes of `coefficients` stand as logarithms: constant, amplitudes, column.
    pub(super) fn assemble(&self, coefficients: &[f64], exponents: &[f64]) -> Row {
        let (form, mut parameters) = (&self.form, [0.0; MOST]);
        parameters[0] = coefficients[0];
        for k in 0..form.terms.len() {
            parameters[form.amplitude(k)] = coefficients[1 + k].ln();
        }
        for (which, &exponent) in exponents.iter().enumerate() {
            parameters[form.exponent(which)] = exponent;
        }
        if let Some(at) = form.coefficient() {
            parameters[at] = coefficients[1 + form.terms.len()];
        }
        parameters
    }
}
