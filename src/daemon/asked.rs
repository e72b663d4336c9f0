//! The loop's answers to people: fire an entry, pause or resume one, tell how things stand.

use std::sync::Arc;

use jiff::Timestamp;

use super::Daemon;
use super::core::Core;
use super::leader::Leader;
use super::node::{FireByHand, Input, PauseChange, Steering};
use crate::clock::Now;
use crate::control::{
    ControlRequest, FireError, FireRequest, NotReady, Snapshot, States, Steer, SteerError, Terms, Uid,
    attention,
};
use crate::dispatch;
use crate::journal::{Health, JournalError, Pause};
use crate::metrics::DISK_HANGS;
use crate::schedule::ending;

impl Leader {
    pub(super) fn asked(&mut self, daemon: &mut Daemon, ask: ControlRequest) {
        match ask {
            // The person has been told that nobody answers, so that their entry is not fired
            // afterwards.
            ControlRequest::Fire(fire) if fire.answer.is_closed() => {}
            ControlRequest::Pause(steer, _) | ControlRequest::Resume(steer) if steer.answer.is_closed() => {}
            ControlRequest::Snapshot { answer, .. } if answer.is_closed() => {}
            ControlRequest::Fire(fire) if !Arc::ptr_eq(&fire.schedule, self.node.schedule()) => {
                let _ = fire.answer.send(Err(FireError::Stale));
            }
            ControlRequest::Fire(fire) => {
                let FireRequest { entry, wanted, by: Uid(by_uid), answer, told, .. } = *fire;
                let asker = self.askers.waits_for_fire(answer, told);
                let fire = FireByHand { asker, entry, wanted, by_uid };
                self.handle(daemon, Input::Fire(fire), Now::read());
            }
            ControlRequest::Pause(steer, terms) => {
                let Terms { until, note } = terms;
                let pause = Pause { since: Timestamp::now(), by: steer.by_name.clone(), until, note };
                self.steer(daemon, steer, PauseChange::Paused(pause));
            }
            ControlRequest::Resume(steer) => self.steer(daemon, steer, PauseChange::Resumed),
            ControlRequest::Snapshot { most, answer } => {
                let _ = answer.send(Box::new(daemon.snapshot(Some(self), most)));
            }
        }
    }

    fn steer(&mut self, daemon: &mut Daemon, steer: Steer, to: PauseChange) {
        let Steer { entry, by: Uid(by_uid), by_name: by, answer, .. } = steer;
        let asker = self.askers.waits_for_steering(answer);
        let steering = Steering { asker, entry, to, by_uid, by };
        self.handle(daemon, Input::Steer(steering), Now::read());
    }

    /// Returns one line for the service manager: the gravest problem, and the number of the others.
    pub(super) fn gravest_problem(&self, daemon: &Daemon, now: Now) -> Option<String> {
        let health = self.requests.journal.health().borrow().clone();
        let on_disk = daemon.shared.on_disk.seen();
        let accounts: Vec<_> =
            self.node.core().standings().map(|(name, standing)| (name.clone(), standing)).collect();
        let not_ready = daemon.not_ready(Some(self), &health, now);
        let endings: Vec<_> =
            daemon.calendars.iter().filter_map(|calendar| ending(calendar, now.wall)).collect();
        let list = attention(&States {
            not_ready: not_ready.as_ref(),
            health: &health,
            path: &daemon.desk.path,
            on_disk: on_disk.unused.as_ref(),
            in_force_since: on_disk.in_force_since,
            log: daemon.shared.log().gap(),
            accounts: &accounts,
            unresolved: &[],
            unusual: &[],
            endings: &endings,
            paused: self.node.core().paused(),
            now: now.wall,
        });
        let first = list.first()?;
        let since = first.since.map_or(String::new(), |since| since.strftime(" since %H:%M:%SZ").to_string());
        let others = match list.len() - 1 {
            0 => String::new(),
            others => format!("; {others} more in `stackcron status`"),
        };
        Some(format!("{}{since}{others}", first.what.replace('\n', " ")))
    }
}

impl Daemon {
    /// Answers a question while this member stands by.
    pub(super) fn refuse(&self, ask: ControlRequest) {
        match ask {
            ControlRequest::Fire(fire) if !Arc::ptr_eq(&fire.schedule, &self.schedule) => {
                let _ = fire.answer.send(Err(FireError::Stale));
            }
            ControlRequest::Fire(fire) => drop(fire.answer.send(Err(FireError::NotYet))),
            ControlRequest::Pause(steer, _) | ControlRequest::Resume(steer) => {
                let _ = steer.answer.send(Err(SteerError::Journal(JournalError::StandsBy)));
            }
            ControlRequest::Snapshot { most, answer } => {
                let _ = answer.send(Box::new(self.snapshot(None, most)));
            }
        }
    }

    /// Why what comes due is not sent.
    fn not_ready(&self, leader: Option<&Leader>, health: &Health, now: Now) -> Option<NotReady> {
        if self.shared.is_without_journal() {
            return Some(NotReady::Replaced);
        }
        let Some(Leader { node, .. }) = leader else {
            return Some(NotReady::StandsBy(self.leadership(now)));
        };
        let claiming = node.claiming_since().map_or(0, |since| now.mono.saturating_sub(since).as_secs());
        match health {
            _ if !node.is_permitted(now) => Some(NotReady::Lapsed),
            Health::Ill { .. } => Some(NotReady::Journal),
            Health::Well if claiming >= DISK_HANGS.as_secs() => Some(NotReady::Disk(claiming)),
            Health::Well => match node.core().waits_for_clock(now) {
                Some(until) => Some(NotReady::Clock(until)),
                None => node.core().is_behind(now).then_some(NotReady::Behind),
            },
        }
    }

    /// Returns the state for `status`. A member that stands by knows of its accounts only what the
    /// schedule says.
    fn snapshot(&self, leader: Option<&Leader>, most: usize) -> Snapshot {
        let now = Now::read();
        let health = leader.map_or(Health::Well, |leader| leader.requests.journal.health().borrow().clone());
        let not_ready = self.not_ready(leader, &health, now);
        let core = leader.map(|leader| leader.node.core());
        let known = |core: &Core| core.standings().map(|(name, standing)| (name.clone(), standing)).collect();
        Snapshot {
            now: now.wall,
            since: self.desk.since,
            path: Arc::clone(&self.desk.path),
            schedule: Arc::clone(&self.schedule),
            journal: Arc::clone(&self.desk.journal),
            health,
            swept_at: self.desk.swept_at,
            not_ready,
            on_disk: self.shared.on_disk.seen(),
            log: self.shared.log().gap(),
            fires_in_flight: core.map_or(0, Core::fires_in_flight),
            accounts: core.map_or_else(|| dispatch::unknown_standings(&self.schedule.accounts, now), known),
            waiting: core.map_or_else(Vec::new, |core| core.waiting(most, now)),
            upcoming: core.map_or_else(Vec::new, |core| core.upcoming(most)),
            paused: core.map(|core| Arc::clone(core.paused())).unwrap_or_default(),
        }
    }
}
