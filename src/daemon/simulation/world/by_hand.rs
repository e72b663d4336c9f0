//! The requests of people: to fire an entry, to pause or resume one.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::super::disk::DiskRequest;
use super::{Happens, SimulatedWorld, StepResult};
use crate::control::Wanted;
use crate::daemon::node::{Asker, FireByHand, Input, PauseChange, Steering};
use crate::dispatch::Haste;
use crate::schedule::{Entry, EntryName};

impl SimulatedWorld<'_> {
    /// The entry that the daemon that runs has under a name, if one runs and nobody has told it to
    /// stop.
    pub(super) fn running(&self, name: &EntryName) -> Option<Arc<Entry>> {
        let machine = &self.machines[self.here];
        let process = machine.process.as_ref().filter(|process| !process.node.is_ending())?;
        let awake = self.time >= machine.frozen_until;
        process.node.schedule().entries.iter().find(|entry| awake && entry.name == *name).cloned()
    }

    /// A person asks for a run. In every other world the question names its instant, as the
    /// command's does, and may be asked again: its answer was lost.
    pub(super) fn asks_for_a_run(&mut self, name: &EntryName) -> StepResult {
        if !self.scenario.seed.is_multiple_of(2) {
            return self.fire(name, None);
        }
        let wall = self.now().wall;
        let at = Timestamp::from_microsecond(wall.as_microsecond() | 1).unwrap_or(wall);
        self.oracle.asks(at);
        if self.chances.bool() {
            let after = Duration::from_millis(self.chances.u64(..6000));
            self.at(self.time + after, Happens::AsksAgain(name.clone(), at));
        }
        self.fire(name, Some(at))
    }

    pub(super) fn fire(&mut self, name: &EntryName, at: Option<Timestamp>) -> StepResult {
        let Some(entry) = self.running(name) else { return Ok(()) };
        let (asker, haste) = (Asker::default(), Haste::Usual);
        let wanted = Wanted::Now { args: None, haste, at };
        self.handle(Input::Fire(FireByHand { asker, entry, wanted, by_uid: 0 }))?;
        self.point()
    }

    pub(super) fn steer(&mut self, name: &EntryName, to: PauseChange) -> StepResult {
        if self.running(name).is_none() {
            return Ok(());
        }
        let (asker, by) = (Asker::default(), "root".to_owned());
        self.handle(Input::Steer(Steering { asker, entry: name.clone(), to, by_uid: 0, by }))?;
        self.point()
    }

    /// An entry's pause has come to its end.
    pub(super) fn pause_ends(&mut self, entry: EntryName) {
        self.oracle.resumed(&entry);
        let Some(process) = &self.machines[self.here].process else { return };
        if !process.node.is_being_steered(&entry) {
            self.ask(DiskRequest::PauseEnds(entry));
        }
    }

    /// A pause or a resume is written.
    pub(super) fn steered(&mut self, steering: &Steering) {
        match &steering.to {
            PauseChange::Paused(pause) => self.oracle.paused(&steering.entry, pause),
            PauseChange::Resumed => self.oracle.resumed(&steering.entry),
        }
    }
}
