//! The gate of an account's requests: its quota, and the number of requests in flight.

use super::standing::Sent;
use crate::clock::{Mono, Now};
use crate::quota::{self, Purpose, Quota, QuotaChange, Refusal, Ticket};
use crate::schedule::QuotaSettings;

/// Requests of one account that may be in flight at once. Enough to keep the API busy at any
/// latency that it has; each may need a connection, and a process has some thousand.
const MOST_IN_FLIGHT: usize = 256;

pub(super) struct Admission {
    pub(super) quota: Quota,
    in_flight: usize,
    /// When the quota is worth asking again.
    closed_until: Option<Mono>,
    /// The same for follow-up, which may use a share only.
    share_closed_until: Option<Mono>,
    sent: Sent,
}

/// The outcome of a request, as far as the quota and the account's troubles go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The answer has what was asked for.
    AsAsked,
    /// Another answer, or none.
    Otherwise,
    /// No byte left.
    NeverSent,
}

impl Admission {
    pub(super) fn new(settings: QuotaSettings, now: Now) -> Admission {
        Admission {
            quota: Quota::new(settings, now),
            in_flight: 0,
            closed_until: None,
            share_closed_until: None,
            sent: Sent::default(),
        }
    }

    /// Requests that wait for their answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    /// Asks for one request, which leaves if it is admitted.
    pub(super) fn admit(&mut self, purpose: Purpose, now: Now) -> Result<Ticket, Refusal> {
        if self.in_flight >= MOST_IN_FLIGHT {
            return Err(Refusal::InFlight);
        }
        let admitted = self.quota.admit(purpose, now);
        let closed_until = match purpose {
            Purpose::Fire | Purpose::Reconcile => &mut self.closed_until,
            Purpose::FollowUp | Purpose::Check => &mut self.share_closed_until,
        };
        *closed_until = match &admitted {
            Err(Refusal::Until(until)) => Some(until.at),
            _ => None,
        };
        if admitted.is_ok() {
            self.in_flight += 1;
            *match purpose {
                Purpose::Fire => &mut self.sent.fires,
                Purpose::FollowUp => &mut self.sent.follow_ups,
                Purpose::Check | Purpose::Reconcile => &mut self.sent.checks,
            } += 1;
        }
        admitted
    }

    /// Takes in the end of a request.
    pub(super) fn settle(
        &mut self,
        ticket: Ticket,
        answer: Option<quota::QuotaAnswer>,
        came: Came,
        now: Now,
    ) -> Vec<QuotaChange> {
        self.in_flight -= 1;
        self.sent.throttled += u64::from(answer.is_some_and(|answer| answer.refused.is_some()));
        match answer {
            Some(answer) => self.quota.answered(ticket, answer, now),
            None if came == Came::NeverSent => self.quota.unsent(ticket, now),
            None => self.quota.lost(ticket, now),
        }
    }

    /// The account has another quota, or other settings of it: what was refused may be admitted.
    pub(super) fn reopen(&mut self) {
        (self.closed_until, self.share_closed_until) = (None, None);
    }

    /// When the quota is worth asking again. `None`: it has not refused.
    pub(super) fn closed_until(&self, purpose: Purpose) -> Option<Mono> {
        match purpose {
            Purpose::Fire | Purpose::Reconcile => self.closed_until,
            Purpose::FollowUp | Purpose::Check => self.share_closed_until,
        }
    }

    /// When a request that is due then is worth asking for.
    pub(super) fn opens(&self, purpose: Purpose, at: Mono) -> Mono {
        at.max(self.closed_until(purpose).unwrap_or(at))
    }
}
