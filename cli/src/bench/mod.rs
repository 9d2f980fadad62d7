//! `surprisal bench`: how fast the fused loss is here, beside what the processor can do.

mod arguments;
mod baseline;
mod data;
mod machine;
mod memory;
mod outcome;
mod passes;
mod profile;
mod record;
mod resident;
mod roofline;
mod sparsity;
mod summary;
mod tables;
mod trained;

use half::{bf16, f16};
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::{Array2, LinalgScalar};

use surprisal::{Element, Inputs, Isa, LinearCrossEntropy, Precision, Shapes};

pub use self::arguments::Bench;
use self::arguments::{DataName, Dtype, Order};
use self::baseline::Baseline;
pub use self::baseline::product;
use self::data::{Data, Number};
use self::outcome::Outcome;
use self::passes::{Pair, timed};
use self::profile::{LARGE, SMALL};
use self::resident::Resident;
use self::roofline::{Roof, Streams};
use self::sparsity::Sparsity;
use self::summary::Summary;
use crate::device::{Device, Place};
use crate::output::note;
use crate::{Failure, Global, parallel};

/// The most passes of the baseline: it is there for the ratio.
const BASELINE_REPETITIONS: usize = 3;

impl Bench {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        if let Some(folder) = &self.tables {
            return tables::print(folder, global.json);
        }
        self.check()?;
        if let Some(folder) = &self.record {
            record::make(folder)?;
        }
        match self.dtype {
            Dtype::F32 => self.run_in::<f32>(global, Precision::F32),
            Dtype::F64 => self.run_in::<f64>(global, Precision::F64),
            Dtype::Bf16 => self.run_in::<bf16>(global, Precision::Bf16),
            Dtype::F16 => self.run_in::<f16>(global, Precision::F32),
        }
    }

    fn run_in<T>(&self, global: &Global, precision: Precision) -> Result<(), Failure>
    where
        T: Number,
        T::Real: LinalgScalar,
    {
        let place = Place::open(self.device)?;
        let (loss, sizes) = (self.options()?, self.sizes());
        let with_baseline = self.check_memory::<T>(&loss)?;
        let steps = Steps::new(3 + self.repetitions, global.quiet);

        steps.begin("making data");
        let by_frequency = self.order != Some(Order::Random);
        let data: Data<T> = match self.data {
            DataName::Dense => Data::dense(sizes, self.seed),
            DataName::TrainedLarge => Data::trained(&LARGE, sizes, by_frequency, self.seed),
            DataName::TrainedSmall => Data::trained(&SMALL, sizes, by_frequency, self.seed),
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
        let plan = loss.plan(&Shapes::of(&inputs), self.library_pass())?;
        let isa = Isa::current()?;
        let peak = || parallel::on_each_thread(|| isa.peak_flops(precision)).iter().sum::<f64>();

        let mut resident = Resident::new(&place, &data, self.backward())?;
        let on_device = resident.is_some();
        let mut pass = |gradients: Option<&mut Pair<T::Real>>| match &mut resident {
            Some(resident) => resident.timed(&loss),
            None => timed(&loss, &inputs, gradients),
        };

        let moved = self.moved::<T>();
        let mut streams = self.measures_memory().then(|| Streams::new(isa, moved));
        let sample = |streams: &mut Option<Streams>| {
            if let Some(streams) = streams {
                streams.sample();
            }
        };

        steps.begin("warming up");
        sample(&mut streams);
        let mut last = pass(gradients.as_mut())?;
        let (mut seconds, mut baseline_seconds, mut peaks) = (Vec::new(), Vec::new(), vec![peak()]);
        for repetition in 0..self.repetitions {
            steps.begin("timing");
            last = pass(gradients.as_mut())?;
            seconds.push(last.seconds);
            peaks.push(peak());
            if let Some(streams) = streams.as_mut().filter(|streams| streams.may_interrupt()) {
                streams.sample();
            }
            if let Some(baseline) = &mut baseline
                && repetition < BASELINE_REPETITIONS
            {
                baseline_seconds.push(baseline.run(&data, gradients.as_mut())?);
            }
        }
        sample(&mut streams);
        sample(&mut streams);
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

        let peak = Summary::of(&mut peaks).median;
        let mut outcome = Outcome {
            dtype: T::NAME,
            isa,
            place: &place,
            seconds: Summary::of(&mut seconds),
            // The peak is the processor's.
            peak: (!on_device).then_some(peak),
            operations: plan.operations as f64,
            strategy: plan.strategy.map_or("forward", |strategy| strategy.name()),
            workspace: plan.workspace_bytes,
            last,
            errors,
            sparsity,
            baseline: baseline.map(|_| Summary::of(&mut baseline_seconds).median),
            roof: None,
        };
        let shape = [sizes.tokens, sizes.hidden, sizes.vocabulary];
        if let Some(there) = place.workspace(shape, [size_of::<T>(); 2], self.backward())? {
            let [rows, hidden, vocabulary] = shape.map(|size| size as f64);
            let factor = if self.backward() { 8.0 } else { 2.0 };
            outcome.operations = factor * rows * hidden * vocabulary;
            outcome.strategy = if self.backward() { "recompute" } else { "forward" };
            outcome.workspace = there;
        }
        outcome.roof = streams.map(|streams| Roof {
            bandwidth: streams.bandwidth(),
            operations: outcome.operations,
            bytes: moved as f64,
            peak,
        });
        let report = outcome.report(self);
        if let Some(folder) = &self.record {
            let file = record::write(folder, self, isa, &report)?;
            note(global.quiet, &format!("wrote {}", file.display()));
        }
        report.print(global.json)
    }

    /// Bytes of what a pass reads and writes: hidden states and classifier, targets, losses, gradients.
    fn moved<T: Number>(&self) -> u128 {
        let sizes = self.sizes();
        let gradients = if self.backward() { size_of::<T::Real>() as u128 } else { 0 };
        let of_a_row = size_of::<u32>() + size_of::<f64>();
        sizes.numbers() * (size_of::<T>() as u128 + gradients)
            + sizes.tokens as u128 * of_a_row as u128
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
        let workspace = loss.plan(&shapes, self.library_pass())?.workspace_bytes as u128;
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
