//! The arrays of a benchmark on a GPU: what is timed there does not copy them.

#[cfg(feature = "gpu")]
use std::time::Instant;
use surprisal::LinearCrossEntropy;

use super::data::{Data, Number};
use super::passes::Timed;
use crate::Failure;
use crate::device::Place;

#[cfg(feature = "gpu")]
pub struct Resident<'a> {
    context: &'a surprisal::gpu::Context,
    inputs: surprisal::gpu::DeviceInputs<'a>,
    gradients: Option<surprisal::gpu::DeviceGradients>,
    workspace: surprisal::gpu::Workspace,
}

#[cfg(feature = "gpu")]
impl<'a> Resident<'a> {
    /// `None` for the processor.
    pub fn new<T: Number>(
        place: &'a Place,
        data: &'a Data<T>,
        backward: bool,
    ) -> Result<Option<Self>, Failure> {
        use surprisal::gpu::{DeviceGradients, DeviceInputs, Workspace};
        let Place::Gpu(context) = place else { return Ok(None) };
        let upload = |matrix: &'a ndarray::Array2<T>| context.upload(T::matrix(matrix.view()));
        let (hidden, classifier) = (upload(&data.hidden)?, upload(&data.classifier)?);
        let zeros = |(rows, columns)| context.zeros(rows, columns);
        let gradients = match backward {
            true => Some(
                DeviceGradients::new()
                    .hidden(zeros(hidden.dim())?)
                    .classifier(zeros(classifier.dim())?),
            ),
            false => None,
        };
        let inputs = DeviceInputs::new(hidden, classifier, &data.targets);
        Ok(Some(Self { context, inputs, gradients, workspace: Workspace::new() }))
    }

    /// One pass of the fused loss, with its seconds.
    pub fn timed(&mut self, loss: &LinearCrossEntropy) -> Result<Timed, Failure> {
        let start = Instant::now();
        let upstream = surprisal::Upstream::default();
        let on = loss.on(self.context).with_workspace(std::mem::take(&mut self.workspace));
        let forward = match &self.gradients {
            Some(gradients) => on.loss_and_gradients(&self.inputs, &upstream, gradients)?,
            None => on.forward(&self.inputs)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        self.workspace = on.into_workspace();
        Ok(Timed { kept: forward.segments_kept(), dropped: forward.dropped_mass(), seconds })
    }
}

/// There is none.
#[cfg(not(feature = "gpu"))]
pub enum Resident {}

#[cfg(not(feature = "gpu"))]
impl Resident {
    pub fn new<T: Number>(_: &Place, _: &Data<T>, _: bool) -> Result<Option<Self>, Failure> {
        Ok(None)
    }

    pub fn timed(&mut self, _: &LinearCrossEntropy) -> Result<Timed, Failure> {
        match *self {}
    }
}
