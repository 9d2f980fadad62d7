//! A law that was fitted: how well, and what it predicts.

use ndarray::Array2;

use super::checks::{at_least, finite_numbers, positive_numbers, same_length};
use super::design::Form;
use super::options::ScalingFit;
use super::problem::Residuals;
use super::solution::{Names, Solution, solve};
use super::student::two_sided;
use super::triangle::Row;
use crate::error::{Error, Result, short};
use crate::matrix::Vector;

/// A scaling law that [`ScalingFit`] fits.
///
/// ```
/// use surprisal::fit::{Law, PowerLaw};
/// fn lines<L: Law>(law: &L) -> Vec<String> {
///     let named = L::PARAMETERS.iter().zip(law.parameters());
///     named.map(|(name, value)| format!("{name} = {value}")).collect()
/// }
/// assert_eq!(lines(&PowerLaw::new(1.5, 1e6, 0.5)?), ["l_inf = 1.5", "x0 = 1000000", "alpha = 0.5"]);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub trait Law: Sized + sealed::Law {
    /// Where a law has a value: x, or the two numbers that it depends on.
    type Place: Copy;

    /// What the parameters are called, in the order of [`parameters`](Self::parameters).
    const PARAMETERS: &'static [&'static str];

    /// The parameters.
    fn parameters(&self) -> Vec<f64>;

    /// The loss there, in nats.
    ///
    /// # Errors
    /// [`Error::Value`] for a place where the law has no value.
    fn at(&self, place: Self::Place) -> Result<f64>;
}

pub(super) mod sealed {
    /// What a fit must know of a law, and nobody else.
    pub trait Law {
        /// The numbers of a place that the law has powers of, and the one that it subtracts a multiple of.
        fn numbers(place: <Self as super::Law>::Place) -> ([f64; 2], f64)
        where
            Self: super::Law;
    }
}

/// A law with what the points say of it.
///
/// ```
/// use ndarray::arr1;
/// use surprisal::fit::{PowerLaw, ScalingFit};
/// let x = arr1(&[1e4, 1e5, 1e6, 1e7, 1e8]);
/// let losses = PowerLaw::new(1.75, 6e4, 0.25)?.losses(&x)?;
/// let fitted = ScalingFit::builder().build()?.power_law(&x, &losses)?;
/// assert_eq!((fitted.degrees_of_freedom, fitted.covariance.dim()), (2, (3, 3)));
/// assert!(fitted.r_squared > 0.999999 && fitted.condition < 100.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fitted<L> {
    /// The law.
    pub law: L,
    /// Σ ρ of the residuals, the number that was made small; +∞ where it leaves f64, as squares of large losses do.
    pub objective: f64,
    /// The share of the losses' variance that the law explains, 1 − Σ(loss − law)²/Σ(loss − mean)².
    pub r_squared: f64,
    /// Cov of the parameters, in their order.
    ///
    /// s² v (JᵀJ)⁻¹ with J the slopes of the residuals by the parameters, s their spread by Huber's second proposal
    /// over n − p degrees of freedom, and v = E ψ²/(E ψ′)² of normal residuals of that spread: 1 for δ well beyond them,
    /// up to π/2 for δ well within. It holds near the minimum, for independent residuals; that no constant is below 0
    /// is not in it. ∞ where an entry is beyond f64.
    pub covariance: Array2<f64>,
    /// The roots of the covariance's diagonal.
    pub standard_errors: Vec<f64>,
    /// The largest singular value over the smallest of J, its columns made as long as each other and x measured from
    /// its geometric mean: how many times what is wrong with the losses is found in the parameters, at worst.
    pub condition: f64,
    /// s, the spread of the residuals.
    pub scatter: f64,
    /// Points less parameters.
    pub degrees_of_freedom: usize,
    solution: Solution,
    options: ScalingFit,
}

/// What a fitted law says of a place.
///
/// ```
/// # use ndarray::arr1;
/// # use surprisal::fit::ScalingFit;
/// let (x, losses) = (arr1(&[1e3, 1e4, 1e5, 1e6, 1e7]), arr1(&[4.01, 3.0, 2.49, 2.26, 2.13]));
/// let told = ScalingFit::builder().build()?.power_law(&x, &losses)?.predict(1e8)?;
/// assert!(told.lower < told.loss - told.standard_error && told.upper > told.loss + told.standard_error);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The law's loss, in nats.
    pub loss: f64,
    /// The standard error of that, by the delta method.
    pub standard_error: f64,
    /// The lower end of the interval for a new measured loss.
    pub lower: f64,
    /// Its upper end.
    pub upper: f64,
}

impl<L: Law> Fitted<L> {
    /// The loss at a place, with an interval for a new measured one.
    ///
    /// ```text
    /// r ± t √(s_law² + s²)
    /// ```
    ///
    /// around the law, in the unit of the residuals (so that it is a factor for those of logarithms): s_law is the
    /// standard error of the law there, s the spread of the residuals, t the quantile of Student's distribution for
    /// n − p degrees of freedom.
    ///
    /// # Errors
    /// [`Error::Value`] for a place where the law has no value, [`Error::Option`] for one where it is not finite, or not
    /// above 0 where residuals are of logarithms.
    pub fn predict(&self, place: L::Place) -> Result<Prediction> {
        let loss = self.law.at(place)?;
        let Solution { form, parameters, centres, covariance, .. } = &self.solution;
        let (sizes, column) = L::numbers(place);
        let logs = [sizes[0].ln() - centres[0], sizes[1].ln() - centres[1]];
        let (_, slopes) = form.slopes(parameters, &logs, column);
        let row = |row: &Row| row.iter().zip(slopes).map(|(c, slope)| c * slope).sum::<f64>();
        let variance: f64 = covariance.iter().zip(slopes).map(|(c, slope)| slope * row(c)).sum();
        // `max` would make a number of what is none.
        let standard_error = if variance < 0.0 { 0.0 } else { variance.sqrt() };
        // A factor is of nothing that is not above 0.
        let measurable = self.options.residuals == Residuals::Differences || loss > 0.0;
        if !(loss.is_finite() && standard_error.is_finite() && measurable) {
            return Err(Error::Option {
                name: "place",
                value: format!("one with the loss {} ± {}", short(loss), short(standard_error)),
                expected: "one where the law is finite and the loss has a residual",
            });
        }
        let t = two_sided(self.options.confidence, self.degrees_of_freedom);
        let (lower, upper) = match self.options.residuals {
            Residuals::Logarithms => {
                let reach = (t * (standard_error / loss).hypot(self.scatter)).exp();
                (loss / reach, loss * reach)
            }
            Residuals::Differences => {
                let reach = t * standard_error.hypot(self.scatter);
                (loss - reach, loss + reach)
            }
        };
        Ok(Prediction { loss, standard_error, lower, upper })
    }
}

/// What is fitted: a form with its names.
pub(super) struct Shape {
    pub(super) form: Form,
    pub(super) names: Names,
    /// The fewest points.
    pub(super) least: usize,
}

/// Losses as far apart as this are no losses of one law.
const FARTHEST: f64 = 1e60;

/// The law of a form, which `law` makes of the solution, with the slopes of its parameters by the solution's.
pub(super) fn fit<L: Law>(
    options: &ScalingFit,
    shape: &Shape,
    sizes: &[&[f64]],
    column: Option<&[f64]>,
    losses: Vector<'_>,
    law: impl FnOnce(&Solution) -> Result<(L, Vec<Row>)>,
) -> Result<Fitted<L>> {
    let losses = match options.residuals {
        Residuals::Logarithms => positive_numbers("loss", losses)?,
        Residuals::Differences => finite_numbers("loss", losses)?,
    };
    same_length("loss", losses.len(), shape.names.sizes[0], sizes[0].len())?;
    at_least("loss", losses.len(), shape.least)?;
    if options.residuals == Residuals::Logarithms {
        let (low, high) = ends(&losses);
        if high / low > FARTHEST {
            return Err(Error::Conflict {
                what: format!(
                    "losses are from {} to {}, expected a factor of at most {FARTHEST:e} between them",
                    short(low),
                    short(high)
                ),
            });
        }
    }
    let solution = solve(shape.form, &shape.names, sizes, column, &losses, options)?;
    let (law, slopes) = law(&solution)?;
    let parameters = law.parameters();
    if let Some(at) = parameters.iter().position(|x| !x.is_finite()) {
        return Err(beyond(L::PARAMETERS[at], shape.names.sizes));
    }
    let count = parameters.len();
    let entry = |(i, j): (usize, usize)| {
        let row = |k: usize| -> f64 {
            let cells = (0..count).map(|l| slopes[j][l] * solution.covariance[k][l]);
            cells.sum()
        };
        let sum: f64 = (0..count).map(|k| slopes[i][k] * row(k)).sum();
        // Where parts of it are beyond f64.
        if sum.is_nan() { f64::INFINITY } else { sum }
    };
    let covariance = Array2::from_shape_fn((count, count), entry);
    let standard_errors = covariance.diag().iter().map(|x| x.max(0.0).sqrt()).collect();
    Ok(Fitted {
        law,
        objective: solution.objective,
        r_squared: solution.r_squared,
        covariance,
        standard_errors,
        condition: solution.condition,
        scatter: solution.scatter,
        degrees_of_freedom: solution.points - count,
        solution,
        options: *options,
    })
}

fn ends(numbers: &[f64]) -> (f64, f64) {
    numbers.iter().fold((f64::INFINITY, 0.0), |(low, high), &x| (low.min(x), high.max(x)))
}

/// A parameter that no f64 holds.
pub(super) fn beyond(parameter: &'static str, sizes: &[&str]) -> Error {
    Error::Conflict {
        what: format!(
            "{parameter} of the fitted law is beyond the range of f64, expected {} in another unit",
            sizes.join(" and ")
        ),
    }
}
