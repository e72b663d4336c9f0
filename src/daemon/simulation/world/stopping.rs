//! An end in order, from outside: a daemon is told to stop, and its lease is handed over once its
//! node has wound up.

use std::time::Duration;

use super::{Happens, SimulatedWorld, StepResult};
use crate::daemon::GRACE;
use crate::daemon::node::Input;

impl SimulatedWorld<'_> {
    pub(super) fn stop(&mut self, down: Duration) -> StepResult {
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
        let Some(process) = machine.process.as_mut().filter(|process| !process.node.is_ending()) else {
            return Ok(());
        };
        process.wakes_at = time;
        self.at(time + GRACE + down, Happens::Start);
        self.handle(Input::Stop(GRACE))
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
