//! One occurrence on its way: what was planned, what has happened since, and its place.

use std::cmp::Reverse;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Mono;
use crate::cloud66::Obstacle;
use crate::dispatch::Effect;
use crate::dispatch::linked_key::LinkedKey;
use crate::dispatch::stack_state::Subject;
use crate::journal::{Cause, Claim, Key, Origin, Repetition, Retry, Transition};
use crate::occurrence::Reason;
use crate::schedule::{Entry, Priority};

/// An occurrence whose turn comes so long after its due instant has waited, and `catch_up` decides.
/// What is less late is on time: a machine under load, a slow journal and a short stall are
/// nobody's reason to leave a job out.
pub(in crate::dispatch) const WAITED: SignedDuration = SignedDuration::from_secs(5);

/// An occurrence that is made up for may wait so long from its claim on, or for its entry's
/// `start_deadline` if that is longer: longer than any window of a quota, and not so long that
/// nobody remembers who asked for it.
const BACKFILL_WAITS: Duration = Duration::from_secs(24 * 60 * 60);

/// An occurrence on its way, in the order of planning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::dispatch) struct Id(pub(in crate::dispatch) u64);

/// The order of sending: priority, then the scheduled instant, then the order of planning.
pub(super) type Rank = (Reverse<Priority>, Timestamp, Id);

/// Tells whether an occurrence heeds the state of its stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Haste {
    /// As its entry says.
    #[default]
    Usual,
    /// A person has it sent now, whatever its stack does.
    Now,
}

/// Where an occurrence is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dispatch) enum PendingPlace {
    /// Not due yet.
    Future,
    /// In its account's queue.
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

impl PendingPlace {
    /// Returns true when an occurrence in this place is due and not sent, so that its deadline
    /// counts.
    pub(super) fn waits(self) -> bool {
        matches!(
            self,
            PendingPlace::Ready | PendingPlace::Retry(_) | PendingPlace::Held | PendingPlace::Stack
        )
    }
}

/// An occurrence as it is to be taken over.
#[derive(Debug)]
pub(in crate::dispatch) struct Planned {
    pub(in crate::dispatch) entry: Arc<Entry>,
    pub(in crate::dispatch) scheduled_at: Timestamp,
    /// The pass of the wall clock through that instant. 0: the first.
    pub(in crate::dispatch) pass: u32,
    pub(in crate::dispatch) due_at: Timestamp,
    pub(in crate::dispatch) deadline: Timestamp,
    pub(in crate::dispatch) origin: Origin,
    pub(in crate::dispatch) haste: Haste,
}

impl Planned {
    /// An occurrence of an entry, which is missed `start_deadline` after its due instant.
    pub(in crate::dispatch) fn new(
        entry: &Arc<Entry>,
        origin: Origin,
        (scheduled_at, pass): (Timestamp, u32),
        due_at: Timestamp,
    ) -> Planned {
        let entry = as_sent(entry, &origin, scheduled_at);
        let deadline = entry.deadline(due_at);
        Planned { entry, scheduled_at, pass, due_at, deadline, origin, haste: Haste::Usual }
    }

    /// Returns true when a person asked for the occurrence, so that the schedule has no say in it.
    pub(in crate::dispatch) fn is_by_hand(&self) -> bool {
        self.origin.is_by_hand()
    }

    /// The first run's instant of what repeats one, its own otherwise.
    pub(in crate::dispatch) fn first(&self) -> Timestamp {
        self.origin.first(self.scheduled_at)
    }

    pub(in crate::dispatch) fn key(&self) -> Key {
        Key::new(self.entry.name.clone(), self.scheduled_at).in_pass(self.pass)
    }

    pub(in crate::dispatch) fn linked_key(&self) -> LinkedKey {
        LinkedKey { key: self.key(), origin: self.origin.clone() }
    }

    /// The stack, and where needed the job, that are looked at before the occurrence is sent.
    pub(in crate::dispatch) fn subjects(&self) -> Vec<Subject> {
        match self.haste {
            Haste::Usual => Subject::of(&self.entry),
            Haste::Now => Vec::new(),
        }
    }

    /// The occurrence's row in the journal.
    pub(in crate::dispatch) fn claim(&self, repetition: Repetition) -> Claim {
        Claim {
            key: self.key(),
            account: self.entry.account.name.clone(),
            stack: self.entry.stack.clone(),
            job: self.entry.job.clone(),
            due_at: self.due_at,
            deadline: self.deadline,
            origin: self.origin.clone(),
            repetition,
        }
    }

    /// From then on it has waited, should its turn not have come.
    pub(in crate::dispatch) fn waits_from(&self) -> Timestamp {
        self.due_at.checked_add(WAITED).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn rank(&self, id: Id) -> Rank {
        (Reverse(self.entry.priority), self.scheduled_at, id)
    }
}

/// An occurrence on its way. Reads as what was planned; only [`super::Occurrences`] changes that,
/// or the place, since its indexes go by them.
#[derive(Debug)]
pub(in crate::dispatch) struct Pending {
    pub(super) planned: Planned,
    pub(super) place: PendingPlace,
    pub(in crate::dispatch) history: History,
    /// The entry as a reload made it while the occurrence was in flight.
    pub(in crate::dispatch) reloaded: Option<Reloaded>,
}

impl Deref for Pending {
    type Target = Planned;

    fn deref(&self) -> &Planned {
        &self.planned
    }
}

impl Pending {
    pub(in crate::dispatch) fn place(&self) -> PendingPlace {
        self.place
    }

    /// Writes down that it waits. `None` when an attempt is in doubt: what waits was not sent.
    pub(in crate::dispatch) fn record_waiting(&mut self, reason: Reason) -> Option<Effect> {
        if self.history.doubt.is_some() {
            self.history.written = false;
            return None;
        }
        self.history.written = true;
        let attempts = self.history.attempts;
        let reason = Cause { error: self.history.error.clone(), ..reason.into() };
        Some(Effect::Record(self.key(), Transition::Waiting { attempts, reason }))
    }

    /// Has the journal know what is other than in `claimed`. `None` when nothing is, and when an
    /// attempt is in doubt: its action is looked for where it was sent.
    pub(in crate::dispatch) fn amend(&mut self, claimed: &Claim) -> Option<Effect> {
        let claim = self.claim(Repetition::default());
        if claim == *claimed || self.history.doubt.is_some() {
            return None;
        }
        self.history.amended = true;
        Some(Effect::Amend(Box::new(claim)))
    }
}

/// The history of an occurrence so far.
#[derive(Clone, Debug, Default)]
pub(in crate::dispatch) struct History {
    pub(in crate::dispatch) attempts: u32,
    /// Its turn came 5 s or more after its due instant, or it is tried again: a newer one of its
    /// entry supersedes it with `catch_up: latest`.
    pub(in crate::dispatch) waited: bool,
    /// It is tried again because the API was out of reach, or its own policies held it: it goes on
    /// until its deadline with `catch_up: none` too.
    pub(in crate::dispatch) goes_on: bool,
    /// The journal has it that the occurrence waits, so that no attempt is under way.
    pub(in crate::dispatch) written: bool,
    /// A reload changed what is claimed, or an attempt of a former leader stays in doubt. A process
    /// that comes after a crash could not tell by the watermark whether it was sent: it is written
    /// as being sent before it leaves.
    pub(in crate::dispatch) amended: bool,
    /// Why an attempt may have taken effect. Only of an idempotent entry; whatever becomes of
    /// further attempts, it cannot be said that it was not sent.
    pub(in crate::dispatch) doubt: Option<Doubtful>,
    /// A second action of the occurrence began then at the earliest: an attempt was taken to have
    /// had no effect, or may have had one. The stack's list is read once more when a further
    /// attempt has started an action. `None`: there was no such attempt.
    pub(in crate::dispatch) surplus_from: Option<Timestamp>,
    /// The reloads that its account had seen when it was last sent.
    pub(in crate::dispatch) token: Option<u32>,
    /// The obstacle that `stack_state: hold` last held the occurrence for, since it was last sent.
    /// While it is there, no newer one supersedes it.
    pub(in crate::dispatch) obstacle: Option<Obstacle>,
    /// The failure of the last attempt.
    pub(in crate::dispatch) error: Option<String>,
}

/// An attempt that may have taken effect, the first of its occurrence.
#[derive(Clone, Debug)]
pub(in crate::dispatch) struct Doubtful {
    pub(in crate::dispatch) error: String,
    /// When it left, or the earliest that it can have left.
    pub(in crate::dispatch) sent_at: Timestamp,
}

/// The entry as a reload makes it.
#[derive(Clone, Debug)]
pub(in crate::dispatch) enum Reloaded {
    Changed(Arc<Entry>),
    Removed,
}

/// The entry as its occurrence at an instant sends it: with the arguments that a person gave, or
/// with its template filled. A repetition fills the template with the instant of the first run.
/// What is made up for goes last, and waits for longer.
pub(crate) fn as_sent(entry: &Arc<Entry>, origin: &Origin, scheduled_at: Timestamp) -> Arc<Entry> {
    let given = match origin {
        Origin::Person { args } | Origin::Retry(Retry { args, .. }) => args.clone(),
        Origin::Schedule | Origin::Upstream | Origin::Backfill => None,
    };
    let filled = || Some(entry.args_template.as_ref()?.render(entry, origin.first(scheduled_at)));
    let args = given.or_else(filled);
    let (priority, start_deadline) = match origin {
        Origin::Backfill => (Priority::Low, entry.start_deadline.max(BACKFILL_WAITS)),
        _ => (entry.priority, entry.start_deadline),
    };
    if args.is_none() && (priority, start_deadline) == (entry.priority, entry.start_deadline) {
        return Arc::clone(entry);
    }
    let args = args.or_else(|| entry.args.clone());
    Arc::new(Entry { args, priority, start_deadline, ..Entry::clone(entry) })
}
