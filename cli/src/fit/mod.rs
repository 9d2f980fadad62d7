//! `surprisal fit`: scaling laws through losses of a table.

mod annealing;
mod arguments;
mod data;
mod found;
mod sizes;
mod table;

pub use self::arguments::Fit;

use surprisal::fit::{Residuals, ScalingFit};

use self::arguments::{LawName, ResidualsName};
use crate::{Failure, Global, plot};

impl Fit {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        if let Some(path) = &self.plot {
            plot::check(path)?;
        }
        self.check()?;
        let residuals = match self.residuals {
            ResidualsName::Logarithms => Residuals::Logarithms,
            ResidualsName::Differences => Residuals::Differences,
        };
        let fit = ScalingFit::builder()
            .huber_delta(self.huber_delta)
            .residuals(residuals)
            .confidence(self.confidence)
            .undetermined(self.undetermined)
            .build()?;
        match self.law {
            LawName::Power => sizes::power(self, &fit, global),
            LawName::Bivariate => sizes::bivariate(self, &fit, global),
            LawName::Chinchilla => sizes::chinchilla(self, &fit, global),
            LawName::Annealing => annealing::annealing(self, &fit, global),
        }
    }
}
