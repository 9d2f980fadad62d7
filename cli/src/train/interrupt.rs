//! Ctrl-c, and the polite signal to end: the step that is under way is the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Failure;

/// Exit status where a second one does not wait for the end: 128 and the number of SIGINT.
const IMPATIENT: i32 = 130;

/// Whether someone wants the run to end.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    pub fn listen() -> Result<Self, Failure> {
        let requested = Arc::new(AtomicBool::new(false));
        let request = Arc::clone(&requested);
        let handler = move || {
            if request.swap(true, Ordering::Relaxed) {
                std::process::exit(IMPATIENT);
            }
        };
        ctrlc::set_handler(handler)
            .map_err(|error| Failure::Other(format!("cannot listen to ctrl-c: {error}")))?;
        Ok(Self(requested))
    }

    /// Whether it has come.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
