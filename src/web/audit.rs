//! `/api/v1/audit`: the verdicts of the last day, or of another span, as `stackcron audit` counts them.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::answer::{Answer, Refusal};
use super::query::{Query, QueryError};
use super::site::Site;
use crate::audit::{Audit, Counts, Judged, Plan, Scope, Verdict};
use crate::cli::audit::{Line, counted};
use crate::cli::span::Span;
use crate::journal::{Filter, JournalError, Location};
use crate::schedule::Schedule;

/// The span that is audited where the query does not say it.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The longest span that is audited: an answer is made within seconds.
const LONGEST: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Rows are read from so long before the span on. An entry that is due less often than once in this
/// time is not known before its first row, so that a lost instant of it is not told here.
const KNOWN_FROM: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Instants that are told one by one at most, the newest.
const MOST_TOLD: usize = 100;

pub(super) async fn answer(site: &Site, query: &str) -> Result<Answer, Refusal> {
    let query = Query::parse(query, &["from", "until"])?;
    let (schedule, now) = (site.schedule(), Timestamp::now());
    let until = query.instant("until", None, &schedule, now)?.unwrap_or(now).min(now);
    let from = query.instant("from", None, &schedule, now)?;
    let from = from.unwrap_or_else(|| until.checked_sub(DAY).unwrap_or(Timestamp::MIN));
    let wrong = |problem: String| QueryError::Wrong { key: "from", problem };
    let span = Span::new(from, until).map_err(|error| wrong(error.to_string()))?;
    if span.until.duration_since(span.from) > LONGEST {
        return Err(wrong("write a time at most 8 days before `until`".to_owned()).into());
    }
    let record = site.read(move |journal| audited(journal, &schedule, span)).await??;
    Answer::json::<()>(&record, None)
}

/// The counts, and the newest instants that were neither on time nor skipped.
fn audited(journal: &Location, schedule: &Schedule, span: Span) -> Result<Map<String, Value>, JournalError> {
    let cursor = journal.planned_until()?;
    let scope = Scope { from: span.from, until: span.until, cursor, entries: None };
    let mut found: Vec<Judged> = Vec::new();
    let each = |judged: Judged| {
        if !matches!(judged.verdict, Verdict::OnTime | Verdict::Skipped) {
            if found.len() == MOST_TOLD {
                found.remove(0);
            }
            found.push(judged);
        }
    };
    let plan = Plan::new(schedule, &journal.read_in_force(None)?, true, span.from);
    let mut audit = Audit::new(scope, plan, each);
    let since = span.from.checked_sub(KNOWN_FROM).ok();
    let filter = Filter { since, until: Some(span.until), ..Filter::default() };
    journal.read_history(&filter, |record| {
        audit.take(record);
        ControlFlow::Continue(())
    })?;
    let counts: Counts = audit.finish();
    let mut record = counted(span, &counts);
    record.insert("kept".to_owned(), Value::Bool(!counts.is_broken()));
    // Values of these types always have a form in JSON.
    let found = found.iter().filter_map(|judged| serde_json::to_value(Line::of(judged)).ok());
    record.insert("found".to_owned(), found.collect());
    Ok(record)
}
