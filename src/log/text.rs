//! A log line for people: when, how grave, of which entry, one sentence.

use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;
use unicode_width::UnicodeWidthStr;

use super::log_writer::timestamp;

/// Columns of an entry's name: longer ones are shortened in their middle.
const NAME: usize = 18;

/// Before what goes on in the next line: it stands under the name of the entry.
const INDENT: &str = "                   ";

/// Formats an event as `01:30:00.001 info  nightly-report     action 7 …`, below the date of its day.
pub(super) struct TextLines(Mutex<Page>);

impl TextLines {
    /// Lines of at most so many columns. `None`: each event has one line, whatever its length.
    pub(super) fn new(columns: Option<usize>) -> TextLines {
        TextLines(Mutex::new(Page { columns, ..Page::default() }))
    }
}

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
        let coloured = writer.has_ansi_escapes();
        let line = TextLine {
            at: timestamp(),
            level: *event.metadata().level(),
            entry: said.entry.as_deref(),
            message: &said.message,
        };
        let mut page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        page.write(&mut writer, &line, coloured)
    }
}

/// The lines so far, of which the newest date is known.
#[derive(Debug, Default)]
pub struct Page {
    /// The day whose date was written last.
    day: Option<Date>,
    /// Columns that a line may have. `None`: any number.
    columns: Option<usize>,
}

/// The parts of a text line.
struct TextLine<'a> {
    at: Timestamp,
    level: Level,
    entry: Option<&'a str>,
    message: &'a str,
}

impl Page {
    /// Lines of at most so many columns. `None`: each event has one line, whatever its length.
    pub fn within(columns: Option<usize>) -> Page {
        Page { columns, ..Page::default() }
    }

    /// An event's lines.
    pub(super) fn of_event(&mut self, at: Timestamp, event: &crate::log::Event) -> String {
        let entry = event.occurrence().map(|(entry, _)| entry.as_str());
        let message = visible(&event.message());
        let mut lines = String::new();
        // Writing to a String cannot fail.
        let _ =
            self.write(&mut lines, &TextLine { at, level: event.level(), entry, message: &message }, true);
        lines
    }

    fn write(&mut self, out: &mut impl Write, line: &TextLine<'_>, coloured: bool) -> fmt::Result {
        let (grave, faint) = match coloured {
            true => (style(line.level), Style::new().dimmed()),
            false => (Style::new(), Style::new()),
        };
        let at = TimeZone::UTC.to_datetime(line.at);
        if self.day.replace(at.date()) != Some(at.date()) {
            writeln!(out, "{faint}{} UTC{faint:#}", at.date())?;
        }
        let entry = shortened(line.entry.unwrap_or_default(), NAME);
        // The sentence of an entry begins with its name, which stands before it here.
        let own = line.entry.and_then(|entry| line.message.strip_prefix(entry)?.strip_prefix(": "));
        let message = own.unwrap_or(line.message);
        let (time, level) = (at.strftime("%H:%M:%S%.3f"), line.level.as_str().to_ascii_lowercase());
        write!(out, "{faint}{time}{faint:#} {grave}{level:5}{grave:#} ")?;
        let mut column = INDENT.len();
        if line.entry.is_some() {
            write!(out, "{entry:NAME$} ")?;
            column += NAME + 1;
        }
        let mut is_first = true;
        for word in message.split(' ') {
            let width = word.width();
            let fits = self.columns.is_none_or(|columns| column + 1 + width <= columns);
            match (is_first, fits) {
                (true, _) => {}
                (false, true) => {
                    out.write_char(' ')?;
                    column += 1;
                }
                (false, false) => {
                    write!(out, "\n{INDENT}")?;
                    column = INDENT.len();
                }
            }
            out.write_str(word)?;
            column += width;
            is_first = false;
        }
        writeln!(out)
    }
}

/// The name in so many columns: its middle is left out, since the tail is what tells long names
/// apart.
pub(crate) fn shortened(name: &str, columns: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= columns {
        return name.to_owned();
    }
    let kept = columns.saturating_sub(1);
    let head = kept / 2;
    let tail = letters.len() - (kept - head);
    letters[..head].iter().chain(['…'].iter().filter(|_| columns > 0)).chain(&letters[tail..]).collect()
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
    entry: Option<String>,
    message: String,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail; a Debug that fails of itself leaves what it wrote.
        match field.name() {
            "entry" => self.entry = Some(visible(&format!("{value:?}"))),
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

/// The text with its control characters escaped, and what turns the direction of writing or breaks
/// lines: what an API answers must not forge a line, move the cursor, or read otherwise than it is.
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
    fn lines_fit_the_terminal_and_no_word_is_broken() {
        let lines = |columns: usize| {
            let mut page = Page::within(Some(columns));
            let mut out = String::new();
            for (at, level, entry, message) in [
                (
                    "2026-11-30T23:59:59.9995Z",
                    Level::INFO,
                    None,
                    "stackcron 1.2.3 started: 2 entries, 1 account, journal /var/lib/stackcron",
                ),
                (
                    "2026-12-01T00:00:00.001Z",
                    Level::INFO,
                    Some("nightly"),
                    "nightly: action 7 started 1 ms late after 1 attempt",
                ),
                (
                    "2026-12-01T00:00:01Z",
                    Level::ERROR,
                    Some("nightly-report-of-all-the-things-that-were-sold-in-shop-7"),
                    "nightly-report-of-all-the-things-that-were-sold-in-shop-7: refused with 404: no-such-job-of-a-stack-of-this-name-or-uid-is-known-here",
                ),
            ] {
                let at = at.parse().expect("an instant");
                page.write(&mut out, &TextLine { at, level, entry, message }, false).expect("written");
            }
            out
        };
        for columns in [80, 120] {
            let text = lines(columns);
            assert!(text.lines().all(|line| line.width() <= columns), "{columns}:\n{text}");
        }
        insta::assert_snapshot!(format!("{}\n{}", lines(80), lines(120)));
    }

    #[test]
    fn a_long_name_keeps_the_tail_that_tells_it_apart() {
        assert_eq!(shortened("nightly", 7), "nightly");
        assert_eq!(shortened("nightly-report-of-shop-7", 12), "night…shop-7");
        assert_eq!(shortened("nightly", 1), "…");
        assert_eq!(shortened("nightly", 0), "");
    }

    #[test]
    fn control_characters_cannot_forge_a_line() {
        assert_eq!(visible("ok\n2026 error \u{1b}[2J é"), "ok\\n2026 error \\u{1b}[2J é");
        assert_eq!(visible("\u{9b}2J \u{202e}txt.exe"), "\\u{9b}2J \\u{202e}txt.exe");
    }
}
