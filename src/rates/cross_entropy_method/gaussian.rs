//! Independent normal numbers.

use super::search::Proposal;
use super::step::Step;
use crate::error::{Error, Result, short};
use crate::random::Generator;

/// Independent normal numbers, each with its mean and its standard deviation, which may be 0.
///
/// [`fit`](Proposal::fit) takes the means of the elites and their population deviations (their likelihood is largest
/// with those). Cases in `conformance/geometry.jsonl` and `conformance/information.jsonl`: `cem_gaussian`.
///
/// ```
/// use surprisal::rates::cross_entropy_method::{Gaussian, Proposal, Step};
/// let old = Gaussian::new(vec![0.0], vec![1.0])?;
/// let new = old.fit(&[&vec![1.0], &vec![3.0]], &Step::new(2)?.smoothing(0.5)?)?;
/// assert_eq!((new.means(), new.deviations()), (&[1.0][..], &[1.0][..]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Gaussian {
    /// With these means and deviations.
    ///
    /// # Errors
    /// [`Error::Shape`] for no numbers, or lengths that differ; [`Error::Value`] for a mean that is not finite, or a deviation
    /// that is not finite and at least 0.
    pub fn new(means: Vec<f64>, deviations: Vec<f64>) -> Result<Self> {
        if means.is_empty() {
            let expected = "at least one number".into();
            return Err(Error::Shape { argument: "mean", found: vec![0], expected });
        }
        if deviations.len() != means.len() {
            let expected = format!("[{}], one for each mean", means.len());
            return Err(Error::Shape { argument: "std", found: vec![deviations.len()], expected });
        }
        if let Some(i) = means.iter().position(|mean| !mean.is_finite()) {
            return Err(Error::not_finite("mean", &[i], means[i]));
        }
        if let Some(i) = deviations.iter().position(|x| !(*x >= 0.0 && x.is_finite())) {
            return Err(Error::Value {
                argument: "std",
                index: vec![i],
                value: short(deviations[i]),
                expected: "a finite number of at least 0",
            });
        }
        Ok(Self { means, deviations })
    }

    /// The mean of each number.
    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// The standard deviation of each number.
    pub fn deviations(&self) -> &[f64] {
        &self.deviations
    }

    /// The same deviations around other means.
    pub(super) fn moved(&self, means: Vec<f64>) -> Self {
        Self { means, deviations: self.deviations.clone() }
    }
}

impl Proposal for Gaussian {
    type Sample = Vec<f64>;

    fn draw(&self, generator: &mut Generator) -> Vec<f64> {
        let each = self.means.iter().zip(&self.deviations);
        each.map(|(mean, deviation)| mean + deviation * generator.standard_normal()).collect()
    }

    /// # Errors
    /// [`Error::Shape`] for no elites, or one of another length; [`Error::Value`] for a number that is not finite, or so
    /// far from the others that their deviation is not.
    fn fit(&self, elites: &[&Vec<f64>], step: &Step) -> Result<Self> {
        let count = elites.len();
        if count == 0 {
            let expected = "at least one elite".into();
            return Err(Error::Shape { argument: "samples", found: vec![0], expected });
        }
        for (row, elite) in elites.iter().enumerate() {
            if elite.len() != self.means.len() {
                let expected = format!("{} numbers, one for each mean", self.means.len());
                let found = vec![row, elite.len()];
                return Err(Error::Shape { argument: "samples", found, expected });
            }
            if let Some(column) = elite.iter().position(|x| !x.is_finite()) {
                return Err(Error::not_finite("samples", &[row, column], elite[column]));
            }
        }
        let mut next = self.clone();
        for (column, (mean, deviation)) in
            next.means.iter_mut().zip(&mut next.deviations).enumerate()
        {
            let numbers = || elites.iter().map(|elite| elite[column]);
            let [of_elites, spread] = moments(numbers);
            if !spread.is_finite() {
                return Err(Error::Value {
                    argument: "samples",
                    index: vec![0, column],
                    value: short(elites[0][column]),
                    expected: "numbers whose deviation is finite",
                });
            }
            *mean = step.smoothed(of_elites, *mean);
            *deviation = step.smoothed_deviation(spread, *deviation);
        }
        Ok(next)
    }

    /// The largest deviation.
    fn spread(&self) -> f64 {
        self.deviations.iter().copied().fold(0.0, f64::max)
    }
}

/// Mean and population deviation, without squares or sums beyond the range of the numbers.
fn moments<I: ExactSizeIterator<Item = f64>>(numbers: impl Fn() -> I) -> [f64; 2] {
    let count = numbers().len() as f64;
    let sum: f64 = numbers().sum();
    let mean = match sum.is_finite() {
        true => sum / count,
        false => numbers().map(|x| x / count).sum(),
    };
    let most = numbers().map(|x| (x - mean).abs()).fold(0.0, f64::max);
    if most == 0.0 {
        return [mean, 0.0];
    }
    let squares: f64 = numbers().map(|x| ((x - mean) / most).powi(2)).sum();
    [mean, most * (squares / count).sqrt()]
}
