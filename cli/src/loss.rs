//! `surprisal loss`: the fused loss of arrays on disk.

use clap::{Args, ValueEnum};
use ndarray::{Array1, Array2, ArrayView2};
use std::path::{Path, PathBuf};
use std::time::Instant;

use surprisal::io::{NpyElement, write_npy};
use surprisal::{
    Backward, Element, Filter, Forward, Gradients, Inputs, LinearCrossEntropy, Matrix, Pass, Real,
    Reduction, Shapes, Statistic, Targets, TopK, Upstream,
};

use crate::arrays::{Opened, check_rows};
use crate::device::{Device, Place};
use crate::output::{make_directory, note, number, optional};
use crate::report::{Report, bytes, duration, percent, significant};
use crate::teacher::{self, Tail, Teacher};
use crate::{Failure, Global, numerals, size};

/// The headings of the help.
pub const INPUTS: &str = "Inputs";
pub const LOSS: &str = "The loss";
pub const BACKWARD: &str = "Computing and backward";
pub const OUTPUT: &str = "Output";

/// Cross-entropy of hidden states against a classifier, or of logits, without storing the logits
///
/// Arrays are FILE.npy, FILE.npz:NAME, FILE.safetensors:TENSOR or
/// DIR/model.safetensors.index.json:TENSOR. float64 files are computed in float64. The targets are
/// classes (--targets), distributions (--soft-targets) or a teacher's likeliest classes
/// (--teacher-classes with --teacher-log-probs). Losses and entropies are in nats.
#[derive(Args)]
pub struct Loss {
    /// Hidden states [N,D]
    #[arg(
        long,
        value_name = "E",
        requires = "classifier",
        required_unless_present = "logits",
        help_heading = INPUTS
    )]
    hidden: Option<String>,
    /// Classifier [V,D]
    #[arg(long, value_name = "C", requires = "hidden", help_heading = INPUTS)]
    classifier: Option<String>,
    /// Logits [N,V], in place of hidden states and classifier
    #[arg(
        long,
        value_name = "L",
        conflicts_with_all = ["hidden", "classifier"],
        help_heading = INPUTS
    )]
    logits: Option<String>,
    /// Target classes [N], integers; beside other targets only their ignore index counts
    #[arg(
        long,
        value_name = "Y",
        required_unless_present_any = ["soft_targets", "teacher_classes"],
        help_heading = INPUTS
    )]
    targets: Option<String>,
    /// Target distributions [N,V]
    #[arg(long, value_name = "P", help_heading = INPUTS)]
    soft_targets: Option<String>,
    /// A teacher's likeliest classes of each row [N,K], integers; -1 names none
    #[arg(
        long,
        value_name = "TC",
        requires = "teacher_log_probs",
        conflicts_with = "soft_targets",
        help_heading = INPUTS
    )]
    teacher_classes: Option<String>,
    /// Their log-probabilities [N,K], in nats
    #[arg(long, value_name = "TP", requires = "teacher_classes", help_heading = INPUTS)]
    teacher_log_probs: Option<String>,
    /// What becomes of the probability that the teacher's lists do not name [default: drop]
    #[arg(long, value_enum, requires = "teacher_classes", help_heading = INPUTS)]
    tail: Option<Tail>,
    /// Rows that take no part [N], booleans or 0 and 1; a mean does not count them
    #[arg(long, value_name = "M", help_heading = INPUTS)]
    ignore: Option<String>,
    /// Target of rows that take no part [default: -100]
    #[arg(
        long,
        value_name = "I",
        value_parser = numerals::any::<i64>,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    ignore_index: Option<i64>,
    /// Row i predicts target i + S, for [B,T,D] within its sequence of T rows; without S the next.
    /// --token-weights and --ignore go by the position of the target
    #[arg(
        long,
        value_name = "S",
        value_parser = numerals::from_zero::<usize>,
        num_args = 0..=1,
        default_missing_value = "1",
        allow_negative_numbers = true,
        help_heading = INPUTS
    )]
    shift: Option<usize>,
    /// Bias [V], added to the products of hidden states and classifier
    #[arg(long, value_name = "B", help_heading = INPUTS)]
    bias: Option<String>,
    /// Weights of the classes [V], at least 0; booleans and integers 0 and 1 are as good
    #[arg(long, value_name = "W", help_heading = INPUTS)]
    class_weights: Option<String>,
    /// Weights of the rows [N]; booleans and integers 0 and 1 are as good. A mean divides by the number
    /// of rows that take part, not by these
    #[arg(long, value_name = "T", help_heading = INPUTS)]
    token_weights: Option<String>,
    /// Compute float64 files in float32
    #[arg(long, help_heading = INPUTS)]
    f32: bool,
    /// Factor on the logits, after the bias
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = 1.0,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    scale: f64,
    /// Squeeze the logits into (-X, X) by a tanh, after the scale
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    softcap: Option<f64>,
    /// Share of the target that is spread over all classes, 0 to 1
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    label_smoothing: f64,
    /// Weight of the squared log-sum-exp (nats squared)
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    z_loss: f64,
    /// How the rows become one number [default: mean]
    #[arg(long, value_enum, help_heading = LOSS)]
    reduction: Option<ReductionName>,
    /// Divide the sum by this number; goes with --reduction sum
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    divisor: Option<f64>,
    /// Write grad_hidden.npy, grad_classifier.npy and, with a bias, grad_bias.npy (or
    /// grad_logits.npy)
    #[arg(long, requires = "out", help_heading = BACKWARD)]
    grad: bool,
    /// Upstream gradient of each row's loss [N], with --reduction none and --grad
    #[arg(long, value_name = "U", requires = "grad", help_heading = BACKWARD)]
    upstream: Option<String>,
    /// How the gradients are computed
    #[arg(long, value_enum, default_value_t = BackwardName::Auto, help_heading = BACKWARD)]
    backward: BackwardName,
    /// Leave probabilities below this out of the gradients, 0 to 1; auto is a 32nd of the input
    /// type's epsilon
    #[arg(long, value_name = "auto|EPS", allow_hyphen_values = true, help_heading = BACKWARD)]
    filter: Option<FilterName>,
    /// The gradients that the filter acts on [default: all]
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        requires = "filter",
        hide_possible_values = true,
        help_heading = BACKWARD
    )]
    filter_gradients: Vec<GradientName>,
    /// Replace what the filter leaves out by its mean
    #[arg(long, requires = "filter", help_heading = BACKWARD)]
    tail_correction: bool,
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
    memory_budget: usize,
    /// Where it is computed; others than cpu need a build with the feature gpu
    #[arg(long, value_enum, default_value_t = Device::Cpu, help_heading = BACKWARD)]
    device: Device,
    /// Write NAME.npy for each: loss, lse, logprob, entropy, varentropy (in nats, the last squared),
    /// argmax, rank, topk:K
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "out",
        help_heading = OUTPUT
    )]
    emit: Vec<Emit>,
    /// Directory of the files written
    #[arg(long, value_name = "DIR", help_heading = OUTPUT)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum ReductionName {
    None,
    Mean,
    Sum,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum BackwardName {
    Auto,
    Recompute,
    Strip,
}

impl From<BackwardName> for Backward {
    fn from(name: BackwardName) -> Self {
        match name {
            BackwardName::Auto => Backward::Auto,
            BackwardName::Recompute => Backward::Recompute,
            BackwardName::Strip => Backward::Strip,
        }
    }
}

#[derive(Clone, Copy)]
struct FilterName(Filter);

impl std::str::FromStr for FilterName {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self(match name {
            "auto" => Filter::Auto,
            _ => Filter::Below(name.parse().map_err(|_| "expected auto or a number from 0 to 1")?),
        }))
    }
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum GradientName {
    Hidden,
    Classifier,
    Bias,
}

#[derive(Clone, Copy, PartialEq)]
enum Emit {
    Statistic(&'static str, Statistic),
    Argmax,
    Rank,
    TopK(usize),
}

impl std::str::FromStr for Emit {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "loss" => Emit::Statistic("loss", Statistic::Loss),
            "lse" => Emit::Statistic("lse", Statistic::LogSumExp),
            "logprob" => Emit::Statistic("logprob", Statistic::LogProbability),
            "entropy" => Emit::Statistic("entropy", Statistic::Entropy),
            "varentropy" => Emit::Statistic("varentropy", Statistic::Varentropy),
            "argmax" => Emit::Argmax,
            "rank" => Emit::Rank,
            _ => {
                let k = name.strip_prefix("topk:").and_then(|k| k.parse().ok());
                Emit::TopK(k.filter(|&k| k > 0).ok_or(
                    "expected loss, lse, logprob, entropy, varentropy, argmax, rank or topk:K",
                )?)
            }
        })
    }
}

/// The class that a row has which takes no part, as PyTorch has it.
const IGNORE_INDEX: i64 = -100;

/// A strategy with what it does.
pub fn of_strategy(name: &str) -> String {
    let does = match name {
        "forward" => "no gradients",
        "strip" => "the logits of some rows are kept for the gradients",
        _ => "the logits are made again for the gradients",
    };
    format!("{name} ({does})")
}

/// The arrays of a call, as they were opened.
struct Arrays {
    hidden: Option<Opened>,
    classifier: Option<Opened>,
    logits: Option<Opened>,
    targets: Option<Array1<i64>>,
    soft_targets: Option<Opened>,
    teacher: Option<Teacher>,
    ignored: Option<Vec<bool>>,
    bias: Option<Opened>,
    class_weights: Option<Opened>,
    token_weights: Option<Opened>,
    upstream: Option<Opened>,
}

/// What the target weights of the rows that take part sum to.
#[derive(Clone, Copy)]
struct Mass {
    mean: f64,
    /// Whether each row is a distribution.
    whole: bool,
}

impl Arrays {
    /// The mass of targets that are no classes.
    fn mass(&self, shift: Option<usize>, forward: &Forward) -> Result<Option<Mass>, Failure> {
        let (sums, narrow): (Array1<f64>, bool) = match (&self.soft_targets, &self.teacher) {
            (Some(weights), _) => match weights.matrix()? {
                Matrix::F64(view) => (row_sums(&view), false),
                Matrix::F32(view) => (row_sums(&view), true),
                Matrix::Bf16(view) => (row_sums(&view), true),
                Matrix::F16(view) => (row_sums(&view), true),
            },
            (None, Some(teacher)) => (row_sums(&teacher.weights.view()), teacher.narrow),
            (None, None) => return Ok(None),
        };
        let from = self.hidden.as_ref().or(self.logits.as_ref());
        let sequence = from.and_then(Opened::sequence).unwrap_or(sums.len());
        let shift = shift.unwrap_or(0);
        let losses = sequence.saturating_sub(shift).max(1);
        let tolerance = if narrow { 1e-2 } else { 1e-3 };
        let (mut sum, mut whole) = (0.0, true);
        let argmax = forward.argmax();
        let kept = argmax.iter().enumerate().filter(|(_, class)| **class >= 0);
        for (row, _) in kept {
            let mass = sums[row / losses * sequence + row % losses + shift];
            sum += mass;
            whole &= (mass - 1.0).abs() <= tolerance;
        }
        Ok(Some(Mass { mean: sum / forward.rows_kept() as f64, whole }))
    }
}

fn row_sums<T: Element>(weights: &ArrayView2<'_, T>) -> Array1<f64> {
    weights.outer_iter().map(|row| row.iter().map(|weight| weight.to_f64()).sum()).collect()
}

impl Loss {
    /// Notes where a result is not a number, and why.
    fn tell_what_is_missing(&self, forward: &Forward, quiet: bool) {
        if forward.rows_kept() == 0 {
            let why = if forward.is_empty() { "there are none" } else { "all are ignored" };
            return note(quiet, &format!("no row takes part: {why}, so there is no mean"));
        }
        // The loss of a row that is ignored is 0.
        if let Some(row) = forward.losses().iter().position(|loss| loss.is_nan()) {
            let of = match self.logits {
                Some(_) => "finite logits",
                None => "finite hidden states, classifier and bias",
            };
            note(quiet, &format!("row {row} is NaN: expected {of}"));
        }
    }

    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        self.reduced()?;
        if self.upstream.is_some() && self.reduction != Some(ReductionName::None) {
            let what = "--upstream goes with --reduction none: give that too";
            return Err(Failure::Input(what.into()));
        }
        if self.ignore_index.is_some() && self.targets.is_none() && self.teacher_classes.is_none() {
            let what = "--ignore-index is of --targets, which --soft-targets have not: give these too, \
                        or --ignore";
            return Err(Failure::Input(what.into()));
        }
        if self.out.is_some() && self.emit.is_empty() && !self.grad {
            let what = "--out goes with --emit or --grad, which say what is written: give one too";
            return Err(Failure::Input(what.into()));
        }
        if self.emit.iter().filter(|emit| matches!(emit, Emit::TopK(_))).count() > 1 {
            return Err(Failure::Input("--emit names topk twice, expected one K".into()));
        }
        let classes = Opened::optional("--targets", self.targets.as_ref())?;
        let targets = classes.as_ref().map(Opened::classes).transpose()?;
        let ignored = self.ignored(targets.as_ref())?;
        let mut arrays = Arrays {
            hidden: Opened::optional("--hidden", self.hidden.as_ref())?,
            classifier: Opened::optional("--classifier", self.classifier.as_ref())?,
            logits: Opened::optional("--logits", self.logits.as_ref())?,
            targets,
            soft_targets: Opened::optional("--soft-targets", self.soft_targets.as_ref())?,
            teacher: self.teacher(ignored.as_deref())?,
            ignored,
            bias: Opened::optional("--bias", self.bias.as_ref())?,
            class_weights: Opened::optional("--class-weights", self.class_weights.as_ref())?,
            token_weights: Opened::optional("--token-weights", self.token_weights.as_ref())?,
            upstream: Opened::optional("--upstream", self.upstream.as_ref())?,
        };
        check_rows([
            (arrays.hidden.as_ref().or(arrays.logits.as_ref()), 1),
            (classes.as_ref(), 0),
            (arrays.soft_targets.as_ref(), 1),
            (arrays.token_weights.as_ref(), 0),
            (arrays.upstream.as_ref(), 0),
        ])?;
        let mut wide = false;
        for array in [&arrays.hidden, &arrays.classifier, &arrays.logits].into_iter().flatten() {
            wide |= matches!(array.matrix()?, Matrix::F64(_));
        }
        if wide && self.f32 {
            for array in [&mut arrays.hidden, &mut arrays.classifier, &mut arrays.logits] {
                array.as_mut().map_or(Ok(()), Opened::round)?;
            }
            wide = false;
        }
        if wide && self.device != Device::Cpu {
            let what = "a GPU computes no float64, expected float32, bf16 or f16 files or --f32";
            return Err(Failure::Input(what.into()));
        }
        let place = Place::open(self.device)?;
        match wide {
            true => self.run_in::<f64>(global, &arrays, &place),
            false => self.run_in::<f32>(global, &arrays, &place),
        }
    }

    /// How the rows become one number.
    fn reduced(&self) -> Result<Reduction, Failure> {
        let conflict = |name: &str| {
            Err(Failure::Input(format!(
                "--divisor goes with --reduction sum, not with --reduction {name}: it is what the sum \
                 is divided by"
            )))
        };
        Ok(match (self.divisor, self.reduction) {
            (Some(divisor), None | Some(ReductionName::Sum)) => Reduction::Divide(divisor),
            (Some(_), Some(ReductionName::Mean)) => return conflict("mean"),
            (Some(_), Some(ReductionName::None)) => return conflict("none"),
            (None, None | Some(ReductionName::Mean)) => Reduction::Mean,
            (None, Some(ReductionName::None)) => Reduction::None,
            (None, Some(ReductionName::Sum)) => Reduction::Sum,
        })
    }

    /// Whether the targets are other than classes.
    fn soft(&self) -> bool {
        self.soft_targets.is_some() || self.teacher_classes.is_some()
    }

    /// The rows that --ignore names, or beside soft targets the classes of --targets.
    fn ignored(&self, classes: Option<&Array1<i64>>) -> Result<Option<Vec<bool>>, Failure> {
        let file = Opened::optional("--ignore", self.ignore.as_ref())?;
        let mut flags = file.as_ref().map(teacher::flags).transpose()?;
        if let Some(classes) = classes.filter(|_| self.soft()) {
            let index = self.ignore_index.unwrap_or(IGNORE_INDEX);
            let own = classes.iter().map(|&class| class == index);
            flags = Some(match flags {
                None => own.collect(),
                Some(flags) if flags.len() == classes.len() => {
                    flags.iter().zip(own).map(|(&a, b)| a || b).collect()
                }
                Some(flags) => {
                    return Err(Failure::Input(format!(
                        "--ignore has {} rows and --targets {}, expected as many",
                        flags.len(),
                        classes.len()
                    )));
                }
            });
        }
        Ok(flags)
    }

    /// The teacher's lists.
    fn teacher(&self, ignored: Option<&[bool]>) -> Result<Option<Teacher>, Failure> {
        let classes = Opened::optional("--teacher-classes", self.teacher_classes.as_ref())?;
        let logs = Opened::optional("--teacher-log-probs", self.teacher_log_probs.as_ref())?;
        let Some((classes, logs)) = classes.zip(logs) else { return Ok(None) };
        let tail = self.tail.unwrap_or(Tail::Drop);
        let index = self.ignore_index.unwrap_or(IGNORE_INDEX);
        Teacher::read(&classes, &logs, tail, index, ignored).map(Some)
    }

    fn options(&self) -> Result<LinearCrossEntropy, Failure> {
        let mut builder = LinearCrossEntropy::builder()
            .scale(self.scale)
            .label_smoothing(self.label_smoothing)
            .z_loss(self.z_loss)
            .ignore_index(Some(self.ignore_index.unwrap_or(IGNORE_INDEX)))
            .memory_budget(self.memory_budget)
            .entropy(true)
            .varentropy(self.emits(|emit| matches!(emit, Emit::Statistic("varentropy", _))))
            .rank(self.emits(|emit| matches!(emit, Emit::Rank)))
            .backward(self.backward.into())
            .tail_correction(self.tail_correction)
            .reduction(self.reduced()?);
        if let Some(softcap) = self.softcap {
            builder = builder.softcap(softcap);
        }
        if let Some(FilterName(filter)) = self.filter {
            let of =
                |name| self.filter_gradients.is_empty() || self.filter_gradients.contains(&name);
            builder = builder
                .filter(filter)
                .filter_hidden(of(GradientName::Hidden))
                .filter_classifier(of(GradientName::Classifier))
                .filter_bias(of(GradientName::Bias));
        }
        for emit in &self.emit {
            if let Emit::TopK(k) = emit {
                builder = builder.top_k(*k);
            }
        }
        Ok(builder.build()?)
    }

    fn emits(&self, wanted: impl Fn(&Emit) -> bool) -> bool {
        self.emit.iter().any(wanted)
    }

    fn run_in<R: Real + NpyElement>(
        &self,
        global: &Global,
        arrays: &Arrays,
        place: &Place,
    ) -> Result<(), Failure> {
        let loss = self.options()?;
        let soft;
        let targets = match (&arrays.targets, &arrays.soft_targets, &arrays.teacher) {
            (_, Some(weights), _) => {
                soft = weights.matrix()?;
                Targets::soft(soft)
            }
            (_, None, Some(teacher)) => Targets::sparse(&teacher.classes, &teacher.weights),
            (Some(classes), None, None) => Targets::from(classes),
            (None, None, None) => return Err(Failure::Input("--targets is missing".into())),
        };
        let mut inputs = match (&arrays.hidden, &arrays.classifier, &arrays.logits) {
            (Some(hidden), Some(classifier), _) => {
                Inputs::new(hidden.matrix()?, classifier.matrix()?, targets)
            }
            (_, _, Some(logits)) => Inputs::from_logits(logits.matrix()?, targets),
            _ => return Err(Failure::Input("--hidden and --classifier are missing".into())),
        };
        if let Some(bias) = &arrays.bias {
            inputs = inputs.bias(bias.vector()?);
        }
        if let Some(weights) = &arrays.class_weights {
            inputs = inputs.class_weights(weights.class_weights()?);
        }
        if let Some(weights) = &arrays.token_weights {
            inputs = inputs.token_weights(weights.row_weights()?);
        }
        if let Some(ignored) = &arrays.ignored {
            inputs = inputs.ignore(ignored);
        }
        if let Some(shift) = self.shift {
            let from = arrays.hidden.as_ref().or(arrays.logits.as_ref());
            inputs = match from.and_then(Opened::sequence) {
                Some(sequence) => inputs.shift_within(shift, sequence),
                None => inputs.shift(shift),
            };
        }
        let out = self.out.as_deref().map(make_directory).transpose()?;
        let (forward, seconds, pass) = match (&out, self.grad) {
            (Some(out), true) => {
                let (forward, seconds) =
                    self.with_gradients::<R>(&loss, arrays, &inputs, out, place)?;
                (forward, seconds, Pass::LossAndGradients)
            }
            _ => {
                let start = Instant::now();
                let forward = place.forward(&loss, &inputs)?;
                (forward, start.elapsed().as_secs_f64(), Pass::Forward)
            }
        };
        if let Some(out) = &out {
            self.write::<R>(&forward, out)?;
        }

        let shapes = Shapes::of(&inputs);
        let plan = loss.plan(&shapes, pass)?;
        let (mut operations, mut workspace) = (plan.operations as f64, plan.workspace_bytes);
        let mut strategy = plan.strategy.map_or("forward", |strategy| strategy.name());
        let width = |array: &Option<Opened>| match array {
            Some(array) => array.matrix().map(|matrix| if matrix.epsilon() > 1e-4 { 2 } else { 4 }),
            None => Ok(4),
        };
        let widths = [width(&arrays.hidden)?, width(&arrays.classifier)?];
        let sizes = [shapes.rows, shapes.hidden, shapes.vocabulary];
        let gradients = pass != Pass::Forward;
        if let Some(there) = place.workspace(sizes, widths, gradients)? {
            let [rows, hidden, vocabulary] = sizes.map(|size| size as f64);
            operations = if gradients { 8.0 } else { 2.0 } * rows * hidden * vocabulary;
            strategy = if gradients { "recompute" } else { "forward" };
            workspace = there;
        }
        self.tell_what_is_missing(&forward, global.quiet);
        let mass = arrays.mass(self.shift, &forward)?;
        // A sum over other weights than a distribution's is no surprisal.
        let whole = mass.is_none_or(|mass| mass.whole);
        let surprisal = forward.mean_surprisal().filter(|_| whole);
        let reduction = self.reduced()?;
        let scalar = (reduction != Reduction::None).then(|| forward.loss());
        let kept = forward.rows_kept() as f64 / forward.len().max(1) as f64;
        let rate = operations * kept / seconds.max(1e-9) / 1e9;
        let unit = match reduction {
            Reduction::Mean if self.class_weights.is_some() => "nats a token, weighed by class",
            Reduction::Mean => "nats a token",
            Reduction::Divide(_) => "nats, the sum over the divisor",
            _ => "nats in all",
        };
        let with_unit = |value: Option<f64>, digits, unit: &str| match value {
            Some(value) => format!("{} {unit}", significant(value, digits)),
            None => "-".into(),
        };
        let of_surprisal = |value: Option<f64>, unit: &str| match whole {
            true => with_unit(value, 5, unit),
            false => "- (target weights do not sum to 1)".into(),
        };
        let bits = surprisal.map(|nats| nats / std::f64::consts::LN_2);
        let perplexity = surprisal.map(f64::exp);
        let largest = (shapes.vocabulary as f64).ln();
        let mut report = Report::new();
        report.add("loss", optional(scalar), with_unit(scalar, 6, unit));
        report.add(
            "perplexity",
            optional(perplexity),
            of_surprisal(perplexity, "(e to the mean surprisal)"),
        );
        report.add("bits_per_token", optional(bits), of_surprisal(bits, "bits"));
        match mass {
            Some(Mass { mean, whole: false }) => {
                let text = format!("{} of a row on average", significant(mean, 3));
                report.add("mean_target_weight", number(mean), text);
            }
            Some(Mass { mean, .. }) => report.add_json("mean_target_weight", number(mean)),
            None => {}
        }
        report.add("tokens", forward.rows_kept(), forward.rows_kept().to_string());
        let ignored = forward.len() - forward.rows_kept();
        report.add("ignored", ignored, ignored.to_string());
        report.add(
            "accuracy",
            optional(forward.accuracy()),
            forward.accuracy().filter(|a| !a.is_nan()).map_or_else(|| "-".into(), percent),
        );
        report.add(
            "mean_entropy",
            optional(forward.mean_entropy()),
            with_unit(
                forward.mean_entropy(),
                5,
                &format!("nats (at most ln V = {})", significant(largest, 4)),
            ),
        );
        report.add("seconds", number(seconds), duration(seconds));
        let text = match &arrays.logits {
            Some(_) => "- (no products: the logits are given)".into(),
            None => format!("{} GFLOP/s", significant(rate, 3)),
        };
        report.add("gflops", number(rate), text);
        report.add("workspace_bytes", workspace, bytes(workspace));
        report.add("strategy", strategy, of_strategy(strategy));
        if let Some(adapter) = place.adapter() {
            report.add("adapter", adapter, adapter);
        }
        if let Some((kept, mass)) = forward.segments_kept().zip(forward.dropped_mass()) {
            let text = format!("{} of the blocks of 32 classes", percent(kept));
            report.add("tiles_kept", number(kept), text);
            let text = format!("{} of a row's probability at most", significant(mass.largest, 2));
            report.add("dropped_mass_max", number(mass.largest), text);
        }
        report.print(global.json)
    }

    /// Loss and gradients, the latter written to files, with the seconds that computing took.
    fn with_gradients<R: Real + NpyElement>(
        &self,
        loss: &LinearCrossEntropy,
        arrays: &Arrays,
        inputs: &Inputs<'_>,
        out: &Path,
        place: &Place,
    ) -> Result<(Forward, f64), Failure> {
        let zero = R::from_f64(0.0);
        let like =
            |array: &Opened| Ok::<_, Failure>(Array2::from_elem(array.matrix()?.dim(), zero));
        let upstream = match &arrays.upstream {
            Some(upstream) => Upstream::rows(upstream.per_row()?),
            None => Upstream::default(),
        };
        if let Some(logits) = &arrays.logits {
            let mut d_logits = like(logits)?;
            let mut d_bias = Array1::from_elem(d_logits.dim().1, zero);
            let mut gradients = Gradients::new().logits(d_logits.view_mut());
            if arrays.bias.is_some() {
                gradients = gradients.bias(d_bias.view_mut());
            }
            let start = Instant::now();
            let forward = place.loss_and_gradients(loss, inputs, &upstream, gradients)?;
            let seconds = start.elapsed().as_secs_f64();
            write_npy(&out.join("grad_logits.npy"), d_logits.view())?;
            if arrays.bias.is_some() {
                write_npy(&out.join("grad_bias.npy"), d_bias.view())?;
            }
            return Ok((forward, seconds));
        }
        let (Some(hidden), Some(classifier)) = (&arrays.hidden, &arrays.classifier) else {
            return Err(Failure::Input("--hidden and --classifier are missing".into()));
        };
        let (mut d_hidden, mut d_classifier) = (like(hidden)?, like(classifier)?);
        let biases = if arrays.bias.is_some() { d_classifier.dim().0 } else { 0 };
        let mut d_bias = Array1::from_elem(biases, zero);
        let mut gradients =
            Gradients::new().hidden(d_hidden.view_mut()).classifier(d_classifier.view_mut());
        if arrays.bias.is_some() {
            gradients = gradients.bias(d_bias.view_mut());
        }
        let start = Instant::now();
        let forward = place.loss_and_gradients(loss, inputs, &upstream, gradients)?;
        let seconds = start.elapsed().as_secs_f64();
        write_npy(&out.join("grad_hidden.npy"), d_hidden.view())?;
        write_npy(&out.join("grad_classifier.npy"), d_classifier.view())?;
        if arrays.bias.is_some() {
            write_npy(&out.join("grad_bias.npy"), d_bias.view())?;
        }
        Ok((forward, seconds))
    }

    fn write<R: Real + NpyElement>(&self, forward: &Forward, out: &Path) -> Result<(), Failure> {
        for emit in &self.emit {
            match *emit {
                Emit::Statistic(name, statistic) => {
                    let values = forward.statistic(statistic)?.mapv(R::from_f64);
                    write_npy(&out.join(format!("{name}.npy")), values.view())?;
                }
                Emit::Argmax => write_npy(&out.join("argmax.npy"), forward.argmax().view())?,
                Emit::Rank => write_npy(&out.join("rank.npy"), forward.rank()?.view())?,
                Emit::TopK(_) => {
                    let TopK { classes, log_probabilities, .. } = forward.top_k();
                    write_npy(&out.join("topk.npy"), classes.view())?;
                    let log_probabilities = log_probabilities.mapv(R::from_f64);
                    write_npy(&out.join("topk_logprob.npy"), log_probabilities.view())?;
                }
            }
        }
        Ok(())
    }
}
