//! The differences between the API's clock and ours that answers have shown lately, kept for the
//! processes to come.
//!
//! **Problem.** An attempt in doubt of a former process is looked for by the clock that this
//! process had. Where that clock was fast, and somebody has set it right since, the attempt's
//! action began long before the instant that the journal has for it, and a list that is read back
//! to that instant does not show it.
//!
//! **Mechanism.** Each answer has a `Date`. Differences that are more than [`ALIKE`] apart are kept
//! for [`KEPT`], and are saved with the state of the quotas: after the first answer of a process,
//! and before the first claim after somebody has set the clock. The span of an attempt of a former
//! process reaches back to the earliest instant by any of them.
//!
//! **Example.** The clock is an hour fast. An attempt leaves at 03:00 by it, at 02:00 by the API,
//! and the daemon is killed. The clock is set right, and the daemon starts at 03:05. The journal
//! has the difference of an hour, so that the list is read back to 02:00: it shows an action, and
//! the attempt is not sent again.

use jiff::{SignedDuration, Timestamp};

use crate::clock::Now;
use crate::quota::SavedClock;

/// Differences that are no further apart count as one: an instant of the API is a whole second, and
/// its answer was under way.
const ALIKE: SignedDuration = SignedDuration::from_secs(2);

/// Time for which a difference is kept after the last answer that showed it. An attempt may be in
/// doubt until its `start_deadline`, which rarely is more than a day.
const KEPT: SignedDuration = SignedDuration::from_hours(25);

/// Most differences that are kept at a time. The newest ones stay.
const MOST: usize = 16;

/// The differences, and the newest answer.
#[derive(Debug, Default)]
pub(super) struct SeenClocks {
    seen: Vec<SavedClock>,
    /// The difference that the newest answer of this process has shown, and when it came.
    newest: Option<(SignedDuration, Now)>,
    /// Somebody has set our clock since the differences were last saved.
    is_set: bool,
}

impl SeenClocks {
    /// Goes on with the differences that former processes have seen.
    pub(super) fn restore<'s>(&mut self, saved: impl Iterator<Item = &'s SavedClock>) {
        saved.for_each(|clock| self.keep(*clock));
    }

    /// An answer has come that was written at `date` by the API's clock.
    pub(super) fn answered(&mut self, date: Timestamp, now: Now) {
        let ahead = date.duration_since(now.wall);
        self.newest = Some((ahead, now));
        self.keep(SavedClock { ahead_ms: ms(ahead), until: date });
    }

    /// Somebody has set our clock.
    pub(super) fn is_set(&mut self, now: Now) {
        let Some((ahead, came)) = self.newest else { return };
        let ahead = ahead.saturating_sub(now.set_since(came));
        let until = now.wall.saturating_add(ahead).unwrap_or(now.wall);
        self.keep(SavedClock { ahead_ms: ms(ahead), until });
        self.is_set = true;
    }

    /// Returns true when somebody has set our clock since this was last asked.
    pub(super) fn was_set(&mut self) -> bool {
        std::mem::take(&mut self.is_set)
    }

    /// Returns the differences for the processes to come.
    pub(super) fn save(&self) -> Vec<SavedClock> {
        self.seen.clone()
    }

    /// Returns how far the API's clock was ahead of ours.
    pub(super) fn ahead(&self) -> impl Iterator<Item = SignedDuration> {
        self.seen.iter().map(|clock| SignedDuration::from_millis(clock.ahead_ms))
    }

    fn keep(&mut self, clock: SavedClock) {
        let is_like = |known: &SavedClock| {
            known.ahead_ms.abs_diff(clock.ahead_ms) <= ALIKE.as_millis().unsigned_abs() as u64
        };
        match self.seen.iter().position(is_like) {
            Some(place) => self.seen[place].until = self.seen[place].until.max(clock.until),
            None => self.seen.push(clock),
        }
        self.seen.sort_by_key(|known| std::cmp::Reverse(known.until));
        self.seen.truncate(MOST);
        let newest = self.seen.first().map_or(clock.until, |known| known.until);
        self.seen.retain(|known| newest.duration_since(known.until) < KEPT);
    }
}

fn ms(span: SignedDuration) -> i64 {
    span.as_millis().try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn now(wall: i64, mono: u64) -> Now {
        Now { wall: Timestamp::from_second(wall).expect("an instant"), mono: Duration::from_secs(mono) }
    }

    fn at(second: i64) -> Timestamp {
        now(second, 0).wall
    }

    #[test]
    fn differences_are_kept_once_for_a_day_and_are_known_as_soon_as_the_clock_is_set() {
        let mut clocks = SeenClocks::default();
        clocks.answered(at(1000), now(1000, 10));
        clocks.answered(at(1001), now(1002, 12));
        assert_eq!(clocks.ahead().collect::<Vec<_>>(), [SignedDuration::ZERO], "one second is nothing");
        assert!(!clocks.was_set());
        clocks.is_set(now(4603, 13));
        assert!(clocks.was_set() && !clocks.was_set(), "once");
        let hour_fast = SignedDuration::from_secs(-3601);
        assert!(clocks.ahead().any(|ahead| ahead == hour_fast), "{clocks:?}");
        let mut next = SeenClocks::default();
        next.restore(clocks.save().iter());
        assert_eq!(next.ahead().count(), 2);
        next.answered(at(1000 + 26 * 3600), now(1000 + 26 * 3600, 5));
        assert_eq!(next.ahead().collect::<Vec<_>>(), [SignedDuration::ZERO], "a day later");
    }

    #[test]
    fn so_many_differences_are_kept_at_most() {
        let mut clocks = SeenClocks::default();
        for second in 0..100 {
            clocks.answered(at(second), now(second * 10, 0));
        }
        assert_eq!(clocks.ahead().count(), MOST);
    }
}
