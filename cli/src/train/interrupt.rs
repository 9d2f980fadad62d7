//! Ctrl-c, and the polite signals to end: the step that is under way is the last.

use signal_hook::flag::{register, register_conditional_shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::output::note;

/// Exit status where a second one does not wait for the end: 128 and the number of SIGINT.
const IMPATIENT: i32 = 130;

/// What asks for the end: ctrl-c, `kill`, and on Unix a terminal that closes.
const SIGNALS: &[i32] = &[
    signal_hook::consts::SIGINT,
    signal_hook::consts::SIGTERM,
    #[cfg(unix)]
    signal_hook::consts::SIGHUP,
];

/// Whether someone wants the run to end.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, without a thread; where that cannot be, ctrl-c ends the program at once.
    pub fn listen(quiet: bool) -> Self {
        let requested = Arc::new(AtomicBool::new(false));
        for &signal in SIGNALS {
            // In this order: the first of them does not end the program.
            let listening =
                register_conditional_shutdown(signal, IMPATIENT, Arc::clone(&requested))
                    .and_then(|_| register(signal, Arc::clone(&requested)));
            if let Err(error) = listening {
                note(quiet, &format!("cannot listen to ctrl-c ({error}), it ends all at once"));
                break;
            }
        }
        Self(requested)
    }

    /// Whether it has come.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
