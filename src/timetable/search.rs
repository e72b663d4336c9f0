//! The occurrences of one expression, daylight saving included.
//!
//! The rule is that of Debian's cron. An expression without `*` in minute and hour names
//! appointments: the clock it goes by never runs back, and what it skips comes due at the end of
//! the gap. One with a `*` there goes by the zone's clock as it is: nothing extra after a gap, both
//! passes of a repeated hour. A `*` in the field for seconds does not count: `* 30 1 * * *` is one
//! appointment a second.

use jiff::{SignedDuration, Timestamp};

use super::stretch::{Stretch, ZoneStretches};
use crate::schedule::cron::{Calendar, Expression, Rule};

/// The first occurrence at or after `from`.
pub(super) fn next(expression: &Expression, line: &mut ZoneStretches, from: Timestamp) -> Option<Timestamp> {
    let from = whole_second(from)?;
    match expression.rule() {
        Rule::Calendar(calendar) => next_in_calendar(calendar, line, from),
        Rule::EveryMinutes(minutes) => {
            let period = 60 * i64::from(*minutes);
            let second = from.as_second();
            Timestamp::from_second(second + (-second).rem_euclid(period)).ok()
        }
    }
}

/// Returns true when the expression follows elapsed time, that is, names no appointments.
pub(super) fn follows_elapsed_time(expression: &Expression) -> bool {
    match expression.rule() {
        Rule::Calendar(calendar) => calendar.wildcard,
        Rule::EveryMinutes(_) => true,
    }
}

/// The last occurrence before `until`.
pub(super) fn previous(
    expression: &Expression,
    line: &mut ZoneStretches,
    until: Timestamp,
) -> Option<Timestamp> {
    let until = whole_second(until).unwrap_or(Timestamp::MAX);
    match expression.rule() {
        Rule::Calendar(calendar) => previous_in_calendar(calendar, line, until),
        Rule::EveryMinutes(minutes) => {
            let period = 60 * i64::from(*minutes);
            let second = until.as_second() - 1;
            Timestamp::from_second(second - second.rem_euclid(period)).ok()
        }
    }
}

fn next_in_calendar(calendar: &Calendar, line: &mut ZoneStretches, mut from: Timestamp) -> Option<Timestamp> {
    loop {
        let stretch = line.at(from);
        if from == stretch.start && appointments_in_gap(calendar, &stretch) {
            return Some(from);
        }
        let civil = stretch.civil(from);
        let civil = if calendar.wildcard { civil } else { civil.max(stretch.reached) };
        if let Some(at) = stretch.instant(calendar.next(civil)?) {
            return Some(at);
        }
        if stretch.end == Timestamp::MAX {
            return None;
        }
        from = stretch.end;
    }
}

fn previous_in_calendar(
    calendar: &Calendar,
    line: &mut ZoneStretches,
    mut until: Timestamp,
) -> Option<Timestamp> {
    loop {
        let last = until.checked_sub(SignedDuration::from_secs(1)).ok()?;
        let stretch = line.at(last);
        let first = if calendar.wildcard { stretch.opens } else { stretch.opens.max(stretch.reached) };
        if let Some(civil) = calendar.previous(stretch.civil(until))
            && civil >= first
        {
            return stretch.instant(civil);
        }
        if appointments_in_gap(calendar, &stretch) {
            return Some(stretch.start);
        }
        until = stretch.start;
    }
}

/// Returns true when the gap at the start of a stretch swallowed an appointment.
fn appointments_in_gap(calendar: &Calendar, stretch: &Stretch) -> bool {
    !calendar.wildcard
        && stretch.has_gap()
        && calendar.next(stretch.reached).is_some_and(|civil| civil < stretch.opens)
}

/// The first whole second at or after an instant.
fn whole_second(at: Timestamp) -> Option<Timestamp> {
    match at.subsec_nanosecond() {
        0 => Some(at),
        // Before 1970 the fraction is negative, and cutting it off rounds up.
        1.. => Timestamp::from_second(at.as_second() + 1).ok(),
        _ => Timestamp::from_second(at.as_second()).ok(),
    }
}
