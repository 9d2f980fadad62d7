//! Which adapter the tests run on: the software one, or with `SURPRISAL_TEST_ADAPTER` set a hardware GPU whose
//! name contains it (empty: the best there is).

use std::time::Duration;

use surprisal::gpu::wgpu::DeviceType;
use surprisal::gpu::{Context, ContextBuilder};

const VARIABLE: &str = "SURPRISAL_TEST_ADAPTER";

/// The options of a context there, which waits longer than a slow adapter needs.
pub(super) fn builder() -> ContextBuilder {
    let builder = Context::builder().timeout(Duration::from_secs(300));
    match std::env::var(VARIABLE) {
        Ok(name) => builder.adapter(name),
        Err(_) => builder.software(true),
    }
}

/// Whether the tests run on adapters of this kind.
pub(super) fn takes(kind: DeviceType) -> bool {
    (kind == DeviceType::Cpu) == std::env::var(VARIABLE).is_err()
}
