//! Tells whether the entry was in the schedule at an instant of which the journal has nothing.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use crate::journal::InForce;

/// The journal's knowledge of an entry at an instant. Its keys are an interface.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Then {
    /// True when the entry was in the schedule that was in force.
    in_schedule: bool,
    /// True when the entry was due by the schedule that was in force. `None`: not known, because
    /// its zone no longer exists.
    due: Option<bool>,
    /// Beginning of this state. `None`: the journal knows of no time before.
    since: Option<Timestamp>,
    /// End of this state. `None`: the state lasts.
    until: Option<Timestamp>,
}

impl Then {
    /// `None`: the journal does not know it, or has left it out since.
    pub(super) fn of(in_force: &InForce, at: Timestamp) -> Option<Then> {
        if in_force.pruned_until.is_some_and(|until| at < until) || in_force.spans.is_empty() {
            return None;
        }
        Some(match in_force.spans.iter().find(|span| span.holds(at)) {
            Some(span) => {
                Then { in_schedule: true, due: span.is_due(at), since: Some(span.since), until: span.until }
            }
            None => Then {
                in_schedule: false,
                due: Some(false),
                since: in_force.spans.iter().filter_map(|span| span.until).filter(|&until| until <= at).max(),
                until: in_force.spans.iter().map(|span| span.since).filter(|&since| since > at).min(),
            },
        })
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.in_schedule, self.since, self.until) {
            (false, Some(since), Some(until)) => write!(
                f,
                "the entry was not in the schedule then: it was taken away at {since:.0} and came back at {until:.0}"
            ),
            (false, Some(since), None) => {
                write!(f, "the entry was not in the schedule then: it was taken away at {since:.0}")
            }
            (false, None, until) => {
                f.write_str("the entry was not in the schedule then, or the daemon had not started: the journal knows it")?;
                until.map_or(Ok(()), |until| write!(f, " since {until:.0}"))
            }
            (true, since, _) if self.due == Some(false) => {
                f.write_str("the entry was not due then by the schedule that was in force")?;
                since.map_or(Ok(()), |since| write!(f, " since {since:.0}"))
            }
            (true, ..) => f.write_str(
                "the entry was in the schedule then, and the journal has nothing of the occurrence; `stackcron audit` tells of more",
            ),
        }
    }
}
