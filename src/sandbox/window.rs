//! The quota of one user: how many requests fit in a window, for each place where a window can
//! begin.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

/// The rule by which a quota window begins. The vendor says "hourly interval" and no more, so a
/// client must work with each of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowKind {
    /// At multiples of the window's length since 1970: an hourly window begins on the hour.
    #[default]
    Fixed,
    /// With the first request after the last window has ended.
    FirstRequest,
    /// Nowhere: each request counts for the length of the window, then is forgotten.
    Rolling,
}

/// The text names no kind of window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of window: write fixed, first-request or rolling")]
pub struct UnknownWindowKind(String);

impl FromStr for WindowKind {
    type Err = UnknownWindowKind;

    fn from_str(text: &str) -> Result<WindowKind, UnknownWindowKind> {
        [WindowKind::Fixed, WindowKind::FirstRequest, WindowKind::Rolling]
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| UnknownWindowKind(text.to_owned()))
    }
}

impl fmt::Display for WindowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            WindowKind::Fixed => "fixed",
            WindowKind::FirstRequest => "first-request",
            WindowKind::Rolling => "rolling",
        })
    }
}

/// The quota of a user: a number of requests in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxQuota {
    /// Requests in one window.
    pub limit: u32,
    /// The window's length.
    pub window: Duration,
    /// The rule by which the window begins.
    pub kind: WindowKind,
}

impl Default for SandboxQuota {
    /// The quota in the vendor's examples: 3,600 requests an hour.
    fn default() -> SandboxQuota {
        SandboxQuota { limit: 3600, window: Duration::from_secs(3600), kind: WindowKind::default() }
    }
}

/// The count of one user's requests. Time is given to it; an instant before the newest one seen
/// counts as that one.
#[derive(Clone, Debug)]
pub struct SandboxWindow {
    quota: SandboxQuota,
    latest: i128,
    /// The present window's first instant, in nanoseconds since the epoch. Of no use to a rolling
    /// one.
    start: Option<i128>,
    used: u32,
    /// The requests that a rolling window still counts, oldest first: instant in nanoseconds and
    /// number.
    counted: VecDeque<(i128, u32)>,
}

impl SandboxWindow {
    /// Creates a window of which nothing is used.
    pub fn new(quota: SandboxQuota) -> SandboxWindow {
        SandboxWindow { quota, latest: i128::MIN, start: None, used: 0, counted: VecDeque::new() }
    }

    /// Requests in one window.
    pub fn limit(&self) -> u32 {
        self.quota.limit
    }

    /// A new limit, from now on. What was used stays used.
    pub fn set_limit(&mut self, limit: u32) {
        self.quota.limit = limit;
    }

    /// Counts as many of `wanted` requests as still fit, and says how many those are.
    pub fn take(&mut self, wanted: u32, now: Timestamp) -> u32 {
        let now = self.turn(now);
        let granted = wanted.min(self.left());
        if granted > 0 {
            self.used += granted;
            match self.quota.kind {
                WindowKind::Fixed => {}
                WindowKind::FirstRequest => self.start = self.start.or(Some(now)),
                WindowKind::Rolling => self.counted.push_back((now, granted)),
            }
        }
        granted
    }

    /// Returns the number of requests that still fit at `now`.
    pub fn remaining(&mut self, now: Timestamp) -> u32 {
        self.turn(now);
        self.left()
    }

    fn left(&self) -> u32 {
        self.quota.limit.saturating_sub(self.used)
    }

    /// Forgets what no longer counts, and returns the instant that it took for now.
    fn turn(&mut self, now: Timestamp) -> i128 {
        let now = now.as_nanosecond().max(self.latest);
        self.latest = now;
        let length = i128::try_from(self.quota.window.as_nanos()).unwrap_or(i128::MAX).max(1);
        match self.quota.kind {
            WindowKind::Fixed => {
                let start = Some(now - now.rem_euclid(length));
                if self.start != start {
                    self.start = start;
                    self.used = 0;
                }
            }
            WindowKind::FirstRequest => {
                if self.start.is_some_and(|start| now - start >= length) {
                    self.start = None;
                    self.used = 0;
                }
            }
            WindowKind::Rolling => {
                while let Some(&(at, count)) = self.counted.front()
                    && now - at >= length
                {
                    self.counted.pop_front();
                    self.used -= count;
                }
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: i64 = 60;

    fn window(kind: WindowKind, limit: u32) -> SandboxWindow {
        SandboxWindow::new(SandboxQuota { limit, window: Duration::from_secs(LENGTH as u64), kind })
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("an instant")
    }

    #[test]
    fn a_fixed_window_turns_at_multiples_of_its_length() {
        let mut window = window(WindowKind::Fixed, 2);
        assert_eq!(window.take(1, at(118)), 1);
        assert_eq!(window.take(5, at(119)), 1, "one was left");
        assert_eq!(window.remaining(at(119)), 0);
        assert_eq!(window.remaining(at(120)), 2, "120 s is a multiple of 60 s");
    }

    #[test]
    fn a_window_from_the_first_request_opens_with_a_request_and_not_before() {
        let mut window = window(WindowKind::FirstRequest, 2);
        assert_eq!(window.remaining(at(50)), 2, "looking opens nothing");
        assert_eq!(window.take(1, at(100)), 1);
        assert_eq!(window.take(1, at(159)), 1);
        assert_eq!(window.take(1, at(159)), 0);
        assert_eq!(window.remaining(at(160)), 2, "60 s after the first request");
        assert_eq!(window.take(1, at(200)), 1);
        assert_eq!(window.remaining(at(259)), 1, "the second window began at 200 s");
        assert_eq!(window.remaining(at(260)), 2);
    }

    #[test]
    fn a_rolling_window_forgets_each_request_after_its_length() {
        let mut window = window(WindowKind::Rolling, 3);
        assert_eq!(window.take(1, at(0)), 1);
        assert_eq!(window.take(2, at(30)), 2);
        assert_eq!(window.take(1, at(59)), 0);
        assert_eq!(window.take(2, at(60)), 1, "that of 0 s is forgotten");
        assert_eq!(window.remaining(at(90)), 2, "those of 30 s are forgotten");
    }

    #[test]
    fn a_clock_that_goes_back_frees_nothing() {
        for kind in [WindowKind::Fixed, WindowKind::FirstRequest, WindowKind::Rolling] {
            let mut window = window(kind, 1);
            assert_eq!(window.take(1, at(130)), 1);
            assert_eq!(window.take(1, at(10)), 0, "{kind}");
        }
    }

    #[test]
    fn a_lower_limit_leaves_none_and_a_higher_one_leaves_more() {
        let mut window = window(WindowKind::Fixed, 10);
        window.take(6, at(0));
        window.set_limit(5);
        assert_eq!(window.remaining(at(1)), 0);
        window.set_limit(20);
        assert_eq!(window.remaining(at(1)), 14);
    }

    #[test]
    fn kinds_are_read_as_they_are_written() {
        for kind in [WindowKind::Fixed, WindowKind::FirstRequest, WindowKind::Rolling] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("hourly".parse::<WindowKind>().is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_a_window(
            limit in 0u32..8,
            steps in prop::collection::vec((0i64..40, 1u32..4), 1..60),
            kind in prop::sample::select(vec![WindowKind::Fixed, WindowKind::FirstRequest, WindowKind::Rolling]),
        ) {
            let mut window = window(kind, limit);
            let mut now = 0;
            let mut granted: Vec<(i64, u32)> = Vec::new();
            for (pause, wanted) in steps {
                now += pause;
                let left = window.remaining(at(now));
                let count = window.take(wanted, at(now));
                prop_assert_eq!(count, wanted.min(left), "all that is left is given");
                granted.push((now, count));
            }
            // The beginnings of the windows, computed without the code under test.
            let starts: Vec<i64> = match kind {
                WindowKind::Fixed => (0..=now / LENGTH).map(|n| n * LENGTH).collect(),
                WindowKind::Rolling => granted.iter().map(|&(at, _)| at).collect(),
                WindowKind::FirstRequest => {
                    let mut starts: Vec<i64> = Vec::new();
                    for &(at, count) in &granted {
                        if count > 0 && starts.last().is_none_or(|start| at - start >= LENGTH) {
                            starts.push(at);
                        }
                    }
                    starts
                }
            };
            for start in starts {
                let sum: u32 = granted
                    .iter()
                    .filter(|&&(at, _)| (start..start + LENGTH).contains(&at))
                    .map(|&(_, count)| count)
                    .sum();
                prop_assert!(sum <= limit, "{} granted from {} s on, {} allowed", sum, start, limit);
            }
        }
    }
}
