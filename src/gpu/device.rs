//! Arrays that live on the device, and commands into an encoder of the caller's.

use half::{bf16, f16};
use ndarray::{Array2, ArrayView2, ShapeBuilder};

use super::arrays::{DeviceMatrix, Pieces};
use super::backward::{DOWNLOAD, Scratch, Sums};
use super::call::{Call, Chunk, check, shapes};
use super::context::{Context, Part, Waiting, now};
use super::plan::Plan;
use super::recorder::Recorder;
use super::shader::Format;
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;
use crate::loss::engine::fold::Folded;
use crate::loss::engine::problem::Problem;
use crate::loss::{Forward, Inputs, LinearCrossEntropy, Targets, Upstream};
use crate::matrix::{Matrix, Vector};

/// [`Inputs`] whose hidden states and classifier are on the device; the rest, which is smaller, is the
/// caller's memory.
///
/// ```no_run
/// use surprisal::gpu::{DeviceInputs, DeviceMatrix};
/// # fn buffers() -> [surprisal::gpu::wgpu::Buffer; 2] { panic!() }
/// let [hidden, classifier] = buffers();
/// let (hidden, classifier) =
///     (DeviceMatrix::f32(hidden, 2, 64), DeviceMatrix::bf16(classifier, 1000, 64));
/// let inputs = DeviceInputs::new(hidden, classifier, &[7_i64, -100]);
/// ```
#[derive(Clone, Debug)]
pub struct DeviceInputs<'a> {
    hidden: DeviceMatrix,
    classifier: DeviceMatrix,
    inputs: Inputs<'a>,
}

/// A matrix of these sizes that takes no memory: nothing reads its elements.
fn sizes_of<'a>(matrix: &DeviceMatrix) -> Matrix<'a> {
    fn zeros<'a, T>(zero: &'a [T; 1], dim: (usize, usize)) -> ArrayView2<'a, T> {
        ArrayView2::from_shape(dim.strides((0, 0)), zero).expect("an element that is everywhere")
    }
    match matrix.format {
        Format::F32 => zeros(&[0.0_f32], matrix.dim()).into(),
        Format::Bf16 => zeros(&[bf16::ZERO], matrix.dim()).into(),
        Format::F16 => zeros(&[f16::ZERO], matrix.dim()).into(),
    }
}

impl<'a> DeviceInputs<'a> {
    /// Hidden states `[N,D]`, classifier `[V,D]` and what the rows should be.
    pub fn new(
        hidden: DeviceMatrix,
        classifier: DeviceMatrix,
        targets: impl Into<Targets<'a>>,
    ) -> Self {
        let inputs = Inputs::new(sizes_of(&hidden), sizes_of(&classifier), targets);
        Self { hidden, classifier, inputs }
    }

    /// As [`Inputs::bias`].
    pub fn bias(mut self, bias: impl Into<Vector<'a>>) -> Self {
        self.inputs = self.inputs.bias(bias);
        self
    }

    /// As [`Inputs::class_weights`].
    pub fn class_weights(mut self, weights: impl Into<Vector<'a>>) -> Self {
        self.inputs = self.inputs.class_weights(weights);
        self
    }

    /// As [`Inputs::token_weights`].
    pub fn token_weights(mut self, weights: impl Into<Vector<'a>>) -> Self {
        self.inputs = self.inputs.token_weights(weights);
        self
    }

    /// As [`Inputs::ignore`].
    pub fn ignore(mut self, flags: &'a [bool]) -> Self {
        self.inputs = self.inputs.ignore(flags);
        self
    }

    /// As [`Inputs::rows`].
    pub fn rows(mut self, rows: &'a [usize]) -> Self {
        self.inputs = self.inputs.rows(rows);
        self
    }

    /// As [`Inputs::shift`].
    pub fn shift(mut self, shift: usize) -> Self {
        self.inputs = self.inputs.shift(shift);
        self
    }

    /// As [`Inputs::shift_within`].
    pub fn shift_within(mut self, shift: usize, sequence: usize) -> Self {
        self.inputs = self.inputs.shift_within(shift, sequence);
        self
    }
}

/// Buffers of the caller's that gradients are put into, always in f32: any subset.
///
/// ```no_run
/// use surprisal::gpu::{DeviceGradients, DeviceMatrix};
/// # fn buffers() -> [surprisal::gpu::wgpu::Buffer; 2] { panic!() }
/// let [hidden, classifier] = buffers();
/// let gradients = DeviceGradients::new()
///     .hidden(DeviceMatrix::f32(hidden, 2, 64))
///     .accumulate_classifier(DeviceMatrix::f32(classifier, 1000, 64));
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct DeviceGradients {
    hidden: Option<(DeviceMatrix, bool)>,
    classifier: Option<(DeviceMatrix, bool)>,
    bias: Option<(wgpu::Buffer, bool)>,
}

impl DeviceGradients {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// dE `[N,D]` is assigned.
    pub fn hidden(mut self, matrix: DeviceMatrix) -> Self {
        self.hidden = Some((matrix, false));
        self
    }

    /// dE `[N,D]` is added.
    pub fn accumulate_hidden(mut self, matrix: DeviceMatrix) -> Self {
        self.hidden = Some((matrix, true));
        self
    }

    /// dC `[V,D]` is assigned.
    pub fn classifier(mut self, matrix: DeviceMatrix) -> Self {
        self.classifier = Some((matrix, false));
        self
    }

    /// dC `[V,D]` is added.
    pub fn accumulate_classifier(mut self, matrix: DeviceMatrix) -> Self {
        self.classifier = Some((matrix, true));
        self
    }

    /// db `[V]` is assigned, from the beginning of the buffer on.
    pub fn bias(mut self, buffer: wgpu::Buffer) -> Self {
        self.bias = Some((buffer, false));
        self
    }

    /// db `[V]` is added.
    pub fn accumulate_bias(mut self, buffer: wgpu::Buffer) -> Self {
        self.bias = Some((buffer, true));
        self
    }
}

/// Scratch on the device that calls share: it grows to what the largest takes, and is freed with
/// this value.
///
/// ```
/// assert_eq!(surprisal::gpu::Workspace::new().bytes(), 0);
/// ```
#[derive(Debug, Default)]
pub struct Workspace {
    partials: Option<wgpu::Buffer>,
    g: Option<wgpu::Buffer>,
    kept: Option<wgpu::Buffer>,
    lost: Option<wgpu::Buffer>,
}

impl Workspace {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        let parts = [&self.partials, &self.g, &self.kept, &self.lost];
        parts.into_iter().flatten().map(wgpu::Buffer::size).sum()
    }
}

impl Workspace {
    fn scratch(&mut self, call: &Call<'_, '_>) -> Scratch {
        let (g, filter) = call.scratch_bytes();
        let g = sized(call.context, &mut self.g, g);
        let filter = filter.map(|[kept, lost]| {
            (sized(call.context, &mut self.kept, kept), sized(call.context, &mut self.lost, lost))
        });
        Scratch { g, filter }
    }
}

impl DeviceGradients {
    /// What is assigned begins at 0.
    fn clear(&self, recorder: &mut Recorder<'_, '_>, sums: &Sums) {
        let pairs = [(&sums.hidden, &self.hidden), (&sums.classifier, &self.classifier)];
        for (pieces, to) in pairs {
            if let (Some(pieces), Some((_, false))) = (pieces, to) {
                pieces.ranges().for_each(|rows| recorder.clear(&pieces.part(rows)));
            }
        }
        if let (Some(bias), Some((_, false))) = (&sums.bias, &self.bias) {
            recorder.clear(bias);
        }
    }
}

impl Call<'_, '_> {
    /// The caller's gradients, checked.
    fn device_sums(&self, inputs: &DeviceInputs<'_>, gradients: &DeviceGradients) -> Result<Sums> {
        let pieces = |name, to: &Option<(DeviceMatrix, bool)>, like: &DeviceMatrix, each| match to {
            Some((matrix, _)) if matrix.dim() != like.dim() => Err(Error::Shape {
                argument: name,
                found: vec![matrix.rows, matrix.columns],
                expected: format!("{:?}, as what it is the gradient of", like.dim()),
            }),
            Some((matrix, _)) if matrix.format != Format::F32 => {
                Err(Error::Conflict { what: format!("{name} is not of f32, expected f32") })
            }
            Some((matrix, _)) => matrix.pieces(name, each).map(Some),
            None => Ok(None),
        };
        let (hidden, classifier) = (&gradients.hidden, &gradients.classifier);
        let (rows, classes) = (self.hidden.rows_each, self.classifier.rows_each);
        let bytes = 4 * self.problem.columns as u64;
        let bias = match &gradients.bias {
            Some((buffer, _)) if buffer.size() < bytes => {
                return Err(Error::Conflict {
                    what: format!(
                        "the bias gradient's buffer holds {} bytes, expected {bytes}",
                        buffer.size()
                    ),
                });
            }
            Some((buffer, _)) => Some(Part { buffer: buffer.clone(), offset: 0, bytes }),
            None => None,
        };
        Ok(Sums {
            hidden: pieces("the hidden gradient", hidden, &inputs.hidden, rows)?,
            classifier: pieces("the classifier gradient", classifier, &inputs.classifier, classes)?,
            bias,
        })
    }
}

fn sized(context: &Context, buffer: &mut Option<wgpu::Buffer>, bytes: usize) -> Part {
    let large = buffer.as_ref().is_some_and(|buffer| buffer.size() >= bytes as u64);
    if !large {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        *buffer = Some(context.buffer(bytes, usage));
    }
    Part::whole(buffer.as_ref().expect("what was just made"))
}

/// A forward that has been encoded. Once its encoder was submitted, [`finish`](Self::finish) has the
/// result.
pub struct Encoded<'c, 'a> {
    call: Call<'c, 'a>,
    chunks: Vec<Chunk>,
    staging: wgpu::Buffer,
    logits: Option<(wgpu::Buffer, u64)>,
}

impl Encoded<'_, '_> {
    /// Waits for this submission, and merges what it has left.
    ///
    /// # Errors
    /// [`Error::Gpu`] for what the device does.
    pub fn finish(self, submission: wgpu::SubmissionIndex) -> Result<Forward> {
        now(self.merge(submission, Waiting::Blocking))
    }

    /// The same, asynchronously: a thread of its own waits.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn finish_async(self, submission: wgpu::SubmissionIndex) -> Result<Forward> {
        self.merge(submission, Waiting::Async).await
    }

    async fn merge(self, index: wgpu::SubmissionIndex, waiting: Waiting) -> Result<Forward> {
        let Self { call, chunks, staging, logits } = self;
        let context = call.context;
        let logits: Vec<[f32; 2]> = match logits {
            None => Vec::new(),
            Some((buffer, bytes)) => {
                let bytes = context.read(&buffer, bytes, index.clone(), waiting).await?;
                bytemuck::pod_collect_to_vec(&bytes)
            }
        };
        let mut folded = Folded { states: Vec::new(), top: Vec::new(), record: None };
        let all = call.state_bytes(call.problem.rows.len());
        let words = context.read(&staging, all as u64, index, waiting).await?;
        for chunk in &chunks {
            let [start, end] = [chunk.rows.start, chunk.rows.end].map(|row| call.state_bytes(row));
            call.merge(chunk, &words[start..end], &logits, &mut folded.states);
        }
        call.weigh_others(&mut folded.states);
        call.add_sparse(&logits, &mut folded.states);
        Ok(Forward::new(call.problem, folded, None).without_dropped())
    }
}

impl Context {
    /// Puts the commands of [`forward`](Self::forward) for arrays on the device into an encoder of the
    /// caller's. Nothing is submitted, and nothing waits.
    ///
    /// ```no_run
    /// # fn given<'a>() -> (surprisal::gpu::Context, surprisal::gpu::DeviceInputs<'a>) { panic!() }
    /// use surprisal::{LinearCrossEntropy, gpu::Workspace};
    /// let (context, inputs) = given();
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let mut workspace = Workspace::new();
    /// let mut encoder = context.device().create_command_encoder(&Default::default());
    /// let encoded = context.encode_forward(&mut encoder, &loss, &inputs, &mut workspace)?;
    /// let submission = context.queue().submit([encoder.finish()]);
    /// println!("{}", encoded.finish(submission)?.loss());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn encode_forward<'c, 'a>(
        &'c self,
        encoder: &mut wgpu::CommandEncoder,
        loss: &LinearCrossEntropy,
        inputs: &DeviceInputs<'a>,
        workspace: &mut Workspace,
    ) -> Result<Encoded<'c, 'a>> {
        let call = self.device_call(loss, inputs, false)?;
        self.caught(|| {
            let mut recorder = Recorder::into(self, encoder);
            let rows = call.row_words();
            let targets = call.target_logits(&mut recorder, &rows)?;
            let logits = targets.as_ref().map(|targets| {
                let bytes = targets.bytes();
                let staging = call.readable(bytes as usize);
                recorder.copy(&targets.device, &staging, 0);
                (staging, bytes)
            });
            let chunks = call.forward_chunks();
            let most = chunks.iter().map(|chunk| chunk.rows.len()).max().unwrap_or(0);
            let partials = sized(self, &mut workspace.partials, call.state_bytes(most));
            let staging = call.readable(call.state_bytes(call.problem.rows.len()));
            for chunk in &chunks {
                call.record_fold(&mut recorder, chunk, &rows, targets.as_ref(), &partials)?;
                let bytes = call.state_bytes(chunk.rows.len()) as u64;
                let at = call.state_bytes(chunk.rows.start) as u64;
                recorder.copy(&Part { bytes, ..partials.clone() }, &staging, at);
            }
            Ok(Encoded { call, chunks, staging, logits })
        })
    }

    /// Puts the commands of [`vjp`](Self::vjp) for arrays on the device into an encoder of the
    /// caller's. Sparse targets are not supported here.
    ///
    /// ```no_run
    /// # use surprisal::gpu::{Context, DeviceGradients, DeviceInputs, Workspace};
    /// # fn given<'a>() -> (Context, DeviceInputs<'a>, surprisal::Forward, DeviceGradients) { panic!() }
    /// use surprisal::{LinearCrossEntropy, Upstream};
    /// let (context, inputs, forward, gradients) = given();
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let mut workspace = Workspace::new();
    /// let mut encoder = context.device().create_command_encoder(&Default::default());
    /// let upstream = Upstream::default();
    /// context.encode_backward(
    ///     &mut encoder, &loss, &inputs, &forward, &upstream, &gradients, &mut workspace,
    /// )?;
    /// context.queue().submit([encoder.finish()]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp).
    #[allow(clippy::too_many_arguments)]
    pub fn encode_backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        loss: &LinearCrossEntropy,
        inputs: &DeviceInputs<'_>,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: &DeviceGradients,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let conflict = |what: String| Err(Error::Conflict { what });
        if matches!(inputs.inputs.targets, Targets::Sparse { .. }) {
            return conflict("sparse targets have no encoded backward, expected vjp".into());
        }
        let call = self.device_call(&loss.without_rank(), inputs, true)?;
        forward.check_upstream(&call.problem, upstream)?;
        let sums = call.device_sums(inputs, gradients)?;
        self.caught(|| {
            let mut recorder = Recorder::into(self, encoder);
            gradients.clear(&mut recorder, &sums);
            let active = call.active(forward.states(), upstream, &[]);
            let scratch = workspace.scratch(&call);
            call.record_backward(&mut recorder, &active, &scratch, &sums, None)
        })
    }

    /// [`forward`](Self::forward) of arrays on the device, in submissions of about 50 ms.
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// use surprisal::{LinearCrossEntropy, gpu};
    /// let context = gpu::Context::new(&gpu::Options::new().software(true))?;
    /// let hidden = context.upload(ndarray::arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]).view())?;
    /// let classifier = ndarray::arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
    /// let classifier = context.upload(classifier.view())?;
    /// let inputs = gpu::DeviceInputs::new(hidden, classifier, &[2_u32, 0]);
    /// let forward = context.forward_resident(&LinearCrossEntropy::builder().build()?, &inputs)?;
    /// assert!(forward.loss() > 0.0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn forward_resident(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &DeviceInputs<'_>,
    ) -> Result<Forward> {
        let call = self.device_call(loss, inputs, false)?;
        let (folded, _) = now(call.fold(Waiting::Blocking))?;
        Ok(Forward::new(call.problem, folded, None).without_dropped())
    }

    /// [`loss_and_gradients`](Self::loss_and_gradients) of arrays on the device into arrays on the
    /// device, in submissions of about 50 ms. It returns when all is done.
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// use surprisal::{LinearCrossEntropy, Upstream, gpu};
    /// let context = gpu::Context::new(&gpu::Options::new().software(true))?;
    /// let ones = ndarray::Array2::<f32>::ones((4, 8));
    /// let inputs = gpu::DeviceInputs::new(
    ///     context.upload(ones.view())?,
    ///     context.upload(ones.view())?,
    ///     &[2_u32, 0, 1, 3],
    /// );
    /// let gradients = gpu::DeviceGradients::new().hidden(context.zeros(4, 8)?);
    /// context.loss_and_gradients_resident(
    ///     &LinearCrossEntropy::builder().build()?,
    ///     &inputs,
    ///     &Upstream::default(),
    ///     &gradients,
    ///     &mut gpu::Workspace::new(),
    /// )?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn loss_and_gradients_resident(
        &self,
        loss: &LinearCrossEntropy,
        inputs: &DeviceInputs<'_>,
        upstream: &Upstream<'_>,
        gradients: &DeviceGradients,
        workspace: &mut Workspace,
    ) -> Result<Forward> {
        let call = self.device_call(loss, inputs, true)?;
        upstream.check(&call.problem)?;
        let sums = call.device_sums(inputs, gradients)?;
        let (folded, logits) = now(call.fold(Waiting::Blocking))?;
        let (active, totals, last) = self.caught(|| {
            let active = call.active(&folded.states, upstream, &logits);
            let mut totals = call.totals(&active);
            let mut recorder = Recorder::new(self, Waiting::Blocking);
            gradients.clear(&mut recorder, &sums);
            let scratch = workspace.scratch(&call);
            call.record_backward(&mut recorder, &active, &scratch, &sums, totals.as_mut())?;
            Ok((active, totals, recorder.finish()?))
        })?;
        now(self.wait(last, Waiting::Blocking))?;
        let dropped = match &totals {
            Some(totals) => Some(now(call.dropped(totals, &active, Waiting::Blocking))?),
            None => None,
        };
        Ok(Forward::new(call.problem, folded, dropped))
    }

    /// Puts a matrix into one buffer of the device.
    ///
    /// # Errors
    /// [`Failure::LimitExceeded`] where no buffer is that large, [`Error::Conflict`] for f64.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// let context = surprisal::gpu::Context::new(&surprisal::gpu::Options::new().software(true))?;
    /// let there = context.upload(ndarray::arr2(&[[1.0_f32, -0.5]]).view())?;
    /// assert_eq!(there.dim(), (1, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn upload<'a>(&self, matrix: impl Into<Matrix<'a>>) -> Result<DeviceMatrix> {
        let matrix = matrix.into();
        let Some(format) = Format::of(&matrix) else {
            let what = "a GPU holds no f64, expected f32, bf16 or f16".into();
            return Err(Error::Conflict { what });
        };
        let (rows, columns) = matrix.dim();
        self.check_buffer(rows, columns, format)?;
        self.caught(|| {
            let pieces = Pieces::upload(self, &matrix, rows.max(1));
            let buffer = pieces.whole().unwrap_or_else(|| self.storage(0));
            Ok(DeviceMatrix { buffer, offset: 0, rows, columns, format })
        })
    }

    /// A matrix of zeros in f32 on the device, for a gradient.
    ///
    /// # Errors
    /// [`Failure::LimitExceeded`] where no buffer is that large.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// let context = surprisal::gpu::Context::new(&surprisal::gpu::Options::new().software(true))?;
    /// assert_eq!(context.download(&context.zeros(2, 3)?)?, ndarray::Array2::zeros((2, 3)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn zeros(&self, rows: usize, columns: usize) -> Result<DeviceMatrix> {
        self.check_buffer(rows, columns, Format::F32)?;
        let buffer = self.caught(|| Ok(self.storage(rows * columns * 4)))?;
        Ok(DeviceMatrix::f32(buffer, rows, columns))
    }

    /// A copy of a matrix of f32 that is on the device.
    ///
    /// # Errors
    /// [`Error::Conflict`] for another type, [`Error::Gpu`] for what the device does.
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// let context = surprisal::gpu::Context::new(&surprisal::gpu::Options::new().software(true))?;
    /// let matrix = ndarray::arr2(&[[1.0_f32, -0.5]]);
    /// assert_eq!(context.download(&context.upload(matrix.view())?)?, matrix);
    /// # Ok(())
    /// # }
    /// ```
    pub fn download(&self, matrix: &DeviceMatrix) -> Result<Array2<f32>> {
        if matrix.format != Format::F32 {
            let what = "only f32 is downloaded, expected a gradient".into();
            return Err(Error::Conflict { what });
        }
        let (rows, columns) = matrix.dim();
        let row_bytes = (4 * columns).max(1);
        let at_once = (DOWNLOAD / row_bytes).max(1);
        let mut values = Vec::with_capacity(rows * columns);
        for start in (0..rows).step_by(at_once) {
            let bytes = (row_bytes * at_once.min(rows - start)) as u64;
            let offset = matrix.offset + (start * row_bytes) as u64;
            let part = Part { buffer: matrix.buffer.clone(), offset, bytes };
            let bytes = now(self.read_part(&part, Waiting::Blocking))?;
            values.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&bytes));
        }
        values.truncate(rows * columns);
        Ok(Array2::from_shape_vec((rows, columns), values).expect("as many as there are"))
    }

    fn storage(&self, bytes: usize) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        self.buffer(bytes, usage)
    }

    fn check_buffer(&self, rows: usize, columns: usize, format: Format) -> Result<()> {
        let bytes = [rows, columns, format.bytes()];
        let need = bytes.iter().try_fold(1_u64, |all, &some| all.checked_mul(some as u64));
        let (need, have) = (need.unwrap_or(u64::MAX), self.limits.max_buffer_size);
        if need > have {
            let what = format!("a buffer of {rows} rows of {columns} numbers, in bytes,");
            return Err(Error::Gpu(Failure::LimitExceeded { what, need, have }));
        }
        Ok(())
    }

    fn device_call<'c, 'a>(
        &'c self,
        loss: &LinearCrossEntropy,
        inputs: &DeviceInputs<'a>,
        gradients: bool,
    ) -> Result<Call<'c, 'a>> {
        check(loss, &inputs.inputs)?;
        if loss.filter.is_some() && loss.label_smoothing > 0.0 {
            return Err(Error::Conflict {
                what: "a filter of arrays on the device goes without label smoothing".into(),
            });
        }
        let problem = Problem::new(loss, &inputs.inputs)?;
        let formats = (inputs.hidden.format.bytes(), inputs.classifier.format.bytes());
        let plan = Plan::new(&shapes(&problem, formats, gradients), &self.limits, &self.budget)?;
        let hidden = inputs.hidden.pieces("hidden", plan.hidden_rows)?;
        let classifier = inputs.classifier.pieces("classifier", plan.classifier_rows)?;
        self.caught(|| Call::new(self, problem, plan, hidden, classifier))
    }
}
