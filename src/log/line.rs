//! An event as a line at an instant that is given: the log of a rehearsal.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{Event, json, text};

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A sentence for people.
    Text,
    /// One JSON object.
    Json,
}

/// Writes the line that the log would have if the event had been logged at `at`. Text is coloured.
pub fn write(out: &mut dyn Write, at: Timestamp, event: &Event, format: Format) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", json::of_event(at, event)),
        Format::Text => out.write_all(text::of_event(at, event).as_bytes()),
    }
}
