//! Reads from the journal which occurrences of a span did not start.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use super::super::span::TimeSpan;
use crate::backfill::{Backlog, Bounds, Planner};
use crate::journal::{Filter, Location, State};
use crate::schedule::Entry;

/// The occurrences of a span that can be made up for, and those that stand against it.
pub(super) struct Repairable {
    pub plan: Backlog,
    /// The oldest scheduled_at that the journal has of any entry. `None`: its history is empty.
    pub history_from: Option<Timestamp>,
}

/// Reads which occurrences of a span did not start.
///
/// # Errors
///
/// When the journal cannot be read.
pub(super) fn read(journal: &Location, entry: &Arc<Entry>, span: TimeSpan) -> anyhow::Result<Repairable> {
    let cursor = journal.planned_until()?;
    let mut history_from = None;
    journal.read_history(&Filter::default(), |row| {
        // Open rows are kept however old they are, so they do not tell where the history begins.
        if matches!(row.state, State::Due | State::Waiting | State::Sending | State::Started) {
            return ControlFlow::Continue(());
        }
        history_from = Some(row.key.scheduled_at());
        ControlFlow::Break(())
    })?;
    let in_force = journal.read_in_force(Some(&entry.name))?;
    let history_from: Option<Timestamp> =
        history_from.max(in_force.pruned_until.filter(|_| history_from.is_some()));
    let bounds = Bounds { from: span.from, until: span.until, history_from, cursor };
    let mut planner = Planner::new(entry, in_force, bounds);
    let filter = Filter {
        entry: Some(entry.name.clone()),
        since: Some(span.from),
        until: Some(span.until),
        newest: None,
    };
    journal.read_history(&filter, |row| {
        planner.take(row);
        ControlFlow::Continue(())
    })?;
    Ok(Repairable { plan: planner.finish(), history_from })
}
