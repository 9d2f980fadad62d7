//! The backward on a GPU: of each chunk of rows and classes G into scratch, then the two products.

use super::arrays::Pieces;
use super::call::{Call, Chunk, NONE, SweptRows};
use super::context::Part;
use super::plan::GRAIN;
use super::recorder::Recorder;
use super::shader::{Divergences, Kind, Params};
use super::waiting::Waiting;
use crate::error::Result;
use crate::loss::engine::active::{Active, Entry, Seen, active_rows};
use crate::loss::engine::pair::{Pair, pairs};
use crate::loss::engine::tile::{self, Weights};
use crate::loss::filter::decision::Dropped;
use crate::loss::filter::smoothing::SmoothingTerm;
use crate::loss::gradients::Gradients;
use crate::loss::{Companion, Targets, Upstream};
use crate::parallel::threads;
use crate::quotient::times_power;
use crate::softmax::RowState;
use crate::writing::{clear, clear_vector, put_row, put_vector};

/// Bytes of a gradient that are read back at once: the copy that can be mapped takes as many. Not measured
/// on a hardware GPU.
pub(super) const DOWNLOAD: usize = 32 << 20;
/// Rows and columns of a block of G that a filter decides about.
const BLOCK: usize = 64;

/// Gradients on the device, those that are asked for.
#[derive(Default)]
pub(super) struct Sums {
    pub(super) hidden: Option<Pieces>,
    pub(super) classifier: Option<Pieces>,
    pub(super) bias: Option<Part>,
}

/// The scratch of a backward.
pub(super) struct Scratch {
    pub(super) g: Part,
    /// With a filter, which blocks of G count, and what each row has in those that do not.
    pub(super) filter: Option<(Part, Part)>,
    /// Beside a second head, its logits at the places of G.
    pub(super) second: Option<Part>,
}

/// What a filter has left out of each row, and how many blocks of its 64 rows were kept.
pub(super) struct Totals {
    device: Part,
    /// All blocks.
    blocks: usize,
}

/// The rows that a gradient comes from, as the kernels read them.
pub(super) struct ActiveRows {
    active: Vec<Active<f32>>,
    words: Part,
    /// Beside a second head, the same rows as it takes them.
    swept: Option<SweptRows>,
    /// What label smoothing takes from every class, where a filter leaves classes out.
    smoothing: Option<SmoothingTerm<f32>>,
    /// Entries of G of single classes, row after row: the place among the active rows, the class and the
    /// value.
    entries: Vec<(usize, u32, f32)>,
}

impl Call<'_, '_> {
    /// The coefficients of the rows that have an upstream. `logits` are all single ones.
    pub(super) fn active(
        &self,
        seen: Seen<'_>,
        upstream: &Upstream<'_>,
        logits: &[[f32; 2]],
    ) -> ActiveRows {
        let problem = &self.problem;
        let Seen { states, second, candidates } = seen;
        let mut active = active_rows(problem, seen, &problem.rows, upstream);
        let pairs = match &self.second {
            Some(_) => pairs::<f32>(problem, states, second, &problem.rows, upstream),
            None => Vec::new(),
        };
        let smoothing = match self.filtered() {
            true => SmoothingTerm::new(
                problem,
                &mut active,
                &mut tile::Scratch::<f32>::several(threads()),
            ),
            false => None,
        };
        let hard = matches!(problem.targets, Targets::Hard(_));
        let listed = matches!(problem.companion, Some(Companion::Listed { .. }));
        let mut words = Vec::with_capacity(16 * active.len());
        let (mut more, mut of_pairs) = (Vec::new(), Vec::new());
        let (mut entries, mut buffer) = (Vec::new(), Vec::new());
        for (i, row) in active.iter().enumerate() {
            let singles = self.singles.of(row.index);
            let own = if singles.is_empty() { &[] } else { self.logits_of(row.index, logits) };
            for (single, [logit, slope]) in singles.iter().zip(own) {
                let class = single.class;
                let candidate = single.candidate.filter(|_| row.candidates.any);
                let mut picked = match single.weight {
                    Some(weight) => row.soft * weight,
                    None if row.companion == 0.0 && candidate.is_none() => continue,
                    None if hard && class == row.row.target => row.picked,
                    None => 0.0,
                };
                if let Some(at) = candidate.filter(|_| *logit != f32::NEG_INFINITY) {
                    picked += times_power(problem.candidate_weight(at), -row.exponent);
                }
                let companion = match listed {
                    true => single.companion,
                    false => self.companion_of(row, class, &mut buffer),
                };
                let listed = candidate.is_some();
                let entry = Entry { listed, ..self.entry(row, class, picked, companion) };
                let d = row.exact_gradient(class as usize, f64::from(*logit), entry);
                entries.push((i, class, (d * f64::from(*slope)) as f32));
            }
            let mut scalars = self.row_scalars(row, &states[row.index], &mut buffer);
            if let Some(pair) = pairs.get(row.index) {
                let divergences = self.divergences();
                let (pair, known) = pair_scalars(pair, divergences);
                let vectors = if divergences.more() { 3 } else { 2 };
                of_pairs.extend(pair[..4 * vectors].iter().map(|x| x.to_bits()));
                if !known {
                    (scalars[3], scalars[5]) = (0, f32::NAN.to_bits());
                }
            }
            words.extend(scalars);
            if self.more() {
                let scale = self.scale_of(&row.row);
                let own = match candidates.softmax_of_others(&row.row) {
                    Some(others) => of_others(row, others),
                    // No product with a mean that may be infinite where the coefficient is 0.
                    None if row.companion == 0.0 => [0.0; 2],
                    None => [row.gradient.companion, row.gradient.companion_mean],
                };
                more.extend([own[0], own[1], scale, 0.0].map(f32::to_bits));
            }
        }
        words.append(&mut more);
        words.append(&mut of_pairs);
        let swept = self.second.as_ref().map(|head| head.swept(active.iter().map(|row| row.index)));
        ActiveRows { words: self.words(&words), active, swept, smoothing, entries }
    }

    /// w of a class in the smoothing of a row, or its weight as a soft target.
    fn weight(&self, row: &Active<f32>, class: u32) -> f64 {
        let class = class as usize;
        match self.problem.weights_of(&row.row, class..class + 1, &mut [0.0]) {
            Weights::None | Weights::Uniform => 1.0,
            Weights::Each(weights) => f64::from(weights[0]),
        }
    }

    /// What a class has of a row's gradient for itself: `picked` is of hard or sparse targets.
    fn entry(&self, row: &Active<f32>, class: u32, picked: f64, companion: f64) -> Entry {
        let own = row.weights * self.weight(row, class);
        let (picked, smoothing) = match self.problem.targets {
            Targets::Soft(_) => (picked + own, 0.0),
            _ => (picked, own),
        };
        Entry { picked, listed: false, smoothing, companion }
    }

    /// The number beside a logit, where the row's gradient depends on it.
    fn companion_of(&self, row: &Active<f32>, class: u32, buffer: &mut Vec<f32>) -> f64 {
        match row.companion {
            0.0 => 0.0,
            _ => self.companion_at(&row.row, class as usize, buffer),
        }
    }

    /// Twelve words: names, scalars, and the two entries that decide, in f64 up to here.
    fn row_scalars(&self, row: &Active<f32>, state: &RowState, buffer: &mut Vec<f32>) -> [u32; 12] {
        let hard = matches!(self.problem.targets, Targets::Hard(_));
        let (mut target, mut argmax) = (NONE, NONE);
        let (mut at_target, mut at_argmax) = (0.0, 0.0);
        if let (true, Some(logit)) = (hard, state.target_logit) {
            target = row.row.target;
            let companion = self.companion_of(row, target, buffer);
            let entry = self.entry(row, target, row.picked, companion);
            at_target = row.exact_gradient(target as usize, logit, entry);
        }
        let largest = state.argmax as u32;
        let mut singles = self.singles.of(row.index).iter();
        let known = largest == target
            || singles.any(|single| single.class == largest && single.weight.is_some());
        if state.maximum.is_finite() && !known {
            argmax = largest;
            let companion = self.companion_of(row, largest, buffer);
            let entry = self.entry(row, largest, 0.0, companion);
            at_argmax = row.exact_gradient(largest as usize, state.maximum, entry);
        }
        let scalars = &row.gradient;
        // What the others have by their own softmax is not in it.
        let mut probability = row.picked + row.rest;
        if let (Some(Companion::Listed { .. }), true) =
            (&self.problem.companion, row.companion != 0.0)
        {
            // What is beside the classes that are not listed is 0.
            probability -= row.companion * row.companion_mean;
        }
        let whole = |value: f64| times_power(value, row.exponent) as f32;
        let good = u32::from(state.maximum.is_finite());
        let bits = |x: f32| x.to_bits();
        [
            row.row.hidden as u32,
            target,
            argmax,
            good,
            bits(scalars.maximum),
            bits(scalars.inverse),
            bits(whole(probability)),
            bits(whole(row.entropy)),
            bits(scalars.mean),
            bits(whole(row.weights)),
            bits(at_target as f32),
            bits(at_argmax as f32),
        ]
    }

    /// Bytes of G, and of what a filter records of it.
    pub(super) fn scratch_bytes(&self) -> (usize, Option<[usize; 2]>) {
        let (rows, columns) = (self.plan.backward_rows, self.plan.backward_columns);
        let blocks = columns.div_ceil(BLOCK);
        let filter = [4 * rows.div_ceil(BLOCK) * blocks, 4 * rows * blocks];
        (rows * columns * 4, self.filtered().then_some(filter))
    }

    pub(super) fn scratch(&self) -> Scratch {
        let part = |bytes| Part::whole(&self.context.buffer(bytes, wgpu::BufferUsages::STORAGE));
        let (g, filter) = self.scratch_bytes();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let second = || Part::whole(&self.context.buffer(self.second_bytes(), usage));
        Scratch {
            g: part(g),
            filter: filter.map(|[kept, lost]| (part(kept), part(lost))),
            second: self.divergences_of_second().map(|_| second()),
        }
    }

    /// Room for what a filter leaves out, where there is one.
    pub(super) fn totals(&self, rows: &ActiveRows) -> Option<Totals> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        self.filtered().then(|| Totals {
            device: Part::whole(&self.context.buffer(8 * rows.active.len(), usage)),
            blocks: 0,
        })
    }

    /// What was left out.
    pub(super) async fn dropped(
        &self,
        totals: &Totals,
        rows: &ActiveRows,
        waiting: Waiting,
    ) -> Result<Dropped> {
        let values = self.values(&totals.device, waiting).await?;
        let rows = rows.active.len();
        let lost = || values.iter().step_by(2).take(rows).map(|&lost| f64::from(lost));
        let kept: f64 = values[1..].iter().step_by(2).take(rows).map(|&x| f64::from(x)).sum();
        Ok(match rows {
            0 => Dropped::NOTHING,
            _ => Dropped {
                kept: kept / totals.blocks.max(1) as f64,
                largest: lost().fold(0.0, f64::max),
                mean: lost().sum::<f64>() / self.problem.rows.len() as f64,
            },
        })
    }

    /// Records the whole backward. What it adds to is in `sums`.
    pub(super) fn record_backward(
        &self,
        recorder: &mut Recorder<'_, '_>,
        rows: &ActiveRows,
        scratch: &Scratch,
        sums: &Sums,
        mut totals: Option<&mut Totals>,
    ) -> Result<()> {
        let hidden: Vec<usize> = rows.active.iter().map(|active| active.row.hidden).collect();
        for chunk in self.chunks(&hidden, self.plan.backward_rows) {
            let dense = self.dense(chunk.rows.len(), self.plan.backward_columns);
            let [first, last] = [chunk.rows.start, chunk.rows.end]
                .map(|row| rows.entries.partition_point(|entry| entry.0 < row));
            let mut entries = rows.entries[first..last].to_vec();
            entries.sort_by_key(|&(_, class, _)| class);
            let mut entries = entries.iter().peekable();
            for classes in self.groups(self.plan.backward_columns) {
                let stride = classes.len().next_multiple_of(GRAIN);
                let params = Params {
                    rows: chunk.rows.len() as u32,
                    first_row: chunk.rows.start as u32,
                    hidden_origin: chunk.hidden.start as u32,
                    columns: classes.len() as u32,
                    first_class: classes.start as u32,
                    stride: stride as u32,
                    count: rows.active.len() as u32,
                    ..self.params()
                };
                let own = rows.active[chunk.rows.clone()].iter().map(|active| active.index);
                let second = rows.swept.as_ref().map(|swept| (swept, &chunk.rows));
                let mut beside =
                    self.beside_logits(recorder, &dense, own, second, classes.clone())?;
                if let (Some(head), Some(swept), Some(to)) =
                    (&self.second, &rows.swept, &scratch.second)
                {
                    head.record_logits(recorder, swept, &chunk.rows, &classes, stride, to)?;
                    beside.push((7, to));
                }
                self.record_derivatives(
                    recorder, rows, &chunk, &classes, scratch, &beside, &params,
                )?;
                let here = |entry: &&(usize, u32, f32)| (entry.1 as usize) < classes.end;
                let mut words = Vec::new();
                while let Some(&(row, class, value)) = entries.next_if(here) {
                    let at = (row - chunk.rows.start) * stride + class as usize - classes.start;
                    words.extend([at as u32, value.to_bits()]);
                }
                if !words.is_empty() {
                    self.record_patches(recorder, &words, scratch)?;
                }
                self.record_products(recorder, rows, &chunk, &classes, scratch, sums, &params)?;
                if let (Some((kept, lost)), Some(totals)) = (&scratch.filter, &mut totals) {
                    let rows = chunk.rows.len();
                    totals.blocks += rows.div_ceil(BLOCK) * classes.len().div_ceil(BLOCK);
                    let parts = [(0, kept), (1, lost), (2, &totals.device)];
                    let (kernel, grid) = (self.kernel(Kind::Dropped), (rows.div_ceil(BLOCK), 1));
                    recorder.dispatch(kernel, &parts, &params, grid, rows as f64)?;
                }
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn record_derivatives(
        &self,
        recorder: &mut Recorder<'_, '_>,
        rows: &ActiveRows,
        chunk: &Chunk,
        classes: &std::ops::Range<usize>,
        scratch: &Scratch,
        beside: &[(u32, &Part)],
        params: &Params,
    ) -> Result<()> {
        let kernel = self.kernel(Kind::Derivatives);
        let hidden = self.hidden.part(chunk.hidden.clone());
        let classifier = self.classifier.part(classes.clone());
        let mut parts = vec![(0, &rows.words), (1, &hidden), (2, &classifier), (5, &scratch.g)];
        parts.extend(self.bias());
        parts.extend(beside);
        if let Some((kept, lost)) = &scratch.filter {
            parts.extend([(6, kept), (7, lost)]);
        }
        let grid = (
            chunk.rows.len().div_ceil(kernel.tile.rows as usize),
            classes.len().div_ceil(kernel.tile.columns as usize),
        );
        let params = self.mixture(*params);
        recorder.dispatch(kernel, &parts, &params, grid, self.operations(chunk, classes))
    }

    fn operations(&self, chunk: &Chunk, classes: &std::ops::Range<usize>) -> f64 {
        2.0 * (chunk.rows.len() * classes.len()) as f64 * self.problem.width as f64
    }

    fn record_patches(
        &self,
        recorder: &mut Recorder<'_, '_>,
        words: &[u32],
        scratch: &Scratch,
    ) -> Result<()> {
        let entries = self.words(words);
        let count = words.len() / 2;
        let most = 64 * self.context.limits.max_compute_workgroups_per_dimension as usize;
        for start in (0..count).step_by(most) {
            let some = most.min(count - start);
            let params = Params { count: some as u32, extra: start as u32, ..self.params() };
            let kernel = self.kernel(Kind::Patch);
            let parts = [(0, &entries), (1, &scratch.g)];
            recorder.dispatch(kernel, &parts, &params, (some.div_ceil(64), 1), some as f64)?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn record_products(
        &self,
        recorder: &mut Recorder<'_, '_>,
        rows: &ActiveRows,
        chunk: &Chunk,
        classes: &std::ops::Range<usize>,
        scratch: &Scratch,
        sums: &Sums,
        params: &Params,
    ) -> Result<()> {
        let filtered = &self.problem.loss.filtered;
        // A gradient that the filter does not act on takes every block.
        let plain = |kind| {
            let kernel = self.kernel(kind);
            super::shader::Kernel { filter: false, ..kernel }
        };
        let kernel = |kind, on: bool| if on { self.kernel(kind) } else { plain(kind) };
        let kept = |at: u32| scratch.filter.as_ref().map(|(kept, _)| (at, kept));
        let operations = self.operations(chunk, classes);
        let wide = |tile: super::shader::Tile| self.problem.width.div_ceil(tile.columns as usize);
        if let Some(sum) = &sums.hidden {
            let kernel = kernel(Kind::HiddenGradient, filtered.hidden);
            let (classifier, sum) =
                (self.classifier.part(classes.clone()), sum.part(chunk.hidden.clone()));
            let mut parts = vec![(0, &rows.words), (1, &classifier), (2, &scratch.g), (3, &sum)];
            parts.extend(kept(4));
            let grid = (chunk.rows.len().div_ceil(kernel.tile.rows as usize), wide(kernel.tile));
            let params = Params { extra: self.plan.block as u32, ..*params };
            recorder.dispatch(kernel, &parts, &params, grid, operations)?;
        }
        if let Some(sum) = &sums.classifier {
            let kernel = kernel(Kind::ClassifierGradient, filtered.classifier);
            let (hidden, sum) = (self.hidden.part(chunk.hidden.clone()), sum.part(classes.clone()));
            let mut parts = vec![(0, &rows.words), (1, &hidden), (2, &scratch.g), (3, &sum)];
            parts.extend(kept(4));
            let grid = (classes.len().div_ceil(kernel.tile.rows as usize), wide(kernel.tile));
            recorder.dispatch(kernel, &parts, params, grid, operations)?;
        }
        if let Some(sum) = &sums.bias {
            let kernel = kernel(Kind::BiasGradient, filtered.bias);
            let mut parts = vec![(0, &scratch.g), (1, sum)];
            parts.extend(kept(2));
            let grid = (classes.len().div_ceil(64), 1);
            let operations = (chunk.rows.len() * classes.len()) as f64;
            recorder.dispatch(kernel, &parts, params, grid, operations)?;
        }
        Ok(())
    }

    /// Room for the gradients that are asked for, all zeros.
    fn sums(&self, gradients: &Gradients<'_>, rows: usize) -> Sums {
        let room = |rows, each| Pieces::room(self.context, rows, self.problem.width, each);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let bias = || Part::whole(&self.context.buffer(self.problem.columns * 4, usage));
        Sums {
            hidden: gradients.hidden.as_ref().map(|_| room(rows, self.hidden.rows_each)),
            classifier: gradients
                .classifier
                .as_ref()
                .map(|_| room(self.problem.columns, self.classifier.rows_each)),
            bias: gradients.bias.as_ref().map(|_| bias()),
        }
    }

    /// Computes gradients into the caller's arrays.
    pub(super) async fn backward(
        &self,
        seen: Seen<'_>,
        upstream: &Upstream<'_>,
        logits: &[[f32; 2]],
        mut gradients: Gradients<'_>,
        waiting: Waiting,
    ) -> Result<Option<Dropped>> {
        let of_temperature = gradients.temperature.take();
        let Seen { states, candidates, .. } = seen;
        self.problem.put_temperature_gradient(states, candidates, upstream, of_temperature);
        let context = self.context;
        let rows = self.hidden.ranges().last().map_or(0, |last| last.end);
        let active = context.caught(|| Ok(self.active(seen, upstream, logits)))?;
        let recorded = context.caught(|| {
            let (sums, scratch) = (self.sums(&gradients, rows), self.scratch());
            let mut totals = self.totals(&active);
            let mut recorder = Recorder::new(context, waiting);
            self.record_backward(&mut recorder, &active, &scratch, &sums, totals.as_mut())?;
            Ok((sums, totals, recorder.finish()?))
        });
        let (sums, totals, last) = recorded?;
        context.wait(last, waiting).await?;

        let (width, smoothing) = (self.problem.width, active.smoothing.as_ref());
        if let (Some(mut sink), Some(pieces)) = (gradients.hidden, &sums.hidden) {
            if !sink.accumulate {
                clear(&mut sink.array);
            }
            let mut kept = active.active.iter().map(|active| active.row.hidden).peekable();
            let mut coefficients =
                smoothing.map_or(&[][..], |smoothing| &smoothing.coefficients).iter();
            self.download(pieces, waiting, |row, values| {
                if kept.next_if_eq(&row).is_some() {
                    if let (Some(smoothing), Some(k)) = (smoothing, coefficients.next()) {
                        add_scaled(values, -k, &smoothing.classes);
                    }
                    put_row(&mut sink.array, row, 0..width, values, sink.accumulate);
                }
            })
            .await?;
        }
        if let (Some(mut sink), Some(pieces)) = (gradients.classifier, &sums.classifier) {
            if width == 0 && !sink.accumulate {
                clear(&mut sink.array);
            }
            self.download(pieces, waiting, |row, values| {
                if let Some(smoothing) = smoothing {
                    add_scaled(values, -self.problem.class_weight(row), &smoothing.hidden);
                }
                put_row(&mut sink.array, row, 0..width, values, sink.accumulate);
            })
            .await?;
        }
        if let (Some(mut sink), Some(part)) = (gradients.bias, &sums.bias) {
            let values = self.values(part, waiting).await?;
            let columns = self.problem.columns;
            let total = smoothing.map_or(0.0, |smoothing| smoothing.total);
            let weighed = |class| total * self.problem.class_weight(class);
            let values = values[..columns].iter().enumerate();
            let values: Vec<f64> = values.map(|(v, &x)| f64::from(x) - weighed(v)).collect();
            if columns == 0 && !sink.accumulate {
                clear_vector(&mut sink.array);
            }
            put_vector(&mut sink.array, 0, &values, sink.accumulate);
        }
        match &totals {
            Some(totals) => Ok(Some(self.dropped(totals, &active, waiting).await?)),
            None => Ok(None),
        }
    }

    /// What stands in a part of a buffer.
    async fn values(&self, part: &Part, waiting: Waiting) -> Result<Vec<f32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.context.read_part(part, waiting).await?))
    }

    /// Gives every row of a gradient to `put`, in order.
    async fn download(
        &self,
        pieces: &Pieces,
        waiting: Waiting,
        mut put: impl FnMut(usize, &mut [f32]),
    ) -> Result<()> {
        let width = self.problem.width;
        if width == 0 {
            return Ok(());
        }
        let at_once = (DOWNLOAD / (4 * width) / GRAIN * GRAIN).max(GRAIN);
        for rows in pieces.ranges() {
            for start in rows.clone().step_by(at_once) {
                let some = start..rows.end.min(start + at_once);
                let mut values = self.values(&pieces.part(some.clone()), waiting).await?;
                for (row, values) in some.zip(values.chunks_mut(width)) {
                    put(row, values);
                }
            }
        }
        Ok(())
    }
}

/// Of the softmax of the others m, and 1/(1+r) times what comes in for them.
fn of_others(row: &Active<f32>, [maximum, inverse]: [f64; 2]) -> [f32; 2] {
    match row.candidates.log_others {
        0.0 => [0.0; 2],
        above => [maximum as f32, (above * inverse) as f32],
    }
}

/// What the derivatives of a row's divergences are made with: of the second head m, 1/(1+r) and its ln(1+r)
/// less that of the first; a coefficient and the mean slope of each of four divergences. Also whether these are
/// known.
fn pair_scalars(pair: &Pair<f32>, divergences: Divergences) -> ([f32; 12], bool) {
    let (row, terms) = pair.parts();
    let (_, [maximum, inverse, logarithms]) = row.parts();
    let mut all = [0.0; 12];
    all[..3].copy_from_slice(&[maximum, inverse, logarithms]);
    let mut known = true;
    for (divergence, [first, last], sum) in terms {
        let Some((_, at)) = divergences.of(&divergence.form()) else { continue };
        // Two may have the same form.
        all[4 + 2 * at] += (first * last) as f32;
        all[5 + 2 * at] = sum.mean_slope as f32;
        known &= logarithms.is_finite() && !inverse.is_nan();
    }
    (all, known)
}

/// `to += factor · from`.
fn add_scaled(to: &mut [f32], factor: f64, from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += (factor * f64::from(*from)) as f32;
    }
}
