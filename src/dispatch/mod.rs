//! What is sent next, what waits, and what is given up: the decisions of the daemon, without a
//! clock or a socket.
//!
//! An occurrence is planned ahead of its due instant, becomes ready at it, is sent when its
//! account's quota admits it, and ends in exactly one final state. Each call takes `now` and
//! returns effects, to be performed in order.

mod by_hand;
mod in_doubt;
mod follow;
mod holding;
mod linked_key;
mod links;
mod listing;
mod policies;
mod account_queue;
mod recovery;
mod reload;
mod replies;
mod retry;
mod stack_state;
mod standing;
mod trouble;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Mono, Now};
use crate::cloud66::{ActionId, Obstacle};
use crate::journal::{Cause, Claim, Handover, Key, Origin, Pause, Repetition, Resent, Transition};
use crate::log::Event;
use crate::occurrence::Reason;
use crate::quota::{Purpose, Refusal, Ticket};
use crate::schedule::{Account, AccountName, Entry, EntryName, JobUid, StackUid};
use crate::timetable::Occurrence;

use account_queue::{AccountQueue, Rank};
pub(crate) use by_hand::{Haste, Hindrance, as_sent};
use follow::{Following, Question};
use holding::Turn;
pub(crate) use links::Links;
use stack_state::Subject;
#[cfg(test)]
pub(crate) use standing::Sent;
pub(crate) use standing::{Gauges, Refused, Standing, Waiting, Waits, unknown_standings};

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Perform the request and report its reply under this number.
    Send(RequestId, Request),
    /// The same, once the move is on disk: the journal has it that the occurrence was not sent.
    SendAfter(Box<(Key, Transition)>, RequestId, Request),
    /// Write down what became of an occurrence.
    Record(Key, Transition),
    /// Write down how an occurrence ends, together with what is claimed by that end. What is
    /// claimed leaves by [`Effect::SendAfter`], so that the journal has this first.
    End(Box<Handover>),
    /// Write down what a reload made of an occurrence that is claimed: another due instant,
    /// deadline, account or job. The occurrence leaves by [`Effect::SendAfter`] from then on, so
    /// that the journal has this first.
    Amend(Box<Claim>),
    /// Write down what is known of an occurrence that is sent again.
    Resent(Box<Resent>),
    /// Ask the journal for the actions that it knows of a stack, of occurrences scheduled since
    /// then, and report them for this account. What is to be recorded before is among them, and so
    /// are those of the listed actions that are of occurrences scheduled before.
    Recall(AccountName, StackUid, Timestamp, Vec<ActionId>),
    /// Open so many connections to an account's API, for what is due within the second that begins
    /// at this instant.
    Warm(AccountName, Timestamp, usize),
    /// Write down that an entry's pause has come to its end.
    PauseEnds(EntryName),
    /// Tell the operator.
    Log(Box<Event>),
}

/// One request in flight, in the order of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// A request to the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Run the entry's job now.
    RunNow(Arc<Entry>),
    /// Ask for an action of a stack.
    Action(AccountName, StackUid, ActionId),
    /// Ask for a page of a stack's actions.
    Actions {
        /// By whose token.
        account: AccountName,
        /// Of which stack.
        stack: StackUid,
        /// From 1.
        page: u32,
        /// What for.
        purpose: Purpose,
    },
    /// Ask how a stack is, or one of its jobs.
    Look {
        /// By whose token.
        account: AccountName,
        /// Which stack.
        stack: StackUid,
        /// Which of its jobs. `None`: the stack itself.
        job: Option<JobUid>,
    },
    /// Ask for the record of a job.
    JobRecord(AccountName, StackUid, JobUid),
}

/// The state of all that is planned, waits, or is under way.
pub struct Dispatch {
    lanes: BTreeMap<AccountName, AccountQueue>,
    pending: HashMap<Id, Pending>,
    /// Planned and not due yet, by the instant of sending.
    future: BTreeSet<(Timestamp, Id)>,
    /// Due and not sent, by the instant at which it is missed.
    deadlines: BTreeSet<(Timestamp, Id)>,
    /// What waits for the quota and is still on time, by the instant from which it has waited.
    on_time_until: BTreeSet<(Timestamp, Id)>,
    /// The entries of which something is due, under way or unfinished.
    activity: HashMap<EntryName, Activity>,
    requests: HashMap<RequestId, InFlight>,
    last: u64,
    backoff: retry::Backoff,
    stopping: bool,
    doubts: in_doubt::Doubts,
    /// Results of the looks at stacks and jobs.
    looks: stack_state::Looks,
    /// The longest that an occurrence may wait before it is sent.
    longest_wait: Duration,
    /// What is planned and not settled. An occurrence that is planned again is the same one.
    known: HashSet<Key>,
    /// Which entries are run again, and which come after which.
    links: Links,
    /// The journal is an older copy of itself: what came after an occurrence that is scheduled
    /// before this instant may have been sent, and the copy does not know.
    older_until: Option<Timestamp>,
    /// Occurrences that repeat a run, by the name of the entry.
    repetitions: HashMap<EntryName, BTreeSet<Id>>,
    /// Entries that somebody paused, besides those that the schedule has paused.
    paused: Arc<BTreeMap<EntryName, Pause>>,
    /// When the first of these pauses ends. `None`: none of them has an end.
    first_pause_ends: Option<Timestamp>,
    /// The latest due instant of what was sent.
    sent_up_to: Timestamp,
    /// Instants that a correction of the clock has skipped: later than the first, earlier than the
    /// second.
    left_out: Option<(Timestamp, Timestamp)>,
    /// The latest the wall clock has ever shown. What was scheduled up to it has come due.
    reached: Timestamp,
}

/// An occurrence on its way, in the order of planning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Id(u64);

#[derive(Debug)]
struct Pending {
    entry: Arc<Entry>,
    scheduled_at: Timestamp,
    /// Which time through that instant, after the clock was set back. 0: the first.
    pass: u32,
    due_at: Timestamp,
    deadline: Timestamp,
    origin: Origin,
    haste: Haste,
    /// Its turn came 5 s or more after its due instant, or it is tried again: a newer one of its
    /// entry supersedes it with `catch_up: latest`.
    waited: bool,
    /// It is tried again because the API was out of reach, or its own policies held it: it goes on
    /// until its deadline with `catch_up: none` too.
    goes_on: bool,
    history: History,
    place: Place,
    /// What a reload made of the entry while the occurrence was in flight.
    reloaded: Option<Reloaded>,
}

/// What is to be taken over.
struct Planned {
    entry: Arc<Entry>,
    scheduled_at: Timestamp,
    pass: u32,
    due_at: Timestamp,
    deadline: Timestamp,
    origin: Origin,
    haste: Haste,
}

/// What was tried so far.
#[derive(Clone, Debug, Default)]
struct History {
    attempts: u32,
    /// The journal has it that the occurrence waits, so that no attempt is under way.
    written: bool,
    /// A former process tried it again, or its policies held it: see `Pending::goes_on`.
    goes_on: bool,
    /// A reload changed what is claimed. A process that comes after a crash could not tell by the
    /// watermark whether it was sent: it is written as being sent before it leaves.
    amended: bool,
    /// Why an attempt may have taken effect. Only of an idempotent entry; whatever becomes of
    /// further attempts, it cannot be said that it was not sent.
    doubt: Option<Doubtful>,
    /// A second action of the occurrence began then at the earliest: an attempt was taken to have
    /// had no effect, or may have had one. The stack's list is read once more when a further
    /// attempt has started an action. `None`: there was no such attempt.
    surplus_from: Option<Timestamp>,
    /// The reloads that its account had seen when it was last sent.
    token: Option<u32>,
    /// What `stack_state: hold` last held it for, since it was last sent. While it is there, no
    /// newer one supersedes it.
    obstacle: Option<Obstacle>,
    /// How the last attempt failed.
    error: Option<String>,
}

/// An attempt that may have taken effect, the first of its occurrence.
#[derive(Clone, Debug)]
struct Doubtful {
    error: String,
    /// When it left, or the earliest that it can have left.
    sent_at: Timestamp,
}

/// What a reload makes of an entry.
#[derive(Clone, Debug)]
enum Reloaded {
    Changed(Arc<Entry>),
    Removed,
}

/// Where an occurrence is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Not due yet.
    Future,
    /// In its lane's queue.
    Ready,
    /// Between two attempts.
    Retry(Mono),
    /// Held by `overlap: queue`.
    Held,
    /// Kept back by `stack_state`, until its stack and its job are known or an obstacle is over.
    Stack,
    /// In flight.
    Sending,
    /// In doubt.
    Doubt,
}

impl Pending {
    /// Whether a person asked for it, so that what the schedule may or may not do says nothing of
    /// it.
    fn is_by_hand(&self) -> bool {
        self.origin.is_by_hand()
    }

    /// Writes down that it waits. `None` when an attempt is in doubt: what waits was not sent.
    fn record_waiting(&mut self, reason: Reason) -> Option<Effect> {
        if self.history.doubt.is_some() {
            self.history.written = false;
            return None;
        }
        self.history.written = true;
        let attempts = self.history.attempts;
        let reason = Cause { error: self.history.error.clone(), ..reason.into() };
        Some(Effect::Record(self.key(), Transition::Waiting { attempts, reason }))
    }

    fn key(&self) -> Key {
        Key::new(self.entry.name.clone(), self.scheduled_at).in_pass(self.pass)
    }

    /// What is to be in the journal of it.
    fn claim(&self) -> Claim {
        Claim {
            key: self.key(),
            account: self.entry.account.name.clone(),
            stack: self.entry.stack.clone(),
            job: self.entry.job.clone(),
            due_at: self.due_at,
            deadline: self.deadline,
            origin: self.origin.clone(),
            repetition: Repetition::default(),
        }
    }

    /// Has the journal know what is other than in `claimed`. `None` when nothing is, and when an
    /// attempt is in doubt: its action is looked for where it was sent.
    fn amend(&mut self, claimed: &Claim) -> Option<Effect> {
        let claim = self.claim();
        if claim == *claimed || self.history.doubt.is_some() {
            return None;
        }
        self.history.amended = true;
        Some(Effect::Amend(Box::new(claim)))
    }

    /// From then on it has waited, should its turn not have come.
    fn waits_from(&self) -> Timestamp {
        self.due_at.checked_add(policies::WAITED).unwrap_or(Timestamp::MAX)
    }

    fn rank(&self, id: Id) -> Rank {
        (Reverse(self.entry.priority), self.scheduled_at, id)
    }
}

#[derive(Debug, Default)]
struct Activity {
    /// Ready or between two attempts.
    waiting: BTreeSet<Id>,
    /// Held by `overlap: queue` until the last action has finished.
    held: Option<Id>,
    /// Kept back by `stack_state`.
    by_stack: BTreeSet<Id>,
    sending: u32,
    in_doubt: u32,
    /// The newest scheduled occurrence that was sent since something of the entry is under way.
    newest_sent: Option<Timestamp>,
    unfinished: BTreeSet<ActionId>,
}

impl Activity {
    fn busy(&self) -> bool {
        self.sending > 0 || self.in_doubt > 0 || !self.unfinished.is_empty()
    }

    fn over(&self) -> bool {
        !self.busy() && self.waiting.is_empty() && self.held.is_none() && self.by_stack.is_empty()
    }
}

enum InFlight {
    /// And when it left.
    Fire(Ticket, Id, Now),
    Follow(Ticket, Following),
    /// A question for a page of a stack's actions, where these should be.
    FollowPage(Ticket, AccountName, u32, Vec<Following>),
    /// A question for the actions of a stack.
    ActionLookup(Ticket, AccountName, StackUid),
    /// A look at a stack or a job.
    Look(Ticket, Subject),
    /// A question for a job's record: about attempts in doubt, or to learn from a run.
    JobRecord(Ticket, AccountName, StackUid, JobUid, Option<in_doubt::Lesson>),
}

impl Dispatch {
    /// Nothing planned yet. The seed decides the jitter of retries.
    pub fn new(accounts: &[Arc<Account>], seed: u64, now: Now) -> Dispatch {
        Dispatch {
            lanes: accounts
                .iter()
                .map(|account| (account.name.clone(), AccountQueue::new(account, now)))
                .collect(),
            pending: HashMap::new(),
            future: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            on_time_until: BTreeSet::new(),
            activity: HashMap::new(),
            requests: HashMap::new(),
            last: 0,
            backoff: retry::Backoff::new(seed),
            stopping: false,
            doubts: in_doubt::Doubts::default(),
            looks: stack_state::Looks::default(),
            longest_wait: in_doubt::LONGEST_WAIT,
            known: HashSet::new(),
            links: Links::default(),
            older_until: None,
            repetitions: HashMap::new(),
            paused: Arc::default(),
            first_pause_ends: None,
            sent_up_to: Timestamp::UNIX_EPOCH,
            left_out: None,
            reached: now.wall,
        }
    }

    /// Returns this dispatch with the links between its entries.
    pub(crate) fn linked(self, links: Links) -> Dispatch {
        Dispatch { links, ..self }
    }

    /// Knows from now on which entries are run again, and which come after which.
    pub(crate) fn relink(&mut self, links: Links) {
        self.links = links;
    }

    /// Takes over occurrences. Each ends in a final state. What is due already is judged at once,
    /// so that of a long absence only what is to be sent is kept.
    pub fn plan(&mut self, occurrences: impl IntoIterator<Item = Occurrence>, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut planned: BTreeMap<(AccountName, i64), usize> = BTreeMap::new();
        for Occurrence { entry, scheduled_at, pass } in occurrences {
            let account = entry.account.name.clone();
            let (due_at, deadline) = entry.times(scheduled_at);
            let origin = Origin::Schedule;
            let (entry, haste) = (by_hand::as_sent(&entry, &origin, scheduled_at), Haste::Usual);
            let occurrence = Planned { entry, scheduled_at, pass, due_at, deadline, origin, haste };
            if self.enter(occurrence, History::default(), now, &mut effects).is_some() {
                *planned.entry((account, due_at.as_second())).or_default() += 1;
            }
        }
        let ahead = planned.into_iter().filter_map(|((account, second), count)| {
            let due = Timestamp::from_second(second).ok()?;
            Some(Effect::Warm(account, due, count.min(account_queue::MOST_WARM)))
        });
        effects.extend(ahead);
        effects
    }

    /// `None` for an occurrence that is known already.
    fn enter(
        &mut self,
        Planned { entry, scheduled_at, pass, due_at, deadline, origin, haste }: Planned,
        history: History,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Id> {
        if !self.known.insert(Key::new(entry.name.clone(), scheduled_at).in_pass(pass)) {
            return None;
        }
        let id = Id(self.number());
        // What comes after an end, or is made up for, is due long after its instant.
        let after = Duration::try_from(due_at.duration_since(scheduled_at)).unwrap_or_default();
        self.longest_wait =
            self.longest_wait.max(entry.start_deadline.saturating_add(entry.jitter.max(after)));
        // A clock that was set back meanwhile makes nobody wait who asked for it now.
        let due = due_at < now.wall || origin.is_by_hand();
        if matches!(origin, Origin::Retry(_)) {
            self.repetitions.entry(entry.name.clone()).or_default().insert(id);
        }
        let pending = Pending {
            entry,
            scheduled_at,
            pass,
            due_at,
            deadline,
            origin,
            haste,
            waited: false,
            goes_on: history.goes_on,
            history,
            place: Place::Future,
            reloaded: None,
        };
        self.pending.insert(id, pending);
        if due {
            self.comes_due(id, now, effects);
        } else {
            self.future.insert((due_at, id));
            self.plans_look(id);
        }
        Some(id)
    }

    /// Lets time pass: what is due becomes ready, what is past its deadline is given up, what may
    /// be sent is sent.
    pub fn advance(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.stopping {
            return effects;
        }
        self.reached = self.reached.max(now.wall);
        while let Some(&(due_at, id)) = self.future.first()
            && due_at <= now.wall
        {
            self.future.pop_first();
            self.comes_due(id, now, &mut effects);
        }
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now.wall
        {
            self.miss(id, self.late_for(id), now, &mut effects);
        }
        while let Some(&(waits_from, id)) = self.on_time_until.first()
            && waits_from <= now.wall
        {
            self.on_time_until.pop_first();
            self.has_waited_for_quota(id, now, &mut effects);
        }
        self.lose_patience(now, &mut effects);
        self.look_around(now, &mut effects);
        let names: Vec<AccountName> = self.lanes.keys().cloned().collect();
        for name in names {
            self.serve(&name, now, &mut effects);
        }
        effects
    }

    /// From now on nothing is sent. What is in flight is still reported.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether nothing is planned, under way or followed.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.requests.is_empty()
            && self.lanes.values().all(|lane| lane.follow.next_at().is_none())
    }

    /// The clock was corrected, and has shown nothing between two instants: what is scheduled there
    /// is not sent.
    pub(crate) fn leaves_out(&mut self, from: Timestamp, until: Timestamp) {
        self.left_out = Some((from, until));
    }

    /// The clock was set back: from now on it shows these instants again, so that an earlier one
    /// that comes is the newer.
    pub(crate) fn goes_back(&mut self, now: Now) {
        self.reached = now.wall;
        self.left_out = None;
        self.activity.values_mut().for_each(|activity| activity.newest_sent = None);
    }

    /// Nothing that is due later was sent.
    pub fn sent_up_to(&self) -> Timestamp {
        self.sent_up_to
    }

    /// When the occurrence is due that a run_now is of. `None`: a question, or a request that has
    /// ended.
    pub(crate) fn due_of(&self, request: RequestId) -> Option<Timestamp> {
        match self.requests.get(&request)? {
            InFlight::Fire(_, id, _) => self.pending.get(id).map(|pending| pending.due_at),
            InFlight::Follow(..)
            | InFlight::FollowPage(..)
            | InFlight::ActionLookup(..)
            | InFlight::JobRecord(..)
            | InFlight::Look(..) => None,
        }
    }

    /// How each account stands.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = (&AccountName, Gauges)> {
        self.lanes.iter().map(|(account, lane)| (account, lane.gauges()))
    }

    /// Whether what an account has in flight takes the last of its quota, or goes to learn what is
    /// left.
    pub(crate) fn is_on_quotas_edge(&self, account: &AccountName) -> bool {
        self.lanes.get(account).is_some_and(|lane| lane.quota.is_on_edge())
    }

    /// Whether the schedule or somebody has paused what is due of the entry at an instant.
    pub(crate) fn is_paused(&self, entry: &Entry, due_at: Timestamp) -> bool {
        entry.paused || self.paused.get(&entry.name).is_some_and(|pause| pause.keeps_back(due_at))
    }

    /// How many occurrences are due and not sent.
    pub(crate) fn number_waiting(&self) -> usize {
        self.deadlines.len()
    }

    /// The run_now requests that wait for their answer.
    pub fn fires_in_flight(&self) -> usize {
        self.requests.values().filter(|request| matches!(request, InFlight::Fire(..))).count()
    }

    /// When `advance` has something to do at the latest, if nobody sets the clock and no reply
    /// comes.
    pub fn wakes_at(&self, now: Now) -> Option<Mono> {
        if self.stopping {
            return None;
        }
        let wall = [self.future.first(), self.deadlines.first(), self.on_time_until.first()];
        let wall = wall.into_iter().flatten().map(|&(at, _)| at).chain(self.looks.ahead_at());
        let wall = wall.map(|at| now.mono + now.until(at));
        let lanes =
            self.lanes.iter().filter_map(|(name, lane)| lane.wakes_at(self.doubts.next_at(name), now));
        wall.chain(lanes).chain(self.doubts.patience_ends()).chain(self.looks.wakes_at()).min()
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The occurrence may be sent as soon as its turn comes.
    fn make_ready(&mut self, id: Id) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let was = std::mem::replace(&mut pending.place, Place::Ready);
        let subjects = pending.subjects();
        self.deadlines.insert((pending.deadline, id));
        let activity = self.activity.entry(pending.entry.name.clone()).or_default();
        activity.waiting.insert(id);
        activity.by_stack.remove(&id);
        self.looks.let_go(id, &subjects);
        if let Some(lane) = self.lanes.get_mut(&pending.entry.account.name) {
            lane.take_out(was, pending.rank(id));
            lane.put_in(pending.place, pending.rank(id));
        }
    }

    /// Sends what an account's quota admits: fires first, in the order of the queue, then
    /// follow-up.
    fn serve(&mut self, account: &AccountName, now: Now, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(account) else {
            return;
        };
        for (.., id) in lane.pass_time(now, effects) {
            self.make_ready(id);
        }
        if self.doubts.is_overdue(account, now) {
            self.inquire(account, now, effects);
        }
        self.look_postponed(account, now, effects);
        let refusal = loop {
            let Some(lane) = self.lanes.get_mut(account) else {
                return;
            };
            let Some(id) = lane.first_ready() else {
                break None;
            };
            if self.held_back(id, now, effects) {
                continue;
            }
            let unseen = match self.takes_its_turn(id, now, effects) {
                Turn::Goes => None,
                Turn::Stays => continue,
                Turn::GoesUnseen(subjects, error) => Some((subjects, error)),
            };
            match self.lanes.get_mut(account).map(|lane| lane.admit(Purpose::Fire, now)) {
                Some(Ok(ticket)) => {
                    if let Some((subjects, error)) = unseen {
                        self.goes_unseen(subjects, &error, now, effects);
                    }
                    self.send(id, ticket, now, effects);
                }
                Some(Err(refusal)) => break Some(refusal),
                None => return,
            }
        };
        match refusal {
            Some(Refusal::Until(until)) => self.tell_waiting(account, until.wall, now, effects),
            Some(Refusal::InFlight) => {}
            None => {
                self.inquire(account, now, effects);
                self.follow_up(account, now, effects);
            }
        }
    }

    fn send(&mut self, id: Id, ticket: Ticket, now: Now, effects: &mut Vec<Effect>) {
        let request = RequestId(self.number());
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        pending.history.attempts += 1;
        pending.history.obstacle = None;
        pending.history.token = self.lanes.get(&pending.entry.account.name).map(|lane| lane.reloads);
        self.deadlines.remove(&(pending.deadline, id));
        self.on_time_until.remove(&(pending.waits_from(), id));
        let activity = self.activity.entry(pending.entry.name.clone()).or_default();
        activity.waiting.remove(&id);
        activity.sending += 1;
        if !pending.is_by_hand() {
            activity.newest_sent = activity.newest_sent.max(Some(pending.first()));
        }
        if let Some(lane) = self.lanes.get_mut(&pending.entry.account.name) {
            lane.take_out(pending.place, pending.rank(id));
            lane.leaves();
        }
        pending.place = Place::Sending;
        self.sent_up_to = self.sent_up_to.max(pending.due_at);
        let run_now = Request::RunNow(Arc::clone(&pending.entry));
        // After a crash it is looked for from the first attempt on that may have taken effect.
        let sent_at = pending.history.doubt.as_ref().map_or(now.wall, |doubt| doubt.sent_at);
        let sending = Transition::Sending { attempts: pending.history.attempts, sent_at };
        if pending.history.written || pending.history.amended || pending.origin.is_linked() {
            effects.push(Effect::SendAfter(Box::new((pending.key(), sending)), request, run_now));
        } else {
            // A claim that is due may have been sent, with or without this.
            effects.push(Effect::Send(request, run_now));
            effects.push(Effect::Record(pending.key(), sending));
        }
        self.requests.insert(request, InFlight::Fire(ticket, id, now));
    }

    fn follow_up(&mut self, account: &AccountName, now: Now, effects: &mut Vec<Effect>) {
        loop {
            let request = RequestId(self.number());
            let Some(lane) = self.lanes.get_mut(account).filter(|lane| lane.follow.due(now)) else {
                return;
            };
            let Ok(ticket) = lane.admit(Purpose::FollowUp, now) else {
                return;
            };
            let Some(question) = lane.follow.take(now) else {
                return;
            };
            lane.leaves();
            let account = account.clone();
            let (question, in_flight) = match question {
                Question::One(following) => {
                    let stack = following.entry.stack.clone();
                    let question = Request::Action(account, stack, following.action);
                    (question, InFlight::Follow(ticket, following))
                }
                Question::Page(stack, page, sought) => {
                    let in_flight = InFlight::FollowPage(ticket, account.clone(), page, sought);
                    (Request::Actions { account, stack, page, purpose: Purpose::FollowUp }, in_flight)
                }
            };
            effects.push(Effect::Send(request, question));
            self.requests.insert(request, in_flight);
        }
    }

    /// Takes an occurrence that has reached a final state out of every queue.
    fn forget(&mut self, id: Id) {
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        self.known.remove(&pending.key());
        if let Some(repetitions) = self.repetitions.get_mut(&pending.entry.name) {
            repetitions.remove(&id);
            if repetitions.is_empty() {
                self.repetitions.remove(&pending.entry.name);
            }
        }
        self.future.remove(&(pending.due_at, id));
        self.looks.withdraw(pending.due_at, id);
        self.looks.let_go(id, &pending.subjects());
        self.deadlines.remove(&(pending.deadline, id));
        self.on_time_until.remove(&(pending.waits_from(), id));
        if let Some(lane) = self.lanes.get_mut(&pending.entry.account.name) {
            lane.take_out(pending.place, pending.rank(id));
        }
        if let Some(activity) = self.activity.get_mut(&pending.entry.name) {
            activity.waiting.remove(&id);
            activity.by_stack.remove(&id);
            activity.held.take_if(|held| *held == id);
            if activity.over() {
                self.activity.remove(&pending.entry.name);
            }
        }
    }
}

fn log(event: impl Into<Event>) -> Effect {
    Effect::Log(Box::new(event.into()))
}

/// Whole milliseconds of a span.
fn ms(span: SignedDuration) -> i64 {
    span.as_millis().try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
