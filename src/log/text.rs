//! A log line for people: when, how grave, of which entry, one sentence.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tracing::Level;
use unicode_width::UnicodeWidthStr;

use super::Line;

/// Columns of an entry's name: longer ones are shortened in their middle.
const NAME: usize = 18;

/// Before what goes on in the next line: it stands under the name of the entry.
const INDENT: &str = "                   ";

/// The lines so far, of which the newest date is known. A line is
/// `01:30:00.001 info  nightly-report     action 7 …`, below the date of its day.
#[derive(Debug)]
pub(crate) struct TextPage {
    /// The day whose date was written last.
    day: Option<Date>,
    /// Columns that a line may have. `None`: each event has one line, whatever its length.
    columns: Option<usize>,
    coloured: bool,
}

impl TextPage {
    pub(crate) fn new(columns: Option<usize>, coloured: bool) -> TextPage {
        TextPage { day: None, columns, coloured }
    }

    /// Returns the text of a line, with the date where a day begins.
    pub(super) fn lines(&mut self, line: &Line) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text, line);
        text
    }

    fn write(&mut self, out: &mut String, line: &Line) -> fmt::Result {
        let (grave, faint) = match self.coloured {
            true => (style(line.level), Style::new().dimmed()),
            false => (Style::new(), Style::new()),
        };
        let at = TimeZone::UTC.to_datetime(line.at);
        if self.day.replace(at.date()) != Some(at.date()) {
            writeln!(out, "{faint}{} UTC{faint:#}", at.date())?;
        }
        let (entry, message) =
            (line.text("entry").map(visible), visible(line.text("message").unwrap_or_default()));
        // The sentence of an entry begins with its name, which stands before it here.
        let own = entry.as_ref().and_then(|entry| message.strip_prefix(entry)?.strip_prefix(": "));
        let message = own.unwrap_or(&message);
        let (time, level) = (at.strftime("%H:%M:%S%.3f"), line.level.as_str().to_ascii_lowercase());
        write!(out, "{faint}{time}{faint:#} {grave}{level:5}{grave:#} ")?;
        let mut column = INDENT.len();
        if let Some(entry) = &entry {
            write!(out, "{:NAME$} ", shortened(entry, NAME))?;
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
            let mut page = TextPage::new(Some(columns), false);
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
                let mut line = Line::begun(at.parse().expect("an instant"), level);
                line.fields.put("message", message);
                if let Some(entry) = entry {
                    line.fields.put("entry", entry);
                }
                out += &page.lines(&line);
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
