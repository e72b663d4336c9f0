//! Tests whether an occurrence falls on a calendar on which its entry is not run.
//!
//! The answer depends on the entry and the instant alone, so that it is the same before, at and
//! after the instant, on every machine.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::search;
use super::stretch::ZoneStretches;
use crate::schedule::{CalendarName, Covered, Entry, ListedSpans, Window};

/// The day, window or event that an occurrence falls on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion<'e> {
    /// The calendar that it is of.
    pub calendar: &'e CalendarName,
    /// The instant at which the window opens.
    pub from: Timestamp,
    /// The instant at which the window closes, itself excluded.
    pub until: Timestamp,
}

/// The first of an entry's calendars that an instant falls on. `None`: the entry runs then.
pub fn excluded(entry: &Entry, at: Timestamp) -> Option<Exclusion<'_>> {
    entry.not_on.iter().find_map(|calendar| {
        let (from, until) = match &calendar.covered {
            Covered::Listed(listed) => span_of_list(listed, &entry.timezone, at),
            Covered::Window(window) => span_of_window(window, at),
        }?;
        Some(Exclusion { calendar: &calendar.name, from, until })
    })
}

fn span_of_list(listed: &ListedSpans, zone: &TimeZone, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    if let Some(&(from, until)) = holding(&listed.instants, at) {
        return Some((from, until));
    }
    let &(from, until) = holding(&listed.local, zone.to_datetime(at))?;
    // A day that begins in a gap begins where the gap ends; one whose midnight comes twice begins
    // the first time.
    let instant = |civil: DateTime, otherwise| zone.to_timestamp(civil).unwrap_or(otherwise);
    Some((instant(from, Timestamp::MIN), instant(until, Timestamp::MAX)))
}

/// The span that holds a value. They are sorted, and none touches another.
fn holding<T: Ord + Copy>(spans: &[(T, T)], value: T) -> Option<&(T, T)> {
    let after = spans.partition_point(|(from, _)| *from <= value);
    spans[..after].last().filter(|(_, until)| value < *until)
}

fn span_of_window(window: &Window, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let mut line = ZoneStretches::new(&window.timezone);
    let next_second = at.checked_add(SignedDuration::from_secs(1)).ok()?;
    let opened = window
        .opens
        .iter()
        .filter_map(|expression| search::previous(expression, &mut line, next_second))
        .max()?;
    let closes = opened.checked_add(window.lasts).unwrap_or(Timestamp::MAX);
    (at < closes).then_some((opened, closes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schedule;
    use crate::timetable::tests::at;

    /// An entry in a zone with one calendar.
    fn entry(zone: &str, calendar: &str) -> Arc<Entry> {
        let file = format!(
            "accounts: {{ main: {{ token: {{ env: T }} }} }}\ncalendars: {{ c: {calendar} }}\n\
             jobs: {{ e: {{ stack: s, job: j, cron: '* * * * *', timezone: {zone}, not_on: c }} }}\n"
        );
        let loaded = schedule::parse("s.yaml", &file).unwrap_or_else(|rejected| panic!("{rejected}"));
        Arc::clone(&loaded.schedule.entries[0])
    }

    fn told(zone: &str, calendar: &str, instant: &str) -> Option<String> {
        let entry = entry(zone, calendar);
        let Exclusion { calendar, from, until } = excluded(&entry, at(instant))?;
        Some(format!("{calendar}: {from}..{until}"))
    }

    #[test]
    fn a_day_is_the_entrys_local_day() {
        let london = |instant| told("Europe/London", "{ dates: 2026-07-04 }", instant);
        let day = Some("c: 2026-07-03T23:00:00Z..2026-07-04T23:00:00Z".to_owned());
        assert_eq!(london("2026-07-03T22:59:59Z"), None);
        assert_eq!(london("2026-07-03T23:00:00Z"), day);
        assert_eq!(london("2026-07-04T22:59:59Z"), day);
        assert_eq!(london("2026-07-04T23:00:00Z"), None);
        let new_york = |instant| told("America/New_York", "{ dates: 2026-07-04 }", instant);
        assert_eq!(new_york("2026-07-04T03:59:59Z"), None);
        assert!(new_york("2026-07-04T04:00:00Z").is_some());
    }

    #[test]
    fn a_day_is_as_long_as_daylight_saving_makes_it() {
        let short = told("Europe/London", "{ dates: 2026-03-29 }", "2026-03-29T22:59:59Z");
        assert_eq!(short.as_deref(), Some("c: 2026-03-29T00:00:00Z..2026-03-29T23:00:00Z"));
        let long = told("Europe/London", "{ dates: 2026-10-25 }", "2026-10-25T23:59:59Z");
        assert_eq!(long.as_deref(), Some("c: 2026-10-24T23:00:00Z..2026-10-26T00:00:00Z"));
        // Where midnight itself is skipped, as in Santiago, the day begins where the gap ends.
        let gap = told("America/Santiago", "{ dates: 2026-09-06 }", "2026-09-06T04:00:00Z");
        assert_eq!(gap.as_deref(), Some("c: 2026-09-06T04:00:00Z..2026-09-07T03:00:00Z"));
        // A day that Apia never had covers nothing.
        for instant in ["2011-12-30T09:59:59Z", "2011-12-30T10:00:00Z"] {
            assert_eq!(told("Pacific/Apia", "{ dates: 2011-12-30 }", instant), None, "{instant}");
        }
    }

    #[test]
    fn a_window_is_open_from_its_instant_on_for_its_time() {
        let freeze = "{ cron: '0 18 * * FRI', for: 62h, timezone: Europe/London }";
        let told = |instant| told("Asia/Tokyo", freeze, instant);
        assert_eq!(told("2026-12-04T17:59:59Z"), None);
        let window = Some("c: 2026-12-04T18:00:00Z..2026-12-07T08:00:00Z".to_owned());
        assert_eq!(told("2026-12-04T18:00:00Z"), window);
        assert_eq!(told("2026-12-07T07:59:59Z"), window);
        assert_eq!(told("2026-12-07T08:00:00Z"), None);
        // Elapsed time: when the clocks go back, the window ends an hour earlier by the clock.
        assert!(told("2026-10-26T06:59:59Z").is_some() && told("2026-10-26T07:00:00Z").is_none());
    }

    #[test]
    fn a_window_that_opens_again_before_it_closes_stays_open() {
        let told = |instant| told("UTC", "{ cron: '0 * * * *', for: 90m }", instant);
        let again = Some("c: 2026-01-01T05:00:00Z..2026-01-01T06:30:00Z".to_owned());
        assert_eq!(told("2026-01-01T05:10:00Z"), again);
    }
}
