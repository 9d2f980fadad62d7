//! Tasks over a fixed set of scratch slots.
//!
//! What a task computes depends on the task alone, never on who runs it: the number of threads
//! changes the time and nothing else. The number of slots bounds the memory.

#[cfg(feature = "parallel")]
use std::sync::{Mutex, OnceLock};

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

/// Gives each of `tasks` to `work` once, at most `slots.len()` of them at a time.
pub(crate) fn for_each<S: Send, T: Send>(
    slots: &mut [S],
    tasks: Vec<T>,
    work: impl Fn(&mut S, T) + Sync,
) {
    #[cfg(feature = "parallel")]
    if slots.len() > 1 && tasks.len() > 1 && threads() > 1 {
        let queue = Mutex::new(tasks.into_iter());
        let next = || queue.lock().expect("no task panics while it takes the next").next();
        let (next, work) = (&next, &work);
        rayon::scope(|scope| {
            for slot in slots {
                scope.spawn(move |_| {
                    while let Some(task) = next() {
                        work(slot, task);
                    }
                });
            }
        });
        return;
    }
    for task in tasks {
        work(&mut slots[0], task);
    }
}
