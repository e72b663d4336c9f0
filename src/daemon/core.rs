//! The daemon without its shell: sweep, claims and dispatch as one function of events and time.
//!
//! The shell reads the clocks, performs the effects in their order, and reports what came of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::clockwatch::{Clockwatch, Seen};
use super::replacement::Prepared;
use super::sweep::{Reach, Sweep};
use crate::clock::{Mono, Now};
use crate::cloud66::{ActionsListed, FollowUp, JobRecord, Looked, Outcome, Reply};
use crate::dispatch::{self, Dispatch, Effect, Haste, Hindrance, Links, RequestId, Standing, Waiting};
use crate::journal::{Claim, Key, Known, Origin, Pause, Recovered, Repeat, Repetition};
use crate::log::event::{ClockBehind, ClockJumped};
use crate::quota;
use crate::schedule::{AccountName, ByName, Entry, EntryName, Schedule, StackUid};
use crate::timetable::{self, Occurrence};

/// Everything the daemon decides.
pub(crate) struct Core {
    sweep: Sweep,
    dispatch: Dispatch,
    clock: Clockwatch,
    /// What is to be told of the clock with the next turn.
    told_of_clock: Vec<Effect>,
    /// Until when everything new waits for the clock, as was told last.
    behind_until: Option<Timestamp>,
    /// The clock was set back, and the journal's cursor has not gone back with it yet.
    goes_back: Option<Repeat>,
    /// The part of that which is being written.
    asked_back: Option<Repeat>,
    /// What came from the sweep and is not claimed yet.
    batch: Vec<Occurrence>,
    /// So many of them, the first ones, are being claimed.
    asked: usize,
    claiming: Claiming,
    /// What came due before then, while nobody looked, is being claimed. Of it only the newest may
    /// be to be sent, so nothing goes before all of it is known.
    catching_up: Option<Timestamp>,
    /// The time at the last turn. `None` before the first.
    looked: Option<Timestamp>,
    /// The cursor that the journal has.
    written: Option<Timestamp>,
    /// A schedule that took over while something of the batch was planned under the one before.
    reloaded: Option<TakenOver>,
    by_hand: ByHand,
}

/// What people have asked for.
#[derive(Default)]
struct ByHand {
    /// So many of it are with the journal, to be claimed.
    claiming: usize,
    /// The instant that was given last.
    last: Timestamp,
}

/// Why an occurrence of the past is not claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoBackfill {
    /// The journal has no cursor: the daemon has not begun to fire.
    NotYet,
    /// Its instant is to come, or is not planned yet.
    NotPast,
    /// Something else stands against it.
    Hindered(Hindrance),
}

/// What the batch is to know of a schedule that took over.
struct TakenOver {
    entries: Arc<ByName>,
    /// It overtook what is being claimed: of that, what is scheduled from then on comes again.
    again_from: Option<Timestamp>,
}

/// What a reload has left over. To free it takes as long as it is large.
#[expect(dead_code, reason = "it is held to be dropped")]
pub(crate) struct Leftover(Sweep);

/// What comes next.
pub(super) struct Upcoming {
    pub(super) entry: EntryName,
    pub(super) scheduled_at: Timestamp,
    /// It will be skipped.
    pub(super) is_paused: bool,
}

/// Where the batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claiming {
    /// With us, to be claimed at the next beat.
    No,
    /// With the journal.
    Yes,
    /// With us: the journal could not write it. It is tried again then, or at a beat.
    Failed(Mono),
}

/// What is to be written before anything of it can be sent: one transaction.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims {
    /// Everything scheduled before is claimed by then.
    pub(crate) cursor: Timestamp,
    /// The cursor of the journal goes back, for the clock shows this stretch again. `None`: it goes
    /// on.
    pub(crate) repeat: Option<Repeat>,
    /// In the order of the timetable.
    pub(crate) claims: Vec<Claim>,
}

/// Occurrences that are claimed at once. After a long absence the rest follows in further portions.
const MOST_AT_ONCE: usize = 20_000;

/// Of an entry so many occurrences at most are planned ahead: one for each second.
const PLANNED_EACH: usize = 8;

/// From a claim that could not be written to the next try, should no beat come.
const AGAIN: Duration = Duration::from_secs(1);

/// The loop looks at the clock at least this often.
const LOOK: Duration = Duration::from_secs(1);

/// What comes due in a longer time without a turn comes due while nobody looks. In a shorter one it
/// is a slow journal that is late.
const AWAY: SignedDuration = SignedDuration::from_secs(5);

/// The cursor is written at least this often, so that a restart does not plan the same stretch for
/// long.
const CURSOR_EVERY: Duration = Duration::from_secs(60);

impl Core {
    /// Goes on where a former process ended, or begins now.
    pub(crate) fn new(schedule: &Schedule, recovered: Recovered, seed: u64, now: Now) -> (Core, Vec<Effect>) {
        let mut core =
            Core::sweeping(Sweep::again(schedule, recovered.cursor, recovered.repeat), schedule, seed, now);
        core.written = recovered.cursor;
        let effects = core.dispatch.recover(recovered, schedule, now);
        (core, effects)
    }

    /// The same, planning as far ahead as this.
    pub(crate) fn reaching(mut self, reach: Reach) -> Core {
        self.sweep = self.sweep.reaching(reach);
        self
    }

    /// Fires what is due with `from` <= scheduled_at < `until`, and nothing else, in a time that is
    /// made up.
    pub(crate) fn within(
        schedule: &Schedule,
        from: Timestamp,
        until: Timestamp,
        seed: u64,
        now: Now,
    ) -> Core {
        Core::sweeping(Sweep::within(schedule, from, until), schedule, seed, now)
    }

    fn sweeping(sweep: Sweep, schedule: &Schedule, seed: u64, now: Now) -> Core {
        Core {
            written: sweep.cursor(),
            sweep,
            dispatch: Dispatch::new(&schedule.accounts, seed, now).linked(Links::from(schedule)),
            clock: Clockwatch::new(now),
            told_of_clock: Vec::new(),
            behind_until: None,
            goes_back: None,
            asked_back: None,
            batch: Vec::new(),
            asked: 0,
            claiming: Claiming::No,
            catching_up: None,
            looked: None,
            reloaded: None,
            by_hand: ByHand::default(),
        }
    }

    /// Plans what is due in the next seconds. Returns what is to be claimed, if there is anything
    /// to write and no other claim is being written.
    pub(crate) fn claim_window(&mut self, now: Now) -> Option<Claims> {
        self.watch_clock(now);
        if self.claiming == Claiming::Yes {
            return None;
        }
        while self.batch.len() < MOST_AT_ONCE
            && let Some(occurrences) = self.sweep.step(now)
        {
            self.batch.extend(occurrences);
        }
        let cursor = self.sweep.cursor()?;
        let stale = self
            .written
            .is_none_or(|written| written.checked_add(CURSOR_EVERY).is_ok_and(|stale| cursor >= stale));
        // A journal that failed is tried with every beat: only a claim finds out whether it can be
        // written.
        if self.batch.is_empty()
            && !stale
            && self.goes_back.is_none()
            && !matches!(self.claiming, Claiming::Failed(_))
        {
            // A reload while a claim was being written left the sweep where it had come to.
            self.catching_up = self.catching_up.filter(|_| self.sweep.is_behind(now));
            return None;
        }
        self.claiming = Claiming::Yes;
        self.asked_back = self.goes_back;
        self.asked = self.batch.len();
        // More follows than is claimed at once.
        let much = cursor < now.wall;
        let unseen = much || self.batch.first().is_some_and(|first| first.scheduled_at < now.wall);
        let away = self.looked.is_none_or(|looked| now.wall.duration_since(looked) > AWAY);
        self.catching_up = if away || much { Some(now.wall) } else { self.catching_up }.filter(|_| unseen);
        Some(Claims { cursor, repeat: self.goes_back, claims: self.batch.iter().map(claim).collect() })
    }

    /// The claims are on disk, but for those that were known before.
    pub(crate) fn claimed(&mut self, cursor: Timestamp, known: &[Key], now: Now) -> Vec<Effect> {
        self.claiming = Claiming::No;
        self.catching_up = self.catching_up.filter(|&until| cursor < until);
        // The clock may have been set back while this was being written.
        let asked_back = self.asked_back.take();
        if self.goes_back == asked_back {
            self.goes_back = None;
            self.written = Some(cursor);
        }
        let known: HashSet<&Key> = known.iter().collect();
        let mut occurrences: Vec<Occurrence> = self.batch.drain(..std::mem::take(&mut self.asked)).collect();
        if !known.is_empty() {
            occurrences.retain(|occurrence| !known.contains(&key(occurrence)));
        }
        let Some(TakenOver { entries, again_from }) = &mut self.reloaded else {
            return self.dispatch.plan(occurrences, now);
        };
        let again_from = again_from.take().unwrap_or(Timestamp::MAX);
        let (goes_on, removed): (Vec<_>, Vec<_>) = occurrences
            .into_iter()
            .partition(|occurrence| occurrence.scheduled_at < again_from || comes(occurrence, entries));
        let mut effects = self.dispatch.plan(goes_on.into_iter().map(|it| in_force(it, entries)), now);
        effects.extend(self.dispatch.redefine_all(entries, now));
        effects.extend(self.dispatch.withdraw(removed, now));
        if self.batch.is_empty() {
            self.reloaded = None;
        }
        effects
    }

    /// The claims could not be written. They are tried again at the next beat; what they claim is
    /// not sent.
    pub(crate) fn unclaimed(&mut self, now: Now) {
        self.claiming = Claiming::Failed(now.mono + AGAIN);
        let asked = std::mem::take(&mut self.asked);
        if let Some(again_from) = self.reloaded.as_mut().and_then(|reloaded| reloaded.again_from.take()) {
            let later = self.batch.split_off(asked);
            self.batch.retain(|occurrence| occurrence.scheduled_at < again_from);
            self.batch.extend(later);
        }
    }

    /// Whether nothing goes. A journal that cannot be written holds back nothing of what is
    /// claimed.
    fn holds_back(&self) -> bool {
        self.catching_up.is_some() && !matches!(self.claiming, Claiming::Failed(_))
    }

    /// Lets time pass.
    pub(crate) fn turn(&mut self, now: Now) -> Vec<Effect> {
        self.watch_clock(now);
        let mut effects = std::mem::take(&mut self.told_of_clock);
        if !self.holds_back() {
            effects.extend(self.dispatch.advance(now));
        }
        if !self.is_behind(now) {
            effects.extend(self.dispatch.end_pauses(now));
        }
        self.looked = Some(now.wall);
        effects
    }

    /// Looks at the clocks, before anything is decided by them.
    fn watch_clock(&mut self, now: Now) {
        let Seen { jumped_ms, set_forward_from, corrected_from } = self.clock.see(now);
        if let Some(repeat) = self.sweep.goes_back(now) {
            self.goes_back = Some(repeat);
            self.written = Some(now.wall);
            self.catching_up = None;
            self.dispatch.goes_back(now);
        } else if let Some(from) = set_forward_from
            // A clock that is put right again skips nothing that it has not shown before.
            && self.sweep.repeat().is_some_and(|repeat| repeat.until > from)
        {
            // What has passed until then was not skipped.
            while let Some(occurrences) = self.sweep.step_to(from) {
                self.batch.extend(occurrences);
            }
            if let Some(until) = self.sweep.skips_repeated(now) {
                self.dispatch.leaves_out(from, until);
            }
        }
        if let Some(by_ms) = jumped_ms {
            self.told_of_clock.push(Effect::Log(Box::new(ClockJumped { by_ms }.into())));
        }
        // A clock that was none has skipped nothing: what came due while it was not set is caught
        // up.
        if let Some(from) = corrected_from.filter(|&from| self.sweep.is_plausible(from)) {
            self.dispatch.leaves_out(from, now.wall);
        }
        let waits = self.sweep.waits_for_clock(now);
        if let Some(until) = waits.filter(|_| waits != self.behind_until) {
            let entries = self.sweep.entries();
            self.told_of_clock.push(Effect::Log(Box::new(ClockBehind { until, entries }.into())));
        }
        self.behind_until = waits;
    }

    /// Looks at the clocks while nothing may be decided: time that passes meanwhile is no jump.
    pub(crate) fn watches(&mut self, now: Now) {
        self.watch_clock(now);
    }

    /// Until when everything new waits for the clock. `None`: it is where it was, or further.
    pub(crate) fn waits_for_clock(&self, now: Now) -> Option<Timestamp> {
        self.sweep.waits_for_clock(now)
    }

    /// Whether the next beat is needed before the beat comes.
    pub(crate) fn runs_low(&self, now: Now) -> bool {
        match self.claiming {
            Claiming::No => self.sweep.runs_low(now),
            Claiming::Yes => false,
            Claiming::Failed(again) => again <= now.mono,
        }
    }

    /// Whether the journal has claims of which it has not said that they are written.
    pub(crate) fn is_claiming(&self) -> bool {
        self.claiming == Claiming::Yes || self.by_hand.claiming > 0
    }

    /// An occurrence that a person asks for: one of its own that is due now. `None` before the
    /// journal has a cursor: the daemon has not begun to fire.
    pub(crate) fn claim_by_hand(&mut self, entry: &Entry, args: Option<String>, now: Now) -> Option<Claim> {
        self.written?;
        let mut at = Timestamp::from_microsecond(now.wall.as_microsecond()).unwrap_or(now.wall);
        // What is scheduled is scheduled at whole seconds: those are not taken.
        while at.subsec_nanosecond() == 0 || at == self.by_hand.last {
            at = at.checked_add(SignedDuration::from_micros(1)).ok()?;
        }
        self.by_hand.last = at;
        self.by_hand.claiming += 1;
        Some(Claim {
            key: Key::new(entry.name.clone(), at),
            account: entry.account.name.clone(),
            stack: entry.stack.clone(),
            job: entry.job.clone(),
            due_at: at,
            deadline: at.checked_add(entry.start_deadline).unwrap_or(Timestamp::MAX),
            origin: Origin::Person { args },
            repetition: Repetition::default(),
        })
    }

    /// The occurrence of an instant of the past that a person has made up for.
    pub(crate) fn claim_backfill(
        &mut self,
        entry: &Arc<Entry>,
        key: Key,
        now: Now,
    ) -> Result<Claim, NoBackfill> {
        let at = key.scheduled_at();
        let cursor = self.written.ok_or(NoBackfill::NotYet)?;
        // Where the schedule's own claim may still come, it decides.
        if at > now.wall || at >= cursor {
            return Err(NoBackfill::NotPast);
        }
        if let Some(hindrance) = self.dispatch.hinders_backfill(entry, at, now) {
            return Err(NoBackfill::Hindered(hindrance));
        }
        self.by_hand.claiming += 1;
        let due_at = Timestamp::from_microsecond(now.wall.as_microsecond()).unwrap_or(now.wall);
        Ok(Claim {
            key,
            account: entry.account.name.clone(),
            stack: entry.stack.clone(),
            job: entry.job.clone(),
            due_at,
            deadline: dispatch::as_sent(entry, &Origin::Backfill, at).deadline(due_at),
            origin: Origin::Backfill,
            repetition: Repetition::Once,
        })
    }

    /// What a person asked for is on disk. `entry` is what the schedule has under its name by now.
    pub(crate) fn claimed_by_hand(
        &mut self,
        claim: Claim,
        entry: Option<&Arc<Entry>>,
        haste: Haste,
        now: Now,
    ) -> Vec<Effect> {
        self.by_hand.claiming -= 1;
        self.dispatch.fire(claim, entry, haste, now)
    }

    /// What a person asked for was known before.
    pub(crate) fn known_by_hand(&mut self) {
        self.by_hand.claiming -= 1;
    }

    /// What a person asked for could not be claimed. The journal is tried again soon: what may be
    /// there all the same is taken away by the next write.
    pub(crate) fn unclaimed_by_hand(&mut self, now: Now) {
        self.by_hand.claiming -= 1;
        if self.claiming == Claiming::No {
            self.claiming = Claiming::Failed(now.mono + AGAIN);
        }
    }

    /// Skips the entry's scheduled occurrences from now on.
    pub(crate) fn pause(&mut self, entry: &EntryName, pause: Pause, now: Now) -> Vec<Effect> {
        self.dispatch.pause(entry, pause, now)
    }

    /// Sends the entry's occurrences again.
    pub(crate) fn resume(&mut self, entry: &EntryName) {
        self.dispatch.resume(entry);
    }

    /// Everything scheduled before is planned. `None`: nothing is.
    pub(super) fn planned_until(&self) -> Option<Timestamp> {
        self.sweep.cursor()
    }

    /// Up to which instant the journal has claims of which it has not said that they are written.
    pub(super) fn claims_up_to(&self) -> Option<Timestamp> {
        self.sweep.cursor().filter(|_| self.is_claiming())
    }

    /// What is due next, of all that is known: planned, being claimed, and not planned yet.
    pub(super) fn next_up(&self) -> Option<Upcoming> {
        let (entry, scheduled_at) = self.upcoming(1).pop()?;
        let is_paused = self.dispatch.is_paused(&entry, scheduled_at);
        Some(Upcoming { scheduled_at, is_paused, entry: entry.name.clone() })
    }

    /// How many occurrences are due and not sent.
    pub(super) fn number_waiting(&self) -> usize {
        self.dispatch.number_waiting()
    }

    /// When the next turn is due at the latest.
    pub(crate) fn wakes_at(&self, now: Now) -> Mono {
        let sweep = match self.claiming {
            // The wall clock may be hours behind what it has shown: whoever watches the loop sees
            // it turn all the same.
            Claiming::No => now.mono + self.sweep.low_in(now).max(Duration::from_millis(1)).min(LOOK),
            Claiming::Yes => now.mono + LOOK,
            Claiming::Failed(again) => again,
        };
        // Nothing goes while it catches up, whatever is due.
        let dispatch = self.dispatch.wakes_at(now).filter(|_| !self.holds_back());
        dispatch.map_or(sweep, |at| at.min(sweep))
    }

    /// When something happens of itself, at the latest, if the beats before bring nothing. For a
    /// time that is made up: it goes from one such instant to the next. `None` when an answer is
    /// awaited, or all is settled.
    pub(crate) fn happens_at(&self, now: Now) -> Option<Timestamp> {
        let beat = self.sweep.brings_at().map(|at| at.max(now.wall));
        if beat.is_none() && self.dispatch.is_idle() {
            return None;
        }
        let timer = self.dispatch.wakes_at(now).map(|at| {
            // However near it is, time goes on.
            let wait = at.saturating_sub(now.mono).max(Duration::from_micros(1));
            now.wall.checked_add(wait).unwrap_or(Timestamp::MAX)
        });
        [beat, timer].into_iter().flatten().min()
    }

    /// All the time since the last turn passed as it should, however long it was: no clock jumped.
    pub(crate) fn passed(&mut self, now: Now) {
        self.clock = Clockwatch::new(now);
    }

    /// The reply to a run_now that left at `sent_at`.
    pub(crate) fn fired(
        &mut self,
        id: RequestId,
        sent_at: Timestamp,
        reply: Reply<Outcome>,
        now: Now,
    ) -> Vec<Effect> {
        self.dispatch.fired(id, sent_at, reply, now)
    }

    /// The reply to a question for an action.
    pub(crate) fn followed(&mut self, id: RequestId, reply: Reply<FollowUp>, now: Now) -> Vec<Effect> {
        self.dispatch.followed(id, reply, now)
    }

    /// The reply to a question for a page of a stack's actions.
    pub(crate) fn listed(&mut self, id: RequestId, reply: Reply<ActionsListed>, now: Now) -> Vec<Effect> {
        self.dispatch.listed(id, reply, now)
    }

    /// The reply to a question for a job's record.
    pub(crate) fn recorded(
        &mut self,
        id: RequestId,
        reply: Reply<Option<JobRecord>>,
        now: Now,
    ) -> Vec<Effect> {
        self.dispatch.recorded(id, reply, now)
    }

    /// The reply to a look at a stack or a job.
    pub(crate) fn looked(&mut self, id: RequestId, reply: Reply<Looked>, now: Now) -> Vec<Effect> {
        self.dispatch.looked(id, reply, now)
    }

    /// The actions that the journal knows of a stack. `None` when it cannot be read.
    pub(crate) fn recalled(
        &mut self,
        account: AccountName,
        stack: StackUid,
        known: Option<Known>,
        now: Now,
    ) -> Vec<Effect> {
        self.dispatch.recalled(account, stack, known, now)
    }

    /// Whether something of an account is under way, and ends by the client that it began with.
    pub(crate) fn needs(&self, account: &AccountName) -> bool {
        self.dispatch.needs(account)
    }

    /// Goes on with another schedule. What is due is settled under the old one first, and what came
    /// due meanwhile is planned under it: up to [`MOST_AT_ONCE`], the rest under the new one.
    pub(crate) fn replace(&mut self, next: Prepared, now: Now) -> (Vec<Effect>, Leftover) {
        let Prepared { schedule, entries, timetable, links, calendars: _ } = next;
        let mut effects = if self.holds_back() { Vec::new() } else { self.dispatch.advance(now) };
        self.dispatch.relink(links);
        effects.extend(self.dispatch.replace(&schedule.accounts, &entries, now));
        let Some(cursor) = self.sweep.cursor() else {
            // The clock has not been plausible yet, so that nothing is planned.
            let sweep = Sweep::new(&schedule, None).reaching(self.sweep.reach());
            return (effects, Leftover(std::mem::replace(&mut self.sweep, sweep)));
        };
        let unreached =
            self.dispatch.reached().checked_add(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
        // A clock that went back has shown these instants before.
        let unreached = self.sweep.shown_before().map_or(unreached, |shown| shown.max(unreached));
        // What came due while nothing could be claimed came due under the schedule before.
        while self.batch.len() < MOST_AT_ONCE
            && let Some(occurrences) = self.sweep.step_to(unreached)
        {
            self.batch.extend(occurrences);
        }
        let from = self.sweep.cursor().unwrap_or(cursor).min(unreached);
        let unclaimed = self.batch.split_off(self.asked);
        self.batch.extend(unclaimed.into_iter().filter(|occurrence| occurrence.scheduled_at < from));
        let former = self.reloaded.take().and_then(|former| former.again_from);
        if !self.batch.is_empty() {
            let again_from = (self.claiming == Claiming::Yes).then(|| former.unwrap_or(from));
            self.reloaded = Some(TakenOver { entries, again_from });
        }
        let sweep = Sweep::resume(&schedule, timetable, from);
        let sweep = sweep.reaching(self.sweep.reach()).repeating(self.sweep.repeat());
        (effects, Leftover(std::mem::replace(&mut self.sweep, sweep)))
    }

    /// From now on nothing is sent. Returns what the journal should know of what waits.
    pub(crate) fn stop(&mut self) -> Vec<Effect> {
        self.dispatch.stop();
        self.dispatch.park()
    }

    /// Nothing that is due later was sent.
    pub(crate) fn sent_up_to(&self) -> Timestamp {
        self.dispatch.sent_up_to()
    }

    /// When the occurrence is due that a run_now is of. `None`: a question, or a request that has
    /// ended.
    pub(crate) fn due_of(&self, request: RequestId) -> Option<Timestamp> {
        self.dispatch.due_of(request)
    }

    /// The run_now requests that wait for their answer.
    pub(crate) fn fires_in_flight(&self) -> usize {
        self.dispatch.fires_in_flight()
    }

    /// The attempts of which it is not known whether they took effect.
    pub(crate) fn in_doubt(&self) -> usize {
        self.dispatch.in_doubt()
    }

    /// Occurrences that were sent again, and whose stack's list is still to be read for a second
    /// action.
    #[cfg(test)]
    pub(crate) fn watched_for_surplus(&self) -> usize {
        self.dispatch.watched_for_surplus()
    }

    /// How each account stands.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = (&AccountName, dispatch::Gauges)> {
        self.dispatch.gauges()
    }

    /// Whether what an account has in flight takes the last of its quota, or goes to learn what is
    /// left.
    pub(crate) fn is_on_quotas_edge(&self, account: &AccountName) -> bool {
        self.dispatch.is_on_quotas_edge(account)
    }

    /// How each account stands, for people.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&AccountName, Standing)> {
        self.dispatch.standings()
    }

    /// What waits, and why: some so many, of each account a fair share.
    pub(crate) fn waiting(&self, most: usize, now: Now) -> Vec<Waiting> {
        self.dispatch.waiting(most, now)
    }

    /// The entries that somebody paused.
    pub(crate) fn paused(&self) -> &Arc<BTreeMap<EntryName, Pause>> {
        self.dispatch.paused()
    }

    /// What comes next of each entry, the soonest first, of at most so many entries. Costs what is
    /// asked for.
    pub(crate) fn upcoming(&self, most: usize) -> Vec<(Arc<Entry>, Timestamp)> {
        // An entry that is due every second is planned a few times.
        let planned = self.dispatch.planned().take(most.saturating_mul(PLANNED_EACH));
        let batch = self.batch.iter().map(|occurrence| (&occurrence.entry, occurrence.scheduled_at));
        let later = self.sweep.soonest(most);
        let mut soonest: Vec<_> = planned.chain(batch.take(most)).chain(later).collect();
        soonest.sort_by_key(|&(_, at)| at);
        let mut seen = HashSet::new();
        soonest.retain(|(entry, _)| seen.insert(&entry.name));
        soonest.truncate(most);
        soonest.into_iter().map(|(entry, at)| (Arc::clone(entry), at)).collect()
    }

    /// Whether something is due that is not claimed yet.
    pub(crate) fn is_behind(&self, now: Now) -> bool {
        self.written.is_none() || self.holds_back() || self.sweep.is_behind(now)
    }

    /// Panics where two parts of the dispatch disagree.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.dispatch.check_invariants();
    }

    /// Everything scheduled before the one is planned, and the other is the last stretch that the
    /// clock showed again.
    #[cfg(test)]
    pub(super) fn planned(&self) -> (Option<Timestamp>, Option<Repeat>) {
        (self.sweep.cursor(), self.sweep.repeat())
    }

    /// Whether all that is due by now is claimed, so that it is fired.
    pub(crate) fn is_current(&self, now: Now) -> bool {
        self.claiming == Claiming::No && !self.holds_back() && !self.sweep.is_behind(now)
    }

    /// What is known of each account's quota, for the next process.
    pub(crate) fn quotas(&self) -> impl Iterator<Item = (AccountName, quota::Saved)> {
        self.dispatch.quotas()
    }
}

/// Whether an occurrence comes under these entries too.
fn comes(occurrence: &Occurrence, entries: &ByName) -> bool {
    let at = occurrence.scheduled_at;
    entries
        .get(&occurrence.entry.name)
        .is_some_and(|entry| Arc::ptr_eq(entry, &occurrence.entry) || timetable::next(entry, at) == Some(at))
}

/// The occurrence with what decides at once whether it goes: the deadline and the pause that are in
/// force by now.
fn in_force(occurrence: Occurrence, entries: &ByName) -> Occurrence {
    let Occurrence { entry: was, scheduled_at, pass } = occurrence;
    let entry = match entries.get(&was.name) {
        Some(now) if (now.start_deadline, now.paused) != (was.start_deadline, was.paused) => {
            let (start_deadline, paused) = (now.start_deadline, now.paused);
            Arc::new(Entry { start_deadline, paused, ..Entry::clone(&was) })
        }
        _ => was,
    };
    Occurrence { entry, scheduled_at, pass }
}

fn key(occurrence: &Occurrence) -> Key {
    Key::new(occurrence.entry.name.clone(), occurrence.scheduled_at).in_pass(occurrence.pass)
}

pub(super) fn claim(occurrence: &Occurrence) -> Claim {
    let entry = &occurrence.entry;
    let (due_at, deadline) = entry.times(occurrence.scheduled_at);
    Claim {
        key: key(occurrence),
        account: entry.account.name.clone(),
        stack: entry.stack.clone(),
        job: entry.job.clone(),
        due_at,
        deadline,
        origin: Origin::Schedule,
        repetition: match occurrence.pass > 0 && timetable::is_appointment(entry, occurrence.scheduled_at) {
            true => Repetition::Once,
            false => Repetition::Again,
        },
    }
}
