//! An end in order: what is in flight is waited for, the last words are written, and the lease is handed over.

use std::time::Duration;

use jiff::Timestamp;

use super::super::disk::Write;
use super::{Happens, Step, World};

/// What is in flight when the daemon is told to stop has this long to be answered, as in the daemon's loop.
const GRACE: Duration = Duration::from_secs(9);

/// And the journal this long to write its last words.
const CLOSE: Duration = Duration::from_millis(800);

#[derive(Clone, Copy)]
pub(super) struct Stopping {
    pub(super) stopped_at: Timestamp,
    /// Of the wait for answers, then of the wait for the journal.
    pub(super) ends_at: Duration,
    pub(super) closing: bool,
    /// It hands its lease over.
    pub(super) leaving: bool,
}

impl World<'_> {
    pub(super) fn stop(&mut self, down: Duration) -> Step {
        let now = self.now();
        let time = self.time;
        let machine = &mut self.machines[self.here];
        if time < machine.frozen_until {
            return Ok(());
        }
        if machine.process.is_none() && machine.member.is_some() {
            self.is_gone(false);
            self.at(time + down, Happens::Start);
            return Ok(());
        }
        let Some(process) = machine.process.as_mut().filter(|process| process.stopping.is_none()) else {
            return Ok(());
        };
        let effects = process.core.stop();
        let ends_at = time + GRACE;
        process.stopping = Some(Stopping { stopped_at: now.wall, ends_at, closing: false, leaving: false });
        self.at(self.time + GRACE + down, Happens::Start);
        self.perform(effects)
    }

    pub(super) fn goes_on_stopping(&mut self) -> Step {
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        let Some(stopping) = process.stopping else { return Ok(()) };
        let waits = process.core.fires_in_flight() > 0 || process.core.is_claiming();
        if stopping.closing {
            if stopping.leaving || self.time >= stopping.ends_at {
                self.exits();
            }
            return Ok(());
        }
        if waits && self.time < stopping.ends_at {
            return Ok(());
        }
        let ends_at = self.time + CLOSE;
        process.stopping = Some(Stopping { closing: true, ends_at, ..stopping });
        let effects = process.core.stop();
        self.perform(effects)?;
        self.save_quotas();
        self.ask(Write::Close(stopping.stopped_at));
        self.point()
    }

    /// The end of a process that was told to stop, once its lease is handed over.
    pub(super) fn exits(&mut self) {
        if !self.hands_over() {
            return;
        }
        self.note(|| "EXIT".to_owned());
        self.is_gone(false);
        // Whoever told it to stop starts it again.
        let here = self.here;
        if !self.queue.values().any(|(machine, what)| *machine == here && matches!(what, Happens::Start)) {
            self.at(self.time, Happens::Start);
        }
    }
}
