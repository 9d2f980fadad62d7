//! Where the roof is: what a pass computes and what it has to move, beside what the processor computes
//! and what the memory gives (Williams, Waterman and Patterson 2009, "Roofline").

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use surprisal::Isa;

use super::machine::caches;
use super::memory;
use crate::parallel;

/// Numbers are read from so many bytes in all, where they are free: at least, and at most.
const LEAST: usize = 256 << 20;
const MOST: usize = 2 << 30;
/// Where there are enough threads for it, each reads so many times what the last cache holds.
const CACHES: usize = 4;

/// Numbers that nothing but the bandwidth is measured with.
pub struct Streams {
    isa: Isa,
    numbers: Vec<f32>,
    /// How many of them are as large as the operands, where the last cache holds those.
    operands: Option<usize>,
    memory: Vec<f64>,
    one_thread: Vec<f64>,
    cache: Vec<f64>,
}

impl Streams {
    /// For operands of so many bytes.
    pub fn new(isa: Isa, operands: u128) -> Self {
        let last = caches().last;
        let wanted = (parallel::threads() * CACHES * last).clamp(LEAST, MOST);
        let free = usize::try_from(memory::free() / 4).unwrap_or(usize::MAX);
        let numbers = vec![1.0; wanted.min(free) / size_of::<f32>()];
        // Half of the cache: what else is in it has the rest.
        let fits = operands <= last as u128 / 2;
        let operands = fits.then(|| (operands as usize / size_of::<f32>()).min(numbers.len()));
        let empty = Vec::new;
        Self { isa, numbers, operands, memory: empty(), one_thread: empty(), cache: empty() }
    }

    /// One more sample of each rate. What is in the caches is gone then.
    pub fn sample(&mut self) {
        self.memory.push(self.all_threads(&self.numbers));
        self.one_thread.push(self.isa.read_bandwidth(&self.numbers));
        if let Some(operands) = self.operands {
            self.cache.push(self.all_threads(&self.numbers[..operands]));
        }
    }

    /// Bytes a second that all threads read at once, each its own part: over the time from the first's beginning
    /// to the last's end, since threads that had to wait for each other would each have the memory alone.
    fn all_threads(&self, numbers: &[f32]) -> f64 {
        let part = numbers.len().div_ceil(parallel::threads()).max(1);
        let next = AtomicUsize::new(0);
        let rates = parallel::on_each_thread(|| {
            let first = part * next.fetch_add(1, Ordering::Relaxed);
            let first = first.min(numbers.len());
            let begin = Instant::now();
            let own = &numbers[first..(first + part).min(numbers.len())];
            let rate = self.isa.read_bandwidth(own);
            (rate, begin, Instant::now())
        });
        let bytes: f64 = rates.iter().map(|(rate, begin, end)| rate * seconds(*begin, *end)).sum();
        let begin = rates.iter().map(|&(_, begin, _)| begin).min();
        let end = rates.iter().map(|&(_, _, end)| end).max();
        begin.zip(end).map_or(0.0, |(begin, end)| bytes / seconds(begin, end).max(1e-9))
    }

    /// Whether a sample between two passes takes nothing from them: a cache would not have held what they read.
    pub fn may_interrupt(&self) -> bool {
        self.operands.is_none()
    }

    /// The best of the samples, as STREAM has it: what other programs and machines beside this one take of a
    /// memory comes and goes, up to a half of it.
    pub fn bandwidth(self) -> Bandwidth {
        let best = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
        Bandwidth {
            memory: best(&self.memory),
            one_thread: best(&self.one_thread),
            cache: self.operands.map(|_| best(&self.cache)),
        }
    }
}

fn seconds(begin: Instant, end: Instant) -> f64 {
    end.duration_since(begin).as_secs_f64()
}

/// Bytes a second that are read.
#[derive(Clone, Copy)]
pub struct Bandwidth {
    /// From main memory, by all threads at once.
    pub memory: f64,
    /// The same by one alone.
    pub one_thread: f64,
    /// From as many bytes as the operands have, where the last cache holds them.
    pub cache: Option<f64>,
}

/// What a pass could do at best.
pub struct Roof {
    pub bandwidth: Bandwidth,
    /// Operations of the pass.
    pub operations: f64,
    /// Bytes of what is read and written, each once.
    pub bytes: f64,
    /// Operations a second.
    pub peak: f64,
}

impl Roof {
    /// The rate at which the operands come.
    pub fn operand_bandwidth(&self) -> f64 {
        self.bandwidth.cache.unwrap_or(self.bandwidth.memory)
    }

    /// Operations a byte.
    pub fn intensity(&self) -> f64 {
        self.operations / self.bytes
    }

    /// The intensity from which on the products take longer than the bytes.
    pub fn ridge(&self) -> f64 {
        self.peak / self.operand_bandwidth()
    }

    /// What bounds the pass: `compute`, `memory` or `cache`.
    pub fn bound(&self) -> &'static str {
        match (self.intensity() >= self.ridge(), self.bandwidth.cache) {
            (true, _) => "compute",
            (false, None) => "memory",
            (false, Some(_)) => "cache",
        }
    }

    /// The time of the slower of the two.
    pub fn seconds(&self) -> f64 {
        (self.operations / self.peak).max(self.bytes / self.operand_bandwidth())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_two_roofs_bounds() {
        let bandwidth = Bandwidth { memory: 10.0, one_thread: 5.0, cache: None };
        let roof = |operations, cache| {
            let bandwidth = Bandwidth { cache, ..bandwidth };
            Roof { bandwidth, operations, bytes: 20.0, peak: 100.0 }
        };
        // The ridge is at ten operations a byte; below it the bytes take two seconds.
        let (below, above) = (roof(150.0, None), roof(400.0, None));
        assert_eq!((below.ridge(), below.intensity()), (10.0, 7.5));
        assert_eq!((below.bound(), below.seconds()), ("memory", 2.0));
        assert_eq!((above.bound(), above.seconds()), ("compute", 4.0));
        // A cache of four times the rate moves the ridge to 2.5.
        let cached = roof(150.0, Some(40.0));
        assert_eq!((cached.bound(), cached.ridge(), cached.seconds()), ("compute", 2.5, 1.5));
        assert_eq!(roof(40.0, Some(40.0)).bound(), "cache");
    }
}
