//! The arguments of `surprisal fit`.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

use crate::{Failure, numerals};

/// Fit a scaling law to losses: a power law, one of two sizes, or one of the learning rates
///
/// FILE.csv is a table with a line for each loss, between commas, semicolons or tabs, with a line of names or none; lines
/// that begin with # are left out. What the loss falls with is in the first columns, or those of --x; the loss in
/// the column "loss", or the next one. The losses of several files are fitted together.
///
/// power: L = L∞ + (x0/x)^α. bivariate: L = L∞ + α (N̄e/Ne)^pe (N̄d/Nd)^pd. chinchilla: L = E + A N^−α + B D^−β, where
/// operations are 6 N D. annealing: L = L0 + A S1^−α − C S2, of the step in the first column and the sums of a --schedule.
///
/// The fit is robust: squares of residuals up to δ, absolute residuals beyond. It is refused where the losses do not
/// fall, or do not tell the parameters.
#[derive(Args)]
pub struct Fit {
    /// Tables of losses
    #[arg(value_name = "FILE.csv", required = true, help_heading = "Inputs")]
    pub files: Vec<PathBuf>,
    /// The law
    #[arg(long, value_enum, help_heading = "Inputs")]
    pub law: LawName,
    /// The columns that the loss falls with, by name or by number from 1: x; encoder and decoder; parameters and tokens;
    /// step [default: the first]
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',', help_heading = "Inputs")]
    pub x: Vec<String>,
    /// The column of the losses, by name or by number from 1 [default: "loss", or the one after those of --x]
    #[arg(long, value_name = "COLUMN", help_heading = "Inputs")]
    pub loss: Option<String>,
    /// Learning rates, one a line from step 0 on, in the column "learning_rate", "lr" or the last; one file for all
    /// tables or one for each
    #[arg(long, value_name = "FILE.csv", help_heading = "Annealing")]
    pub schedule: Vec<PathBuf>,
    /// How much of a step down in the rate is left a step later, from 0 to 1 [default: 0.999]
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = "Annealing"
    )]
    pub lambda: Option<f64>,
    /// Steps of warm-up, counted as if the rate were the largest; peak is all before the largest [default: 0]
    #[arg(long, value_name = "STEPS|peak", allow_hyphen_values = true, help_heading = "Annealing")]
    pub warm_up: Option<WarmUp>,
    /// Learning rates of a training that is to be predicted [default: the first --schedule]
    #[arg(long, value_name = "FILE.csv", help_heading = "Annealing")]
    pub predict_schedule: Option<PathBuf>,
    /// Sizes N̄e and N̄d of the bivariate law, the unit of α [default: the geometric means]
    #[arg(long, value_name = "E:D", allow_hyphen_values = true, help_heading = "Fit")]
    pub reference: Option<Pair>,
    /// Residuals up to this are squared, larger ones absolute
    #[arg(
        long,
        value_name = "D",
        value_parser = numerals::real,
        default_value_t = 1e-3,
        allow_hyphen_values = true,
        help_heading = "Fit"
    )]
    pub huber_delta: f64,
    /// What the residuals are: of logarithms, or differences in nats
    #[arg(long, value_enum, default_value_t = ResidualsName::Logarithms, help_heading = "Fit")]
    pub residuals: ResidualsName,
    /// Print a law also where an exponent is no larger than its standard error: neither its parameters nor what it says
    /// far from the data mean much then
    #[arg(long, help_heading = "Fit")]
    pub undetermined: bool,
    /// The share of new losses that intervals are to hold, between 0 and 1
    #[arg(
        long,
        value_name = "P",
        value_parser = numerals::real,
        default_value_t = 0.95,
        allow_hyphen_values = true,
        help_heading = "Results"
    )]
    pub confidence: f64,
    /// Where to tell the loss: X, two sizes A:B, or a step
    #[arg(
        long,
        value_name = "X,…",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "Results"
    )]
    pub predict: Vec<String>,
    /// A loss to reach: tells the x, the parameters or the operations that it takes
    #[arg(
        long,
        value_name = "LOSS",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = "Results"
    )]
    pub target: Option<f64>,
    /// Parameters to divide between encoder and decoder, or operations to spend on parameters and tokens
    #[arg(
        long,
        value_name = "B",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = "Results"
    )]
    pub budget: Option<f64>,
    /// Draw the losses, the law and the interval for new losses
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    pub plot: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum LawName {
    Power,
    Bivariate,
    Annealing,
    Chinchilla,
}

impl LawName {
    pub fn name(self) -> &'static str {
        match self {
            LawName::Power => "power",
            LawName::Bivariate => "bivariate",
            LawName::Annealing => "annealing",
            LawName::Chinchilla => "chinchilla",
        }
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum ResidualsName {
    Logarithms,
    Differences,
}

/// A number of steps, or all before the largest rate.
#[derive(Clone, Copy)]
pub enum WarmUp {
    Steps(usize),
    Peak,
}

impl std::str::FromStr for WarmUp {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "peak" => Ok(WarmUp::Peak),
            text => text
                .parse()
                .map(WarmUp::Steps)
                .map_err(|_| "expected a whole number from 0, or peak"),
        }
    }
}

/// Two numbers.
#[derive(Clone, Copy)]
pub struct Pair(pub f64, pub f64);

impl std::str::FromStr for Pair {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = text
            .split_once(':')
            .and_then(|(a, b)| Some(Self(a.trim().parse().ok()?, b.trim().parse().ok()?)));
        pair.ok_or("expected two numbers A:B")
    }
}

impl Fit {
    /// That no option is of another law.
    pub fn check(&self) -> Result<(), Failure> {
        use LawName::{Annealing, Bivariate, Chinchilla, Power};
        for (flag, given, laws) in [
            ("--schedule", !self.schedule.is_empty(), &[Annealing][..]),
            ("--lambda", self.lambda.is_some(), &[Annealing]),
            ("--warm-up", self.warm_up.is_some(), &[Annealing]),
            ("--predict-schedule", self.predict_schedule.is_some(), &[Annealing]),
            ("--reference", self.reference.is_some(), &[Bivariate]),
            ("--target", self.target.is_some(), &[Power, Bivariate, Chinchilla]),
            ("--budget", self.budget.is_some(), &[Bivariate, Chinchilla]),
        ] {
            if given && !laws.contains(&self.law) {
                let laws: Vec<_> = laws.iter().map(|law| law.name()).collect();
                return Err(Failure::Input(format!(
                    "{flag} goes with --law {}, and the law is {}",
                    laws.join(" or "),
                    self.law.name()
                )));
            }
        }
        if self.law == Annealing && self.schedule.is_empty() {
            let what =
                "--law annealing takes the learning rates of --schedule FILE.csv, expected one";
            return Err(Failure::Input(what.into()));
        }
        Ok(())
    }
}
