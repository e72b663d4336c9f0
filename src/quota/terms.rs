//! The words between the quota and its caller: what is asked, what is refused, what is told.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Mono;

/// What a request is for.
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
    /// Whether it may use a share of the quota only. What a fire waits for is no aside.
    pub(super) fn is_aside(self) -> bool {
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
    /// The quota that admitted the request, by its number among those of the account.
    pub(super) generation: u32,
    /// In the order of sending.
    pub(super) number: u64,
    pub(super) sent: Mono,
    pub(super) purpose: Purpose,
}

/// How the process ended that saved what it knew of the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It stopped sending, and saved then: nothing was sent of which that does not know.
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
    /// It is not worth asking again before an instant.
    Until(Until),
}

/// The earliest instant worth asking again, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// For the timer.
    pub at: Mono,
    /// For people: right if nobody sets the wall clock.
    pub wall: Timestamp,
    /// What is waited for.
    pub why: Why,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
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

/// What an answer told of the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// `X-RateLimit-Limit`.
    pub limit: Option<u32>,
    /// `X-RateLimit-Remaining`.
    pub remaining: Option<u32>,
    /// The request was refused for want of quota: 429, or 503 `throttled`.
    pub refused: Option<Throttle>,
}

/// A refusal for want of quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttle {
    /// How long to wait, when the server says so. The wait is obeyed.
    pub retry_after: Option<Duration>,
    /// Whether the API itself says that the quota is spent.
    pub words: ThrottleWords,
}

/// Who says in a refusal that the quota is spent.
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
pub enum Verdict {
    /// The quota is spent: its window has to turn.
    Spent,
    /// The refusal contradicts what is left, so it limits bursts.
    Burst,
}

/// What an operator is told, once for each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The server's limit is another.
    Limit {
        /// From now on.
        limit: u32,
        /// Until now.
        was: u32,
    },
    /// Nothing is left beyond the reserve.
    Exhausted {
        /// The limit in force.
        limit: u32,
        /// As newest told.
        remaining: u32,
        /// When it should come back.
        until: Timestamp,
    },
    /// There is quota again.
    Restored {
        /// The limit in force.
        limit: u32,
        /// As newest told.
        remaining: u32,
    },
}
