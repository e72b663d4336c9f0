//! `stackcron status`: how the running daemon stands, on one screen.

mod screen;

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::CommandEnd;
use super::complete;
use super::output::{self, OutputFormat};
use super::place::StatePlace;
use crate::control::{self, ControlAnswer, ControlError, Question};
use screen::Headline;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Lines of each kind on the screen.
const LINES: usize = 8;

/// Records of each kind in JSON.
const RECORDS: usize = 1000;

/// Columns of the screen where there is no terminal.
const WIDTH: usize = 80;

/// Columns of the screen at most: longer lines are hard to follow.
const WIDEST: usize = 120;

/// Tell how the running daemon stands: does it fire, what is next, what waits and why, what went
/// wrong lately, how much quota is left.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Tell of these entries when they were and will be due, instead of those that are due next
    #[arg(value_name = "ENTRY", add = complete::entries())]
    entries: Vec<String>,
    /// Look again every second, until Ctrl-C or the daemon's end
    #[arg(long)]
    watch: bool,
    /// Exit with status 1 where there are problems, or where nothing is fired
    #[arg(long, conflicts_with = "watch")]
    strict: bool,
    #[command(flatten)]
    place: StatePlace,
}

pub(super) fn run(args: &Args, format: OutputFormat) -> anyhow::Result<CommandEnd> {
    let places = args.place.sockets()?;
    let most = match format {
        OutputFormat::Text => LINES.max(args.entries.len()),
        OutputFormat::Json => RECORDS,
    };
    let question = Question::Status { entries: args.entries.clone(), most };
    let look = || match control::ask(&places, &question)?.soon()? {
        ControlAnswer::Status(status) => Ok(*status),
        other => Err(ControlError::Strange(format!("{other:?}"))),
    };
    let told = |status: &control::Status| match format {
        OutputFormat::Json => Ok(serde_json::to_string(status)? + "\n"),
        OutputFormat::Text => anyhow::Ok(screen::of(status, output::columns().unwrap_or(WIDTH).min(WIDEST))),
    };
    let first = look()?;
    if !args.watch {
        let printed = output::print(told(&first)?.as_bytes())?;
        let well = matches!(Headline::of(&first), Headline::Fires | Headline::StandsBy);
        return Ok(if args.strict && !well { CommandEnd::Failed } else { printed });
    }
    let in_place = format == OutputFormat::Text && std::io::stdout().is_terminal();
    let mut status = first;
    let mut next = Instant::now();
    loop {
        let text = told(&status)?;
        let text = if in_place { in_its_place(&text) } else { text };
        if !write(text.as_bytes())? {
            return Ok(CommandEnd::Done);
        }
        next = (next + EVERY).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        status = match look() {
            Err(ControlError::Nobody { .. }) => return Err(ControlError::Gone.into()),
            looked => looked?,
        };
    }
}

/// Over what the screen shows: each line with what is left of the old one wiped out, as many as
/// there is room for.
fn in_its_place(text: &str) -> String {
    let rows = terminal_size::terminal_size().map_or(24, |(_, terminal_size::Height(rows))| rows);
    let lines = text.lines().take(usize::from(rows).saturating_sub(1));
    let lines: String = lines.map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

/// False when the reader has gone away.
fn write(text: &[u8]) -> anyhow::Result<bool> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}
