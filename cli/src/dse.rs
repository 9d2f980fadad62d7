//! `surprisal dse`: diffusion spectral entropy.

use clap::{Args, ValueEnum};
use ndarray::ArrayView2;
use serde_json::Map;
use std::path::{Path, PathBuf};

use surprisal::Real;
use surprisal::diffusion::{Bandwidth, EntropyEstimate, Method, SpectralEntropy};

use crate::arrays::Opened;
use crate::features::{Features, Widened};
use crate::output::{number, optional, print};
use crate::scale::short;
use crate::{Failure, Global, plot, progress};

/// Half powers of 2 on either side of t, and of σ, in a picture.
const HALVES: [i32; 2] = [8, 8];

/// Diffusion spectral entropy of features, in bits
///
/// Features are FILE.npy or FILE.safetensors:TENSOR.
#[derive(Args)]
pub struct Dse {
    /// Features [N,D], a row each
    #[arg(long, value_name = "F")]
    features: String,
    /// Width of the Gaussian kernel; auto is the root of half the median squared distance
    #[arg(long, value_name = "X|auto", allow_hyphen_values = true)]
    sigma: Sigma,
    /// Diffusion time, the power of the eigenvalues
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_hyphen_values = true)]
    t: f64,
    /// Power of the densities that the kernel is divided by
    #[arg(long, value_name = "A", default_value_t = 0.0, allow_hyphen_values = true)]
    alpha: f64,
    /// The rows to take, integers [M] [default: all]
    #[arg(long, value_name = "I")]
    indices: Option<String>,
    /// How it is computed
    #[arg(long, value_enum, default_value_t = MethodName::Auto)]
    method: MethodName,
    /// Largest error of an approximation, in bits
    #[arg(long, value_name = "BITS", allow_hyphen_values = true)]
    tolerance: Option<f64>,
    /// Random vectors of a Lanczos block
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    probes: Option<usize>,
    /// Of what is random
    #[arg(long, value_name = "S", default_value_t = 0, allow_hyphen_values = true)]
    seed: u64,
    /// Draw the entropy over t or sigma
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// What the picture varies
    #[arg(long, value_enum, default_value_t = Over::T, requires = "plot")]
    plot_over: Over,
}

#[derive(Clone, Copy)]
pub struct Sigma(pub Bandwidth);

impl std::str::FromStr for Sigma {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "auto" => Bandwidth::MedianDistance,
            _ => Bandwidth::Sigma(text.parse().map_err(|_| "expected auto or a number above 0")?),
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
        // Options are checked before anything large is read.
        self.entropy(self.sigma.0, self.t, self.method.into(), &indices)?;
        let features = Features::open(&self.features)?;
        match features.widened()? {
            Widened::F64(view) => self.run_in(global, &features, view.view(), &indices),
            Widened::F32(view) => self.run_in(global, &features, view.view(), &indices),
        }
    }

    fn entropy(
        &self,
        bandwidth: Bandwidth,
        t: f64,
        method: Method,
        indices: &Option<Vec<usize>>,
    ) -> Result<SpectralEntropy, Failure> {
        let mut builder = SpectralEntropy::builder()
            .bandwidth(bandwidth)
            .time(t)
            .alpha(self.alpha)
            .method(method)
            .seed(self.seed);
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

    fn run_in<T: Real>(
        &self,
        global: &Global,
        features: &Features,
        view: ArrayView2<'_, T>,
        indices: &Option<Vec<usize>>,
    ) -> Result<(), Failure> {
        let entropy = self.entropy(self.sigma.0, self.t, self.method.into(), indices)?;
        let spinner = progress::spinner(global.quiet, "entropy");
        let estimate = entropy.estimate(view)?;
        spinner.finish_and_clear();
        if let Some(path) = &self.plot {
            self.draw(path, global, features, view, indices, &estimate)?;
        }
        let mut result = Map::new();
        let mut add = |key: &str, value| result.insert(key.into(), value);
        add("dse", number(estimate.value));
        add("error_bound", optional(estimate.error_bound));
        add("standard_error", optional(estimate.standard_error));
        add("method", name(estimate.method).into());
        add("sigma", optional(estimate.sigma));
        add("rows", estimate.rows.into());
        print(global.json, &result)
    }

    /// The entropy over t or σ, on both sides of the one that was asked for, by the same method.
    fn draw<T: Real>(
        &self,
        path: &Path,
        global: &Global,
        features: &Features,
        view: ArrayView2<'_, T>,
        indices: &Option<Vec<usize>>,
        estimate: &EntropyEstimate,
    ) -> Result<(), Failure> {
        let sigma = estimate.sigma.unwrap_or(f64::NAN);
        let middle = if self.plot_over == Over::T { self.t } else { sigma };
        let steps = -HALVES[0]..=HALVES[1];
        let bar = progress::bar(steps.clone().count(), global.quiet, "picture");
        // One decomposition serves every t.
        let mut eigenvalues = None;
        let mut points = Vec::new();
        for half in steps {
            let x = middle * 2_f64.powf(0.5 * f64::from(half));
            let (bandwidth, t) = match self.plot_over {
                Over::T => (Bandwidth::Sigma(sigma), x),
                Over::Sigma => (Bandwidth::Sigma(x), self.t),
            };
            let entropy = self.entropy(bandwidth, t, estimate.method, indices)?;
            let (y, error) = if half == 0 {
                (estimate.value, estimate.error_bound.or(estimate.standard_error))
            } else if self.plot_over == Over::T && estimate.method == Method::Exact {
                let eigenvalues = match &mut eigenvalues {
                    Some(eigenvalues) => eigenvalues,
                    empty => empty.insert(entropy.eigenvalues(view)?),
                };
                (entropy.of_eigenvalues(eigenvalues)?, None)
            } else {
                let other = entropy.estimate(view)?;
                (other.value, other.error_bound.or(other.standard_error))
            };
            points.push(plot::Point { x, y, error });
            bar.inc(1);
        }
        bar.finish_and_clear();
        let fixed = match self.plot_over {
            Over::T => format!("σ = {}", short(sigma)),
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
