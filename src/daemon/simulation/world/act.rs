//! The faults that strike the daemons from outside.

use std::time::Duration;

use jiff::SignedDuration;

use super::super::scenario::Act;
use super::{Happens, SimulatedWorld, StepResult};
use crate::daemon::node::PauseChange;
use crate::journal::Pause;
use crate::sandbox::Occupation;

impl SimulatedWorld<'_> {
    pub(super) fn act(&mut self, number: usize) -> StepResult {
        let act = &self.scenario.acts[number].2;
        self.note(|| format!("ACT {act:?}"));
        let (time, shared) = (self.time, self.is_shared());
        match *act {
            Act::Reload(file) => {
                self.file = file;
                self.reload()
            }
            Act::Edit(file) => {
                if self.machines[self.here].process.is_none() {
                    self.file = file;
                }
                Ok(())
            }
            Act::Stop(down) => self.stop(down),
            Act::Kill { machine, down } => {
                if self.machines[self.here].process.is_some() || self.machines[self.here].member.is_some() {
                    self.dies(Some((machine, down)));
                }
                Ok(())
            }
            Act::Fire(ref entry) => {
                self.here = self.leader().unwrap_or(self.here);
                self.asks_for_a_run(entry)
            }
            Act::Pause(ref entry, span) => {
                self.here = self.leader().unwrap_or(self.here);
                // Every other one ends by itself.
                let until = match span.as_millis() % 2 {
                    0 => self.now().wall.checked_add(span).ok(),
                    _ => None,
                };
                if until.is_none() {
                    self.at(self.time + span, Happens::Resume(entry.clone()));
                }
                let since = self.now().wall;
                let pause = Pause { since, by: "root".to_owned(), until, note: None };
                self.steer(entry, PauseChange::Paused(pause))
            }
            Act::SetClock(by) => {
                // A former process is taken to have been as far from the API's time as this one, or
                // right.
                let machine = &mut self.machines[self.here];
                machine.ahead = if machine.ahead == machine.base { by } else { machine.base };
                machine.ahead_at_most = machine.ahead_at_most.max(machine.ahead);
                Ok(())
            }
            Act::Freeze(span) => {
                let machine = &mut self.machines[self.here];
                machine.frozen_until = time + span;
                machine.disk.freezes(time + span);
                Ok(())
            }
            Act::IllDisk(span, mark) => {
                match shared && !mark {
                    true => self.database.fills(time + span),
                    false => self.machines[self.here].disk.falls_ill(time + span, mark),
                }
                Ok(())
            }
            Act::HangingDisk(span) => {
                match shared {
                    true => self.database.hangs(time + span),
                    false => self.machines[self.here].disk.hangs(time + span),
                }
                Ok(())
            }
            Act::Gone(span) => {
                self.database.goes(time + span);
                Ok(())
            }
            Act::Restore { age, down } => {
                self.restores(number, age, down);
                Ok(())
            }
            Act::Replaced(span) => {
                if shared {
                    self.database.is_replaced(time + span, time);
                }
                Ok(())
            }
            Act::Swallows(span) => {
                self.database.swallows(self.here, time + span);
                Ok(())
            }
            Act::CutOff(span) => {
                self.database.is_cut_off(self.here, time + span);
                Ok(())
            }
            Act::Unreachable(span) => {
                self.machines[self.here].unreachable_until = time + span;
                Ok(())
            }
            Act::Maintain(stack, span) => {
                let until = self.server() + SignedDuration::try_from(span).unwrap_or_default();
                // A stack that no file names yet cannot be occupied.
                let _ = self.network.api_mut().occupy(stack, Occupation::Maintenance, until);
                Ok(())
            }
            Act::PauseInCloud66(stack, span) => {
                self.network.api_mut().pause_all(stack, true);
                self.at(time + span, Happens::ResumeInCloud66(stack));
                Ok(())
            }
            Act::Limit(limit) => {
                for account in &self.scenario.universe.accounts {
                    let user = self.network.user(&account.name).unwrap_or_default().to_owned();
                    let _ = self.network.api_mut().set_limit(&user, limit);
                }
                Ok(())
            }
        }
    }

    /// An older copy of the journal is put in its place. A file is left alone while a daemon has
    /// it.
    fn restores(&mut self, number: usize, age: Duration, down: Duration) {
        let Some(copy) = self.copies.remove(&number) else { return };
        // A journal in which nothing is claimed has forgotten nothing.
        let Some(cursor) = copy.memory.cursor() else { return };
        let repeat = copy.memory.repeat();
        // A copy since which nothing was claimed in the file, or no beat was written in the
        // database, is not known as an older one. A repetition or a follower that such a file lacks
        // may start a second time, and a claim that such a database lacks is lost. While the
        // database hangs no beat is answered, so that the leader knows of none since the copy.
        let is_known_as_older = match self.is_shared() {
            true => {
                let has_hung = self.database.has_hung_since(self.time.saturating_sub(age));
                copy.look().seen != self.database.tables.look().seen && !has_hung
            }
            false => Some(cursor) < self.machines[self.here].known_until,
        };
        if !is_known_as_older && (self.is_shared() || self.scenario.has_links()) {
            return;
        }
        if self.is_shared() {
            self.database.is_restored(copy, self.time + down);
        } else {
            if self.machines[self.here].process.is_some() {
                self.dies(Some((false, down)));
            }
            self.database.tables = copy;
        }
        // A machine that was down or cut off does not know how far others have sent: a person
        // starts it after the others.
        let known = self.machines.iter().filter_map(|machine| machine.known_until).max();
        for machine in &mut self.machines {
            machine.known_until = known;
            if let Some(member) = &mut machine.member {
                member.may_have_sent(known);
            }
        }
        self.note(|| format!("the journal is as it was when its cursor was {cursor}"));
        self.oracle.is_restored(cursor, repeat);
    }
}
