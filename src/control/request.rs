//! The requests to the daemon's loop and the loop's answers: values alone, over a bounded channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::on_disk::LoadedFile;
use crate::dispatch::{AccountStanding, Haste, WaitingOccurrence};
use crate::journal::postgres::Leadership;
use crate::journal::{Health, JournalError, Key, Pause};
use crate::log::{Event, LogGap};
use crate::schedule::{AccountName, Entry, EntryName, Schedule, Shard};

/// Questions that wait for the loop. It takes one a turn, so that many of them delay no send by
/// more than one.
const MOST_WAITING: usize = 16;

/// The loop answers within a millisecond, once the journal has written what is to be written. When
/// it has not within this time, one of them hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// A user of the machine, as the kernel tells who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uid(pub(crate) u32);

/// A question. Whoever asks may have gone when it is answered.
pub(crate) enum ControlRequest {
    Fire(Box<FireRequest>),
    Pause(Steer, Terms),
    Resume(Steer),
    /// Asks for the state of the loop, with at most this many records in each list.
    Snapshot {
        most: usize,
        answer: oneshot::Sender<Box<Snapshot>>,
    },
}

/// The occurrence of an entry that a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One of its own, now.
    Now {
        /// In place of the entry's own.
        args: Option<String>,
        haste: Haste,
        /// The instant to claim it as, which tells a repeated question from another one. `None`:
        /// the loop takes its own.
        at: Option<Timestamp>,
    },
    /// The one of an instant that is past, which did not start.
    Backfill {
        /// The instant.
        at: Timestamp,
        /// A time through the instant of which the journal has no row.
        pass: u32,
    },
}

/// An occurrence of an entry is to be claimed and sent.
pub(crate) struct FireRequest {
    /// The schedule that the entry was found in: the loop looks for nothing.
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) entry: Arc<Entry>,
    pub(crate) wanted: Wanted,
    pub(crate) by: Uid,
    /// Receives the occurrence's key once it is claimed.
    pub(crate) answer: oneshot::Sender<Result<Key, FireError>>,
    /// Receives every log event of the occurrence after its claim.
    pub(crate) told: mpsc::UnboundedSender<Event>,
}

/// An entry is to be paused or resumed.
pub(crate) struct Steer {
    pub(crate) entry: EntryName,
    /// The one that the entry belongs to; the common one where the schedule does not have it.
    pub(crate) shard: Shard,
    pub(crate) by: Uid,
    /// The name of that user.
    pub(crate) by_name: String,
    pub(crate) answer: oneshot::Sender<Result<Changed, SteerError>>,
}

/// The end of a pause and the reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// `None`: until it is resumed.
    pub(crate) until: Option<Timestamp>,
    pub(crate) note: Option<String>,
}

/// Why nothing is fired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FireError {
    /// Look the entry up again.
    #[error("the schedule was replaced meanwhile; ask again")]
    Stale,
    /// Ask again in a moment.
    #[error(
        "the daemon does not fire yet: its journal or its clock is not ready; `stackcron status` says why, then try again"
    )]
    NotYet,
    /// The claim failed, so nothing was fired.
    #[error(
        "nothing was fired, as it could not be claimed: {0}; see to the journal, and look at `stackcron history` before you try \
         again: the claim may have been written without an answer"
    )]
    Journal(JournalError),
    /// The question was asked before, and its answer was lost.
    #[error(
        "the request was claimed before as {0}, and is not claimed again; `stackcron history {entry}` tells what becomes of it",
        entry = .0.entry()
    )]
    ClaimedBefore(Key),
    /// The request's instant is too far from the daemon's clock.
    #[error(
        "{0} is too far from the daemon's clock for a request to run now; see that time is synchronised, then try again"
    )]
    Elsewhen(Timestamp),
    /// An instant whose occurrence is not made up for.
    #[error("{0} is not past, or is not planned yet: an occurrence can be made up for once it was due")]
    NotPast(Timestamp),
    /// It may have run, or is to run.
    #[error(
        "the occurrence of {at} is not made up for: it has started, may have started, or is under way; \
         `stackcron history {entry}` tells what became of it",
        at = .0.scheduled_at(), entry = .0.entry()
    )]
    Known(Key),
    /// Ask again when it has finished.
    #[error("an action of `{0}` has not finished, and its `overlap` is not `allow`; try again when it has")]
    Busy(EntryName),
    /// Refused for now: nothing can be made up for meanwhile.
    #[error(
        "`{entry}` is paused{}: nothing of the entry is made up for until it is resumed; {}",
        by.as_ref().map(|pause| format!(" by {}", pause.by)).unwrap_or_default(),
        match by {
            Some(_) => format!("`stackcron resume {entry}`, then ask again"),
            None => "take `paused: true` out of the schedule file, then ask again".to_owned(),
        }
    )]
    Paused {
        entry: EntryName,
        /// `None`: the schedule file has it paused.
        by: Option<Pause>,
    },
    /// A copy of the journal does not know what ran.
    #[error(
        "the journal is an older copy of itself, and what was scheduled before {0:.0} may have run without a word in it: look at \
         the stack's actions, and use `stackcron fire` for what is missing"
    )]
    Forgotten(Timestamp),
}

/// Why nothing was paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SteerError {
    /// Ask again in a moment.
    #[error("a pause or resume of this entry is being written; try again in a moment")]
    Busy,
    /// The journal could not be written, so nothing changed.
    #[error("nothing was changed, as it could not be written: {0}; see to the journal, then try again")]
    Journal(JournalError),
}

/// Tells whether a request changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Yes,
    No,
}

/// The state of the loop at one instant. The cost of gathering it does not grow with the schedule.
pub(crate) struct Snapshot {
    pub(crate) now: Timestamp,
    pub(crate) since: Timestamp,
    pub(crate) path: Arc<str>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) journal: Arc<str>,
    pub(crate) health: Health,
    pub(crate) swept_at: Option<Timestamp>,
    pub(crate) not_ready: Option<NotReady>,
    /// The comparison of the schedule file on disk with the schedule in force.
    pub(crate) on_disk: LoadedFile,
    /// Lines that the log lacks. `None` once the log has told of them.
    pub(crate) log: Option<LogGap>,
    pub(crate) fires_in_flight: usize,
    pub(crate) accounts: Vec<(AccountName, AccountStanding)>,
    /// Some as many as were asked for, of each account a fair share.
    pub(crate) waiting: Vec<WaitingOccurrence>,
    pub(crate) upcoming: Vec<(Arc<Entry>, Timestamp)>,
    pub(crate) paused: Arc<BTreeMap<EntryName, Pause>>,
}

/// Why what comes due is not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReady {
    #[error("{0}")]
    StandsBy(Leadership),
    #[error(
        "the journal is gone, or another one is in its place: nothing is sent until it is back or a person begins a new one"
    )]
    Replaced,
    #[error("the lease of the journal has not been renewed in time: nothing is sent until it is")]
    Lapsed,
    #[error("the journal cannot be written: nothing new is started")]
    Journal,
    #[error("the journal has not answered for {0} s: nothing new is started")]
    Disk(u64),
    #[error(
        "the clock is behind what it has shown: nothing new is started until it shows {0:.0}; see that time is synchronised"
    )]
    Clock(Timestamp),
    #[error("what is due is not claimed yet")]
    Behind,
}

/// The loop's end.
#[derive(Debug)]
pub struct ControlReceiver {
    pub(crate) asks: mpsc::Receiver<ControlRequest>,
    pub(crate) schedule: watch::Sender<Arc<Schedule>>,
}

/// The other end.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    pub(crate) asks: mpsc::Sender<ControlRequest>,
    /// The schedule in force.
    pub(crate) schedule: watch::Receiver<Arc<Schedule>>,
}

/// Why the loop gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoopError {
    /// Ask the next daemon.
    #[error("the daemon is stopping; ask again when it has started")]
    Stopping,
    /// The loop took the question and ended, or lost its lease, before it answered.
    #[error(
        "the daemon stopped, or no longer leads, before it answered. What was asked for may have been done all the same: look at \
         `stackcron history` before you ask again"
    )]
    Unanswered,
    /// The loop or the disk hangs.
    #[error(
        "the daemon has not answered for {} s: its loop or its disk hangs; see its log, and restart it. What was asked for may \
         have been done all the same: look before you ask again",
        ANSWERED_WITHIN.as_secs()
    )]
    Hangs,
}

impl ControlHandle {
    /// Asks the loop, and waits for its answer.
    pub(crate) async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> ControlRequest,
    ) -> Result<T, LoopError> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.asks.send(ask(answer)).await.map_err(|_| LoopError::Stopping)?;
            answered.await.map_err(|_| LoopError::Unanswered)
        };
        timeout(ANSWERED_WITHIN, asking).await.map_err(|_| LoopError::Hangs)?
    }
}

/// A way to ask the loop.
pub fn channel(schedule: Arc<Schedule>) -> (ControlHandle, ControlReceiver) {
    let (ask, asks) = mpsc::channel(MOST_WAITING);
    let (replace, current) = watch::channel(schedule);
    (ControlHandle { asks: ask, schedule: current }, ControlReceiver { asks, schedule: replace })
}
