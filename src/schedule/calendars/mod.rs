//! Calendars: the days and the times on which the entries that name them are not run.
//!
//! A calendar is a list of days, a window that opens again and again, or a file. A day is a whole
//! day of the zone of the entry that asks, however long daylight saving makes it; what a file gives
//! with a time of day and no zone is read in that zone too.
//!
//! Example: 2026-12-25 covers an entry in London from 00:00 GMT on, and one in New York from 05:00
//! GMT on.

mod ending;
mod events;
mod list;

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{CalendarName, Expression};
pub(crate) use ending::{ListEnding, ending};
pub(super) use list::dates;

/// The days and the times on which the entries that name it are not run.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedCalendar {
    /// The calendar's key under `calendars:`.
    pub name: CalendarName,
    /// The time that the calendar covers.
    pub covered: Covered,
    /// The last day for which somebody has kept the list. `None`: a window, or a list that does not
    /// say.
    pub until: Option<Date>,
}

/// The time that a calendar covers.
#[derive(Clone, Debug, PartialEq)]
pub enum Covered {
    /// Days, and events with a time of day.
    Listed(ListedSpans),
    /// A window that opens again and again.
    Window(Window),
}

/// Spans of time, each with its end excluded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListedSpans {
    /// Spans on the clocks of the entry's zone: whole days, above all. They are sorted, and none
    /// touches another.
    pub local: Box<[(DateTime, DateTime)]>,
    /// Spans between instants, equal in every zone. They are sorted, and none touches another.
    pub instants: Box<[(Timestamp, Timestamp)]>,
}

/// A window that opens at the instants of expressions, and stays open for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The expressions at whose instants the window opens.
    pub opens: Box<[Expression]>,
    /// Elapsed time for which the window stays open.
    pub lasts: Duration,
    /// The zone that its expressions are read in.
    pub timezone: TimeZone,
}

impl NamedCalendar {
    /// Returns the last day that the calendar covers. `None`: the calendar has no end, since it is
    /// a window.
    pub fn last_day(&self) -> Option<Date> {
        let Covered::Listed(listed) = &self.covered else {
            return None;
        };
        let local = listed.local.last().and_then(|(_, end)| end.checked_sub(1.nanosecond()).ok());
        let instant = listed.instants.last().map(|(_, end)| TimeZone::UTC.to_datetime(*end));
        local.max(instant).map(DateTime::date)
    }
}

/// Spans as they are found, in any order.
#[derive(Debug, Default)]
pub(super) struct Spans {
    local: Vec<(DateTime, DateTime)>,
    instants: Vec<(Timestamp, Timestamp)>,
}

impl Spans {
    /// Adds whole days, the last one included.
    pub fn add_days(&mut self, first: Date, last: Date) {
        let end = last.checked_add(1.day()).map_or(DateTime::MAX, |next| next.at(0, 0, 0, 0));
        self.local.push((first.at(0, 0, 0, 0), end));
    }

    /// Returns the number of spans.
    pub fn len(&self) -> usize {
        self.local.len() + self.instants.len()
    }

    /// Sorts them, and joins those that touch.
    pub fn listed(self) -> ListedSpans {
        ListedSpans { local: joined(self.local), instants: joined(self.instants) }
    }
}

fn joined<T: Ord + Copy>(mut spans: Vec<(T, T)>) -> Box<[(T, T)]> {
    spans.retain(|(from, until)| from < until);
    spans.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::with_capacity(spans.len());
    for (from, until) in spans {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => joined.push((from, until)),
        }
    }
    joined.into()
}

/// Something wrong in the text of a calendar file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileProblem {
    /// Bytes of the text.
    pub span: std::ops::Range<usize>,
    pub message: String,
    pub help: String,
}

/// Most spans of one calendar: more than any list that a person keeps, and few enough to be read at
/// every reload.
pub(super) const MOST_SPANS: usize = 100_000;

/// Problems of one file that are told.
const MOST_PROBLEMS: usize = 100;

/// Reads the text of a calendar file: an iCalendar file where it is one, else a date or a range a
/// line.
pub(super) fn read(text: &str, kind: FileKind) -> Result<ListedSpans, Vec<FileProblem>> {
    let read = match kind {
        FileKind::Events => events::read(text),
        FileKind::List => list::read(text),
    };
    match read {
        Ok(spans) if spans.len() > MOST_SPANS => Err(vec![FileProblem {
            span: 0..0,
            message: format!("the file has more than {MOST_SPANS} days and events"),
            help: "leave out what is long past, or say what repeats with `cron` and `for`".into(),
        }]),
        Ok(spans) => Ok(spans.listed()),
        Err(mut problems) => {
            problems.truncate(MOST_PROBLEMS);
            Err(problems)
        }
    }
}

/// The format of a calendar file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A date or a range a line.
    List,
    /// An iCalendar file (RFC 5545).
    Events,
}

impl FileKind {
    /// Returns the format by the end of the file's name.
    pub fn of(path: &std::path::Path) -> FileKind {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("ics") => FileKind::Events,
            _ => FileKind::List,
        }
    }
}

/// Calendars as an entry names them.
pub type NotOn = Box<[Arc<NamedCalendar>]>;
