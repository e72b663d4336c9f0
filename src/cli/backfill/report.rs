//! Prints what is to be made up for, and what has become of it.

use std::io::{self, Write};

use anstyle::AnsiColor;
use serde_json::{Value, json};

use super::super::CommandEnd;
use super::super::history::{HistoryRecord, style};
use super::super::output::{self, OutputFormat};
use super::super::span::TimeSpan;
use super::super::table::{Align, Cell, Column, NOTHING, Table};
use super::found::Repairable;
use crate::backfill::{Backlog, Gap, Item};
use crate::control::AccountStatus;
use crate::journal::{Record, State};
use crate::log::visible;
use crate::log::words::counted;
use crate::schedule::{Entry, Priority};

const COLUMNS: [Column; 4] = [
    Column::new("SCHEDULED_AT", Align::Left, 0),
    Column::new("STATE", Align::Left, 0),
    Column::new("REASON", Align::Left, 1),
    Column::new("ARGS", Align::Left, 2),
];

/// On stderr: what reads the records is not to take it for one.
pub(super) fn note(text: &str) {
    let faint = AnsiColor::BrightBlack.on_default();
    let _ = writeln!(anstream::stderr(), "{faint}{text}{faint:#}");
}

/// Says before the first run what is about to happen.
pub(super) fn heading(entry: &Entry, found: &Repairable) {
    warn(entry, found);
    let runs = found.plan.items.len();
    if runs == 0 {
        return;
    }
    let occurrences = counted_items(runs);
    note(&format!(
        "{occurrences} of {}, one at a time: the command may be broken off, and asked again it goes on",
        entry.name
    ));
}

fn counted_items(number: usize) -> String {
    counted(number, "occurrence", "occurrences")
}

/// Prints warnings about the span on stderr.
fn warn(entry: &Entry, found: &Repairable) {
    let warning = |text: &str| {
        let yellow = AnsiColor::Yellow.on_default();
        let _ = writeln!(anstream::stderr(), "{yellow}warning:{yellow:#} {text}");
    };
    if entry.args_template.is_none() && found.plan.items.len() > 1 {
        warning(&format!(
            "`{}` has no args_template: every run will be the same, whatever day it makes up for",
            entry.name
        ));
    }
    let plan = &found.plan;
    if plan.before_history > 0 {
        let since =
            found.history_from.map_or("it is empty".to_owned(), |from| format!("it begins at {from:.0}"));
        warning(&format!(
            "{} left out that the journal's history does not reach back to ({since}): nobody knows whether they ran; use \
             `stackcron fire` for those that did not",
            are(plan.before_history)
        ));
    }
    if plan.unknown > 0 {
        warning(&format!(
            "{} left out of which nobody knows whether an action started: look at the stack's actions, and use `stackcron fire` \
             for what is missing",
            are(plan.unknown)
        ));
    }
    if plan.unplanned > 0 {
        warning(&format!(
            "{} left out that no daemon has planned yet: start the daemon",
            are(plan.unplanned)
        ));
    }
}

fn are(number: u64) -> String {
    match number {
        1 => "1 instant is".to_owned(),
        number => format!("{number} instants are"),
    }
}

/// Shows what would be done.
pub(super) fn dry_run(
    entry: &Entry,
    span: TimeSpan,
    found: &Repairable,
    quota: Option<&AccountStatus>,
    format: OutputFormat,
) -> anyhow::Result<CommandEnd> {
    warn(entry, found);
    let mut out = anstream::stdout().lock();
    let printed = match format {
        OutputFormat::Json => in_json(entry, span, found, quota, &mut out),
        OutputFormat::Text => in_text(entry, found, quota, &mut out),
    };
    match printed.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(CommandEnd::Done),
    }
}

/// Returns the state of an occurrence, the reason for it, and the arguments of its run.
fn item(entry: &Entry, item: &Item) -> (Option<&'static str>, Option<String>, Option<String>) {
    let at = match item {
        Item::UnderWay(key) => key.scheduled_at(),
        Item::Gap(gap) => gap.key.scheduled_at(),
    };
    let args = match &entry.args_template {
        Some(template) => Some(template.render(entry, at)),
        None => entry.args.clone(),
    };
    match item {
        Item::UnderWay(_) => (None, Some("a former backfill is under way".to_owned()), args),
        Item::Gap(gap) => match &gap.found {
            Some((state, reason)) => (Some(state.as_str()), reason.clone(), args),
            None => (None, Some("the journal has nothing".to_owned()), args),
        },
    }
}

fn in_json(
    entry: &Entry,
    span: TimeSpan,
    found: &Repairable,
    quota: Option<&AccountStatus>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for step in &found.plan.items {
        let (Item::UnderWay(key) | Item::Gap(Gap { key, .. })) = step;
        let (state, reason, args) = item(entry, step);
        let record = json!({
            "entry": entry.name.as_str(), "scheduled_at": key.scheduled_at().to_string(), "pass": key.pass(),
            "state": state, "reason": reason, "args": args,
        });
        writeln!(out, "{record}")?;
    }
    let mut record = summary(span, &found.plan);
    record["occurrences"] = found.plan.items.len().into();
    record["requests"] = requests(&found.plan).into();
    record["account"] = entry.account.name.as_str().into();
    record["limit"] = quota.map_or(entry.account.quota.limit, |quota| quota.limit).into();
    record["remaining"] = quota.and_then(|quota| quota.remaining).into();
    record["reserve"] = reserve(entry, quota).into();
    writeln!(out, "{record}")
}

/// The last record: it alone has the key `summary`.
fn summary(span: TimeSpan, plan: &Backlog) -> Value {
    json!({
        "summary": true, "from": span.from.to_string(), "until": span.until.to_string(),
        "started": plan.started, "open": plan.open, "unknown": plan.unknown, "on_calendar": plan.on_calendar,
        "before_history": plan.before_history, "unplanned": plan.unplanned,
    })
}

/// Requests that start the runs. What asks how each ends comes on top.
fn requests(plan: &Backlog) -> usize {
    plan.items.iter().filter(|item| matches!(item, Item::Gap(_))).count()
}

fn reserve(entry: &Entry, quota: Option<&AccountStatus>) -> u32 {
    quota.map_or(entry.account.quota.reserve.of(entry.account.quota.limit), |quota| quota.reserve)
}

fn in_text(
    entry: &Entry,
    found: &Repairable,
    quota: Option<&AccountStatus>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let plan = &found.plan;
    if !plan.items.is_empty() {
        let mut table = Table::new(&COLUMNS, output::columns()).with_sentences_in(2);
        for step in &plan.items {
            let (Item::UnderWay(key) | Item::Gap(Gap { key, .. })) = step;
            let (state, reason, args) = item(entry, step);
            let or_nothing =
                |text: Option<String>| Cell::plain(text.map_or(NOTHING.to_owned(), |text| visible(&text)));
            let cells = [
                Cell::plain(key.scheduled_at().to_string()),
                state.map_or(Cell::plain(NOTHING), |word| {
                    Cell::styled(word, State::of_word(word).map_or(anstyle::Style::new(), style))
                }),
                or_nothing(reason),
                or_nothing(args),
            ];
            table.row(cells, None, out)?;
        }
        table.finish(out)?;
        writeln!(out)?;
    }
    writeln!(out, "{} of {} would be made up for", counted_items(plan.items.len()), entry.name)?;
    left_alone(plan, out)?;
    let requests = requests(plan);
    if requests == 0 {
        return Ok(());
    }
    let follow = if entry.follow { ", and those that ask how each run ends" } else { "" };
    let requests = counted(requests, "request", "requests");
    let account = &entry.account;
    match quota {
        Some(AccountStatus { remaining: Some(remaining), limit, reserve, .. }) => writeln!(
            out,
            "{requests} of the quota of account {}{follow}: {remaining} of {limit} are left now, {reserve} of them the reserve",
            account.name
        ),
        _ => writeln!(
            out,
            "{requests} of the quota of account {}{follow}: it has {} in each window, {} of them the reserve",
            account.name,
            account.quota.limit,
            reserve(entry, None)
        ),
    }?;
    match entry.priority {
        Priority::Low => Ok(()),
        _ => writeln!(out, "they go at low priority, after everything that is due"),
    }
}

/// Prints how many instants of the span are left as they are, and why.
fn left_alone(plan: &Backlog, out: &mut dyn Write) -> io::Result<()> {
    let kinds = [
        (plan.started, "started an action"),
        (plan.open, "under way"),
        (plan.unknown, "unknown whether it ran"),
        (plan.on_calendar, "on a calendar of the entry"),
        (plan.before_history, "before the journal's history"),
        (plan.unplanned, "not planned yet"),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    if kinds.is_empty() { Ok(()) } else { writeln!(out, "left alone: {}", kinds.join(", ")) }
}

/// Prints each run when it has come to its end.
pub(super) struct Runs<'a> {
    entry: &'a Entry,
    span: TimeSpan,
    format: OutputFormat,
    /// Number of runs that ended with success, and of those that did not.
    ended: (u64, u64),
}

impl<'a> Runs<'a> {
    pub(super) fn new(entry: &'a Entry, span: TimeSpan, format: OutputFormat) -> Runs<'a> {
        Runs { entry, span, format, ended: (0, 0) }
    }

    pub(super) fn take(&mut self, record: &Record) -> anyhow::Result<()> {
        match record.state {
            State::Started | State::Finished => self.ended.0 += 1,
            _ => self.ended.1 += 1,
        }
        let mut text = Vec::new();
        match self.format {
            OutputFormat::Json => {
                serde_json::to_writer(&mut text, &HistoryRecord::of(record))?;
                writeln!(text)?;
            }
            OutputFormat::Text => {
                let (state, style) = (record.state.as_str(), style(record.state));
                let action = record.action_id.map_or(String::new(), |id| format!("action {id}"));
                let reason =
                    record.in_words().map_or(String::new(), |reason| format!("  {}", visible(&reason)));
                // The column is as wide as the longest state.
                let line =
                    format!("{}  {style}{state:8}{style:#}  {action}{reason}", record.key.scheduled_at());
                writeln!(text, "{}", line.trim_end())?;
            }
        }
        output::print(&text).map(|_| ())
    }

    /// Returns true when each run ended with success.
    pub(super) fn is_success(&self) -> bool {
        self.ended.1 == 0
    }

    pub(super) fn finish(&self, plan: &Backlog) -> anyhow::Result<()> {
        let (succeeded, failed) = self.ended;
        let mut text = Vec::new();
        match self.format {
            OutputFormat::Json => {
                let mut record = summary(self.span, plan);
                record["succeeded"] = succeeded.into();
                record["failed"] = failed.into();
                record["left"] = (plan.items.len() as u64).saturating_sub(succeeded + failed).into();
                writeln!(text, "{record}")?;
            }
            OutputFormat::Text if plan.items.is_empty() => {
                writeln!(text, "nothing of {} is to be made up for", self.entry.name)?;
                left_alone(plan, &mut text)?;
            }
            OutputFormat::Text => {
                let without = if failed > 0 { format!(", {failed} without success") } else { String::new() };
                let ran = counted_items(usize::try_from(succeeded + failed).unwrap_or(usize::MAX));
                writeln!(text, "{ran} of {} made up for{without}", self.entry.name)?;
            }
        }
        output::print(&text).map(|_| ())
    }
}
