//! A time on the command line: an instant, or what the clocks of a zone show.

use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::schedule::Entry;

/// A time as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With an offset or `Z`: `2026-10-25T00:30:00Z`.
    Instant(Timestamp),
    /// Without: `2026-10-25T01:30`, or `2026-10-25` for its midnight.
    Local(DateTime),
}

/// A text that is no time, or a time past the end of the calendar.
#[derive(Debug, thiserror::Error)]
#[error("write a time as 2026-10-25T00:30:00Z, or 2026-10-25T01:30 or 2026-10-25 in the entry's zone")]
pub struct MomentError;

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Moment, MomentError> {
        if let Ok(at) = text.parse() {
            return Ok(Moment::Instant(at));
        }
        text.parse().map(Moment::Local).map_err(|_| MomentError)
    }
}

impl Moment {
    /// The instant, with a local time read in `zone`: of a time that comes twice the first, of a skipped one the
    /// time as far after the gap as it lies in it.
    pub fn in_zone(self, zone: &TimeZone) -> Result<Timestamp, MomentError> {
        match self {
            Moment::Instant(at) => Ok(at),
            Moment::Local(civil) => zone.to_timestamp(civil).map_err(|_| MomentError),
        }
    }
}

/// The zone of all the entries; `None` where they have several.
pub fn shared_zone(entries: &[Arc<Entry>]) -> Option<TimeZone> {
    let zone = entries.first().map_or(TimeZone::UTC, |entry| entry.timezone.clone());
    entries.iter().all(|entry| entry.timezone == zone).then_some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_an_offset_is_the_zone_s() {
        let london = TimeZone::get("Europe/London").expect("a zone");
        for (text, instant) in [
            ("2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z"),
            ("2026-07-01T01:30:00+02:00", "2026-06-30T23:30:00Z"),
            ("2026-07-01T01:30", "2026-07-01T00:30:00Z"),
            ("2026-07-01 01:30:15", "2026-07-01T00:30:15Z"),
            ("2026-07-01", "2026-06-30T23:00:00Z"),
        ] {
            let moment: Moment = text.parse().expect("a time");
            let at = moment.in_zone(&london).expect("in range");
            assert_eq!(at.to_string(), instant, "{text}");
        }
        for text in ["", "noon", "2026-13-01", "1790000000"] {
            assert!(text.parse::<Moment>().is_err(), "{text:?} is no time");
        }
    }
}
