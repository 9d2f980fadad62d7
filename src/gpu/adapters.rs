//! The adapters of this machine, and the context that is opened on one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::context::{Context, TIMEOUT};
use super::plan::Budget;
use super::waiting::now;
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
        let timeout = TIMEOUT;
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
