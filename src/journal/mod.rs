//! The part that survives the daemon: the cursor, the claims and what became of them, pauses, and
//! the quota's state.
//!
//! An occurrence is claimed before it can be sent, in one transaction with the cursor, so that no
//! instant is planned twice and none is left out. Afterwards it goes through its states one way
//! only (`progress`). What is settled never changes again. A daemon alone keeps it in SQLite
//! (`sqlite`): it needs no server, and a crash costs nothing that was committed. Several share one
//! in PostgreSQL ([`postgres`]).

mod cause;
mod directory;
mod elsewhere;
mod ended_term;
mod error;
mod handle;
mod identity;
mod in_force;
mod inbox;
mod last_ends;
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
mod unusual;
mod usual;
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
pub use ended_term::{EndedTerm, TermNumber};
pub use error::JournalError;
pub use handle::{Journal, Opened};
pub use identity::WhenReplaced;
use in_force::DefinitionChanges;
pub use in_force::{Definition, ForceSpan, InForce};
pub use last_ends::LastEnds;
pub use link::Linked;
pub use location::Location;
pub use pause::Pause;
pub use resent::{Resent, ResentWatch};
pub use send_permit::SendPermit;
pub use send_watermark::SendWatermark;
pub use sqlite::{FILE_NAME, read_history, read_lately, read_records};
pub use statistics::{EntryStatistics, Statistics};
pub use transfer::{MoveError, Moved, move_journal};
pub use unusual::{Sample, Surveyed, Unusual};
pub use usual::{UntilDue, Usual, UsualRuns, expected};
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
    /// Creates a key. The part of the instant below a microsecond is cut off.
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

    /// Returns the nominal instant.
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
    /// The occurrence.
    pub key: Key,
    /// The account by which it is sent.
    pub account: AccountName,
    /// The stack of the job.
    pub stack: StackUid,
    /// The job.
    pub job: JobUid,
    /// The earliest instant of sending: scheduled_at plus the entry's jitter.
    pub due_at: Timestamp,
    /// The instant after which the occurrence is missed.
    pub deadline: Timestamp,
    /// The origin of the occurrence: schedule, person, chain, rerun or backfill.
    pub origin: Origin,
    /// Tells whether a further pass through the instant claims the occurrence again.
    pub repetition: Repetition,
}

/// Tells whether an occurrence is claimed again when the clock was set back and shows its instant a
/// second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repetition {
    /// The occurrence is claimed again: its entry follows elapsed time.
    #[default]
    Again,
    /// The occurrence is claimed again only if every other pass was given up: it is an appointment,
    /// or a person has it made up for.
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
    /// The journal was found to be an older copy of itself, which may have forgotten the outcome of
    /// what is scheduled before this instant. `None`: it was not.
    pub older_until: Option<Timestamp>,
}

impl From<Timestamp> for Cursor {
    fn from(at: Timestamp) -> Cursor {
        Cursor { at, repeat: None, older_until: None }
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

/// The origin of an occurrence.
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

/// The run that a rerun repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The scheduled_at of the first run, whose entry and pass are those of the rerun.
    pub of: Timestamp,
    /// Number of the rerun, from 1.
    pub number: u32,
    /// The arguments of the first run, where a person gave them.
    pub args: Option<String>,
}

/// The end of an occurrence together with the claims that follow from it. All of it is written, or
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The occurrence that ends.
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
    /// The transition by which the claim is given up at once. `None`: the claim is to be sent.
    pub given_up: Option<Transition>,
}

/// Why something is as it is: the word or the sentence that the log gave.
pub type ReasonText = Cow<'static, str>;

/// A change of an occurrence's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The occurrence cannot be sent now, or was sent and is known to have had no effect.
    Waiting {
        /// The attempts so far.
        attempts: u32,
        /// `quota`, `overlap` or `retry`, and how the last attempt failed.
        reason: Cause,
    },
    /// An attempt has begun.
    Sending {
        /// Number of attempts, this one included.
        attempts: u32,
        /// The instant at which the attempt began.
        sent_at: Timestamp,
    },
    /// run_now answered with an action, or an action was found to be this occurrence's.
    Started {
        /// Number of all attempts.
        attempts: u32,
        /// The instant at which the attempt that started the action began.
        sent_at: Timestamp,
        /// The action, and whether somebody asks for it until it has finished.
        action: Started,
    },
    /// The action came to its end.
    Finished {
        /// The API's word on the outcome. `None` counts as no success.
        success: Option<bool>,
        /// The end of the action.
        finished_at: Timestamp,
        /// The API's words. Kept when it was no success.
        message: Option<String>,
    },
    /// The action runs longer than its entry expects, and that was told.
    Slow,
    /// The action is not asked for any more.
    Unfollowed {
        /// Why not.
        reason: ReasonText,
    },
    /// The API refused it for good.
    Rejected {
        /// HTTP status. `None`: the request cannot be written, and was not sent.
        status: Option<u16>,
        /// The API's words.
        error: String,
    },
    /// The occurrence was not sent in time.
    Missed {
        /// `deadline`, `superseded`, `down` or `quota`, and how the last attempt failed.
        reason: Cause,
    },
    /// A policy or a pause kept the occurrence from being sent.
    Skipped {
        /// `overlap`, `paused` or `removed`, and how the last attempt failed.
        reason: Cause,
    },
    /// The occurrence was sent, and nothing can tell whether the request took effect.
    Unknown {
        /// The last error.
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

/// One row of the history: the state of an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The occurrence.
    pub key: Key,
    /// The state.
    pub state: State,
    /// Beginning of the newest attempt. `None`: nothing was sent, or the attempt is known to have
    /// had no effect.
    pub sent_at: Option<Timestamp>,
    /// Lateness of that attempt in milliseconds, jitter not counted.
    pub lateness_ms: Option<i64>,
    /// Number of attempts.
    pub attempts: u32,
    /// The action it started.
    pub action_id: Option<ActionId>,
    /// The end of the action. `None`: the action runs, or there is none.
    pub finished_at: Option<Timestamp>,
    /// The API's word on the outcome. `None`: unknown so far.
    pub finished_success: Option<bool>,
    /// Why it is in this state, where the state does not say it.
    pub reason: Option<String>,
    /// The link to another occurrence or to a backfill. `None`: the schedule, or a person's `fire`,
    /// asked for the occurrence.
    pub link: Option<Linked>,
    /// The scheduled_at of the newer occurrence that went in its place.
    pub replaced_by: Option<Timestamp>,
    /// The error of the last attempt of an occurrence that waits, was missed or was skipped.
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
    /// The record of an occurrence that was claimed, and of which nothing else is known.
    #[cfg(test)]
    pub(crate) fn due(key: Key) -> Record {
        Record {
            key,
            state: State::Due,
            sent_at: None,
            lateness_ms: None,
            attempts: 0,
            action_id: None,
            finished_at: None,
            finished_success: None,
            reason: None,
            link: None,
            replaced_by: None,
            error: None,
            surplus: None,
        }
    }

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

/// The outcomes of the last day, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// Number of occurrences in each state.
    pub counts: Vec<(State, u64)>,
    /// Number of occurrences that were sent more than a second late, for any reason.
    pub late: u64,
    /// The newest of what failed, was rejected or missed, is unknown, or was late; the newest
    /// first.
    pub notable: Vec<Record>,
    /// True when there were more occurrences than are counted. The newest are counted.
    pub cut: bool,
    /// The beginning of each hour in UTC in which an occurrence was scheduled, the first hour
    /// first, with the number of occurrences in each state.
    pub hours: Vec<(Timestamp, Vec<(State, u64)>)>,
}

/// In microseconds.
const HOUR: i64 = 3_600_000_000;

impl Lately {
    /// Counts occurrences of an hour, the number of which is that of the hours since 1970. Hours
    /// come in the order of time.
    fn count(&mut self, hour: i64, state: State, number: u64) {
        let from = Timestamp::from_microsecond(hour * HOUR).unwrap_or(Timestamp::MIN);
        match self.hours.last_mut().filter(|(last, _)| *last == from) {
            Some((_, counts)) => counts.push((state, number)),
            None => self.hours.push((from, vec![(state, number)])),
        }
        match self.counts.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += number,
            None => self.counts.push((state, number)),
        }
    }
}

/// The part of the history that a reader selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this entry. `None`: all entries.
    pub entry: Option<EntryName>,
    /// Scheduled then or later.
    pub since: Option<Timestamp>,
    /// Scheduled before.
    pub until: Option<Timestamp>,
    /// The newest so many.
    pub newest: Option<u32>,
}

/// State that a former daemon left in the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Every occurrence that was scheduled before this instant and had to be claimed is claimed.
    /// `None` in a new journal.
    pub cursor: Option<Timestamp>,
    /// The last stretch that the clock went through again. `None`: it was never set back.
    pub repeat: Option<Repeat>,
    /// The instant at which the former daemon stopped in order. Nothing that was due later was
    /// sent. `None`: the daemon crashed.
    pub stopped_at: Option<Timestamp>,
    /// The watermark: nothing that was due later was sent. `None`: the machine was started anew
    /// since, or has no watermark.
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
    /// The saved quota of each account.
    pub quotas: Vec<(AccountName, quota::SavedQuota)>,
    /// The clock that these instants were read from.
    pub clock: ClockOf,
}

impl Recovered {
    /// Takes in the instant up to which occurrences may have been sent by sources other than the
    /// journal.
    pub(crate) fn may_have_been_sent(&mut self, until: Option<Timestamp>) {
        if until.is_some() && self.cursor < until {
            self.forgotten_until = until;
            // The orderly stop was written before that instant.
            self.stopped_at = None;
        }
    }
}

/// The clock of a former daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockOf {
    /// The one of this machine, which may have been set since.
    #[default]
    ThisMachine,
    /// The clock of any member that shares the journal.
    AnyMember,
}

/// A claim that was neither started nor given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The claim.
    pub claim: Claim,
    /// The last state that was written. The occurrence may have come further.
    pub reached: Reached,
    /// The only term under which a claim that is [`Reached::Due`] may have been sent: the word of
    /// that term's leader settles the doubt. `None`: nobody shares the journal, or the occurrence
    /// is no mere claim.
    pub may_have_been_sent_in: Option<TermNumber>,
}

/// The last written state of an open occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Claimed.
    Due,
    /// Claimed, and not sent: what its leader was permitted to send, or its own word, leaves the
    /// occurrence out.
    Unsent,
    /// Waiting after so many attempts.
    Waiting {
        /// Number of attempts, all of them known to have had no effect.
        attempts: u32,
        /// The reason of the wait, and how the last attempt failed.
        reason: Cause,
    },
    /// Sent, without an answer that was written.
    Sending {
        /// The one in doubt included.
        attempts: u32,
        /// Beginning of that attempt.
        sent_at: Timestamp,
    },
}

/// An action that has not been seen to finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The claim.
    pub claim: Claim,
    /// The action.
    pub action: ActionId,
    /// Number of all attempts.
    pub attempts: u32,
    /// Departure of the run_now.
    pub sent_at: Timestamp,
    /// True once `action.slow` was logged for the action.
    pub told_slow: bool,
}

/// The actions of a stack that the journal knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownActions {
    /// Occurrences have started these, those among them that are surplus.
    pub actions: Vec<ActionId>,
    /// The job of each action. Surplus actions are not among them.
    pub jobs: HashMap<ActionId, JobUid>,
    /// Occurrences that are settled and may each own one more, which is not known.
    pub unnamed: Vec<Unnamed>,
}

/// An occurrence that has started an action, or may have, and nothing tells which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// The occurrence.
    pub key: Key,
    /// Departure of the run_now, or the earliest instant that it can have left at.
    pub sent_at: Timestamp,
}

/// The outcome of a request to claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The occurrences that were claimed before. This claim gives no leave to send them.
    pub known: Vec<Key>,
}

/// A transition that is not applied, however often it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The transition would lead back, or its occurrence was never claimed. The caller is wrong.
    #[error("{key} cannot go from {} to {to}", from.map_or("nothing claimed", State::as_str))]
    Backwards {
        /// The occurrence.
        key: Key,
        /// The state that it keeps. `None`: it was never claimed, or is pruned.
        from: Option<State>,
        /// The state that was asked for.
        to: State,
    },
    /// The store takes all but this one.
    #[error("{key} is not written as {to}: {error}")]
    Unstorable {
        /// The occurrence.
        key: Key,
        /// The state that was asked for.
        to: State,
        /// The store's error.
        error: JournalError,
    },
}

impl Refused {
    /// The occurrence.
    pub fn key(&self) -> &Key {
        match self {
            Refused::Backwards { key, .. } | Refused::Unstorable { key, .. } => key,
        }
    }
}

/// Tells whether the journal can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// The last write succeeded.
    Well,
    /// Writes fail. They are tried again: a claim by who asks for it, what was recorded by the
    /// journal itself.
    Ill {
        /// The instant of the first write that failed.
        since: Timestamp,
        /// Why.
        error: JournalError,
    },
}

/// The extent of a pruning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Settled occurrences.
    pub rows: u64,
}
