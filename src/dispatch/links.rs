//! Claims what follows the end of an occurrence: a repetition (`retry`), or the entries that come
//! after it.
//!
//! The problem: a crash between an end and what it leads to must lose nothing and start nothing
//! twice. So the end and the claims of what follows are one [`Handover`], which the journal writes
//! as a whole. What follows leaves only once the journal has it as being sent: a claim that is
//! merely due after a crash was therefore not sent.
//!
//! An example: `report` is due at 01:30 and has `retry: { times: 2, after: 10m }`, and `invoices`
//! comes after it. The action fails at 01:40: the repetition is claimed for 01:50 with that end. It
//! succeeds at 02:05: `invoices` is claimed with that end, is due at once, and has 01:30 as its
//! scheduled instant.
//!
//! A repetition has an instant of its own, the one at which it is due, with microseconds that no
//! expression names; it keeps the instant of the first run beside it. Only the end of the last run
//! counts for what comes after the entry.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::linked_key::LinkedKey;
use super::{Dispatch, Effect, History, Id, Pending, PendingPlace, Planned, log, ms};
use crate::clock::Now;
use crate::journal::{Claim, Handover, Key, Origin, Repetition, Retry, Successor, Transition};
use crate::log::event::{OccurrenceSkipped, OccurrenceUnknown, Seldom};
use crate::occurrence::Reason;
use crate::schedule::{Entry, EntryName, Followers, Schedule};

/// The error of an occurrence that an older copy of the journal may have forgotten.
const FORGOTTEN: &str =
    "the journal is an older copy of itself: the occurrence may have run after its upstream had ended";

/// The entries that are linked, as the schedule in force has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    retrying: HashMap<EntryName, Arc<Entry>>,
    followers: Followers,
}

impl From<&Schedule> for Links {
    fn from(schedule: &Schedule) -> Links {
        let retrying = schedule.entries.iter().filter(|entry| entry.retry.is_some());
        Links {
            retrying: retrying.map(|entry| (entry.name.clone(), Arc::clone(entry))).collect(),
            followers: Followers::of(&schedule.entries),
        }
    }
}

/// The meaning of an end for the entries that come after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkVerdict {
    Success,
    Failure,
    /// No action is known to have ended.
    GivenUp,
}

impl Origin {
    /// The first run's instant of an occurrence that repeats one, its own otherwise.
    pub(crate) fn first(&self, scheduled_at: Timestamp) -> Timestamp {
        match self {
            Origin::Retry(retry) => retry.of,
            _ => scheduled_at,
        }
    }

    /// Returns the fields of an event that name the repeated run.
    pub(super) fn retry_fields(&self) -> (Seldom<Timestamp>, Seldom<u32>) {
        match self {
            Origin::Retry(retry) => (Seldom(Some(retry.of)), Seldom(Some(retry.number))),
            _ => (Seldom(None), Seldom(None)),
        }
    }

    /// Returns true when the journal has the occurrence as being sent before the request leaves.
    pub(crate) fn is_linked(&self) -> bool {
        matches!(self, Origin::Retry(_) | Origin::Upstream | Origin::Backfill)
    }

    /// Returns true when a person asked for the occurrence, so that the schedule has no say in it.
    pub(super) fn is_by_hand(&self) -> bool {
        matches!(self, Origin::Person { .. } | Origin::Backfill)
    }
}

fn verdict(origin: &Origin, end: &Transition) -> Option<LinkVerdict> {
    Some(match end {
        Transition::Finished { success: Some(true), .. } => LinkVerdict::Success,
        Transition::Finished { .. } => LinkVerdict::Failure,
        Transition::Skipped { reason } if reason.reason == Reason::Removed.as_str() => return None,
        // The run that it was to repeat has failed, and was the last.
        Transition::Missed { .. } | Transition::Skipped { .. } | Transition::Rejected { .. }
            if matches!(origin, Origin::Retry(_)) =>
        {
            LinkVerdict::Failure
        }
        _ => LinkVerdict::GivenUp,
    })
}

impl Dispatch {
    /// Writes down how an occurrence ends, and takes over what follows. Returns when the run is
    /// repeated.
    pub(super) fn ends(
        &mut self,
        ending: LinkedKey,
        end: Transition,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Timestamp> {
        let repetition = self.repetition(&ending, &end, now);
        let retry_at = repetition.as_ref().map(|planned| planned.scheduled_at);
        let mut planned: Vec<Planned> = repetition.into_iter().collect();
        let mut next: Vec<Successor> = Vec::new();
        let mut told = Vec::new();
        if planned.is_empty()
            && let Some(verdict) = verdict(&ending.origin, &end)
        {
            self.follow_on(&ending, verdict, now, &mut planned, &mut next, &mut told);
        }
        if planned.is_empty() && next.is_empty() {
            effects.push(Effect::Record(ending.key, end));
            return retry_at;
        }
        next.extend(planned.iter().map(|planned| Successor { claim: claim(planned), given_up: None }));
        effects.push(Effect::End(Box::new(Handover { key: ending.key, end, next })));
        effects.extend(told);
        for planned in planned {
            self.enter(planned, History::default(), now, effects);
        }
        retry_at
    }

    /// Returns true when an older copy of the journal may have forgotten which occurrences an
    /// ending led to.
    fn is_forgotten(&self, ending: &LinkedKey) -> bool {
        self.older_until.is_some_and(|until| ending.origin.first(ending.key.scheduled_at()) < until)
    }

    /// The run that repeats one which ended without success, unless a newer occurrence of the entry
    /// has gone or is to go.
    fn repetition(&self, ending: &LinkedKey, end: &Transition, now: Now) -> Option<Planned> {
        let is_failure = matches!(end, Transition::Finished { success, .. } if *success != Some(true));
        if self.is_forgotten(ending) {
            return None;
        }
        let entry = self.links.retrying.get(ending.key.entry()).filter(|_| is_failure)?;
        let policy = entry.retry.as_deref()?;
        let scheduled_at = ending.key.scheduled_at();
        let (number, args) = match &ending.origin {
            Origin::Retry(retry) => (retry.number + 1, retry.args.clone()),
            Origin::Person { args } => (1, args.clone()),
            Origin::Schedule | Origin::Upstream => (1, None),
            // Whoever makes up for a span looks at how it went.
            Origin::Backfill => return None,
        };
        let first = ending.origin.first(scheduled_at);
        if number > policy.times || self.is_overtaken(&entry.name, first) {
            return None;
        }
        let mut at = policy.after.due_at(now.wall, number);
        at = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        // Whole seconds belong to expressions, and two repetitions of one entry need two instants.
        while at.subsec_nanosecond() == 0 || self.occurrences.id_of(&self.key_of(&ending.key, at)).is_some() {
            at = at.checked_add(SignedDuration::from_micros(1)).ok()?;
        }
        let origin = Origin::Retry(Retry { of: first, number, args });
        Some(Planned::new(entry, origin, (at, ending.key.pass()), at))
    }

    fn key_of(&self, ending: &Key, at: Timestamp) -> Key {
        Key::new(ending.entry().clone(), at).in_pass(ending.pass())
    }

    /// Returns true when a scheduled occurrence of an entry that is newer than an instant was sent,
    /// or waits to be.
    fn is_overtaken(&self, entry: &EntryName, first: Timestamp) -> bool {
        let Some(activity) = self.occurrences.activity(entry) else { return false };
        let waiting = activity.waiting().iter().copied().chain(activity.held());
        let mut waiting = waiting.filter_map(|id| self.occurrences.get(id));
        activity.newest_sent.is_some_and(|newest| newest > first)
            || waiting.any(|pending| !pending.is_by_hand() && pending.first() > first)
    }

    /// Plans or skips the entries that come after one that has ended, down the whole chain.
    fn follow_on(
        &self,
        ending: &LinkedKey,
        verdict: LinkVerdict,
        now: Now,
        planned: &mut Vec<Planned>,
        next: &mut Vec<Successor>,
        told: &mut Vec<Effect>,
    ) {
        let first = ending.origin.first(ending.key.scheduled_at());
        let origin = match ending.origin {
            Origin::Backfill => Origin::Backfill,
            _ => Origin::Upstream,
        };
        for entry in self.links.followers.after(ending.key.entry()) {
            let goes = entry.after.as_ref().is_some_and(|after| match verdict {
                LinkVerdict::Success => after.on.admits(true),
                LinkVerdict::Failure => after.on.admits(false),
                LinkVerdict::GivenUp => false,
            });
            let due_at = now.wall.max(first).checked_add(entry.delay()).unwrap_or(Timestamp::MAX);
            let follower = Planned::new(entry, origin.clone(), (first, ending.key.pass()), due_at);
            let is_forgotten = self.is_forgotten(ending);
            if goes && !is_forgotten {
                planned.push(follower);
                continue;
            }
            let claim = claim(&follower);
            let ending = LinkedKey { key: claim.key.clone(), origin: origin.clone() };
            if is_forgotten {
                let error = FORGOTTEN.to_owned();
                told.push(log(OccurrenceUnknown {
                    entry: entry.name.clone(),
                    scheduled_at: first,
                    pass: ending.key.pass().into(),
                    retry_of: Seldom(None),
                    retry: Seldom(None),
                    error: error.clone(),
                }));
                next.push(Successor { claim, given_up: Some(Transition::Unknown { error }) });
                self.follow_on(&ending, LinkVerdict::GivenUp, now, planned, next, told);
                continue;
            }
            told.push(log(OccurrenceSkipped {
                entry: entry.name.clone(),
                scheduled_at: first,
                pass: ending.key.pass().into(),
                retry_of: Seldom(None),
                retry: Seldom(None),
                reason: Reason::Upstream,
                calendar: None,
                lateness_ms: ms(now.wall.duration_since(first)),
            }));
            next.push(Successor {
                claim,
                given_up: Some(Transition::Skipped { reason: Reason::Upstream.into() }),
            });
            self.follow_on(&ending, LinkVerdict::GivenUp, now, planned, next, told);
        }
    }

    /// A newer occurrence of the entry is due: what repeats an older one goes no more.
    pub(super) fn end_repetitions(
        &mut self,
        entry: &EntryName,
        newer: Timestamp,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let goes_no_more = |pending: &Pending| {
            pending.first() < newer && !matches!(pending.place(), PendingPlace::Sending | PendingPlace::Doubt)
        };
        let repetitions = self.occurrences.repetitions(entry);
        let over: Vec<Id> =
            repetitions.filter(|(_, pending)| goes_no_more(pending)).map(|(id, _)| id).collect();
        for id in over {
            self.superseded(id, newer, now, effects);
        }
    }
}

fn claim(planned: &Planned) -> Claim {
    planned.claim(match planned.origin {
        // The entry may have run at this instant, though its upstream had not.
        Origin::Backfill => Repetition::Once,
        Origin::Schedule | Origin::Person { .. } | Origin::Retry(_) | Origin::Upstream => Repetition::Again,
    })
}
