//! `stackcron history`: what became of each occurrence.
//!
//! Rows are printed as they are read, so that the whole of a long journal costs no memory.

mod rows;

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anstyle::Style;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::moment::Moment;
use super::output::{self, Format};
use super::{Status, entries};
use crate::journal::{Filter, JournalError, Record, State, read_history};
use crate::schedule::{self, EntryName, Schedule, duration};
use rows::Rows;
pub(super) use rows::style;

/// How many are printed for people where nothing says how many.
const NEWEST: u32 = 50;

/// What became of each occurrence, the newest last.
///
/// As text the newest 50, unless --since, --until or --newest asks for others; as JSON all that the journal has. It
/// can be read beside a running daemon, and without one.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Of this entry alone. One that is no longer in the schedule still has its history
    #[arg(value_name = "ENTRY", value_parser = EntryName::new)]
    entry: Option<EntryName>,
    /// Scheduled then or later: RFC 3339, or UTC as 2026-10-25T01:30 or 2026-10-25, or how long ago as 2h
    #[arg(long, value_name = "T")]
    since: Option<Bound>,
    /// Scheduled before: written as for --since
    #[arg(long, value_name = "T")]
    until: Option<Bound>,
    /// In this state alone. May be given several times
    #[arg(long = "state", value_name = "STATE", value_parser = state_parser())]
    states: Vec<State>,
    /// The newest so many of them
    #[arg(long, value_name = "N")]
    newest: Option<u32>,
    /// Where the daemon keeps what survives it. $STATE_DIRECTORY, or else stackcron in $XDG_STATE_HOME, unless given
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

pub(super) const STATES: [State; 10] = [
    State::Due,
    State::Waiting,
    State::Sending,
    State::Started,
    State::Finished,
    State::Failed,
    State::Rejected,
    State::Missed,
    State::Skipped,
    State::Unknown,
];

fn state_parser() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(STATES.map(State::as_str)).try_map(|word| {
        STATES.into_iter().find(|state| state.as_str() == word).ok_or("one of the words above")
    })
}

/// One end of the time that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    At(Moment),
    Ago(Duration),
}

/// A text that is no such end.
#[derive(Debug, thiserror::Error)]
#[error(
    "write a time as 2026-10-25T00:30:00Z, or in UTC as 2026-10-25T00:30 or 2026-10-25, or how long ago it was as 2h"
)]
struct BoundError;

impl FromStr for Bound {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Bound, BoundError> {
        let moment = text.parse().map(Bound::At).ok();
        moment.or_else(|| duration::parse(text).map(Bound::Ago).ok()).ok_or(BoundError)
    }
}

impl Bound {
    fn instant(self, now: Timestamp) -> Result<Timestamp, BoundError> {
        match self {
            Bound::At(moment) => moment.in_zone(&TimeZone::UTC).map_err(|_| BoundError),
            Bound::Ago(span) => {
                let span = SignedDuration::try_from(span).map_err(|_| BoundError)?;
                Ok(now.checked_sub(span).unwrap_or(Timestamp::MIN))
            }
        }
    }
}

/// Why there is no history.
#[derive(Debug, thiserror::Error)]
enum HistoryError {
    /// There is no journal, or it cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A name that neither the journal nor the schedule has.
    #[error(
        "no occurrence of `{name}` is in the journal{}",
        nearest.as_ref().map_or(String::new(), |nearest| format!("; did you mean `{nearest}`?"))
    )]
    UnknownEntry {
        /// As it was asked for.
        name: EntryName,
        /// The entry of the schedule that was probably meant.
        nearest: Option<String>,
    },
    /// A time past the end of the calendar.
    #[error(transparent)]
    Bound(#[from] BoundError),
    /// The output is closed or full.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// What was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Printed {
    /// What was asked for.
    All,
    /// Nothing: there is no such occurrence.
    Nothing,
    /// The newest, where nobody had said how many.
    Newest,
}

/// Prints the history. The schedule is only read to tell what a wrong name should have been.
pub(super) fn run(args: &Args, config: &Path, format: Format) -> anyhow::Result<Status> {
    let directory = output::state_directory(args.state_dir.as_deref())?;
    let schedule = || schedule::load(config).ok().map(|loaded| loaded.schedule);
    let mut out = BufWriter::new(anstream::stdout().lock());
    let printed = told(args, &directory, schedule, Timestamp::now(), format, &mut out)
        .and_then(|printed| Ok(out.flush().map(|()| printed)?));
    match printed {
        // Who closed the pipe has seen enough.
        Err(HistoryError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Status::Done),
        Err(error) => Err(error.into()),
        Ok(printed) => {
            let note = match printed {
                Printed::Nothing => "the journal has no such occurrence".to_owned(),
                Printed::Newest => format!("the newest {NEWEST}; --newest N or --since T shows others"),
                Printed::All => return Ok(Status::Done),
            };
            // On stderr: what reads the rows is not to take it for one.
            let faint = Style::new().dimmed();
            let _ = writeln!(anstream::stderr(), "{faint}{note}{faint:#}");
            Ok(Status::Done)
        }
    }
}

fn told(
    args: &Args,
    directory: &Path,
    schedule: impl FnOnce() -> Option<Schedule>,
    now: Timestamp,
    format: Format,
    out: &mut dyn Write,
) -> Result<Printed, HistoryError> {
    let instant = |bound: Option<Bound>| bound.map(|bound| bound.instant(now)).transpose();
    let (since, until) = (instant(args.since)?, instant(args.until)?);
    let by_default = match format {
        Format::Text if since.is_none() && until.is_none() => Some(NEWEST),
        _ => None,
    };
    let limit = args.newest.or(by_default);
    let newest = match args.states.is_empty() {
        true => limit.map(|limit| limit.saturating_add(1)),
        // How many have to be read for so many of these states is not known before.
        false => None,
    };
    let filter = Filter { entry: args.entry.clone(), since, until, newest };
    let wanted = |record: &Record| args.states.is_empty() || args.states.contains(&record.state);
    let mut rows = Rows::new(format, out);
    let cut = match limit {
        None => {
            read(directory, &filter, |record| if wanted(&record) { rows.take(record) } else { Ok(()) })?;
            false
        }
        Some(limit) => {
            let (mut kept, mut cut) = (VecDeque::new(), false);
            read(directory, &filter, |record| {
                if wanted(&record) {
                    kept.push_back(record);
                    if kept.len() > limit as usize {
                        kept.pop_front();
                        cut = true;
                    }
                }
                Ok(())
            })?;
            kept.into_iter().try_for_each(|record| rows.take(record))?;
            cut
        }
    };
    if rows.finish()? == 0 {
        if let Some(entry) = &args.entry {
            has_a_history(entry, directory, schedule)?;
        }
        return Ok(if args.newest == Some(0) { Printed::All } else { Printed::Nothing });
    }
    Ok(if cut && args.newest.is_none() { Printed::Newest } else { Printed::All })
}

/// Hands out records until one cannot be taken.
fn read(
    directory: &Path,
    filter: &Filter,
    mut take: impl FnMut(Record) -> io::Result<()>,
) -> Result<(), HistoryError> {
    let mut failed = None;
    read_history(directory, filter, |record| match take(record) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// An entry of the schedule, or one that the journal has, at whatever time and in whatever state.
fn has_a_history(
    entry: &EntryName,
    directory: &Path,
    schedule: impl FnOnce() -> Option<Schedule>,
) -> Result<(), HistoryError> {
    let mut found = false;
    let any = Filter { entry: Some(entry.clone()), newest: Some(1), ..Filter::default() };
    read(directory, &any, |_| {
        found = true;
        Ok(())
    })?;
    if found {
        return Ok(());
    }
    let nearest = match schedule().map(|schedule| entries::find(&schedule, entry.as_str()).map(|_| ())) {
        Some(Ok(())) => return Ok(()),
        Some(Err(unknown)) => unknown.nearest,
        None => None,
    };
    Err(HistoryError::UnknownEntry { name: entry.clone(), nearest })
}
