//! How a call is cut into bindings and dispatches: from shapes, limits and options alone.

use super::shader::Tile;
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;

/// Columns of the vocabulary that one partial state covers at most: its 48 bytes are few beside
/// their products. No hardware GPU was at hand: what is here is chosen, not measured.
const SPAN: usize = 4096;
/// And at least, where that many fit: a [`BLOCK`].
const LEAST_SPAN: usize = 512;
/// Classes whose terms of the hidden gradient are summed before they join the rest, at most: a span
/// is a multiple of it. At V = 60 000 dE is off by 3.5e-7 of its largest element, without by 6.4e-6.
const BLOCK: usize = 512;
/// Workgroups that a forward is cut into at least, as far as spans allow: several for each of some hundred
/// multiprocessors.
const WORKGROUPS: usize = 1024;
/// Bytes in f32 that the classifier's rows of a span take at most: every device binds that much.
const SPAN_BYTES: usize = 32 << 20;
/// Storage buffers of the kernel that has most.
const STORAGE_BUFFERS: usize = 8;
/// Words of what a block of columns adds to the divergences of a row, at most.
const PAIR_WORDS: usize = 8;
/// Words of a partial state.
pub(super) const STATE_WORDS: usize = 12;
/// Bindings begin at a multiple of so many rows, which is a multiple of 256 bytes in every type.
pub(super) const GRAIN: usize = 128;

/// The sizes of a call on a GPU.
///
/// ```
/// use surprisal::gpu::DeviceShapes;
/// let shapes = DeviceShapes::new(8192, 2304, 256_000);
/// assert_eq!(shapes.hidden_bytes, 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceShapes {
    /// N, the rows of the hidden states.
    pub rows: usize,
    /// D.
    pub hidden: usize,
    /// V.
    pub vocabulary: usize,
    /// Bytes of a number of the hidden states: 4 or 2.
    pub hidden_bytes: usize,
    /// Bytes of a number of the classifier: 4 or 2.
    pub classifier_bytes: usize,
    /// Whether gradients are computed too.
    pub gradients: bool,
    /// How many numbers go to the device beside each logit: one of dense soft targets, one of a companion of
    /// entries.
    pub beside_logits: usize,
    /// D′ of a second head, 0 of one whose logits are given. Its own fold is a call of its own, without
    /// gradients.
    pub second_head: Option<usize>,
}

impl DeviceShapes {
    /// N rows of hidden states of width D, over V classes: in f32, with gradients.
    ///
    /// ```
    /// let shapes = surprisal::gpu::DeviceShapes::new(8192, 2304, 256_000).gradients(false);
    /// assert_eq!((shapes.vocabulary, shapes.classifier_bytes), (256_000, 4));
    /// ```
    pub fn new(rows: usize, hidden: usize, vocabulary: usize) -> Self {
        let (hidden_bytes, classifier_bytes) = (4, 4);
        Self {
            rows,
            hidden,
            vocabulary,
            hidden_bytes,
            classifier_bytes,
            gradients: true,
            beside_logits: 0,
            second_head: None,
        }
    }

    /// Bytes of a number of the hidden states: 4, the default, or 2.
    #[must_use]
    pub fn hidden_bytes(mut self, bytes: usize) -> Self {
        self.hidden_bytes = bytes;
        self
    }

    /// Bytes of a number of the classifier: 4, the default, or 2.
    #[must_use]
    pub fn classifier_bytes(mut self, bytes: usize) -> Self {
        self.classifier_bytes = bytes;
        self
    }

    /// Whether gradients are computed too; they are by default.
    #[must_use]
    pub fn gradients(mut self, gradients: bool) -> Self {
        self.gradients = gradients;
        self
    }

    /// How many numbers go to the device beside each logit, none by default: one of dense soft targets, one
    /// of a companion of entries.
    #[must_use]
    pub fn beside_logits(mut self, numbers: usize) -> Self {
        self.beside_logits = numbers;
        self
    }

    /// The width of a second head, 0 of one whose logits are given; none by default.
    #[must_use]
    pub fn second_head(mut self, width: usize) -> Self {
        self.second_head = Some(width);
        self
    }
}

/// What a plan may take.
///
/// ```
/// let budget = surprisal::gpu::Budget::default();
/// assert_eq!(budget.scratch_bytes, 64 << 20);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Budget {
    /// Bytes of G that are held at once; 64 MiB.
    pub scratch_bytes: usize,
    /// Operations of one dispatch, about 50 ms of work; 2.5e11.
    pub dispatch_operations: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { scratch_bytes: 64 << 20, dispatch_operations: 2.5e11 }
    }
}

/// How a call is cut, and what it takes.
///
/// Spans, and with them the bits of the result, depend on the shapes alone; how many bindings and
/// dispatches there are depends on the device.
///
/// ```
/// use surprisal::gpu::{Budget, DevicePlan, DeviceShapes, wgpu};
/// let shapes = DeviceShapes::new(8192, 2304, 256_000);
/// let plan = DevicePlan::new(&shapes, &wgpu::Limits::default(), &Budget::default())?;
/// assert_eq!((plan.span, plan.classifier_bindings), (3584, 18));
/// assert!(plan.workspace_bytes < 128 << 20);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct DevicePlan {
    /// Columns that one partial state covers.
    pub span: usize,
    /// Partial states of a row.
    pub spans: usize,
    /// Rows of the hidden states in one binding.
    pub hidden_rows: usize,
    /// Bindings of the hidden states.
    pub hidden_bindings: usize,
    /// Rows of the classifier in one binding.
    pub classifier_rows: usize,
    /// Bindings of the classifier.
    pub classifier_bindings: usize,
    /// Rows of one dispatch of the forward.
    pub forward_rows: usize,
    /// Spans of one dispatch of the forward.
    pub forward_spans: usize,
    /// Rows of G that are held at once.
    pub backward_rows: usize,
    /// Columns of G that are held at once.
    pub backward_columns: usize,
    /// Dispatches of the forward.
    pub forward_dispatches: usize,
    /// Dispatches of the backward, the bias left out.
    pub backward_dispatches: usize,
    /// Bytes of scratch on the device, with what stands beside the logits of one dispatch, those of a second
    /// head among it.
    pub workspace_bytes: usize,
    /// Bytes of hidden states, classifier and their gradients on the device.
    pub array_bytes: usize,
    /// Bytes of memory that a workgroup shares.
    pub workgroup_bytes: u32,
    /// Classes that are summed at once in the hidden gradient, and in divergences.
    pub(super) block: usize,
    /// Rows of one sweep over both heads.
    pub(super) pair_rows: usize,
    pub(super) tile: Tile,
}

impl DevicePlan {
    /// The plan for these shapes on a device with these limits.
    ///
    /// # Errors
    /// [`Failure::LimitExceeded`] where not even the smallest piece fits,
    /// [`Error::TooLarge`] for sizes that no 32-bit index reaches.
    pub fn new(shapes: &DeviceShapes, limits: &wgpu::Limits, budget: &Budget) -> Result<Self> {
        let DeviceShapes { rows, hidden, vocabulary, hidden_bytes, classifier_bytes, .. } = *shapes;
        let DeviceShapes { gradients, beside_logits, second_head, .. } = *shapes;
        if vocabulary >= 1 << 31 || rows >= 1 << 31 || hidden >= 1 << 31 {
            let what = format!("{rows} rows of {hidden} numbers and {vocabulary} classes");
            return Err(Error::TooLarge { what });
        }
        let exceeded = |what: String, need: usize, have: usize| {
            let (need, have) = (need as u64, have as u64);
            Err(Error::Gpu(Failure::LimitExceeded { what, need, have }))
        };
        let buffers = limits.max_storage_buffers_per_shader_stage as usize;
        if buffers < STORAGE_BUFFERS {
            return exceeded("a kernel, in storage buffers,".into(), STORAGE_BUFFERS, buffers);
        }
        let binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) as usize;
        let own = if gradients { 4 } else { 0 };
        let hidden_row = hidden.max(1) * hidden_bytes.max(own);
        let classifier_row = hidden.max(1) * classifier_bytes.max(own);
        let fit = |count: usize, row: usize, grain: usize| match count <= binding / row {
            true => count,
            false => binding / row / grain * grain,
        };
        // Few rows take short spans, so that there is work for many workgroups.
        let fair = vocabulary * rows.div_ceil(GRAIN) / WORKGROUPS / LEAST_SPAN * LEAST_SPAN;
        let fits = SPAN_BYTES / (4 * hidden.max(1)) / GRAIN * GRAIN;
        let span = match fits >= LEAST_SPAN {
            true => fair.clamp(LEAST_SPAN, SPAN).min(fits / LEAST_SPAN * LEAST_SPAN),
            false => fits.max(GRAIN),
        };
        let spans = vocabulary.div_ceil(span);
        let hidden_rows = fit(rows, hidden_row, GRAIN);
        if hidden_rows == 0 && rows > 0 {
            let what = format!("a binding of {GRAIN} rows of the hidden states, in bytes,");
            return exceeded(what, GRAIN * hidden_row, binding);
        }
        let classifier_rows = fit(vocabulary, classifier_row, span);
        if classifier_rows == 0 && vocabulary > 0 {
            let what = format!("a binding of {span} classes, in bytes,");
            return exceeded(what, span * classifier_row, binding);
        }

        let groups = limits.max_compute_workgroups_per_dimension as usize;
        let work = budget.dispatch_operations;
        let operations =
            |rows: usize, columns: usize| 2.0 * rows as f64 * columns as f64 * hidden.max(1) as f64;
        let padded = rows.next_multiple_of(GRAIN).max(GRAIN);
        let state_bytes = (spans * STATE_WORDS * 4).max(1);
        let room = binding.min(budget.scratch_bytes.max(1));
        let by_states = room / state_bytes / GRAIN * GRAIN;
        if by_states == 0 {
            let what = format!("a binding of the states of {GRAIN} rows, in bytes,");
            return exceeded(what, GRAIN * state_bytes, room);
        }
        let most = (work / operations(1, span)) as usize / GRAIN * GRAIN;
        // What stands beside the logits is there for one span at a time.
        let (by_entries, most_spans) = match beside_logits {
            0 => (usize::MAX, groups),
            _ => ((budget.scratch_bytes / (4 * span) / GRAIN * GRAIN).max(GRAIN), 1),
        };
        let forward_rows =
            padded.min(by_states).min(most.max(GRAIN)).min(groups * 64).min(by_entries);
        let forward_spans = ((work / operations(forward_rows, span)) as usize)
            .clamp(1, most_spans)
            .min(spans.max(1));

        let block = span.min(BLOCK);
        let smallest = GRAIN * block * 4;
        if (gradients || second_head.is_some()) && room < smallest {
            return exceeded("the scratch of the backward, in bytes,".into(), smallest, room);
        }
        // A tile of both heads takes the work of the wider one.
        let widest = hidden.max(second_head.unwrap_or(0)).max(1) as f64;
        let mut backward_rows = padded.min(8192).min(groups * 64);
        let columns = |rows: usize| {
            let by_work = (work / (2.0 * rows as f64 * widest)).min(1e9) as usize;
            (room / (4 * rows)).min(by_work).min(groups * 64) / block * block
        };
        while backward_rows > GRAIN && columns(backward_rows) < block {
            backward_rows = (backward_rows / 2).next_multiple_of(GRAIN);
        }
        let whole = vocabulary.next_multiple_of(block).max(block);
        let backward_columns = columns(backward_rows).max(block).min(whole);
        let sum_bytes = vocabulary.div_ceil(block).max(1) * PAIR_WORDS * 4;
        let by_sums = room / sum_bytes / GRAIN * GRAIN;
        if second_head.is_some() && by_sums == 0 {
            let what = format!("a binding of the divergences of {GRAIN} rows, in bytes,");
            return exceeded(what, GRAIN * sum_bytes, room);
        }
        let pair_rows = backward_rows.min(by_sums.max(GRAIN));

        let bindings = |count: usize, each: usize| count.div_ceil(each.max(1));
        // The pieces of each binding, of so many each.
        let pieces = |count: usize, each: usize, step: usize| {
            let whole = count / each.max(1);
            whole * each.div_ceil(step) + (count % each.max(1)).div_ceil(step)
        };
        let forward_steps = pieces(rows, hidden_rows, forward_rows)
            * pieces(vocabulary, classifier_rows, forward_spans * span);
        let pair_steps = pieces(rows, hidden_rows, pair_rows)
            * pieces(vocabulary, classifier_rows, backward_columns);
        let backward_steps = pieces(rows, hidden_rows, backward_rows)
            * pieces(vocabulary, classifier_rows, backward_columns);
        let tile = Tile::choose(rows, limits)?;
        let states = state_bytes * forward_rows.min(padded);
        let scratch = if gradients { backward_rows * backward_columns * 4 } else { 0 };
        let beside = beside_logits * scratch.max(forward_rows * span * 4);
        let second = match second_head {
            None => 0,
            Some(_) => backward_rows * backward_columns * 4 + 2 * pair_rows * sum_bytes,
        };
        let of_second = |steps: usize| if second_head.is_some() { steps } else { 0 };
        Ok(Self {
            span,
            spans,
            hidden_rows,
            hidden_bindings: bindings(rows, hidden_rows),
            classifier_rows,
            classifier_bindings: bindings(vocabulary, classifier_rows),
            forward_rows,
            forward_spans,
            backward_rows,
            backward_columns,
            block,
            pair_rows,
            forward_dispatches: forward_steps + of_second(2 * pair_steps),
            backward_dispatches: match gradients {
                true => 3 * backward_steps + of_second(backward_steps),
                false => 0,
            },
            workspace_bytes: 2 * states + scratch + scratch / 4096 + beside + second,
            array_bytes: rows * hidden * (hidden_bytes + own)
                + vocabulary * hidden * (classifier_bytes + own),
            workgroup_bytes: tile.workgroup_bytes(),
            tile,
        })
    }
}

impl Tile {
    /// The largest that the workgroup's memory holds and that so many rows fill.
    fn choose(rows: usize, limits: &wgpu::Limits) -> Result<Self> {
        let smallest = Self::ALL[0];
        let limit = |what: &str, need: u32, have: u32| {
            let (need, have) = (u64::from(need), u64::from(have));
            Err(Error::Gpu(Failure::LimitExceeded { what: what.into(), need, have }))
        };
        if limits.max_compute_invocations_per_workgroup < 256 {
            let have = limits.max_compute_invocations_per_workgroup;
            return limit("a workgroup", 256, have);
        }
        let have = limits.max_compute_workgroup_storage_size;
        if smallest.workgroup_bytes() > have {
            return limit("the memory of a workgroup", smallest.workgroup_bytes(), have);
        }
        if rows < 96 {
            return Ok(smallest);
        }
        let fits = |tile: &&Self| tile.workgroup_bytes() <= have;
        Ok(*Self::ALL.iter().rev().find(fits).unwrap_or(&smallest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(binding: u64) -> wgpu::Limits {
        wgpu::Limits { max_storage_buffer_binding_size: binding, ..wgpu::Limits::default() }
    }

    #[test]
    fn spans_depend_on_shapes_alone_and_pieces_are_whole_spans() {
        let shapes = DeviceShapes::new(40_000, 64, 20_000);
        let large = DevicePlan::new(&shapes, &limits(1 << 30), &Budget::default()).unwrap();
        assert_eq!((large.span, large.spans, large.classifier_bindings), (4096, 5, 1));
        let few = DevicePlan::new(
            &DeviceShapes { rows: 300, ..shapes },
            &limits(1 << 30),
            &Budget::default(),
        );
        assert_eq!(few.unwrap().span, 512);
        let small = DevicePlan::new(&shapes, &limits(2 << 20), &Budget::default()).unwrap();
        assert_eq!((small.span, small.spans), (large.span, large.spans));
        assert_eq!(small.classifier_rows % small.span, 0);
        assert!(small.classifier_rows * 64 * 4 <= 2 << 20);
        assert_eq!(small.classifier_bindings, 3);
    }

    #[test]
    fn everything_stays_below_the_limits() {
        for (rows, hidden, vocabulary) in [
            (1, 1, 1),
            (1, 8192, 262_144),
            (8192, 2304, 256_000),
            (129, 3, 1000),
            (100_000, 512, 9),
        ] {
            for gradients in [false, true] {
                for operations in [1e6, 5e8, 2.5e11] {
                    let shapes = DeviceShapes::new(rows, hidden, vocabulary).gradients(gradients);
                    let budget = Budget { dispatch_operations: operations, ..Budget::default() };
                    let plan = DevicePlan::new(&shapes, &limits(128 << 20), &budget).unwrap();
                    let most = 128 << 20;
                    assert!(plan.hidden_rows * hidden * 4 <= most);
                    assert!(plan.classifier_rows * hidden * 4 <= most);
                    assert!(plan.forward_rows * plan.spans * STATE_WORDS * 4 <= 64 << 20);
                    assert!(plan.backward_rows * plan.backward_columns * 4 <= 64 << 20);
                    let step = plan.forward_rows * plan.forward_spans * plan.span;
                    let least = GRAIN * plan.span * hidden;
                    assert!(2.0 * (step * hidden) as f64 <= operations.max(2.0 * least as f64));
                    let step = plan.backward_rows * plan.backward_columns;
                    let least = GRAIN * BLOCK * hidden;
                    assert!(2.0 * (step * hidden) as f64 <= operations.max(2.0 * least as f64));
                    assert!(plan.workgroup_bytes <= 16384);
                }
            }
        }
    }

    #[test]
    fn what_stands_beside_the_logits_is_counted_and_within_the_scratch() {
        let budget = Budget { scratch_bytes: 8 << 20, ..Budget::default() };
        let plan = |numbers| {
            let shapes = DeviceShapes::new(5000, 64, 20_000).beside_logits(numbers);
            DevicePlan::new(&shapes, &limits(128 << 20), &budget).unwrap()
        };
        let [none, one, two] = [0, 1, 2].map(plan);
        assert!(none.forward_spans > 1 && one.forward_spans == 1);
        assert!(one.forward_rows * one.span * 4 <= 8 << 20);
        let most = (one.forward_rows * one.span).max(one.backward_rows * one.backward_columns) * 4;
        assert_eq!(two.workspace_bytes - one.workspace_bytes, most);
        assert_eq!((one.span, one.backward_rows), (none.span, none.backward_rows));
    }

    #[test]
    fn a_second_head_is_counted_and_within_the_scratch() {
        let budget = Budget { scratch_bytes: 8 << 20, ..Budget::default() };
        for gradients in [false, true] {
            let shapes = DeviceShapes::new(5000, 64, 20_000).gradients(gradients);
            let plan = |shapes: &DeviceShapes| {
                DevicePlan::new(shapes, &limits(128 << 20), &budget).unwrap()
            };
            let (none, some) = (plan(&shapes), plan(&shapes.second_head(512)));
            let tile = some.backward_rows * some.backward_columns * 4;
            let sums = some.pair_rows * 20_000_usize.div_ceil(some.block) * PAIR_WORDS * 4;
            assert!(tile <= 8 << 20 && sums <= 8 << 20);
            assert_eq!(some.workspace_bytes - none.workspace_bytes, tile + 2 * sums);
            assert_eq!((some.span, some.block), (none.span, none.block));
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_that_says_how_much() {
        let shapes = DeviceShapes::new(300, 64, 20_000);
        let error = DevicePlan::new(&shapes, &limits(1000), &Budget::default()).unwrap_err();
        let Error::Gpu(Failure::LimitExceeded { need, have, .. }) = error else {
            panic!("{error}")
        };
        assert_eq!((need, have), (128 * 64 * 4, 1000));
    }
}
