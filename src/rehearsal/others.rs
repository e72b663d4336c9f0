//! Others' use of the same quota: people, deploys and CI with the same token.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use super::ConditionError;
use crate::schedule::duration;

/// Average number of requests in a time. Chance decides their instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Others {
    requests: u32,
    within: Duration,
}

/// Not more often than this on average: a week of others would take longer than a rehearsal is worth.
const SHORTEST_GAP: Duration = Duration::from_millis(10);

impl Others {
    fn gap(self) -> Option<Duration> {
        self.within.checked_div(self.requests)
    }
}

impl FromStr for Others {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Others, ConditionError> {
        let (requests, within) = text.split_once('/').ok_or(ConditionError::Others)?;
        let others = Others {
            requests: requests.trim().parse().map_err(|_| ConditionError::Others)?,
            within: duration::parse(within.trim()).map_err(|_| ConditionError::Others)?,
        };
        match others.gap() {
            Some(gap) if gap < SHORTEST_GAP => Err(ConditionError::Others),
            _ => Ok(others),
        }
    }
}

/// The instants of others' requests with one account's token.
#[derive(Debug)]
pub(super) struct Instants {
    longest_gap: u64,
    next: Timestamp,
    chances: fastrand::Rng,
}

impl Instants {
    /// Returns the instants of others' requests from `now` on. `None`: others send nothing.
    pub(super) fn new(others: Others, from: Timestamp, chances: fastrand::Rng) -> Option<Instants> {
        // Gaps are drawn from zero to twice the mean.
        let longest_gap = u64::try_from(others.gap()?.as_nanos()).ok()?.checked_mul(2)?;
        let mut instants = Instants { longest_gap, next: from, chances };
        instants.move_on();
        Some(instants)
    }

    /// The next instant up to `until`, if there is one.
    pub(super) fn next_until(&mut self, until: Timestamp) -> Option<Timestamp> {
        let next = self.next;
        (next <= until).then(|| {
            self.move_on();
            next
        })
    }

    fn move_on(&mut self) {
        let gap = Duration::from_nanos(self.chances.u64(1..=self.longest_gap));
        self.next = self.next.checked_add(gap).unwrap_or(Timestamp::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_send_as_many_as_they_are_said_to() {
        let others: Others = "300/1h".parse().expect("use by others");
        let until = Timestamp::from_second(100 * 3600).expect("an instant");
        let mut instants = Instants::new(others, Timestamp::UNIX_EPOCH, fastrand::Rng::with_seed(7))
            .expect("there are others");
        let count = std::iter::from_fn(|| instants.next_until(until)).count();
        assert!((28_000..32_000).contains(&count), "30,000 in 100 hours on average: {count}");
    }

    #[test]
    fn what_others_use_is_requests_in_a_time() {
        for text in ["", "300", "/1h", "300/", "-1/1h", "1000000/1s"] {
            assert_eq!(text.parse::<Others>(), Err(ConditionError::Others), "{text:?}");
        }
        let nobody: Others = "0/1h".parse().expect("use by nobody");
        assert!(Instants::new(nobody, Timestamp::UNIX_EPOCH, fastrand::Rng::with_seed(1)).is_none());
    }
}
