//! What `surprisal loss` is called with, as options of the library.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

use surprisal::{Backward, LinearCrossEntropy, LinearCrossEntropyBuilder, Reduction, Statistic};

use super::named::Family;
use super::truncated::Truncated;
use crate::device::Device;
use crate::filter::{FilterName, OrderName};
use crate::teacher::Tail;
use crate::{Failure, numerals, size};

/// The headings of the help.
pub const INPUTS: &str = "Inputs";
pub const LOSS: &str = "The loss";
pub const BACKWARD: &str = "Computing and backward";
pub const OUTPUT: &str = "Output";

/// Cross-entropy, or another loss, of hidden states against a classifier, or of logits, without storing them
///
/// Arrays are FILE.npy, FILE.npz:NAME, FILE.safetensors:TENSOR or
/// DIR/model.safetensors.index.json:TENSOR. float64 files are computed in float64. The targets are
/// classes (--targets), distributions (--soft-targets) or a teacher's likeliest classes
/// (--teacher-classes with --teacher-log-probs). Cross-entropies, entropies and divergences are in nats.
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
    pub(super) hidden: Option<String>,
    /// Classifier [V,D]
    #[arg(long, value_name = "C", requires = "hidden", help_heading = INPUTS)]
    pub(super) classifier: Option<String>,
    /// Logits [N,V], in place of hidden states and classifier
    #[arg(
        long,
        value_name = "L",
        conflicts_with_all = ["hidden", "classifier"],
        help_heading = INPUTS
    )]
    pub(super) logits: Option<String>,
    /// Target classes [N], integers; beside other targets only their ignore index counts
    #[arg(
        long,
        value_name = "Y",
        required_unless_present_any = [
            "soft_targets", "teacher_classes", "loss", "divergence", "candidates", "ranks",
        ],
        help_heading = INPUTS
    )]
    pub(super) targets: Option<String>,
    /// Target distributions [N,V]
    #[arg(long, value_name = "P", help_heading = INPUTS)]
    pub(super) soft_targets: Option<String>,
    /// A teacher's likeliest classes of each row [N,K], integers; -1 names none
    #[arg(
        long,
        value_name = "TC",
        requires = "teacher_log_probs",
        conflicts_with = "soft_targets",
        help_heading = INPUTS
    )]
    pub(super) teacher_classes: Option<String>,
    /// Their log-probabilities [N,K], in nats
    #[arg(long, value_name = "TP", requires = "teacher_classes", help_heading = INPUTS)]
    pub(super) teacher_log_probs: Option<String>,
    /// What becomes of the probability that the teacher's lists do not name [default: drop]
    #[arg(long, value_enum, requires = "teacher_classes", help_heading = INPUTS)]
    pub(super) tail: Option<Tail>,
    /// Hidden states [N,D'] of a second head, such as a teacher
    #[arg(
        long,
        value_name = "E2",
        requires = "teacher_classifier",
        conflicts_with = "teacher_logits",
        help_heading = INPUTS
    )]
    pub(super) teacher_hidden: Option<String>,
    /// Its classifier [V,D']
    #[arg(long, value_name = "C2", requires = "teacher_hidden", help_heading = INPUTS)]
    pub(super) teacher_classifier: Option<String>,
    /// Its bias [V]; --bias, --scale and --softcap are of the first head alone
    #[arg(long, value_name = "B2", help_heading = INPUTS)]
    pub(super) teacher_bias: Option<String>,
    /// Its logits [N,V], in place of hidden states and classifier
    #[arg(long, value_name = "L2", help_heading = INPUTS)]
    pub(super) teacher_logits: Option<String>,
    /// Of emo and demd an embedding [V,d] of the classes, of expected_cost the costs: [V], or [N,V],
    /// which go by the position of the target
    #[arg(long, value_name = "K", help_heading = INPUTS)]
    pub(super) costs: Option<String>,
    /// Classes of each row [N,K] whose log-probabilities are asked for, integers; -1 names none. Without
    /// targets there is no loss
    #[arg(long, value_name = "K", help_heading = INPUTS)]
    pub(super) candidates: Option<String>,
    /// Rankings: classes of each row [N,K], the best first, integers; -1 names none. With --loss list_mle
    /// (weights=sum, mean or position), partial_list_mle, or pld with --rank-weights
    #[arg(
        long,
        value_name = "R",
        conflicts_with_all = [
            "targets", "soft_targets", "teacher_classes", "teacher_hidden", "teacher_logits", "costs",
            "candidates", "divergence", "upstream", "filter",
        ],
        help_heading = INPUTS
    )]
    pub(super) ranks: Option<String>,
    /// What the places of the rankings weigh [N,K], at least 0: a teacher's probabilities of their
    /// classes
    #[arg(long, value_name = "RW", requires = "ranks", help_heading = INPUTS)]
    pub(super) rank_weights: Option<String>,
    /// Rows that take no part [N], booleans or 0 and 1; a mean does not count them
    #[arg(long, value_name = "M", help_heading = INPUTS)]
    pub(super) ignore: Option<String>,
    /// Target of rows that take no part [default: -100]
    #[arg(
        long,
        value_name = "I",
        value_parser = numerals::any::<i64>,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    pub(super) ignore_index: Option<i64>,
    /// Row i predicts target i + S, for [B,T,D] within its sequence of T rows; without S the next.
    /// --token-weights, --ignore and --temperature go by the position of the target
    #[arg(
        long,
        value_name = "S",
        value_parser = numerals::from_zero::<usize>,
        num_args = 0..=1,
        default_missing_value = "1",
        allow_negative_numbers = true,
        help_heading = INPUTS
    )]
    pub(super) shift: Option<usize>,
    /// Bias [V], added to the products of hidden states and classifier
    #[arg(long, value_name = "B", help_heading = INPUTS)]
    pub(super) bias: Option<String>,
    /// Weights of the classes [V], at least 0; booleans and integers 0 and 1 are as good
    #[arg(long, value_name = "W", help_heading = INPUTS)]
    pub(super) class_weights: Option<String>,
    /// Weights of the rows [N]; booleans and integers 0 and 1 are as good. A mean divides by the number
    /// of rows that take part, not by these
    #[arg(long, value_name = "T", help_heading = INPUTS)]
    pub(super) token_weights: Option<String>,
    /// Compute float64 files in float32
    #[arg(long, help_heading = INPUTS)]
    pub(super) f32: bool,
    #[arg(
        long,
        value_name = "NAME[:KEY=X,…]",
        allow_hyphen_values = true,
        help = "The loss of a row, or a sum as in cross_entropy+0.5*mae [default: cross_entropy]",
        long_help = losses(),
        help_heading = LOSS
    )]
    pub(super) loss: Option<String>,
    #[arg(
        long,
        value_name = "NAME[:KEY=X,…]",
        allow_hyphen_values = true,
        help = "Divergence from the second head, beside --loss where that is given",
        long_help = divergences(),
        help_heading = LOSS
    )]
    pub(super) divergence: Option<String>,
    /// Number that the logits of both heads are divided by, after the scale; or a file of one for each
    /// target [N]. All terms of a loss are at it, and perplexity and entropies too [default: 1]
    #[arg(
        long,
        value_name = "X|FILE",
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    pub(super) temperature: Option<Temperature>,
    /// Multiply the divergences by the square of the temperature
    #[arg(long, help_heading = LOSS)]
    pub(super) temperature_squared: bool,
    /// Factor on the logits, after the bias
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = 1.0,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    pub(super) scale: f64,
    /// Squeeze the logits into (-X, X) by a tanh, after the scale
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    pub(super) softcap: Option<f64>,
    #[command(flatten)]
    pub(super) truncated: Truncated,
    /// Share of the target that is spread over all classes, 0 to 1; of cross-entropy alone
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    pub(super) label_smoothing: f64,
    /// Weight of the squared log-sum-exp (nats squared); of cross-entropy alone
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        default_value_t = 0.0,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    pub(super) z_loss: f64,
    /// How the rows become one number [default: mean]
    #[arg(long, value_enum, help_heading = LOSS)]
    pub(super) reduction: Option<ReductionName>,
    /// Divide the sum by this number; goes with --reduction sum
    #[arg(
        long,
        value_name = "X",
        value_parser = numerals::real,
        allow_hyphen_values = true,
        help_heading = LOSS
    )]
    pub(super) divisor: Option<f64>,
    /// Write grad_hidden.npy, grad_classifier.npy and, with a bias, grad_bias.npy (or
    /// grad_logits.npy)
    #[arg(long, requires = "out", help_heading = BACKWARD)]
    pub(super) grad: bool,
    /// Upstream gradient of each row's loss [N], with --reduction none and --grad; with --candidates
    /// that of their log-probabilities [N,K], and none of the loss
    #[arg(long, value_name = "U", requires = "grad", help_heading = BACKWARD)]
    pub(super) upstream: Option<String>,
    /// How the gradients are computed
    #[arg(long, value_enum, default_value_t = BackwardName::Auto, help_heading = BACKWARD)]
    pub(super) backward: BackwardName,
    /// Leave probabilities below EPS out of the gradients, 0 to 1 (auto: a 32nd of the input type's
    /// epsilon), or with mass:D of each row the least likely classes that have no more than D of it
    #[arg(long, value_name = "auto|EPS|mass:D", allow_hyphen_values = true, help_heading = BACKWARD)]
    pub(super) filter: Option<FilterName>,
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
    pub(super) filter_gradients: Vec<GradientName>,
    /// Replace what the filter leaves out by its mean
    #[arg(long, requires = "filter", help_heading = BACKWARD)]
    pub(super) tail_correction: bool,
    /// Order of the classes, whose blocks of 32 a filter keeps or drops: by their mean logit, so that
    /// those stand together whose logits are alike (similar), by how often they are targets (counts), or
    /// as the integers of a file name them. What is written is by class as ever
    #[arg(
        long,
        value_name = "mean-logit|similar|counts|FILE",
        requires = "filter",
        requires = "targets",
        conflicts_with_all = ["logits", "soft_targets", "teacher_classes", "teacher_hidden",
            "teacher_logits", "candidates", "costs"],
        help_heading = BACKWARD
    )]
    pub(super) class_order: Option<OrderName>,
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
    pub(super) memory_budget: usize,
    /// Where it is computed; others than cpu need a build with the feature gpu
    #[arg(long, value_enum, default_value_t = Device::Cpu, help_heading = BACKWARD)]
    pub(super) device: Device,
    /// Write NAME.npy for each: loss, lse, logprob, entropy, varentropy (in nats, the last squared),
    /// argmax, rank, topk:K; candidates (their log-probabilities), others (that of all others together)
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "out",
        help_heading = OUTPUT
    )]
    pub(super) emit: Vec<Emit>,
    /// Directory of the files written
    #[arg(long, value_name = "DIR", help_heading = OUTPUT)]
    pub(super) out: Option<PathBuf>,
}

fn losses() -> String {
    format!(
        "The loss of a row, or a sum as in cross_entropy+0.5*mae or cross_entropy-0.01*entropy [default: \
         cross_entropy]\n\n\
         NAME[:KEY=X,KEY=X], as `surprisal oracle` has them; hyphens are as good as underscores. A key that \
         stands with a value has it where it is left out. ldr_kl, aldr_kl and a balanced \
         correctness_calibration go alone; demd, emo and expected_cost need --costs, those from forward_kl \
         on a second head. list_mle, with weights=sum, mean or position, and pld are of rankings: of \
         --ranks, and alone.{}",
        Family::All.described()
    )
}

fn divergences() -> String {
    format!(
        "Divergence from the second head, or a sum of such; alone it needs no --targets\n\n\
         Beside --loss it is one more term. To weigh both, name it there: --loss \
         0.5*cross_entropy+0.5*kl. At beta 0 and 1 jensen_shannon is exact, which is 0.{}",
        Family::Divergences.described()
    )
}

/// A number, or the file that has one for each target.
#[derive(Clone)]
pub(super) enum Temperature {
    All(f64),
    Each(String),
}

impl std::str::FromStr for Temperature {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(number) => Self::All(number),
            Err(_) => Self::Each(text.into()),
        })
    }
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub(super) enum ReductionName {
    None,
    Mean,
    Sum,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
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

#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub(super) enum GradientName {
    Hidden,
    Classifier,
    Bias,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Emit {
    Statistic(&'static str, Statistic),
    Argmax,
    Rank,
    TopK(usize),
    Candidates,
    Others,
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
            "candidates" => Emit::Candidates,
            "others" => Emit::Others,
            _ => {
                let k = name.strip_prefix("topk:").and_then(|k| k.parse().ok());
                Emit::TopK(k.filter(|&k| k > 0).ok_or(
                    "expected loss, lse, logprob, entropy, varentropy, argmax, rank, topk:K, candidates or others",
                )?)
            }
        })
    }
}

/// The class that a row has which takes no part, as PyTorch has it.
const IGNORE_INDEX: i64 = -100;

impl Loss {
    /// Refuses arguments that do not go together, before anything is opened.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.reduced()?;
        self.check_candidates()?;
        if self.upstream.is_some()
            && self.candidates.is_none()
            && self.reduction != Some(ReductionName::None)
        {
            let what = "--upstream goes with --reduction none: give that too";
            return Err(Failure::Input(what.into()));
        }
        if self.ignore_index.is_some() && self.targets.is_none() && self.teacher_classes.is_none() {
            let what = "--ignore-index is of --targets, which --soft-targets have not: give these too, \
                        or --ignore";
            return Err(Failure::Input(what.into()));
        }
        if self.teacher_bias.is_some()
            && self.teacher_hidden.is_none()
            && self.teacher_logits.is_none()
        {
            let what = "--teacher-bias is of a second head, expected --teacher-hidden with \
                        --teacher-classifier, or --teacher-logits";
            return Err(Failure::Input(what.into()));
        }
        if self.out.is_some() && self.emit.is_empty() && !self.grad {
            let what = "--out goes with --emit or --grad, which say what is written: give one too";
            return Err(Failure::Input(what.into()));
        }
        if self.emit.iter().filter(|emit| matches!(emit, Emit::TopK(_))).count() > 1 {
            return Err(Failure::Input("--emit names topk twice, expected one K".into()));
        }
        Ok(())
    }

    /// Refuses what is of targets where there are none.
    pub(super) fn check_without_targets(&self) -> Result<(), Failure> {
        let of_targets = |emit: &Emit| {
            matches!(emit, Emit::Rank | Emit::Statistic(_, Statistic::LogProbability))
        };
        match self.emits(of_targets) || self.class_weights.is_some() {
            true => Err(Failure::Input(
                "rank, logprob and --class-weights are of targets, expected --targets too".into(),
            )),
            false => Ok(()),
        }
    }

    /// Refuses what goes with --candidates alone, or not with them.
    fn check_candidates(&self) -> Result<(), Failure> {
        let refuse = |what: &str| Err(Failure::Input(what.into()));
        let listed = self.emits(|emit| matches!(emit, Emit::Candidates | Emit::Others));
        if listed && self.candidates.is_none() {
            return refuse("--emit candidates and others are of --candidates: give these too");
        }
        if self.ranks.is_some() {
            return Ok(());
        }
        let nothing = self.grad && self.upstream.is_none() && !self.has_loss();
        if self.candidates.is_some() && nothing {
            return refuse(
                "--grad without targets is of --candidates: give their --upstream [N,K] too",
            );
        }
        if !self.has_loss()
            && self.emits(|emit| matches!(emit, Emit::Statistic("loss" | "logprob", _)))
        {
            return refuse("--emit loss and logprob are of targets: give --targets too");
        }
        Ok(())
    }

    /// Whether there is a loss, not log-probabilities of candidates alone.
    pub(super) fn has_loss(&self) -> bool {
        let named = self.loss.is_some() && self.ranks.is_none();
        !self.has_no_targets() || named || self.divergence.is_some()
    }

    /// Whether what the candidates leave to the others is asked for.
    pub(super) fn emits_others(&self) -> bool {
        self.emits(|emit| matches!(emit, Emit::Others))
    }

    /// How the rows become one number.
    pub(super) fn reduced(&self) -> Result<Reduction, Failure> {
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
    pub(super) fn soft(&self) -> bool {
        self.soft_targets.is_some() || self.teacher_classes.is_some()
    }

    /// Whether the loss is of no targets.
    pub(super) fn has_no_targets(&self) -> bool {
        self.targets.is_none() && !self.soft()
    }

    /// The target of rows that take no part.
    pub(super) fn ignored_class(&self) -> i64 {
        self.ignore_index.unwrap_or(IGNORE_INDEX)
    }

    /// The logits and how they are computed, without a loss.
    pub(super) fn computing(&self) -> LinearCrossEntropyBuilder {
        let mut builder = LinearCrossEntropy::builder()
            .scale(self.scale)
            .ignore_index(Some(self.ignored_class()))
            .memory_budget(self.memory_budget);
        if let Some(softcap) = self.softcap {
            builder = builder.softcap(softcap);
        }
        if let Some(Temperature::All(temperature)) = self.temperature {
            builder = builder.temperature(temperature);
        }
        builder
    }

    /// All options but the loss of a row.
    pub(super) fn options(&self) -> Result<LinearCrossEntropyBuilder, Failure> {
        let mut builder = self
            .computing()
            .label_smoothing(self.label_smoothing)
            .z_loss(self.z_loss)
            .entropy(true)
            .varentropy(self.emits(|emit| matches!(emit, Emit::Statistic("varentropy", _))))
            .rank(self.emits(|emit| matches!(emit, Emit::Rank)))
            .backward(self.backward.into())
            .tail_correction(self.tail_correction)
            .reduction(self.reduced()?);
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
        Ok(builder)
    }

    fn emits(&self, wanted: impl Fn(&Emit) -> bool) -> bool {
        self.emit.iter().any(wanted)
    }
}
