//! Lints that one expression by itself gives rise to.

use std::ops::Range;

use super::super::cron::{Days, Field, MONTH_NAMES, MonthDays, Rule};
use super::super::diagnostic::Code;
use super::{Findings, WarningText, WrittenExpression};

/// The days that the shortest form of each month has, January first.
const LENGTHS: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Most days that are written out in a message.
const MOST_NAMED: usize = 6;

pub(super) fn check(written: &WrittenExpression<'_>, findings: &mut Findings<'_>) {
    let Rule::Calendar(calendar) = written.expression.rule() else {
        return;
    };
    for (field, text) in written.expression.fields().filter(|(_, text)| text.contains('/')) {
        for item in text.split(',') {
            if let Some(uneven) = Uneven::of(field, item) {
                let part = written.expression.span_of(item);
                let span = findings.places.part_of(written.number, part);
                findings.add(Code::UnevenStep, span, || uneven.told());
            }
        }
    }
    if calendar.days == Days::Either {
        return either_day(written, findings);
    }
    let by_number = MonthDays { days: calendar.month_days.days, ..MonthDays::default() };
    let of_february = by_number.days & ((1 << 30) - 1);
    if calendar.months == 1 << 2 && calendar.month_days == by_number && of_february == 1 << 29 {
        let span = findings.places.part_of(written.number, part(written, Field::DayOfMonth, Field::Month));
        return findings.add(Code::LeapDay, span, || WarningText {
            message: "due on 29 February alone, which comes in leap years: every four years".into(),
            help: "write `0 0 L 2 *` for the last day of every February".into(),
            related: None,
        });
    }
    short_months(written, calendar.months, findings);
}

/// The bytes from one field to the end of another.
fn part(written: &WrittenExpression<'_>, first: Field, last: Field) -> Option<Range<usize>> {
    let place = |wanted| {
        let mut fields = written.expression.fields();
        let (_, text) = fields.find(|(field, _)| *field == wanted)?;
        written.expression.span_of(text)
    };
    Some(place(first)?.start..place(last)?.end)
}

fn either_day(written: &WrittenExpression<'_>, findings: &mut Findings<'_>) {
    let span = part(written, Field::DayOfMonth, Field::DayOfWeek);
    let span = findings.places.part_of(written.number, span);
    findings.add(Code::EitherDay, span, || WarningText {
        message: "due when day-of-month or day-of-week matches, as both are restricted".into(),
        help: "write `*` for the one that is not meant; the first Monday of a month is `* * MON#1`".into(),
        related: None,
    });
}

/// A day that is written by itself, `31` or `31W`, where some of the months have fewer.
fn short_months(written: &WrittenExpression<'_>, months: u16, findings: &mut Findings<'_>) {
    let mut fields = written.expression.fields();
    let Some((_, text)) = fields.find(|(field, _)| *field == Field::DayOfMonth) else {
        return;
    };
    for item in text.split(',') {
        let Ok(day @ 29..) = item.trim_end_matches(['W', 'w']).parse::<u8>() else {
            continue;
        };
        let lack = |month: &usize| months >> (month + 1) & 1 == 1 && LENGTHS[*month] < day;
        let lacking: Vec<&str> = (0..12).filter(lack).map(|month| MONTH_NAMES[month]).collect();
        if lacking.is_empty() {
            continue;
        }
        let span = findings.places.part_of(written.number, written.expression.span_of(item));
        findings.add(Code::ShortMonths, span, || {
            let leap = if day == 29 { " outside of leap years" } else { "" };
            let (verb, names) = match &lacking[..] {
                [one] => ("has", (*one).to_string()),
                [rest @ .., last] => ("have", format!("{} and {last}", rest.join(", "))),
                [] => ("has", String::new()),
            };
            WarningText {
                message: format!("not due every month: {names} {verb} no day {day}{leap}"),
                help: "write `L` for the last day of each month, whichever it is".into(),
                related: None,
            }
        });
    }
}

/// A step whose last gap differs from the others.
struct Uneven<'s> {
    field: Field,
    item: &'s str,
    step: u8,
    from: u8,
    last: u8,
}

impl<'s> Uneven<'s> {
    /// `None` for a range: where it ends is written there. And for `40/15`: it says from when on.
    fn of(field: Field, item: &'s str) -> Option<Uneven<'s>> {
        let (base, step) = item.split_once('/')?;
        let step: u8 = step.parse().ok()?;
        let from = match base {
            "*" | "?" => field.low(),
            _ => match base.split_once('-') {
                Some((from, to)) => {
                    let (from, to): (u8, u8) = (from.parse().ok()?, to.parse().ok()?);
                    (from == field.low() && to >= field.last()).then_some(from)?
                }
                None => base.parse().ok()?,
            },
        };
        let size = field.last() - field.low() + 1;
        if size.is_multiple_of(step) || from >= field.low() + step {
            return None;
        }
        let last = from + (field.last().checked_sub(from)?) / step * step;
        Some(Uneven { field, item, step, from, last })
    }

    fn told(&self) -> WarningText {
        let Uneven { field, item, step, from, last } = *self;
        let size = field.last() - field.low() + 1;
        let gap = size - (last - from);
        let (units, period) = match field {
            Field::Second => ("seconds", "minute"),
            Field::Minute => ("minutes", "hour"),
            Field::Hour => ("hours", "day"),
            Field::Month => ("months", "year"),
            Field::DayOfWeek => ("days", "week"),
            Field::DayOfMonth => {
                return WarningText {
                    message: format!(
                        "`{item}` begins anew on day {from} of each month: the gap after day {last} is not {step} days"
                    ),
                    help: self.named_days(),
                    related: None,
                };
            }
        };
        let message = format!(
            "`{item}` does not divide the {period}: its last gap is {gap} {}, and the others are {step}",
            if gap == 1 { units.trim_end_matches('s') } else { units }
        );
        let base = item.split_once('/').map_or("*", |(base, _)| base);
        let even = |step: &u8| size.is_multiple_of(*step);
        let around = [(2..step).rev().find(even), (step + 1..size).find(even)];
        let around: Vec<String> = around.iter().flatten().map(|step| format!("`{base}/{step}`")).collect();
        let help = match (field, &around[..]) {
            (Field::DayOfWeek, _) | (_, []) => {
                format!("name the {units} that are meant, as `{}`", self.words())
            }
            (_, around) => format!("write {} for gaps that are all alike", around.join(" or ")),
        };
        WarningText { message, help, related: None }
    }

    /// Returns the text for days of the month that every month has.
    fn named_days(&self) -> String {
        let days: Vec<String> =
            self.values().take_while(|day| *day <= LENGTHS[1]).map(|day| day.to_string()).collect();
        match days.len() {
            ..=MOST_NAMED => format!("name the days that are meant, as `{}`", days.join(",")),
            _ => "an expression has no period of days that goes on past the end of a month; write `*` or weekdays".into(),
        }
    }

    /// The values in the words of the field, where it has some.
    fn words(&self) -> String {
        let word = |value: u8| match self.field.words().get(usize::from(value - self.field.low())) {
            Some(word) => (*word).to_string(),
            None => value.to_string(),
        };
        self.values().map(word).collect::<Vec<_>>().join(",")
    }

    fn values(&self) -> impl Iterator<Item = u8> {
        (self.from..=self.last).step_by(self.step.into())
    }
}
