//! What time it is: the wall clock and the monotonic clock, read together.
//!
//! Every decision takes a [`Now`]. Only the shell reads the clocks.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Time since the machine booted, suspends included. Never goes back, whoever sets the wall clock.
pub type Mono = Duration;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// What people and cron expressions mean by time. May jump.
    pub wall: Timestamp,
    /// What waits, timeouts and windows are measured in.
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

    /// How long from now until the wall clock shows `at`, if nobody sets it. Zero when that is
    /// past.
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.wall)).unwrap_or(Duration::ZERO)
    }

    /// What the wall clock shows at an instant before or after this one, if nobody sets it.
    pub fn wall_at(&self, at: Mono) -> Timestamp {
        let span = |mono| SignedDuration::try_from(mono).unwrap_or(SignedDuration::MAX);
        self.wall.saturating_add(span(at).saturating_sub(span(self.mono))).unwrap_or(self.wall)
    }

    /// By how much the wall clock was set between an earlier reading and this one.
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
