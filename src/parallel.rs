//! Tasks over a fixed set of scratch.
//!
//! What a task computes depends on the task alone, never on who runs it: the number of threads
//! changes the time and nothing else. The number of scratches bounds the memory.

use std::sync::Mutex;
#[cfg(feature = "parallel")]
use std::sync::OnceLock;

/// How many threads the ambient pool has: 1 where none can be started.
pub(crate) fn threads() -> usize {
    #[cfg(feature = "parallel")]
    if has_pool() {
        return rayon::current_num_threads();
    }
    1
}

/// Whether there is an ambient pool, which is started if need be.
///
/// `rayon` panics where its global pool cannot be started. No other place of this crate may ask for
/// it, unless [`threads`] has said that there are several.
#[cfg(feature = "parallel")]
fn has_pool() -> bool {
    static GLOBAL: OnceLock<bool> = OnceLock::new();
    rayon::current_thread_index().is_some() || *GLOBAL.get_or_init(start_global_pool)
}

#[cfg(feature = "parallel")]
fn start_global_pool() -> bool {
    use rayon::ThreadPoolBuilder;
    use std::error::Error as _;

    // There, `rayon` itself makes do with the calling thread.
    if cfg!(target_family = "wasm") {
        return true;
    }
    match ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        // The system's reason; without one, someone was here before, with or without success.
        Err(error) => {
            error.source().is_none() && std::panic::catch_unwind(rayon::current_num_threads).is_ok()
        }
    }
}

/// Gives each of `tasks` to `work` once, at most `scratches.len()` of them at a time.
pub(crate) fn for_each<S: Send, T: Send>(
    scratches: &mut [S],
    tasks: Vec<T>,
    work: impl Fn(&mut S, T) + Sync,
) {
    for_each_of(scratches, tasks, &work);
}

fn for_each_of<S: Send, T: Send>(
    scratches: &mut [S],
    tasks: Vec<T>,
    work: &(dyn Fn(&mut S, T) + Sync),
) {
    let at_once = scratches.len().min(tasks.len());
    assert!(at_once > 0 || tasks.is_empty(), "a task needs a scratch");
    let free = Mutex::new(scratches.iter_mut());
    let queue = Mutex::new(tasks.into_iter());
    let next = || queue.lock().expect("no task panics while it takes the next").next();
    run(at_once, &|| {
        let scratch = free.lock().expect("no task panics while it takes its scratch").next();
        let Some(scratch) = scratch else { return };
        while let Some(task) = next() {
            work(scratch, task);
        }
    });
}

/// Runs `job` so many times, on as many threads as there are. It is one for all types of tasks: what `rayon` makes
/// of each was a sixth of this library's code.
fn run(times: usize, job: &(dyn Fn() + Sync)) {
    #[cfg(feature = "parallel")]
    if times > 1 && threads() > 1 {
        rayon::scope(|scope| {
            for _ in 0..times {
                scope.spawn(|_| job());
            }
        });
        return;
    }
    // One takes all tasks.
    if times > 0 {
        job();
    }
}
