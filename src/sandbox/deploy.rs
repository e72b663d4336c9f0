//! Deployments that come and go by the clock: `STACK=5m/30m` deploys for 5 minutes from each half
//! hour on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::schedule::{StackUid, duration};

/// A stack that deploys again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploys {
    /// The stack.
    pub stack: StackUid,
    /// Length of each deployment.
    pub lasts: Duration,
    /// Time from one beginning to the next, counted from 1970-01-01T00:00Z.
    pub every: Duration,
}

/// A text that describes no deployments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write the deployments as STACK=LASTS/EVERY with LASTS shorter than EVERY, for example web=5m/30m")]
pub struct DeploysError;

impl Deploys {
    /// Returns true while the stack deploys at `now`.
    pub(super) fn is_on(&self, now: Timestamp) -> bool {
        let every = i128::try_from(self.every.as_nanos()).unwrap_or(i128::MAX).max(1);
        let lasts = i128::try_from(self.lasts.as_nanos()).unwrap_or(i128::MAX);
        now.as_nanosecond().rem_euclid(every) < lasts
    }
}

impl FromStr for Deploys {
    type Err = DeploysError;

    fn from_str(text: &str) -> Result<Deploys, DeploysError> {
        let (stack, times) = text.split_once('=').ok_or(DeploysError)?;
        let (lasts, every) = times.split_once('/').ok_or(DeploysError)?;
        let stack = StackUid::new(stack).map_err(|_| DeploysError)?;
        let parse = |text: &str| duration::parse(text).map_err(|_| DeploysError);
        let (lasts, every) = (parse(lasts)?, parse(every)?);
        if lasts < every { Ok(Deploys { stack, lasts, every }) } else { Err(DeploysError) }
    }
}

impl fmt::Display for Deploys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lasts, every) = (duration::Compact(self.lasts), duration::Compact(self.every));
        write!(f, "{}={lasts}/{every}", self.stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_begins_at_each_multiple_of_its_period() {
        let deploys: Deploys = "web=5m/30m".parse().expect("deployments");
        assert_eq!(deploys.to_string(), "web=5m/30m");
        for (at, on) in [
            ("2026-11-30T00:00:00Z", true),
            ("2026-11-30T00:04:59.999Z", true),
            ("2026-11-30T00:05:00Z", false),
            ("2026-11-30T00:29:59Z", false),
            ("2026-11-30T00:30:00Z", true),
        ] {
            assert_eq!(deploys.is_on(at.parse().expect("an instant")), on, "{at}");
        }
        for wrong in ["web", "web=5m", "web=30m/30m", "web=x/1m", "=1m/2m"] {
            assert!(wrong.parse::<Deploys>().is_err(), "{wrong}");
        }
    }
}
