//! The daemon without its shell: sweep, claims and dispatch as one function of events and time.
//!
//! The shell reads the clocks, performs the effects in their order, and reports what came of them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::clockwatch::{ClockChange, Clockwatch};
use super::replacement::Prepared;
use super::sweep::{Reach, Sweep};
use crate::clock::{Mono, Now};
use crate::cloud66::{ActionsListed, FollowUp, JobRecord, Looked, Outcome, Reply};
use crate::dispatch::{
    self, AccountStanding, Dispatch, Effect, Haste, Hindrance, Links, RequestId, WaitingOccurrence,
};
use crate::journal::{Claim, EndedTerm, Key, KnownActions, Origin, Pause, Recovered, Repeat, Repetition};
use crate::log::event::{ClockBehind, ClockJumped};
use crate::quota;
use crate::schedule::{AccountName, ByName, Entry, EntryName, Schedule, StackUid};
use crate::timetable::{self, Occurrence};

/// State of all that the daemon decides: the plan, the claims under way, and the dispatch.
pub(crate) struct Core {
    sweep: Sweep,
    dispatch: Dispatch,
    clock: Clockwatch,
    /// Events about the clock, which the next turn returns.
    told_of_clock: Vec<Effect>,
    /// The instant for which new occurrences wait, as the last `clock.behind` told it.
    behind_until: Option<Timestamp>,
    /// The stretch of time that the clock shows again. Set from the moment at which the clock was
    /// set back until the journal's cursor has gone back too.
    goes_back: Option<Repeat>,
    /// The value of `goes_back` in the claim that the journal is writing. The two differ when the
    /// clock is set back again meanwhile.
    going_back: Option<Repeat>,
    /// Occurrences that the sweep has planned and the journal has not claimed.
    batch: Vec<Occurrence>,
    /// Number of occurrences, from the front of `batch`, whose claim the journal is writing.
    being_claimed: usize,
    claiming: Claiming,
    /// While set, occurrences due before this instant are still being claimed. Nothing is sent,
    /// because `catch_up: latest` needs to know which one is the newest.
    catching_up: Option<Timestamp>,
    /// The time at the last turn. `None` before the first.
    looked: Option<Timestamp>,
    /// The cursor that the journal is known to have on disk. `None`: the journal has no cursor,
    /// because the daemon has not begun to fire.
    written: Option<Timestamp>,
    /// The schedule in force, while `batch` still has occurrences of the schedule before. `None`:
    /// all of `batch` was planned under the schedule in force.
    reloaded: Option<TakenOver>,
    by_hand: ByHand,
}

/// Occurrences that people have asked for with `fire` and `backfill`.
#[derive(Default)]
struct ByHand {
    /// Number of these occurrences whose claim the journal is writing.
    claiming: usize,
    /// The instant that the last occurrence by hand was given. No two get the same.
    last: Timestamp,
}

/// Why `backfill` may not claim an occurrence of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoBackfill {
    /// The journal has no cursor: the daemon has not begun to fire.
    NotYet,
    /// The instant is in the future, or is not planned yet: the schedule's own claim will come.
    NotPast,
    /// Dispatch refuses the occurrence.
    Hindered(Hindrance),
}

/// The schedule that took over, for occurrences that were planned under the one before.
struct TakenOver {
    entries: Arc<ByName>,
    /// Set while the journal is writing a claim that was planned under the former schedule. The new
    /// schedule plans from this instant on, so both have the occurrences that the claim has from
    /// then on: they go on only where the new schedule has them too.
    again_from: Option<Timestamp>,
}

/// The former sweep after a reload, and the entries by their names where nothing is planned by
/// them. Freeing them takes time that grows with the schedule, so that another thread does it.
#[expect(dead_code, reason = "it is held to be dropped")]
pub(crate) struct Leftover(Sweep, Option<Arc<ByName>>);

/// The next occurrence that is due, for people.
pub(super) struct Upcoming {
    pub(super) entry: EntryName,
    pub(super) scheduled_at: Timestamp,
    /// The entry is paused: the occurrence will be skipped.
    pub(super) is_paused: bool,
}

/// Where the claim of the batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claiming {
    /// No claim is under way. The next window claims.
    No,
    /// The journal is writing the claim.
    Yes,
    /// The journal could not write the claim. It is tried again at this time, or when the next
    /// window opens.
    Failed(Mono),
}

/// Claims that the journal writes in one transaction, before any of them is sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claims {
    /// With these claims on disk, everything scheduled before this instant is claimed.
    pub(crate) cursor: Timestamp,
    /// The clock shows this stretch again, so that the journal's cursor goes back. `None`: the
    /// cursor goes on.
    pub(crate) repeat: Option<Repeat>,
    /// The occurrences, in the order of the timetable.
    pub(crate) claims: Vec<Claim>,
}

/// Number of occurrences in one claim. After a long absence further claims follow.
const MOST_AT_ONCE: usize = 20_000;

/// Number of occurrences of one entry that are planned ahead at most: one for each second.
const PLANNED_EACH: usize = 8;

/// Time from a claim that could not be written to the next try, where no window opens before.
const AGAIN: Duration = Duration::from_secs(1);

/// The loop looks at the clock at least this often.
const LOOK: Duration = Duration::from_secs(1);

/// After a longer time without a turn the machine was suspended or the process stopped, and
/// `catch_up` decides on what came due. A shorter one is a slow journal.
const AWAY: SignedDuration = SignedDuration::from_secs(5);

/// The cursor is written at least this often, so that a restart does not plan the same stretch for
/// long.
const CURSOR_EVERY: Duration = Duration::from_secs(60);

impl Core {
    /// Returns a core that goes on where the former process ended, or that begins now.
    pub(crate) fn new(schedule: &Schedule, recovered: Recovered, seed: u64, now: Now) -> (Core, Vec<Effect>) {
        let mut core =
            Core::sweeping(Sweep::again(schedule, recovered.cursor, recovered.repeat), schedule, seed, now);
        core.written = recovered.cursor;
        let effects = core.dispatch.recover(recovered, schedule, now);
        (core, effects)
    }

    /// Returns this core with another look-ahead.
    pub(crate) fn reaching(mut self, reach: Reach) -> Core {
        self.sweep = self.sweep.reaching(reach);
        self
    }

    /// Returns a core in virtual time that fires the occurrences with `from` <= scheduled_at <
    /// `until`, and no others.
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
            going_back: None,
            batch: Vec::new(),
            being_claimed: 0,
            claiming: Claiming::No,
            catching_up: None,
            looked: None,
            reloaded: None,
            by_hand: ByHand::default(),
        }
    }

    /// Plans the occurrences of the next seconds. Returns the claims to be written. `None`: there
    /// is nothing to write, or another claim is being written.
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
        // Without occurrences the cursor alone is written, once in [`CURSOR_EVERY`].
        let stale = self
            .written
            .is_none_or(|written| written.checked_add(CURSOR_EVERY).is_ok_and(|stale| cursor >= stale));
        // A journal that failed is tried with every window: only a claim finds out whether the
        // journal can be written.
        if self.batch.is_empty()
            && !stale
            && self.goes_back.is_none()
            && !matches!(self.claiming, Claiming::Failed(_))
        {
            // Nothing is left to be claimed, so that no further claim ends the catching up. A
            // reload during the former claim may lead here, because it moves the sweep.
            self.catching_up = self.catching_up.filter(|_| self.sweep.is_behind(now));
            return None;
        }
        self.claiming = Claiming::Yes;
        self.going_back = self.goes_back;
        self.being_claimed = self.batch.len();
        // This claim does not reach now: occurrences up to now are left for a further one.
        let much = cursor < now.wall;
        let unseen = much || self.batch.first().is_some_and(|first| first.scheduled_at < now.wall);
        let away = self.looked.is_none_or(|looked| now.wall.duration_since(looked) > AWAY);
        self.catching_up = if away || much { Some(now.wall) } else { self.catching_up }.filter(|_| unseen);
        Some(Claims { cursor, repeat: self.goes_back, claims: self.batch.iter().map(claim).collect() })
    }

    /// Takes in that the claims are on disk. `known` are those that the journal had before.
    pub(crate) fn claimed(&mut self, cursor: Timestamp, known: &[Key], now: Now) -> Vec<Effect> {
        self.claiming = Claiming::No;
        self.catching_up = self.catching_up.filter(|&until| cursor < until);
        // The clock may have been set back while the journal was writing. Then this cursor is from
        // before that, and the next claim writes another.
        let going_back = self.going_back.take();
        if self.goes_back == going_back {
            self.goes_back = None;
            self.written = Some(cursor);
        }
        let known: HashSet<&Key> = known.iter().collect();
        let mut occurrences: Vec<Occurrence> =
            self.batch.drain(..std::mem::take(&mut self.being_claimed)).collect();
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

    /// Takes in that the claims could not be written. They are tried again with the next window,
    /// and their occurrences are not sent before.
    pub(crate) fn unclaimed(&mut self, now: Now) {
        self.claiming = Claiming::Failed(now.mono + AGAIN);
        let being_claimed = std::mem::take(&mut self.being_claimed);
        if let Some(again_from) = self.reloaded.as_mut().and_then(|reloaded| reloaded.again_from.take()) {
            let later = self.batch.split_off(being_claimed);
            self.batch.retain(|occurrence| occurrence.scheduled_at < again_from);
            self.batch.extend(later);
        }
    }

    /// Returns true while catching up holds back every send. A journal that cannot be written holds
    /// back no occurrence that is claimed.
    fn holds_back(&self) -> bool {
        self.catching_up.is_some() && !matches!(self.claiming, Claiming::Failed(_))
    }

    /// Brings the state to `now`, and returns the effects of the time that has passed.
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

    /// Takes in what the clocks show, before anything is decided by them.
    fn watch_clock(&mut self, now: Now) {
        let ClockChange { jumped_ms, set_forward_from, corrected_from } = self.clock.see(now);
        if let Some(repeat) = self.sweep.goes_back(now) {
            self.goes_back = Some(repeat);
            self.written = Some(now.wall);
            self.catching_up = None;
            self.dispatch.goes_back(now);
        } else if let Some(from) = set_forward_from
            // A clock that was set back and is put right has shown these instants before.
            && self.sweep.repeat().is_some_and(|repeat| repeat.until > from)
        {
            // What is scheduled before `from` came due as time passed, before the clock was set.
            while let Some(occurrences) = self.sweep.step_to(from) {
                self.batch.extend(occurrences);
            }
            if let Some(until) = self.sweep.skips_repeated(now) {
                self.dispatch.leaves_out(from, until);
            }
        }
        if let Some(by_ms) = jumped_ms {
            self.dispatch.clock_is_set(now);
            self.told_of_clock.push(Effect::Log(Box::new(ClockJumped { by_ms }.into())));
        }
        // A clock that showed an instant before the program's build date was wrong. What it skips
        // when it is put right came due meanwhile, and is caught up.
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

    /// Takes in the clocks while nothing may be decided, so that the time that passes meanwhile is
    /// no jump.
    pub(crate) fn watches(&mut self, now: Now) {
        self.watch_clock(now);
    }

    /// Returns the instant for which new occurrences wait after the clock was set back. `None`: the
    /// clock shows that instant or a later one.
    pub(crate) fn waits_for_clock(&self, now: Now) -> Option<Timestamp> {
        self.sweep.waits_for_clock(now)
    }

    /// Returns true when a claim is needed before the next window opens.
    pub(crate) fn runs_low(&self, now: Now) -> bool {
        match self.claiming {
            Claiming::No => self.sweep.runs_low(now),
            Claiming::Yes => false,
            Claiming::Failed(again) => again <= now.mono,
        }
    }

    /// Returns true while the journal is writing claims.
    pub(crate) fn is_claiming(&self) -> bool {
        self.claiming == Claiming::Yes || self.by_hand.claiming > 0
    }

    /// Returns a new occurrence of the entry that is due now, for a person's `fire`. `None`: the
    /// journal has no cursor, because the daemon has not begun to fire.
    pub(crate) fn claim_by_hand(&mut self, entry: &Entry, args: Option<String>, now: Now) -> Option<Claim> {
        self.written?;
        let mut at = Timestamp::from_microsecond(now.wall.as_microsecond()).unwrap_or(now.wall);
        // Whole seconds belong to the schedule's own occurrences.
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

    /// Returns the occurrence with which `backfill` makes up for an instant of the past.
    pub(crate) fn claim_backfill(
        &mut self,
        entry: &Arc<Entry>,
        key: Key,
        now: Now,
    ) -> Result<Claim, NoBackfill> {
        let at = key.scheduled_at();
        let cursor = self.written.ok_or(NoBackfill::NotYet)?;
        // The schedule's own claim may still come.
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

    /// Takes in that the claim of an occurrence by hand is on disk. `entry` is the entry of that
    /// name in the present schedule.
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

    /// Takes in that the journal had the occurrence by hand before.
    pub(crate) fn known_by_hand(&mut self) {
        self.by_hand.claiming -= 1;
    }

    /// Takes in that an occurrence by hand could not be claimed. The journal is tried again soon,
    /// because the next write takes away a claim that is on disk all the same.
    pub(crate) fn unclaimed_by_hand(&mut self, now: Now) {
        self.by_hand.claiming -= 1;
        if self.claiming == Claiming::No {
            self.claiming = Claiming::Failed(now.mono + AGAIN);
        }
    }

    /// Pauses the entry: its scheduled occurrences are skipped from now on.
    pub(crate) fn pause(&mut self, entry: &EntryName, pause: Pause, now: Now) -> Vec<Effect> {
        self.dispatch.pause(entry, pause, now)
    }

    /// Resumes the entry.
    pub(crate) fn resume(&mut self, entry: &EntryName) {
        self.dispatch.resume(entry);
    }

    /// Returns the instant before which everything is planned. `None`: nothing is planned.
    pub(super) fn planned_until(&self) -> Option<Timestamp> {
        self.sweep.cursor()
    }

    /// Returns the instant that the claims being written reach. `None`: no claim is being written.
    pub(super) fn claims_up_to(&self) -> Option<Timestamp> {
        self.sweep.cursor().filter(|_| self.is_claiming())
    }

    /// Returns the next occurrence, whether it is planned, being claimed, or not planned yet.
    pub(super) fn next_up(&self) -> Option<Upcoming> {
        let (entry, scheduled_at) = self.upcoming(1).pop()?;
        let is_paused = self.dispatch.is_paused(&entry, scheduled_at);
        Some(Upcoming { scheduled_at, is_paused, entry: entry.name.clone() })
    }

    /// Returns the number of occurrences that are due and not sent.
    pub(super) fn number_waiting(&self) -> usize {
        self.dispatch.number_waiting()
    }

    /// Returns the time at which the next turn is due at the latest.
    pub(crate) fn wakes_at(&self, now: Now) -> Mono {
        let sweep = match self.claiming {
            // The wall clock may be hours behind. The loop turns all the same, so that the watchdog
            // is fed.
            Claiming::No => now.mono + self.sweep.low_in(now).max(Duration::from_millis(1)).min(LOOK),
            Claiming::Yes => now.mono + LOOK,
            Claiming::Failed(again) => again,
        };
        // While catching up nothing is sent, so that dispatch needs no turn.
        let dispatch = self.dispatch.wakes_at(now).filter(|_| !self.holds_back());
        dispatch.map_or(sweep, |at| at.min(sweep))
    }

    /// Returns the next instant at which something happens without an answer from outside. Virtual
    /// time jumps from one such instant to the next. `None`: only an answer brings anything, or
    /// everything is settled.
    pub(crate) fn happens_at(&self, now: Now) -> Option<Timestamp> {
        let beat = self.sweep.brings_at().map(|at| at.max(now.wall));
        if beat.is_none() && self.dispatch.is_idle() {
            return None;
        }
        let timer = self.dispatch.wakes_at(now).map(|at| {
            // Virtual time always moves on, by a microsecond at least.
            let wait = at.saturating_sub(now.mono).max(Duration::from_micros(1));
            now.wall.checked_add(wait).unwrap_or(Timestamp::MAX)
        });
        [beat, timer].into_iter().flatten().min()
    }

    /// Takes the time since the last turn as time that passed: no clock jumped. Virtual time calls
    /// it before each turn.
    pub(crate) fn passed(&mut self, now: Now) {
        self.clock = Clockwatch::new(now);
    }

    /// Takes in the reply to a run_now whose first byte left at `sent_at`.
    pub(crate) fn fired(
        &mut self,
        id: RequestId,
        sent_at: Timestamp,
        reply: Reply<Outcome>,
        now: Now,
    ) -> Vec<Effect> {
        self.dispatch.fired(id, sent_at, reply, now)
    }

    /// Takes in the reply to a question for an action.
    pub(crate) fn followed(&mut self, id: RequestId, reply: Reply<FollowUp>, now: Now) -> Vec<Effect> {
        self.dispatch.followed(id, reply, now)
    }

    /// Takes in the reply to a question for a page of a stack's actions.
    pub(crate) fn listed(&mut self, id: RequestId, reply: Reply<ActionsListed>, now: Now) -> Vec<Effect> {
        self.dispatch.listed(id, reply, now)
    }

    /// Takes in the reply to a question for a job's record.
    pub(crate) fn recorded(
        &mut self,
        id: RequestId,
        reply: Reply<Option<JobRecord>>,
        now: Now,
    ) -> Vec<Effect> {
        self.dispatch.recorded(id, reply, now)
    }

    /// Takes in the reply to a look at a stack or a job, for `stack_state`.
    pub(crate) fn looked(&mut self, id: RequestId, reply: Reply<Looked>, now: Now) -> Vec<Effect> {
        self.dispatch.looked(id, reply, now)
    }

    /// Takes in the actions that the journal knows of a stack. `None`: the journal cannot be read.
    pub(crate) fn recalled(
        &mut self,
        account: AccountName,
        stack: StackUid,
        known: Option<KnownActions>,
        now: Now,
    ) -> Vec<Effect> {
        self.dispatch.recalled(account, stack, known, now)
    }

    /// Returns true while a request, a followed action or an attempt in doubt of the account still
    /// needs the client that it began with.
    pub(crate) fn needs(&self, account: &AccountName) -> bool {
        self.dispatch.needs(account)
    }

    /// Goes on with another schedule. Occurrences that are due are decided under the former
    /// schedule first. Occurrences that came due and could not be claimed are planned under the
    /// former schedule too, up to [`MOST_AT_ONCE`]. All later ones are planned under the new
    /// schedule.
    pub(crate) fn replace(&mut self, next: Prepared, now: Now) -> (Vec<Effect>, Leftover) {
        let Prepared { schedule, entries, timetable, links, calendars: _ } = next;
        let mut effects = if self.holds_back() { Vec::new() } else { self.dispatch.advance(now) };
        self.dispatch.relink(links);
        effects.extend(self.dispatch.replace(&schedule.accounts, &entries, now));
        let Some(cursor) = self.sweep.cursor() else {
            // Nothing is planned as long as the clock shows a time before the program's build date.
            let sweep = Sweep::new(&schedule, None).reaching(self.sweep.reach());
            return (effects, Leftover(std::mem::replace(&mut self.sweep, sweep), Some(entries)));
        };
        let unreached =
            self.dispatch.reached().checked_add(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MAX);
        // After the clock was set back, instants up to `shown_before` came due once already: they
        // belong to the former schedule.
        let unreached = self.sweep.shown_before().map_or(unreached, |shown| shown.max(unreached));
        // Occurrences that came due while nothing could be claimed belong to the former schedule.
        while self.batch.len() < MOST_AT_ONCE
            && let Some(occurrences) = self.sweep.step_to(unreached)
        {
            self.batch.extend(occurrences);
        }
        let from = self.sweep.cursor().unwrap_or(cursor).min(unreached);
        // A claim that the journal is writing stays as it is. Of the rest of the batch, what the
        // new schedule plans is left to it.
        let unclaimed = self.batch.split_off(self.being_claimed);
        self.batch.extend(unclaimed.into_iter().filter(|occurrence| occurrence.scheduled_at < from));
        let former = self.reloaded.take().and_then(|former| former.again_from);
        let unused = if self.batch.is_empty() {
            Some(entries)
        } else {
            let again_from = (self.claiming == Claiming::Yes).then(|| former.unwrap_or(from));
            self.reloaded = Some(TakenOver { entries, again_from });
            None
        };
        let sweep = Sweep::resume(&schedule, timetable, from);
        let sweep = sweep.reaching(self.sweep.reach()).repeating(self.sweep.repeat());
        (effects, Leftover(std::mem::replace(&mut self.sweep, sweep), unused))
    }

    /// Takes in how far the leaders of former terms had sent.
    pub(crate) fn terms_ended(&mut self, ended: &[EndedTerm], now: Now) -> Vec<Effect> {
        self.dispatch.terms_ended(ended, now)
    }

    /// Stops sending. Returns the effects that write down what waits.
    pub(crate) fn stop(&mut self) -> Vec<Effect> {
        self.dispatch.stop();
        self.dispatch.park()
    }

    /// Returns the instant after which nothing that is due was sent, for the send watermark.
    pub(crate) fn sent_up_to(&self) -> Timestamp {
        self.dispatch.sent_up_to()
    }

    /// Returns the due instant of the occurrence that a run_now is for. `None`: the request is a
    /// question, or has ended.
    pub(crate) fn due_of(&self, request: RequestId) -> Option<Timestamp> {
        self.dispatch.due_of(request)
    }

    /// Returns the number of run_now requests that wait for their answer.
    pub(crate) fn fires_in_flight(&self) -> usize {
        self.dispatch.fires_in_flight()
    }

    /// Returns the number of attempts in doubt.
    pub(crate) fn in_doubt(&self) -> usize {
        self.dispatch.in_doubt()
    }

    /// Returns the number of occurrences that were sent again and whose stack's actions are still
    /// to be read for a surplus action.
    #[cfg(test)]
    pub(crate) fn watched_for_surplus(&self) -> usize {
        self.dispatch.watched_for_surplus()
    }

    /// Returns the figures of each account, for the metrics.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = (&AccountName, dispatch::Gauges)> {
        self.dispatch.gauges()
    }

    /// Returns true when the account's requests in flight take the last of its quota, or are sent
    /// to learn how much is left.
    pub(crate) fn is_on_quotas_edge(&self, account: &AccountName) -> bool {
        self.dispatch.is_on_quotas_edge(account)
    }

    /// Returns the state of each account, for `status`.
    pub(crate) fn standings(&self) -> impl Iterator<Item = (&AccountName, AccountStanding)> {
        self.dispatch.standings()
    }

    /// Returns up to `most` occurrences that wait, with the reason, a fair share of each account.
    pub(crate) fn waiting(&self, most: usize, now: Now) -> Vec<WaitingOccurrence> {
        self.dispatch.waiting(most, now)
    }

    /// Returns the entries that somebody paused.
    pub(crate) fn paused(&self) -> &Arc<BTreeMap<EntryName, Pause>> {
        self.dispatch.paused()
    }

    /// Returns the next instant of up to `most` entries, the soonest first. The cost grows with
    /// `most`, not with the schedule.
    pub(crate) fn upcoming(&self, most: usize) -> Vec<(Arc<Entry>, Timestamp)> {
        // An entry of every second is planned several times ahead, and counts once here.
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

    /// Returns true while something is due and not claimed.
    pub(crate) fn is_behind(&self, now: Now) -> bool {
        self.written.is_none() || self.holds_back() || self.sweep.is_behind(now)
    }

    /// Panics where two parts of the dispatch disagree.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.dispatch.check_invariants();
    }

    /// Returns the instant before which everything is planned, and the last stretch that the clock
    /// showed again.
    #[cfg(test)]
    pub(super) fn planned(&self) -> (Option<Timestamp>, Option<Repeat>) {
        (self.sweep.cursor(), self.sweep.repeat())
    }

    /// Returns true when everything that is due by now is claimed.
    pub(crate) fn is_current(&self, now: Now) -> bool {
        self.claiming == Claiming::No && !self.holds_back() && !self.sweep.is_behind(now)
    }

    /// Returns true when somebody has set the clock since this was last asked: what later processes
    /// are to know of it is among the quotas.
    pub(crate) fn clock_was_set(&mut self) -> bool {
        self.dispatch.clock_was_set()
    }

    /// Returns each account's quota, to be kept for the next process.
    pub(crate) fn quotas(&self) -> impl Iterator<Item = (AccountName, quota::SavedQuota)> {
        self.dispatch.quotas()
    }
}

/// Returns true when the timetable of these entries has the occurrence too.
fn comes(occurrence: &Occurrence, entries: &ByName) -> bool {
    let at = occurrence.scheduled_at;
    entries
        .get(&occurrence.entry.name)
        .is_some_and(|entry| Arc::ptr_eq(entry, &occurrence.entry) || timetable::next(entry, at) == Some(at))
}

/// Returns the occurrence with its entry's deadline and pause by the present schedule. Everything
/// else stays as it was claimed; [`Dispatch::redefine_all`] takes over the rest.
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
