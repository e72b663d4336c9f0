//! `stackcron backfill`: makes up for the occurrences of a span that did not start, one at a time,
//! through the running daemon.
//!
//! The command reads in the journal what did not start, and asks the daemon for the oldest; it
//! waits until that has come to its end, and asks for the next. Nothing of its progress is kept
//! outside the journal: each occurrence is claimed there under its own instant before it is sent.
//! So the command may be broken off at any moment, and so may the daemon. Asked again, the command
//! waits for what is still under way and goes on.
//!
//! Example: 100 nights are to be made up for. After 40 the terminal is closed; the 41st has just
//! been claimed. It runs to its end. The next day the same command finds 41 that have run, and
//! goes on with the 42nd.

mod found;
mod report;
mod steps;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::CommandEnd;
use super::complete;
use super::moment::Moment;
use super::output::{self, OutputFormat};
use super::place::StatePlace;
use super::span::{SpanError, TimeSpan};
use crate::schedule::{Entry, entries};

/// Make up for the occurrences of a span that did not start, through the running daemon.
///
/// What was missed, skipped or rejected is fired, and what the journal has nothing of: the oldest
/// first, one at a time, at low priority. Each is claimed under its own scheduled_at, so that none
/// starts twice, whatever is broken off: asked again, the command goes on. What falls on a calendar
/// of the entry is left out, and so is what started, may have started, or is under way. The exit
/// status is 0 when each ended with success, or there was nothing to do.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The entry, by its name in the schedule
    #[arg(value_name = "ENTRY", add = complete::entries())]
    entry: String,
    /// Where to begin: RFC 3339, a local time as 2026-10-25T01:30, yesterday, -2h
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    from: Moment,
    /// Where to end, itself excluded
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    until: Moment,
    /// Only show which occurrences these are, and how much quota they need
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: StatePlace,
}

/// The end of a span that is not past.
#[derive(Debug, thiserror::Error)]
#[error("--until ({0:.0}) is to come: only what was due can be made up for; write --until now")]
struct NotPast(Timestamp);

pub(super) fn run(args: &Args, config: &Path, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    let Some(loaded) = output::load(config)? else { return Ok(CommandEnd::Config) };
    let entry: Arc<Entry> = match entries::find(&loaded.schedule, &args.entry) {
        Ok(entry) => Arc::clone(entry),
        Err(error) => return Ok(output::usage(&error)),
    };
    let now = Timestamp::now();
    let instant = |moment: Moment| moment.in_zone(&entry.timezone, now).map_err(SpanError::from);
    let instants = instant(args.from).and_then(|from| TimeSpan::new(from, instant(args.until)?));
    let span = match instants {
        Ok(span) if span.until > now => return Ok(output::usage(&NotPast(span.until))),
        Ok(span) => span,
        Err(error) => return Ok(output::usage(&error)),
    };
    let journal = args.place.journal()?;
    let found = found::read(&journal, &entry, span)?;
    let places = args.place.sockets()?;
    if args.dry_run {
        let quota = steps::quota(&places, &entry);
        return report::dry_run(&entry, span, &found, quota.as_ref(), format);
    }
    report::heading(&entry, &found);
    let mut runs = report::Runs::new(&entry, span, format);
    let ended = steps::Steps { entry: &entry, journal: &journal, places: &places }.run(&found, &mut runs);
    runs.finish(&found.plan)?;
    ended?;
    Ok(if runs.is_success() { CommandEnd::Done } else { CommandEnd::Failed })
}
