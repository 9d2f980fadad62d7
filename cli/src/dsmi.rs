//! `surprisal dsmi`: diffusion spectral mutual information.

use clap::Args;
use serde_json::{Map, Value};

use surprisal::diffusion::{ClassTerm, MutualInformation};

use crate::arrays::{Opened, check_rows};
use crate::dse::{Sigma, described, name};
use crate::features::Features;
use crate::output::{number, optional};
use crate::report::{Report, significant, with_error};
use crate::{Failure, Global, numerals, progress};

/// Classes that people are shown.
const SHOWN: usize = 8;

/// Diffusion spectral mutual information of features and labels, in bits
///
/// How much lower the diffusion spectral entropy of rows with one label is than that of as many rows of
/// all: about 0 where labels tell nothing, up to log₂ of their number. Arrays are FILE.npy,
/// FILE.npz:NAME, FILE.safetensors:TENSOR or DIR/model.safetensors.index.json:TENSOR.
#[derive(Args)]
pub struct Dsmi {
    /// Features [N,D], a row each
    #[arg(long, value_name = "F", help_heading = "Inputs")]
    features: String,
    /// Labels [N], any integers
    #[arg(long, value_name = "Y", help_heading = "Inputs")]
    labels: String,
    /// Width of the Gaussian kernel, in units of the features; auto is the root of half the median
    /// squared distance of all rows; knn:K is a width for each row, its distance to the K-th nearest
    /// other of those with its label, or of its sample
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
    /// Samples of all rows for each label [default: 5]
    #[arg(
        long,
        value_name = "R",
        value_parser = numerals::from_one::<usize>,
        conflicts_with = "indices",
        allow_hyphen_values = true,
        help_heading = "Samples"
    )]
    repetitions: Option<usize>,
    /// Seed of the samples [default: 0]
    #[arg(
        long,
        value_name = "S",
        value_parser = numerals::from_zero::<u64>,
        conflicts_with = "indices",
        allow_hyphen_values = true,
        help_heading = "Samples"
    )]
    seed: Option<u64>,
    /// The samples themselves, rows of the features [R,N]: for each label, in ascending order, as many
    /// as it has
    #[arg(long, value_name = "I", help_heading = "Samples")]
    indices: Option<String>,
}

impl Dsmi {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        let entropy = self.sigma.builder().time(self.t).build()?;
        let mut information =
            MutualInformation::builder().entropy(entropy).seed(self.seed.unwrap_or(0));
        if let Some(repetitions) = self.repetitions {
            information = information.repetitions(repetitions);
        }
        if let Some(location) = &self.indices {
            information = information.samples(Opened::new("--indices", location)?.row_lists()?);
        }
        let information = information.build()?;
        let features = Features::open(&self.features)?;
        let labels = Opened::new("--labels", &self.labels)?;
        check_rows([(Some(features.opened()), 1), (Some(&labels), 0)])?;
        let labels = labels.classes()?;
        let matrix = features.matrix()?;
        let rows = matrix.dim().0;
        let spinner = progress::spinner(global.quiet, "entropies of labels and samples");
        let estimate = information.of_labels(matrix, &labels.to_vec())?;
        spinner.finish_and_clear();
        let mut report = Report::new();
        let classes = &estimate.classes;
        let most = significant((classes.len() as f64).log2(), 4);
        let text = match estimate.standard_error {
            Some(error) => with_error(estimate.value, error),
            None => significant(estimate.value, 6),
        };
        let text = format!("{text} bits, of log₂ {} = {most} for labels far apart", classes.len());
        report.add("dsmi", number(estimate.value), text);
        let each = classes.iter().map(of_class).collect::<Vec<_>>();
        let mut text: Vec<String> = classes
            .iter()
            .take(SHOWN)
            .map(|class| format!("label {}: {}", class.label, significant(class.term, 3)))
            .collect();
        if classes.len() > SHOWN {
            text.push(format!("and {} more", classes.len() - SHOWN));
        }
        report.add("per_class", each, format!("{} (bits)", text.join(", ")));
        report.add_json("standard_error", optional(estimate.standard_error));
        report.add("method", name(estimate.method), described(estimate.method));
        report.add("sigma", optional(estimate.sigma), self.sigma.text(estimate.sigma));
        report.add_json("neighbors", self.sigma.neighbors().map_or(Value::Null, Value::from));
        report.add("rows", rows, rows.to_string());
        report.print(global.json)
    }
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
