//! The lint for two entries that start the same job of the same stack at the same instant.
//!
//! Work is bounded, so that a large file is not searched to the end: an entry is held against a few
//! of those before it, and all of them together have a number of searches.

use std::collections::HashMap;

use jiff::Timestamp;

use super::super::cron::Rule;
use super::super::diagnostic::Code;
use super::super::{Entry, Schedule};
use super::{Findings, WarningText, Zones};
use crate::timetable::coincidence;

/// Number of earlier entries of a job that an entry is compared with.
const HELD_AGAINST: usize = 32;

/// Searches for all pairs together; one takes about a microsecond.
const SEARCHES: usize = 50_000;

/// Searches for one pair: more than the weeks of a year.
const SEARCHES_OF_A_PAIR: usize = 64;

pub(super) fn check(
    schedule: &Schedule,
    zones: &Zones<'_>,
    now: Timestamp,
    until: Timestamp,
    findings: &mut Findings<'_>,
) {
    let mut of_job: HashMap<(&str, &str), Vec<Glance>> = HashMap::with_capacity(schedule.entries.len());
    let mut left = SEARCHES;
    for (number, entry) in schedule.entries.iter().enumerate().filter(|(_, entry)| !entry.paused) {
        let glance = Glance::of(number, entry, zones.of_entry[number]);
        let earlier = of_job.entry((entry.stack.as_str(), entry.job.as_str())).or_default();
        for before in earlier.iter().rev().take(HELD_AGAINST).filter(|before| before.may_coincide(&glance)) {
            if left == 0 {
                return;
            }
            let other = &schedule.entries[before.number];
            let allowed = left.min(SEARCHES_OF_A_PAIR);
            let mut searches = allowed;
            let found = coincidence(entry, other, now, until, &mut searches);
            left -= allowed - searches;
            if let Some(at) = found {
                let related = findings.places.name_of(before.number);
                findings.add(Code::SharedInstant, findings.places.name_of(number), || WarningText {
                    message: format!(
                        "`{}` starts the same job of the same stack as `{}` at the same instant, next at {at}",
                        entry.name, other.name
                    ),
                    help: "remove or move one of the two, if the job should not run twice at once".into(),
                    related: related.map(|span| (span, "the other one".into())),
                });
                break;
            }
        }
        earlier.push(glance);
    }
}

/// A summary of an entry's expressions that rules out most pairs without a search.
struct Glance {
    /// The entry's number.
    number: usize,
    zone: usize,
    seconds: u64,
    minutes: u64,
    hours: u32,
    months: u16,
}

impl Glance {
    fn of(number: usize, entry: &Entry, zone: usize) -> Glance {
        let mut all = Glance { number, zone, seconds: 0, minutes: 0, hours: 0, months: 0 };
        for expression in entry.cron.iter() {
            match expression.rule() {
                Rule::Calendar(calendar) => {
                    all.seconds |= calendar.seconds;
                    all.minutes |= calendar.minutes;
                    all.hours |= calendar.hours;
                    all.months |= calendar.months;
                }
                Rule::EveryMinutes(_) => {
                    all = Glance {
                        seconds: u64::MAX,
                        minutes: u64::MAX,
                        hours: u32::MAX,
                        months: u16::MAX,
                        ..all
                    };
                }
            }
        }
        all
    }

    /// Returns true when two entries of one zone have a time in common. Occurrences that the clocks
    /// move are not considered.
    fn may_coincide(&self, other: &Glance) -> bool {
        self.zone != other.zone
            || self.seconds & other.seconds != 0
                && self.minutes & other.minutes != 0
                && self.hours & other.hours != 0
                && self.months & other.months != 0
    }
}
