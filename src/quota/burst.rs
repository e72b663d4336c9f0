//! Waiting out a burst limit: a refusal that contradicts what is left of the quota.
//!
//! A proxy in front of the API, or the API itself, may limit how many requests come within seconds.
//! Its refusal (429, often as HTML and without headers) says nothing of the hourly quota, so the
//! quota stays open. The account waits 1 s, then sends one request as a probe. Each probe that is
//! refused doubles the wait, up to 60 s. Each answer that is no refusal lets one more request be in
//! flight, until more may be in flight than a burst limit is likely to mind.
//!
//! Example: at 12:00:00 nginx allows one request a second and refuses four of five. The account
//! sends one at 12:00:01, which is answered, then two at once. Should nginx refuse one of the two,
//! the next probe leaves a second later.

use std::time::Duration;

use crate::clock::Mono;

/// Wait after the first refusal. The usual unit of a proxy's limit is requests in a second.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No wait is longer: a minute is the longest unit of the usual limits.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Once this many requests may be in flight, the limit is taken to be gone.
const RECOVERED: u32 = 64;

/// The burst limit of one class of requests. Fires and follow-up have one each, so that a limit on
/// questions alone does not delay a fire.
#[derive(Debug, Default)]
pub(super) struct Burst {
    /// Requests of this class in flight.
    in_flight: u32,
    limited: Option<Limited>,
}

#[derive(Debug)]
struct Limited {
    /// Refused probes in a row, the first refusal included.
    refusals: u32,
    /// Arrival of the refusal that began the present wait. Answers to requests from before it bring
    /// nothing new.
    since: Mono,
    /// Nothing is sent before this instant.
    until: Mono,
    /// Requests that may be in flight at once.
    room: u32,
}

/// The burst limit's word on whether a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// An answer under way decides.
    InFlight,
    Until(Mono),
}

impl Burst {
    pub(super) fn gate(&self, now: Mono) -> Gate {
        match &self.limited {
            Some(limited) if now < limited.until => Gate::Until(limited.until),
            Some(limited) if self.in_flight >= limited.room => Gate::InFlight,
            Some(_) | None => Gate::Open,
        }
    }

    pub(super) fn left(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// The request ended, whatever it brought.
    pub(super) fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A request that was sent at `sent` was refused. `retry_after` is the wait that the answer
    /// asks for.
    pub(super) fn refused(&mut self, sent: Mono, retry_after: Option<Duration>, now: Mono) {
        let asked = now.saturating_add(retry_after.unwrap_or(Duration::ZERO));
        let refusals = match &mut self.limited {
            Some(limited) if sent < limited.since => {
                limited.until = limited.until.max(asked);
                return;
            }
            Some(limited) => limited.refusals.saturating_add(1),
            None => 1,
        };
        let wait = FIRST_WAIT.saturating_mul(1 << (refusals - 1).min(16)).min(LONGEST_WAIT);
        let until = now.saturating_add(wait).max(asked);
        self.limited = Some(Limited { refusals, since: now, until, room: 1 });
    }

    /// A request that was sent at `sent` was answered and not refused.
    pub(super) fn passed(&mut self, sent: Mono) {
        if let Some(limited) = &mut self.limited
            && sent >= limited.since
        {
            limited.refusals = 0;
            limited.room += 1;
            if limited.room > RECOVERED {
                self.limited = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Mono {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew_after_an_answer() {
        let mut burst = Burst::default();
        let mut now = at(100);
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            burst.refused(now, None, now);
            assert_eq!(burst.gate(now), Gate::Until(now + at(wait)));
            now += at(wait);
        }
        burst.passed(now);
        burst.refused(now, None, now);
        assert_eq!(burst.gate(now), Gate::Until(now + at(1)));
    }

    #[test]
    fn refusals_of_one_burst_count_once_and_one_probe_follows() {
        let mut burst = Burst::default();
        (0..40).for_each(|_| burst.left());
        for _ in 0..40 {
            burst.ended();
            burst.refused(at(9), None, at(10));
        }
        assert_eq!(burst.gate(at(10)), Gate::Until(at(11)), "40 refusals of one burst are one");
        assert_eq!(burst.gate(at(11)), Gate::Open);
        burst.left();
        assert_eq!(burst.gate(at(11)), Gate::InFlight, "one request goes as a probe");
    }
}
