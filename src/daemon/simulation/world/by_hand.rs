//! What people ask of the daemon: to fire an entry, to pause or resume one.

use std::sync::Arc;

use super::super::disk::{Steered, Write};
use super::{Step, World};
use crate::dispatch::Haste;
use crate::journal::Claim;
use crate::log::event::{EntryFired, EntryPaused, EntryResumed};
use crate::schedule::{Entry, EntryName};

impl World<'_> {
    /// The entry that the daemon that runs has under a name, if one runs and nobody has told it to
    /// stop.
    pub(super) fn running(&self, name: &EntryName) -> Option<Arc<Entry>> {
        let machine = &self.machines[self.here];
        let process = machine.process.as_ref().filter(|process| process.stopping.is_none())?;
        let awake = self.time >= machine.frozen_until;
        process.running.entries.iter().find(|entry| awake && entry.name == *name).cloned()
    }

    pub(super) fn fire(&mut self, name: &EntryName) -> Step {
        let now = self.now();
        let Some(entry) = self.running(name) else { return Ok(()) };
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        if let Some(claim) = process.core.claim_by_hand(&entry, None, now) {
            self.ask(Write::ByHand(claim));
        }
        self.point()
    }

    pub(super) fn claimed_by_hand(&mut self, claim: Claim, is_new: Option<bool>) -> Step {
        let now = self.now();
        if is_new == Some(true) {
            let (entry, scheduled_at) = (claim.key.entry().clone(), claim.key.scheduled_at());
            self.tells(EntryFired { entry, scheduled_at, by_uid: 0 }.into());
        }
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        if is_new != Some(true) {
            if is_new.is_some() {
                process.core.known_by_hand();
                return self.fire(claim.key.entry());
            }
            process.core.unclaimed_by_hand(now);
            return Ok(());
        }
        let entry = process.running.entries.iter().find(|entry| entry.name == *claim.key.entry()).cloned();
        let effects = process.core.claimed_by_hand(claim, entry.as_ref(), Haste::Usual, now);
        self.perform(effects)
    }

    pub(super) fn steer(&mut self, name: &EntryName, to: Steered) -> Step {
        if self.running(name).is_none() {
            return Ok(());
        }
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        let is_so = process.core.paused().contains_key(name) == matches!(to, Steered::Paused(_));
        if is_so || !process.steering.insert(name.clone()) {
            return Ok(());
        }
        let write = match to {
            Steered::Paused(pause) => Write::Pause(name.clone(), pause),
            Steered::Resumed | Steered::Not => Write::Resume(name.clone()),
        };
        self.ask(write);
        self.point()
    }

    /// An entry's pause has come to its end.
    pub(super) fn pause_ends(&mut self, entry: EntryName) {
        self.book.resumed(&entry);
        let Some(process) = &self.machines[self.here].process else { return };
        if !process.steering.contains(&entry) {
            self.ask(Write::PauseEnds(entry));
        }
    }

    pub(super) fn steered(&mut self, entry: EntryName, steered: Steered) -> Step {
        let now = self.now();
        let Some(process) = &mut self.machines[self.here].process else { return Ok(()) };
        process.steering.remove(&entry);
        match steered {
            Steered::Paused(pause) => {
                let (by, until) = (pause.by.clone(), pause.until);
                self.book.paused(&entry, &pause);
                let effects = process.core.pause(&entry, pause, now);
                self.tells(EntryPaused { entry, by_uid: 0, by, until, note: None }.into());
                self.perform(effects)
            }
            Steered::Resumed => {
                process.core.resume(&entry);
                self.book.resumed(&entry);
                self.tells(EntryResumed { entry, by_uid: 0, by: "root".to_owned() }.into());
                Ok(())
            }
            Steered::Not => Ok(()),
        }
    }
}
