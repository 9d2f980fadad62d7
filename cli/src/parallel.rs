//! Work on all threads. What an element becomes depends on no other, so neither the chunks nor the
//! threads change a bit.

#[cfg(feature = "parallel")]
use rayon::prelude::*;

use crate::Failure;
#[cfg(feature = "parallel")]
use crate::output::note;

/// Numbers a chunk: few enough to stay in the first-level cache.
#[cfg(feature = "parallel")]
const CHUNK: usize = 1 << 12;

/// Gives `work` each row of an array, with its number.
pub fn for_each_row<T: Send>(array: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    rows_to(array, width, &work);
}

// One for all functions.
fn rows_to<T: Send>(array: &mut [T], width: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
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

/// What both return, at the same time where there are threads for it.
pub fn both<A: Send, B: Send>(
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    #[cfg(feature = "parallel")]
    return rayon::join(first, second);
    #[cfg(not(feature = "parallel"))]
    (first(), second())
}

/// Runs in a pool of so many threads, or of as many as the machine lets start; a pool of one is the
/// calling thread.
///
/// Everything that the program does goes on in such a pool: the global one is never asked for.
#[cfg(feature = "parallel")]
pub fn in_pool(
    threads: Option<usize>,
    quiet: bool,
    run: impl FnOnce() -> Result<(), Failure> + Send,
) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = most_threads(cores);
    let from_environment = || std::env::var("RAYON_NUM_THREADS").ok()?.parse().ok();
    let wanted = match threads {
        Some(0) => return Err(Failure::Input("--threads is 0, expected at least 1".into())),
        Some(threads) => threads,
        None => from_environment().filter(|&threads| threads > 0).unwrap_or(cores),
    };
    if wanted > most {
        note(quiet, &format!("{wanted} threads are more than help, goes on with {most}"));
    }
    let mut count = wanted.min(most);
    let mut refused = None;
    let pool = loop {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(count);
        let builder = if count == 1 { builder.use_current_thread() } else { builder };
        match builder.build() {
            Ok(pool) => break pool,
            Err(error) if count > 1 => {
                refused.get_or_insert(format!("{count} threads cannot be started ({error})"));
                count /= 2;
            }
            Err(error) => return Err(Failure::Other(format!("cannot start a pool: {error}"))),
        }
    };
    if let Some(refused) = refused {
        let with = if count == 1 { "the calling thread".into() } else { count.to_string() };
        note(quiet, &format!("{refused}, goes on with {with}"));
    }
    pool.install(run)
}

#[cfg(not(feature = "parallel"))]
pub fn in_pool(
    threads: Option<usize>,
    _: bool,
    run: impl FnOnce() -> Result<(), Failure> + Send,
) -> Result<(), Failure> {
    match threads {
        None | Some(1) => run(),
        Some(0) => Err(Failure::Input("--threads is 0, expected at least 1".into())),
        Some(_) => Err(Failure::Input("--threads needs a build with the feature parallel".into())),
    }
}

/// Beyond 4 threads a core there is nothing to win, and each costs memory and a start; 64 can be told
/// apart in a test on any machine.
#[cfg(feature = "parallel")]
fn most_threads(cores: usize) -> usize {
    cores.saturating_mul(4).max(64)
}
