//! The effect of daylight saving on an occurrence.

use std::fmt;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::search;
use super::stretch::{Stretch, ZoneStretches};
use crate::schedule::Entry;
use crate::schedule::cron::{Calendar, Expression, Rule};

/// The relation between an occurrence and the civil time that its expression names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shift {
    /// The clocks show the named time, once.
    AsWritten,
    /// The clocks skipped appointments; this is the first instant after them.
    AfterGap {
        /// The earliest of them.
        skipped: DateTime,
        /// Number of appointments that came due as this one occurrence, an appointment at this very
        /// instant included.
        merged: u32,
    },
    /// The clocks show the named time twice. An appointment is kept the first time.
    FirstOfTwo {
        /// The time that comes twice.
        civil: DateTime,
    },
    /// The clocks show the named time twice, and the entry follows elapsed time through both
    /// passes.
    Pass {
        /// The time that comes twice.
        civil: DateTime,
        /// The pass that this occurrence belongs to: 1 or 2.
        pass: u8,
    },
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shift::AsWritten => Ok(()),
            Shift::AfterGap { skipped, merged: 1 } => {
                write!(f, "moved from {}, which the clocks skip", skipped.strftime("%H:%M"))
            }
            Shift::AfterGap { skipped, merged } => {
                let from = skipped.strftime("%H:%M");
                write!(f, "{merged} in one: from {from} on, the clocks skip them")
            }
            Shift::FirstOfTwo { civil } => {
                write!(f, "{} comes twice: it runs the first time", civil.strftime("%H:%M"))
            }
            Shift::Pass { civil, pass } => {
                let which = if *pass == 1 { "first" } else { "second" };
                write!(f, "{which} pass of {}", civil.strftime("%H:%M"))
            }
        }
    }
}

/// Returns the effect of daylight saving on the occurrence of an entry at an instant; `None` when
/// the entry is not due then.
pub fn shift(entry: &Entry, at: Timestamp) -> Option<Shift> {
    let mut line = ZoneStretches::new(&entry.timezone);
    let shifts: Vec<Shift> =
        entry.cron.iter().filter_map(|expression| shift_of(expression, &mut line, at)).collect();
    let skipped = shifts.iter().filter_map(|shift| match shift {
        Shift::AfterGap { skipped, .. } => Some(*skipped),
        _ => None,
    });
    match skipped.min() {
        Some(skipped) => Some(Shift::AfterGap {
            skipped,
            merged: shifts
                .iter()
                .map(|shift| match shift {
                    Shift::AfterGap { merged, .. } => *merged,
                    _ => 1,
                })
                .sum(),
        }),
        None => shifts.first().copied(),
    }
}

/// Returns the effect of daylight saving for one expression; `None` when the expression is not due.
pub(super) fn shift_of(expression: &Expression, line: &mut ZoneStretches, at: Timestamp) -> Option<Shift> {
    if search::next(expression, line, at) != Some(at) {
        return None;
    }
    let Rule::Calendar(calendar) = expression.rule() else {
        return Some(Shift::AsWritten);
    };
    let stretch = line.at(at);
    let civil = stretch.civil(at);
    if at == stretch.start && !calendar.wildcard && stretch.has_gap() {
        let skipped = appointments(calendar, &stretch);
        if let Some(first) = skipped.clone().next() {
            let own = u32::from(calendar.next(civil) == Some(civil));
            return Some(Shift::AfterGap { skipped: first, merged: skipped.count() as u32 + own });
        }
    }
    let pass = if civil < stretch.reached {
        2
    } else if stretch.end < Timestamp::MAX && line.at(stretch.end).opens <= civil {
        1
    } else {
        return Some(Shift::AsWritten);
    };
    Some(match calendar.wildcard {
        true => Shift::Pass { civil, pass },
        false => Shift::FirstOfTwo { civil },
    })
}

/// The appointments that the gap at the start of a stretch swallowed.
fn appointments<'a>(
    calendar: &'a Calendar,
    stretch: &Stretch,
) -> impl Iterator<Item = DateTime> + Clone + use<'a> {
    let opens = stretch.opens;
    let within = move |civil: DateTime| (civil < opens).then_some(civil);
    let first = calendar.next(stretch.reached).and_then(within);
    std::iter::successors(first, move |civil| {
        let after = civil.checked_add(SignedDuration::from_secs(1)).ok()?;
        calendar.next(after).and_then(within)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::tests::{at, entry};

    fn told(cron: &[&str], instant: &str) -> Option<String> {
        shift(&entry("e", "Europe/London", cron), at(instant)).map(|shift| shift.to_string())
    }

    #[test]
    fn it_says_what_moved_and_what_merged() {
        let end_of_gap = "2026-03-29T01:00:00Z";
        assert_eq!(
            told(&["30 1 * * *"], end_of_gap).as_deref(),
            Some("moved from 01:30, which the clocks skip")
        );
        assert_eq!(
            told(&["15,45 1 * * *", "0 2 * * *"], end_of_gap).as_deref(),
            Some("3 in one: from 01:15 on, the clocks skip them")
        );
        assert_eq!(told(&["0 2 * * *"], end_of_gap).as_deref(), Some(""));
        assert_eq!(told(&["*/5 * * * *"], end_of_gap).as_deref(), Some(""));
        assert_eq!(told(&["30 1 * * *"], "2026-03-29T01:30:00Z"), None);
    }

    #[test]
    fn it_says_which_pass_of_a_repeated_hour_it_is() {
        assert_eq!(
            told(&["30 1 * * *"], "2026-10-25T00:30:00Z").as_deref(),
            Some("01:30 comes twice: it runs the first time")
        );
        assert_eq!(told(&["30 1 * * *"], "2026-10-25T01:30:00Z"), None);
        assert_eq!(told(&["30 * * * *"], "2026-10-25T00:30:00Z").as_deref(), Some("first pass of 01:30"));
        assert_eq!(told(&["30 * * * *"], "2026-10-25T01:30:00Z").as_deref(), Some("second pass of 01:30"));
        assert_eq!(told(&["30 0 * * *"], "2026-10-24T23:30:00Z").as_deref(), Some(""));
    }
}
