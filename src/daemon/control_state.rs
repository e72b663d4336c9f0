//! What the loop does when it is asked: fire an entry, pause or resume one, tell how things stand.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::Daemon;
use super::core::Core;
use super::leader::Leader;
use super::node::{Asker, FireByHand, Input, PauseChange, Steering};
use crate::clock::Now;
use crate::control::{
    Changed, ControlRequest, Fire, FireError, NotReady, Snapshot, States, Steer, SteerError, Terms, Uid,
    attention,
};
use crate::dispatch;
use crate::journal::{Health, JournalError, Key, Pause};
use crate::log::Event;
use crate::metrics::DISK_HANGS;
use crate::schedule::ending;

/// What is kept for those who ask.
pub(super) struct ControlState {
    since: Timestamp,
    path: Arc<str>,
    pub(super) journal: Arc<str>,
    pub(super) swept_at: Option<Timestamp>,
    /// Who hears of what a person fired.
    watched: HashMap<Key, mpsc::UnboundedSender<Event>>,
}

impl ControlState {
    pub(super) fn new(since: Timestamp, path: &Arc<str>, journal: &Arc<str>) -> ControlState {
        ControlState {
            since,
            path: Arc::clone(path),
            journal: Arc::clone(journal),
            swept_at: None,
            watched: HashMap::new(),
        }
    }

    /// Passes an event on to who waits for it.
    pub(super) fn on_event(&self, event: &Event) {
        if !self.watched.is_empty()
            && let Some((entry, scheduled_at)) = event.occurrence()
            && let Some(watcher) = self.watched.get(&Key::new(entry.clone(), scheduled_at))
        {
            // Whoever has gone does not hear it.
            let _ = watcher.send(event.clone());
        }
    }

    fn watch(&mut self, key: Key, watcher: mpsc::UnboundedSender<Event>) {
        self.watched.retain(|_, watcher| !watcher.is_closed());
        self.watched.insert(key, watcher);
    }
}

/// Where who fires by hand learns what is fired, and then what becomes of it.
type AskedForFire = (oneshot::Sender<Result<Key, FireError>>, mpsc::UnboundedSender<Event>);

/// Those who wait for an answer of a node. They learn that nobody answers when the term ends.
#[derive(Default)]
pub(super) struct Askers {
    last: u64,
    fires: HashMap<Asker, AskedForFire>,
    steers: HashMap<Asker, oneshot::Sender<Result<Changed, SteerError>>>,
}

impl Askers {
    fn next(&mut self) -> Asker {
        self.last += 1;
        Asker(self.last)
    }

    /// An entry is fired: who asked hears of its occurrence from now on.
    pub(super) fn fired(&mut self, asker: Asker, key: Key, desk: &mut ControlState) {
        if let Some((answer, told)) = self.fires.remove(&asker) {
            // Events name no pass.
            desk.watch(Key::new(key.entry().clone(), key.scheduled_at()), told);
            let _ = answer.send(Ok(key));
        }
    }

    /// An entry is not fired.
    pub(super) fn not_fired(&mut self, asker: Asker, error: FireError) {
        if let Some((answer, _)) = self.fires.remove(&asker) {
            let _ = answer.send(Err(error));
        }
    }

    /// An entry is paused or resumed, or is not.
    pub(super) fn steered(&mut self, asker: Asker, changed: Result<Changed, SteerError>) {
        if let Some(answer) = self.steers.remove(&asker) {
            let _ = answer.send(changed);
        }
    }
}

impl Leader {
    pub(super) fn asked(&mut self, daemon: &mut Daemon, ask: ControlRequest) {
        match ask {
            // Who asked was told that nobody answers: it is not done behind their back.
            ControlRequest::Fire(fire) if fire.answer.is_closed() => {}
            ControlRequest::Pause(steer, _) | ControlRequest::Resume(steer) if steer.answer.is_closed() => {}
            ControlRequest::Snapshot { answer, .. } if answer.is_closed() => {}
            ControlRequest::Fire(fire) if !Arc::ptr_eq(&fire.schedule, self.node.schedule()) => {
                let _ = fire.answer.send(Err(FireError::Stale));
            }
            ControlRequest::Fire(fire) => {
                let Fire { entry, wanted, by: Uid(by_uid), answer, told, .. } = *fire;
                let asker = self.askers.next();
                self.askers.fires.insert(asker, (answer, told));
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
        let asker = self.askers.next();
        self.askers.steers.insert(asker, answer);
        let steering = Steering { asker, entry, to, by_uid, by };
        self.handle(daemon, Input::Steer(steering), Now::read());
    }

    /// Returns one line for the service manager: the gravest problem, and the number of the others.
    pub(super) fn gravest_problem(&self, daemon: &Daemon, now: Now) -> Option<String> {
        let health = self.requests.journal.health().borrow().clone();
        let on_disk = daemon.shared.on_disk.seen();
        let accounts: Vec<_> = self.node.core().standings().map(|(name, of)| (name.clone(), of)).collect();
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

    /// How things stand. A member that stands by knows of its accounts what the schedule says.
    fn snapshot(&self, leader: Option<&Leader>, most: usize) -> Snapshot {
        let now = Now::read();
        let health = leader.map_or(Health::Well, |leader| leader.requests.journal.health().borrow().clone());
        let not_ready = self.not_ready(leader, &health, now);
        let core = leader.map(|leader| leader.node.core());
        let known = |core: &Core| core.standings().map(|(name, of)| (name.clone(), of)).collect();
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
