//! The machine that a benchmark runs on, as far as the system tells.

use super::memory;

/// What figures depend on beside the program.
pub struct Machine {
    pub processor: String,
    pub family: Option<u64>,
    pub model: Option<u64>,
    pub cores: usize,
    pub caches: surprisal::Caches,
    pub memory_bytes: u64,
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

/// The caches that products go by; 0 where nothing is known.
pub fn caches() -> surprisal::Caches {
    surprisal::Caches::current().unwrap_or_default()
}
