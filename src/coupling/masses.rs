//! Lists of masses: what a distribution is, and its entropy.

use crate::error::{Error, Result, short};

/// How far the masses of a distribution may be from 1 together.
const NOT_ONE: f64 = 1e-9;

/// A sum with the digits that its additions lose (Neumaier 1974).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(super) fn add(&mut self, x: f64) {
        let sum = self.sum + x;
        self.lost += match self.sum.abs() >= x.abs() {
            true => self.sum - sum + x,
            false => x - sum + self.sum,
        };
        self.sum = sum;
    }

    pub(super) fn value(self) -> f64 {
        self.sum + self.lost
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut sum = Self::default();
        numbers.into_iter().for_each(|x| sum.add(x));
        sum
    }
}

/// # Errors
/// [`Error::Value`] for a mass that is not finite or below 0; [`Error::Shape`] for an empty list; [`Error::Conflict`]
/// where the masses are not 1 together.
pub(super) fn check_distribution(argument: &'static str, masses: &[f64]) -> Result<()> {
    if masses.is_empty() {
        let expected = "at least one mass".into();
        return Err(Error::Shape { argument, found: vec![0], expected });
    }
    check_masses(argument, argument, masses.iter().enumerate().map(|(i, &p)| (vec![i], p)))
}

/// The same of masses with their places, some at least; `whole` names all of them in a message.
pub(super) fn check_masses(
    argument: &'static str,
    whole: &str,
    masses: impl Iterator<Item = (Vec<usize>, f64)>,
) -> Result<()> {
    let mut sum = Sum::default();
    for (index, mass) in masses {
        if !(mass >= 0.0 && mass.is_finite()) {
            let expected = "a finite mass of at least 0";
            return Err(Error::Value { argument, index, value: short(mass), expected });
        }
        sum.add(mass);
    }
    let sum = sum.value();
    // As not less, so that a sum that is none is refused too.
    match (sum - 1.0).abs() <= NOT_ONE {
        true => Ok(()),
        false => Err(Error::Conflict {
            what: format!("the masses of {whole} sum to {}, expected 1 within 1e-9", short(sum)),
        }),
    }
}

/// −p ln p, 0 at 0.
pub(super) fn term(mass: f64) -> f64 {
    if mass > 0.0 { -mass * mass.ln() } else { 0.0 }
}

/// −Σ p ln p in nats, at least 0; of one mass, whatever is missing from 1, exactly 0.
pub(super) fn entropy(masses: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (Sum::default(), 0_usize);
    for mass in masses.filter(|&mass| mass > 0.0) {
        sum.add(term(mass));
        count += 1;
    }
    if count < 2 { 0.0 } else { sum.value().max(0.0) }
}
