//! How commands print: the format of records, colours, and a reader that goes away.

use std::io::Write;
use std::path::Path;

use super::Status;
use crate::schedule::render::Colour;
use crate::schedule::{self, Loaded};

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned, for a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Columns of what goes to no terminal.
const DEFAULT_WIDTH: usize = 100;

/// Writes to stdout. Colours are taken out again where it is no terminal or `NO_COLOR` is set. A reader that
/// has gone away, as `head` does, is no error.
pub fn print(bytes: &[u8]) -> anyhow::Result<Status> {
    let mut out = anstream::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Status::Done),
    }
}

/// How many columns a line may have: the terminal's, `COLUMNS`, or 100 where there is neither.
pub fn width() -> usize {
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    terminal.map(|(terminal_size::Width(width), _)| width.into()).or_else(columns).unwrap_or(DEFAULT_WIDTH)
}

/// Tells what is wrong with the arguments.
pub fn usage(error: &dyn std::error::Error) -> Status {
    // Nothing can be told of a stderr that is closed.
    let _ = writeln!(anstream::stderr(), "error: {error}");
    Status::Usage
}

/// Reads the schedule file for a command. `None` when it is wrong: every error has been printed to stderr.
pub fn load(config: &Path) -> anyhow::Result<Option<Loaded>> {
    match schedule::load(config) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(rejected) => {
            anstream::stderr().write_all(rejected.render(Colour::Always).as_bytes())?;
            Ok(None)
        }
    }
}
