//! The decisions of the daemon, without a clock or a socket: which occurrence is sent next, which
//! waits, and which is given up.
//!
//! An occurrence is planned ahead of its due instant, becomes ready at it, is sent when its
//! account's quota admits it, and ends in exactly one final state. Each call takes `now` and
//! returns effects, to be performed in order.

mod access;
mod admission;
mod by_hand;
mod effect;
mod follow;
mod follow_up;
mod holding;
mod in_doubt;
#[cfg(test)]
mod invariants;
mod linked_key;
mod links;
mod listing;
mod occurrences;
mod policies;
mod quotas;
mod recovery;
mod reload;
mod replies;
mod retry;
mod seen_clocks;
mod sending;
mod stack_state;
mod standing;
mod trouble;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Mono, Now};
use crate::journal::{Origin, Pause};
use crate::schedule::{Account, AccountName, Entry, EntryName};
use crate::timetable::Occurrence;

use access::{AccountAccess, whose};
pub(crate) use by_hand::Hindrance;
pub use effect::{Effect, Request, RequestId};
use effect::{log, ms};
pub(crate) use links::Links;
pub use occurrences::Haste;
pub(crate) use occurrences::as_sent;
use occurrences::{Doubtful, History, Id, Occurrences, Pending, PendingPlace, Planned, Reloaded};
use quotas::Quotas;
use seen_clocks::SeenClocks;
use sending::InFlight;
#[cfg(test)]
pub(crate) use standing::Sent;
pub(crate) use standing::{
    AccountStanding, FinalRefusal, Gauges, WaitingOccurrence, Waits, unknown_standings,
};

/// The state of all that is planned, waits, or is under way.
pub struct Dispatch {
    accounts: BTreeMap<AccountName, AccountAccess>,
    quotas: Quotas,
    /// The differences between the API's clock and ours.
    clocks: SeenClocks,
    occurrences: Occurrences,
    requests: HashMap<RequestId, InFlight>,
    last: u64,
    backoff: retry::RetryDelay,
    stopping: bool,
    doubts: in_doubt::Doubts,
    /// Results of the looks at stacks and jobs.
    looks: stack_state::Looks,
    /// The longest that an occurrence may wait before it is sent.
    longest_wait: Duration,
    /// The entries that are run again, and those that come after others.
    links: Links,
    /// The journal is an older copy of itself: what came after an occurrence that is scheduled
    /// before this instant may have been sent, and the copy does not know.
    older_until: Option<Timestamp>,
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

impl Dispatch {
    /// Nothing planned yet. The seed decides the jitter of retries.
    pub fn new(accounts: &[Arc<Account>], seed: u64, now: Now) -> Dispatch {
        let mut quotas = Quotas::default();
        let accounts = accounts.iter().map(|account| {
            let quota = quotas.add(whose(account), account.quota, now);
            (account.name.clone(), AccountAccess::new(account, quota))
        });
        Dispatch {
            accounts: accounts.collect(),
            quotas,
            clocks: SeenClocks::default(),
            occurrences: Occurrences::default(),
            requests: HashMap::new(),
            last: 0,
            backoff: retry::RetryDelay::new(seed),
            stopping: false,
            doubts: in_doubt::Doubts::default(),
            looks: stack_state::Looks::default(),
            longest_wait: in_doubt::LONGEST_WAIT,
            links: Links::default(),
            older_until: None,
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
            let (due_at, _) = entry.times(scheduled_at);
            let occurrence = Planned::new(&entry, Origin::Schedule, (scheduled_at, pass), due_at);
            if self.enter(occurrence, History::default(), now, &mut effects).is_some() {
                *planned.entry((entry.account.name.clone(), due_at.as_second())).or_default() += 1;
            }
        }
        let ahead = planned.into_iter().filter_map(|((account, second), count)| {
            let due = Timestamp::from_second(second).ok()?;
            Some(Effect::Warm(account, due, count.min(access::MOST_WARM)))
        });
        effects.extend(ahead);
        effects
    }

    /// `None` for an occurrence that is known already.
    fn enter(
        &mut self,
        planned: Planned,
        history: History,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Id> {
        let Planned { entry, scheduled_at, due_at, origin, .. } = &planned;
        // An occurrence that follows an end, or that is made up for, is due long after its instant.
        let after = Duration::try_from(due_at.duration_since(*scheduled_at)).unwrap_or_default();
        let wait = entry.start_deadline.saturating_add(entry.jitter.max(after));
        // A clock that was set back meanwhile makes nobody wait who asked for it now.
        let due = *due_at < now.wall || origin.is_by_hand();
        let id = Id(self.number());
        if !self.occurrences.enter(id, planned, history, PendingPlace::Future) {
            return None;
        }
        self.longest_wait = self.longest_wait.max(wait);
        if due {
            self.comes_due(id, now, effects);
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
        while let Some(id) = self.occurrences.next_due(now.wall) {
            self.comes_due(id, now, &mut effects);
        }
        while let Some(id) = self.occurrences.next_missed(now.wall) {
            self.miss(id, self.late_for(id), now, &mut effects);
        }
        while let Some(id) = self.occurrences.next_late(now.wall) {
            self.has_waited_for_quota(id, now, &mut effects);
        }
        self.lose_patience(now, &mut effects);
        self.look_around(now, &mut effects);
        let names: Vec<AccountName> = self.accounts.keys().cloned().collect();
        for name in names {
            self.serve(&name, now, &mut effects);
        }
        effects
    }

    /// From now on nothing is sent. What is in flight is still reported.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Returns true when nothing is planned, under way or followed.
    pub fn is_idle(&self) -> bool {
        self.occurrences.is_empty()
            && self.requests.is_empty()
            && self.accounts.values().all(|access| access.follow.next_at().is_none())
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
        self.occurrences.forget_newest_sent();
    }

    /// Nothing that is due later was sent.
    pub fn sent_up_to(&self) -> Timestamp {
        self.sent_up_to
    }

    /// When the occurrence is due that a run_now is of. `None`: a question, or a request that has
    /// ended.
    pub(crate) fn due_of(&self, request: RequestId) -> Option<Timestamp> {
        match self.requests.get(&request)? {
            InFlight::Fire(_, id, _) => self.occurrences.get(*id).map(|pending| pending.due_at),
            InFlight::Follow(..)
            | InFlight::FollowPage(..)
            | InFlight::ActionLookup(..)
            | InFlight::JobRecord(..)
            | InFlight::Look(..) => None,
        }
    }

    /// Returns each account's figures.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = (&AccountName, Gauges)> {
        self.accounts
            .iter()
            .map(|(name, access)| (name, access.gauges(&self.quotas, self.occurrences.queue(name))))
    }

    /// Returns true when the requests that an account has in flight take the last of its quota, or
    /// go to learn what is left.
    pub(crate) fn is_on_quotas_edge(&self, account: &AccountName) -> bool {
        self.accounts
            .get(account)
            .is_some_and(|access| self.quotas.quota(access.admission.quota).is_on_edge())
    }

    /// Returns true when the schedule or somebody has paused the entry's occurrences that are due
    /// at an instant.
    pub(crate) fn is_paused(&self, entry: &Entry, due_at: Timestamp) -> bool {
        entry.paused || self.paused.get(&entry.name).is_some_and(|pause| pause.keeps_back(due_at))
    }

    /// Returns the number of occurrences that are due and not sent.
    pub(crate) fn number_waiting(&self) -> usize {
        self.occurrences.number_waiting()
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
        let wall = self.occurrences.wakes_at().map(|at| now.mono + now.until(at)).into_iter();
        let accounts = self.accounts.iter().filter_map(|(name, access)| {
            access.wakes_at(&self.quotas, self.occurrences.queue(name), self.doubts.next_at(name), now)
        });
        wall.chain(accounts).chain(self.doubts.patience_ends()).chain(self.looks.wakes_at()).min()
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod tests;
