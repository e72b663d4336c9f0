//! The forms in which the log is written.

use std::io::{self, Write};

use super::journald::{self, Records};
use super::text::TextPage;
use super::{Line, json};

/// A form of the log.
pub(crate) enum Form {
    /// A sentence for people a line.
    Text(TextPage),
    /// One JSON object a line.
    Json,
    /// One JSON object a line, with its priority in front. The journal that stdout leads to takes
    /// the priority away again and knows the line by it: `journalctl -p warning` finds the line.
    Prioritized,
    /// A record of systemd's journal.
    Journald(Records),
}

impl Form {
    /// Writes a line. `out` gets the line with one write.
    ///
    /// # Errors
    /// When `out` cannot be written. A record that the journal does not take goes to `out`, so that
    /// no line is dropped.
    pub(crate) fn write(&mut self, out: &mut dyn Write, line: &Line) -> io::Result<()> {
        let text = match self {
            Form::Text(page) => page.lines(line),
            Form::Json => json::line(line),
            Form::Prioritized => format!("<{}>{}", journald::priority(line.level), json::line(line)),
            Form::Journald(records) if records.send(line).is_ok() => return Ok(()),
            Form::Journald(_) => json::line(line),
        };
        out.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::log::Event;
    use crate::log::event::ControlUnavailable;

    #[test]
    fn a_line_has_its_priority_in_front() {
        let error = "\"level\":\"error\"".to_owned();
        let event = Event::from(ControlUnavailable { path: "/run".to_owned(), error });
        let line = Line::new(Timestamp::UNIX_EPOCH, &event);
        let mut written = Vec::new();
        Form::Prioritized.write(&mut written, &line).expect("memory");
        assert_eq!(String::from_utf8_lossy(&written), format!("<4>{}", json::line(&line)));
    }
}
