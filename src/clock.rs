//! The time: the wall clock and the monotonic clock, read together.
//!
//! Every decision takes a [`Now`]. Only the shell reads the clocks.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Time since the machine booted, suspends included. Never goes back, whoever sets the wall clock.
pub type Mono = Duration;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock: the time of people and cron expressions. It may jump.
    pub wall: Timestamp,
    /// The monotonic clock, which measures waits, timeouts and windows.
    pub mono: Mono,
}

impl Now {
    /// Reads both clocks. For the shell only: a decision is given its `Now`.
    pub fn read() -> Now {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Now {
            wall: Timestamp::now(),
            mono: Duration::new(boot.tv_sec.try_into().unwrap_or(0), boot.tv_nsec.try_into().unwrap_or(0)),
        }
    }

    /// Returns the time until the wall clock shows `at`, unless somebody sets it. Zero when `at` is
    /// past.
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.wall)).unwrap_or(Duration::ZERO)
    }

    /// Returns the wall clock's time at another monotonic instant, unless somebody sets it in
    /// between.
    pub fn wall_at(&self, at: Mono) -> Timestamp {
        let span = |mono| SignedDuration::try_from(mono).unwrap_or(SignedDuration::MAX);
        self.wall.saturating_add(span(at).saturating_sub(span(self.mono))).unwrap_or(self.wall)
    }

    /// Returns the amount by which the wall clock was set between an earlier reading and this one.
    /// Negative: set back.
    pub fn set_since(&self, earlier: Now) -> SignedDuration {
        self.wall.duration_since(earlier.wall_at(self.mono))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_no_time_away() {
        let now = Now { wall: Timestamp::UNIX_EPOCH, mono: Duration::ZERO };
        let later: Timestamp = "1970-01-01T00:00:02Z".parse().expect("a timestamp");
        let earlier: Timestamp = "1969-12-31T23:59:59Z".parse().expect("a timestamp");
        assert_eq!(now.until(later), Duration::from_secs(2));
        assert_eq!(now.until(earlier), Duration::ZERO);
    }
}
