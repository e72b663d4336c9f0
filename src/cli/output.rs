//! How commands print: the format of records, and a reader that goes away.

use std::io::Write;

use super::Status;

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned, for a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes to stdout. A reader that has gone away, as `head` does, is no error.
pub fn print(bytes: &[u8]) -> anyhow::Result<Status> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Status::Done),
    }
}
