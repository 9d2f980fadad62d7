//! Commands on their way to the device.

use std::collections::VecDeque;

use super::context::{Context, Part};
use super::shader::{Kernel, Params};
use super::waiting::{Waiting, now};
use crate::error::Result;

/// Submissions that are not waited for: 150 ms of work, so that the device never waits for the next. Not
/// measured on a hardware GPU.
const IN_FLIGHT: usize = 3;

/// Takes commands in order: into encoders of its own, that are submitted when they hold about 50 ms
/// of work, or into the caller's.
pub(super) struct Recorder<'c, 'e> {
    context: &'c Context,
    encoder: Target<'e>,
    work: f64,
    /// Bytes on their way to buffers.
    staged: u64,
    waiting: Waiting,
    submitted: VecDeque<wgpu::SubmissionIndex>,
}

enum Target<'e> {
    Own(wgpu::CommandEncoder),
    Caller(&'e mut wgpu::CommandEncoder),
}

impl<'c, 'e> Recorder<'c, 'e> {
    pub(super) fn new(context: &'c Context, waiting: Waiting) -> Self {
        let encoder = Target::Own(context.device.create_command_encoder(&Default::default()));
        Self { context, encoder, work: 0.0, staged: 0, waiting, submitted: VecDeque::new() }
    }

    pub(super) fn into(context: &'c Context, encoder: &'e mut wgpu::CommandEncoder) -> Self {
        let encoder = Target::Caller(encoder);
        let submitted = VecDeque::new();
        Self { context, encoder, work: 0.0, staged: 0, waiting: Waiting::Async, submitted }
    }

    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        match &mut self.encoder {
            Target::Own(encoder) => encoder,
            Target::Caller(encoder) => encoder,
        }
    }

    /// Runs a kernel of about so many operations over a grid of workgroups.
    pub(super) fn dispatch(
        &mut self,
        kernel: Kernel,
        parts: &[(u32, &Part)],
        params: &Params,
        grid: (usize, usize),
        operations: f64,
    ) -> Result<()> {
        if grid.0 == 0 || grid.1 == 0 {
            return Ok(());
        }
        if self.work > 0.0 && self.work + operations > self.context.budget.dispatch_operations {
            self.flush()?;
        }
        self.work += operations;
        let device = &self.context.device;
        let compiled = self.context.pipeline(kernel);
        let entries: Vec<_> = compiled
            .kernel
            .bindings()
            .iter()
            .map(|&(binding, _)| {
                let part = parts.iter().find(|(name, _)| *name == binding);
                let (_, part) = part.expect("a part for every binding");
                wgpu::BindGroupEntry { binding, resource: part.binding() }
            })
            .collect();
        let group = |layout, entries: &[wgpu::BindGroupEntry<'_>]| {
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries })
        };
        let bindings = group(&compiled.layout, &entries);
        let words = params.words();
        let words: &[u8] = bytemuck::cast_slice(&words);
        let parameters = compiled.parameters.as_ref().map(|layout| {
            let buffer = self.context.filled(words, wgpu::BufferUsages::UNIFORM);
            let resource = Part::whole(&buffer);
            group(layout, &[wgpu::BindGroupEntry { binding: 0, resource: resource.binding() }])
        });
        let mut pass = self.encoder().begin_compute_pass(&Default::default());
        pass.set_pipeline(&compiled.pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        match &parameters {
            Some(parameters) => pass.set_bind_group(1, parameters, &[]),
            None => pass.set_immediates(0, words),
        }
        pass.dispatch_workgroups(grid.0 as u32, grid.1 as u32, 1);
        Ok(())
    }

    /// Sets a part to zeros.
    pub(super) fn clear(&mut self, part: &Part) {
        self.encoder().clear_buffer(&part.buffer, part.offset, Some(part.bytes));
    }

    /// Copies a part to the beginning of a buffer, or behind so many bytes of it.
    pub(super) fn copy(&mut self, from: &Part, to: &wgpu::Buffer, offset: u64) {
        let Part { buffer, offset: at, bytes } = from;
        self.encoder().copy_buffer_to_buffer(buffer, *at, to, offset, Some(*bytes));
    }

    /// Puts these bytes at the beginning of a buffer, once everything before is done. What is on its way
    /// stays within the scratch's bytes.
    pub(super) fn upload(&mut self, bytes: &[u8], to: &wgpu::Buffer) -> Result<()> {
        let staging = self.context.filled(bytes, wgpu::BufferUsages::COPY_SRC);
        let size = staging.size();
        if self.staged > 0 && self.staged + size > self.context.budget.scratch_bytes as u64 {
            self.flush()?;
        }
        self.staged += size;
        self.encoder().copy_buffer_to_buffer(&staging, 0, to, 0, Some(size));
        Ok(())
    }

    /// Submits what has been recorded, and waits for what was submitted some time ago.
    fn flush(&mut self) -> Result<()> {
        let Target::Own(encoder) = &mut self.encoder else { return Ok(()) };
        let next = self.context.device.create_command_encoder(&Default::default());
        let full = std::mem::replace(encoder, next);
        self.submitted.push_back(self.context.queue.submit([full.finish()]));
        (self.work, self.staged) = (0.0, 0);
        if self.waiting == Waiting::Blocking && self.submitted.len() > IN_FLIGHT {
            let oldest = self.submitted.pop_front();
            if let Some(oldest) = oldest {
                now(self.context.wait(oldest, Waiting::Blocking))?;
            }
        }
        Ok(())
    }

    /// Submits the rest. For encoders of its own.
    pub(super) fn finish(mut self) -> Result<wgpu::SubmissionIndex> {
        self.flush()?;
        Ok(self.submitted.pop_back().expect("what was just submitted"))
    }
}

impl Context {
    /// The bytes in a part of a buffer, once everything before is done.
    pub(super) async fn read_part(&self, part: &Part, waiting: Waiting) -> Result<Vec<u8>> {
        let (staging, index) = self.caught(|| {
            let staging = self.readable(part.bytes as usize);
            let mut recorder = Recorder::new(self, waiting);
            recorder.copy(part, &staging, 0);
            Ok((staging, recorder.finish()?))
        })?;
        self.read(&staging, part.bytes, index, waiting).await
    }
}
