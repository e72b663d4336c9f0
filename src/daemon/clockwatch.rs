//! Notices that the wall clock was set, or that nothing ran for a while.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Now;

/// A difference that is told. ntpd and chrony step the clock for more than this; what they slew,
/// and a smeared leap second, stays far below it between two looks.
const JUMP: SignedDuration = SignedDuration::from_millis(500);

/// Longer than any pause between two looks: the machine slept, or the process was stopped.
const SLEPT: Duration = Duration::from_secs(10);

/// A clock that is set forward by so much while the machine is awake is corrected, as Debian's cron
/// has it: nobody meant what lies between to run.
const CORRECTION: SignedDuration = SignedDuration::from_hours(3);

/// A change of the clocks between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClockChange {
    /// By how many milliseconds the wall clock jumped, as the daemon saw it: it was set, or time
    /// passed unseen.
    pub(super) jumped_ms: Option<i64>,
    /// Instant that the wall clock would show if nobody had set it forward.
    pub(super) set_forward_from: Option<Timestamp>,
    /// The time that the wall clock would show, had nobody set it forward by three hours or more
    /// while the machine was awake. `None`: nobody did.
    pub(super) corrected_from: Option<Timestamp>,
}

/// Compares the clocks from one look to the next.
#[derive(Debug)]
pub(super) struct Clockwatch(Now);

impl Clockwatch {
    pub(super) fn new(now: Now) -> Clockwatch {
        Clockwatch(now)
    }

    /// Returns the change of the clocks since the last look.
    pub(super) fn see(&mut self, now: Now) -> ClockChange {
        let before = self.0;
        let passed = SignedDuration::try_from(now.mono.saturating_sub(before.mono)).unwrap_or_default();
        let unset = before.wall.checked_add(passed).unwrap_or(Timestamp::MAX);
        let corrected_from = (now.wall.duration_since(unset) >= CORRECTION).then_some(unset);
        let set_forward_from = (now.wall.duration_since(unset) >= JUMP).then_some(unset);
        ClockChange { jumped_ms: self.jumped_ms(now), set_forward_from, corrected_from }
    }

    fn jumped_ms(&mut self, now: Now) -> Option<i64> {
        let before = std::mem::replace(&mut self.0, now);
        let passed = now.mono.saturating_sub(before.mono);
        let wall = now.wall.duration_since(before.wall);
        let set = wall.checked_sub(SignedDuration::try_from(passed).unwrap_or_default())?;
        let jump = match passed >= SLEPT {
            true => wall,
            false if set.abs() >= JUMP => set,
            false => return None,
        };
        i64::try_from(jump.as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the jump that is told when the clocks move on by these milliseconds.
    fn told(mono: u64, wall: i64) -> Option<i64> {
        let start =
            Now { wall: "2026-06-30T23:59:59Z".parse().expect("an instant"), mono: Duration::from_secs(5) };
        let mut watch = Clockwatch::new(start);
        let after = Now {
            wall: start.wall + SignedDuration::from_millis(wall),
            mono: start.mono + Duration::from_millis(mono),
        };
        watch.see(after).jumped_ms
    }

    #[test]
    fn three_hours_forward_are_a_correction_unless_the_machine_slept() {
        const HOUR: i64 = 3_600_000;
        let start = Now { wall: Timestamp::UNIX_EPOCH, mono: Duration::from_secs(5) };
        for (mono, wall, corrected) in [
            (0, 3 * HOUR - 1, None),
            (0, 3 * HOUR, Some(0)),
            (1000, 3 * HOUR + 1000, Some(1000)),
            (8 * HOUR, 8 * HOUR, None),
            (8 * HOUR, 11 * HOUR, Some(8 * HOUR)),
            (0, -24 * HOUR, None),
        ] {
            let after = Now {
                wall: start.wall + SignedDuration::from_millis(wall),
                mono: start.mono + Duration::from_millis(mono.unsigned_abs()),
            };
            let corrected = corrected.map(|ms| start.wall + SignedDuration::from_millis(ms));
            assert_eq!(Clockwatch::new(start).see(after).corrected_from, corrected, "{mono} {wall}");
        }
    }

    #[test]
    fn a_clock_that_is_set_is_told_and_a_slewed_one_is_not() {
        assert_eq!(told(3000, 3000), None, "steady");
        assert_eq!(told(3000, 3002), None, "slewed by ntpd at 500 ppm");
        assert_eq!(told(3000, 2000), Some(-1000), "a leap second by a step");
        assert_eq!(told(1000, 3_601_000), Some(3_600_000), "an hour forward");
        assert_eq!(told(1000, -3_599_000), Some(-3_600_000), "an hour back");
        assert_eq!(told(7_200_000, 7_200_000), Some(7_200_000), "asleep for two hours");
    }
}
