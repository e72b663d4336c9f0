//! A span of time on the command line: `--from` and `--until`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::moment::{Moment, MomentError, shared_zone};
use crate::schedule::Schedule;

/// A span between two instants, the last one excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpan {
    /// Beginning of the span.
    pub from: Timestamp,
    /// End of the span, itself excluded.
    pub until: Timestamp,
}

/// Two times that make no span.
#[derive(Debug, thiserror::Error)]
pub enum SpanError {
    /// A local time, while the entries live in several zones.
    #[error("the entries are in several zones: write the time with its offset, as 2026-10-25T01:30:00+01:00")]
    ManyZones,
    /// A local time past the end of the calendar.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// It ends where it begins, or before.
    #[error("--until ({until}) has to be after --from ({from})")]
    Empty {
        /// The beginning that was asked for.
        from: Timestamp,
        /// The end that was asked for.
        until: Timestamp,
    },
}

impl TimeSpan {
    /// The span between two instants.
    pub fn new(from: Timestamp, until: Timestamp) -> Result<TimeSpan, SpanError> {
        if from < until { Ok(TimeSpan { from, until }) } else { Err(SpanError::Empty { from, until }) }
    }

    /// The instant that a time on the command line means, with a local time read in the zone that the entries share.
    pub fn instant(moment: Moment, schedule: &Schedule, now: Timestamp) -> Result<Timestamp, SpanError> {
        match shared_zone(&schedule.entries) {
            None if moment.is_local() => Err(SpanError::ManyZones),
            zone => Ok(moment.in_zone(&zone.unwrap_or(TimeZone::UTC), now)?),
        }
    }
}
