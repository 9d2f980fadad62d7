//! The parameters of a law through points, and how well the points tell them.

use std::cmp::Ordering;

use super::descent::descend;
use super::design::{Form, Point};
use super::huber;
use super::options::ScalingFit;
use super::problem::{Problem, Residuals};
use super::scan;
use super::triangle::{MOST, Row};
use crate::error::{Error, Result, short};
use crate::random::Generator;
use crate::sorting::sorted_places;

/// Singular values of the scaled slopes that lie further apart than this leave no digits to an answer.
const CONDITION: f64 = 1e8;

/// Starts are looked for with so many points.
const SAMPLE: [usize; 2] = [2048, 512];

/// The spread of residuals is of those within so many of its own.
const WITHIN: f64 = 1.5;

/// The least spread of residuals, in units of losses between 1 and 2.
const ROUNDING: f64 = 2.0 * f64::EPSILON;

/// A power that changes by less than this over all points is none.
const STILL: f64 = 1e-8;

/// What came out, for logarithms that are centred at `centres`.
#[derive(Clone, Debug)]
pub(super) struct Solution {
    pub(super) form: Form,
    pub(super) parameters: Row,
    pub(super) centres: [f64; 2],
    pub(super) covariance: [Row; MOST],
    /// The spread of the residuals.
    pub(super) scatter: f64,
    pub(super) objective: f64,
    pub(super) condition: f64,
    pub(super) r_squared: f64,
    pub(super) points: usize,
}

/// What stands in a message for each parameter.
pub(super) struct Names {
    /// Of the sizes that the loss falls with, one for each exponent.
    pub(super) sizes: &'static [&'static str],
    pub(super) exponents: &'static [&'static str],
}

/// The law of a form through losses at sizes above 0, one list for each exponent.
pub(super) fn solve(
    form: Form,
    names: &Names,
    sizes: &[&[f64]],
    column: Option<&[f64]>,
    losses: &[f64],
    options: &ScalingFit,
) -> Result<Solution> {
    let ScalingFit { huber_delta, residuals, undetermined, .. } = *options;
    if is_constant(losses) {
        return Err(does_not_fall(&names.sizes.join(" and ")));
    }
    let scale = Scale::of(losses, column);
    // The same sums for any order of the points.
    let order = sorted_places(losses.len(), |a, b| {
        let columns = sizes.iter().copied().chain(column).chain([losses]);
        let orders = columns.map(|numbers| numbers[a].total_cmp(&numbers[b]));
        orders.fold(Ordering::Equal, Ordering::then)
    });
    let mut centres = [0.0; 2];
    for (centre, sizes) in centres.iter_mut().zip(sizes) {
        *centre = order.iter().map(|&at| sizes[at].ln()).sum::<f64>() / sizes.len() as f64;
    }
    let point = |at: usize| {
        let mut logs = [0.0; 2];
        for which in 0..sizes.len() {
            logs[which] = sizes[which][at].ln() - centres[which];
        }
        let column = column.map_or(0.0, |column| column[at] / scale.column);
        Point { logs, column, loss: losses[at] / scale.loss }
    };
    let points: Vec<Point> = order.into_iter().map(point).collect();
    let delta = match residuals {
        Residuals::Logarithms => huber_delta,
        Residuals::Differences => huber_delta / scale.loss,
    };
    let problem = Problem { form, points, residuals, delta, undetermined };
    let fitted = minimum(&problem).ok_or_else(|| does_not_fall(&names.sizes.join(" and ")))?;
    judged(&problem, names, fitted, centres, &scale)
}

fn does_not_fall(sizes: &str) -> Error {
    let what = format!("the loss does not fall with {sizes}, expected one that falls as a power");
    Error::Conflict { what }
}

/// Whether losses are equal but for rounding: every law with nothing of its powers has them.
fn is_constant(losses: &[f64]) -> bool {
    let ends = losses.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[least, most], &loss| {
        [least.min(loss), most.max(loss)]
    });
    ends[1] - ends[0] <= 8.0 * f64::EPSILON * ends[0].abs().max(ends[1].abs())
}

/// What losses and the column are divided by: powers of two, which keep all digits.
struct Scale {
    loss: f64,
    column: f64,
}

impl Scale {
    fn of(losses: &[f64], column: Option<&[f64]>) -> Self {
        let most = |numbers: &[f64]| numbers.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        // Within what a power of two may be, up to the ends of f64.
        let power = |size: f64| match size {
            0.0 => 1.0,
            size => 2_f64.powi(size.log2().floor().clamp(-1000.0, 1000.0) as i32),
        };
        Self { loss: power(most(losses)), column: column.map_or(1.0, |all| power(most(all))) }
    }
}

/// The lowest minimum that is found from the starts of a scan.
fn minimum(problem: &Problem) -> Option<Row> {
    let sample = sampled(problem);
    let small = sample.as_ref().unwrap_or(problem);
    let starts = scan::starts(small);
    let ends = starts.into_iter().map(|start| descend(small, start));
    let (mut best, lowest) = ends.min_by(|a, b| a.1.total_cmp(&b.1))?;
    // A descent comes forward slowly where exponent and amplitude nearly stand for each other, as over narrow ranges.
    if let Some(start) = scan::along_the_exponent(small, &best, lowest) {
        let (end, objective) = descend(small, start);
        best = if objective < lowest { end } else { best };
    }
    Some(if sample.is_some() { descend(problem, best).0 } else { best })
}

/// Some of very many points, spread over all of them; nothing where they are few.
fn sampled(problem: &Problem) -> Option<Problem> {
    let (all, most) = (problem.points.len(), SAMPLE[problem.form.exponents - 1]);
    if all <= most {
        return None;
    }
    // One of each stretch, at random: every third of a grid might be all of one kind.
    let mut chance = Generator::new(0);
    let points = (0..most).map(|stretch| {
        let at = (stretch as f64 + chance.uniform()) * all as f64 / most as f64;
        problem.points[(at as usize).min(all - 1)]
    });
    Some(Problem { points: points.collect(), ..problem.clone() })
}

/// The solution with its errors, where the points tell its parameters.
fn judged(
    problem: &Problem,
    names: &Names,
    fitted: Row,
    centres: [f64; 2],
    scale: &Scale,
) -> Result<Solution> {
    let (form, points) = (problem.form, &problem.points);
    let triangle = problem.jacobian(&fitted);
    let condition = triangle.condition();
    let inverse = triangle.inverse_of_squares();
    let (Some(mut covariance), true) = (inverse, condition < CONDITION) else {
        return Err(Error::Conflict {
            what: format!(
                "the data cannot tell the parameters of the law apart (condition {condition:.1e}), expected \
                 one below {CONDITION:.0e}: losses that bend over a wider range of {}",
                names.sizes.join(" and ")
            ),
        });
    };
    let degrees = points.len() - form.parameters();
    let residuals: Vec<f64> = problem.linear(&fitted).map(|(residual, _)| residual).collect();
    // Losses that lie on the law are still rounded, and so is the law.
    let scatter = scatter(&residuals, degrees).max(ROUNDING);
    let variance = scatter * scatter * price(problem.delta, scatter);
    covariance.iter_mut().flatten().for_each(|entry| *entry *= variance);
    for (which, name) in names.exponents.iter().enumerate() {
        let at = form.exponent(which);
        let (value, error) = (fitted[at], covariance[at][at].sqrt());
        if value * problem.spread(which) < STILL {
            return Err(does_not_fall(names.sizes[which]));
        }
        if error >= value && !problem.undetermined {
            return Err(Error::Conflict {
                what: format!(
                    "the data cannot tell {name}: {} with a standard error of {}, expected an error below \
                     the value: more points, over a wider range of {}, or less noise",
                    short(rounded(value)),
                    short(rounded(error)),
                    names.sizes[which]
                ),
            });
        }
    }
    // Back in the units that the losses came in.
    let (mut parameters, mut objective) = (fitted, problem.objective(&fitted));
    let mut scatter = scatter;
    if problem.residuals == Residuals::Differences {
        objective *= scale.loss * scale.loss;
        scatter *= scale.loss;
    }
    parameters[0] *= scale.loss;
    (0..form.terms.len()).for_each(|k| parameters[form.amplitude(k)] += scale.loss.ln());
    let mut factors = [1.0; MOST];
    factors[0] = scale.loss;
    if let Some(at) = form.coefficient() {
        factors[at] = scale.loss / scale.column;
        parameters[at] *= factors[at];
    }
    for (i, row) in covariance.iter_mut().enumerate() {
        row.iter_mut().zip(factors).for_each(|(entry, factor)| *entry *= factor * factors[i]);
    }
    Ok(Solution {
        form,
        parameters,
        centres,
        covariance,
        scatter,
        objective,
        condition,
        r_squared: r_squared(problem, &fitted),
        points: points.len(),
    })
}

/// Three digits, for messages.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// The share of the losses' variance that the law explains.
fn r_squared(problem: &Problem, parameters: &Row) -> f64 {
    let points = &problem.points;
    let mean = points.iter().map(|point| point.loss).sum::<f64>() / points.len() as f64;
    let (mut left, mut all) = (0.0, 0.0);
    for point in points {
        let value = problem.form.value(parameters, &point.logs, point.column);
        left += (value - point.loss) * (value - point.loss);
        all += (point.loss - mean) * (point.loss - mean);
    }
    1.0 - left / all
}

/// The spread of residuals around 0, such that few large ones matter little: Huber's second proposal,
/// Σ ψ² = (n − p) s² E ψ², with ψ cut at `WITHIN` s and E that of the normal distribution.
fn scatter(residuals: &[f64], degrees: usize) -> f64 {
    let expected = degrees as f64 * second_moment(WITHIN);
    let sum = |cut: f64| {
        residuals.iter().map(|&residual| huber::slope(residual, cut).powi(2)).sum::<f64>()
    };
    // It only falls from here, towards the fixed point.
    let mut spread = (sum(f64::INFINITY) / expected).sqrt();
    for _ in 0..200 {
        let next = (sum(WITHIN * spread) / expected).sqrt();
        if next >= spread * (1.0 - 1e-14) {
            break;
        }
        spread = next;
    }
    spread
}

/// E ψ² of the standard normal distribution, with ψ cut at k.
fn second_moment(k: f64) -> f64 {
    let beyond = libm::erfc(k / std::f64::consts::SQRT_2);
    let density = (-0.5 * k * k).exp() / (2.0 * std::f64::consts::PI).sqrt();
    1.0 - beyond - 2.0 * k * density + k * k * beyond
}

/// By how much parameters of Huber's loss vary more than those of least squares, for normal residuals of this spread:
/// E ψ² / (E ψ′)², from 1 where δ is beyond them to π/2 where it is well within them.
fn price(delta: f64, spread: f64) -> f64 {
    let k = delta / spread;
    if k >= 8.0 {
        return 1.0;
    }
    if k < 1e-4 {
        return std::f64::consts::FRAC_PI_2;
    }
    let within = libm::erf(k / std::f64::consts::SQRT_2);
    second_moment(k) / (within * within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_price_of_straight_ends_is_that_of_the_tables() {
        // Huber's estimator with k = 1.345 has 95 % of the efficiency of the mean, the median 2/π.
        assert!((1.0 / price(1.345, 1.0) - 0.95).abs() < 1e-4);
        assert!((price(1e-3, 10.0) - std::f64::consts::FRAC_PI_2).abs() < 1e-3);
        assert!((price(1.01e-4, 1.0) / price(0.99e-4, 1.0) - 1.0).abs() < 1e-4);
        assert_eq!((price(1.0, 0.0), price(1.0, 0.1)), (1.0, 1.0));
    }

    #[test]
    fn the_spread_is_that_of_normal_residuals_and_hardly_of_a_wild_one() {
        let mut chance = Generator::new(3);
        let mut residuals: Vec<f64> =
            (0..20_000).map(|_| 0.25 * chance.standard_normal()).collect();
        // Its own standard error is about 0.25 √(0.7/20000).
        assert!((scatter(&residuals, 20_000) - 0.25).abs() < 0.006);
        residuals[7] = 1e6;
        assert!((scatter(&residuals, 20_000) - 0.25).abs() < 0.006);
        assert_eq!(scatter(&[0.0; 5], 2), 0.0);
    }
}
