//! A second head: a call of its own for its states, then one more sweep over both for their divergences.

use ndarray::ArrayView2;
use std::ops::Range;

use super::arrays::Pieces;
use super::call::{Call, Chunk, SweptRows, shapes};
use super::context::{Context, Part};
use super::plan::DevicePlan;
use super::recorder::Recorder;
use super::shader::{Format, Kind, Params};
use super::waiting::Waiting;
use crate::error::Result;
use crate::loss::engine::pair::{DivergenceSums, add_sums, pair_rows};
use crate::loss::engine::problem::{Problem, Row, SecondRow};
use crate::loss::engine::tile::Scratch;
use crate::loss::source::Source;
use crate::matrix::Matrix;
use crate::softmax::RowState;

/// The second head of a problem, taken out of it, as a call of its own.
pub(super) fn second_call<'c, 'a>(
    context: &'c Context,
    problem: &mut Problem<'a, f32>,
) -> Result<Option<Box<Call<'c, 'a>>>> {
    let Some(head) = problem.second.take() else { return Ok(None) };
    let (hidden, classifier) = match head.source {
        Source::Product { hidden, classifier } => (hidden, classifier),
        // Products of no width: the logits go up a piece at a time.
        Source::Given(logits) => {
            let narrow = |rows| -> Matrix<'a> {
                ArrayView2::<f32>::from_shape((rows, 0), &[]).expect("no numbers").into()
            };
            (narrow(logits.dim().0), narrow(logits.dim().1))
        }
    };
    let bytes = |matrix| Format::of(matrix).map_or(4, Format::bytes);
    let shapes = shapes(&head, (bytes(&hidden), bytes(&classifier)), false);
    let plan = DevicePlan::new(&shapes, &context.limits, &context.budget)?;
    let call = context.caught(|| {
        let hidden = Pieces::upload(context, &hidden, plan.hidden_rows);
        let classifier = Pieces::upload(context, &classifier, plan.classifier_rows);
        Call::new(context, *head, plan, hidden, classifier, None)
    })?;
    Ok(Some(Box::new(call)))
}

impl Call<'_, '_> {
    /// Some kept rows, in order, for a sweep over the second head.
    pub(super) fn swept(&self, rows: impl Iterator<Item = usize> + Clone) -> SweptRows {
        let hidden = rows.clone().map(|row| self.problem.rows[row].hidden).collect();
        SweptRows { hidden, words: self.row_words(rows) }
    }

    /// This head's logit of a class, of a row of the first.
    pub(super) fn second_logit(&self, row: &Row, class: usize) -> f64 {
        if self.problem.zero_at_target && row.target as usize == class {
            return 0.0;
        }
        let mut logit = [0.0_f32];
        let scratch = &mut Scratch::<f32>::several(1)[0];
        self.problem.logits_at(row, &[class as u32], scratch, &mut logit);
        f64::from(logit[0])
    }

    /// Room for logits of as many rows and columns as are swept at once.
    pub(super) fn second_bytes(&self) -> usize {
        4 * self.plan.backward_rows * self.plan.backward_columns
    }

    /// Puts this head's logits of a chunk of swept rows and some classes, rows so far apart, into the scratch.
    /// The chunk and the classes may lie in several of its own bindings.
    pub(super) fn record_logits(
        &self,
        recorder: &mut Recorder<'_, '_>,
        rows: &SweptRows,
        chunk: &Range<usize>,
        classes: &Range<usize>,
        stride: usize,
        to: &Part,
    ) -> Result<()> {
        let kernel = self.kernel(Kind::Logits);
        if let Source::Given(logits) = self.problem.source {
            let mut values = vec![0.0_f32; chunk.len() * stride];
            for (&row, to) in rows.hidden[chunk.clone()].iter().zip(values.chunks_mut(stride)) {
                logits.read(row, classes.clone(), &mut to[..classes.len()]);
            }
            recorder.upload(bytemuck::cast_slice(&values), &to.buffer)?;
        }
        for hidden in self.hidden.ranges() {
            let own = &rows.hidden[chunk.clone()];
            let [start, end] = [hidden.start, hidden.end]
                .map(|end| chunk.start + own.partition_point(|&row| row < end));
            for bound in self.classifier.ranges() {
                let own = bound.start.max(classes.start)..bound.end.min(classes.end);
                if start == end || own.is_empty() {
                    continue;
                }
                let (height, width) = (end - start, own.len());
                let origin = (start - chunk.start) * stride + own.start - classes.start;
                let params = Params {
                    rows: height as u32,
                    first_row: start as u32,
                    hidden_origin: hidden.start as u32,
                    columns: width as u32,
                    first_class: own.start as u32,
                    stride: stride as u32,
                    extra: origin as u32,
                    ..self.params()
                };
                let (hidden, classifier) =
                    (self.hidden.part(hidden.clone()), self.classifier.part(own));
                let mut parts = vec![(0, &rows.words), (1, &hidden), (2, &classifier), (5, to)];
                parts.extend(self.bias());
                let grid = (
                    height.div_ceil(kernel.tile.rows as usize),
                    width.div_ceil(kernel.tile.columns as usize),
                );
                let operations = 2.0 * (height * width) as f64 * self.problem.width.max(1) as f64;
                recorder.dispatch(kernel, &parts, &params, grid, operations)?;
            }
        }
        Ok(())
    }

    /// What the kept rows have from the second head, where there is one; `states` are their own.
    pub(super) async fn fold_second(
        &self,
        states: &[RowState],
        waiting: Waiting,
    ) -> Result<Vec<SecondRow>> {
        let head = match (&self.second, self.divergences_of_second()) {
            (Some(head), Some(_)) => head,
            _ => return Ok(Vec::new()),
        };
        let (folded, _) = head.fold_head(waiting).await?;
        let mut rows = SecondRow::of(&self.problem, &folded.states);
        self.sum_divergences(head, states, &mut rows, waiting).await?;
        Ok(rows)
    }

    async fn sum_divergences(
        &self,
        head: &Self,
        states: &[RowState],
        rows: &mut [SecondRow],
        waiting: Waiting,
    ) -> Result<()> {
        let (context, plan) = (self.context, &self.plan);
        let chunks = self.chunks(&self.kept(), plan.pair_rows);
        let most = chunks.iter().map(|chunk| chunk.rows.len()).max().unwrap_or(0);
        if self.divergences().words() == 0 {
            return Ok(());
        }
        let of_row = self.problem.columns.div_ceil(plan.block) * self.divergences().words();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let (words, swept, tile, partials, staging) = context.caught(|| {
            let mut words = Vec::with_capacity(8 * rows.len());
            for (pair, row) in pair_rows::<f32>(states, rows).iter().zip(&self.problem.rows) {
                let ([own, inverse], [second, second_inverse, logarithms]) = pair.parts();
                words.extend([row.hidden as u32, self.scale_of(row).to_bits()]);
                words.extend([own, inverse, second, second_inverse, logarithms].map(f32::to_bits));
                words.push(0);
            }
            let bytes = 4 * most * of_row;
            let partials = Part::whole(&context.buffer(bytes, usage));
            let tile = Part::whole(&context.buffer(
                self.second_bytes(),
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            ));
            let swept = head.swept(0..head.problem.rows.len());
            Ok((self.words(&words), swept, tile, partials, self.readable(bytes)))
        })?;
        for chunk in &chunks {
            let bytes = (4 * chunk.rows.len() * of_row) as u64;
            let index = context.caught(|| {
                let mut recorder = Recorder::new(context, waiting);
                self.record_sums(&mut recorder, head, (&words, &swept), chunk, &tile, &partials)?;
                recorder.copy(&Part { bytes, ..partials.clone() }, &staging, 0);
                recorder.finish()
            })?;
            let found = context.read(&staging, bytes, index, waiting).await?;
            let found: Vec<f32> = bytemuck::pod_collect_to_vec(&found);
            let sums: Vec<DivergenceSums> = chunk
                .rows
                .clone()
                .zip(found.chunks(of_row.max(1)))
                .map(|(row, found)| self.sums_of(&rows[row], &states[row], found))
                .collect();
            add_sums(&mut rows[chunk.rows.clone()], &sums);
        }
        Ok(())
    }

    /// The sums of a row, of those of its blocks in the order of the columns.
    fn sums_of(&self, row: &SecondRow, state: &RowState, found: &[f32]) -> DivergenceSums {
        let (mut sums, divergences) = (DivergenceSums::default(), self.divergences());
        let known = state.maximum.is_finite() && row.maximum.is_finite();
        for (sum, (divergence, _)) in sums.iter_mut().zip(row.divergences.iter()) {
            let Some((at, _)) = divergences.of(&divergence.form()) else { continue };
            if !known {
                // A row without probabilities.
                (sum.value, sum.mean_slope) = (f64::NAN, f64::NAN);
                continue;
            }
            for block in found.chunks(divergences.words()) {
                sum.value += f64::from(block[at]);
                sum.mean_slope += f64::from(block[at + 1]);
            }
        }
        sums
    }

    fn record_sums(
        &self,
        recorder: &mut Recorder<'_, '_>,
        head: &Self,
        (words, swept): (&Part, &SweptRows),
        chunk: &Chunk,
        tile: &Part,
        partials: &Part,
    ) -> Result<()> {
        let plan = &self.plan;
        let kernel = self.kernel(Kind::Divergences(self.divergences()));
        let hidden = self.hidden.part(chunk.hidden.clone());
        let height = chunk.rows.len();
        for classes in self.groups(plan.backward_columns) {
            let stride = classes.len();
            head.record_logits(recorder, swept, &chunk.rows, &classes, stride, tile)?;
            let classifier = self.classifier.part(classes.clone());
            let params = Params {
                rows: height as u32,
                first_row: chunk.rows.start as u32,
                hidden_origin: chunk.hidden.start as u32,
                columns: classes.len() as u32,
                first_class: classes.start as u32,
                span: plan.block as u32,
                spans: self.problem.columns.div_ceil(plan.block) as u32,
                first_span: (classes.start / plan.block) as u32,
                stride: stride as u32,
                ..self.params()
            };
            let params = self.mixture(params);
            let mut parts =
                vec![(0, words), (1, &hidden), (2, &classifier), (5, partials), (7, tile)];
            parts.extend(self.bias());
            let grid =
                (height.div_ceil(kernel.tile.rows as usize), classes.len().div_ceil(plan.block));
            let operations =
                2.0 * (height * classes.len()) as f64 * self.problem.width.max(1) as f64;
            recorder.dispatch(kernel, &parts, &params, grid, operations)?;
        }
        Ok(())
    }
}
