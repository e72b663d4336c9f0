//! Finds the occurrences of a span that did not start, to be made up for.
//!
//! The journal's rows of an entry are laid beside the instants at which it was due, by the schedule
//! that was in force then. Before the entry was first in the schedule, and where the journal does
//! not know it, its expressions of today count. An instant is made up
//! for when every time through it was given up: missed, skipped or rejected. So is an instant of
//! the timetable that the journal has nothing of, as far back as the journal's history goes: what
//! is older may have run and be pruned. An instant is left alone when an action started there, or
//! may have, or something is under way; and when it falls on a calendar of the entry, on which
//! nothing was meant to run.
//!
//! Example: `e` is due at 10:00, 10:01 and 10:02. The journal has 10:00 as finished and 10:01 as
//! missed, and nothing of 10:02. 10:01 is claimed once more in pass 1, and 10:02 in pass 0. The
//! claim is refused where any pass has started meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::journal::{ForceSpan, InForce, Key, Record, SLOW, State};
use crate::schedule::Entry;
use crate::timetable::{self, excluded};

/// The span, and how much of it the journal can tell of.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Where the span begins.
    pub from: Timestamp,
    /// Where it ends, itself excluded.
    pub until: Timestamp,
    /// When the oldest occurrence was scheduled that the journal has of any entry. `None`: the
    /// journal has none.
    pub history_from: Option<Timestamp>,
    /// Everything scheduled before is planned. `None`: nothing is.
    pub cursor: Option<Timestamp>,
}

/// An instant that the backfill has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A former backfill has claimed the occurrence, and it has not come to its end.
    UnderWay(Key),
    /// The occurrence did not start.
    Gap(Gap),
}

/// An occurrence that did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The occurrence to claim: the pass is one that the journal has no row of.
    pub key: Key,
    /// State and reason of the last pass. `None`: the journal has no row of the instant.
    pub found: Option<(State, Option<String>)>,
}

/// The instants of a span that are to be made up for, and how many are not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The oldest first.
    pub items: Vec<Item>,
    /// Instants whose occurrence started an action.
    pub started: u64,
    /// Instants whose occurrence is under way without a backfill.
    pub open: u64,
    /// Instants of which nobody knows whether an action started.
    pub unknown: u64,
    /// Instants that fall on a calendar of the entry.
    pub on_calendar: u64,
    /// Instants that the journal's history does not reach back to.
    pub before_history: u64,
    /// Instants that the daemon has not planned yet.
    pub unplanned: u64,
}

/// The state of one instant, by all of its rows in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// An action started.
    Started,
    /// Nobody knows whether one did.
    Unknown,
    /// A backfill is under way.
    UnderWay(Key),
    /// The schedule's own occurrence is under way.
    Open,
    /// It fell on a calendar.
    OnCalendar,
    /// Every pass was given up.
    Gap(Gap),
}

/// Returns true while an occurrence of an entry may still start or end.
pub fn is_under_way(entry: &Entry, row: &Record) -> bool {
    match row.state {
        State::Due | State::Waiting | State::Sending => true,
        // An action that is not asked for any more has a reason for that.
        State::Started => {
            let is_asked_for = row.reason.as_deref().is_none_or(|reason| reason == SLOW);
            entry.follow && row.action_id.is_some() && is_asked_for
        }
        _ => false,
    }
}

/// Returns the state of one instant, by its rows in any order. `None`: there is no row.
pub fn standing(entry: &Entry, rows: &[Record]) -> Option<Standing> {
    if let Some(row) = rows.iter().find(|row| row.is_backfill() && is_under_way(entry, row)) {
        return Some(Standing::UnderWay(row.key.clone()));
    }
    let last = rows.iter().max_by_key(|row| row.key.pass())?;
    let is_any = |states: &[State]| rows.iter().any(|row| states.contains(&row.state));
    Some(if is_any(&[State::Started, State::Finished, State::Failed]) {
        Standing::Started
    } else if is_any(&[State::Unknown]) {
        Standing::Unknown
    } else if is_any(&[State::Due, State::Waiting, State::Sending]) {
        Standing::Open
    } else if last.calendar().is_some() {
        Standing::OnCalendar
    } else {
        let pass = last.key.pass().saturating_add(1);
        Standing::Gap(Gap { key: last.key.clone().in_pass(pass), found: Some((last.state, last.in_words())) })
    })
}

/// Gathers the rows of an entry.
#[derive(Clone, Debug)]
pub struct Planner {
    entry: Arc<Entry>,
    bounds: Bounds,
    /// When which definition of the entry was in force.
    spans: Vec<ForceSpan>,
    rows: BTreeMap<Timestamp, Vec<Record>>,
}

impl Planner {
    /// Nothing gathered yet.
    pub fn new(entry: &Arc<Entry>, in_force: InForce, bounds: Bounds) -> Planner {
        let spans = in_force.spans.into_iter().filter(|span| span.entry == entry.name).collect();
        Planner { entry: Arc::clone(entry), bounds, spans, rows: BTreeMap::new() }
    }

    /// Takes a row of the journal. Those of other entries or times are passed over, and so is what
    /// a person fired and what repeats a run: neither is an instant of the schedule.
    pub fn take(&mut self, row: Record) {
        let at = row.key.scheduled_at();
        let is_in_span = self.bounds.from <= at && at < self.bounds.until;
        if is_in_span && *row.key.entry() == self.entry.name && is_of_a_schedule(&row) {
            self.rows.entry(at).or_default().push(row);
        }
    }

    /// The instants of the span at which the entry was due, in no order.
    fn due(&self) -> Vec<Timestamp> {
        let Bounds { from, until, .. } = self.bounds;
        let first = self.spans.iter().map(|span| span.since).min();
        let mut due: Vec<Timestamp> =
            timetable::occurrences(&self.entry, from, first.map_or(until, |first| first.min(until)))
                .collect();
        for span in &self.spans {
            let (since, end) = (span.since.max(from), span.until.map_or(until, |end| end.min(until)));
            // An entry whose former definition cannot be read counts as it is now.
            let was = span.definition.entry(&self.entry.name);
            due.extend(timetable::occurrences(was.as_ref().unwrap_or(&self.entry), since, end));
        }
        due
    }

    /// Lays the rows beside the timetable.
    pub fn finish(self) -> Backlog {
        let due = self.due();
        let Planner { entry, bounds: Bounds { history_from, cursor, .. }, rows, .. } = self;
        let mut instants: BTreeMap<Timestamp, Option<Standing>> =
            rows.into_iter().map(|(at, rows)| (at, standing(&entry, &rows))).collect();
        let mut plan = Backlog::default();
        for at in due {
            if instants.contains_key(&at) {
                continue;
            }
            if cursor.is_none_or(|cursor| at >= cursor) {
                plan.unplanned += 1;
            } else if history_from.is_none_or(|history| at < history) {
                plan.before_history += 1;
            } else if excluded(&entry, at).is_some() {
                instants.insert(at, Some(Standing::OnCalendar));
            } else {
                let gap = Gap { key: Key::new(entry.name.clone(), at), found: None };
                instants.insert(at, Some(Standing::Gap(gap)));
            }
        }
        for standing in instants.into_values().flatten() {
            match standing {
                Standing::Started => plan.started += 1,
                Standing::Unknown => plan.unknown += 1,
                Standing::Open => plan.open += 1,
                Standing::OnCalendar => plan.on_calendar += 1,
                Standing::UnderWay(key) => plan.items.push(Item::UnderWay(key)),
                Standing::Gap(gap) => plan.items.push(Item::Gap(gap)),
            }
        }
        plan
    }
}

/// Returns true for an instant that a schedule can have: those are whole seconds.
fn is_of_a_schedule(row: &Record) -> bool {
    row.retry().is_none() && row.key.scheduled_at().subsec_nanosecond() == 0
}

#[cfg(test)]
mod tests;
