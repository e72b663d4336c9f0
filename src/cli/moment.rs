//! A time on the command line: an instant, what the clocks of a zone show, or a distance from now.

use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Unit};

use crate::schedule::{Entry, duration};

/// A time as a person writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With an offset or `Z`: `2026-10-25T00:30:00Z`.
    Instant(Timestamp),
    /// Without: `2026-10-25T01:30`, or `2026-10-25` for its midnight.
    Local(DateTime),
    /// A time of today: `01:30`.
    Clock(Time),
    /// The midnight with which a day begins, as many days from today: `yesterday` is -1.
    Day(i8),
    /// A distance from now: `now`, `2h ago`, `-2h`, `+30m`.
    FromNow(SignedDuration),
}

/// A text that is no time, or a time past the end of the calendar.
#[derive(Debug, thiserror::Error)]
#[error(
    "write a time as 2026-10-25T00:30:00Z; or as 2026-10-25T01:30, 2026-10-25 or 01:30 in the entry's zone; or as now, \
     today, yesterday, tomorrow, `2h ago`, -2h or +30m"
)]
pub struct MomentError;

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Moment, MomentError> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "now" => return Ok(Moment::FromNow(SignedDuration::ZERO)),
            "today" => return Ok(Moment::Day(0)),
            "yesterday" => return Ok(Moment::Day(-1)),
            "tomorrow" => return Ok(Moment::Day(1)),
            _ => {}
        }
        let distance = |text: &str| {
            let distance = duration::parse(text).map_err(|_| MomentError)?;
            SignedDuration::try_from(distance).map_err(|_| MomentError)
        };
        if let Some(text) = text.strip_suffix("ago").or_else(|| text.strip_prefix('-')) {
            return distance(text).map(|distance| Moment::FromNow(-distance));
        }
        if let Some(text) = text.strip_prefix('+').or_else(|| text.strip_prefix("in ")) {
            return distance(text).map(Moment::FromNow);
        }
        if let Ok(at) = text.parse() {
            return Ok(Moment::Instant(at));
        }
        if let Ok(local) = text.parse() {
            return Ok(Moment::Local(local));
        }
        // A time without a colon, as jiff reads it too, could be a year.
        let clock = text.contains(':').then(|| text.parse().ok()).flatten();
        clock.map(Moment::Clock).ok_or(MomentError)
    }
}

impl Moment {
    /// Returns true when the instant depends on a zone.
    pub fn is_local(self) -> bool {
        matches!(self, Moment::Local(_) | Moment::Clock(_) | Moment::Day(_))
    }

    /// What the clocks of `zone` show at this time. `None` where the time is an instant, whatever the
    /// zone.
    ///
    /// # Errors
    /// When a day is past the end of the calendar.
    pub fn civil(self, zone: &TimeZone, now: Timestamp) -> Result<Option<DateTime>, MomentError> {
        let today = || zone.to_datetime(now).date();
        match self {
            Moment::Instant(_) | Moment::FromNow(_) => Ok(None),
            Moment::Local(civil) => Ok(Some(civil)),
            Moment::Clock(time) => Ok(Some(today().to_datetime(time))),
            Moment::Day(days) => {
                let day = today().checked_add(Span::new().days(days)).map_err(|_| MomentError)?;
                Ok(Some(day.to_datetime(Time::midnight())))
            }
        }
    }

    /// The instant, with a local time read in `zone`: of a time that comes twice the first, of a
    /// skipped one the time as far after the gap as it lies in it.
    ///
    /// # Errors
    /// When the time is past the end of the calendar.
    pub fn in_zone(self, zone: &TimeZone, now: Timestamp) -> Result<Timestamp, MomentError> {
        if let Some(civil) = self.civil(zone, now)? {
            return zone.to_timestamp(civil).map_err(|_| MomentError);
        }
        match self {
            Moment::Instant(at) => Ok(at),
            // The commands print whole seconds, so a distance leads to one.
            Moment::FromNow(distance) if !distance.is_zero() => {
                let at = now.checked_add(distance).map_err(|_| MomentError)?;
                at.round(Unit::Second).map_err(|_| MomentError)
            }
            _ => Ok(now),
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
        let now: Timestamp = "2026-07-01T23:30:10.5Z".parse().expect("an instant");
        for (text, instant) in [
            ("2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z"),
            ("2026-07-01T01:30:00+02:00", "2026-06-30T23:30:00Z"),
            ("2026-07-01T01:30", "2026-07-01T00:30:00Z"),
            ("2026-07-01 01:30:15", "2026-07-01T00:30:15Z"),
            ("2026-07-01", "2026-06-30T23:00:00Z"),
            // In London it is half past midnight of the second.
            ("02:30", "2026-07-02T01:30:00Z"),
            ("today", "2026-07-01T23:00:00Z"),
            ("Yesterday", "2026-06-30T23:00:00Z"),
            ("tomorrow", "2026-07-02T23:00:00Z"),
            ("now", "2026-07-01T23:30:10.5Z"),
            ("2h ago", "2026-07-01T21:30:11Z"),
            ("-1h 30m", "2026-07-01T22:00:11Z"),
            ("+30m", "2026-07-02T00:00:11Z"),
        ] {
            let moment: Moment = text.parse().expect("a time");
            let at = moment.in_zone(&london, now).expect("in range");
            assert_eq!(at.to_string(), instant, "{text}");
        }
        for text in ["", "noon", "2026-13-01", "1790000000", "25:00", "2 ago", "-", "ago", "+x"] {
            assert!(text.parse::<Moment>().is_err(), "{text:?} is no time");
        }
    }
}
