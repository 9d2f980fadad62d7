//! Scratch on the device that outlives a call.

use super::backward::Scratch;
use super::call::Call;
use super::context::{Context, Part};

/// Scratch on the device that calls share: it grows to what the largest takes, and is freed with
/// this value.
///
/// ```
/// assert_eq!(surprisal::gpu::Workspace::new().bytes(), 0);
/// ```
#[derive(Debug, Default)]
pub struct Workspace {
    pub(super) partials: Option<wgpu::Buffer>,
    g: Option<wgpu::Buffer>,
    kept: Option<wgpu::Buffer>,
    lost: Option<wgpu::Buffer>,
    second: Option<wgpu::Buffer>,
}

impl Workspace {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        let parts = [&self.partials, &self.g, &self.kept, &self.lost, &self.second];
        parts.into_iter().flatten().map(wgpu::Buffer::size).sum()
    }
}

impl Workspace {
    pub(super) fn scratch(&mut self, call: &Call<'_, '_>) -> Scratch {
        let (g, filter) = call.scratch_bytes();
        let g = sized(call.context, &mut self.g, g);
        let filter = filter.map(|[kept, lost]| {
            (sized(call.context, &mut self.kept, kept), sized(call.context, &mut self.lost, lost))
        });
        let second = call.divergences_of_second();
        let second = second.map(|_| sized(call.context, &mut self.second, call.second_bytes()));
        Scratch { g, filter, second }
    }
}

/// A part of a buffer that is made anew where it is too small.
pub(super) fn sized(context: &Context, buffer: &mut Option<wgpu::Buffer>, bytes: usize) -> Part {
    let large = buffer.as_ref().is_some_and(|buffer| buffer.size() >= bytes as u64);
    if !large {
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC;
        *buffer = Some(context.buffer(bytes, usage));
    }
    Part::whole(buffer.as_ref().expect("what was just made"))
}
