//! The fold on a GPU: states of rows and spans, merged here in f64.

use super::call::{Call, Chunk, NONE, SweptRows};
use super::context::Part;
use super::plan::STATE_WORDS;
use super::recorder::Recorder;
use super::shader::{Kind, Params, Weighing};
use super::waiting::Waiting;
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;
use crate::loss::engine::fold::{Folded, weigh_sparse};
use crate::loss::engine::tile::Weights;
use crate::loss::{Companion, Targets};
use crate::softmax::RowState;

/// The highest bit of a class marks +∞.
const INFINITY: u32 = 1 << 31;

/// Single logits with their slopes: where the rank is asked for that of each kept row's target, then those of
/// the [`Singles`](super::singles::Singles).
pub(super) struct TargetLogits {
    pub(super) device: Part,
    /// The number of pairs.
    count: usize,
}

impl TargetLogits {
    /// Bytes of all pairs.
    pub(super) fn bytes(&self) -> u64 {
        8 * self.count as u64
    }
}

impl Call<'_, '_> {
    fn kind(&self) -> Kind {
        let statistics = &self.problem.loss.statistics;
        Kind::Forward {
            entropy: statistics.entropy || statistics.varentropy || self.problem.loss.needs.entropy,
            varentropy: statistics.varentropy,
            rank: statistics.rank,
        }
    }

    /// All kept rows as the forward reads them.
    pub(super) fn all_row_words(&self) -> Part {
        let mut words: Vec<[u32; 4]> = self.words_of(0..self.problem.rows.len()).collect();
        if let Some(listed) = self.problem.candidates.as_ref().filter(|listed| listed.others) {
            let mut start = 0;
            for (words, row) in words.iter_mut().zip(&self.problem.rows) {
                words[3] = start;
                start += listed.of(row.output).len() as u32;
            }
            words.push([0, 0, 0, start]);
        }
        self.words(words.as_flattened())
    }

    /// Some of them.
    pub(super) fn row_words(&self, rows: impl Iterator<Item = usize>) -> Part {
        self.words(self.words_of(rows).collect::<Vec<_>>().as_flattened())
    }

    fn words_of(&self, rows: impl Iterator<Item = usize>) -> impl Iterator<Item = [u32; 4]> {
        let hard = matches!(self.problem.targets, Targets::Hard(_));
        rows.map(move |row| {
            let row = &self.problem.rows[row];
            let target = if hard { row.target } else { NONE };
            [row.hidden as u32, target, self.scale_of(row).to_bits(), 0]
        })
    }

    /// The rows of the hidden states that are kept.
    pub(super) fn kept(&self) -> Vec<usize> {
        self.problem.rows.iter().map(|row| row.hidden).collect()
    }

    /// Chunks of the forward.
    pub(super) fn forward_chunks(&self) -> Vec<Chunk> {
        self.chunks(&self.kept(), self.plan.forward_rows)
    }

    /// Computes single logits, if any are needed.
    pub(super) fn target_logits(
        &self,
        recorder: &mut Recorder<'_, '_>,
        rows: &Part,
    ) -> Result<Option<TargetLogits>> {
        let rows_in_order = || self.problem.rows.iter().enumerate();
        let ahead = self.ahead();
        let count = ahead + self.singles.len();
        if count == 0 {
            return Ok(None);
        }
        let (need, have) = (8 * count as u64, self.context.limits.max_storage_buffer_binding_size);
        if need > have {
            let what = "single logits, in bytes,".into();
            return Err(Error::Gpu(Failure::LimitExceeded { what, need, have }));
        }
        let mut pairs = Vec::with_capacity(2 * count);
        if ahead > 0 {
            pairs.extend(rows_in_order().flat_map(|(i, row)| [i as u32, row.target]));
        }
        for (i, _) in rows_in_order() {
            pairs.extend(self.singles.of(i).iter().flat_map(|single| [i as u32, single.class]));
        }
        // Of both lists where the pairs of each row begin.
        let of_targets = if ahead > 0 { (0..=ahead).collect() } else { Vec::new() };
        let of_singles = self.singles.starts().iter().map(|start| ahead + start).collect();
        let lists: [Vec<usize>; 2] = [of_targets, of_singles];
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let device = Part::whole(&self.context.buffer(8 * count, usage));
        let pairs = self.words(&pairs);
        let kernel = self.kernel(Kind::TargetLogits);
        let most = 64 * self.context.limits.max_compute_workgroups_per_dimension as usize;
        for chunk in self.chunks(&self.kept(), usize::MAX) {
            let hidden = self.hidden.part(chunk.hidden.clone());
            for classes in self.classifier.ranges() {
                let classifier = self.classifier.part(classes.clone());
                let of_chunk =
                    lists.iter().filter(|starts| !starts.is_empty()).flat_map(|starts| {
                        let (first, last) = (starts[chunk.rows.start], starts[chunk.rows.end]);
                        (first..last).step_by(most).map(move |start| start..last.min(start + most))
                    });
                for some in of_chunk {
                    let (start, count) = (some.start, some.len());
                    let params = Params {
                        hidden_origin: chunk.hidden.start as u32,
                        columns: classes.len() as u32,
                        first_class: classes.start as u32,
                        count: count as u32,
                        extra: start as u32,
                        ..self.params()
                    };
                    let mut parts =
                        vec![(0, rows), (1, &hidden), (2, &classifier), (4, &pairs), (5, &device)];
                    parts.extend(self.bias());
                    let operations = 2.0 * (count * self.problem.width) as f64;
                    let grid = (count.div_ceil(64), 1);
                    recorder.dispatch(kernel, &parts, &params, grid, operations)?;
                }
            }
        }
        Ok(Some(TargetLogits { device, count }))
    }

    /// Folds the rows of a chunk into states of each span.
    pub(super) fn record_fold(
        &self,
        recorder: &mut Recorder<'_, '_>,
        chunk: &Chunk,
        (rows, second): (&Part, Option<&SweptRows>),
        ahead: Option<&TargetLogits>,
        partials: &Part,
    ) -> Result<()> {
        let plan = &self.plan;
        let kernel = self.kernel(self.kind());
        let height = chunk.rows.len();
        let dense = self.dense(height, plan.forward_spans * plan.span);
        let hidden = self.hidden.part(chunk.hidden.clone());
        for classes in self.groups(plan.forward_spans * plan.span) {
            let own = chunk.rows.clone();
            let second = second.map(|second| (second, &chunk.rows));
            let beside = self.beside_logits(recorder, &dense, own, second, classes.clone())?;
            let classifier = self.classifier.part(classes.clone());
            let params = Params {
                rows: height as u32,
                first_row: chunk.rows.start as u32,
                hidden_origin: chunk.hidden.start as u32,
                columns: classes.len() as u32,
                first_class: classes.start as u32,
                first_span: (classes.start / plan.span) as u32,
                ..self.params()
            };
            let mut parts = vec![(0, rows), (1, &hidden), (2, &classifier), (5, partials)];
            parts.extend(self.bias());
            parts.extend(beside);
            parts.extend(ahead.map(|ahead| (6, &ahead.device)));
            parts.extend(self.listed.as_ref().map(|listed| (7, listed)));
            let grid =
                (height.div_ceil(kernel.tile.rows as usize), classes.len().div_ceil(plan.span));
            let operations = 2.0 * (height * classes.len()) as f64 * self.problem.width as f64;
            recorder.dispatch(kernel, &parts, &params, grid, operations)?;
        }
        Ok(())
    }

    /// Bytes of the states of so many rows.
    pub(super) fn state_bytes(&self, rows: usize) -> usize {
        rows * self.plan.spans * STATE_WORDS * 4
    }

    pub(super) fn readable(&self, bytes: usize) -> wgpu::Buffer {
        self.context.readable(bytes)
    }

    /// Folds all kept rows, over the second head too where there is one. Also the single logits that were needed,
    /// with their slopes.
    pub(super) async fn fold(&self, waiting: Waiting) -> Result<(Folded, Vec<[f32; 2]>)> {
        let (mut folded, logits) = self.fold_head(waiting).await?;
        folded.second = self.fold_second(&folded.states, waiting).await?;
        Ok((folded, logits))
    }

    /// The same over this head alone.
    pub(super) async fn fold_head(&self, waiting: Waiting) -> Result<(Folded, Vec<[f32; 2]>)> {
        let context = self.context;
        let chunks = self.forward_chunks();
        let most = chunks.iter().map(|chunk| chunk.rows.len()).max().unwrap_or(0);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let (rows, partials, staging) = context.caught(|| {
            let partials = Part::whole(&context.buffer(self.state_bytes(most), usage));
            Ok((self.all_row_words(), partials, self.readable(self.state_bytes(most))))
        })?;
        let averaged = self.second.as_ref().filter(|_| self.beside().is_companion());
        let second = averaged.map(|head| head.swept(0..head.problem.rows.len()));
        let mut targets = None;
        let mut logits = Vec::new();
        let mut folded = Folded::nothing(&self.problem);
        for (i, chunk) in chunks.iter().enumerate() {
            let bytes = self.state_bytes(chunk.rows.len()) as u64;
            let (index, ahead) = context.caught(|| {
                let mut recorder = Recorder::new(context, waiting);
                let mut ahead = None;
                if i == 0 {
                    targets = self.target_logits(&mut recorder, &rows)?;
                    ahead = targets.as_ref().map(|targets| {
                        let staging = self.readable(targets.bytes() as usize);
                        recorder.copy(&targets.device, &staging, 0);
                        staging
                    });
                }
                let rows = (&rows, second.as_ref());
                self.record_fold(&mut recorder, chunk, rows, targets.as_ref(), &partials)?;
                recorder.copy(&Part { bytes, ..partials.clone() }, &staging, 0);
                Ok((recorder.finish()?, ahead))
            })?;
            if let Some((ahead, targets)) = ahead.as_ref().zip(targets.as_ref()) {
                let bytes = context.read(ahead, targets.bytes(), index.clone(), waiting);
                logits = pairs(&bytes.await?);
            }
            let words = context.read(&staging, bytes, index, waiting).await?;
            self.merge(chunk, &words, &logits, &mut folded.states);
        }
        self.complete(&logits, &mut folded);
        Ok((folded, logits))
    }

    /// The single logits alone, with their slopes.
    pub(super) async fn single_logits(&self, waiting: Waiting) -> Result<Vec<[f32; 2]>> {
        let context = self.context;
        let recorded = context.caught(|| {
            let mut recorder = Recorder::new(context, waiting);
            let Some(targets) = self.target_logits(&mut recorder, &self.all_row_words())? else {
                return Ok(None);
            };
            let staging = self.readable(targets.bytes() as usize);
            recorder.copy(&targets.device, &staging, 0);
            Ok(Some((recorder.finish()?, staging, targets.bytes())))
        })?;
        match recorded {
            None => Ok(Vec::new()),
            Some((index, staging, bytes)) => {
                Ok(pairs(&context.read(&staging, bytes, index, waiting).await?))
            }
        }
    }

    /// Merges the states of the rows of a chunk, span by span.
    pub(super) fn merge(
        &self,
        chunk: &Chunk,
        bytes: &[u8],
        logits: &[[f32; 2]],
        states: &mut Vec<RowState>,
    ) {
        let hard = matches!(self.problem.targets, Targets::Hard(_));
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(bytes);
        let of_row = (self.plan.spans * STATE_WORDS).max(1);
        for (row, words) in chunk.rows.clone().zip(words.chunks(of_row)) {
            let own = &self.problem.rows[row];
            let mut state = match hard {
                true => RowState::with_target(own.target),
                false => RowState::new(),
            };
            if self.problem.loss.statistics.rank
                && let Some([logit, _]) = logits.get(row)
            {
                state = RowState::with_target_logit(own.target, f64::from(*logit));
            }
            for (span, words) in words.chunks(STATE_WORDS).enumerate() {
                let first = span * self.plan.span;
                let last = self.problem.columns.min(first + self.plan.span);
                let known = state.ahead.is_some();
                let mut partial = self.state_of(words, first);
                partial.above = known.then_some(u64::from(words[10]));
                if hard && (first..last).contains(&(own.target as usize)) {
                    partial.target_logit = Some(f64::from(f32::from_bits(words[7])));
                }
                state.merge(&partial);
            }
            states.push(state);
        }
    }

    /// The state in these words, of classes from `first` on.
    fn state_of(&self, words: &[u32], first: usize) -> RowState {
        let float = |at: usize| f64::from(f32::from_bits(words[at]));
        let mut state = RowState::new();
        let (argmax, special) = (words[4], words[8]);
        let statistics = &self.problem.loss.statistics;
        if special != NONE {
            state.maximum = if special & INFINITY == 0 { f64::NAN } else { f64::INFINITY };
            state.argmax = i64::from(special & !INFINITY);
            state.remainder = f64::NAN;
            (state.first_moment, state.second_moment) = (f64::NAN, f64::NAN);
        } else if argmax == NONE {
            state.argmax = first as i64;
        } else {
            state.maximum = float(0);
            state.argmax = i64::from(argmax);
            state.remainder = float(1);
            if statistics.entropy || statistics.varentropy || self.problem.loss.needs.entropy {
                state.first_moment = float(2);
            }
            if statistics.varentropy {
                state.second_moment = float(3);
            }
            if self.beside().is_companion() {
                (state.companion, state.companion_of_argmax) = (float(11), float(9));
            }
        }
        if self.weighing() != Weighing::None {
            state.deviation = float(5) * 1_048_576.0;
            state.weight = float(6);
        }
        state
    }

    /// Adds what the device has not folded to the states of all rows.
    pub(super) fn complete(&self, logits: &[[f32; 2]], folded: &mut Folded) {
        self.add_candidates(logits, folded);
        self.weigh_others(&mut folded.states);
        self.add_singles(logits, &mut folded.states);
    }

    /// Hands the logits of the candidates over.
    fn add_candidates(&self, logits: &[[f32; 2]], folded: &mut Folded) {
        let Some(listed) = &self.problem.candidates else { return };
        let mut own = Vec::new();
        for (i, (state, row)) in folded.states.iter_mut().zip(&self.problem.rows).enumerate() {
            let singles = self.singles.of(i).iter().zip(self.logits_of(i, logits));
            let candidates = singles.filter(|(single, _)| single.candidate.is_some());
            own.clear();
            own.extend(candidates.map(|(_, [logit, _])| f64::from(*logit)));
            folded.candidates.put(listed, row, &own, state);
        }
    }

    /// Sums the weights of all classes but the arg-max, which the device has not told apart: a
    /// difference of two sums would lose its digits where that class has nearly all the weight.
    fn weigh_others(&self, states: &mut [RowState]) {
        let problem = &self.problem;
        let sum = |weights: &[f32]| weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
        let others = |weights: &[f32], total: f64, argmax: usize| {
            let own = weights.get(argmax).map_or(0.0, |&weight| f64::from(weight));
            match own <= 0.5 * total {
                true => total - own,
                false => sum(&weights[..argmax]) + sum(&weights[argmax + 1..]),
            }
        };
        let classes = problem.columns;
        let mut buffer = vec![0.0; classes];
        for (state, row) in states.iter_mut().zip(&problem.rows) {
            let argmax = state.argmax as usize;
            state.other_weight = match problem.weights_of(row, 0..classes, &mut buffer) {
                Weights::None => 0.0,
                Weights::Uniform => classes as f64 - 1.0,
                Weights::Each(weights) => {
                    let total = match self.weighing() {
                        Weighing::Dense => sum(weights),
                        _ => problem.total_in_deviation(),
                    };
                    others(weights, total, argmax)
                }
            };
        }
    }

    /// Adds what single classes have to the states of their rows.
    fn add_singles(&self, logits: &[[f32; 2]], states: &mut [RowState]) {
        let problem = &self.problem;
        let sparse = matches!(problem.targets, Targets::Sparse { .. });
        let listed = matches!(problem.companion, Some(Companion::Listed { .. }));
        if !(sparse || listed) {
            return;
        }
        let smoothing = problem.loss.needs.smoothing() / problem.vocabulary as f64;
        for (i, (state, row)) in states.iter_mut().zip(&problem.rows).enumerate() {
            let logits = self.logits_of(i, logits).iter().map(|[logit, _]| f64::from(*logit));
            let singles = self.singles.of(i).iter().zip(logits);
            if sparse {
                let targets = problem.sparse_of(row, 0..problem.columns);
                let own = singles.clone().filter(|(single, _)| single.weight.is_some());
                weigh_sparse(state, smoothing, targets, own.map(|(_, logit)| logit));
            }
            if listed && state.maximum.is_finite() {
                for (single, logit) in singles {
                    match state.argmax == i64::from(single.class) {
                        true => state.companion_of_argmax = single.companion,
                        false => {
                            state.companion += (logit - state.maximum).exp() * single.companion
                        }
                    }
                }
            }
        }
    }

    /// How many single logits come before those of the singles.
    fn ahead(&self) -> usize {
        if self.problem.loss.statistics.rank { self.problem.rows.len() } else { 0 }
    }

    /// Of all single logits those of a kept row's singles.
    pub(super) fn logits_of<'l>(&self, row: usize, logits: &'l [[f32; 2]]) -> &'l [[f32; 2]] {
        let starts = self.singles.starts();
        &logits[self.ahead() + starts[row]..self.ahead() + starts[row + 1]]
    }
}

fn pairs(bytes: &[u8]) -> Vec<[f32; 2]> {
    bytemuck::pod_collect_to_vec(bytes)
}
