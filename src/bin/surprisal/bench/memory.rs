//! How much memory there is: to refuse sizes before the system ends the program for them.

/// What is taken for the memory of a machine that does not tell.
const UNKNOWN: u128 = 16 << 30;

/// The bytes of the machine.
pub fn total() -> u128 {
    field("MemTotal:").unwrap_or(UNKNOWN)
}

/// The bytes that can be had; where the system does not tell, `needed` if it gives them.
pub fn available(needed: u128) -> u128 {
    let reserved = usize::try_from(needed)
        .is_ok_and(|needed| Vec::<u8>::new().try_reserve_exact(needed).is_ok());
    match (field("MemAvailable:"), reserved) {
        (Some(available), _) => available,
        (None, true) => needed,
        (None, false) => needed.min(UNKNOWN).saturating_sub(1),
    }
}

/// A line of Linux's list, in bytes.
fn field(name: &str) -> Option<u128> {
    let list = std::fs::read_to_string("/proc/meminfo").ok()?;
    let rest = list.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u128 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
