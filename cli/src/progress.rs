//! What long work has come to, on stderr, where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::thread;
use std::time::Duration;

use crate::parallel;

/// A bar that counts steps.
pub fn bar(steps: usize, quiet: bool, what: &'static str) -> ProgressBar {
    styled(ProgressBar::new(steps as u64), quiet, "{msg}  {bar:40} {pos}/{len}, {eta} left", what)
}

/// A sign that turns until it is dropped: how long the work takes is not known.
pub fn spinner(quiet: bool, what: &'static str) -> ProgressBar {
    let spinner = styled(ProgressBar::new_spinner(), quiet, "{spinner} {msg}, {elapsed}", what);
    if !spinner.is_hidden() && parallel::threads() > 1 {
        turn(&spinner);
    }
    spinner
}

/// Turns a spinner from a thread of its own; where none can be started, it stands still.
fn turn(spinner: &ProgressBar) {
    let watched = spinner.downgrade();
    let turning = move || {
        while let Some(spinner) = watched.upgrade().filter(|spinner| !spinner.is_finished()) {
            spinner.tick();
            drop(spinner);
            thread::sleep(Duration::from_millis(200));
        }
    };
    // `ProgressBar::enable_steady_tick` would panic.
    let _ = thread::Builder::new().spawn(turning);
}

fn styled(bar: ProgressBar, quiet: bool, template: &str, what: &'static str) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("a template that is right");
    bar.with_style(style).with_message(what)
}
