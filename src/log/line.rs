//! An event as a line at an instant that is given: the log of a rehearsal.

use std::io::{self, Write};

use jiff::Timestamp;

use super::{Event, Format, json, text};

/// Writes the line that the log would have if the event had been logged at `at`. Text is coloured.
pub fn write(out: &mut dyn Write, at: Timestamp, event: &Event, format: Format) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", json::of_event(at, event)),
        Format::Text => out.write_all(text::of_event(at, event).as_bytes()),
    }
}
