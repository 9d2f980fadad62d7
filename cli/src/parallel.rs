//! Work on all threads. What an element becomes depends on no other, so neither the chunks nor the
//! threads change a bit.

#[cfg(feature = "parallel")]
use rayon::prelude::*;

/// Numbers a chunk: few enough to stay in the first-level cache.
#[cfg(feature = "parallel")]
const CHUNK: usize = 1 << 12;

/// Gives `work` each row of an array, with its number.
pub fn for_each_row<T: Send>(array: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    #[cfg(feature = "parallel")]
    array
        .par_chunks_mut(width)
        .with_min_len(CHUNK.div_ceil(width))
        .enumerate()
        .for_each(|(i, row)| work(i, row));
    #[cfg(not(feature = "parallel"))]
    array.chunks_mut(width).enumerate().for_each(|(i, row)| work(i, row));
}

/// How many threads the pool has.
pub fn threads() -> usize {
    #[cfg(feature = "parallel")]
    return rayon::current_num_threads();
    #[cfg(not(feature = "parallel"))]
    1
}

/// What `work` makes of each item, in their order.
pub fn map<I: Send, O: Send>(items: Vec<I>, work: impl Fn(I) -> O + Sync + Send) -> Vec<O> {
    #[cfg(feature = "parallel")]
    return items.into_par_iter().map(work).collect();
    #[cfg(not(feature = "parallel"))]
    items.into_iter().map(work).collect()
}

/// What `work` returns on each thread of the pool, all at once.
pub fn on_each_thread<O: Send>(work: impl Fn() -> O + Sync) -> Vec<O> {
    #[cfg(feature = "parallel")]
    return rayon::broadcast(|_| work());
    #[cfg(not(feature = "parallel"))]
    vec![work()]
}

/// What `work` returns on one thread of its own: for results whose last bits depend on how many there
/// are.
pub fn on_one_thread<O: Send>(work: impl FnOnce() -> O + Send) -> O {
    #[cfg(feature = "parallel")]
    if rayon::current_num_threads() > 1
        && let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(1).build()
    {
        return pool.install(work);
    }
    work()
}
