//! What survives the daemon: the cursor, the claims and what became of them, pauses, and the
//! quota's state.
//!
//! An occurrence is claimed before it can be sent, in one transaction with the cursor, so that no
//! instant is planned twice and none is left out. Afterwards it goes through its states one way
//! only (`progress`). What is settled never changes again. A daemon alone keeps it in SQLite
//! (`sqlite`): it needs no server, and a crash costs nothing that was committed. Several share one
//! in PostgreSQL ([`postgres`]).

mod cause;
mod directory;
mod elsewhere;
mod error;
mod handle;
mod identity;
mod in_force;
mod inbox;
mod link;
mod location;
pub(crate) mod outage;
mod send_watermark;
#[cfg(test)]
pub(crate) mod memory;
mod send_permit;
mod pause;
pub mod postgres;
mod progress;
mod resent;
mod sqlite;
pub(crate) mod store;
mod statistics;
mod summary;
mod text;
mod transfer;
mod uuid;
mod writer;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use jiff::Timestamp;

use crate::cloud66::ActionId;
use crate::quota;
use crate::schedule::{AccountName, CalendarName, EntryName, JobUid, StackUid};

pub use cause::{Cause, Why};
pub use error::JournalError;
pub use handle::{Journal, Opened};
pub use identity::WhenReplaced;
pub use in_force::{Definition, InForce, Span};
pub use location::Location;
pub use pause::Pause;
pub use resent::{Resent, Watch};
pub use send_permit::SendPermit;
pub use send_watermark::SendWatermark;
pub use sqlite::{FILE_NAME, read_history, read_lately, read_records};
pub use statistics::{EntryStatistics, Statistics};
pub use transfer::{MoveError, Moved, move_journal};
pub use uuid::Identity;

/// The name of an occurrence: its entry, when it was scheduled, in whole microseconds, and which
/// time through that instant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    scheduled_at: Timestamp,
    entry: EntryName,
    pass: u32,
}

impl Key {
    /// What is below a microsecond is cut off.
    pub fn new(entry: EntryName, scheduled_at: Timestamp) -> Key {
        Key { scheduled_at: whole_micros(scheduled_at), entry, pass: 0 }
    }

    /// The occurrence of a further time through its instant, after the clock was set back.
    pub fn in_pass(self, pass: u32) -> Key {
        Key { pass, ..self }
    }

    /// 0 unless the clock was set back.
    pub fn pass(&self) -> u32 {
        self.pass
    }

    /// The entry.
    pub fn entry(&self) -> &EntryName {
        &self.entry
    }

    /// When it was scheduled.
    pub fn scheduled_at(&self) -> Timestamp {
        self.scheduled_at
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.entry, self.scheduled_at)?;
        match self.pass {
            0 => Ok(()),
            pass => write!(f, " in pass {pass}"),
        }
    }
}

/// The instant as the journal keeps it.
fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// An occurrence that is to be sent, with all that is needed to send it or to look for its action
/// after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which occurrence.
    pub key: Key,
    /// The account by which it is sent.
    pub account: AccountName,
    /// The stack of the job.
    pub stack: StackUid,
    /// The job.
    pub job: JobUid,
    /// When it is sent at the earliest: scheduled_at and the entry's jitter.
    pub due_at: Timestamp,
    /// When it is missed.
    pub deadline: Timestamp,
    /// What asked for it.
    pub origin: Origin,
    /// Whether a further pass through the instant claims the occurrence again.
    pub repetition: Repetition,
}

/// Whether an occurrence is claimed again when the clock, set back, shows its instant a second
/// time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repetition {
    /// It goes again, as its entry follows elapsed time.
    #[default]
    Again,
    /// It is an appointment: it goes again only where every pass before was given up.
    Once,
}

/// Everything scheduled before it is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The instant.
    pub at: Timestamp,
    /// The clock was set back since the last claim, and the journal's cursor goes back to `at`.
    /// `None`: it only goes on.
    pub repeat: Option<Repeat>,
}

impl From<Timestamp> for Cursor {
    fn from(at: Timestamp) -> Cursor {
        Cursor { at, repeat: None }
    }
}

/// A stretch of time that the clock has shown before, and shows again because it was set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// The pass of what is scheduled in the stretch: greater than each before.
    pub pass: u32,
    /// Instant to which the clock was set back: the cursor begins there.
    pub from: Timestamp,
    /// End of the stretch: instants from here on were never claimed before.
    pub until: Timestamp,
}

/// What asked for an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The schedule.
    Schedule,
    /// A person, with arguments in place of the entry's own.
    Person {
        /// Sent as they are. `None`: the entry's own.
        args: Option<String>,
    },
    /// The entry runs again what ended without success.
    Retry(Retry),
    /// The entry that its own entry follows has ended an occurrence of the same instant.
    Upstream,
    /// A person has the schedule's occurrence made up for.
    Backfill,
}

/// Which run is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// When the first run was scheduled. It has the entry and the pass of this one.
    pub of: Timestamp,
    /// From 1.
    pub number: u32,
    /// The arguments of the first run, where a person gave them.
    pub args: Option<String>,
}

/// How an occurrence ends, and what is claimed with its end: all of that is written, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Which occurrence ends.
    pub key: Key,
    /// How.
    pub end: Transition,
    /// Occurrences that follow the end.
    pub next: Vec<Successor>,
}

/// An occurrence that is claimed as another one ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Successor {
    /// The claim of the successor.
    pub claim: Claim,
    /// How it is given up at once. `None`: it is to be sent.
    pub given_up: Option<Transition>,
}

/// Why something is as it is: the word or the sentence that the log gave.
pub type Reason = Cow<'static, str>;

/// What happened to an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It cannot be sent now, or was sent and is known to have had no effect.
    Waiting {
        /// The attempts so far.
        attempts: u32,
        /// `quota`, `overlap` or `retry`, and how the last attempt failed.
        reason: Cause,
    },
    /// It is being sent.
    Sending {
        /// This attempt included.
        attempts: u32,
        /// When the attempt began.
        sent_at: Timestamp,
    },
    /// run_now answered with an action, or an action was found to be this occurrence's.
    Started {
        /// All attempts.
        attempts: u32,
        /// When the attempt that started it began.
        sent_at: Timestamp,
        /// The action, and whether somebody asks for it until it has finished.
        action: Started,
    },
    /// The action came to its end.
    Finished {
        /// What the API said. Nothing said is no success.
        success: Option<bool>,
        /// When it finished.
        finished_at: Timestamp,
        /// The API's words. Kept when it was no success.
        message: Option<String>,
    },
    /// The action runs longer than its entry expects, and that was told.
    Slow,
    /// The action is not asked for any more.
    Unfollowed {
        /// Why not.
        reason: Reason,
    },
    /// The API refused it for good.
    Rejected {
        /// HTTP status. `None`: the request cannot be written, and was not sent.
        status: Option<u16>,
        /// The API's words.
        error: String,
    },
    /// It was not sent in time.
    Missed {
        /// `deadline`, `superseded`, `down` or `quota`, and how the last attempt failed.
        reason: Cause,
    },
    /// It was not meant to be sent.
    Skipped {
        /// `overlap`, `paused` or `removed`, and how the last attempt failed.
        reason: Cause,
    },
    /// It was sent, and nothing can tell whether it took effect.
    Unknown {
        /// What is known.
        error: String,
    },
}

/// The action that an occurrence has started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// Asked for until it has finished: the occurrence stays open till then.
    Followed(ActionId),
    /// Left alone: the occurrence is settled. The API may have given no id.
    Alone(Option<ActionId>),
}

/// State of an occurrence, as operators know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words of the operator's manual")]
pub enum State {
    Due,
    Waiting,
    Sending,
    Started,
    Finished,
    Failed,
    Rejected,
    Missed,
    Skipped,
    Unknown,
}

impl State {
    /// The word that operators know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Due => "due",
            State::Waiting => "waiting",
            State::Sending => "sending",
            State::Started => "started",
            State::Finished => "finished",
            State::Failed => "failed",
            State::Rejected => "rejected",
            State::Missed => "missed",
            State::Skipped => "skipped",
            State::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What became of an occurrence: one row of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which occurrence.
    pub key: Key,
    /// How far it came.
    pub state: State,
    /// When the newest attempt began, unless it is known to have had no effect.
    pub sent_at: Option<Timestamp>,
    /// How late that was, jitter not counted.
    pub lateness_ms: Option<i64>,
    /// How often it was sent.
    pub attempts: u32,
    /// The action it started.
    pub action_id: Option<ActionId>,
    /// When the action finished.
    pub finished_at: Option<Timestamp>,
    /// What the API said of the action's end.
    pub finished_success: Option<bool>,
    /// Why it is in this state, where the state does not say it.
    pub reason: Option<String>,
    /// Which run it repeats: when that was scheduled, and the number of this repetition, from 1.
    pub retry: Option<(Timestamp, u32)>,
    /// When the occurrence was scheduled that went in its place.
    pub replaced_by: Option<Timestamp>,
    /// How the last attempt failed, of what waits, was missed or was skipped.
    pub error: Option<String>,
    /// A second action that the occurrence turned out to have after it was sent again.
    pub surplus: Option<ActionId>,
}

/// Prefix of the reason of an occurrence that falls on a calendar. The calendar's name follows.
const CALENDAR: &str = "calendar ";

/// The reason of an occurrence that has started, whose action runs longer than its entry expects.
pub(crate) const SLOW: &str = "slow";

/// Why an occurrence is skipped that falls on a calendar: the journal keeps the calendar's name in
/// the reason.
pub(crate) fn calendar_reason(calendar: &CalendarName) -> String {
    format!("{CALENDAR}{calendar}")
}

impl Record {
    /// The reason without the name of the calendar: `calendar`.
    pub fn reason_word(&self) -> Option<&str> {
        if self.calendar().is_some() { Some("calendar") } else { self.reason.as_deref() }
    }

    /// The calendar for which the occurrence was skipped.
    pub fn calendar(&self) -> Option<&str> {
        let skipped = self.reason.as_deref().filter(|_| self.state == State::Skipped);
        skipped.and_then(|reason| reason.strip_prefix(CALENDAR))
    }
}

/// What happened lately, for who looks in at a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// How many occurrences are in each state.
    pub counts: Vec<(State, u64)>,
    /// How many were sent more than a second late, whatever for.
    pub late: u64,
    /// The newest of what failed, was rejected or missed, is unknown, or was late; the newest
    /// first.
    pub notable: Vec<Record>,
    /// There were more occurrences than are counted: these are the newest.
    pub cut: bool,
}

/// Which part of the history is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this entry alone.
    pub entry: Option<EntryName>,
    /// Scheduled then or later.
    pub since: Option<Timestamp>,
    /// Scheduled before.
    pub until: Option<Timestamp>,
    /// The newest so many.
    pub newest: Option<u32>,
}

/// What a former daemon left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Everything scheduled before is claimed or was not to be. `None` in a new journal.
    pub cursor: Option<Timestamp>,
    /// The last stretch that the clock went through again. `None`: it was never set back.
    pub repeat: Option<Repeat>,
    /// When the former daemon stopped in order: what was due later was not sent. `None` after a
    /// crash.
    pub stopped_at: Option<Timestamp>,
    /// Nothing that was due later was sent. `None` when the machine was started anew since, or has
    /// no mark.
    pub sent_up_to: Option<Timestamp>,
    /// The journal is an older copy of itself: what was due from its cursor up to this instant may
    /// have been sent. `None`: it has forgotten nothing.
    pub forgotten_until: Option<Timestamp>,
    /// The journal was found to be an older copy of itself: what is scheduled before this instant
    /// may have ended, and have led to others, without a word in it.
    pub older_until: Option<Timestamp>,
    /// Claimed and not settled, in the order of scheduled_at.
    pub open: Vec<Open>,
    /// Actions that are asked for until they finish, in the order of scheduled_at.
    pub following: Vec<Followed>,
    /// Entries that somebody paused.
    pub paused: Vec<(EntryName, Pause)>,
    /// Occurrences that were sent again, and whose stack's list is still to be read.
    pub resent: Vec<Resent>,
    /// Each account's quota.
    pub quotas: Vec<(AccountName, quota::Saved)>,
    /// By whose clock these instants are.
    pub clock: ClockOf,
}

impl Recovered {
    /// Takes in up to when occurrences may have been sent, by what others than the journal know.
    pub(crate) fn may_have_been_sent(&mut self, until: Option<Timestamp>) {
        if until.is_some() && self.cursor < until {
            self.forgotten_until = until;
            // It was written before that.
            self.stopped_at = None;
        }
    }
}

/// Whose clock a former daemon had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockOf {
    /// The one of this machine, which may have been set since.
    #[default]
    ThisMachine,
    /// That of any member of those that share the journal.
    AnyMember,
}

/// A claim that was neither started nor given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// What was claimed.
    pub claim: Claim,
    /// How far it came, as far as was written: it may have come further.
    pub reached: Reached,
}

/// How far an open occurrence came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Claimed.
    Due,
    /// Waiting after so many attempts.
    Waiting {
        /// All of them known to have had no effect.
        attempts: u32,
        /// The reason of the wait, and how the last attempt failed.
        reason: Cause,
    },
    /// Sent, without an answer that was written.
    Sending {
        /// The one in doubt included.
        attempts: u32,
        /// When that one began.
        sent_at: Timestamp,
    },
}

/// An action that has not been seen to finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// What was claimed.
    pub claim: Claim,
    /// The action.
    pub action: ActionId,
    /// All attempts.
    pub attempts: u32,
    /// When run_now left.
    pub sent_at: Timestamp,
    /// It was told that the action runs longer than its entry expects.
    pub told_slow: bool,
}

/// What the journal knows of the actions of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Occurrences have started these, those among them that are surplus.
    pub actions: Vec<ActionId>,
    /// Of which job each of them is. A surplus action is not among them.
    pub jobs: HashMap<ActionId, JobUid>,
    /// Occurrences that are settled and may each own one more, which is not known.
    pub unnamed: Vec<Unnamed>,
}

/// An occurrence that has started an action, or may have, and nothing tells which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// Which occurrence.
    pub key: Key,
    /// When it was sent, or the earliest that it can have been.
    pub sent_at: Timestamp,
}

/// What came of a request to claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// These were claimed before. They are not to be sent on the strength of this claim.
    pub known: Vec<Key>,
}

/// A transition that is not applied, however often it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It would go back, or nothing was claimed for it: whoever asked for it is wrong.
    #[error("{key} cannot go from {} to {to}", from.map_or("nothing claimed", State::as_str))]
    Backwards {
        /// Which occurrence.
        key: Key,
        /// The state that it keeps. `None`: it was never claimed, or is pruned.
        from: Option<State>,
        /// The state that was asked for.
        to: State,
    },
    /// The store takes all but this one.
    #[error("{key} is not written as {to}: {error}")]
    Unstorable {
        /// Which occurrence.
        key: Key,
        /// The state that was asked for.
        to: State,
        /// What the store said.
        error: JournalError,
    },
}

impl Refused {
    /// Which occurrence.
    pub fn key(&self) -> &Key {
        match self {
            Refused::Backwards { key, .. } | Refused::Unstorable { key, .. } => key,
        }
    }
}

/// Whether the journal can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last write succeeded.
    Well,
    /// Writes fail. They are tried again: a claim by who asks for it, what was recorded by the
    /// journal itself.
    Ill {
        /// Of the first write that failed.
        since: Timestamp,
        /// Why.
        error: JournalError,
    },
}

/// What pruning took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Settled occurrences.
    pub rows: u64,
}
