//! A log line for people: when, how grave, which event, one sentence.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::log_writer::timestamp;

/// Formats an event as `2026-11-25T01:30:00.001Z info  action.started       nightly: action 7 …`.
pub(super) struct TextLines;

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        let name = said.event.as_deref().unwrap_or(event.metadata().target());
        let coloured = writer.has_ansi_escapes();
        write_line(&mut writer, timestamp(), *event.metadata().level(), name, &said.message, coloured)
    }
}

/// An event's line.
pub(super) fn of_event(at: Timestamp, event: &crate::log::Event) -> String {
    let mut line = String::new();
    // Writing to a String cannot fail.
    let _ = write_line(&mut line, at, event.level(), event.name(), &visible(&event.message()), true);
    line
}

fn write_line(
    out: &mut impl Write,
    at: Timestamp,
    level: Level,
    event: &str,
    message: &str,
    coloured: bool,
) -> fmt::Result {
    let (grave, faint) = match coloured {
        true => (style(level), Style::new().dimmed()),
        false => (Style::new(), Style::new()),
    };
    let level = level.as_str().to_ascii_lowercase();
    writeln!(out, "{faint}{at:.3}{faint:#} {grave}{level:5} {event:19}{grave:#} {message}")
}

fn style(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default().bold(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => AnsiColor::Green.on_default(),
        _ => Style::new().dimmed(),
    }
}

#[derive(Default)]
struct Said {
    event: Option<String>,
    message: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail; a Debug that fails of itself leaves what it wrote.
        match field.name() {
            "event" => self.event = Some(visible(&format!("{value:?}"))),
            "message" => {
                let _ = write!(self.message, "{}", visible(&format!("{value:?}")));
            }
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// The text with its control characters escaped, and what turns the direction of writing or breaks lines: what an API
/// answers must not forge a line, move the cursor, or read otherwise than it is.
pub(crate) fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut seen, c| {
        if misleads(c) {
            seen.extend(c.escape_default());
        } else {
            seen.push(c);
        }
        seen
    })
}

/// Control characters, and what is not seen, breaks lines, or turns the direction of writing.
pub(super) fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_forge_a_line() {
        assert_eq!(visible("ok\n2026 error \u{1b}[2J é"), "ok\\n2026 error \\u{1b}[2J é");
        assert_eq!(visible("\u{9b}2J \u{202e}txt.exe"), "\\u{9b}2J \\u{202e}txt.exe");
    }
}
