//! `/api/v1/audit`: the summary of `stackcron audit`, of the last 24 hours.
//!
//! The command reads all rows of the journal, because of an entry from before the journal knew its
//! schedule the first row tells from when on the entry was in it. The page asks again and again,
//! and reads the rows of the span alone: of an entry like that, the instants before its first row
//! in the span are counted as not judged.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::answer::{KeptAnswer, WebRefusal};
use super::query::Query;
use super::site::Site;
use crate::audit::{Audit, Counts, Plan, Scope, Verdict};
use crate::journal::{Filter, JournalError, Location};
use crate::schedule::Schedule;

/// The span that is judged.
const SPAN: SignedDuration = SignedDuration::from_hours(24);

pub(super) async fn answer(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    Query::parse(query, &[])?;
    let (schedule, now) = (site.schedule(), Timestamp::now());
    let counts = site.audit(move |journal| audited(journal, &schedule, now)).await??;
    KeptAnswer::json(&summary(&counts, Some(now)), Some(&summary(&counts, None)))
}

fn audited(journal: &Location, schedule: &Schedule, now: Timestamp) -> Result<Counts, JournalError> {
    // Read before the rows: what is planned meanwhile is judged by the next audit.
    let cursor = journal.planned_until()?;
    let from = now.checked_sub(SPAN).unwrap_or(Timestamp::MIN);
    let scope = Scope { from, until: now, cursor, entries: None };
    let mut audit = Audit::new(scope, Plan::new(schedule, &journal.read_in_force(None)?, true, from), |_| {});
    let filter = Filter { since: Some(from), until: Some(now), ..Filter::default() };
    journal.read_history(&filter, |record| {
        audit.take(record);
        ControlFlow::Continue(())
    })?;
    Ok(audit.finish())
}

/// Keys as in the summary of the command. Without `until`: what is equal as long as the verdicts
/// are.
fn summary(counts: &Counts, until: Option<Timestamp>) -> Map<String, Value> {
    let span = until.map(|until| (until.checked_sub(SPAN).unwrap_or(Timestamp::MIN), until));
    let span = span.into_iter().flat_map(|(from, until)| {
        [("from", Value::from(from.to_string())), ("until", Value::from(until.to_string()))]
    });
    let verdicts = Verdict::ALL.map(|verdict| (verdict.as_str(), counts.of(verdict).into()));
    let others = [
        ("instants", counts.judged()),
        ("open", counts.open),
        ("before_first", counts.before_first),
        ("unplanned", counts.unplanned),
    ];
    let others = others.map(|(key, count)| (key, Value::from(count)));
    let all = span.chain(verdicts).chain(others).map(|(key, value)| (key.to_owned(), value));
    all.chain([("broken".to_owned(), counts.is_broken().into())]).collect()
}
