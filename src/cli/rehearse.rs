//! `stackcron rehearse`: the daemon in virtual time against an in-process look-alike of the API.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anstyle::Style;
use jiff::Timestamp;
use serde::Serialize;

use super::CommandEnd;
use super::moment::Moment;
use super::output::{self, OutputFormat};
use super::progress::ProgressLine;
use super::span::{SpanError, TimeSpan};
use crate::journal::UsualRuns;
use crate::log;
use crate::rehearsal::{Conditions, Happening, Latency, Others, Rehearsal, Summary};
use crate::sandbox::{Deploys, Fault, WindowKind};
use crate::schedule::{Schedule, duration};

/// Fires the schedule in virtual time at a look-alike of the API: the log as it would be, then what
/// it comes to.
///
/// The same sweep, dispatch and quota as the daemon's run, without a clock or a network. The same
/// arguments give the same output, byte for byte. Nothing is sent to anybody, and no token is read.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to begin: RFC 3339, a local time as 2026-10-25T01:30 or 01:30, or one of now, today,
    /// tomorrow, -2h, +30m
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub from: Moment,
    /// Where to end, itself excluded. What is due before is followed to its end
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub until: Moment,
    #[command(flatten)]
    pub suppositions: Suppositions,
    /// What goes wrong, as status=500:job=UID,p=0.1. May be given several times; see stackcron
    /// sandbox
    #[arg(long = "fault", value_name = "FAULT")]
    pub faults: Vec<Fault>,
    /// Of all chance: latency, others, faults, retries
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// The summary alone
    #[arg(long)]
    pub quiet: bool,
}

/// Suppositions about the API and about other users of the quota.
#[derive(Clone, Debug, clap::Args)]
pub struct Suppositions {
    /// How long a request and its answer take: one duration, or 50ms..2s for any between two
    #[arg(long, value_name = "D", default_value_t)]
    pub latency: Latency,
    /// What others use of each account's quota, as 300/1h, at instants that chance decides
    #[arg(long, value_name = "N/D")]
    pub others: Option<Others>,
    /// Where a window of the quota begins: fixed (on the clock), first-request, or rolling
    #[arg(long, value_name = "KIND", default_value_t)]
    pub window_kind: WindowKind,
    /// How long an action runs, which decides what follow-up costs and when a chain goes on; 1m when
    /// absent, except that forecast takes the median of the entry's runs where the journal has some
    #[arg(long, value_name = "D", value_parser = duration::parse)]
    pub action_duration: Option<Duration>,
    /// A stack that deploys by the clock, as web=5m/30m: for 5 minutes from each half hour on. May
    /// be given several times
    #[arg(long = "deploy", value_name = "STACK=D/D")]
    pub deploys: Vec<Deploys>,
}

impl Default for Suppositions {
    fn default() -> Suppositions {
        let Conditions { latency, others, window_kind, deploys, .. } = Conditions::default();
        Suppositions { latency, others, window_kind, action_duration: None, deploys }
    }
}

impl Suppositions {
    pub(super) fn conditions(&self) -> Conditions {
        let usual = Conditions::default();
        Conditions {
            latency: self.latency,
            others: self.others,
            window_kind: self.window_kind,
            action_duration: self.action_duration.unwrap_or(usual.action_duration),
            deploys: self.deploys.clone(),
            ..usual
        }
    }

    /// The conditions, with runs as they are as a rule. A run time that somebody supposes goes
    /// first.
    pub(super) fn with_usual(&self, usual: UsualRuns) -> Conditions {
        let usual = if self.action_duration.is_some() { usual.without_times() } else { usual };
        Conditions { usual, ..self.conditions() }
    }
}

/// After so many happenings the bar is moved. Most rehearsals have some ten thousand a second.
const DRAWN: usize = 256;

/// Why a rehearsal does not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// There is nothing to rehearse.
    #[error(transparent)]
    Span(#[from] SpanError),
    /// The output is closed or full.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Runs the command, and prints line by line: a week can have more lines than fit in memory.
pub(super) fn command(args: &Args, config: &Path, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    let Some(loaded) = output::load(config)? else {
        return Ok(CommandEnd::Config);
    };
    let mut out = BufWriter::new(anstream::stdout().lock());
    // Lines on the same terminal tell how far it is, and would mix with the bar.
    let mut progress = match args.quiet || !io::stdout().is_terminal() {
        true => ProgressLine::of("rehearsing"),
        false => ProgressLine::hidden(),
    };
    let width = output::columns();
    let rehearsed = run(args, &loaded.schedule, Timestamp::now(), format, width, &mut progress, &mut out);
    drop(progress);
    match rehearsed.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => Ok(CommandEnd::Done),
        Err(RehearseError::Span(error)) => Ok(output::usage(&error)),
        // The reader has closed the pipe, and has seen enough.
        Err(RehearseError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(CommandEnd::Done)
        }
        Err(error) => Err(error.into()),
    }
}

/// Rehearses, and prints as it goes: the summary on lines of so many columns at most, where
/// somebody says.
fn run(
    args: &Args,
    schedule: &Schedule,
    now: Timestamp,
    format: OutputFormat,
    columns: Option<usize>,
    progress: &mut ProgressLine,
    out: &mut dyn Write,
) -> Result<(), RehearseError> {
    let TimeSpan { from, until } = TimeSpan::new(
        TimeSpan::instant(args.from, schedule, now)?,
        TimeSpan::instant(args.until, schedule, now)?,
    )?;
    let conditions =
        Conditions { faults: args.faults.clone(), seed: args.seed, ..args.suppositions.conditions() };
    let mut rehearsal = Rehearsal::new(schedule, &conditions, from, until);
    let mut summary = Summary::default();
    let mut form = match format {
        OutputFormat::Text => log::Form::Text(log::TextPage::new(columns, true)),
        OutputFormat::Json => log::Form::Json,
    };
    let mut ended_at = from;
    let whole_ms = until.duration_since(from).as_millis().unsigned_abs() as u64;
    for (number, (at, happening)) in rehearsal.by_ref().enumerate() {
        if number % DRAWN == 0 {
            let done =
                at.duration_since(from).as_millis().clamp(0, i128::from(whole_ms)).unsigned_abs() as u64;
            progress.at(done, whole_ms);
        }
        summary.take(&happening);
        ended_at = at;
        if let Happening::Told(event) = &happening
            && !args.quiet
        {
            form.write(out, &log::Line::new(at, event))?;
        }
    }
    let whole = Whole { from, until, seed: args.seed, due: rehearsal.due(), summary: &summary };
    match format {
        OutputFormat::Json => print_json(&whole, ended_at, out)?,
        OutputFormat::Text => {
            if !args.quiet {
                writeln!(out)?;
            }
            let mut text = Vec::new();
            print_text(&whole, &mut text)?;
            out.write_all(output::wrapped(&String::from_utf8_lossy(&text), columns).as_bytes())?;
        }
    }
    Ok(())
}

/// The numbers, with what they are of. Its keys are an interface.
#[derive(Serialize)]
struct Whole<'a> {
    from: Timestamp,
    until: Timestamp,
    seed: u64,
    due: u64,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// The last record: it has the keys that every line of the log has.
#[derive(Serialize)]
struct RehearsalLine<'a> {
    timestamp: String,
    level: &'static str,
    event: &'static str,
    message: String,
    #[serde(flatten)]
    whole: &'a Whole<'a>,
}

fn print_json(whole: &Whole<'_>, ended_at: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let Summary { sent, late, missed, .. } = whole.summary;
    let record = RehearsalLine {
        timestamp: format!("{ended_at:.6}"),
        level: "info",
        event: "rehearsal.summary",
        message: format!("{} due, {sent} sent, {late} of them late, {missed} missed", whole.due),
        whole,
    };
    serde_json::to_writer(&mut *out, &record)?;
    writeln!(out)
}

fn print_text(whole: &Whole<'_>, out: &mut dyn Write) -> io::Result<()> {
    let summary = whole.summary;
    let bold = Style::new().bold();
    writeln!(out, "{bold}{} to {}, seed {}{bold:#}", whole.from, whole.until, whole.seed)?;
    let listed = |parts: &[(u64, &str)]| {
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        parts.map(|(number, what)| format!("{number} {what}")).collect::<Vec<_>>().join(", ")
    };
    let highest = summary.highest_lateness_ms.unwrap_or(0);
    let rows = [
        ("due", whole.due, String::new()),
        (
            "sent",
            summary.sent,
            listed(&[
                (summary.started, "started"),
                (summary.rejected, "rejected"),
                (summary.unknown, "unknown"),
            ]),
        ),
        ("late", summary.late, format!("over 1 s; the highest lateness is {}", seconds(highest))),
        ("waited", summary.waited, String::new()),
        (
            "missed",
            summary.missed,
            listed(&[
                (summary.missed_deadline, "deadline"),
                (summary.missed_superseded, "superseded"),
                (summary.missed_quota, "quota"),
                (summary.missed_down, "down"),
                (summary.missed_stack, "stack"),
            ]),
        ),
        (
            "skipped",
            summary.skipped(),
            listed(&[
                (summary.skipped_overlap, "overlap"),
                (summary.skipped_paused, "paused"),
                (summary.skipped_calendar, "calendar"),
                (summary.skipped_stack, "stack"),
            ]),
        ),
        (
            "finished",
            summary.succeeded + summary.failed,
            listed(&[(summary.succeeded, "succeeded"), (summary.failed, "failed")]),
        ),
        (
            "requests",
            summary.requests_fire + summary.requests_follow_up + summary.requests_check,
            listed(&[
                (summary.requests_fire, "fire"),
                (summary.requests_follow_up, "follow-up"),
                (summary.requests_check, "check"),
                (summary.requests_refused, "refused for want of quota"),
            ]),
        ),
    ];
    for (name, number, parts) in rows {
        writeln!(out, "{}", format!("  {name:9} {number:9}  {parts}").trim_end())?;
    }
    match summary.lowest_remaining {
        Some(lowest) => writeln!(out, "  {:9} {lowest:9}  the lowest that an answer told", "remaining"),
        None => Ok(()),
    }
}

pub(super) fn seconds(ms: i64) -> String {
    format!("{}.{:03} s", ms / 1000, ms.rem_euclid(1000))
}
