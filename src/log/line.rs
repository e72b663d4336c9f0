//! An event as a line at an instant that is given: the log of a rehearsal.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{Event, Page, json};

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A sentence for people.
    Text,
    /// One JSON object.
    Json,
}

/// Writes what the log would have if the event had been logged at `at`. Text is coloured, and goes
/// on a page.
pub fn write(
    out: &mut dyn Write,
    at: Timestamp,
    event: &Event,
    format: Format,
    page: &mut Page,
) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", json::of_event(at, event)),
        Format::Text => out.write_all(page.of_event(at, event).as_bytes()),
    }
}
