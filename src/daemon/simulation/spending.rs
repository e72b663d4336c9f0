//! Judges whether an account's requests stay within the quota that the headers told. This judge
//! knows which answers the daemon has, and in which order the server counted.

use std::time::Duration;

use crate::quota::{QuotaAnswer, ThrottleWords};
use crate::rehearsal::network::Network;
use crate::schedule::QuotaSettings;

/// After this many answers without headers the daemon counts for itself.
const SILENT: u32 = 5;

/// While nothing was told, one request goes, and after each of these without an answer twice as
/// many.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Spending {
    newest: Option<Newest>,
    /// This life's, and not known to be counted by the newest answer.
    open: Vec<OpenRequest>,
    bare: u32,
    /// Time since which a request has been in flight, or admitted.
    in_flight_since: Duration,
    /// Number of requests that are admitted and have not left: a write comes first, or they will
    /// not leave.
    admitted: usize,
}

/// The newest answer that the daemon has, in the order in which the server counted.
#[derive(Clone, Copy, Debug)]
struct Newest {
    order: usize,
    remaining: u32,
    limit: u32,
    came: Duration,
    /// The server said so in refusing.
    not_before: Option<Duration>,
}

#[derive(Debug)]
struct OpenRequest {
    number: usize,
    flight: Option<u64>,
    ended: bool,
    /// Beyond what was covered.
    alone: bool,
}

impl Spending {
    /// Another process. After an end in order it knows what the former one knew.
    pub(super) fn starts(&mut self, in_order: bool) {
        self.open.clear();
        self.bare = 0;
        self.admitted = 0;
        if !in_order {
            self.newest = None;
        }
    }

    /// A request is admitted, and leaves later or never.
    pub(super) fn admits(&mut self, now: Duration) {
        if self.in_flight() + self.admitted == 0 {
            self.in_flight_since = now;
        }
        self.admitted += 1;
    }

    /// One that was admitted leaves, or will not.
    pub(super) fn was_admitted(&mut self) {
        self.admitted = self.admitted.saturating_sub(1);
    }

    fn in_flight(&self) -> usize {
        self.open.iter().filter(|open| !open.ended).count()
    }

    /// A request leaves that was admitted when it was asked for. An error when what was known by
    /// then forbids it. What another member has learnt of the time is off by as much as the clocks
    /// are apart.
    pub(super) fn sends(
        &mut self,
        number: usize,
        (asked, now): (Duration, Duration),
        settings: QuotaSettings,
        (network, apart): (&Network, Duration),
    ) -> Result<(), String> {
        let in_flight = self.in_flight();
        let mut alone = false;
        let mut judged = Ok(());
        if let Some(newest) = self.newest {
            self.open.retain(|open| match open.flight.and_then(|flight| network.judged(flight)) {
                Some(order) => order > newest.order,
                None => !open.ended,
            });
            let reserve = settings.reserve.of(newest.limit) as usize;
            alone = newest.remaining as usize <= reserve + self.open.len();
            if newest.came > asked {
                alone = false;
            } else if newest.not_before.is_some_and(|at| now + apart < at) {
                judged = Err(format!("sent before the server's Retry-After was over: {newest:?}"));
            } else if alone && self.open.iter().any(|open| open.alone && !open.ended) {
                judged = Err(format!(
                    "a second request beyond what is covered: {newest:?}, reserve {reserve}, open {:?}",
                    self.open
                ));
            }
        } else {
            let doublings = (now - self.in_flight_since).as_secs() / PATIENCE.as_secs();
            if in_flight as u64 >= 1 << doublings.min(40) {
                judged = Err(format!("{in_flight} are in flight and nothing was told"));
            }
        }
        self.open.push(OpenRequest { number, flight: None, ended: false, alone });
        if self.bare >= SILENT { Ok(()) } else { judged }
    }

    pub(super) fn flies(&mut self, number: usize, flight: u64) {
        if let Some(open) = self.open.iter_mut().find(|open| open.number == number) {
            open.flight = Some(flight);
        }
    }

    /// The daemon has the answer, or has none.
    pub(super) fn ended(
        &mut self,
        number: usize,
        now: Duration,
        answer: Option<QuotaAnswer>,
        settings: QuotaSettings,
        network: &Network,
    ) {
        let Some(open) = self.open.iter_mut().find(|open| open.number == number) else { return };
        open.ended = true;
        let flight = open.flight;
        let Some(order) = flight.and_then(|flight| network.judged(flight)) else { return };
        let Some(answer) = answer else { return };
        let limit = answer.limit.or(self.newest.map(|newest| newest.limit)).unwrap_or(settings.limit);
        let told = answer.remaining.filter(|&remaining| remaining <= limit);
        let remaining = match answer.refused {
            Some(refused) if told.is_none() && self.is_spent(refused.words, now, settings) => Some(0),
            _ => told,
        };
        let wait = answer.refused.and_then(|throttle| throttle.retry_after).map(|wait| now + wait);
        let Some(remaining) = remaining else {
            self.bare += 1;
            if let Some(newest) = &mut self.newest
                && newest.order < order
            {
                newest.not_before = newest.not_before.max(wait);
            }
            return;
        };
        if self.newest.is_none_or(|newest| newest.order < order) {
            self.newest = Some(Newest { order, remaining, limit, came: now, not_before: wait });
        }
    }

    /// Returns true when a refusal with these words and without a Remaining closes the window, as
    /// far as the newest answer tells. The rule is that of `Quota::judge`.
    fn is_spent(&self, words: ThrottleWords, now: Duration, settings: QuotaSettings) -> bool {
        match words {
            ThrottleWords::Absent => false,
            ThrottleWords::OfTheApi => self.newest.is_none_or(|newest| {
                newest.remaining <= newest.limit / 2
                    || now.saturating_sub(newest.came) >= settings.window / 10
            }),
        }
    }
}
