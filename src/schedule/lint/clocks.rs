//! Lints for times that the clocks skip or show twice within the year.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::Schedule;
use super::super::cron::{Calendar, Rule};
use super::super::diagnostic::Code;
use super::{Findings, WarningText, Zones, expressions};
use crate::timetable::{ZoneTransition, transitions, zone_name};

pub(super) fn check(
    schedule: &Schedule,
    zones: &Zones<'_>,
    now: Timestamp,
    until: Timestamp,
    findings: &mut Findings<'_>,
) {
    let transitions: Vec<Vec<ZoneTransition>> =
        zones.all.iter().map(|zone| transitions(zone, now, until)).collect();
    for written in expressions(schedule) {
        let Rule::Calendar(calendar) = written.expression.rule() else {
            continue;
        };
        let zone = zones.of_entry[written.entry_number];
        for skips in [true, false] {
            let mut of_kind = transitions[zone].iter().filter(|transition| transition.skips() == skips);
            let Some((transition, hit)) =
                of_kind.find_map(|transition| Some((transition, hit(calendar, transition)?)))
            else {
                continue;
            };
            let code = if skips { Code::SkippedTime } else { Code::RepeatedTime };
            let span = findings.places.part_of(written.number, None);
            findings.add(code, span, || told(zones.all[zone], transition, hit));
        }
    }
}

/// The effect of a transition on an expression.
#[derive(Clone, Copy)]
enum Hit {
    /// An appointment at this time.
    Appointment(DateTime),
    /// Every occurrence of that day. The expression follows elapsed time.
    WholeDay,
}

fn hit(calendar: &Calendar, transition: &ZoneTransition) -> Option<Hit> {
    let (first, after) = transition.affected();
    // Most expressions are ruled out by a glance at their hours.
    let hours = first.hour()..=after.hour();
    if first.date() == after.date() && !hours.into_iter().any(|hour| calendar.hours >> hour & 1 == 1) {
        return None;
    }
    let months = [first.month(), after.month()];
    if !months.iter().any(|month| calendar.months >> month & 1 == 1) {
        return None;
    }
    let affected = calendar.next(first).filter(|civil| *civil < after)?;
    if !calendar.wildcard {
        return Some(Hit::Appointment(affected));
    }
    let midnight = first.date().at(0, 0, 0, 0);
    let before = calendar.next(midnight).is_some_and(|civil| civil < first);
    let later = calendar.next(after).is_some_and(|civil| civil.date() == first.date());
    (!before && !later).then_some(Hit::WholeDay)
}

fn told(zone: &TimeZone, transition: &ZoneTransition, hit: Hit) -> WarningText {
    let (first, after) = transition.affected();
    let zone = zone_name(zone, transition.at);
    let clock = |civil: DateTime| civil.strftime("%H:%M").to_string();
    let (from, until) = (clock(first), clock(after));
    let date = first.date();
    let message = match (transition.skips(), hit) {
        (true, Hit::Appointment(at)) => format!(
            "on {date} the clocks of {zone} skip {}: it runs at {} instead",
            clock(at),
            clock(transition.opens)
        ),
        (false, Hit::Appointment(at)) => format!(
            "on {date} the clocks of {zone} show {} twice: it runs the first time, and not the second",
            clock(at)
        ),
        (true, Hit::WholeDay) => {
            format!(
                "on {date} the clocks of {zone} skip {from} to {until}, and with it all that is due that day"
            )
        }
        (false, Hit::WholeDay) => {
            format!("on {date} the clocks of {zone} show {from} to {until} twice: it runs in both passes")
        }
    };
    let help = format!("where that matters, move it out of {from} to {until}, or give it `timezone: UTC`");
    WarningText { message, help, related: None }
}
