//! Why an entry is due at an instant, or is not: field by field.
//!
//! The verdict is the search's own. The fields are only told beside it.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::shift::shift_of;
use super::stretch::ZoneStretches;
use super::{Shift, next, previous, search, shift};
use crate::schedule::cron::{
    Calendar, Days, Expression, Field, MONTH_NAMES, MonthDays, Rule, WEEKDAY_NAMES, Weekdays,
};
use crate::schedule::{Entry, EntryName};

/// Why an entry is due at an instant, or is not.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The entry.
    pub entry: String,
    /// The instant, cut to its second: an expression knows no fractions.
    pub at: Timestamp,
    /// The instant on the clocks of the entry's zone, with their offset from UTC.
    pub local_time: String,
    /// The entry's zone.
    pub timezone: String,
    /// True when the entry is due at the instant.
    pub due: bool,
    /// The effect of daylight saving on the occurrence. `None`: the entry is not due.
    pub shift: Option<Shift>,
    /// One report for each expression of the entry, in the file's order.
    pub expressions: Vec<ExpressionReport>,
    /// The occurrence before the instant.
    pub previous: Option<Timestamp>,
    /// The occurrence after the instant.
    pub next: Option<Timestamp>,
}

/// One expression held against the instant.
#[derive(Clone, Debug, Serialize)]
pub struct ExpressionReport {
    /// The expression as it is written in the file.
    pub expression: String,
    /// True when the expression is due at the instant.
    pub due: bool,
    /// One report for each field, in the order in which the fields are written.
    pub fields: Vec<FieldReport>,
    /// The reason in a sentence.
    pub verdict: String,
}

/// One field held against the instant.
#[derive(Clone, Debug, Serialize)]
pub struct FieldReport {
    /// The field's name.
    pub field: &'static str,
    /// The field as it is written.
    pub text: String,
    /// The instant's value, in the entry's zone.
    pub value: String,
    /// True when the field allows the value.
    pub matches: bool,
    /// The report as a sentence: `day-of-week: Tuesday is not in Monday and Friday`.
    pub sentence: String,
}

/// Tells why an entry is due at an instant, or is not.
pub fn explain(entry: &Entry, at: Timestamp) -> Explanation {
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let mut line = ZoneStretches::new(&entry.timezone);
    let shift = shift(entry, at);
    let second = SignedDuration::from_secs(1);
    Explanation {
        entry: EntryName::as_str(&entry.name).to_string(),
        at,
        local_time: at.display_with_offset(entry.timezone.to_offset(at)).to_string(),
        timezone: zone_name(&entry.timezone, at),
        due: shift.is_some(),
        shift,
        expressions: entry.cron.iter().map(|expression| report(expression, &mut line, at)).collect(),
        previous: previous(entry, at),
        next: at.checked_add(second).ok().and_then(|after| next(entry, after)),
    }
}

/// The name of a zone, or its offset at an instant where it has none.
pub fn zone_name(zone: &TimeZone, at: Timestamp) -> String {
    match zone.iana_name() {
        Some(name) => name.to_string(),
        None => zone.to_offset(at).to_string(),
    }
}

fn report(expression: &Expression, line: &mut ZoneStretches, at: Timestamp) -> ExpressionReport {
    let shift = shift_of(expression, line, at);
    let (fields, verdict) = match expression.rule() {
        Rule::Calendar(calendar) => {
            let civil = line.at(at).civil(at);
            let fields = field_reports(expression, calendar, civil);
            let verdict = match shift {
                Some(shift) => due_because(calendar, shift, &fields),
                None => not_due_because(expression, calendar, line, at, &fields),
            };
            (fields, verdict)
        }
        Rule::EveryMinutes(minutes) => {
            let field = period_report(expression, *minutes, at, shift.is_some());
            let verdict = match shift {
                Some(_) => format!("due: a whole number of {minutes}-minute steps since 00:00 UTC"),
                None => format!("not due: {}", field.sentence),
            };
            (vec![field], verdict)
        }
    };
    ExpressionReport { expression: expression.as_str().to_string(), due: shift.is_some(), fields, verdict }
}

fn due_because(calendar: &Calendar, shift: Shift, fields: &[FieldReport]) -> String {
    match shift {
        Shift::AsWritten if calendar.days == Days::Either && fields.iter().any(|field| !field.matches) => {
            "due: of day-of-month and day-of-week, both restricted, one suffices".into()
        }
        Shift::AsWritten => "due: every field matches".into(),
        shift => format!("due: {shift}"),
    }
}

fn not_due_because(
    expression: &Expression,
    calendar: &Calendar,
    line: &mut ZoneStretches,
    at: Timestamp,
    fields: &[FieldReport],
) -> String {
    let stretch = line.at(at);
    let civil = stretch.civil(at);
    if calendar.next(civil) == Some(civil) {
        // Every field matches, so the clocks have been here before, or at the gap that skipped it.
        let kept = at.checked_add(SignedDuration::from_secs(1)).ok();
        let kept = kept.and_then(|after| search::previous(expression, line, after));
        let kept = kept.map_or(String::new(), |kept| format!(", at {kept}"));
        return format!(
            "not due: the clocks show {} for the second time, and an appointment is kept the first time{kept}",
            civil.strftime("%H:%M")
        );
    }
    let is_day =
        |field: &&FieldReport| [Field::DayOfMonth.name(), Field::DayOfWeek.name()].contains(&field.field);
    let day_suffices =
        calendar.days == Days::Either && fields.iter().filter(is_day).any(|field| field.matches);
    let reasons: Vec<&str> = fields
        .iter()
        .filter(|field| !(field.matches || day_suffices && is_day(field)))
        .map(|field| field.sentence.as_str())
        .collect();
    format!("not due: {}", reasons.join("; "))
}

fn field_reports(expression: &Expression, calendar: &Calendar, civil: DateTime) -> Vec<FieldReport> {
    let mut written: Vec<(Field, &str)> = expression.fields().collect();
    if written.len() == Field::ALL.len() - 1 && civil.second() != 0 {
        written.insert(0, (Field::Second, "0"));
    }
    written
        .into_iter()
        .map(|(field, text)| {
            let matches = calendar.allows(field, civil);
            let value = value_of(field, civil);
            FieldReport {
                field: field.name(),
                text: text.to_string(),
                matches,
                sentence: sentence(field, &value, matches, &allowed(field, calendar)),
                value,
            }
        })
        .collect()
}

fn period_report(expression: &Expression, minutes: u16, at: Timestamp, matches: bool) -> FieldReport {
    let text = expression.fields().find(|(field, _)| *field == Field::Minute);
    let value = at.strftime("%H:%M:%S UTC").to_string();
    let relation = if matches { "is" } else { "is not" };
    FieldReport {
        field: Field::Minute.name(),
        text: text.map_or("", |(_, text)| text).to_string(),
        matches,
        sentence: format!(
            "minute: {value} {relation} a whole number of {minutes}-minute steps from 00:00 UTC"
        ),
        value,
    }
}

fn value_of(field: Field, civil: DateTime) -> String {
    match field {
        Field::Second => civil.second().to_string(),
        Field::Minute => civil.minute().to_string(),
        Field::Hour => civil.hour().to_string(),
        Field::DayOfMonth => civil.day().to_string(),
        Field::Month => civil.strftime("%B").to_string(),
        Field::DayOfWeek => civil.strftime("%A").to_string(),
    }
}

fn sentence(field: Field, value: &str, matches: bool, allowed: &[String]) -> String {
    let relation = match (allowed, matches) {
        ([all], _) if all == ALL => return format!("{field}: {value}, and any is allowed"),
        ([one], true) if one == value => return format!("{field}: {value}, as written"),
        ([one], true) if !one.contains(" to ") => "is",
        ([one], false) if !one.contains(" to ") => "is not",
        (_, true) => "is in",
        (_, false) => "is not in",
    };
    format!("{field}: {value} {relation} {}", listed(allowed))
}

/// Returns the values that a field allows, in words.
fn allowed(field: Field, calendar: &Calendar) -> Vec<String> {
    let number = |value: u32| value.to_string();
    match field {
        Field::Second => set(calendar.seconds, 60, number),
        Field::Minute => set(calendar.minutes, 60, number),
        Field::Hour => set(u64::from(calendar.hours), 24, number),
        Field::Month => set(u64::from(calendar.months) >> 1, 12, |n| MONTH_NAMES[n as usize].into()),
        Field::DayOfMonth => month_days(&calendar.month_days),
        Field::DayOfWeek => weekdays(&calendar.weekdays),
    }
}

/// Stands for every value of a field.
const ALL: &str = "all";

const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

fn month_days(days: &MonthDays) -> Vec<String> {
    let mut parts = set(u64::from(days.days) >> 1, 31, |n| (n + 1).to_string());
    parts.extend(bits(u64::from(days.before_last)).map(|n| match n {
        0 => "the last day".to_string(),
        1 => "the day before the last".to_string(),
        n => format!("{n} days before the last"),
    }));
    parts
        .extend(bits(u64::from(days.nearest_working_day)).map(|n| format!("the working day nearest to {n}")));
    if days.last_working_day {
        parts.push("the last working day".into());
    }
    parts
}

fn weekdays(days: &Weekdays) -> Vec<String> {
    let mut parts = set(u64::from(days.every), 7, |n| WEEKDAY_NAMES[n as usize].into());
    for (nth, set) in ORDINALS.iter().zip(days.nth) {
        parts.extend(bits(u64::from(set)).map(|n| format!("the {nth} {}", WEEKDAY_NAMES[n as usize])));
    }
    parts.extend(bits(u64::from(days.last)).map(|n| format!("the last {}", WEEKDAY_NAMES[n as usize])));
    parts
}

fn bits(set: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |bit| set >> bit & 1 == 1)
}

/// The values of a set of `size`, runs of three and more as a range.
fn set(set: u64, size: u32, name: impl Fn(u32) -> String) -> Vec<String> {
    if set.count_ones() == size {
        return vec![ALL.into()];
    }
    let mut parts = Vec::new();
    let mut rest = set;
    while rest != 0 {
        let first = rest.trailing_zeros();
        let length = (rest >> first).trailing_ones();
        if length > 2 {
            parts.push(format!("{} to {}", name(first), name(first + length - 1)));
        } else {
            parts.extend((first..first + length).map(&name));
        }
        rest &= u64::MAX.checked_shl(first + length).unwrap_or(0);
    }
    parts
}

/// The parts in a sentence, the middle of a long list left out.
fn listed(parts: &[String]) -> String {
    match parts {
        [first, second, third, _, _, _, _, .., last] => format!("{first}, {second}, {third}, ... and {last}"),
        [rest @ .., before, last] => {
            let commas: String = rest.iter().map(|part| format!("{part}, ")).collect();
            format!("{commas}{before} and {last}")
        }
        [one] => one.clone(),
        [] => "none".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::tests::{at, entry};

    fn told(cron: &[&str], instant: &str) -> String {
        let told = explain(&entry("e", "Europe/London", cron), at(instant));
        let lines = told.expressions.iter().map(|report| {
            let fields: String =
                report.fields.iter().map(|field| format!("    {}\n", field.sentence)).collect();
            format!("  {}: {}\n{fields}", report.expression, report.verdict)
        });
        let time = |at: Option<Timestamp>| at.map_or("-".to_string(), |at| at.to_string());
        format!(
            "{} {} due={}\n{}  before {} after {}\n",
            told.local_time,
            told.timezone,
            told.due,
            lines.collect::<String>(),
            time(told.previous),
            time(told.next)
        )
    }

    #[test]
    fn each_field_is_held_against_the_instant() {
        let told = [
            told(&["30 1 * * MON,FRI"], "2026-10-06T00:30:00Z"),
            told(&["*/5 9-17 1,15 * SUN", "0 0 L * *"], "2026-10-04T09:02:07Z"),
            told(&["0 0 13 * FRI"], "2026-11-13T00:00:00Z"),
            told(&["0 0 13 * FRI"], "2026-10-13T23:00:00Z"),
            told(&["0 0 13 * FRI"], "2026-11-20T00:00:00Z"),
            told(&["0 0 15W,LW,L-1 JAN-MAR,DEC MON#2,5L"], "2026-11-20T00:00:00Z"),
            told(&["30 1 * * *"], "2026-10-25T01:30:00Z"),
            told(&["30 1 * * *", "0 * * * *"], "2026-03-29T01:00:00Z"),
            told(&["*/72 * * * *"], "2026-03-29T01:12:00Z"),
            told(&["*/72 * * * *"], "2026-03-29T02:12:00Z"),
            told(&["@daily"], "2026-03-29T00:00:00Z"),
        ];
        insta::assert_snapshot!(told.concat());
    }
}
