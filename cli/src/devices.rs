//! `surprisal devices`: the GPUs of this machine and what they allow.

use clap::Args;

use crate::{Failure, Global};

/// List the adapters and their limits; needs a build with the feature gpu
#[derive(Args)]
pub struct Devices {
    /// Compare a small loss with the processor's on each adapter
    #[arg(long, help_heading = "Output")]
    check: bool,
}

#[cfg(not(feature = "gpu"))]
impl Devices {
    pub fn run(&self, _: &Global) -> Result<(), Failure> {
        let _ = self.check;
        Err(Failure::Input("devices needs a build with the feature gpu".into()))
    }
}

#[cfg(feature = "gpu")]
impl Devices {
    pub fn run(&self, global: &Global) -> Result<(), Failure> {
        use serde_json::{Map, Value};
        use surprisal::gpu::{Context, adapters};
        use surprisal::printable;

        let mut list = Vec::new();
        let mut lines = String::new();
        for adapter in adapters() {
            let (information, limits) = (&adapter.information, &adapter.limits);
            let mut entry = Map::new();
            let mut add = |key: &str, value: Value| entry.insert(key.into(), value);
            add("name", information.name.as_str().into());
            add("type", format!("{:?}", information.device_type).into());
            add("backend", information.backend.to_string().into());
            add("driver", format!("{} {}", information.driver, information.driver_info).into());
            add("device", if adapter.software() { "software" } else { "gpu" }.into());
            add("max_buffer_size", limits.max_buffer_size.into());
            let binding = limits.max_storage_buffer_binding_size;
            add("max_storage_buffer_binding_size", binding.into());
            let storage = limits.max_compute_workgroup_storage_size;
            add("max_compute_workgroup_storage_size", storage.into());
            let workgroups = limits.max_compute_workgroups_per_dimension;
            add("max_compute_workgroups_per_dimension", workgroups.into());
            let invocations = limits.max_compute_invocations_per_workgroup;
            add("max_compute_invocations_per_workgroup", invocations.into());
            add("max_immediate_size", limits.max_immediate_size.into());
            if self.check {
                let builder = Context::builder().software(adapter.software());
                let context = builder.adapter(&*information.name).build();
                let checked = context.and_then(|context| context.self_check());
                add(
                    "check",
                    checked.map_or_else(|error| error.to_string(), |()| "good".into()).into(),
                );
            }
            let width = entry.keys().map(String::len).max().unwrap_or(0);
            for (key, value) in &entry {
                let text = match (value.as_str(), value.as_u64()) {
                    (Some(text), _) => text.into(),
                    (None, Some(number)) => of_limit(key, number),
                    (None, None) => value.to_string(),
                };
                lines += &format!("{:width$}  {}\n", key.replace('_', " "), printable(&text));
            }
            lines.push('\n');
            list.push(Value::Object(entry));
        }
        if global.json {
            let mut result = Map::new();
            result.insert("devices".into(), list.into());
            return crate::output::print_text(&format!("{}\n", Value::Object(result)));
        }
        match list.is_empty() {
            true => crate::output::print_text("no adapters; is a Vulkan driver installed?\n"),
            false => crate::output::print_text(lines.trim_end_matches('\n'))
                .and_then(|()| crate::output::print_text("\n")),
        }
    }
}

/// A limit with its unit.
#[cfg(feature = "gpu")]
fn of_limit(key: &str, number: u64) -> String {
    match key {
        _ if key.ends_with("size") => crate::report::bytes(number as usize),
        "max_compute_invocations_per_workgroup" => format!("{number} threads"),
        _ => number.to_string(),
    }
}
