//! The effects of dispatch: requests to the API, rows for the journal, lines for the log.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::cloud66::ActionId;
use crate::journal::{Claim, Handover, Key, Resent, Transition};
use crate::log::Event;
use crate::quota::Purpose;
use crate::schedule::{AccountName, Entry, EntryName, JobUid, StackUid};

/// An effect that the shell performs.
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
pub struct RequestId(pub(super) u64);

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
        /// The purpose that the quota is spent for.
        purpose: Purpose,
    },
    /// Ask how a stack is, or one of its jobs.
    Look {
        /// By whose token.
        account: AccountName,
        /// The stack that is looked at.
        stack: StackUid,
        /// The job that is looked at. `None`: the stack itself.
        job: Option<JobUid>,
    },
    /// Ask for the record of a job.
    JobRecord(AccountName, StackUid, JobUid),
}

pub(super) fn log(event: impl Into<Event>) -> Effect {
    Effect::Log(Box::new(event.into()))
}

/// Whole milliseconds of a span.
pub(super) fn ms(span: SignedDuration) -> i64 {
    span.as_millis().try_into().unwrap_or(i64::MAX)
}
