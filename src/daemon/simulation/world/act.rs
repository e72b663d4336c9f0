//! What is done to the daemons from outside.

use super::super::disk::Steered;
use super::super::scenario::Act;
use super::{Happens, Step, World};
use crate::journal::Pause;

impl World<'_> {
    pub(super) fn act(&mut self, act: &Act) -> Step {
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
                self.fire(entry)
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
                self.steer(entry, Steered::Paused(pause))
            }
            Act::SetClock(by) => {
                // A former process is taken to have been as far from the API's time as this one, or right.
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
            Act::Limit(limit) => {
                for account in &self.scenario.universe.accounts {
                    let user = self.network.user(&account.name).unwrap_or_default().to_owned();
                    let _ = self.network.api_mut().set_limit(&user, limit);
                }
                Ok(())
            }
        }
    }
}
