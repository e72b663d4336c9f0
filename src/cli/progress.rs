//! A progress bar on stderr, for what takes over a second in front of a person.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time before a bar is shown. A bar of a shorter task would only flicker.
const LONG: Duration = Duration::from_secs(1);

/// The bar is as wide as the terminal allows. No colours, so that `NO_COLOR` has nothing to take out.
const TEMPLATE: &str = "{msg} [{wide_bar}] {percent:>3}%";

/// Progress of a task. It is taken off the screen when it is dropped.
pub(super) struct ProgressLine {
    bar: ProgressBar,
    since: Instant,
    /// True once the bar is drawn, or never will be.
    settled: bool,
}

impl ProgressLine {
    /// Returns a progress that shows nothing yet. `what` names the task.
    pub(super) fn of(what: &'static str) -> ProgressLine {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        ProgressLine { bar, since: Instant::now(), settled: !std::io::stderr().is_terminal() }
    }

    /// Never shows anything: something else is printed to the same terminal meanwhile.
    pub(super) fn hidden() -> ProgressLine {
        let mut progress = ProgressLine::of("");
        progress.settled = true;
        progress
    }

    /// So much of the whole is done.
    pub(super) fn at(&mut self, done: u64, whole: u64) {
        self.bar.set_length(whole);
        self.bar.set_position(done);
        if !self.settled && self.since.elapsed() >= LONG {
            self.settled = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.tick();
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
