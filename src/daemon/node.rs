//! The decisions of a daemon that leads, without its loop.
//!
//! Problem: the daemon's loop, the simulation and `rehearse` have to decide alike. Otherwise the
//! simulation proves nothing about the daemon.
//!
//! Mechanism: a [`Node`] takes one [`Input`] at a time, together with the time, and returns
//! [`Output`]s. The node reads no clock and performs nothing. Whoever drives a node performs its
//! outputs one after another, in their order, and hands in what comes of them. One output has to be
//! answered before anything else is handed in: [`Output::Raise`] asks for the send watermark, and
//! the outputs of [`Input::Raised`] hold the requests.
//!
//! Example: an entry is due at 12:00:00, and its account has quota.
//!
//! | at | input | outputs |
//! |---|---|---|
//! | 11:59:55.000 | `ClaimWindow` | `Claim`, `Swept` |
//! | 11:59:55.004 | `Answers`: claimed | `JournalReaches`, `Warm` |
//! | 12:00:00.000 | `Wake` | `Raise` |
//! | 12:00:00.000 | `Raised` | `Send`, `Record` |
//! | 12:00:00.080 | `Answers`: fired | `Log` (action.started), `Record`, `SaveQuota` |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::core::{Claims, Core, Leftover, NoBackfill};
use super::quota_saving::QuotaSaving;
use super::replacement::Prepared;
use super::sweep::Reach;
use crate::clock::{Mono, Now};
use crate::cloud66::{ActionsListed, FollowUp, JobRecord, Looked, Outcome, Reply};
use crate::control::{Changed, FireError, SteerError, Wanted};
use crate::dispatch::{Effect, Haste, Hindrance, Request, RequestId};
use crate::journal::{
    Claim, Claimed, EndedTerm, JournalError, Key, KnownActions, Pause, Recovered, SendPermit,
};
use crate::log::Event;
use crate::log::event::{EntryFired, EntryPaused, EntryResumed, OccurrenceBackfilled};
use crate::quota;
use crate::schedule::{AccountName, Entry, EntryName, Schedule, StackUid};

/// While the permit to send has run out, the node looks at it this often.
pub(super) const PERMIT_AGAIN: Duration = Duration::from_millis(20);

/// The journal has this long to write its last words. What is not in it by then counts as in doubt
/// at the next start.
pub(super) const CLOSE: Duration = Duration::from_millis(800);

/// A person's question that is repeated for want of an answer names an instant at most this long
/// ago.
const REPEATED_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// The decisions of a daemon that leads.
pub(crate) struct Node {
    core: Core,
    permit: SendPermit,
    /// The schedule in force.
    schedule: Arc<Schedule>,
    /// The journal knows since when this schedule is in force.
    in_force_told: bool,
    quotas: QuotaSaving,
    /// Entries of which a pause or a resume is being written. A second one would overtake the
    /// first.
    steering: BTreeSet<EntryName>,
    /// Outputs that wait until the send watermark is raised.
    held: Vec<Output>,
    /// Time at which the claim that is being written was handed to the journal.
    claiming_since: Option<Mono>,
    /// `None` until the node is told to stop.
    ending: Option<WindingUp>,
}

/// Something that a node is told.
pub(crate) enum Input {
    /// Time has passed.
    Wake,
    /// The next seconds are to be planned and claimed.
    ClaimWindow,
    /// Answers to requests of former outputs.
    Answers(Vec<Answer>),
    /// The answer to [`Output::Raise`]. An error says why the watermark cannot be written.
    Raised(Result<(), String>),
    /// A person fires an entry.
    Fire(FireByHand),
    /// A person pauses or resumes an entry.
    Steer(Steering),
    /// Another schedule takes over.
    Replace(Prepared),
    /// Former terms are over, by the word of their leaders.
    TermsEnded(Vec<EndedTerm>),
    /// The node is to stop: it sends nothing new, and waits for answers within this time.
    Stop(Duration),
}

/// The end of something that an output began.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A run_now has ended, which left at `sent_at`.
    Fired { id: RequestId, sent_at: Timestamp, reply: Reply<Outcome> },
    /// A question for an action has ended.
    Followed { id: RequestId, reply: Reply<FollowUp> },
    /// A question for a page of a stack's actions has ended.
    Listed { id: RequestId, reply: Reply<ActionsListed> },
    /// A look at a stack or a job has ended.
    Looked { id: RequestId, reply: Reply<Looked> },
    /// A question for a job's record has ended.
    Recorded { id: RequestId, reply: Reply<Option<JobRecord>> },
    /// The actions that the journal knows of a stack. `None`: the journal cannot be read.
    Recalled { account: AccountName, stack: StackUid, known: Option<KnownActions> },
    /// A claim is written. `known` has the occurrences that were claimed before; `None`: the claim
    /// cannot be written.
    Claimed { cursor: Timestamp, known: Option<Vec<Key>> },
    /// The claim of what a person fires has ended.
    ClaimedByHand { fire: FireByHand, claim: Box<Claim>, written: Result<Claimed, JournalError> },
    /// A pause or a resume is written, or cannot be.
    Steered { steering: Steering, written: Result<(), JournalError> },
    /// The journal has written its last words, or cannot.
    Closed { is_closed: bool },
}

/// Something that is to be done. Outputs are performed in their order.
pub(crate) enum Output {
    /// An effect of the dispatch. Its request, if it has one, may leave.
    Effect(Effect),
    /// Claims are to be written.
    Claim(Claims),
    /// The window was claimed, or there was nothing to claim. Told at each sweep, for the metrics.
    Swept(Timestamp),
    /// The send watermark is to be raised to this instant at once. Its answer is
    /// [`Input::Raised`].
    Raise(Timestamp),
    /// A run_now may not leave, and this is why. It ends as not sent.
    HoldBack(RequestId, Request, String),
    /// Everything that is scheduled before this instant is claimed.
    JournalReaches(Timestamp),
    /// The journal's cursor goes back to this instant with the next claim.
    JournalGoesBack(Timestamp),
    /// The state of a quota is to be saved.
    SaveQuota(AccountName, Box<quota::SavedQuota>),
    /// The journal is to write what it was given, without a wait for more.
    WriteNow,
    /// The journal is to know from which instant on is planned by this schedule.
    InForce(Timestamp, Arc<Schedule>),
    /// The claim of what a person fires is to be written.
    ClaimByHand { claim: Box<Claim>, fire: FireByHand },
    /// The claim of a person's `fire` is on disk. The events of the occurrence follow.
    Fired(Asker, Key),
    /// A person's `fire` is refused.
    NotFired(Asker, FireError),
    /// A pause or a resume is to be written.
    WriteSteering(Steering),
    /// The outcome of a person's pause or resume.
    Steered(Asker, Result<Changed, SteerError>),
    /// The former plan after a reload, to be freed on another thread since that takes long.
    Free(Box<Leftover>),
    /// The journal is to write its last words: the node stopped at this instant.
    Close(Timestamp),
}

/// The person who asked, by a number that the driver of the node gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Asker(pub(super) u64);

/// A person fires an entry.
#[derive(Clone, Debug)]
pub(crate) struct FireByHand {
    pub(crate) asker: Asker,
    pub(crate) entry: Arc<Entry>,
    pub(crate) wanted: Wanted,
    pub(crate) by_uid: u32,
}

/// A person pauses or resumes an entry.
#[derive(Clone, Debug)]
pub(crate) struct Steering {
    pub(crate) asker: Asker,
    pub(crate) entry: EntryName,
    pub(crate) to: PauseChange,
    pub(crate) by_uid: u32,
    pub(crate) by: String,
}

/// A person's wish for an entry: paused or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PauseChange {
    /// Its occurrences are skipped.
    Paused(Pause),
    /// Its occurrences are sent.
    Resumed,
}

/// An end in order.
#[derive(Clone, Copy, Debug)]
struct WindingUp {
    stopped_at: Timestamp,
    /// The stage ends then at the latest.
    until: Mono,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The node waits for answers and for the claim that is being written.
    Answers,
    /// The journal writes its last words.
    Journal { left: usize },
    /// The node has ended.
    Over(WoundUp),
}

/// The end of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WoundUp {
    /// Number of attempts that may have started unseen: those without an answer, and those in
    /// doubt. The journal has them as being sent, so that the next leader finds out.
    pub(super) left: usize,
    /// The journal has written all that it was given.
    pub(super) is_closed: bool,
}

impl Output {
    /// The run_now that it sends, if it does.
    fn fires(&self) -> Option<&Entry> {
        match self {
            Output::Effect(
                Effect::Send(_, Request::RunNow(entry)) | Effect::SendAfter(_, _, Request::RunNow(entry)),
            ) => Some(entry),
            _ => None,
        }
    }
}

impl Node {
    /// Returns a node that goes on where the journal ends.
    pub(crate) fn new(
        schedule: Arc<Schedule>,
        recovered: Recovered,
        reach: Reach,
        permit: SendPermit,
        seed: u64,
        now: Now,
    ) -> (Node, Vec<Output>) {
        let (core, effects) = Core::new(&schedule, recovered, seed, now);
        let mut node = Node::deciding(core.reaching(reach), schedule, permit);
        node.held = told_first(effects);
        // A watermark that cannot be written needs no action here: nothing is sent before it can be
        // written.
        let raise = Output::Raise(node.core.sent_up_to());
        (node, vec![raise])
    }

    /// Fires what is scheduled from `from` to before `until`, in a time that is made up.
    pub(crate) fn within(
        schedule: Arc<Schedule>,
        from: Timestamp,
        until: Timestamp,
        seed: u64,
        now: Now,
    ) -> Node {
        let core = Core::within(&schedule, from, until, seed, now);
        // Nobody reads the quota that virtual time has used.
        Node { quotas: QuotaSaving::off(), ..Node::deciding(core, schedule, SendPermit::default()) }
    }

    fn deciding(core: Core, schedule: Arc<Schedule>, permit: SendPermit) -> Node {
        Node {
            core,
            permit,
            schedule,
            in_force_told: false,
            quotas: QuotaSaving::default(),
            steering: BTreeSet::new(),
            held: Vec::new(),
            claiming_since: None,
            ending: None,
        }
    }

    /// Takes in one input, and returns the outputs to be performed in their order.
    pub(crate) fn handle(&mut self, input: Input, now: Now) -> Vec<Output> {
        match input {
            Input::Wake => self.wake(now),
            Input::ClaimWindow if self.ending.is_some() => Vec::new(),
            Input::ClaimWindow => self.claim_window(now),
            Input::Answers(answers) => self.answers(answers, now),
            Input::Raised(raised) => self.raised(raised, now),
            Input::Fire(fire) => vec![self.fire(fire, now)],
            Input::Steer(steering) => vec![self.steer(steering)],
            Input::Replace(prepared) => {
                self.schedule = Arc::clone(&prepared.schedule);
                self.in_force_told = false;
                let (effects, leftover) = self.core.replace(prepared, now);
                let mut decided = told_first(effects);
                decided.push(Output::Free(Box::new(leftover)));
                self.decided(decided, now)
            }
            // The journal has all that is in doubt: the next leader reads the word there.
            Input::TermsEnded(_) if self.ending.is_some() => Vec::new(),
            Input::TermsEnded(ended) => {
                let effects = self.core.terms_ended(&ended, now);
                self.decided(told_first(effects), now)
            }
            Input::Stop(within) => {
                let until = now.mono + within;
                self.ending = Some(WindingUp { stopped_at: now.wall, until, stage: Stage::Answers });
                let effects = self.core.stop();
                self.decided(told_first(effects), now)
            }
        }
    }

    /// Returns the time at which the node is to be woken at the latest.
    pub(crate) fn wakes_at(&self, now: Now) -> Mono {
        match self.ending {
            Some(ending) => ending.until,
            None if self.is_permitted(now) => self.core.wakes_at(now),
            None => now.mono + PERMIT_AGAIN,
        }
    }

    /// Returns true when the permit allows sends.
    pub(crate) fn is_permitted(&self, now: Now) -> bool {
        self.permit.holds(now)
    }

    /// The permit to send.
    pub(crate) fn permit(&self) -> &SendPermit {
        &self.permit
    }

    /// The schedule in force.
    pub(crate) fn schedule(&self) -> &Arc<Schedule> {
        &self.schedule
    }

    /// Returns the state from which the decisions are made.
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Returns the time at which the claim that is being written was handed to the journal. `None`:
    /// no claim is being written.
    pub(super) fn claiming_since(&self) -> Option<Mono> {
        self.claiming_since
    }

    /// Returns true while a person's pause or resume of the entry is being written.
    pub(crate) fn is_being_steered(&self, entry: &EntryName) -> bool {
        self.steering.contains(entry)
    }

    /// Returns true when the node was told to stop.
    #[cfg(test)]
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Returns how the node has ended. `None`: it has not ended.
    pub(crate) fn wound_up(&self) -> Option<WoundUp> {
        match self.ending?.stage {
            Stage::Over(wound_up) => Some(wound_up),
            Stage::Answers | Stage::Journal { .. } => None,
        }
    }

    /// Takes the time since the last input as time that passed: no clock jumped. Virtual time calls
    /// it before each input.
    pub(crate) fn passed(&mut self, now: Now) {
        self.core.passed(now);
    }

    /// Forgets the pauses of these entries, which are another shard's to keep up with.
    pub(super) fn leave_pauses<'a>(&mut self, entries: impl Iterator<Item = &'a EntryName>) {
        let paused = Arc::clone(self.core.paused());
        for entry in entries.filter(|entry| paused.contains_key(*entry)) {
            self.core.resume(entry);
        }
    }

    /// Another member leads: nothing is decided any more.
    pub(crate) fn steps_down(&mut self) {
        drop(self.core.stop());
    }

    /// An answer to a request of a former term. Returns the action that has started, for the log;
    /// what becomes of the rest is the new leader's to find out.
    pub(crate) fn listens(&mut self, answer: Answer, now: Now) -> Option<Event> {
        let Answer::Fired { id, sent_at, reply } = answer else { return None };
        let effects = self.core.fired(id, sent_at, reply, now);
        effects.into_iter().find_map(|effect| match effect {
            Effect::Log(event) if matches!(*event, Event::ActionStarted(_)) => Some(*event),
            _ => None,
        })
    }

    fn wake(&mut self, now: Now) -> Vec<Output> {
        if self.ending.is_some() {
            return self.wind_up(now);
        }
        // Without a permit another member may lead: nothing is decided that could be wrong by now.
        if !self.is_permitted(now) {
            self.core.watches(now);
            return Vec::new();
        }
        let mut decided = if self.core.runs_low(now) { self.claim_window(now) } else { Vec::new() };
        decided.extend(told_first(self.core.turn(now)));
        self.decided(decided, now)
    }

    /// Plans and claims what is due in the next seconds.
    fn claim_window(&mut self, now: Now) -> Vec<Output> {
        let mut outputs = Vec::new();
        let planned = self.core.planned_until();
        let claims = self.core.claim_window(now);
        // A clock that is none tells of no instant.
        if !self.in_force_told && self.core.planned_until().is_some() {
            self.in_force_told = true;
            outputs.push(Output::InForce(planned.unwrap_or(now.wall), Arc::clone(&self.schedule)));
        }
        // Whoever reads claims knows of the clock by which they are sent: it is among the quotas,
        // which are saved before the claims.
        if claims.is_some() && self.core.clock_was_set() {
            self.quotas.changes();
        }
        if claims.as_ref().is_some_and(|claims| claims.repeat.is_some()) {
            outputs.push(Output::JournalGoesBack(now.wall));
        }
        if self.quotas.is_due() {
            outputs.extend(self.save_quotas(now));
        }
        if let Some(claims) = claims {
            self.claiming_since = Some(now.mono);
            outputs.push(Output::Claim(claims));
        }
        outputs.push(Output::Swept(now.wall));
        outputs
    }

    fn save_quotas(&mut self, now: Now) -> impl Iterator<Item = Output> {
        self.quotas.saves(now);
        self.saved_quotas()
    }

    fn saved_quotas(&self) -> impl Iterator<Item = Output> {
        self.core.quotas().map(|(account, saved)| Output::SaveQuota(account, Box::new(saved)))
    }

    /// Holds outputs that fire until the send watermark is raised.
    fn decided(&mut self, decided: Vec<Output>, now: Now) -> Vec<Output> {
        let mut fires = decided.iter().filter_map(Output::fires).peekable();
        if fires.peek().is_none() {
            return decided;
        }
        let on_edge = fires.any(|entry| self.core.is_on_quotas_edge(&entry.account.name));
        let mut first = Vec::new();
        if on_edge && self.quotas.is_due_ahead(now) {
            first.extend(self.saved_quotas());
            first.push(Output::WriteNow);
        }
        first.push(Output::Raise(self.core.sent_up_to()));
        self.held = decided;
        first
    }

    /// Lets go what was held. A run_now leaves only where a later process will know of it, and
    /// where the permit covers its own due instant: requests of a former leader whose clock was
    /// ahead keep nothing from going.
    fn raised(&mut self, raised: Result<(), String>, now: Now) -> Vec<Output> {
        let held = std::mem::take(&mut self.held);
        let checked = held.into_iter().map(|output| match output {
            Output::Effect(Effect::Send(id, request)) => match self.may_leave(id, &raised, now) {
                Ok(()) => Output::Effect(Effect::Send(id, request)),
                Err(why) => Output::HoldBack(id, request, why),
            },
            Output::Effect(Effect::SendAfter(written, id, request)) => {
                match self.may_leave(id, &raised, now) {
                    Ok(()) => Output::Effect(Effect::SendAfter(written, id, request)),
                    Err(why) => Output::HoldBack(id, request, why),
                }
            }
            other => other,
        });
        checked.collect()
    }

    /// Returns the reason where a request may not leave. A question changes nothing, so that it
    /// always may.
    fn may_leave(&self, id: RequestId, raised: &Result<(), String>, now: Now) -> Result<(), String> {
        match self.core.due_of(id) {
            Some(due_at) if !self.permit.covers(due_at, now) => Err(NO_PERMIT.to_owned()),
            Some(_) => match raised {
                Ok(()) => Ok(()),
                Err(error) => Err(format!("the state directory cannot be written: {error}")),
            },
            None => Ok(()),
        }
    }

    fn answers(&mut self, answers: Vec<Answer>, now: Now) -> Vec<Output> {
        let (mut decided, mut effects) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Answer::ClaimedByHand { fire, claim, written } => {
                    decided.extend(told_first(std::mem::take(&mut effects)));
                    self.claimed_by_hand(fire, *claim, written, now, &mut decided);
                }
                Answer::Steered { steering, written } => {
                    decided.extend(told_first(std::mem::take(&mut effects)));
                    self.steered(steering, written, now, &mut decided);
                }
                Answer::Claimed { cursor, known } => {
                    self.claiming_since = None;
                    match known {
                        Some(known) => {
                            decided.push(Output::JournalReaches(cursor));
                            effects.extend(self.core.claimed(cursor, &known, now));
                        }
                        None => self.core.unclaimed(now),
                    }
                }
                Answer::Closed { is_closed } => self.closed(is_closed),
                other => effects.extend(self.replied(other, now)),
            }
        }
        decided.extend(told_first(effects));
        let spent = decided.iter().any(|output| {
            matches!(output, Output::Effect(Effect::Log(event)) if matches!(**event, Event::QuotaExhausted(_)))
        });
        let mut outputs = self.decided(decided, now);
        let after = if self.held.is_empty() { &mut outputs } else { &mut self.held };
        if self.quotas.is_due_after_answers(spent, now) {
            self.quotas.saves(now);
            let saved = self.core.quotas();
            after.extend(saved.map(|(account, saved)| Output::SaveQuota(account, Box::new(saved))));
        }
        if spent {
            after.push(Output::WriteNow);
        }
        outputs
    }

    /// The API or the journal has answered.
    fn replied(&mut self, answer: Answer, now: Now) -> Vec<Effect> {
        if !matches!(answer, Answer::Recalled { .. }) {
            self.quotas.changes();
        }
        match answer {
            Answer::Fired { id, sent_at, reply } => self.core.fired(id, sent_at, reply, now),
            Answer::Followed { id, reply } => self.core.followed(id, reply, now),
            Answer::Listed { id, reply } => self.core.listed(id, reply, now),
            Answer::Looked { id, reply } => self.core.looked(id, reply, now),
            Answer::Recorded { id, reply } => self.core.recorded(id, reply, now),
            Answer::Recalled { account, stack, known } => self.core.recalled(account, stack, known, now),
            Answer::Claimed { .. }
            | Answer::ClaimedByHand { .. }
            | Answer::Steered { .. }
            | Answer::Closed { .. } => Vec::new(),
        }
    }

    fn fire(&mut self, fire: FireByHand, now: Now) -> Output {
        let claimed = match &fire.wanted {
            Wanted::Now { args, at, .. } => self.claim_now(&fire.entry, args.clone(), *at, now),
            Wanted::Backfill { at, pass } => self.claim_backfill(&fire.entry, *at, *pass, now),
        };
        match claimed {
            Ok(claim) => Output::ClaimByHand { claim: Box::new(claim), fire },
            Err(error) => Output::NotFired(fire.asker, error),
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

    fn claimed_by_hand(
        &mut self,
        fire: FireByHand,
        claim: Claim,
        written: Result<Claimed, JournalError>,
        now: Now,
        decided: &mut Vec<Output>,
    ) {
        let is_known = match written {
            Err(error) => {
                self.core.unclaimed_by_hand(now);
                return decided.push(Output::NotFired(fire.asker, FireError::Journal(error)));
            }
            Ok(Claimed { known }) => !known.is_empty(),
        };
        if is_known {
            self.core.known_by_hand();
            let error = match fire.wanted {
                // The clock has shown this instant before.
                Wanted::Now { at: None, .. } => return decided.push(self.fire(fire, now)),
                // The question was asked before: its claim was written, though its answer was lost.
                Wanted::Now { at: Some(_), .. } => FireError::ClaimedBefore(claim.key),
                Wanted::Backfill { .. } => FireError::Known(claim.key),
            };
            return decided.push(Output::NotFired(fire.asker, error));
        }
        decided.push(Output::Fired(fire.asker, claim.key.clone()));
        let (entry, scheduled_at, by_uid) = (fire.entry.name.clone(), claim.key.scheduled_at(), fire.by_uid);
        let (event, haste): (Event, Haste) = match fire.wanted {
            Wanted::Now { haste, .. } => (EntryFired { entry, scheduled_at, by_uid }.into(), haste),
            Wanted::Backfill { pass, .. } => {
                let pass = pass.into();
                (OccurrenceBackfilled { entry, scheduled_at, pass, by_uid }.into(), Haste::Usual)
            }
        };
        decided.push(Output::Effect(Effect::Log(Box::new(event))));
        let entry = self.schedule.entries.iter().find(|entry| entry.name == fire.entry.name);
        let effects = self.core.claimed_by_hand(claim, entry, haste, now);
        decided.extend(told_first(effects));
    }

    fn steer(&mut self, steering: Steering) -> Output {
        let is_so = match (&steering.to, self.core.paused().get(&steering.entry)) {
            (PauseChange::Paused(pause), Some(was)) => pause.asks_for_the_same_as(was),
            (PauseChange::Resumed, None) => true,
            (PauseChange::Paused(_), None) | (PauseChange::Resumed, Some(_)) => false,
        };
        if self.steering.contains(&steering.entry) {
            return Output::Steered(steering.asker, Err(SteerError::Busy));
        }
        if is_so {
            return Output::Steered(steering.asker, Ok(Changed::No));
        }
        self.steering.insert(steering.entry.clone());
        Output::WriteSteering(steering)
    }

    fn steered(
        &mut self,
        steering: Steering,
        written: Result<(), JournalError>,
        now: Now,
        decided: &mut Vec<Output>,
    ) {
        let Steering { asker, entry, to, by_uid, by } = steering;
        self.steering.remove(&entry);
        if let Err(error) = written {
            return decided.push(Output::Steered(asker, Err(SteerError::Journal(error))));
        }
        match to {
            PauseChange::Paused(pause) => {
                let (until, note) = (pause.until, pause.note.clone());
                let paused = EntryPaused { entry: entry.clone(), by_uid, by, until, note };
                decided.push(Output::Effect(Effect::Log(Box::new(paused.into()))));
                decided.extend(told_first(self.core.pause(&entry, pause, now)));
            }
            PauseChange::Resumed => {
                self.core.resume(&entry);
                let resumed = EntryResumed { entry, by_uid, by };
                decided.push(Output::Effect(Effect::Log(Box::new(resumed.into()))));
            }
        }
        decided.push(Output::Steered(asker, Ok(Changed::Yes)));
    }

    /// Goes on to the next stage of an orderly end.
    fn wind_up(&mut self, now: Now) -> Vec<Output> {
        let Some(ending) = self.ending else { return Vec::new() };
        let is_late = now.mono >= ending.until;
        match ending.stage {
            Stage::Answers if is_late || !(self.core.fires_in_flight() > 0 || self.core.is_claiming()) => {
                let left = self.core.fires_in_flight() + self.core.in_doubt();
                let (until, stage) = (now.mono + CLOSE, Stage::Journal { left });
                self.ending = Some(WindingUp { until, stage, ..ending });
                // Occurrences whose claim has just been written wait, and were not sent.
                let mut decided = told_first(self.core.stop());
                decided.extend(self.saved_quotas());
                decided.push(Output::Close(ending.stopped_at));
                self.decided(decided, now)
            }
            // A journal that cannot be written was told of, and what is in it says enough.
            Stage::Journal { .. } if is_late => {
                self.closed(false);
                Vec::new()
            }
            Stage::Answers | Stage::Journal { .. } | Stage::Over(_) => Vec::new(),
        }
    }

    fn closed(&mut self, is_closed: bool) {
        if let Some(WindingUp { stage, .. }) = &mut self.ending
            && let Stage::Journal { left } = *stage
        {
            *stage = Stage::Over(WoundUp { left, is_closed });
        }
    }
}

/// Why a run_now does not leave that the lease does not cover.
pub(super) const NO_PERMIT: &str = "the lease of the journal has not been renewed in time";

/// An end is told before it is written: a crash between the two has it told again, and not
/// concealed.
fn told_first(mut effects: Vec<Effect>) -> Vec<Output> {
    effects.sort_by_key(|effect| !matches!(effect, Effect::Log(_)));
    effects.into_iter().map(Output::Effect).collect()
}

/// Returns true when the instant can name an occurrence by hand: it is near, and no whole second.
/// Whole seconds belong to the schedule.
fn is_instant_of_a_person(at: Timestamp, now: Now) -> bool {
    let microseconds = at.subsec_nanosecond() % 1_000 == 0 && at.subsec_nanosecond() != 0;
    let ahead = at.duration_since(now.wall);
    microseconds && ahead >= -REPEATED_WITHIN && ahead <= SignedDuration::from_secs(1)
}
