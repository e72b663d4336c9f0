//! Calendars that nobody has kept, and entries that their calendars never let run.

use jiff::{SignedDuration, Timestamp};

use super::super::diagnostic::Code;
use super::super::{Entry, Schedule, ending};
use super::{Findings, WarningText};
use crate::timetable::{excluded, next};

/// Span over which an entry is looked at. An entry that is due on one day of the year comes due
/// three times in it.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * (3 * 365 + 1));

/// Searches for one entry. Each leaps over the rest of the day or window that the last one found.
const MOST_SEARCHES: usize = 5_000;

pub(super) fn check(schedule: &Schedule, now: Timestamp, findings: &mut Findings<'_>) {
    let places: Vec<_> = findings.places.calendars().map(|(name, at)| (name.clone(), at.clone())).collect();
    let calendars = schedule.calendars();
    for (name, at) in places {
        let Some(ending) = calendars.get(&name).and_then(|calendar| ending(calendar, now)) else {
            continue;
        };
        findings.add(Code::CalendarEnds, Some(at), || WarningText {
            message: ending.to_string(),
            help: "add the days to come, and set `until` to the last day that the list is kept for".into(),
            related: None,
        });
    }
    for (number, entry) in schedule.entries.iter().enumerate() {
        if !entry.not_on.is_empty() && is_never_sent(entry, now) {
            findings.add(Code::NeverSent, findings.places.name_of(number), || never_sent(entry));
        }
    }
}

/// Returns true when the entry has occurrences in the next years, and every one falls on a calendar
/// of the entry.
fn is_never_sent(entry: &Entry, now: Timestamp) -> bool {
    let end = now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
    let (mut from, mut found) = (now, false);
    for _ in 0..MOST_SEARCHES {
        let Some(at) = next(entry, from).filter(|at| *at < end) else {
            return found;
        };
        let Some(exclusion) = excluded(entry, at) else {
            return false;
        };
        found = true;
        from = exclusion.until.max(at.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX));
    }
    false
}

fn never_sent(entry: &Entry) -> WarningText {
    let names: Vec<String> = entry.not_on.iter().map(|calendar| format!("`{}`", calendar.name)).collect();
    let calendars = if names.len() == 1 { "the calendar" } else { "the calendars" };
    WarningText {
        message: format!(
            "`{}` never runs: each of its occurrences falls on {calendars} {}",
            entry.name,
            names.join(", ")
        ),
        help: "take the calendar out of `not_on`, or mend its days and windows".into(),
        related: None,
    }
}
