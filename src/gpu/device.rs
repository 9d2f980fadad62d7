//! The arrays of a call that live on the device.

use half::{bf16, f16};
use ndarray::{ArrayView2, ShapeBuilder};

use super::arrays::DeviceMatrix;
use super::backward::Sums;
use super::call::{Call, check, shapes};
use super::context::{Context, Part};
use super::plan::DevicePlan;
use super::recorder::Recorder;
use super::second_head::second_call;
use super::shader::Format;
use super::waiting::Waiting;
use super::workspace::Workspace;
use crate::error::{Error, Result};
use crate::loss::engine::active::Seen;
use crate::loss::engine::problem::Problem;
use crate::loss::filter::decision::Dropped;
use crate::loss::source::Source;
use crate::loss::{Candidates, Companion, Inputs, LinearCrossEntropy, Targets, Upstream};
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

    /// As [`Inputs::temperatures`].
    pub fn temperatures(mut self, temperatures: impl Into<Vector<'a>>) -> Self {
        self.inputs = self.inputs.temperatures(temperatures);
        self
    }

    /// As [`Inputs::companion`].
    pub fn companion(mut self, companion: Companion<'a>) -> Self {
        self.inputs = self.inputs.companion(companion);
        self
    }

    /// As [`Inputs::candidates`].
    pub fn candidates(mut self, candidates: Candidates<'a>) -> Self {
        self.inputs = self.inputs.candidates(candidates);
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

    /// Checks a call.
    pub(super) fn call<'c>(
        &self,
        context: &'c Context,
        loss: &LinearCrossEntropy,
        gradients: bool,
    ) -> Result<Call<'c, 'a>> {
        check(loss, &self.inputs)?;
        if loss.filter.is_some() && loss.needs.weighs() {
            return Err(Error::Conflict {
                what: "a filter of arrays on the device goes without label smoothing".into(),
            });
        }
        let mut problem = Problem::new(loss, &self.inputs)?;
        let formats = (self.hidden.format.bytes(), self.classifier.format.bytes());
        let shapes = shapes(&problem, formats, gradients);
        let plan = DevicePlan::new(&shapes, &context.limits, &context.budget)?;
        let second = second_call(context, &mut problem)?;
        let hidden = self.hidden.pieces("hidden", plan.hidden_rows)?;
        let classifier = self.classifier.pieces("classifier", plan.classifier_rows)?;
        context.caught(|| Call::new(context, problem, plan, hidden, classifier, second))
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

impl DeviceGradients {
    /// What is assigned begins at 0.
    pub(super) fn clear(&self, recorder: &mut Recorder<'_, '_>, sums: &Sums) {
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

/// Where the gradients of a call are summed: the caller's buffers, checked.
pub(super) struct DeviceSums<'g> {
    pub(super) gradients: &'g DeviceGradients,
    pub(super) sums: Sums,
}

impl Call<'_, '_> {
    /// The caller's gradients, checked.
    pub(super) fn device_sums<'g>(&self, gradients: &'g DeviceGradients) -> Result<DeviceSums<'g>> {
        let pieces = |name, to: &Option<(DeviceMatrix, bool)>, like: &Matrix<'_>, each| match to {
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
        let Source::Product { hidden, classifier } = &self.problem.source else { unreachable!() };
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
        let name = "the classifier gradient";
        let sums = Sums {
            hidden: pieces("the hidden gradient", &gradients.hidden, hidden, rows)?,
            classifier: pieces(name, &gradients.classifier, classifier, classes)?,
            bias,
        };
        Ok(DeviceSums { gradients, sums })
    }

    /// Computes gradients into buffers of the caller's, in submissions of about 50 ms.
    pub(super) async fn backward_on_device(
        &self,
        seen: Seen<'_>,
        upstream: &Upstream<'_>,
        logits: &[[f32; 2]],
        to: DeviceSums<'_>,
        workspace: &mut Workspace,
        waiting: Waiting,
    ) -> Result<Option<Dropped>> {
        let DeviceSums { gradients, sums } = to;
        let context = self.context;
        let (active, totals, last) = context.caught(|| {
            let active = self.active(seen, upstream, logits);
            let mut totals = self.totals(&active);
            let mut recorder = Recorder::new(context, waiting);
            gradients.clear(&mut recorder, &sums);
            let scratch = workspace.scratch(self);
            self.record_backward(&mut recorder, &active, &scratch, &sums, totals.as_mut())?;
            Ok((active, totals, recorder.finish()?))
        })?;
        context.wait(last, waiting).await?;
        match &totals {
            Some(totals) => Ok(Some(self.dropped(totals, &active, waiting).await?)),
            None => Ok(None),
        }
    }
}
