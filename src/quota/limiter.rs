//! The shell around governor: a limiter that admits exactly as many requests as it was last told
//! are covered.
//!
//! A GCRA gives quota back as its clock moves. Here its clock counts requests, not time: it moves
//! by one nanosecond for each request that came back, and stands still otherwise. So nothing
//! trickles in by itself within a window, whatever its length, and the arithmetic is exact for
//! every limit a header can name.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Weight of one request on the limiter's clock.
const TICK: Duration = Duration::from_nanos(1);

/// Counts the requests that came back. Only [`Limiter::level`] moves it.
#[derive(Debug, Default)]
struct Returned(AtomicU64);

impl Clock for Returned {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

type Governor = RateLimiter<NotKeyed, InMemoryState, Returned, NoOpMiddleware<Nanos>>;

/// The limiter of one account under one limit, in one window.
#[derive(Debug)]
pub(super) struct Limiter {
    governor: Governor,
    capacity: NonZeroU32,
    left: u32,
}

impl Limiter {
    /// A full limiter. A limit of zero is taken as one: it is never levelled above what headers
    /// cover.
    pub(super) fn new(limit: u32) -> Limiter {
        let capacity = NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        let per_request = Quota::with_period(TICK).unwrap_or(Quota::per_second(capacity));
        Limiter {
            governor: RateLimiter::direct_with_clock(per_request.allow_burst(capacity), Returned::default()),
            capacity,
            left: capacity.get(),
        }
    }

    /// Drains or refills it to `left`, or to its capacity when that is less.
    pub(super) fn level(&mut self, left: u32) {
        let left = left.min(self.capacity.get());
        if let Some(back) = left.checked_sub(self.left) {
            self.governor.clock().0.fetch_add(back.into(), Ordering::Relaxed);
        } else if let Some(spent) = NonZeroU32::new(self.left - left) {
            let drained = self.governor.check_n(spent);
            debug_assert!(matches!(drained, Ok(Ok(()))), "draining {spent} of {} fits", self.left);
        }
        self.left = left;
    }

    /// Lets one request through, if one is left.
    pub(super) fn admit(&mut self) -> bool {
        let admitted = self.governor.check().is_ok();
        debug_assert_eq!(admitted, self.left > 0, "governor and its level agree");
        self.left = self.left.saturating_sub(u32::from(admitted));
        admitted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_limiter_admits_its_limit_and_no_more() {
        let mut limiter = Limiter::new(3);
        assert_eq!([(); 5].map(|()| limiter.admit()), [true, true, true, false, false]);
    }

    #[test]
    fn the_greatest_limit_a_header_can_name_neither_overflows_nor_leaks() {
        let mut limiter = Limiter::new(u32::MAX);
        limiter.level(2);
        assert_eq!([(); 3].map(|()| limiter.admit()), [true, true, false]);
        limiter.level(u32::MAX);
        limiter.level(1);
        assert_eq!([(); 2].map(|()| limiter.admit()), [true, false]);
    }

    proptest! {
        /// Whatever was done before, after `level(n)` exactly n go through.
        #[test]
        fn it_admits_exactly_its_level(limit in 1u32..200_000, levels in prop::collection::vec((0u32..200_000, 0u32..50), 1..40)) {
            let mut limiter = Limiter::new(limit);
            for (level, asked) in levels {
                limiter.level(level);
                let covered = level.min(limit);
                let admitted = (0..asked).filter(|_| limiter.admit()).count();
                prop_assert_eq!(admitted, covered.min(asked) as usize);
            }
        }
    }
}
