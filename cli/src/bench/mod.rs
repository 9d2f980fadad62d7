//! `surprisal bench`: how fast the fused loss is here, beside what the processor can do.

mod baseline;
mod data;
mod memory;
mod passes;
mod resident;
mod sparsity;

use clap::{Args, ValueEnum};
use half::{bf16, f16};
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{Array2, LinalgScalar};

use surprisal::{Element, Inputs, Isa, LinearCrossEntropy, Pass, Precision, Shapes};

use self::baseline::Baseline;
pub use self::baseline::product;
use self::data::{Data, Number, Sizes};
use self::passes::{Pair, timed};
use self::resident::Resident;
use self::sparsity::Sparsity;
use crate::device::{Device, Place};
use crate::filter::FilterName;
use crate::loss::{BACKWARD, BackwardName, INPUTS, of_strategy};
use crate::output::{number, optional};
use crate::report::{Report, bytes, duration, percent, significant, significant_or};
use crate::{Failure, Global, numerals, parallel, size};

/// The most passes of the baseline: it is there for the ratio.
const BASELINE_REPETITIONS: usize = 3;

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
    tokens: usize,
    /// Width D of the hidden states
    #[arg(
        long,
        value_name = "D",
        value_parser = size::parse,
        default_value_t = 768,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    hidden: usize,
    /// Classes V
    #[arg(
        long,
        value_name = "V",
        value_parser = size::parse,
        default_value_t = 50257,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    vocab: usize,
    /// Type of hidden states and classifier
    #[arg(long, value_enum, default_value_t = Dtype::F32, help_heading = INPUTS)]
    dtype: Dtype,
    /// What is timed
    #[arg(long, value_enum, default_value_t = PassName::ForwardBackward, help_heading = BACKWARD)]
    pass: PassName,
    /// Nothing negligible, or as sparse a softmax as a trained model's
    #[arg(long, value_enum, default_value_t = DataName::Dense, help_heading = INPUTS)]
    data: DataName,
    /// Order of the classes, with --data trained [default: frequency]
    #[arg(long, value_enum, help_heading = INPUTS)]
    order: Option<Order>,
    /// Leave entries of the softmax below EPS out of the gradients, 0 to 1, or with mass:D of each row
    /// the least likely that have no more than D of it
    #[arg(long, value_name = "auto|EPS|mass:D", allow_hyphen_values = true, help_heading = BACKWARD)]
    filter: Option<FilterName>,
    /// Replace what the filter leaves out by its mean
    #[arg(long, requires = "filter", help_heading = BACKWARD)]
    tail_correction: bool,
    /// Compare the gradients with those without the filter, once and outside the timing
    #[arg(long, requires = "filter", help_heading = TIMING)]
    errors: bool,
    /// How the gradients are computed
    #[arg(long, value_enum, default_value_t = BackwardName::Auto, help_heading = BACKWARD)]
    backward: BackwardName,
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
    /// Passes that are timed
    #[arg(
        long,
        value_name = "R",
        value_parser = numerals::from_one::<usize>,
        default_value_t = 5,
        allow_hyphen_values = true,
        help_heading = TIMING
    )]
    repetitions: usize,
    /// Seed of the random numbers
    #[arg(
        long,
        value_name = "S",
        value_parser = numerals::from_zero::<u64>,
        default_value_t = 0,
        allow_hyphen_values = true,
        help_heading = INPUTS
    )]
    seed: u64,
    /// Do not time the pass with all logits in memory
    #[arg(long, help_heading = TIMING)]
    no_baseline: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    F64,
    Bf16,
    F16,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum PassName {
    Forward,
    ForwardBackward,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum DataName {
    Dense,
    Trained,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Order {
    Frequency,
    Random,
}

impl Sizes {
    /// How many numbers hidden states and classifier hold.
    fn numbers(self) -> u128 {
        (self.tokens as u128 + self.vocabulary as u128) * self.hidden as u128
    }
}

impl Bench {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
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
        }
        match self.dtype {
            Dtype::F32 => self.run_in::<f32>(global, Precision::F32),
            Dtype::F64 => self.run_in::<f64>(global, Precision::F64),
            Dtype::Bf16 => self.run_in::<bf16>(global, Precision::Bf16),
            Dtype::F16 => self.run_in::<f16>(global, Precision::F32),
        }
    }

    fn options(&self) -> Result<LinearCrossEntropy, Failure> {
        let mut builder = LinearCrossEntropy::builder()
            .memory_budget(self.memory_budget)
            .backward(self.backward.into())
            .tail_correction(self.tail_correction);
        if let Some(FilterName(filter)) = self.filter {
            builder = builder.filter(filter);
        }
        Ok(builder.build()?)
    }

    fn backward(&self) -> bool {
        self.pass == PassName::ForwardBackward
    }

    /// The same loss without its filter.
    fn unfiltered(&self) -> Result<LinearCrossEntropy, Failure> {
        let builder = LinearCrossEntropy::builder().memory_budget(self.memory_budget);
        Ok(builder.backward(surprisal::Backward::Recompute).build()?)
    }

    fn sizes(&self) -> Sizes {
        Sizes { tokens: self.tokens, hidden: self.hidden, vocabulary: self.vocab }
    }

    fn run_in<T>(&self, global: &Global, precision: Precision) -> Result<(), Failure>
    where
        T: Number,
        T::Real: LinalgScalar,
    {
        let place = Place::open(self.device)?;
        let (loss, sizes) = (self.options()?, self.sizes());
        let with_baseline = self.check_memory::<T>(&loss)?;
        let pass = if self.backward() { Pass::LossAndGradients } else { Pass::Forward };
        let steps = Steps::new(3 + self.repetitions, global.quiet);

        steps.begin("making data");
        let data: Data<T> = match self.data {
            DataName::Dense => Data::dense(sizes, self.seed),
            DataName::Trained => Data::trained(sizes, self.order != Some(Order::Random), self.seed),
        };
        steps.begin("counting the softmax");
        let sparsity = Sparsity::of(&data, sizes);
        let zero = <T::Real as Element>::from_f64(0.0);
        let mut gradients = self.backward().then(|| {
            let zeros = |array: &Array2<T>| Array2::from_elem(array.dim(), zero);
            (zeros(&data.hidden), zeros(&data.classifier))
        });
        let mut baseline = match with_baseline {
            true => Some(Baseline::new::<T>(sizes, self.backward())?),
            false => None,
        };

        let inputs = Inputs::new(&data.hidden, &data.classifier, &data.targets);
        let plan = loss.plan(&Shapes::of(&inputs), pass)?;
        let isa = Isa::current()?;
        let peak = || parallel::on_each_thread(|| isa.peak_flops(precision)).iter().sum::<f64>();

        let mut resident = Resident::new(&place, &data, self.backward())?;
        let on_device = resident.is_some();
        let mut pass = |gradients: Option<&mut Pair<T::Real>>| match &mut resident {
            Some(resident) => resident.timed(&loss),
            None => timed(&loss, &inputs, gradients),
        };

        steps.begin("warming up");
        let mut last = pass(gradients.as_mut())?;
        let (mut seconds, mut baseline_seconds, mut peaks) = (Vec::new(), Vec::new(), vec![peak()]);
        for repetition in 0..self.repetitions {
            steps.begin("timing");
            last = pass(gradients.as_mut())?;
            seconds.push(last.seconds);
            peaks.push(peak());
            if let Some(baseline) = &mut baseline
                && repetition < BASELINE_REPETITIONS
            {
                baseline_seconds.push(baseline.run(&data, gradients.as_mut())?);
            }
        }
        let errors = match &mut gradients {
            Some(gradients) if self.errors => {
                timed(&loss, &inputs, Some(gradients))?;
                let filtered = gradients.clone();
                timed(&self.unfiltered()?, &inputs, Some(gradients))?;
                let hidden = difference(&filtered.0, &gradients.0);
                Some((hidden, difference(&filtered.1, &gradients.1)))
            }
            _ => None,
        };
        steps.end();

        let [median, least, most] = spread(&mut seconds);
        let [peak, ..] = spread(&mut peaks);
        let (mut operations, mut workspace) = (plan.operations as f64, plan.workspace_bytes);
        let mut strategy = plan.strategy.map_or("forward", |strategy| strategy.name());
        let shape = [sizes.tokens, sizes.hidden, sizes.vocabulary];
        if let Some(there) = place.workspace(shape, [size_of::<T>(); 2], self.backward())? {
            let [rows, hidden, vocabulary] = shape.map(|size| size as f64);
            operations = if self.backward() { 8.0 } else { 2.0 } * rows * hidden * vocabulary;
            strategy = if self.backward() { "recompute" } else { "forward" };
            workspace = there;
        }
        // The peak is the processor's.
        let peak = (!on_device).then_some(peak);
        let rate = operations / median.max(1e-9);
        let mut report = Report::new();
        report.add("tokens", self.tokens, self.tokens.to_string());
        report.add("hidden", self.hidden, self.hidden.to_string());
        report.add("vocabulary", self.vocab, self.vocab.to_string());
        report.add("dtype", T::NAME, T::NAME);
        report.add("pass", name(self.pass), name(self.pass));
        report.add("data", name(self.data), name(self.data));
        report.add("isa", isa.name(), isa.name());
        report.add("threads", parallel::threads(), parallel::threads().to_string());
        if let Some(adapter) = place.adapter() {
            report.add("adapter", adapter, adapter);
        }
        let text = format!(
            "{} ({} to {} over {} passes)",
            duration(median),
            duration(least),
            duration(most),
            self.repetitions
        );
        report.add("seconds", number(median), text);
        report.add_json("seconds_least", number(least));
        report.add_json("seconds_most", number(most));
        let gflops = |rate: f64| format!("{} GFLOP/s", significant(rate / 1e9, 3));
        report.add("gflops", number(rate / 1e9), gflops(rate));
        let text = peak.map_or_else(|| "-".into(), gflops);
        report.add("peak_gflops", optional(peak.map(|peak| peak / 1e9)), text);
        let fraction = peak.map(|peak| rate / peak);
        let text = fraction.map_or_else(
            || "-".into(),
            |share| format!("{} of what the threads can do without memory", percent(share)),
        );
        report.add("fraction_of_peak", optional(fraction), text);
        report.add("strategy", strategy, of_strategy(strategy));
        report.add("workspace_bytes", workspace, bytes(workspace));
        if self.filter.is_some() {
            let text =
                last.kept.map(|kept| format!("{} of the blocks of 32 classes", percent(kept)));
            report.add("tiles_kept", optional(last.kept), text.unwrap_or_else(|| "-".into()));
            let dropped = last.dropped.map(|mass| mass.largest);
            let text =
                format!("{} of a row's probability at most", significant_or(dropped, 2, "-"));
            report.add("dropped_mass_max", optional(dropped), text);
            if self.errors {
                for (key, error) in [
                    ("error_hidden", errors.map(|(hidden, _)| hidden)),
                    ("error_classifier", errors.map(|(_, classifier)| classifier)),
                ] {
                    let text = format!("{} of its norm", significant_or(error, 2, "-"));
                    report.add(key, optional(error), text);
                }
            }
        }
        let text =
            format!("{} of all probabilities are at least 2^-12", percent(sparsity.at_least));
        report.add("softmax_at_least_2e_12", number(sparsity.at_least), text);
        let text = match sparsity.at_50 {
            Some(mean) => format!("{}, of the 50th likeliest class", significant(mean, 3)),
            None => "-".into(),
        };
        report.add("mean_probability_at_50", optional(sparsity.at_50), text);
        let text = format!("{} classes have a mean probability of at least 2^-12", sparsity.above);
        report.add("tokens_above_2e_12", sparsity.above, text);
        let baseline_median = baseline.map(|_| spread(&mut baseline_seconds)[0]);
        let text = match baseline_median {
            Some(seconds) => format!(
                "{} with all logits in memory ({} times the time)",
                duration(seconds),
                significant(seconds / median.max(1e-9), 3)
            ),
            None => "-".into(),
        };
        report.add("baseline_seconds", optional(baseline_median), text);
        report.print(global.json)
    }

    /// Whether the baseline fits, where the rest does.
    fn check_memory<T>(&self, loss: &LinearCrossEntropy) -> Result<bool, Failure>
    where
        T: Number,
        T::Real: LinalgScalar,
    {
        let (sizes, real_bytes) = (self.sizes(), size_of::<T::Real>());
        let shapes = Shapes::new(sizes.tokens, sizes.hidden, sizes.vocabulary)
            .real_bytes(real_bytes)
            .bf16(T::NAME == "bf16");
        let pass = if self.backward() { Pass::LossAndGradients } else { Pass::Forward };
        let workspace = loss.plan(&shapes, pass)?.workspace_bytes as u128;
        let gradients = if self.backward() { real_bytes as u128 } else { 0 };
        let targets = (sizes.tokens as u128 + 2 * sizes.vocabulary as u128) * 4;
        let needed = sizes.numbers() * (size_of::<T>() as u128 + gradients) + workspace + targets;
        let free = memory::free();
        if needed > free || !memory::given(needed) {
            let gibibytes = |bytes: u128| bytes as f64 / f64::from(1 << 30);
            let expected = match needed > free {
                true => format!("at most the {:.1} GiB that are free", gibibytes(free)),
                false => "no more than the system gives".into(),
            };
            return Err(Failure::Input(format!(
                "--tokens {}, --hidden {} and --vocab {} need {:.1} GiB, expected {expected}",
                sizes.tokens,
                sizes.hidden,
                sizes.vocabulary,
                gibibytes(needed)
            )));
        }
        let baseline = Baseline::<T::Real>::bytes::<T>(sizes, self.backward());
        let fits = baseline <= memory::total() / 4
            && needed + baseline <= free
            && memory::given(needed + baseline);
        Ok(fits && !self.no_baseline && self.device == Device::Cpu)
    }
}

/// ‖a − b‖ / ‖b‖.
fn difference<R: surprisal::Real>(a: &Array2<R>, b: &Array2<R>) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        off += (a.to_f64() - b.to_f64()).powi(2);
        all += b.to_f64().powi(2);
    }
    (off / all).sqrt()
}

/// The median, the least and the most.
fn spread(numbers: &mut [f64]) -> [f64; 3] {
    numbers.sort_by(f64::total_cmp);
    let (middle, last) = (numbers.len() / 2, numbers.len() - 1);
    let median = match numbers.len() % 2 {
        0 => f64::midpoint(numbers[middle - 1], numbers[middle]),
        _ => numbers[middle],
    };
    [median, numbers[0], numbers[last]]
}

/// The name of an argument's value.
fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}

/// What is being done, on a terminal.
struct Steps(ProgressBar);

impl Steps {
    fn new(count: usize, quiet: bool) -> Self {
        if quiet {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len}  {msg}");
        // A bar draws on stderr, and only where that is a terminal.
        let bar = ProgressBar::new(count as u64);
        Self(bar.with_style(style.expect("a template that is right")))
    }

    fn begin(&self, what: &'static str) {
        self.0.set_message(what);
        self.0.inc(1);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
