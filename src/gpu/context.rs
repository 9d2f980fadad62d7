//! The device: found or handed in, with the kernels that were compiled for it.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::plan::{Budget, DevicePlan, DeviceShapes};
use super::shader::{Access, Kernel};
use crate::error::{Error, Result};
use crate::gpu_failure::Failure;

/// Sets what a [`Context`] is made with; [`build`](Self::build) looks for it.
///
/// ```no_run
/// use std::time::Duration;
/// let context = surprisal::gpu::Context::builder().timeout(Duration::from_secs(300)).build()?;
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ContextBuilder {
    software: bool,
    adapter: Option<String>,
    limits: Option<wgpu::Limits>,
    timeout: Duration,
    scratch_bytes: usize,
}

impl Default for ContextBuilder {
    fn default() -> Self {
        let timeout = Duration::from_secs(60);
        let scratch_bytes = Budget::default().scratch_bytes;
        Self { software: false, adapter: None, limits: None, timeout, scratch_bytes }
    }
}

impl ContextBuilder {
    /// Whether to take an adapter that computes on the processor, for tests; others are refused then,
    /// as it is otherwise. Off by default.
    pub fn software(mut self, software: bool) -> Self {
        self.software = software;
        self
    }

    /// An adapter whose name contains this, whatever the case.
    pub fn adapter(mut self, name: impl Into<String>) -> Self {
        self.adapter = Some(name.into());
        self
    }

    /// Limits to ask of the device, in place of all that the adapter has.
    pub fn limits(mut self, limits: wgpu::Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// How long to wait for what was submitted last; a minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Bytes of G that a backward holds at once at most; 64 MiB.
    pub fn scratch_bytes(mut self, bytes: usize) -> Self {
        self.scratch_bytes = bytes;
        self
    }

    /// A context on the best adapter of this machine: a discrete GPU before an integrated one.
    /// Software adapters are taken only where [`software`](Self::software) asks for one.
    ///
    /// # Errors
    /// [`Failure::NoAdapter`] where there is none such, with what there is.
    ///
    /// ```
    /// use surprisal::gpu;
    /// if let Ok(context) = gpu::Context::builder().software(true).build() {
    ///     assert!(context.software());
    /// }
    /// ```
    pub fn build(self) -> Result<Context> {
        let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        let named = |adapter: &wgpu::Adapter| match &self.adapter {
            Some(name) => adapter.get_info().name.to_lowercase().contains(&name.to_lowercase()),
            None => true,
        };
        let all = now(instance().enumerate_adapters(wgpu::Backends::all()));
        let fits =
            |adapter: &&wgpu::Adapter| (rank(adapter) == 4) == self.software && named(adapter);
        let Some(adapter) = all.iter().filter(fits).min_by_key(|adapter| rank(adapter)) else {
            return Err(Error::Gpu(Failure::NoAdapter { what: what_there_is(&all, &self) }));
        };
        let failed = |what: String| Error::Gpu(Failure::NoAdapter { what });
        let (device, queue) = now(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("surprisal"),
            required_features: adapter.features() & wgpu::Features::IMMEDIATES,
            required_limits: self.limits.clone().unwrap_or_else(|| adapter.limits()),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        }))
        .map_err(|error| failed(format!("{}: {error}", adapter.get_info().name)))?;
        let lost = Arc::new(OnceLock::new());
        let seen = Arc::clone(&lost);
        device.set_device_lost_callback(move |_, what| {
            let _ = seen.set(what);
        });
        let mut context = Context::with(device, queue, lost);
        context.timeout = self.timeout;
        context.budget.scratch_bytes = self.scratch_bytes;
        Ok(context)
    }
}

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

/// An adapter, and what it can do.
///
/// ```
/// for adapter in surprisal::gpu::adapters() {
///     println!("{} ({})", adapter.information.name, adapter.information.backend);
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AdapterDescription {
    /// Name, kind, driver.
    pub information: wgpu::AdapterInfo,
    /// What it allows.
    pub limits: wgpu::Limits,
    /// What it can do beyond the least.
    pub features: wgpu::Features,
}

impl AdapterDescription {
    /// Whether it computes on the processor.
    pub fn software(&self) -> bool {
        self.information.device_type == wgpu::DeviceType::Cpu
    }
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env())
}

/// All adapters of this machine, software ones included.
///
/// ```
/// let hardware = surprisal::gpu::adapters().iter().filter(|adapter| !adapter.software()).count();
/// ```
pub fn adapters() -> Vec<AdapterDescription> {
    let describe = |adapter: &wgpu::Adapter| AdapterDescription {
        information: adapter.get_info(),
        limits: adapter.limits(),
        features: adapter.features(),
    };
    let all = now(instance().enumerate_adapters(wgpu::Backends::all()));
    all.iter().map(describe).collect()
}

impl Context {
    /// The options, each at its default: the best hardware adapter with all that it allows.
    ///
    /// ```no_run
    /// let context = surprisal::gpu::Context::builder().adapter("radeon").build()?;
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    pub fn builder() -> ContextBuilder {
        ContextBuilder::default()
    }

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

    fn with(device: wgpu::Device, queue: wgpu::Queue, lost: Arc<OnceLock<String>>) -> Self {
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
        let timeout = ContextBuilder::default().timeout;
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

fn what_there_is(all: &[wgpu::Adapter], options: &ContextBuilder) -> String {
    let name = |adapter: &wgpu::Adapter| {
        let info = adapter.get_info();
        format!("{} ({:?}, {})", info.name, info.device_type, info.backend)
    };
    let found = match all {
        [] => "none was found".into(),
        _ => format!("found {}", all.iter().map(name).collect::<Vec<_>>().join(", ")),
    };
    let kind = if options.software { "software adapter" } else { "hardware GPU" };
    let called = options.adapter.as_ref().map_or(String::new(), |name| format!(" called {name}"));
    let hint = match (options.software, cfg!(target_os = "linux")) {
        (true, true) => "install Mesa's software Vulkan driver (mesa-vulkan-drivers on Debian)",
        (true, false) => "install a software Vulkan driver",
        (false, true) => {
            "install its Vulkan driver and the loader (libvulkan1 on Debian), or ask for the software device"
        }
        (false, false) => "install its driver, or ask for the software device",
    };
    format!("expected a {kind}{called}, {found}; {hint}")
}

/// How a call waits for the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Waiting {
    /// The calling thread sleeps.
    Blocking,
    /// Another thread sleeps, and wakes the task.
    Async,
}

/// The result of a future that never waits.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = std::task::Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}

/// Runs `work` on a thread of its own, or on the calling one where none can be started.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = Arc::new(Mutex::new(Some(work)));
    let shared = Arc::new(Mutex::new((None, None::<Waker>)));
    let (their_work, theirs) = (Arc::clone(&work), Arc::clone(&shared));
    let started = std::thread::Builder::new().spawn(move || {
        let Some(work) = their_work.lock().ok().and_then(|mut work| work.take()) else { return };
        let value = work();
        let Ok(mut shared) = theirs.lock() else { return };
        shared.0 = Some(value);
        if let Some(waker) = shared.1.take() {
            waker.wake();
        }
    });
    if started.is_err()
        && let Some(work) = work.lock().ok().and_then(|mut work| work.take())
    {
        return work();
    }
    std::future::poll_fn(move |context| {
        let mut shared = shared.lock().expect("nothing panics while it holds the result");
        match shared.0.take() {
            Some(value) => Poll::Ready(value),
            None => {
                shared.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
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
