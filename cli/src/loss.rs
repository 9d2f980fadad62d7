//! `surprisal loss`: the fused loss of arrays on disk.

use clap::{Args, ValueEnum};
use ndarray::{Array1, Array2, ArrayViewMut1, ArrayViewMut2};
use serde_json::Map;
use std::path::{Path, PathBuf};
use std::time::Instant;

use surprisal::io::{NpyElement, write_npy};
use surprisal::{
    Backward, Filter, Forward, Gradients, Inputs, LinearCrossEntropy, Matrix, MatrixMut, Pass,
    Real, Reduction, Shapes, Statistic, Targets, Upstream, VectorMut,
};

use crate::arrays::{Opened, check_rows};
use crate::device::{Computed, Device, Place};
use crate::output::{make_directory, number, optional, print};
use crate::{Failure, Global};

/// Cross-entropy of hidden states against a classifier, or of logits, without storing the logits
///
/// Arrays are FILE.npy or FILE.safetensors:TENSOR. float64 files are computed in float64.
#[derive(Args)]
pub struct Loss {
    /// Hidden states [N,D]
    #[arg(long, value_name = "E", requires = "classifier", required_unless_present = "logits")]
    hidden: Option<String>,
    /// Classifier [V,D]
    #[arg(long, value_name = "C", requires = "hidden")]
    classifier: Option<String>,
    /// Logits [N,V], in place of hidden states and classifier
    #[arg(long, value_name = "L", conflicts_with_all = ["hidden", "classifier"])]
    logits: Option<String>,
    /// Target classes [N], integers
    #[arg(long, value_name = "Y", required_unless_present = "soft_targets")]
    targets: Option<String>,
    /// Target distributions [N,V]
    #[arg(long, value_name = "P", conflicts_with_all = ["targets", "ignore_index"])]
    soft_targets: Option<String>,
    /// Bias [V]
    #[arg(long, value_name = "B")]
    bias: Option<String>,
    /// Factor on the logits, after the bias
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_hyphen_values = true)]
    scale: f64,
    /// Squeeze the logits into (-X, X) by a tanh, after the scale
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    softcap: Option<f64>,
    /// Share of the target that is spread over all classes, 0 to 1
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_hyphen_values = true)]
    label_smoothing: f64,
    /// Weight of the squared log-sum-exp
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_hyphen_values = true)]
    z_loss: f64,
    /// Weights of the classes [V]
    #[arg(long, value_name = "W")]
    class_weights: Option<String>,
    /// Weights of the rows [N]
    #[arg(long, value_name = "T")]
    token_weights: Option<String>,
    /// Target of rows that take no part [default: -100]
    #[arg(long, value_name = "I", allow_hyphen_values = true)]
    ignore_index: Option<i64>,
    /// How the rows become one number
    #[arg(long, value_enum, default_value_t = ReductionName::Mean)]
    reduction: ReductionName,
    /// Divide the sum by this number
    #[arg(long, value_name = "X", conflicts_with = "reduction", allow_hyphen_values = true)]
    divisor: Option<f64>,
    /// Upstream gradient of each row's loss [N], with --reduction none and --grad
    #[arg(long, value_name = "U", requires = "grad")]
    upstream: Option<String>,
    /// How the gradients are computed
    #[arg(long, value_enum, default_value_t = BackwardName::Auto)]
    backward: BackwardName,
    /// Bytes of scratch that the computation may take
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = LinearCrossEntropy::DEFAULT_MEMORY_BUDGET,
        allow_hyphen_values = true
    )]
    memory_budget: usize,
    /// Leave probabilities below this out of the gradients, 0 to 1; auto is a 32nd of the input
    /// type's epsilon
    #[arg(long, value_name = "auto|EPS", allow_hyphen_values = true)]
    filter: Option<FilterName>,
    /// The gradients that the filter acts on [default: all]
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        requires = "filter",
        hide_possible_values = true
    )]
    filter_gradients: Vec<GradientName>,
    /// Where it is computed
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Compute float64 files in float32
    #[arg(long)]
    f32: bool,
    /// Write NAME.npy for each: loss, lse, logprob, entropy, varentropy, argmax, rank, topk:K
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "out")]
    emit: Vec<Emit>,
    /// Write grad_hidden.npy, grad_classifier.npy and, with a bias, grad_bias.npy (or
    /// grad_logits.npy)
    #[arg(long, requires = "out")]
    grad: bool,
    /// Directory of the files written
    #[arg(long, value_name = "DIR")]
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

/// The arrays of a call, as they were opened.
struct Arrays {
    hidden: Option<Opened>,
    classifier: Option<Opened>,
    logits: Option<Opened>,
    targets: Option<Array1<i64>>,
    soft_targets: Option<Opened>,
    bias: Option<Opened>,
    class_weights: Option<Opened>,
    token_weights: Option<Opened>,
    upstream: Option<Opened>,
}

impl Loss {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        if self.upstream.is_some() && self.reduction != ReductionName::None {
            let what = "--upstream goes with --reduction none: give that too";
            return Err(Failure::Input(what.into()));
        }
        if self.emit.iter().filter(|emit| matches!(emit, Emit::TopK(_))).count() > 1 {
            return Err(Failure::Input("--emit names topk twice, expected one K".into()));
        }
        let targets = Opened::optional("--targets", self.targets.as_ref())?;
        let mut arrays = Arrays {
            hidden: Opened::optional("--hidden", self.hidden.as_ref())?,
            classifier: Opened::optional("--classifier", self.classifier.as_ref())?,
            logits: Opened::optional("--logits", self.logits.as_ref())?,
            targets: targets.as_ref().map(Opened::classes).transpose()?,
            soft_targets: Opened::optional("--soft-targets", self.soft_targets.as_ref())?,
            bias: Opened::optional("--bias", self.bias.as_ref())?,
            class_weights: Opened::optional("--class-weights", self.class_weights.as_ref())?,
            token_weights: Opened::optional("--token-weights", self.token_weights.as_ref())?,
            upstream: Opened::optional("--upstream", self.upstream.as_ref())?,
        };
        check_rows([
            (arrays.hidden.as_ref().or(arrays.logits.as_ref()), 1),
            (targets.as_ref(), 0),
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

    fn options(&self) -> Result<LinearCrossEntropy, Failure> {
        let mut builder = LinearCrossEntropy::builder()
            .scale(self.scale)
            .label_smoothing(self.label_smoothing)
            .z_loss(self.z_loss)
            .ignore_index(Some(self.ignore_index.unwrap_or(-100)))
            .memory_budget(self.memory_budget)
            .entropy(true)
            .varentropy(self.emits(|emit| matches!(emit, Emit::Statistic("varentropy", _))))
            .rank(self.emits(|emit| matches!(emit, Emit::Rank)))
            .backward(self.backward.into())
            .reduction(match (self.divisor, self.reduction) {
                (Some(divisor), _) => Reduction::Divide(divisor),
                (None, ReductionName::None) => Reduction::None,
                (None, ReductionName::Mean) => Reduction::Mean,
                (None, ReductionName::Sum) => Reduction::Sum,
            });
        if let Some(softcap) = self.softcap {
            builder = builder.softcap(softcap);
        }
        if let Some(FilterName(filter)) = self.filter {
            let of =
                |name| self.filter_gradients.is_empty() || self.filter_gradients.contains(&name);
            let (hidden, classifier) = (of(GradientName::Hidden), of(GradientName::Classifier));
            builder =
                builder.filter(filter).filter_gradients(hidden, classifier, of(GradientName::Bias));
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

    fn run_in<R>(&self, global: &Global, arrays: &Arrays, place: &Place) -> Result<(), Failure>
    where
        R: Computed + NpyElement,
        for<'a> MatrixMut<'a>: From<ArrayViewMut2<'a, R>>,
        for<'a> VectorMut<'a>: From<ArrayViewMut1<'a, R>>,
    {
        let loss = self.options()?;
        let soft;
        let targets = match (&arrays.targets, &arrays.soft_targets) {
            (Some(classes), _) => Targets::from(classes),
            (None, Some(weights)) => {
                soft = weights.matrix()?;
                Targets::Soft(soft)
            }
            (None, None) => return Err(Failure::Input("--targets is missing".into())),
        };
        let mut inputs = match (&arrays.hidden, &arrays.classifier, &arrays.logits) {
            (Some(hidden), Some(classifier), _) => {
                Inputs::from_matrices(hidden.matrix()?, classifier.matrix()?, targets)?
            }
            (_, _, Some(logits)) => Inputs::from_logits_matrix(logits.matrix()?, targets)?,
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
        let out = self.out.as_deref().map(make_directory).transpose()?;
        let (forward, seconds, pass) = match (&out, self.grad) {
            (Some(out), true) => {
                let (forward, seconds) = self.with_gradients(&loss, arrays, &inputs, out, place)?;
                (forward, seconds, Pass::LossAndGradients)
            }
            _ => {
                let start = Instant::now();
                let forward = R::forward(place, &loss, &inputs)?;
                (forward, start.elapsed().as_secs_f64(), Pass::Forward)
            }
        };
        if let Some(out) = &out {
            self.write(&forward, out)?;
        }

        let shapes = Shapes::of(&inputs);
        let plan = loss.plan(&shapes, pass)?;
        let (mut operations, mut workspace) = (plan.operations as f64, plan.workspace_bytes);
        let mut strategy = plan.strategy.map_or("forward", |strategy| strategy.name());
        let bytes = |array: &Option<Opened>| match array {
            Some(array) => array.matrix().map(|matrix| if matrix.epsilon() > 1e-4 { 2 } else { 4 }),
            None => Ok(4),
        };
        let bytes = [bytes(&arrays.hidden)?, bytes(&arrays.classifier)?];
        let sizes = [shapes.rows, shapes.hidden, shapes.vocabulary];
        let gradients = pass != Pass::Forward;
        if let Some(there) = place.workspace(sizes, bytes, gradients)? {
            let [rows, hidden, vocabulary] = sizes.map(|size| size as f64);
            operations = if gradients { 8.0 } else { 2.0 } * rows * hidden * vocabulary;
            strategy = if gradients { "recompute" } else { "forward" };
            workspace = there;
        }
        let surprisal = forward.mean_surprisal();
        let scalar = match self.reduction {
            ReductionName::None if self.divisor.is_none() => None,
            _ => Some(forward.loss().to_f64()),
        };
        let mut result = Map::new();
        let mut add = |key: &str, value| result.insert(key.into(), value);
        add("loss", optional(scalar));
        add("perplexity", optional(surprisal.map(f64::exp)));
        add("bits_per_token", optional(surprisal.map(|nats| nats / std::f64::consts::LN_2)));
        add("tokens", forward.kept().into());
        add("ignored", (forward.len() - forward.kept()).into());
        add("accuracy", optional(forward.accuracy()));
        add("mean_entropy", optional(forward.mean_entropy()));
        add("seconds", number(seconds));
        let kept = forward.kept() as f64 / forward.len().max(1) as f64;
        add("gflops", number(operations * kept / seconds.max(1e-9) / 1e9));
        add("workspace_bytes", workspace.into());
        add("strategy", strategy.into());
        if let Some(adapter) = place.adapter() {
            add("adapter", adapter.into());
        }
        if let Some((kept, (largest, _))) = forward.tiles_kept().zip(forward.dropped_mass()) {
            add("tiles_kept", number(kept));
            add("dropped_mass_max", number(largest));
        }
        print(global.json, &result)
    }

    /// Loss and gradients, the latter written to files, with the seconds that computing took.
    fn with_gradients<R>(
        &self,
        loss: &LinearCrossEntropy,
        arrays: &Arrays,
        inputs: &Inputs<'_>,
        out: &Path,
        place: &Place,
    ) -> Result<(Forward, f64), Failure>
    where
        R: Computed + NpyElement,
        for<'a> MatrixMut<'a>: From<ArrayViewMut2<'a, R>>,
        for<'a> VectorMut<'a>: From<ArrayViewMut1<'a, R>>,
    {
        let zero = R::from_f64(0.0);
        let like =
            |array: &Opened| Ok::<_, Failure>(Array2::from_elem(array.matrix()?.dim(), zero));
        let rows: Option<Array1<R>> = match &arrays.upstream {
            Some(upstream) => {
                let vector = upstream.per_row()?;
                Some((0..vector.len()).filter_map(|i| vector.get(i)).map(R::from_f64).collect())
            }
            None => None,
        };
        let upstream = match &rows {
            Some(rows) => Upstream::rows(rows.view()),
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
            let forward = R::loss_and_gradients(place, loss, inputs, &upstream, gradients)?;
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
        let forward = R::loss_and_gradients(place, loss, inputs, &upstream, gradients)?;
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
                    let values = forward.statistic(statistic)?;
                    write_npy(&out.join(format!("{name}.npy")), values.view())?;
                }
                Emit::Argmax => write_npy(&out.join("argmax.npy"), forward.argmax().view())?,
                Emit::Rank => write_npy(&out.join("rank.npy"), forward.rank()?.view())?,
                Emit::TopK(_) => {
                    let (classes, log_probabilities) = forward.top_k();
                    write_npy(&out.join("topk.npy"), classes.view())?;
                    write_npy(&out.join("topk_logprob.npy"), log_probabilities.view())?;
                }
            }
        }
        Ok(())
    }
}
