//! Independent categories.

use ndarray::{Array2, ArrayView1};

use super::search::Proposal;
use super::step::Step;
use crate::error::{Error, Result, short};
use crate::random::Generator;

/// Independent categories at P places, each with the probabilities of V categories.
///
/// [`fit`](Proposal::fit) takes the frequencies of the elites. Cases in `conformance/geometry.jsonl` and
/// `conformance/information.jsonl`: `cem_categorical`.
///
/// ```
/// use ndarray::arr2;
/// use surprisal::rates::cross_entropy_method::{Categories, Proposal, Step};
/// let old = Categories::new(arr2(&[[0.5, 0.5], [0.25, 0.75]]))?;
/// let new = old.fit(&[&vec![0, 0], &vec![0, 1]], &Step::new(2)?.smoothing(0.5)?)?;
/// assert_eq!(new.probabilities(), arr2(&[[0.75, 0.25], [0.375, 0.625]]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Categories {
    probabilities: Array2<f64>,
}

impl Categories {
    /// With these probabilities `[P,V]`, whose rows sum to 1 within 1e-9.
    ///
    /// # Errors
    /// [`Error::Shape`] for no places or categories; [`Error::Value`] for a probability that is negative or not finite;
    /// [`Error::Conflict`] for a row that does not sum to 1.
    pub fn new(probabilities: Array2<f64>) -> Result<Self> {
        let (places, categories) = probabilities.dim();
        if places == 0 || categories == 0 {
            return Err(Error::empty_matrix("probabilities", &[places, categories]));
        }
        for ((i, j), &p) in probabilities.indexed_iter() {
            if !(p >= 0.0 && p.is_finite()) {
                return Err(Error::Value {
                    argument: "probabilities",
                    index: vec![i, j],
                    value: short(p),
                    expected: "a finite number of at least 0",
                });
            }
        }
        for (i, row) in probabilities.rows().into_iter().enumerate() {
            let sum: f64 = row.sum();
            // As not less, for a sum that is none.
            let one = (sum - 1.0).abs() <= 1e-9;
            if !one {
                return Err(Error::Conflict {
                    what: format!(
                        "probabilities[{i}] sum to {}, expected 1 within 1e-9",
                        short(sum)
                    ),
                });
            }
        }
        Ok(Self { probabilities })
    }

    /// All categories alike at every place.
    ///
    /// # Errors
    /// [`Error::Shape`] for no places or categories.
    pub fn uniform(places: usize, categories: usize) -> Result<Self> {
        if places == 0 || categories == 0 {
            return Err(Error::empty_matrix("probabilities", &[places, categories]));
        }
        let too_large =
            || Error::TooLarge { what: format!("probabilities [{places},{categories}]") };
        let count = places.checked_mul(categories).ok_or_else(too_large)?;
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(count).map_err(|_| too_large())?;
        numbers.resize(count, 1.0 / categories as f64);
        let probabilities =
            Array2::from_shape_vec((places, categories), numbers).map_err(|_| too_large())?;
        Ok(Self { probabilities })
    }

    /// The probabilities `[P,V]`.
    pub fn probabilities(&self) -> &Array2<f64> {
        &self.probabilities
    }
}

impl Proposal for Categories {
    type Sample = Vec<usize>;

    fn draw(&self, generator: &mut Generator) -> Vec<usize> {
        let rows = self.probabilities.rows().into_iter();
        rows.map(|row| category(row, generator.uniform())).collect()
    }

    /// # Errors
    /// [`Error::Shape`] for no elites, or one of another number of places; [`Error::Value`] for a category that there is
    /// not.
    fn fit(&self, elites: &[&Vec<usize>], step: &Step) -> Result<Self> {
        let (places, categories) = self.probabilities.dim();
        if elites.is_empty() {
            let expected = "at least one elite".into();
            return Err(Error::Shape { argument: "samples", found: vec![0], expected });
        }
        let mut counts = Array2::<f64>::zeros((places, categories));
        for (row, elite) in elites.iter().enumerate() {
            if elite.len() != places {
                let expected = format!("{places} places, as the probabilities have");
                let found = vec![row, elite.len()];
                return Err(Error::Shape { argument: "samples", found, expected });
            }
            for (place, &category) in elite.iter().enumerate() {
                match counts.get_mut((place, category)) {
                    Some(count) => *count += 1.0,
                    None => {
                        return Err(Error::Value {
                            argument: "samples",
                            index: vec![row, place],
                            value: category.to_string(),
                            expected: "a category that there is a probability of",
                        });
                    }
                }
            }
        }
        let all = elites.len() as f64;
        counts.zip_mut_with(&self.probabilities, |count, &old| {
            *count = step.smoothed(*count / all, old);
        });
        Ok(Self { probabilities: counts })
    }

    /// The most that a place has beside its likeliest category.
    fn spread(&self) -> f64 {
        let beside = |row: ArrayView1<'_, f64>| 1.0 - row.iter().copied().fold(0.0, f64::max);
        self.probabilities.rows().into_iter().map(beside).fold(0.0, f64::max)
    }
}

/// The first category whose cumulative probability is above `uniform`, never one of probability 0.
fn category(row: ArrayView1<'_, f64>, uniform: f64) -> usize {
    let (mut last, mut sum) = (0, 0.0);
    for (category, &p) in row.iter().enumerate() {
        if p > 0.0 {
            last = category;
            sum += p;
            if sum > uniform {
                break;
            }
        }
    }
    last
}
