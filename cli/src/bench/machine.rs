//! The machine that a benchmark runs on, as far as the system tells.

use super::memory;

/// What figures depend on beside the program.
pub struct Machine {
    pub processor: String,
    pub family: Option<u64>,
    pub model: Option<u64>,
    pub cores: usize,
    pub caches: Caches,
    pub memory_bytes: u64,
}

/// Bytes of the caches of a core; 0 where nothing is known.
#[derive(Clone, Copy)]
pub struct Caches {
    /// The first cache of data.
    pub first: usize,
    /// The second cache.
    pub second: usize,
    /// The last cache, which cores share.
    pub last: usize,
}

impl Machine {
    pub fn here() -> Self {
        let list = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let mut lines = list.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_string())
        };
        let number = |name| field(name)?.parse().ok();
        Self {
            processor: field("model name").unwrap_or_else(|| std::env::consts::ARCH.into()),
            family: number("cpu family"),
            model: number("model"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            caches: caches(),
            memory_bytes: u64::try_from(memory::total()).unwrap_or(u64::MAX),
        }
    }

    /// Processor, family and model, in small letters and hyphens: a part of a file's name.
    pub fn slug(&self) -> String {
        let mut name = self.processor.clone();
        for (what, number) in [("family", self.family), ("model", self.model)] {
            if let Some(number) = number {
                name.push_str(&format!(" {what} {number}"));
            }
        }
        let small = name.to_ascii_lowercase();
        let words = small.split(|c: char| !c.is_ascii_alphanumeric());
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
    }
}

/// The caches of the first core.
pub fn caches() -> Caches {
    let mut caches = Caches { first: 0, second: 0, last: 0 };
    for index in 0..8 {
        let folder = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
        let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}"));
        let (Ok(level), Ok(kind), Ok(size)) = (read("level"), read("type"), read("size")) else {
            continue;
        };
        let kilobytes = size.trim().strip_suffix('K').and_then(|size| size.parse::<usize>().ok());
        let bytes = kilobytes.map_or(0, |kilobytes| kilobytes << 10);
        match (level.trim(), kind.trim()) {
            (_, "Instruction") => {}
            ("1", _) => caches.first = bytes,
            ("2", _) => caches.second = bytes,
            _ => caches.last = caches.last.max(bytes),
        }
    }
    caches
}
