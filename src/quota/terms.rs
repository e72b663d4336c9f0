//! The words between the quota and its caller: what is asked, what is refused, what is told.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Mono;

/// The purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// run_now.
    Fire,
    /// Asks how an action goes.
    FollowUp,
    /// Asks whether stacks, jobs and the token are in order.
    Check,
    /// Asks what became of a run_now in doubt: its entry fires nothing until that is known.
    Reconcile,
}

impl Purpose {
    /// Returns true for a request that may use a share of the quota only. A question that a fire
    /// waits for is not one of them.
    pub(super) fn is_background(self) -> bool {
        matches!(self, Purpose::FollowUp | Purpose::Check)
    }
}

/// One request in flight. Hand it back when it ended: to [`Quota::answered`], [`Quota::lost`] or
/// [`Quota::unsent`].
///
/// [`Quota::answered`]: super::Quota::answered
/// [`Quota::lost`]: super::Quota::lost
/// [`Quota::unsent`]: super::Quota::unsent
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not handed back counts as in flight for ever"]
pub struct Ticket {
    /// Number of the request, in the order of sending.
    pub(super) number: u64,
    pub(super) sent: Mono,
    pub(super) purpose: Purpose,
}

/// The end of the process that saved the quota's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The process stopped sending and then saved, so the saved state knows of every request.
    InOrder,
    /// Otherwise: it may have sent more than it saved.
    Killed,
}

/// Why nothing may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Answers under way decide: ask again when one has come, or was given up, or at
    /// [`Quota::wakes_at`].
    ///
    /// [`Quota::wakes_at`]: super::Quota::wakes_at
    InFlight,
    /// Asking again is in vain before an instant.
    Until(Until),
}

/// The earliest instant worth asking again, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// The instant on the monotonic clock, for the timer.
    pub at: Mono,
    /// The instant on the wall clock, for people. It is right unless somebody sets the clock.
    pub wall: Timestamp,
    /// The cause of the wait.
    pub why: WaitCause,
}

/// The cause of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCause {
    /// The quota beyond the reserve is used up: its window has to turn.
    Exhausted,
    /// The server named the instant, with `Retry-After`.
    RetryAfter,
    /// A burst limit: a refusal contradicted what is left, so requests go one by one, some time
    /// apart.
    Burst,
    /// Follow-up and checks have had their share of the window.
    Share,
}

/// An answer's word on the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaAnswer {
    /// `X-RateLimit-Limit`.
    pub limit: Option<u32>,
    /// `X-RateLimit-Remaining`.
    pub remaining: Option<u32>,
    /// The request was refused for want of quota: 429, or 503 `throttled`.
    pub refused: Option<Throttle>,
    /// `Date`: the API's clock at the time of the answer, in whole seconds.
    pub date: Option<Timestamp>,
}

/// A refusal for want of quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// The wait that the server asks for. It is obeyed. `None`: the server asks for none.
    pub retry_after: Option<Duration>,
    /// Tells whether the API itself says that the quota is spent.
    pub words: ThrottleWords,
}

/// The party that says in a refusal that the quota is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThrottleWords {
    /// The API, with its word `throttled`.
    OfTheApi,
    /// Nobody: a bare 429, as a proxy sends it.
    #[default]
    Absent,
}

/// The meaning of a refusal for want of quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaVerdict {
    /// The quota is spent: its window has to turn.
    Spent,
    /// The refusal contradicts what is left, so it limits bursts.
    Burst,
}

/// A change that is reported to the operator once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaChange {
    /// The server's limit is another.
    Limit {
        /// The limit from now on.
        limit: u32,
        /// The limit until now.
        was: u32,
    },
    /// Nothing is left beyond the reserve.
    Exhausted {
        /// The limit in force.
        limit: u32,
        /// Remaining, as the API last told.
        remaining: u32,
        /// The instant at which quota should come back.
        until: Timestamp,
    },
    /// There is quota again.
    Restored {
        /// The limit in force.
        limit: u32,
        /// Remaining, as the API last told.
        remaining: u32,
    },
}
