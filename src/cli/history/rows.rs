//! Records as lines of JSON, or as rows of a table.

use std::io::{self, Write};
use std::ops::RangeInclusive;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde::Serialize;

use super::super::output::Format;
use crate::cloud66::ActionId;
use crate::journal::{Record, State};
use crate::log::visible;

/// Columns are as wide as so many rows need. A longer value after those widens its column from there on.
pub(super) const MEASURED: usize = 1000;

/// Prints records one by one.
pub(super) struct Rows<'a> {
    format: Format,
    out: &'a mut dyn Write,
    widths: [usize; COLUMNS],
    /// The first rows of a table, kept until its columns are measured.
    first: Option<Vec<(State, Cells)>>,
    count: u64,
}

const COLUMNS: usize = 9;

/// The texts of a row of the table.
type Cells = [String; COLUMNS];

const HEAD: [&str; COLUMNS] = [
    "ENTRY",
    "SCHEDULED_AT",
    "STATE",
    "SENT_AT",
    "LATENESS_MS",
    "ATTEMPTS",
    "ACTION_ID",
    "FINISHED_SUCCESS",
    "REASON",
];

/// The column of the state, which has a colour.
const STATE: usize = 2;

/// The columns with numbers.
const NUMBERS: RangeInclusive<usize> = 4..=6;

/// One line of JSON. Its keys are an interface.
#[derive(Serialize)]
struct Line<'a> {
    entry: &'a str,
    scheduled_at: Timestamp,
    state: &'a str,
    sent_at: Option<Timestamp>,
    lateness_ms: Option<i64>,
    attempts: u32,
    action_id: Option<ActionId>,
    finished_success: Option<bool>,
    reason: Option<&'a str>,
}

impl<'a> Rows<'a> {
    /// Nothing printed yet.
    pub(super) fn new(format: Format, out: &'a mut dyn Write) -> Rows<'a> {
        Rows { format, out, widths: HEAD.map(str::len), first: Some(Vec::new()), count: 0 }
    }

    /// Prints a record, or keeps it until the columns are measured.
    pub(super) fn take(&mut self, record: Record) -> io::Result<()> {
        self.count += 1;
        match self.format {
            Format::Json => self.line(&record),
            Format::Text => {
                let cells = cells(&record);
                for (width, cell) in self.widths.iter_mut().zip(&cells) {
                    *width = (*width).max(cell.chars().count());
                }
                match &mut self.first {
                    None => self.row(record.state, &cells),
                    Some(first) => {
                        first.push((record.state, cells));
                        if first.len() < MEASURED { Ok(()) } else { self.begin() }
                    }
                }
            }
        }
    }

    /// Prints what was kept. Returns how many rows there were.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.begin()?;
        Ok(self.count)
    }

    fn begin(&mut self) -> io::Result<()> {
        let Some(first) = self.first.take().filter(|first| !first.is_empty()) else {
            return Ok(());
        };
        let bold = Style::new().bold();
        let head = self.aligned(&HEAD.map(str::to_owned));
        writeln!(self.out, "{bold}{}{bold:#}", head.join("  "))?;
        first.iter().try_for_each(|(state, cells)| self.row(*state, cells))
    }

    fn row(&mut self, state: State, cells: &Cells) -> io::Result<()> {
        let style = style(state);
        let mut cells = self.aligned(cells);
        let word = &cells[STATE];
        cells[STATE] = format!("{style}{word}{style:#}");
        writeln!(self.out, "{}", cells.join("  "))
    }

    /// The cells as wide as their columns, but for the last.
    fn aligned(&self, cells: &Cells) -> Cells {
        let mut column = 0..COLUMNS;
        cells.each_ref().map(|cell| match column.next() {
            Some(at) if NUMBERS.contains(&at) => format!("{cell:>0$}", self.widths[at]),
            Some(at) if at + 1 < COLUMNS => format!("{cell:0$}", self.widths[at]),
            _ => cell.clone(),
        })
    }

    fn line(&mut self, record: &Record) -> io::Result<()> {
        let line = Line {
            entry: record.key.entry().as_str(),
            scheduled_at: record.key.scheduled_at(),
            state: record.state.as_str(),
            sent_at: record.sent_at,
            lateness_ms: record.lateness_ms,
            attempts: record.attempts,
            action_id: record.action_id,
            finished_success: record.finished_success,
            reason: record.reason.as_deref(),
        };
        serde_json::to_writer(&mut *self.out, &line)?;
        writeln!(self.out)
    }
}

/// What is not there is a dash, so that each row has all columns.
fn cells(record: &Record) -> Cells {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        record.key.entry().to_string(),
        record.key.scheduled_at().to_string(),
        record.state.to_string(),
        or_dash(record.sent_at.map(|at| format!("{at:.3}"))),
        or_dash(record.lateness_ms.map(|ms| ms.to_string())),
        record.attempts.to_string(),
        or_dash(record.action_id.map(|id| id.to_string())),
        or_dash(record.finished_success.map(|success| success.to_string())),
        or_dash(record.reason.as_deref().map(visible)),
    ]
}

/// Green is well, yellow was not sent, red needs somebody to look.
pub(in crate::cli) fn style(state: State) -> Style {
    match state {
        State::Due | State::Waiting | State::Sending => AnsiColor::Blue.on_default(),
        State::Started | State::Finished => AnsiColor::Green.on_default(),
        State::Missed | State::Skipped => AnsiColor::Yellow.on_default(),
        State::Failed | State::Rejected | State::Unknown => AnsiColor::Red.on_default(),
    }
}
