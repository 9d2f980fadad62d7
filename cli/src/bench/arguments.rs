//! What the command line says of a benchmark.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

use surprisal::{LinearCrossEntropy, Pass};

use super::data::Sizes;
use crate::device::Device;
use crate::filter::FilterName;
use crate::loss::{BACKWARD, BackwardName, INPUTS};
use crate::{Failure, numerals, size};

/// The heading of the help for what is timed beside the loss.
const TIMING: &str = "Timing";

/// Time the fused loss on made-up data, beside the peak of the processor and a pass with all logits
/// in memory
///
/// Medians of the repetitions, after one that does not count. Sizes may have a unit: 8K is 8000, 8KiB is
/// 8192. Gradients are f32, or f64 for f64.
#[derive(Args)]
pub struct Bench {
    /// Tokens N
    #[arg(
        long,
        value_name = "N",
        value_parser = size::parse,
        default_value_t = 1024,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    pub tokens: usize,
    /// Width D of the hidden states
    #[arg(
        long,
        value_name = "D",
        value_parser = size::parse,
        default_value_t = 768,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    pub hidden: usize,
    /// Classes V
    #[arg(
        long,
        value_name = "V",
        value_parser = size::parse,
        default_value_t = 50257,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    pub vocab: usize,
    /// Type of hidden states and classifier
    #[arg(long, value_enum, default_value_t = Dtype::F32, help_heading = INPUTS)]
    pub dtype: Dtype,
    /// What is timed
    #[arg(long, value_enum, default_value_t = PassName::ForwardBackward, help_heading = BACKWARD)]
    pub pass: PassName,
    /// Nothing negligible, or as sparse a softmax as a trained model's
    #[arg(long, value_enum, default_value_t = DataName::Dense, help_heading = INPUTS)]
    pub data: DataName,
    /// Order of the classes, with trained data [default: frequency]
    #[arg(long, value_enum, help_heading = INPUTS)]
    pub order: Option<Order>,
    /// Leave entries of the softmax below EPS out of the gradients, 0 to 1, or with mass:D of each row
    /// the least likely that have no more than D of it
    #[arg(long, value_name = "auto|EPS|mass:D", allow_hyphen_values = true, help_heading = BACKWARD)]
    pub filter: Option<FilterName>,
    /// Replace what the filter leaves out by its mean
    #[arg(long, requires = "filter", help_heading = BACKWARD)]
    pub tail_correction: bool,
    /// Compare the gradients with those without the filter, once and outside the timing
    #[arg(long, requires = "filter", help_heading = TIMING)]
    pub errors: bool,
    /// How the gradients are computed
    #[arg(long, value_enum, default_value_t = BackwardName::Auto, help_heading = BACKWARD)]
    pub backward: BackwardName,
    /// Scratch that the computation may take, in bytes: 64MiB, 2G, 100000 [default: 256MiB]
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = size::parse,
        default_value_t = LinearCrossEntropy::DEFAULT_MEMORY_BUDGET,
        hide_default_value = true,
        allow_hyphen_values = true,
        help_heading = BACKWARD
    )]
    pub memory_budget: usize,
    /// Where it is computed; others than cpu need a build with the feature gpu
    #[arg(long, value_enum, default_value_t = Device::Cpu, help_heading = BACKWARD)]
    pub device: Device,
    /// Passes that are timed
    #[arg(
        long,
        value_name = "R",
        value_parser = numerals::from_one::<usize>,
        default_value_t = 5,
        allow_hyphen_values = true,
        help_heading = TIMING
    )]
    pub repetitions: usize,
    /// Seed of the random numbers
    #[arg(
        long,
        value_name = "S",
        value_parser = numerals::from_zero::<u64>,
        default_value_t = 0,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    pub seed: u64,
    /// Do not time the pass with all logits in memory
    #[arg(long, help_heading = TIMING)]
    pub no_baseline: bool,
    /// Measure the memory too, and say what bounds the pass and how much of that is reached
    #[arg(long, help_heading = TIMING)]
    pub roofline: bool,
    /// Write the run into a file of DIR, DATE-MACHINE-RUN.json, with what --roofline measures
    #[arg(long, value_name = "DIR", help_heading = TIMING)]
    pub record: Option<PathBuf>,
    /// Which commit was built, for --record
    #[arg(long, value_name = "NAME", requires = "record", help_heading = TIMING)]
    pub commit: Option<String>,
    /// Time nothing: print the tables, in Markdown, of what --record wrote into DIR
    #[arg(long, value_name = "DIR", conflicts_with_all = ["record", "roofline"], help_heading = TIMING)]
    pub tables: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Dtype {
    F32,
    F64,
    Bf16,
    F16,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub enum PassName {
    Forward,
    ForwardBackward,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub enum DataName {
    /// Logits with a standard deviation of 1.5
    Dense,
    /// Large models of 256 000 classes: under 0.02 % of the softmax at or above 2⁻¹²; trained is short for it
    #[value(alias = "trained")]
    TrainedLarge,
    /// A model of 135 million parameters and 49 152 classes: 0.41 %
    TrainedSmall,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub enum Order {
    Frequency,
    Random,
}

impl Bench {
    /// Refuses what does not go together.
    pub fn check(&self) -> Result<(), Failure> {
        for (flag, value) in [
            ("--tokens", self.tokens),
            ("--hidden", self.hidden),
            ("--vocab", self.vocab),
            ("--repetitions", self.repetitions),
        ] {
            if value == 0 {
                return Err(Failure::Input(format!("{flag} is 0, expected at least 1")));
            }
        }
        if self.vocab >= u32::MAX as usize {
            let most = u32::MAX - 1;
            let what = format!("--vocab is {}, expected at most {most}", self.vocab);
            return Err(Failure::Input(what));
        }
        if self.order.is_some() && self.data == DataName::Dense {
            return Err(Failure::Input("--order goes with --data trained: give that too".into()));
        }
        if self.device != Device::Cpu {
            if matches!(self.dtype, Dtype::F64) {
                let what = "a GPU computes no f64, expected --dtype f32, bf16 or f16";
                return Err(Failure::Input(what.into()));
            }
            if self.errors {
                return Err(Failure::Input("--errors goes with --device cpu".into()));
            }
            if self.measures_memory() {
                let flag = if self.roofline { "--roofline" } else { "--record" };
                return Err(Failure::Input(format!("{flag} goes with --device cpu")));
            }
        }
        Ok(())
    }

    pub fn options(&self) -> Result<LinearCrossEntropy, Failure> {
        let mut builder = LinearCrossEntropy::builder()
            .memory_budget(self.memory_budget)
            .backward(self.backward.into())
            .tail_correction(self.tail_correction);
        if let Some(FilterName(filter)) = self.filter {
            builder = builder.filter(filter);
        }
        Ok(builder.build()?)
    }

    pub fn backward(&self) -> bool {
        self.pass == PassName::ForwardBackward
    }

    /// The same loss without its filter.
    pub fn unfiltered(&self) -> Result<LinearCrossEntropy, Failure> {
        let builder = LinearCrossEntropy::builder().memory_budget(self.memory_budget);
        Ok(builder.backward(surprisal::Backward::Recompute).build()?)
    }

    pub fn sizes(&self) -> Sizes {
        Sizes { tokens: self.tokens, hidden: self.hidden, vocabulary: self.vocab }
    }

    pub fn library_pass(&self) -> Pass {
        if self.backward() { Pass::LossAndGradients } else { Pass::Forward }
    }

    /// Whether the roof is looked for.
    pub fn measures_memory(&self) -> bool {
        self.roofline || self.record.is_some()
    }
}

/// The name of an argument's value.
pub fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}
