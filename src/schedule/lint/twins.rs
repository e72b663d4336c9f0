//! The lint for two entries that start the same job of the same stack at the same instant.
//!
//! Work is bounded, so that a large file is not searched to the end: an entry is held against a few of those before
//! it, and all of them together have a number of searches.

use std::collections::HashMap;

use jiff::Timestamp;

use super::super::cron::Rule;
use super::super::diagnostic::Code;
use super::super::{Entry, Schedule};
use super::{Findings, Told};
use crate::timetable::coincidence;

/// How many earlier entries of the same job an entry is held against.
const HELD_AGAINST: usize = 32;

/// Searches for all pairs together; one takes about a microsecond.
const SEARCHES: usize = 100_000;

/// Searches for one pair: more than the weeks of a year.
const SEARCHES_OF_A_PAIR: usize = 64;

pub(super) fn check(schedule: &Schedule, now: Timestamp, until: Timestamp, findings: &mut Findings<'_>) {
    let mut of_job: HashMap<(&str, &str), Vec<usize>> = HashMap::with_capacity(schedule.entries.len());
    let mut left = SEARCHES;
    for (number, entry) in schedule.entries.iter().enumerate() {
        if entry.paused {
            continue;
        }
        let earlier = of_job.entry((entry.stack.as_str(), entry.job.as_str())).or_default();
        for other_number in earlier.iter().rev().take(HELD_AGAINST) {
            if left == 0 {
                return;
            }
            let other = &schedule.entries[*other_number];
            if !may_coincide(entry, other) {
                continue;
            }
            let allowed = left.min(SEARCHES_OF_A_PAIR);
            let mut searches = allowed;
            let found = coincidence(entry, other, now, until, &mut searches);
            left -= allowed - searches;
            if let Some(at) = found {
                let related = findings.places.name_of(*other_number);
                findings.add(Code::SharedInstant, findings.places.name_of(number), || Told {
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
        earlier.push(number);
    }
}

/// Rules out, in one zone, what has no minute or no hour in common. What the clocks move is let go.
fn may_coincide(one: &Entry, other: &Entry) -> bool {
    if one.timezone != other.timezone {
        return true;
    }
    let pairs =
        one.cron.iter().flat_map(|one| other.cron.iter().map(move |other| (one.rule(), other.rule())));
    pairs.into_iter().any(|pair| match pair {
        (Rule::Calendar(one), Rule::Calendar(other)) => {
            one.seconds & other.seconds != 0
                && one.minutes & other.minutes != 0
                && one.hours & other.hours != 0
                && one.months & other.months != 0
        }
        _ => true,
    })
}
