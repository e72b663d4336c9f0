//! What the loop does when it is asked: fire an entry, pause or resume one, tell how things stand.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;

use super::Daemon;
use super::core::NoBackfill;
use crate::clock::{Mono, Now};
use crate::control::{
    Changed, ControlRequest, Fire, FireError, NotReady, Snapshot, States, Steer, SteerError, Terms, Uid,
    Wanted, attention,
};
use crate::dispatch::{Haste, Hindrance};
use crate::journal::{Claim, Claimed, Health, Journal, JournalError, Key, Pause};
use crate::log::Event;
use crate::log::event::{EntryFired, EntryPaused, EntryResumed, OccurrenceBackfilled};
use crate::metrics::DISK_HANGS;
use crate::schedule::{Entry, EntryName, ending};

/// Where an answer of the journal's leads to.
pub(super) enum ByHand {
    Claimed { fire: Box<Fire>, claim: Claim, claimed: Result<Claimed, JournalError> },
    Steered { to: To, steer: Steer, written: Result<(), JournalError> },
}

/// What an entry is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    Paused(Pause),
    Resumed,
}

/// What is kept for those who ask.
pub(super) struct ControlState {
    since: Timestamp,
    path: Arc<str>,
    pub(super) journal: Arc<str>,
    pub(super) swept_at: Option<Timestamp>,
    /// The claim that is being written was given to the journal then.
    pub(super) claiming_since: Option<Mono>,
    /// Who hears of what a person fired.
    watched: HashMap<Key, mpsc::UnboundedSender<Event>>,
    /// Entries of which a pause or a resume is being written. A second one would overtake it.
    steering: BTreeSet<EntryName>,
}

impl ControlState {
    pub(super) fn new(since: Timestamp, path: &Arc<str>, journal: &Arc<str>) -> ControlState {
        ControlState {
            since,
            path: Arc::clone(path),
            journal: Arc::clone(journal),
            swept_at: None,
            claiming_since: None,
            watched: HashMap::new(),
            steering: BTreeSet::new(),
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

    /// An entry's pause has come to its end. What a person asks for of the entry is written anyway
    /// where it is under way.
    pub(super) fn pause_ends(&self, entry: EntryName, journal: &Journal) {
        if !self.steering.contains(&entry) {
            journal.ends_pause(entry);
        }
    }

    fn watch(&mut self, key: Key, watcher: mpsc::UnboundedSender<Event>) {
        self.watched.retain(|_, watcher| !watcher.is_closed());
        self.watched.insert(key, watcher);
    }
}

/// A question that is repeated for want of an answer names an instant at most so long ago.
const REPEATED_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// Whether an instant can be that of an occurrence that a person fires: near, and no whole second,
/// which is the schedule's.
fn is_instant_of_a_person(at: Timestamp, now: Now) -> bool {
    let microseconds = at.subsec_nanosecond() % 1_000 == 0 && at.subsec_nanosecond() != 0;
    let ahead = at.duration_since(now.wall);
    microseconds && ahead >= -REPEATED_WITHIN && ahead <= SignedDuration::from_secs(1)
}

impl Daemon {
    pub(super) fn asked(&mut self, ask: ControlRequest) {
        match ask {
            // Who asked was told that nobody answers: it is not done behind their back.
            ControlRequest::Fire(fire) if fire.answer.is_closed() => {}
            ControlRequest::Pause(steer, _) | ControlRequest::Resume(steer) if steer.answer.is_closed() => {}
            ControlRequest::Snapshot { answer, .. } if answer.is_closed() => {}
            ControlRequest::Fire(fire) if !Arc::ptr_eq(&fire.schedule, &self.schedule) => {
                let _ = fire.answer.send(Err(FireError::Stale));
            }
            ControlRequest::Fire(fire) => self.claim_by_hand(fire),
            ControlRequest::Pause(steer, terms) => {
                let Terms { until, note } = terms;
                let pause = Pause { since: Timestamp::now(), by: steer.by_name.clone(), until, note };
                self.steer(steer, To::Paused(pause));
            }
            ControlRequest::Resume(steer) => self.steer(steer, To::Resumed),
            ControlRequest::Snapshot { most, answer } => {
                let _ = answer.send(Box::new(self.snapshot(most)));
            }
        }
    }

    pub(super) fn answered_by_hand(&mut self, by_hand: ByHand) {
        match by_hand {
            ByHand::Claimed { fire, claim, claimed } => self.claimed_by_hand(fire, claim, claimed),
            ByHand::Steered { to, steer, written } => self.steered(steer, to, written),
        }
    }

    fn claim_by_hand(&mut self, fire: Box<Fire>) {
        let now = Now::read();
        let claimed = match &fire.wanted {
            Wanted::Now { args, at, .. } => self.claim_now(&fire.entry, args.clone(), *at, now),
            Wanted::Backfill { at, pass } => self.claim_backfill(&fire.entry, *at, *pass, now),
        };
        match claimed {
            Ok(claim) => self.requests.claim_by_hand(claim, fire),
            Err(error) => drop(fire.answer.send(Err(error))),
        }
    }

    fn claim_now(
        &mut self,
        entry: &Entry,
        args: Option<String>,
        at: Option<Timestamp>,
        now: Now,
    ) -> Result<Claim, FireError> {
        if let Some(at) = at.filter(|at| !is_instant_of_a_person(*at, now)) {
            return Err(FireError::Elsewhen(at));
        }
        let claim = self.core.claim_by_hand(entry, args, now).ok_or(FireError::NotYet)?;
        Ok(match at {
            Some(at) => Claim {
                key: Key::new(entry.name.clone(), at),
                due_at: at,
                deadline: at.checked_add(entry.start_deadline).unwrap_or(Timestamp::MAX),
                ..claim
            },
            None => claim,
        })
    }

    fn claim_backfill(
        &mut self,
        entry: &Arc<Entry>,
        at: Timestamp,
        pass: u32,
        now: Now,
    ) -> Result<Claim, FireError> {
        let key = Key::new(entry.name.clone(), at).in_pass(pass);
        self.core.claim_backfill(entry, key, now).map_err(|error| match error {
            NoBackfill::NotYet => FireError::NotYet,
            NoBackfill::NotPast => FireError::NotPast(at),
            NoBackfill::Hindered(Hindrance::Busy) => FireError::Busy(entry.name.clone()),
            NoBackfill::Hindered(Hindrance::Forgotten(until)) => FireError::Forgotten(until),
            NoBackfill::Hindered(Hindrance::Paused(by)) => {
                FireError::Paused { entry: entry.name.clone(), by }
            }
        })
    }

    fn claimed_by_hand(&mut self, fire: Box<Fire>, claim: Claim, claimed: Result<Claimed, JournalError>) {
        let known = match claimed {
            Err(error) => {
                self.core.unclaimed_by_hand(Now::read());
                return drop(fire.answer.send(Err(FireError::Journal(error))));
            }
            Ok(Claimed { known }) => !known.is_empty(),
        };
        if known {
            self.core.known_by_hand();
            let error = match fire.wanted {
                // The clock has shown this instant before.
                Wanted::Now { at: None, .. } => return self.claim_by_hand(fire),
                // The question was asked before: its claim was written, though its answer was lost.
                Wanted::Now { at: Some(_), .. } => FireError::ClaimedBefore(claim.key),
                Wanted::Backfill { .. } => FireError::Known(claim.key),
            };
            return drop(fire.answer.send(Err(error)));
        }
        let Fire { schedule, entry, wanted, by: Uid(by_uid), answer, told } = *fire;
        let (name, scheduled_at) = (entry.name.clone(), claim.key.scheduled_at());
        self.desk.watch(Key::new(name.clone(), scheduled_at), told);
        let _ = answer.send(Ok(claim.key.clone()));
        let haste = match wanted {
            Wanted::Now { haste, .. } => {
                self.emit(EntryFired { entry: name, scheduled_at, by_uid }.into());
                haste
            }
            Wanted::Backfill { pass, .. } => {
                let pass = pass.into();
                self.emit(OccurrenceBackfilled { entry: name, scheduled_at, pass, by_uid }.into());
                Haste::Usual
            }
        };
        let entry = match Arc::ptr_eq(&schedule, &self.schedule) {
            true => Some(&entry),
            false => self.schedule.entries.iter().find(|now| now.name == entry.name),
        };
        let effects = self.core.claimed_by_hand(claim, entry, haste, Now::read());
        self.perform(effects);
    }

    fn steer(&mut self, steer: Steer, to: To) {
        if self.desk.steering.contains(&steer.entry) {
            return drop(steer.answer.send(Err(SteerError::Busy)));
        }
        let is_so = match (&to, self.core.paused().get(&steer.entry)) {
            (To::Paused(pause), Some(was)) => pause.asks_for_the_same_as(was),
            (To::Resumed, None) => true,
            (To::Paused(_), None) | (To::Resumed, Some(_)) => false,
        };
        if is_so {
            return drop(steer.answer.send(Ok(Changed::No)));
        }
        self.desk.steering.insert(steer.entry.clone());
        self.requests.steer(to, steer);
    }

    fn steered(&mut self, steer: Steer, to: To, written: Result<(), JournalError>) {
        let Steer { entry, by: Uid(by_uid), by_name: by, answer, .. } = steer;
        self.desk.steering.remove(&entry);
        if let Err(error) = written {
            return drop(answer.send(Err(SteerError::Journal(error))));
        }
        match to {
            To::Paused(pause) => {
                let (until, note) = (pause.until, pause.note.clone());
                self.emit(EntryPaused { entry: entry.clone(), by_uid, by, until, note }.into());
                let effects = self.core.pause(&entry, pause, Now::read());
                self.perform(effects);
            }
            To::Resumed => {
                self.core.resume(&entry);
                self.emit(EntryResumed { entry, by_uid, by }.into());
            }
        }
        let _ = answer.send(Ok(Changed::Yes));
    }

    /// Returns one line for the service manager: the gravest problem, and the number of the others.
    pub(super) fn gravest_problem(&self, now: Now) -> Option<String> {
        let health = self.requests.journal.health().borrow().clone();
        let on_disk = self.shared.on_disk.seen();
        let accounts: Vec<_> = self.core.standings().map(|(name, of)| (name.clone(), of)).collect();
        let not_ready = self.not_ready(&health, now);
        let endings: Vec<_> =
            self.calendars.iter().filter_map(|calendar| ending(calendar, now.wall)).collect();
        let list = attention(&States {
            not_ready: not_ready.as_ref(),
            health: &health,
            path: &self.desk.path,
            on_disk: on_disk.unused.as_ref(),
            in_force_since: on_disk.in_force_since,
            log: self.shared.log().gap(),
            accounts: &accounts,
            unresolved: &[],
            unusual: &[],
            endings: &endings,
            paused: self.core.paused(),
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

    /// Why what comes due is not sent.
    fn not_ready(&self, health: &Health, now: Now) -> Option<NotReady> {
        let claiming = self.desk.claiming_since.map_or(0, |since| now.mono.saturating_sub(since).as_secs());
        match health {
            _ if self.shared.is_without_journal() => Some(NotReady::Replaced),
            _ if !self.leads() => Some(NotReady::StandsBy(self.leadership(now))),
            _ if !self.is_permitted(now) => Some(NotReady::Lapsed),
            Health::Ill { .. } => Some(NotReady::Journal),
            Health::Well if claiming >= DISK_HANGS.as_secs() => Some(NotReady::Disk(claiming)),
            Health::Well => match self.core.waits_for_clock(now) {
                Some(until) => Some(NotReady::Clock(until)),
                None => self.core.is_behind(now).then_some(NotReady::Behind),
            },
        }
    }

    fn snapshot(&self, most: usize) -> Snapshot {
        let now = Now::read();
        let health = self.requests.journal.health().borrow().clone();
        let not_ready = self.not_ready(&health, now);
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
            fires_in_flight: self.core.fires_in_flight(),
            accounts: self.core.standings().map(|(account, standing)| (account.clone(), standing)).collect(),
            waiting: self.core.waiting(most, now),
            upcoming: self.core.upcoming(most),
            paused: Arc::clone(self.core.paused()),
        }
    }
}
