//! The gate of an account's requests: the quota that it draws on, and the number of requests in
//! flight.

use super::quotas::{Admitted, QuotaNumber, Quotas};
use super::standing::Sent;
use crate::clock::Now;
use crate::quota::{Purpose, QuotaAnswer, Refusal};

/// Requests of one account that may be in flight at once. Enough to keep the API busy at any
/// latency that it has; each may need a connection, and a process has some thousand.
const MOST_IN_FLIGHT: usize = 256;

pub(super) struct Admission {
    /// The quota that the account draws on.
    pub(super) quota: QuotaNumber,
    in_flight: usize,
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
    pub(super) fn new(quota: QuotaNumber) -> Admission {
        Admission { quota, in_flight: 0, sent: Sent::default() }
    }

    /// Requests that wait for their answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    /// Asks for one request, which leaves if it is admitted.
    pub(super) fn admit(
        &mut self,
        quotas: &mut Quotas,
        purpose: Purpose,
        now: Now,
    ) -> Result<Admitted, Refusal> {
        if self.in_flight >= MOST_IN_FLIGHT {
            return Err(Refusal::InFlight);
        }
        let admitted = quotas.admit(self.quota, purpose, now)?;
        self.in_flight += 1;
        *match purpose {
            Purpose::Fire => &mut self.sent.fires,
            Purpose::FollowUp => &mut self.sent.follow_ups,
            Purpose::Check | Purpose::Reconcile => &mut self.sent.checks,
        } += 1;
        Ok(admitted)
    }

    /// Takes in the end of a request.
    pub(super) fn ended(&mut self, answer: Option<&QuotaAnswer>) {
        self.in_flight -= 1;
        self.sent.throttled += u64::from(answer.is_some_and(|answer| answer.refused.is_some()));
    }
}
