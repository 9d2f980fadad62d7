//! How much memory there is: to refuse sizes before the system ends the program for them.

/// What is taken for the memory of a machine that does not tell.
const UNKNOWN: u128 = 16 << 30;

/// The bytes of the machine.
pub fn total() -> u128 {
    field("MemTotal:").unwrap_or(UNKNOWN)
}

/// The bytes that are free, as far as the system tells.
pub fn free() -> u128 {
    field("MemAvailable:").unwrap_or(u128::MAX)
}

/// Whether the system gives so many bytes; it may be generous.
pub fn given(needed: u128) -> bool {
    usize::try_from(needed).is_ok_and(|needed| Vec::<u8>::new().try_reserve_exact(needed).is_ok())
}

/// A line of Linux's list, in bytes.
fn field(name: &str) -> Option<u128> {
    let list = std::fs::read_to_string("/proc/meminfo").ok()?;
    let rest = list.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u128 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
