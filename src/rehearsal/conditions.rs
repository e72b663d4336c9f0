//! The suppositions of a rehearsal about the API, about the way to it, and about others.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::journal::UsualRuns;
use crate::sandbox::{Deploys, Fault, WindowKind};
use crate::schedule::duration::{self, Compact};

use super::{ConditionError, Others};

/// Suppositions of a rehearsal. All chance is drawn from the seed.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// Time that a request and its answer are under way.
    pub latency: Latency,
    /// Faults of the API.
    pub faults: Vec<Fault>,
    /// Stacks that deploy by the clock.
    pub deploys: Vec<Deploys>,
    /// Requests of other users of each account's quota.
    pub others: Option<Others>,
    /// Kind of the quota's windows.
    pub window_kind: WindowKind,
    /// Run time of an action, where `usual` does not tell it.
    pub action_duration: Duration,
    /// The usual run times of entries.
    pub usual: UsualRuns,
    /// Seed of all chance.
    pub seed: u64,
}

impl Default for Conditions {
    /// An API near by that fails nobody, jobs of a minute, nobody else on the quota.
    fn default() -> Conditions {
        Conditions {
            latency: Latency::default(),
            faults: Vec::new(),
            deploys: Vec::new(),
            others: None,
            window_kind: WindowKind::default(),
            action_duration: Duration::from_secs(60),
            usual: UsualRuns::default(),
            seed: 0,
        }
    }
}

/// Time that a request and its answer are under way together: one duration, or any between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    least: Duration,
    most: Duration,
}

impl Default for Latency {
    /// 200 ms.
    fn default() -> Latency {
        let once = Duration::from_millis(200);
        Latency { least: once, most: once }
    }
}

impl Latency {
    /// The latency of one request.
    pub(super) fn draw(self, chances: &mut fastrand::Rng) -> Duration {
        let span = self.most.saturating_sub(self.least).as_nanos();
        self.least + Duration::from_nanos(chances.u64(..=u64::try_from(span).unwrap_or(u64::MAX)))
    }
}

impl FromStr for Latency {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Latency, ConditionError> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let read = |text| duration::parse(text).map_err(|_| ConditionError::Latency);
        let latency = Latency { least: read(least)?, most: read(most)? };
        if latency.least > latency.most { Err(ConditionError::Latency) } else { Ok(latency) }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.least == self.most {
            true => write!(f, "{}", Compact(self.least)),
            false => write!(f, "{}..{}", Compact(self.least), Compact(self.most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_one_duration_or_any_between_two() {
        let latency: Latency = "50ms..2s".parse().expect("a latency");
        let mut chances = fastrand::Rng::with_seed(1);
        let drawn: Vec<Duration> = (0..100).map(|_| latency.draw(&mut chances)).collect();
        assert!(drawn.iter().all(|d| (latency.least..=latency.most).contains(d)), "{drawn:?}");
        assert!(drawn.iter().any(|d| *d > Duration::from_secs(1)), "the whole span is drawn from: {drawn:?}");
        let once: Latency = "1s".parse().expect("a latency");
        assert_eq!(once.draw(&mut chances), Duration::from_secs(1));
        for text in ["", "1", "2s..1s", "1s..", "..1s"] {
            assert_eq!(text.parse::<Latency>(), Err(ConditionError::Latency), "{text:?}");
        }
    }
}
