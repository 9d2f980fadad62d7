//! A loss as commands in an encoder of the caller's.

use super::call::{Call, Chunk};
use super::context::Part;
use super::device::{DeviceGradients, DeviceInputs, DeviceSums};
use super::on::OnDevice;
use super::recorder::Recorder;
use super::waiting::{Waiting, now};
use super::workspace::{Workspace, sized};
use crate::error::{Error, Result};
use crate::loss::engine::active::Seen;
use crate::loss::engine::candidates::CandidateRows;
use crate::loss::engine::fold::Folded;
use crate::loss::{Forward, Upstream};

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
        let mut folded = Folded::nothing(&call.problem);
        let all = call.state_bytes(call.problem.rows.len());
        let words = context.read(&staging, all as u64, index, waiting).await?;
        for chunk in &chunks {
            let [start, end] = [chunk.rows.start, chunk.rows.end].map(|row| call.state_bytes(row));
            call.merge(chunk, &words[start..end], &logits, &mut folded.states);
        }
        call.complete(&logits, &mut folded);
        Ok(Forward::new(call.problem, folded, None).without_dropped())
    }
}

/// Its states must be known before the divergences are summed.
fn no_second_head(call: &Call<'_, '_>) -> Result<()> {
    match call.second {
        None => Ok(()),
        Some(_) => Err(Error::Conflict {
            what: "a second head has no encoded calls, expected forward, vjp or loss_and_gradients"
                .into(),
        }),
    }
}

impl<'l> OnDevice<'l> {
    /// Puts the commands of [`forward`](Self::forward) for arrays on the device into an encoder of the
    /// caller's. Nothing is submitted, and nothing waits. Until the encoder was submitted, the workspace
    /// goes with no other one.
    ///
    /// ```no_run
    /// # fn given<'a>() -> (surprisal::gpu::Context, surprisal::gpu::DeviceInputs<'a>) { panic!() }
    /// use surprisal::{LinearCrossEntropy, gpu::Workspace};
    /// let (context, inputs) = given();
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let mut workspace = Workspace::new();
    /// let mut encoder = context.device().create_command_encoder(&Default::default());
    /// let encoded = loss.on(&context).encode_forward(&mut encoder, &inputs, &mut workspace)?;
    /// let submission = context.queue().submit([encoder.finish()]);
    /// println!("{}", encoded.finish(submission)?.loss());
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn encode_forward<'a>(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: &DeviceInputs<'a>,
        workspace: &mut Workspace,
    ) -> Result<Encoded<'l, 'a>> {
        let (context, loss) = self.parts();
        let call = inputs.call(context, loss, false)?;
        no_second_head(&call)?;
        context.caught(|| {
            let mut recorder = Recorder::into(context, encoder);
            let rows = call.all_row_words();
            let targets = call.target_logits(&mut recorder, &rows)?;
            let logits = targets.as_ref().map(|targets| {
                let bytes = targets.bytes();
                let staging = call.readable(bytes as usize);
                recorder.copy(&targets.device, &staging, 0);
                (staging, bytes)
            });
            let chunks = call.forward_chunks();
            let most = chunks.iter().map(|chunk| chunk.rows.len()).max().unwrap_or(0);
            let partials = sized(context, &mut workspace.partials, call.state_bytes(most));
            let staging = call.readable(call.state_bytes(call.problem.rows.len()));
            for chunk in &chunks {
                call.record_fold(&mut recorder, chunk, (&rows, None), targets.as_ref(), &partials)?;
                let bytes = call.state_bytes(chunk.rows.len()) as u64;
                let at = call.state_bytes(chunk.rows.start) as u64;
                recorder.copy(&Part { bytes, ..partials.clone() }, &staging, at);
            }
            Ok(Encoded { call, chunks, staging, logits })
        })
    }

    /// Puts the commands of [`vjp`](Self::vjp) for arrays on the device into an encoder of the
    /// caller's. Sparse targets, listed companions, candidates and second heads are not supported
    /// here.
    ///
    /// ```no_run
    /// # use surprisal::gpu::{Context, DeviceGradients, DeviceInputs, Workspace};
    /// # fn given<'a>() -> (Context, DeviceInputs<'a>, surprisal::Forward, DeviceGradients) { panic!() }
    /// use surprisal::{LinearCrossEntropy, Upstream};
    /// let (context, inputs, forward, gradients) = given();
    /// let loss = LinearCrossEntropy::builder().build()?;
    /// let mut workspace = Workspace::new();
    /// let mut encoder = context.device().create_command_encoder(&Default::default());
    /// let (on, upstream) = (loss.on(&context), Upstream::default());
    /// on.encode_vjp(&mut encoder, &inputs, &forward, &upstream, &gradients, &mut workspace)?;
    /// context.queue().submit([encoder.finish()]);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`vjp`](Self::vjp).
    pub fn encode_vjp(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        inputs: &DeviceInputs<'_>,
        forward: &Forward,
        upstream: &Upstream<'_>,
        gradients: &DeviceGradients,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let (context, loss) = self.parts();
        let call = inputs.call(context, &loss.without_rank(), true)?;
        if call.singles.len() > 0 {
            return Err(Error::Conflict {
                what: "sparse targets, listed companions and candidates have no encoded backward, expected \
                       vjp"
                    .into(),
            });
        }
        no_second_head(&call)?;
        forward.check_upstream(&call.problem, upstream)?;
        let DeviceSums { gradients, sums } = call.device_sums(gradients)?;
        context.caught(|| {
            let mut recorder = Recorder::into(context, encoder);
            gradients.clear(&mut recorder, &sums);
            let none = CandidateRows::default();
            let seen = Seen { states: forward.states(), second: &[], candidates: &none };
            let active = call.active(seen, upstream, &[]);
            let scratch = workspace.scratch(&call);
            call.record_backward(&mut recorder, &active, &scratch, &sums, None)
        })
    }
}
