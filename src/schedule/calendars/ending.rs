//! Lists of days that end: after that day nobody has kept the calendar, and what it should stop
//! runs.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::NamedCalendar;
use crate::schedule::CalendarName;

/// Days before the end of a list from which on the warning is given: time enough for a person to
/// add the next year.
const DAYS_BEFORE: i64 = 30;

/// A list that ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListEnding {
    /// The calendar.
    pub calendar: CalendarName,
    /// The last day for which the list is kept.
    pub until: Date,
    /// Days from today to that day. Below zero: the list has ended.
    pub days: i64,
    /// The list does not say until when it is kept, and each of its days is past.
    pub is_guess: bool,
}

/// Returns the end of a calendar's list that ends within thirty days, or has ended. The day is that
/// of UTC: a warning that comes thirty days ahead does not need the hour.
pub(crate) fn ending(calendar: &NamedCalendar, now: Timestamp) -> Option<ListEnding> {
    let today = TimeZone::UTC.to_datetime(now).date();
    let days_to = |day: Date| today.until(day).map_or(0, |span| i64::from(span.get_days()));
    let name = calendar.name.clone();
    match (calendar.until, calendar.last_day()) {
        (Some(until), _) => (until <= today.saturating_add(DAYS_BEFORE.days())).then(|| ListEnding {
            calendar: name,
            until,
            days: days_to(until),
            is_guess: false,
        }),
        (None, Some(last)) => (last < today).then(|| ListEnding {
            calendar: name,
            until: last,
            days: days_to(last),
            is_guess: true,
        }),
        (None, None) => None,
    }
}

impl fmt::Display for ListEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListEnding { calendar, until, days, is_guess } = self;
        let many = |days: i64| if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        match (is_guess, days) {
            (true, _) => {
                write!(f, "every day of the calendar `{calendar}` is past: the last one was {until}")
            }
            (false, 0) => write!(f, "the list of the calendar `{calendar}` ends today"),
            (false, 1..) => {
                write!(f, "the list of the calendar `{calendar}` ends in {}, on {until}", many(*days))
            }
            (false, _) => {
                write!(f, "the list of the calendar `{calendar}` ended {} ago, on {until}", many(-days))
            }
        }
    }
}
