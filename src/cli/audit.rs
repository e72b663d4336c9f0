//! `stackcron audit`: every instant of a span by the schedule, held against the journal, and with
//! `--online` against the stacks' actions.

mod online;

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use super::CommandEnd;
use super::complete;
use super::moment::Moment;
use super::output::{self, OutputFormat};
use super::place::StatePlace;
use super::progress::ProgressLine;
use super::span::TimeSpan;
use super::table::{Align, Cell, Column, Table};
use crate::audit::{Audit, Counts, Judged, Online, Plan, Scope, Verdict};
use crate::journal::Filter;
use crate::log::visible;
use crate::schedule::{Schedule, entries};

/// Length of the span where no option names its beginning.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Rows that are printed for people at most. JSON has all.
const MOST_ROWS: usize = 1000;

/// The bar is moved on after so many rows of the journal.
const FRAME: u64 = 4096;

/// Hold every instant of the schedule against the journal: what ran, and what did not.
///
/// Each instant of the span gets a verdict: on_time, late (by over a second), failed, skipped,
/// missed, rejected, unknown, lost, of which the journal has nothing, or twice, which has a second
/// action. Each is judged by the schedule that was in force then. It reads only, and can be used
/// beside a running daemon. With --online it also asks for the actions of the stacks: it then finds
/// those that nobody here started (foreign) and second ones that the journal does not know, and
/// names the actions of what is lost. Instants before the first occurrence that the journal has of
/// an entry are not judged, nor those that the daemon has not planned yet: they are counted. The
/// exit status is 1 when an occurrence was missed, was lost or ran twice, or nobody knows whether
/// it ran.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  stackcron audit                                   the last 24 hours
  stackcron audit nightly-report --from 2026-10-01  one entry since then
  stackcron audit --online                          the stacks' actions as well
  stackcron audit --from -7d --format json          one record an instant, then a summary")]
pub struct Args {
    /// The entries to look at; all of them when none is named
    #[arg(value_name = "ENTRY", add = complete::entries())]
    entries: Vec<String>,
    /// Where to begin: RFC 3339, a local time, yesterday, -2h; 24 hours ago when absent
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    from: Option<Moment>,
    /// Where to end, itself excluded; now when absent
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Ask the API for the stacks' actions as well, within the quota and never out of its reserve
    #[arg(long)]
    online: bool,
    #[command(flatten)]
    place: StatePlace,
}

/// One line of JSON. Its keys are an interface.
#[derive(Serialize)]
struct AuditRecord<'a> {
    entry: Option<&'a str>,
    scheduled_at: Option<Timestamp>,
    verdict: &'a str,
    action_id: Option<u64>,
    lateness_ms: Option<i64>,
    reason: Option<&'a str>,
}

const COLUMNS: [Column; 6] = [
    Column::new("ENTRY", Align::Left, 0),
    Column::new("SCHEDULED_AT", Align::Left, 0),
    Column::new("VERDICT", Align::Left, 0),
    Column::new("ACTION_ID", Align::Right, 3),
    Column::new("LATENESS_MS", Align::Right, 2),
    Column::new("REASON", Align::Left, 1),
];

/// Audits a span, and prints what was found.
pub(super) fn run(args: &Args, config: &Path, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    let Some(loaded) = output::load(config)? else { return Ok(CommandEnd::Config) };
    let schedule = &loaded.schedule;
    for name in &args.entries {
        if let Err(error) = entries::find(schedule, name) {
            return Ok(output::usage(&error));
        }
    }
    let wanted = |name: &str| args.entries.is_empty() || args.entries.iter().any(|asked| asked == name);
    let selected = Schedule {
        accounts: schedule.accounts.clone(),
        entries: schedule.entries.iter().filter(|entry| wanted(entry.name.as_str())).cloned().collect(),
    };
    let now = Timestamp::now();
    let from = args.from.unwrap_or(Moment::FromNow(-DAY));
    let instants = TimeSpan::instant(from, &selected, now)
        .and_then(|from| {
            Ok((from, args.until.map_or(Ok(now), |until| TimeSpan::instant(until, &selected, now))?))
        })
        // The future has nothing to audit.
        .and_then(|(from, until)| TimeSpan::new(from, until.min(now)));
    let span = match instants {
        Ok(span) => span,
        Err(error) => return Ok(output::usage(&error)),
    };
    // Read before the journal, which then knows of each that this daemon started.
    let asked = args.online.then(|| online::ask(&selected, span.from)).transpose()?;
    let not_asked = asked.as_ref().map_or(0, |asked| asked.not_asked);
    let mut out = BufWriter::new(anstream::stdout().lock());
    let online = asked.map(|asked| asked.online);
    let audited = audited(args, &selected, span, online, format, &mut out);
    match audited.and_then(|counts| Ok(out.flush().map(|()| counts)?)) {
        Ok(counts) if counts.is_broken() || not_asked > 0 => Ok(CommandEnd::Failed),
        Ok(_) => Ok(CommandEnd::Done),
        // The reader has closed the pipe, and has seen enough.
        Err(error)
            if error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(CommandEnd::Done)
        }
        Err(error) => Err(error),
    }
}

fn audited(
    args: &Args,
    schedule: &Schedule,
    span: TimeSpan,
    online: Option<Online>,
    format: OutputFormat,
    out: &mut dyn Write,
) -> anyhow::Result<Counts> {
    let journal = args.place.journal()?;
    // Read before the rows: what is planned meanwhile is judged by the next audit.
    let cursor = journal.planned_until()?;
    let named = || schedule.entries.iter().map(|entry| entry.name.clone()).collect();
    let scope =
        Scope { from: span.from, until: span.until, cursor, entries: (!args.entries.is_empty()).then(named) };
    let (mut rows, mut cut, mut written) = (Vec::new(), 0_u64, Ok(()));
    let each = |judged: Judged| match format {
        OutputFormat::Json if written.is_ok() => written = line(&judged, out),
        OutputFormat::Json => {}
        OutputFormat::Text if judged.verdict == Verdict::OnTime => {}
        OutputFormat::Text if rows.len() < MOST_ROWS => rows.push(judged),
        OutputFormat::Text => cut += 1,
    };
    // Where only some entries are asked for, `schedule` has no others.
    let plan = Plan::new(schedule, &journal.read_in_force(None)?, args.entries.is_empty(), span.from);
    let mut audit = Audit::new(scope, plan, each);
    if let Some(online) = online {
        audit = audit.against(online, &schedule.entries);
    }
    let mut progress = ProgressLine::of("reading the journal");
    let whole = span.until.duration_since(span.from).as_secs().unsigned_abs();
    let mut read = 0_u64;
    // From the journal's beginning: the first row of an entry tells from when on it is known.
    let filter = Filter { until: Some(span.until), ..Filter::default() };
    journal.read_history(&filter, |record| {
        read += 1;
        if read.is_multiple_of(FRAME) {
            let done = record.key.scheduled_at().duration_since(span.from).as_secs().max(0);
            progress.at(done.unsigned_abs(), whole);
        }
        audit.take(record);
        ControlFlow::Continue(())
    })?;
    let counts = audit.finish();
    drop(progress);
    written?;
    match format {
        OutputFormat::Json => summary_line(span, &counts, out)?,
        OutputFormat::Text => {
            summary(span, &counts, cursor, out)?;
            table(rows, out)?;
            if cut > 0 {
                writeln!(out, "{cut} more; --format json has all of them")?;
            }
        }
    }
    Ok(counts)
}

impl<'a> AuditRecord<'a> {
    /// The record of an instant.
    fn of(judged: &'a Judged) -> AuditRecord<'a> {
        AuditRecord {
            entry: judged.entry.as_ref().map(|entry| entry.as_str()),
            scheduled_at: judged.scheduled_at,
            verdict: judged.verdict.as_str(),
            action_id: judged.action_id,
            lateness_ms: judged.lateness_ms,
            reason: judged.reason.as_deref(),
        }
    }
}

fn line(judged: &Judged, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &AuditRecord::of(judged))?;
    writeln!(out)
}

/// The last record: it alone has the key `summary`.
fn summary_line(span: TimeSpan, counts: &Counts, out: &mut dyn Write) -> io::Result<()> {
    let mut record = Map::from_iter([("summary".to_owned(), Value::Bool(true))]);
    record.extend(counted(span, counts));
    serde_json::to_writer(&mut *out, &record)?;
    writeln!(out)
}

/// Returns the number of instants of a span for each verdict. The keys are an interface.
fn counted(span: TimeSpan, counts: &Counts) -> Map<String, Value> {
    let mut record = Map::new();
    record.insert("from".to_owned(), span.from.to_string().into());
    record.insert("until".to_owned(), span.until.to_string().into());
    record.insert("instants".to_owned(), counts.judged().into());
    for verdict in Verdict::ALL {
        record.insert(verdict.as_str().to_owned(), counts.of(verdict).into());
    }
    record.insert("open".to_owned(), counts.open.into());
    record.insert("before_first".to_owned(), counts.before_first.into());
    record.insert("unplanned".to_owned(), counts.unplanned.into());
    record
}

fn summary(
    span: TimeSpan,
    counts: &Counts,
    cursor: Option<Timestamp>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let found = Verdict::ALL.into_iter().filter(|verdict| counts.of(*verdict) > 0);
    let found: Vec<String> = found
        .map(|verdict| {
            let style = style(verdict);
            format!("{style}{} {}{style:#}", counts.of(verdict), verdict.as_str())
        })
        .collect();
    let instants = if counts.judged() == 1 { "instant" } else { "instants" };
    let found = if found.is_empty() { String::new() } else { format!(": {}", found.join(", ")) };
    writeln!(out, "{} {instants} from {:.0} to {:.0}{found}", counts.judged(), span.from, span.until)?;
    if counts.open > 0 {
        writeln!(out, "{} more have not come to their end", counts.open)?;
    }
    if counts.unplanned > 0 {
        let since = cursor.map_or("the beginning".to_owned(), |cursor| format!("{cursor:.0}"));
        writeln!(
            out,
            "{} more are not planned yet: no daemon has planned anything since {since}",
            counts.unplanned
        )?;
    }
    if counts.before_first > 0 {
        writeln!(
            out,
            "{} more are not judged: they are before the first occurrence that the journal has of their entry",
            counts.before_first
        )?;
    }
    Ok(())
}

fn table(rows: Vec<Judged>, out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = Table::new(&COLUMNS, output::columns());
    for judged in rows {
        let or_dash = |text: Option<String>| Cell::plain(text.unwrap_or_else(|| "-".to_owned()));
        let cells = [
            or_dash(judged.entry.map(|entry| entry.to_string())),
            or_dash(judged.scheduled_at.map(|at| at.to_string())),
            Cell::styled(judged.verdict.as_str(), style(judged.verdict)),
            or_dash(judged.action_id.map(|id| id.to_string())),
            or_dash(judged.lateness_ms.map(|ms| ms.to_string())),
            or_dash(judged.reason.as_deref().map(visible)),
        ];
        table.row(cells, None, out)?;
    }
    table.finish(out).map(|_| ())
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::OnTime => AnsiColor::Green.on_default(),
        Verdict::Late | Verdict::Skipped | Verdict::Foreign => AnsiColor::Yellow.on_default(),
        Verdict::Failed
        | Verdict::Rejected
        | Verdict::Missed
        | Verdict::Unknown
        | Verdict::Lost
        | Verdict::Twice => AnsiColor::Red.on_default(),
    }
}
