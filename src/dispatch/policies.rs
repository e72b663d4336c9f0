//! Applies an entry's policies to an occurrence: catch-up, deadline, overlap, pause, calendars.

use std::sync::Arc;

use jiff::Timestamp;

use super::linked_key::LinkedKey;
use super::occurrences::{Activity, WAITED};
use super::{Dispatch, Effect, Id, Pending, PendingPlace, log, ms};
use crate::clock::Now;
use crate::journal::{Cause, Claim, Origin, Transition, calendar_reason};
use crate::log::Event;
use crate::log::event::{OccurrenceMissed, OccurrenceSkipped, OccurrenceWaiting};
use crate::occurrence::Reason;
use crate::schedule::{AccountName, CalendarName, CatchUp, EntryName, Overlap};
use crate::timetable::excluded;

/// Gives up a claim that was not sent and whose entry is no longer in the schedule.
pub(super) fn removed(claim: Claim, now: Now) -> [Effect; 2] {
    let reason = Reason::Removed;
    let (retry_of, retry) = claim.origin.retry_fields();
    let event = OccurrenceSkipped {
        entry: claim.key.entry().clone(),
        scheduled_at: claim.key.scheduled_at(),
        pass: claim.key.pass().into(),
        retry_of,
        retry,
        reason,
        calendar: None,
        lateness_ms: ms(now.wall.duration_since(claim.due_at)),
    };
    [Effect::Record(claim.key, Transition::Skipped { reason: reason.into() }), log(event)]
}

impl Dispatch {
    pub(super) fn comes_due(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) {
        let Some(pending) = self.occurrences.get_mut(id) else {
            return;
        };
        let late = now.wall.duration_since(pending.due_at) >= WAITED;
        pending.history.waited |= late;
        let (goes_on, deadline, entry) =
            (pending.history.goes_on, pending.deadline, Arc::clone(&pending.entry));
        let (by_hand, scheduled_at, due_at) = (pending.is_by_hand(), pending.scheduled_at, pending.due_at);
        let (by_schedule, first) = (pending.origin == Origin::Schedule, pending.first());
        let repeats = first != scheduled_at;
        if !by_hand && self.is_paused(&entry, due_at) {
            return self.skip(id, Reason::Paused, now, effects);
        }
        if !by_hand && let Some(exclusion) = excluded(&entry, scheduled_at) {
            return self.skip_on(id, exclusion.calendar, now, effects);
        }
        if by_schedule
            && self.left_out.is_some_and(|(from, until)| from < scheduled_at && scheduled_at < until)
        {
            return self.miss(id, Reason::Clock, now, effects);
        }
        if deadline <= now.wall {
            return self.miss(id, Reason::Deadline, now, effects);
        }
        if by_hand {
            return self.occurrences.move_to(id, PendingPlace::Ready);
        }
        if late && !goes_on && entry.catch_up == CatchUp::None {
            return self.miss(id, Reason::Down, now, effects);
        }
        self.occurrences.move_to(id, PendingPlace::Ready);
        if !repeats {
            self.end_repetitions(&entry.name, first, now, effects);
        }
        if entry.catch_up == CatchUp::Latest {
            self.supersede(&entry.name, now, effects);
        }
    }

    /// Of an entry's scheduled occurrences, gives up those that have waited, but for the newest of
    /// all.
    pub(super) fn supersede(&mut self, entry: &EntryName, now: Now, effects: &mut Vec<Effect>) {
        let waiting = self.occurrences.activity(entry).map(Activity::waiting);
        let Some(waiting) = waiting.filter(|waiting| waiting.len() > 1) else {
            return;
        };
        let scheduled = || {
            let waiting = waiting.iter().filter_map(|&id| Some((id, self.occurrences.get(id)?)));
            waiting.filter(|(_, pending)| !pending.is_by_hand())
        };
        let newest = scheduled().max_by_key(|(_, pending)| pending.scheduled_at);
        let Some((newest, by)) = newest.map(|(id, pending)| (id, pending.scheduled_at)) else {
            return;
        };
        let gives_way = |pending: &Pending| pending.history.waited && pending.history.obstacle.is_none();
        let superseded: Vec<Id> = scheduled()
            .filter(|&(id, pending)| id != newest && gives_way(pending))
            .map(|(id, _)| id)
            .collect();
        for id in superseded {
            self.superseded(id, by, now, effects);
        }
    }

    /// Returns true when the entry's overlap policy keeps an occurrence from being sent now.
    pub(super) fn held_back(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) -> bool {
        let Some(pending) = self.occurrences.get(id) else {
            return false;
        };
        let Some(activity) = self.occurrences.activity(&pending.entry.name).filter(|it| it.busy()) else {
            return false;
        };
        match pending.entry.overlap {
            Overlap::Allow => return false,
            Overlap::Queue if activity.held().is_none() => {
                self.occurrences.move_to(id, PendingPlace::Held);
                let Some(pending) = self.occurrences.get_mut(id) else {
                    return true;
                };
                pending.history.goes_on = true;
                effects.push(log(OccurrenceWaiting {
                    entry: pending.entry.name.clone(),
                    scheduled_at: pending.scheduled_at,
                    pass: pending.pass.into(),
                    reason: Reason::Overlap,
                    until: None,
                }));
                effects.extend(pending.record_waiting(Reason::Overlap));
            }
            Overlap::Queue | Overlap::Skip => self.skip(id, Reason::Overlap, now, effects),
        }
        true
    }

    /// Tells once of each occurrence that waits for the quota. `catch_up` decides once it has
    /// waited for [`WAITED`].
    pub(super) fn tell_waiting(
        &mut self,
        account: &AccountName,
        until: Timestamp,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        for id in self.occurrences.take_untold(account) {
            let Some(waits_from) = self.occurrences.find_mut(id).map(|pending| pending.waits_from()) else {
                continue;
            };
            if waits_from <= now.wall {
                self.has_waited_for_quota(id, now, effects);
            } else {
                self.occurrences.waits_on_time(id, waits_from);
            }
            let Some(pending) = self.occurrences.find_mut(id) else {
                continue;
            };
            effects.extend(pending.record_waiting(Reason::Quota));
            effects.push(log(OccurrenceWaiting {
                entry: pending.entry.name.clone(),
                scheduled_at: pending.scheduled_at,
                pass: pending.pass.into(),
                reason: Reason::Quota,
                until: Some(until),
            }));
        }
    }

    /// The quota was spent until an occurrence was no longer on time.
    pub(super) fn has_waited_for_quota(&mut self, id: Id, now: Now, effects: &mut Vec<Effect>) {
        let pending = self.occurrences.get_mut(id);
        let Some(pending) = pending.filter(|pending| pending.place() == PendingPlace::Ready) else {
            return;
        };
        pending.history.waited = true;
        if pending.is_by_hand() {
            return;
        }
        let entry = Arc::clone(&pending.entry);
        match entry.catch_up {
            CatchUp::None if !pending.history.goes_on => self.miss(id, Reason::Quota, now, effects),
            CatchUp::Latest => self.supersede(&entry.name, now, effects),
            CatchUp::None | CatchUp::All => {}
        }
    }

    /// Lets the held occurrence of an entry go when nothing of the entry is under way any more.
    pub(super) fn release(&mut self, entry: &EntryName) {
        let Some(activity) = self.occurrences.activity(entry).filter(|activity| !activity.busy()) else {
            return;
        };
        match activity.held() {
            Some(held) => self.occurrences.move_to(held, PendingPlace::Ready),
            None => self.occurrences.tidy(entry),
        }
    }

    /// Why an occurrence that is past its deadline was not sent.
    pub(super) fn late_for(&self, id: Id) -> Reason {
        let pending = self.occurrences.get(id).filter(|pending| pending.place() == PendingPlace::Stack);
        pending.and_then(|pending| pending.history.obstacle).map_or(Reason::Deadline, Reason::from)
    }

    /// Gives up an occurrence that was not sent in time.
    pub(super) fn miss(&mut self, id: Id, reason: Reason, now: Now, effects: &mut Vec<Effect>) {
        self.misses(id, reason, None, now, effects);
    }

    /// Gives up an occurrence in whose place the one that was scheduled at `by` goes.
    pub(super) fn superseded(&mut self, id: Id, by: Timestamp, now: Now, effects: &mut Vec<Effect>) {
        self.misses(id, Reason::Superseded, Some(by), now, effects);
    }

    fn misses(
        &mut self,
        id: Id,
        reason: Reason,
        replaced_by: Option<Timestamp>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.give_up(id, now, effects, |LinkedKey { key, origin }, lateness_ms, error| {
            let (entry, scheduled_at, pass) = (key.entry().clone(), key.scheduled_at(), key.pass().into());
            let (retry_of, retry) = origin.retry_fields();
            let event = OccurrenceMissed { entry, scheduled_at, pass, retry_of, retry, reason, lateness_ms };
            (Transition::Missed { reason: Cause { replaced_by, error, ..reason.into() } }, event.into())
        });
    }

    /// Gives up an occurrence that is not meant to be sent.
    pub(super) fn skip(&mut self, id: Id, reason: Reason, now: Now, effects: &mut Vec<Effect>) {
        self.skips(id, reason, reason.into(), None, now, effects);
    }

    /// Gives up an occurrence that falls on a calendar of its entry.
    fn skip_on(&mut self, id: Id, calendar: &CalendarName, now: Now, effects: &mut Vec<Effect>) {
        let cause = Cause { reason: calendar_reason(calendar).into(), replaced_by: None, error: None };
        self.skips(id, Reason::Calendar, cause, Some(calendar.clone()), now, effects);
    }

    /// `reason` is the word of the log, and `cause` what the journal keeps.
    fn skips(
        &mut self,
        id: Id,
        reason: Reason,
        cause: Cause,
        calendar: Option<CalendarName>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.give_up(id, now, effects, |LinkedKey { key, origin }, lateness_ms, error| {
            let (entry, scheduled_at, pass) = (key.entry().clone(), key.scheduled_at(), key.pass().into());
            let (retry_of, retry) = origin.retry_fields();
            let event = OccurrenceSkipped {
                entry,
                scheduled_at,
                pass,
                retry_of,
                retry,
                reason,
                calendar,
                lateness_ms,
            };
            (Transition::Skipped { reason: Cause { error, ..cause } }, event.into())
        });
    }

    fn give_up(
        &mut self,
        id: Id,
        now: Now,
        effects: &mut Vec<Effect>,
        tell: impl FnOnce(&LinkedKey, i64, Option<String>) -> (Transition, Event),
    ) {
        if let Some(doubt) = self.occurrences.get_mut(id).and_then(|pending| pending.history.doubt.take()) {
            return self.unknown(id, doubt.error, now, effects);
        }
        if let Some(pending) = self.occurrences.get(id) {
            let lateness_ms = ms(now.wall.duration_since(pending.due_at));
            let ending = pending.linked_key();
            let (end, event) = tell(&ending, lateness_ms, pending.history.error.clone());
            effects.push(log(event));
            self.ends(ending, end, now, effects);
        }
        self.occurrences.leave(id);
    }
}
