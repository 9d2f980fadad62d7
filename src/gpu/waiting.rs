//! Waiting: on the calling thread, or on another that wakes a task.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// How a call waits for the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Waiting {
    /// The calling thread sleeps.
    Blocking,
    /// Another thread sleeps, and wakes the task.
    Async,
}

/// The result of a future that never waits.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = std::task::Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}

/// Runs `work` on a thread of its own, or on the calling one where none can be started.
pub(super) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = Arc::new(Mutex::new(Some(work)));
    let shared = Arc::new(Mutex::new((None, None::<Waker>)));
    let (their_work, theirs) = (Arc::clone(&work), Arc::clone(&shared));
    let started = std::thread::Builder::new().spawn(move || {
        let Some(work) = their_work.lock().ok().and_then(|mut work| work.take()) else { return };
        let value = work();
        let Ok(mut shared) = theirs.lock() else { return };
        shared.0 = Some(value);
        if let Some(waker) = shared.1.take() {
            waker.wake();
        }
    });
    if started.is_err()
        && let Some(work) = work.lock().ok().and_then(|mut work| work.take())
    {
        return work();
    }
    std::future::poll_fn(move |context| {
        let mut shared = shared.lock().expect("nothing panics while it holds the result");
        match shared.0.take() {
            Some(value) => Poll::Ready(value),
            None => {
                shared.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}
