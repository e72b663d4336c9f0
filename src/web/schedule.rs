//! `/api/v1/next`, `/forecast` and `/why`: what those commands print of the schedule in force.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::answer::{KeptAnswer, WebRefusal};
use super::query::{Query, QueryError};
use super::site::Site;
use crate::cli::output::OutputFormat;
use crate::cli::place::StatePlace;
use crate::cli::rehearse::Suppositions;
use crate::cli::{forecast, next, why};
use crate::journal::UsualRuns;

/// Occurrences of a page, unless the query says how many: as many as the command tells.
const DEFAULT: usize = 10;

/// Occurrences of a page at most: some 1.5 MB.
const MOST: usize = 10_000;

/// The longest span that is rehearsed for a page. The command takes any.
const LONGEST_FORECAST: SignedDuration = SignedDuration::from_hours(8 * 24);

/// Requests, answers and lines of the log that are rehearsed for a page at most: about a minute's
/// work. The command takes any number.
const MOST_HAPPENINGS: u64 = 4_000_000;

impl From<next::NextError> for WebRefusal {
    fn from(error: next::NextError) -> WebRefusal {
        match error {
            next::NextError::UnknownEntry(unknown) => WebRefusal::UnknownEntry(unknown),
            next::NextError::ManyZones => QueryError::ManyZones { key: "from` or `until" }.into(),
            next::NextError::Moment(error) => wrong("from", error),
            next::NextError::Output(_) => WebRefusal::Failed,
        }
    }
}

impl From<forecast::ForecastError> for WebRefusal {
    fn from(error: forecast::ForecastError) -> WebRefusal {
        match error {
            forecast::ForecastError::Span(error) => wrong("until", error),
            forecast::ForecastError::TooMuch => wrong(
                "until",
                "this span is too busy to be rehearsed for a page; write an earlier time, or run `stackcron forecast`",
            ),
            forecast::ForecastError::Output(_) => WebRefusal::Failed,
        }
    }
}

impl From<why::WhyError> for WebRefusal {
    fn from(error: why::WhyError) -> WebRefusal {
        match error {
            why::WhyError::UnknownEntry(unknown) => WebRefusal::UnknownEntry(unknown),
            why::WhyError::Moment(error) => wrong("at", error),
            why::WhyError::Output(_) => WebRefusal::Failed,
        }
    }
}

fn wrong(key: &'static str, error: impl std::fmt::Display) -> WebRefusal {
    QueryError::Wrong { key, problem: error.to_string() }.into()
}

/// The order of occurrences.
#[derive(Deserialize)]
struct At {
    scheduled_at: Timestamp,
}

pub(super) async fn next(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["entry", "from", "until", "count", "skip", "calendar"])?;
    let calendar = matches!(query.one("calendar")?, Some("true" | "1" | ""));
    let default = if query.one("until")?.is_some() { MOST } else { DEFAULT };
    let (count, skip) = (query.number("count", default, MOST)?, query.number("skip", 0, MOST)?);
    let args = next::Args {
        entries: query.all("entry").map(str::to_owned).collect(),
        from: query.moment("from")?,
        until: query.moment("until")?,
        // One record more than wanted tells whether others follow.
        count: (!calendar).then_some(count + skip + 1),
        calendar,
        place: StatePlace::default(),
    };
    let chained = site.schedule().entries.iter().any(|entry| entry.after.is_some());
    let usual = if chained { site.usual().await } else { Arc::default() };
    let lines = site.walk(move |schedule| {
        let mut lines = Vec::new();
        let now = Timestamp::now();
        let told =
            next::Extras { arguments: next::Arguments::Withheld, until_due: usual.until_due(schedule) };
        next::run(&args, schedule, now, OutputFormat::Json, &told, None, &mut lines).map(|()| lines)
    });
    let lines = lines.await??;
    if calendar {
        return Ok(KeptAnswer::lines(&lines));
    }
    let all: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').skip(skip).collect();
    let page = &all[..all.len().min(count)];
    let further = (all.len() > count).then(|| last_instant(page)).flatten();
    let further = further.map(|(at, shown)| {
        // A page that is wholly of one instant goes on where the former page stopped in that
        // instant.
        let shown = if shown == page.len() { shown + skip } else { shown };
        query.with(&[("from", Some(at.to_string())), ("skip", Some(shown.to_string()))])
    });
    Ok(KeptAnswer::lines(&page.concat()).followed_by(further))
}

/// The instant of the last record, and how many of the page are of that instant.
fn last_instant(page: &[&[u8]]) -> Option<(Timestamp, usize)> {
    let at = |line: &&[u8]| serde_json::from_slice::<At>(line).ok().map(|at| at.scheduled_at);
    let last = page.last().and_then(at)?;
    Some((last, page.iter().rev().take_while(|line| at(line) == Some(last)).count()))
}

pub(super) async fn forecast(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["from", "until"])?;
    let (schedule, now) = (site.schedule(), Timestamp::now());
    let from = query.instant("from", None, &schedule, now)?.unwrap_or(now);
    let until = query.instant("until", None, &schedule, now)?;
    if until.is_some_and(|until| until.duration_since(from) > LONGEST_FORECAST) {
        return Err(wrong("until", "write a time at most 8 days after `from`"));
    }
    let args = forecast::Args {
        from: query.moment("from")?,
        until: query.moment("until")?,
        all: false,
        suggest: false,
        strict: false,
        suppositions: Suppositions::default(),
        place: StatePlace::default(),
    };
    let basis =
        forecast::Basis { usual: UsualRuns::clone(&*site.usual().await), most: Some(MOST_HAPPENINGS) };
    let lines = site.rehearse(move |schedule| {
        let mut lines = Vec::new();
        forecast::run(&args, schedule, now, basis, OutputFormat::Json, None, &mut lines).map(|_| lines)
    });
    Ok(KeptAnswer::lines(&lines.await??))
}

pub(super) async fn why(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["entry", "at", "format"])?;
    let format = if query.is_text()? { OutputFormat::Text } else { OutputFormat::Json };
    let at = query.moment("at")?.ok_or(QueryError::Missing { key: "at" })?;
    let args =
        why::Args { entry: query.required("entry")?.to_owned(), at: Some(at), place: StatePlace::default() };
    let schedule = site.schedule();
    let text = site.read(move |journal| {
        let mut text = anstream::StripStream::new(Vec::new());
        why::run(&args, &schedule, Some(journal), Timestamp::now(), format, &mut text)
            .map(|_| text.into_inner())
    });
    let text = text.await??;
    Ok(match format {
        OutputFormat::Json => KeptAnswer::bytes("application/json", text),
        OutputFormat::Text => KeptAnswer::bytes("text/plain; charset=utf-8", text),
    })
}
