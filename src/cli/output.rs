//! The printing of commands: the format of records, colours, and a reader that goes away.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthStr;

use super::CommandEnd;
use crate::control;
use crate::schedule::render::Colour;
use crate::schedule::{self, Loaded, Rejected, Schedule};

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// Aligned, for a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Columns of a chart that goes to no terminal.
pub const DEFAULT_WIDTH: usize = 100;

/// Writes to stdout. Colours are taken out again where it is no terminal or `NO_COLOR` is set. A
/// reader that has gone away, as `head` does, is no error.
pub fn print(bytes: &[u8]) -> anyhow::Result<CommandEnd> {
    let mut out = anstream::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(CommandEnd::Done),
    }
}

/// Returns the columns of a line: the terminal's or `COLUMNS`. `None`: there is neither, and a
/// reader of a pipe wants whole lines.
pub fn columns() -> Option<usize> {
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    terminal.map(|(terminal_size::Width(width), _)| width.into()).or_else(columns)
}

/// Breaks lines that are too long between words. What goes on stands under the text that it belongs
/// to: behind the last wide gap of its first half, or else a little further in. Escapes for colours
/// take no room.
pub fn wrapped(text: &str, limit: Option<usize>) -> String {
    let Some(limit) = limit else {
        return text.to_owned();
    };
    let mut wrapped = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if columns_of(line.trim_end()) <= limit {
            wrapped += line;
        } else {
            wrap_line(line, limit, &mut wrapped);
        }
    }
    wrapped
}

/// Puts a text for people into the width of their terminal, and leaves anything else as it is.
pub fn fit(text: &[u8], format: OutputFormat, out: &mut Vec<u8>) {
    match (format, columns()) {
        (OutputFormat::Text, limit @ Some(_)) => {
            out.extend_from_slice(wrapped(&String::from_utf8_lossy(text), limit).as_bytes());
        }
        _ => out.extend_from_slice(text),
    }
}

fn wrap_line(line: &str, limit: usize, wrapped: &mut String) {
    let plain = anstream::adapter::strip_str(line.trim_end()).to_string();
    let blanks = plain.len() - plain.trim_start().len();
    let behind_gap =
        plain.char_indices().filter(|(at, _)| plain[..*at].ends_with("  ") && !plain[*at..].starts_with(' '));
    let hanging = behind_gap.map(|(at, _)| plain[..at].width()).rfind(|at| *at <= limit / 2);
    let indent = " ".repeat(hanging.unwrap_or(0).max((blanks + 2).min(limit / 2)));
    let mut column = 0;
    // A word with the blanks before it.
    let mut rest = line.trim_end();
    while !rest.is_empty() {
        let begun = rest.len() - rest.trim_start().len();
        let end = rest[begun..].find(' ').map_or(rest.len(), |end| begun + end);
        let (word, after) = rest.split_at(end);
        rest = after;
        let wide = columns_of(word);
        if column > 0 && column + wide > limit {
            wrapped.push('\n');
            wrapped.push_str(&indent);
            wrapped.push_str(word.trim_start());
            column = indent.len() + columns_of(word.trim_start());
        } else {
            wrapped.push_str(word);
            column += wide;
        }
    }
    if line.ends_with('\n') {
        wrapped.push('\n');
    }
}

/// Returns the columns that a text takes without its escapes.
fn columns_of(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// Tells what is wrong with the arguments.
pub fn usage(error: &dyn std::error::Error) -> CommandEnd {
    // Nothing can be told of a stderr that is closed.
    let _ = writeln!(anstream::stderr(), "error: {error}");
    CommandEnd::Usage
}

/// Tells why a command could not do what it was asked.
pub fn failed(error: &dyn std::error::Error) -> CommandEnd {
    // Nothing can be told of a stderr that is closed.
    let _ = writeln!(anstream::stderr(), "{}", wrapped(&format!("error: {error}"), columns()));
    CommandEnd::Failed
}

/// Reads the schedule file for a command. `None` when it is wrong: every error has been printed to
/// stderr.
pub fn load(config: &Path) -> anyhow::Result<Option<Loaded>> {
    reported(schedule::load(config))
}

/// Returns the loaded schedule. `None`: the schedule is wrong, and every error has been printed to
/// stderr.
pub(super) fn reported(result: Result<Loaded, Rejected>) -> anyhow::Result<Option<Loaded>> {
    match result {
        Ok(loaded) => Ok(Some(loaded)),
        Err(rejected) => {
            let columns = columns();
            let text = rejected.render_within(Colour::Always, columns.unwrap_or(usize::MAX));
            anstream::stderr().write_all(wrapped(&text, columns).as_bytes())?;
            Ok(None)
        }
    }
}

/// An instant as the clocks of a zone show it, for people.
pub fn local_time(zone: &TimeZone, at: Timestamp) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Returns the distance of an instant from now: `in 3 d 4 h`, `20 s ago`.
pub fn distance(now: Timestamp, at: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    match seconds {
        0 => "now".into(),
        1.. => format!("in {}", span(seconds)),
        _ => format!("{} ago", span(seconds)),
    }
}

/// A span of time in its two largest units: `3 d 4 h`, `2 min 5 s`, `12 s`.
pub fn span(seconds: i64) -> String {
    let parts = [
        (seconds.abs() / 86_400, "d"),
        (seconds.abs() / 3_600 % 24, "h"),
        (seconds.abs() / 60 % 60, "min"),
        (seconds.abs() % 60, "s"),
    ];
    let first = parts.iter().position(|(number, _)| *number > 0);
    let words: Vec<String> = parts[first.unwrap_or(3)..]
        .iter()
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

/// Runs a command that prints something of the schedule. Nothing is printed before it has ended.
pub fn of_schedule(
    config: &Path,
    command: impl FnOnce(&Schedule, &mut Vec<u8>) -> anyhow::Result<CommandEnd>,
) -> anyhow::Result<CommandEnd> {
    let Some(loaded) = load(config)? else {
        return Ok(CommandEnd::Config);
    };
    let mut text = Vec::new();
    let status = command(&loaded.schedule, &mut text)?;
    print(&text)?;
    Ok(status)
}

/// Tells that the settings are wrong.
pub fn misconfigured(error: &impl std::fmt::Display) -> CommandEnd {
    // Nothing can be told of a stderr that is closed.
    let _ = writeln!(anstream::stderr(), "error: {error}");
    CommandEnd::Config
}

/// Returns the places of a running daemon's socket: the state directory that is given, or else
/// every place where daemons have it.
pub fn control_places(given: Option<&Path>) -> Vec<PathBuf> {
    let state = state_directory(None).ok();
    control::places(given, state.as_deref())
}

/// Returns the directory of a daemon's journal: the given one, else `$STATE_DIRECTORY` as systemd
/// sets it, else the user's own.
pub fn state_directory(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = || {
        let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
        Some(state.join("stackcron"))
    };
    variable("STATE_DIRECTORY")
        .or_else(own)
        .context("there is no place for the journal: give --state-dir DIR, or set $STATE_DIRECTORY or $HOME")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_breaks_between_words_and_goes_on_under_its_text() {
        for (line, columns, expected) in [
            ("short\n", 10, "short\n"),
            ("one two three four\n", 10, "one two\n  three\n  four\n"),
            ("  key   value of it\n", 14, "  key   value\n    of it\n"),
            ("  key   value of it\n", 17, "  key   value of\n        it\n"),
            ("a-word-that-is-longer than\n", 10, "a-word-that-is-longer\n  than\n"),
            ("\u{1b}[1mbold\u{1b}[0m is no wider\n", 16, "\u{1b}[1mbold\u{1b}[0m is no wider\n"),
            ("表 表 表\n", 6, "表 表\n  表\n"),
        ] {
            assert_eq!(wrapped(line, Some(columns)), expected, "{line:?} at {columns}");
        }
        assert_eq!(wrapped("one two three four\n", None), "one two three four\n");
    }

    proptest! {
        #[test]
        fn breaking_lines_loses_no_word(text in "([a-zé表]{1,9}[ ]{1,3}|\n){0,40}", columns in 1..60usize) {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let wrapped = wrapped(&text, Some(columns));
            prop_assert_eq!(words(&wrapped), words(&text));
            let fits = |line: &str| columns_of(line.trim_end()) <= columns || !line.trim().contains(' ');
            prop_assert!(wrapped.lines().all(fits), "{} columns:\n{}", columns, wrapped);
        }
    }
}
