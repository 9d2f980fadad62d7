//! One checked call: the problem, where its arrays are, and how it is cut.

use std::ops::Range;

use super::arrays::Pieces;
use super::context::{Context, Part};
use super::plan::{DevicePlan, DeviceShapes};
use super::recorder::Recorder;
use super::shader::{Beside, Divergences, Kernel, Kind, Params, Weighing};
use super::singles::Singles;
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;
use crate::loss::engine::filter_rule::FilterRule;
use crate::loss::engine::grid::TILE_COLUMNS;
use crate::loss::engine::problem::{Problem, Row};
use crate::loss::engine::tile::Weights;
use crate::loss::row_loss::Needs;
use crate::loss::source::Source;
use crate::loss::{Companion, Filter, Inputs, LinearCrossEntropy, Targets};
use crate::softmax::divergence::Form;

/// The class that no target has.
pub(super) const NONE: u32 = u32::MAX;

pub(super) struct Call<'c, 'a> {
    pub(super) context: &'c Context,
    pub(super) problem: Problem<'a, f32>,
    pub(super) plan: DevicePlan,
    pub(super) hidden: Pieces,
    pub(super) classifier: Pieces,
    bias: Option<Part>,
    class_weights: Option<Part>,
    companion: Option<Part>,
    /// The candidates of all kept rows, where the fold leaves them out.
    pub(super) listed: Option<Part>,
    /// The second head, over the same rows.
    pub(super) second: Option<Box<Self>>,
    pub(super) singles: Singles,
    /// The first row's.
    scale: f32,
    kernel: Kernel,
}

/// Room on the device for what stands beside the logits of some rows and columns.
pub(super) struct Dense {
    weights: Option<Part>,
    companions: Option<Part>,
}

/// Some of a call's rows, as they are listed on the device, all of one binding of the hidden states.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) rows: Range<usize>,
    pub(super) hidden: Range<usize>,
}

/// The rows of a sweep over both heads: those of the hidden states, and what the second head's kernel reads of
/// each.
pub(super) struct SweptRows {
    pub(super) hidden: Vec<usize>,
    pub(super) words: Part,
}

/// A GPU does not do everything that the processor does.
pub(super) fn check(loss: &LinearCrossEntropy, inputs: &Inputs<'_>) -> Result<()> {
    let conflict = |what: &str| Err(Error::Conflict { what: what.into() });
    if inputs.is_double() {
        return conflict("the GPU computes no f64, expected matrices of f32, bf16 or f16");
    }
    if matches!(inputs.source, Source::Given(_)) {
        return conflict(
            "the GPU computes no loss of given logits, expected hidden states and a classifier",
        );
    }
    if inputs.shard.is_some() || inputs.target_logits.is_some() {
        return conflict("the GPU computes no shards, expected the whole vocabulary");
    }
    if inputs.floors.is_some() {
        return conflict("the GPU computes no truncated rows, expected no floors or the processor");
    }
    if loss.statistics.top_k > 0 {
        return conflict("the GPU computes no top k, expected the top 1 or the processor");
    }
    if loss.filter.is_some() {
        if !matches!(inputs.targets, Targets::Hard(_)) {
            return conflict("a filter on the GPU goes with hard targets");
        }
        if loss.tail_correction {
            return conflict("a filter on the GPU goes without a tail correction");
        }
        if matches!(loss.filter, Some(Filter::Mass(_))) {
            return conflict("a filter on the GPU goes by single probabilities, not by mass");
        }
    }
    if inputs.second_head().is_some() {
        if inputs.candidates.is_some() {
            return conflict(
                "a second head on the GPU goes without candidates, expected the processor",
            );
        }
        if loss.needs.companion && loss.needs.diverges() {
            return conflict(
                "the GPU takes the mean of a second head's logits or divergences from it, expected one of them or \
                 the processor",
            );
        }
        if divergences(&loss.needs).is_none() {
            return conflict(
                "the GPU sums divergences from one mixture of both heads at a time, expected one Jensen–Shannon or \
                 skew divergence or the processor",
            );
        }
        if matches!(inputs.targets, Targets::Sparse { .. }) {
            return conflict(
                "a second head on the GPU goes without sparse targets, expected hard or dense ones",
            );
        }
    }
    inputs.check_whole()
}

/// The divergences that are needed, with the weights of the first and the second head in the mixture; `None` where
/// there are several of these.
fn divergences(needs: &Needs) -> Option<(Divergences, [f32; 2])> {
    let (mut all, mut own) = (Divergences::default(), [1.0, 0.0]);
    for (divergence, _) in needs.divergences.iter() {
        match divergence.form::<f32>() {
            Form::Nothing => {}
            Form::KullbackLeibler { reverse: false } => all.forward = true,
            Form::KullbackLeibler { reverse: true } => all.reverse = true,
            Form::Mixture { weights, of } => {
                if all.mixture.is_some_and(|other| (other, own) != (of, weights)) {
                    return None;
                }
                (all.mixture, own) = (Some(of), weights);
            }
            Form::TotalVariation => all.variation = true,
        }
    }
    Some((all, own))
}

/// What stands beside the logits, those of single classes left out.
fn beside(problem: &Problem<'_, f32>) -> Beside {
    match (&problem.companion, &problem.source) {
        (Some(Companion::Classes(_)), _) => Beside::Classes,
        (Some(Companion::Entries(_)), _) => Beside::Entries,
        // What is there is made on the device.
        (Some(Companion::Logits(_)), _) if problem.loss.needs.companion => Beside::Entries,
        (Some(Companion::Logits(_)), _) => {
            Beside::Second(divergences(&problem.loss.needs).unwrap_or_default().0)
        }
        (_, Source::Given(_)) => Beside::Given,
        (None, _) if problem.candidates.as_ref().is_some_and(|listed| listed.others) => {
            Beside::Others
        }
        (None | Some(Companion::Listed { .. }), _) => Beside::Nothing,
    }
}

impl<'c, 'a> Call<'c, 'a> {
    pub(super) fn new(
        context: &'c Context,
        problem: Problem<'a, f32>,
        plan: DevicePlan,
        hidden: Pieces,
        classifier: Pieces,
        second: Option<Box<Self>>,
    ) -> Result<Self> {
        let storage = |values: &[u32], what: &str| {
            let (need, have) =
                (4 * values.len() as u64, context.limits.max_storage_buffer_binding_size);
            if need > have {
                return Err(Error::Gpu(Failure::LimitExceeded { what: what.into(), need, have }));
            }
            let bytes = bytemuck::cast_slice(values);
            Ok(Part::whole(&context.filled(bytes, wgpu::BufferUsages::STORAGE)))
        };
        let bias = problem
            .bias
            .as_ref()
            .map(|bias| storage(bytemuck::cast_slice(bias), "the bias, in bytes,"));
        let bias = bias.transpose()?;
        let needs = &problem.loss.needs;
        let weighing = match &problem.targets {
            Targets::Soft(_) => Weighing::Dense,
            _ if !needs.weighs() => Weighing::None,
            _ if needs.smoothing() > 0.0 && problem.class_weights.is_some() => Weighing::Classes,
            _ => Weighing::Uniform,
        };
        let class_weights = match (&problem.class_weights, weighing) {
            (Some(weights), Weighing::Classes) => {
                Some(storage(bytemuck::cast_slice(weights), "the class weights, in bytes,")?)
            }
            _ => None,
        };
        let companion = match &problem.companion {
            Some(Companion::Classes(values)) => {
                let values = values.to_vec::<f32>();
                Some(storage(bytemuck::cast_slice(&values), "the companion, in bytes,")?)
            }
            _ => None,
        };
        let listed = match (beside(&problem), &problem.candidates) {
            (Beside::Others, Some(listed)) => {
                let of_row = |row: &Row| listed.of(row.output).iter().copied();
                let all: Vec<u32> = problem.rows.iter().flat_map(of_row).collect();
                Some(storage(bytemuck::cast_slice(&all), "the candidates, in bytes,")?)
            }
            _ => None,
        };
        let scale_of = |row: &Row| problem.transform_of(row).scale as f32;
        let scale = problem.rows.first().map_or(problem.loss.transform.scale as f32, scale_of);
        let kernel = Kernel {
            kind: Kind::Patch,
            tile: plan.tile,
            hidden: hidden.format,
            classifier: classifier.format,
            aligned: problem.width.is_multiple_of(4),
            bias: bias.is_some(),
            softcap: problem.loss.transform.softcap.is_some(),
            scales: problem.rows.iter().any(|row| scale_of(row) != scale),
            weighing,
            beside: beside(&problem),
            filter: problem.filter.is_some(),
            zero_at_target: problem.zero_at_target,
            immediates: context.immediates,
        };
        Ok(Self {
            context,
            singles: Singles::new(&problem),
            problem,
            plan,
            hidden,
            classifier,
            bias,
            class_weights,
            companion,
            listed,
            second,
            scale,
            kernel,
        })
    }

    pub(super) fn kernel(&self, kind: Kind) -> Kernel {
        self.kernel.of_kind(kind)
    }

    pub(super) fn weighing(&self) -> Weighing {
        self.kernel.weighing
    }

    pub(super) fn beside(&self) -> Beside {
        self.kernel.beside
    }

    /// The divergences from the second head, where it is there for these.
    pub(super) fn divergences_of_second(&self) -> Option<Divergences> {
        match self.kernel.beside {
            Beside::Second(divergences) => Some(divergences),
            _ => None,
        }
    }

    /// The divergences from the second head.
    pub(super) fn divergences(&self) -> Divergences {
        self.divergences_of_second().unwrap_or_default()
    }

    /// The weights of both heads in the mixture of a divergence, as kernels take them.
    pub(super) fn mixture(&self, params: Params) -> Params {
        match self.kernel.beside {
            Beside::Second(Divergences { mixture: Some(_), .. }) => {
                let [first, second] = divergences(&self.problem.loss.needs).unwrap_or_default().1;
                Params { threshold: second, extra: first.to_bits(), ..params }
            }
            _ => params,
        }
    }

    /// Whether the derivatives read a fourth vector of each row.
    pub(super) fn more(&self) -> bool {
        self.kernel.more()
    }

    pub(super) fn filtered(&self) -> bool {
        self.kernel.filter
    }

    /// What all kernels read alike.
    pub(super) fn params(&self) -> Params {
        let transform = &self.problem.loss.transform;
        let threshold = match self.problem.filter {
            Some(FilterRule::Below(threshold)) => threshold,
            Some(FilterRule::Mass(_)) | None => 0.0,
        };
        Params {
            width: self.problem.width as u32,
            span: self.plan.span as u32,
            spans: self.plan.spans as u32,
            scale: self.scale,
            softcap: transform.softcap.unwrap_or(1.0) as f32,
            threshold: threshold as f32,
            ..Params::default()
        }
    }

    /// The bias, where there is one.
    pub(super) fn bias(&self) -> Option<(u32, &Part)> {
        self.bias.as_ref().map(|bias| (3, bias))
    }

    /// The weights and companions of these rows and columns, where there are any, or the logits where they are
    /// given: those of entries are put into `dense` first. The mean of a second head's logits takes the rows as it
    /// takes them, and which of them these are.
    pub(super) fn beside_logits<'p>(
        &'p self,
        recorder: &mut Recorder<'_, '_>,
        dense: &'p Dense,
        rows: impl Iterator<Item = usize> + Clone,
        second: Option<(&SweptRows, &Range<usize>)>,
        columns: Range<usize>,
    ) -> Result<Vec<(u32, &'p Part)>> {
        let problem = &self.problem;
        let rows = rows.map(|row| &problem.rows[row]);
        if let Some(part) = &dense.weights {
            let mut weights = Vec::new();
            let mut buffer = vec![0.0; columns.len()];
            for row in rows.clone() {
                if let Weights::Each(own) = problem.weights_of(row, columns.clone(), &mut buffer) {
                    weights.extend_from_slice(own);
                }
            }
            recorder.upload(bytemuck::cast_slice(&weights), &part.buffer)?;
        }
        if let (Some(part), Some(head), Some((swept, chunk))) =
            (&dense.companions, &self.second, second)
        {
            head.record_logits(recorder, swept, chunk, &columns, columns.len(), part)?;
        } else if let Some(part) = &dense.companions {
            let (mut values, mut buffer) = (Vec::new(), Vec::new());
            for row in rows {
                if let Source::Given(logits) = problem.source {
                    buffer.resize(columns.len(), 0.0);
                    logits.read(row.hidden, columns.clone(), &mut buffer);
                    values.extend_from_slice(&buffer);
                    continue;
                }
                for first in columns.clone().step_by(TILE_COLUMNS) {
                    let some = first..columns.end.min(first + TILE_COLUMNS);
                    values.extend_from_slice(
                        problem.companions_of(row, some, None, &mut buffer).unwrap_or_default(),
                    );
                }
            }
            recorder.upload(bytemuck::cast_slice(&values), &part.buffer)?;
        }
        let weights = dense.weights.as_ref().or(self.class_weights.as_ref());
        let companions = dense.companions.as_ref().or(self.companion.as_ref());
        let weights = weights.map(|part| (4, part)).into_iter();
        Ok(weights.chain(companions.map(|part| (7, part))).collect())
    }

    /// Room for what stands beside each logit of so many rows and columns.
    pub(super) fn dense(&self, rows: usize, columns: usize) -> Dense {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let part = || Part::whole(&self.context.buffer(rows * columns * 4, usage));
        Dense {
            weights: (self.weighing() == Weighing::Dense).then(part),
            companions: matches!(self.beside(), Beside::Entries | Beside::Given).then(part),
        }
    }

    /// By what the row's products are multiplied.
    pub(super) fn scale_of(&self, row: &Row) -> f32 {
        self.problem.transform_of(row).scale as f32
    }

    /// The number beside a row's logit of a class, 0 where there is none.
    pub(super) fn companion_at(&self, row: &Row, class: usize, buffer: &mut Vec<f32>) -> f64 {
        if let Some(head) = &self.second {
            return head.second_logit(row, class);
        }
        let values = self.problem.companions_of(row, class..class + 1, None, buffer);
        values.map_or(0.0, |values| f64::from(values[0]))
    }

    /// Rows, given by their rows of the hidden states, in chunks of at most so many.
    pub(super) fn chunks(&self, rows: &[usize], most: usize) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut start = 0;
        for hidden in self.hidden.ranges() {
            let end = start + rows[start..].partition_point(|&row| row < hidden.end);
            while start < end {
                let next = end.min(start + most);
                chunks.push(Chunk { rows: start..next, hidden: hidden.clone() });
                start = next;
            }
        }
        chunks
    }

    /// The classes of each binding, in groups of at most so many.
    pub(super) fn groups(&self, most: usize) -> Vec<Range<usize>> {
        let group = |classes: Range<usize>| {
            let end = classes.end;
            classes.step_by(most.max(1)).map(move |start| start..end.min(start + most))
        };
        self.classifier.ranges().flat_map(group).collect()
    }

    /// A buffer that kernels read, of these words.
    pub(super) fn words(&self, words: &[u32]) -> Part {
        let bytes = bytemuck::cast_slice(words);
        Part::whole(&self.context.filled(bytes, wgpu::BufferUsages::STORAGE))
    }
}

/// The shapes of a call on a GPU.
pub(super) fn shapes(
    problem: &Problem<'_, f32>,
    formats: (usize, usize),
    gradients: bool,
) -> DeviceShapes {
    let dense = matches!(problem.targets, Targets::Soft(_));
    let entries = matches!(beside(problem), Beside::Entries | Beside::Given);
    DeviceShapes {
        rows: problem.source.sizes().0,
        hidden: problem.width,
        vocabulary: problem.columns,
        hidden_bytes: formats.0,
        classifier_bytes: formats.1,
        gradients,
        beside_logits: usize::from(dense) + usize::from(entries),
        second_head: problem.second.as_ref().map(|head| head.width),
    }
}
