//! `stackcron journal move`: carries the journal to another place.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::CommandEnd;
use super::output::{self, OutputFormat};
use super::place::StatePlace;
use super::progress::ProgressLine;
use crate::journal::postgres::PostgresAddress;
use crate::journal::{Location, Moved, move_journal};
use crate::schedule::{Schedule, Shard};

/// Carry the journal to another place.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum JournalCommand {
    Move(Args),
}

/// Carry pauses, open occurrences, quotas, history and the cursor to another journal, while no
/// daemon runs on either.
///
/// The journal that is moved is the one that `run` uses with the same --state-dir and --journal. It
/// stays where it is, and no daemon starts with it any more. A move that was interrupted is asked
/// for again. Run it as the daemon's user.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  stackcron journal move --to postgres://stackcron@db/jobs
      from the file in the state directory to a database; then start the daemon with --journal and that URL
  stackcron journal move --journal postgres://stackcron@db/jobs --to /var/lib/stackcron
      and back, to a file in that state directory; then start the daemon without --journal")]
pub struct Args {
    /// Where the journal goes: postgres://USER@HOST/DATABASE, or a state directory
    #[arg(long, value_name = "URL")]
    to: String,
    #[command(flatten)]
    place: StatePlace,
}

/// The record that `journal move --format json` prints.
#[derive(Serialize)]
struct MovedRecord<'a> {
    from: &'a str,
    to: &'a str,
    open: u64,
    settled: u64,
    paused: u64,
    accounts: u64,
}

/// Moves the journal, and says how much was moved.
pub(super) fn run(
    command: &JournalCommand,
    config: &Path,
    format: OutputFormat,
) -> anyhow::Result<CommandEnd> {
    let JournalCommand::Move(args) = command;
    let from = args.place.journal()?;
    let to = match destination(&args.to) {
        Ok(to) => to,
        Err(error) => return Ok(output::usage(&*error)),
    };
    let state_dir = output::state_directory(args.place.state_dir.as_deref())?;
    let shards = match to {
        Location::Directory(_) => Vec::new(),
        // An open occurrence belongs to the shard of its account.
        Location::Database(_) => match output::load(config)? {
            Some(loaded) => shards(&loaded.schedule),
            None => return Ok(CommandEnd::Config),
        },
    };
    let mut progress = ProgressLine::of("moving the journal");
    // The number of rows is known only at the end.
    let moved = move_journal(&from, &to, &state_dir, &shards, |rows| progress.at(rows, rows + 1))?;
    drop(progress);
    let mut out = Vec::new();
    print(&moved, format, &mut out)?;
    output::print(&out)
}

fn destination(text: &str) -> Result<Location, Box<dyn std::error::Error>> {
    match text.strip_prefix("file:") {
        Some(path) => Ok(Location::Directory(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))),
        None if text.contains("://") => Ok(Location::Database(Box::new(text.parse::<PostgresAddress>()?))),
        None if text.is_empty() => Err("--to is empty: name a database or a state directory".into()),
        None => Ok(Location::Directory(PathBuf::from(text))),
    }
}

fn shards(schedule: &Schedule) -> Vec<(crate::schedule::ShardName, Vec<crate::schedule::AccountName>)> {
    let shards = schedule.shards();
    let named = shards.iter().filter_map(|shard| shard.name().map(|name| (shard, name)));
    let accounts = |shard: &Shard| {
        let accounts = schedule.accounts.iter().filter(|account| account.shard == *shard);
        accounts.map(|account| account.name.clone()).collect()
    };
    named.map(|(shard, name)| (name.clone(), accounts(shard))).collect()
}

fn print(moved: &Moved, format: OutputFormat, out: &mut Vec<u8>) -> anyhow::Result<()> {
    let Moved { open, settled, paused, quotas, from, to } = moved;
    if format == OutputFormat::Json {
        let record =
            MovedRecord { from, to, open: *open, settled: *settled, paused: *paused, accounts: *quotas };
        serde_json::to_writer(&mut *out, &record)?;
        writeln!(out)?;
        return Ok(());
    }
    let counted =
        |number: u64, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    writeln!(
        out,
        "moved {from} to {to}: {}, {}, {}, {}",
        counted(*open, "open occurrence", "open occurrences"),
        counted(*settled, "settled occurrence", "settled occurrences"),
        counted(*paused, "pause", "pauses"),
        counted(*quotas, "quota", "quotas"),
    )?;
    match to.contains("://") {
        true => writeln!(out, "start the daemon with --journal (or STACKCRON_JOURNAL) and that URL")?,
        false => writeln!(out, "start the daemon with that --state-dir, and without --journal")?,
    }
    Ok(())
}
