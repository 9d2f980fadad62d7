//! Tasks over a fixed set of scratch slots.
//!
//! What a task computes depends on the task alone, never on who runs it: the number of threads
//! changes the time and nothing else. The number of slots bounds the memory.

#[cfg(feature = "parallel")]
use std::sync::Mutex;

/// How many threads the ambient pool has.
pub(crate) fn threads() -> usize {
    #[cfg(feature = "parallel")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "parallel"))]
    1
}

/// Gives each of `tasks` to `work` once, at most `slots.len()` of them at a time.
pub(crate) fn for_each<S: Send, T: Send>(
    slots: &mut [S],
    tasks: Vec<T>,
    work: impl Fn(&mut S, T) + Sync,
) {
    #[cfg(feature = "parallel")]
    if slots.len() > 1 && tasks.len() > 1 {
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
