//! Lints: things in a valid schedule that are probably not meant as they are written. Each lint is
//! a warning with a code of its own.

mod calendars;
mod clocks;
mod crowd;
mod expression;
mod twins;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::diagnostic::Code;
use super::origin::Places;
use super::report::Problem;
use super::{Entry, Schedule};

/// Number of warnings of one code that are shown. Nobody reads a hundred of a kind.
const TOLD: usize = 5;

/// Span over which lints look ahead: every daylight saving rule has its days within a year.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 366);

/// Returns everything that is doubtful in a schedule, from `now` on.
pub(super) fn check(schedule: &Schedule, places: &Places, now: Timestamp) -> Vec<Problem> {
    let mut findings = Findings::new(places);
    let until = now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX);
    let zones = Zones::of(schedule);
    for expression in expressions(schedule) {
        expression::check(&expression, &mut findings);
    }
    clocks::check(schedule, &zones, now, until, &mut findings);
    twins::check(schedule, &zones, now, until, &mut findings);
    crowd::check(schedule, &zones, now, &mut findings);
    calendars::check(schedule, now, &mut findings);
    findings.finish()
}

/// The zones of a schedule, each with a number: to compare numbers is cheaper.
struct Zones<'s> {
    all: Vec<&'s TimeZone>,
    /// The values by the entry's number.
    of_entry: Vec<usize>,
}

impl<'s> Zones<'s> {
    fn of(schedule: &'s Schedule) -> Self {
        let mut zones = Zones { all: Vec::new(), of_entry: Vec::with_capacity(schedule.entries.len()) };
        let mut numbers = HashMap::new();
        for entry in &schedule.entries {
            // Whatever a schedule file names has a name.
            let number = *numbers.entry(entry.timezone.iana_name()).or_insert_with(|| {
                zones.all.push(&entry.timezone);
                zones.all.len() - 1
            });
            zones.of_entry.push(number);
        }
        zones
    }
}

/// An expression and where it stands.
struct WrittenExpression<'s> {
    entry: &'s Entry,
    entry_number: usize,
    expression: &'s super::Expression,
    /// Its number among the expressions of all entries.
    number: usize,
}

fn expressions(schedule: &Schedule) -> impl Iterator<Item = WrittenExpression<'_>> {
    let all = schedule.entries.iter().enumerate();
    let all =
        all.flat_map(|(number, entry)| entry.cron.iter().map(move |expression| (number, entry, expression)));
    all.enumerate().map(|(number, (entry_number, entry, expression))| WrittenExpression {
        entry,
        entry_number,
        expression,
        number,
    })
}

/// The words of a warning.
struct WarningText {
    message: String,
    help: String,
    related: Option<(Range<usize>, String)>,
}

/// The findings, with the first few of each code in full.
struct Findings<'p> {
    places: &'p Places,
    told: Vec<Problem>,
    /// The tallies in the order in which the codes came up.
    of_code: Vec<(Code, LintTally)>,
    /// A value that many aliases use is told of once.
    known: HashSet<(Code, Range<usize>)>,
}

#[derive(Default)]
struct LintTally {
    found: usize,
    /// Place of the first finding that is not shown.
    untold: Option<Range<usize>>,
}

impl<'p> Findings<'p> {
    fn new(places: &'p Places) -> Self {
        Findings { places, told: Vec::new(), of_code: Vec::new(), known: HashSet::new() }
    }

    /// Adds a finding at its place. Its words are made only where they are told.
    fn add(&mut self, code: Code, span: Option<Range<usize>>, words: impl FnOnce() -> WarningText) {
        let Some(span) = span else {
            return;
        };
        if !self.known.insert((code, span.clone())) {
            return;
        }
        let place = self.of_code.iter().position(|(known, _)| *known == code).unwrap_or_else(|| {
            self.of_code.push((code, LintTally::default()));
            self.of_code.len() - 1
        });
        let tally = &mut self.of_code[place].1;
        tally.found += 1;
        if tally.found > TOLD {
            tally.untold.get_or_insert(span);
            return;
        }
        let WarningText { message, help, related } = words();
        self.told.push(Problem { code, span: Some(span), message, help, related });
    }

    fn finish(mut self) -> Vec<Problem> {
        for (code, tally) in self.of_code {
            if let Some(span) = tally.untold {
                self.told.push(Problem {
                    code,
                    span: Some(span),
                    message: format!("and {} more {}", tally.found - TOLD, plural(code)),
                    help: "this is the next one; it is told when those before are mended".into(),
                    related: None,
                });
            }
        }
        self.told
    }
}

fn plural(code: Code) -> &'static str {
    match code {
        Code::UnevenStep => "steps that do not divide their range",
        Code::EitherDay => "expressions with both fields of the day restricted",
        Code::ShortMonths => "days that some months lack",
        Code::LeapDay => "expressions that are due on 29 February alone",
        Code::SkippedTime => "expressions whose time is skipped within a year",
        Code::RepeatedTime => "expressions whose time comes twice within a year",
        Code::CalendarEnds => "calendars whose list ends",
        Code::NeverSent => "entries that their calendars never let run",
        Code::SharedInstant => "entries that start the same job as another at the same instant",
        _ => "like it",
    }
}
