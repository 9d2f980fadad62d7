//! `surprisal dsmi`: diffusion spectral mutual information.

use clap::Args;
use ndarray::ArrayView2;
use serde_json::{Map, Value};

use surprisal::Real;
use surprisal::diffusion::{ClassTerm, MutualInformation, SpectralEntropy};

use crate::arrays::{Opened, check_rows};
use crate::dse::{Sigma, name};
use crate::features::{Features, Widened};
use crate::output::{number, optional, print};
use crate::{Failure, Global, progress};

/// Diffusion spectral mutual information of features and labels, in bits
///
/// Arrays are FILE.npy or FILE.safetensors:TENSOR.
#[derive(Args)]
pub struct Dsmi {
    /// Features [N,D], a row each
    #[arg(long, value_name = "F")]
    features: String,
    /// Labels [N], any integers
    #[arg(long, value_name = "Y")]
    labels: String,
    /// Width of the Gaussian kernel; auto is the root of half the median squared distance
    #[arg(long, value_name = "X|auto", allow_hyphen_values = true)]
    sigma: Sigma,
    /// Diffusion time, the power of the eigenvalues
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_hyphen_values = true)]
    t: f64,
    /// Samples of all rows for each label [default: 5]
    #[arg(long, value_name = "R", conflicts_with = "indices", allow_hyphen_values = true)]
    repetitions: Option<usize>,
    /// Of the samples [default: 0]
    #[arg(long, value_name = "S", conflicts_with = "indices", allow_hyphen_values = true)]
    seed: Option<u64>,
    /// The samples themselves, rows of the features [R,N]: for each label, in ascending order, as many
    /// as it has
    #[arg(long, value_name = "I")]
    indices: Option<String>,
}

impl Dsmi {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        let entropy = SpectralEntropy::builder().bandwidth(self.sigma.0).time(self.t).build()?;
        let mut information = MutualInformation::new(entropy).seed(self.seed.unwrap_or(0));
        if let Some(repetitions) = self.repetitions {
            information = information.repetitions(repetitions)?;
        }
        if let Some(location) = &self.indices {
            information = information.samples(Opened::new("--indices", location)?.row_lists()?)?;
        }
        let features = Features::open(&self.features)?;
        let labels = Opened::new("--labels", &self.labels)?;
        check_rows([(Some(features.opened()), 1), (Some(&labels), 0)])?;
        let labels = labels.classes()?;
        match features.widened()? {
            Widened::F64(view) => run_in(global, &information, view.view(), &labels.to_vec()),
            Widened::F32(view) => run_in(global, &information, view.view(), &labels.to_vec()),
        }
    }
}

fn run_in<T: Real>(
    global: &Global,
    information: &MutualInformation,
    features: ArrayView2<'_, T>,
    labels: &[i64],
) -> Result<(), Failure> {
    let spinner = progress::spinner(global.quiet, "entropies of labels and samples");
    let estimate = information.of_labels(features, labels)?;
    spinner.finish_and_clear();
    let mut result = Map::new();
    let mut add = |key: &str, value| result.insert(key.into(), value);
    add("dsmi", number(estimate.value));
    add("per_class", estimate.classes.iter().map(of_class).collect::<Vec<_>>().into());
    add("standard_error", optional(estimate.standard_error));
    add("method", name(estimate.method).into());
    add("sigma", optional(estimate.sigma));
    add("rows", features.nrows().into());
    print(global.json, &result)
}

fn of_class(class: &ClassTerm) -> Value {
    let marginal = class.marginal.iter().sum::<f64>() / class.marginal.len() as f64;
    let mut result = Map::new();
    let mut add = |key: &str, value| result.insert(key.into(), value);
    add("label", class.label.into());
    add("rows", class.rows.into());
    add("marginal", number(marginal));
    add("conditional", number(class.conditional));
    add("term", number(class.term));
    result.into()
}
