//! `surprisal dse`: diffusion spectral entropy.

use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

use surprisal::Matrix;
use surprisal::diffusion::{
    Bandwidth, EntropyEstimate, Method, Operator, SpectralEntropy, SpectralEntropyBuilder,
};

use crate::arrays::Opened;
use crate::features::Features;
use crate::output::{number, optional};
use crate::report::{Report, significant, with_error};
use crate::scale::short;
use crate::{Failure, Global, numerals, plot, progress};

/// Half powers of 2 on either side of t, and of σ, in a picture.
const HALVES: [i32; 2] = [8, 8];

/// Diffusion spectral entropy of features, in bits
///
/// The entropy of the eigenvalues of a random walk among the rows that prefers near ones: from 0, where it
/// mixes at once, to log₂ N, where no row knows another. It depends on sigma first; compare entropies of
/// as many rows and of one rule. Arrays are FILE.npy, FILE.npz:NAME, FILE.safetensors:TENSOR or
/// DIR/model.safetensors.index.json:TENSOR.
#[derive(Args)]
pub struct Dse {
    /// Features [N,D], a row each
    #[arg(long, value_name = "F", help_heading = "Inputs")]
    features: String,
    /// The rows to take, integers [M] [default: all]
    #[arg(long, value_name = "I", help_heading = "Inputs")]
    indices: Option<String>,
    /// Width of the Gaussian kernel, in units of the features; auto is the root of half the median
    /// squared distance; knn:K is a width for each row, its distance to the K-th nearest other:
    /// exp(−d²/(2 σ_i σ_j)), computed exactly
    #[arg(long, value_name = "X|auto|knn:K", allow_hyphen_values = true, help_heading = "Entropy")]
    sigma: Sigma,
    /// Diffusion time, in steps of the walk: the power of the eigenvalues
    #[arg(
        long,
        value_name = "T",
        value_parser = numerals::real,
        default_value_t = 1.0,
        allow_hyphen_values = true,
        help_heading = "Entropy"
    )]
    t: f64,
    /// Power of the densities that the kernel is divided by, from 0 to 8
    #[arg(
        long,
        value_name = "A",
        value_parser = numerals::real,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        help_heading = "Entropy"
    )]
    alpha: f64,
    /// How it is computed; auto takes what is fast enough, and says which
    #[arg(long, value_enum, default_value_t = MethodName::Auto, help_heading = "Method")]
    method: MethodName,
    /// Largest error of an approximation, in bits; a warning says where it is not reached
    #[arg(
        long,
        value_name = "BITS",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = "Method"
    )]
    tolerance: Option<f64>,
    /// Random vectors of a Lanczos block, from 2 to 1024
    #[arg(
        long,
        value_name = "P",
        value_parser = numerals::from_one::<usize>,
        allow_hyphen_values = true,
        help_heading = "Method"
    )]
    probes: Option<usize>,
    /// Seed of what is random
    #[arg(
        long,
        value_name = "S",
        value_parser = numerals::from_zero::<u64>,
        default_value_t = 0,
        allow_hyphen_values = true,
        help_heading = "Method"
    )]
    seed: u64,
    /// Draw the entropy over t or sigma
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    plot: Option<PathBuf>,
    /// What the picture varies
    #[arg(
        long,
        value_enum,
        default_value_t = Over::T,
        requires = "plot",
        help_heading = "Output"
    )]
    plot_over: Over,
}

/// `--sigma`.
#[derive(Clone, Copy)]
pub enum Sigma {
    /// One width for all rows.
    One(Bandwidth),
    /// A width for each row: its distance to so manieth nearest other.
    Neighbors(usize),
}

impl Sigma {
    /// An entropy with this width.
    pub fn builder(self) -> SpectralEntropyBuilder {
        match self {
            Self::One(bandwidth) => SpectralEntropy::builder().bandwidth(bandwidth),
            Self::Neighbors(neighbors) => {
                SpectralEntropy::builder().operator(Operator::SelfTuning { neighbors })
            }
        }
    }

    /// K of knn:K.
    pub fn neighbors(self) -> Option<usize> {
        match self {
            Self::One(_) => None,
            Self::Neighbors(neighbors) => Some(neighbors),
        }
    }

    /// The width that was taken, for people.
    pub fn text(self, sigma: Option<f64>) -> String {
        match (self, sigma) {
            (Self::Neighbors(k), _) => {
                format!("of each row, its distance to the nearest other number {k}")
            }
            (_, Some(sigma)) => format!("{}, in units of the features", significant(sigma, 4)),
            (_, None) => "none: there is one row".into(),
        }
    }
}

impl std::str::FromStr for Sigma {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected auto, knn:K or a number above 0";
        if let Some(neighbors) = text.strip_prefix("knn:") {
            return neighbors.parse().map(Self::Neighbors).map_err(|_| EXPECTED);
        }
        Ok(Self::One(match text {
            "auto" => Bandwidth::MedianDistance,
            _ => Bandwidth::Sigma(text.parse().map_err(|_| EXPECTED)?),
        }))
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum MethodName {
    Auto,
    Exact,
    Lowrank,
    Lanczos,
}

impl From<MethodName> for Method {
    fn from(name: MethodName) -> Self {
        match name {
            MethodName::Auto => Method::Auto,
            MethodName::Exact => Method::Exact,
            MethodName::Lowrank => Method::LowRank,
            MethodName::Lanczos => Method::Lanczos,
        }
    }
}

/// What the command line calls a method.
pub fn name(method: Method) -> &'static str {
    match method {
        Method::Exact => "exact",
        Method::LowRank => "lowrank",
        Method::Lanczos => "lanczos",
        _ => "auto",
    }
}

/// What a method is, and what its error means.
pub fn described(method: Method) -> &'static str {
    match method {
        Method::LowRank => "lowrank: a partial factor of the kernel; ± is a proven bound",
        Method::Lanczos => "lanczos: random vectors; ± is a standard error",
        _ => "exact: all eigenvalues",
    }
}

/// The bound or the standard error of an approximation.
fn error_of(estimate: &EntropyEstimate) -> Option<f64> {
    estimate.error_bound.or(estimate.standard_error)
}

/// The value beside its error.
fn in_bits(estimate: &EntropyEstimate) -> String {
    match error_of(estimate) {
        Some(error) => with_error(estimate.value, error),
        None => significant(estimate.value, 6),
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Over {
    T,
    Sigma,
}

impl Dse {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        if let Some(path) = &self.plot {
            plot::check(path)?;
        }
        let indices = match &self.indices {
            Some(location) => Some(Opened::new("--indices", location)?.rows()?.to_vec()),
            None => None,
        };
        if let (Some(k), MethodName::Lowrank | MethodName::Lanczos) =
            (self.sigma.neighbors(), self.method)
        {
            return Err(Failure::Input(format!(
                "--sigma knn:{k} goes with --method auto or exact alone: its kernel may have \
                 eigenvalues below 0"
            )));
        }
        if let (Some(k), Over::Sigma) = (self.sigma.neighbors(), self.plot_over) {
            return Err(Failure::Input(format!(
                "--plot-over sigma varies one width for all rows, expected another than --sigma knn:{k}"
            )));
        }
        // Options are checked before anything large is read.
        let entropy = self.entropy(self.sigma, self.t, self.method.into(), &indices)?;
        let features = Features::open(&self.features)?;
        let matrix = features.matrix()?;
        let spinner = progress::spinner(global.quiet, "entropy");
        let estimate = entropy.estimate(matrix)?;
        spinner.finish_and_clear();
        if let Some(path) = &self.plot {
            self.draw(path, global, &features, matrix, &indices, &estimate)?;
        }
        let most = (estimate.rows as f64).log2();
        let mut report = Report::new();
        let of = format!("of at most log₂ N = {}", significant(most, 4));
        report.add("dse", number(estimate.value), format!("{} bits, {of}", in_bits(&estimate)));
        report.add_json("error_bound", optional(estimate.error_bound));
        report.add_json("standard_error", optional(estimate.standard_error));
        let reached =
            self.tolerance.map(|bits| error_of(&estimate).is_none_or(|error| error <= bits));
        report.add_json("tolerance_reached", reached.map_or(Value::Null, Value::from));
        if let (Some(bits), Some(false)) = (self.tolerance, reached) {
            let error = significant(error_of(&estimate).unwrap_or(f64::NAN), 2);
            let bits = significant(bits, 2);
            // Without stderr the value still has its error beside it.
            let _ = writeln!(
                std::io::stderr(),
                "warning: the error of {error} bits is above the tolerance of {bits}, which {} does not \
                 reach on these features",
                name(estimate.method)
            );
        }
        report.add("method", name(estimate.method), described(estimate.method));
        report.add("sigma", optional(estimate.sigma), self.sigma.text(estimate.sigma));
        report.add_json("neighbors", self.sigma.neighbors().map_or(Value::Null, Value::from));
        report.add("rows", estimate.rows, estimate.rows.to_string());
        report.print(global.json)
    }

    fn entropy(
        &self,
        sigma: Sigma,
        t: f64,
        method: Method,
        indices: &Option<Vec<usize>>,
    ) -> Result<SpectralEntropy, Failure> {
        let mut builder = sigma.builder().time(t).alpha(self.alpha).method(method).seed(self.seed);
        if let Some(tolerance) = self.tolerance {
            builder = builder.tolerance(tolerance);
        }
        if let Some(probes) = self.probes {
            builder = builder.probes(probes);
        }
        if let Some(indices) = indices {
            builder = builder.indices(indices.clone());
        }
        Ok(builder.build()?)
    }

    /// The entropy over t or σ, on both sides of the one that was asked for, by the same method.
    fn draw(
        &self,
        path: &Path,
        global: &Global,
        features: &Features,
        matrix: Matrix<'_>,
        indices: &Option<Vec<usize>>,
        estimate: &EntropyEstimate,
    ) -> Result<(), Failure> {
        let middle = match (self.plot_over, estimate.sigma) {
            (Over::T, _) => self.t,
            (Over::Sigma, Some(sigma)) => sigma,
            (Over::Sigma, None) => {
                let what = "--plot-over sigma needs a bandwidth, expected more than one row";
                return Err(Failure::Input(what.into()));
            }
        };
        // A rule is followed once.
        let chosen = match (self.sigma, estimate.sigma) {
            (Sigma::One(_), Some(sigma)) => Sigma::One(Bandwidth::Sigma(sigma)),
            (given, _) => given,
        };
        let steps = -HALVES[0]..=HALVES[1];
        let bar = progress::bar(steps.clone().count(), global.quiet, "picture");
        // One decomposition serves every t.
        let mut eigenvalues = None;
        let mut points = Vec::new();
        for half in steps {
            let x = middle * 2_f64.powf(0.5 * f64::from(half));
            let x = x.clamp(f64::from_bits(1), f64::MAX);
            let (sigma, t) = match self.plot_over {
                Over::T => (chosen, x),
                Over::Sigma => (Sigma::One(Bandwidth::Sigma(x)), self.t),
            };
            let entropy = self.entropy(sigma, t, estimate.method, indices)?;
            let (y, error) = if half == 0 {
                (estimate.value, error_of(estimate))
            } else if self.plot_over == Over::T && estimate.method == Method::Exact {
                let eigenvalues = match &mut eigenvalues {
                    Some(eigenvalues) => eigenvalues,
                    empty => empty.insert(entropy.eigenvalues(matrix)?),
                };
                (entropy.of_eigenvalues(eigenvalues)?, None)
            } else {
                let other = entropy.estimate(matrix)?;
                (other.value, error_of(&other))
            };
            points.push(plot::Point { x, y, error });
            bar.inc(1);
        }
        bar.finish_and_clear();
        let fixed = match self.plot_over {
            Over::T => match (estimate.sigma, self.sigma.neighbors()) {
                (Some(sigma), _) => format!("σ = {}", short(sigma)),
                (None, Some(k)) => format!("σ of {k} neighbours"),
                (None, None) => "one row".into(),
            },
            Over::Sigma => format!("t = {}", short(self.t)),
        };
        let most = (estimate.rows as f64).log2();
        let curve = plot::Curve {
            title: &format!("Diffusion spectral entropy of {}, {fixed}", features.name()),
            x: match self.plot_over {
                Over::T => "t, diffusion time",
                Over::Sigma => "σ, width of the kernel",
            },
            y: "DSE in bits",
            points: &points,
            marked: Some(HALVES[0] as usize),
            limit: Some((most, &format!("log₂ N = {}", short(most)))),
            logarithmic: true,
        };
        plot::curve(path, &curve)
    }
}
