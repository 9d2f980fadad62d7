//! The device, with the kernels that were compiled for it.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::plan::{Budget, DevicePlan, DeviceShapes};
use super::shader::{Access, Kernel};
use super::waiting::{Waiting, elsewhere, now};
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;

/// How long a call waits for what was submitted last, unless told otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// A device with its queue and compiled kernels. Calls may come from several threads.
///
/// ```no_run
/// use surprisal::{Inputs, LinearCrossEntropy, gpu};
/// let hidden = ndarray::arr2(&[[1.0_f32, -0.5], [0.3, 2.0]]);
/// let classifier = ndarray::arr2(&[[0.5_f32, 1.0], [-1.0, 0.2], [0.7, 0.1]]);
/// let inputs = Inputs::new(&hidden, &classifier, &[2_u32, 0]);
/// let context = gpu::Context::builder().build()?;
/// let forward = LinearCrossEntropy::builder().build()?.on(&context).forward(&inputs)?;
/// assert!(forward.loss() > 0.0);
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Debug)]
pub struct Context {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    information: wgpu::AdapterInfo,
    pub(super) limits: wgpu::Limits,
    pub(super) timeout: Duration,
    pub(super) budget: Budget,
    pub(super) immediates: bool,
    pipelines: Mutex<HashMap<Kernel, Arc<Pipeline>>>,
    /// Why the device was lost, once it was.
    lost: Arc<OnceLock<String>>,
}

/// A compiled kernel with the layouts of its bindings.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    /// Of the parameters, where they are no immediates.
    pub(super) parameters: Option<wgpu::BindGroupLayout>,
    pub(super) kernel: Kernel,
}

impl Context {
    /// A context on the device of the host program, with whatever features and limits it was
    /// opened with. Nothing is set on it: no callbacks, no limits.
    ///
    /// ```no_run
    /// # fn host() -> (surprisal::gpu::wgpu::Device, surprisal::gpu::wgpu::Queue) { panic!() }
    /// let (device, queue) = host();
    /// let context = surprisal::gpu::Context::from_device(device, queue);
    /// ```
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        Self::with(device, queue, Arc::default())
    }

    pub(super) fn with(
        device: wgpu::Device,
        queue: wgpu::Queue,
        lost: Arc<OnceLock<String>>,
    ) -> Self {
        let (information, limits) = (device.adapter_info(), device.limits());
        let immediates = device.features().contains(wgpu::Features::IMMEDIATES)
            && limits.max_immediate_size >= 64;
        // 50 ms of what such a device does in a second, roughly.
        let dispatch_operations = match information.device_type {
            wgpu::DeviceType::Cpu => 5e8,
            wgpu::DeviceType::IntegratedGpu => 2.5e10,
            _ => Budget::default().dispatch_operations,
        };
        let budget = Budget { dispatch_operations, ..Budget::default() };
        let timeout = TIMEOUT;
        let pipelines = Mutex::default();
        Self { device, queue, information, limits, timeout, budget, immediates, pipelines, lost }
    }

    /// Name, kind and driver of the adapter.
    pub fn adapter(&self) -> &wgpu::AdapterInfo {
        &self.information
    }

    /// Whether it computes on the processor.
    pub fn software(&self) -> bool {
        self.information.device_type == wgpu::DeviceType::Cpu
    }

    /// The device.
    pub fn device(&self) -> &wgpu::Device {
        &self.device
    }

    /// The queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.queue
    }

    /// How a call of these shapes is cut on this device.
    ///
    /// # Errors
    /// As [`DevicePlan::new`].
    ///
    /// ```
    /// # fn main() -> surprisal::Result<()> {
    /// # if !surprisal::gpu::adapters().iter().any(|adapter| adapter.software()) { return Ok(()); }
    /// use surprisal::gpu::{Context, DeviceShapes};
    /// let context = Context::builder().software(true).build()?;
    /// let shapes = DeviceShapes::new(64, 32, 1000);
    /// assert_eq!(context.plan(&shapes)?.classifier_bindings, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn plan(&self, shapes: &DeviceShapes) -> Result<DevicePlan> {
        DevicePlan::new(shapes, &self.limits, &self.budget)
    }

    /// Runs `work` with the device's errors caught, which otherwise would end the program.
    pub(super) fn caught<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let result = work();
        let errors = [now(validation.pop()), now(internal.pop()), now(memory.pop())];
        self.check_lost()?;
        let Some(error) = errors.into_iter().rev().flatten().next() else { return result };
        let what = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Err(Error::Gpu(match error {
            wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory { what },
            _ if what.contains("lost") => Failure::DeviceLost { what },
            _ => Failure::Validation { what },
        }))
    }

    fn check_lost(&self) -> Result<()> {
        match self.lost.get() {
            None => Ok(()),
            Some(what) => Err(Error::Gpu(Failure::DeviceLost { what: what.clone() })),
        }
    }

    /// The compiled kernel.
    pub(super) fn pipeline(&self, kernel: Kernel) -> Arc<Pipeline> {
        let mut pipelines = match self.pipelines.lock() {
            Ok(pipelines) => pipelines,
            Err(poisoned) => poisoned.into_inner(),
        };
        Arc::clone(pipelines.entry(kernel).or_insert_with(|| Arc::new(self.compile(kernel))))
    }

    fn compile(&self, kernel: Kernel) -> Pipeline {
        let device = &self.device;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("surprisal"),
            source: wgpu::ShaderSource::Wgsl(kernel.source().into()),
        });
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let storage = |&(binding, access): &(u32, Access)| {
            let read_only = access == Access::Read;
            entry(binding, wgpu::BufferBindingType::Storage { read_only })
        };
        let entries: Vec<_> = kernel.bindings().iter().map(storage).collect();
        let group = |entries: &[wgpu::BindGroupLayoutEntry]| {
            device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries })
        };
        let layout = group(&entries);
        let parameters =
            (!self.immediates).then(|| group(&[entry(0, wgpu::BufferBindingType::Uniform)]));
        let mut layouts = vec![Some(&layout)];
        layouts.extend(parameters.as_ref().map(Some));
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: None,
            bind_group_layouts: &layouts,
            immediate_size: if self.immediates { 64 } else { 0 },
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("surprisal"),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout, parameters, kernel }
    }

    /// Waits until what was submitted up to here is done.
    pub(super) async fn wait(&self, index: wgpu::SubmissionIndex, waiting: Waiting) -> Result<()> {
        let timeout = self.timeout;
        let device = self.device.clone();
        let poll = move || {
            device.poll(wgpu::PollType::Wait {
                submission_index: Some(index),
                timeout: Some(timeout),
            })
        };
        let polled = match waiting {
            Waiting::Blocking => poll(),
            Waiting::Async => elsewhere(poll).await,
        };
        self.check_lost()?;
        match polled {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => {
                Err(Error::Gpu(Failure::Timeout { waited: self.timeout }))
            }
            Err(error) => Err(Error::Gpu(Failure::Validation { what: error.to_string() })),
        }
    }

    /// What stands in a buffer that can be mapped, after a submission.
    pub(super) async fn read(
        &self,
        buffer: &wgpu::Buffer,
        bytes: u64,
        index: wgpu::SubmissionIndex,
        waiting: Waiting,
    ) -> Result<Vec<u8>> {
        let (done, mapped) = std::sync::mpsc::channel();
        self.caught(|| {
            buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |result| {
                let _ = done.send(result);
            });
            Ok(())
        })?;
        self.wait(index, waiting).await?;
        let failed = |what: String| Error::Gpu(Failure::Validation { what });
        // Another thread that polls the device may be about to say so.
        match mapped.recv_timeout(self.timeout) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(Error::Gpu(Failure::Timeout { waited: self.timeout })),
        }
        let view = buffer.get_mapped_range(0..bytes).map_err(|error| failed(error.to_string()))?;
        let bytes = view.to_vec();
        drop(view);
        buffer.unmap();
        Ok(bytes)
    }

    /// A buffer that can be read from here.
    pub(super) fn readable(&self, bytes: usize) -> wgpu::Buffer {
        self.buffer(bytes, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)
    }

    /// A buffer of at least so many bytes.
    pub(super) fn buffer(&self, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("surprisal"),
            size: (bytes as u64).next_multiple_of(16).max(16),
            usage,
            mapped_at_creation: false,
        })
    }

    /// A buffer that holds these bytes, filled up to a multiple of 16.
    pub(super) fn filled(&self, bytes: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        use wgpu::util::DeviceExt;
        let mut padded;
        let contents = match bytes.len().is_multiple_of(16) && !bytes.is_empty() {
            true => bytes,
            false => {
                padded = bytes.to_vec();
                padded.resize(bytes.len().next_multiple_of(16).max(16), 0);
                &padded
            }
        };
        let label = Some("surprisal");
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label, contents, usage })
    }
}

/// A part of a buffer, as a kernel binds it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) buffer: wgpu::Buffer,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Part {
    pub(super) fn whole(buffer: &wgpu::Buffer) -> Self {
        Self { buffer: buffer.clone(), offset: 0, bytes: buffer.size() }
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.buffer,
            offset: self.offset,
            size: NonZeroU64::new(self.bytes),
        })
    }
}
