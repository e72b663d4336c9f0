//! Records as lines of JSON, or as rows of a table.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde::Serialize;

use super::super::output::OutputFormat;
use super::super::table::{Align, Cell, Column, NOTHING, Table};
use crate::cloud66::ActionId;
use crate::journal::{Linked, Record, State};
use crate::log::visible;

/// Prints records one by one.
pub(super) struct Rows<'a> {
    format: OutputFormat,
    out: &'a mut dyn Write,
    table: Table<9>,
    lines: u64,
}

/// Named as the keys of the records in JSON.
const COLUMNS: [Column; 9] = [
    Column::new("ENTRY", Align::Left, 0),
    Column::new("SCHEDULED_AT", Align::Left, 0),
    Column::new("STATE", Align::Left, 0),
    Column::new("SENT_AT", Align::Left, 5),
    Column::new("LATENESS_MS", Align::Right, 2),
    Column::new("ATTEMPTS", Align::Right, 4),
    Column::new("ACTION_ID", Align::Right, 3),
    Column::new("FINISHED_SUCCESS", Align::Left, 6),
    Column::new("REASON", Align::Left, 1),
];

/// One line of JSON. Its keys are an interface.
#[derive(Serialize)]
pub(crate) struct HistoryRecord<'a> {
    entry: &'a str,
    scheduled_at: Timestamp,
    /// `None`: the first time through the instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<u32>,
    /// The scheduled_at of the run that this one repeats, and the number of the repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_of: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
    /// `retry`, `upstream` or `backfill`. `None`: the schedule asked for it, or a person who fired
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    state: &'a str,
    sent_at: Option<Timestamp>,
    lateness_ms: Option<i64>,
    attempts: u32,
    action_id: Option<ActionId>,
    finished_success: Option<bool>,
    reason: Option<&'a str>,
    /// The calendar that it falls on, where the reason is `calendar`.
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar: Option<&'a str>,
    /// Error of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// The scheduled_at of the newer occurrence that went in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<Timestamp>,
    /// A second action that it turned out to have. `None`: there is none, as nearly always.
    #[serde(skip_serializing_if = "Option::is_none")]
    surplus_action_id: Option<ActionId>,
}

impl<'a> HistoryRecord<'a> {
    /// Returns the line of an occurrence in the journal.
    pub(crate) fn of(record: &'a Record) -> HistoryRecord<'a> {
        HistoryRecord {
            entry: record.key.entry().as_str(),
            scheduled_at: record.key.scheduled_at(),
            pass: Some(record.key.pass()).filter(|&pass| pass > 0),
            retry_of: record.retry().map(|(first, _)| first),
            retry: record.retry().map(|(_, number)| number),
            origin: record.link.map(Linked::as_str),
            state: record.state.as_str(),
            sent_at: record.sent_at,
            lateness_ms: record.lateness_ms,
            attempts: record.attempts,
            action_id: record.action_id,
            finished_success: record.finished_success,
            reason: record.reason_word(),
            calendar: record.calendar(),
            error: record.error.as_deref(),
            replaced_by: record.replaced_by,
            surplus_action_id: record.surplus,
        }
    }
}

impl<'a> Rows<'a> {
    /// Returns a printer that has printed nothing yet. `columns` limits a line of text.
    pub(super) fn new(format: OutputFormat, columns: Option<usize>, out: &'a mut dyn Write) -> Rows<'a> {
        Rows {
            format,
            out,
            table: Table::new(&COLUMNS, columns).with_sentences_in(COLUMNS.len() - 1),
            lines: 0,
        }
    }

    /// Prints a record, or keeps it until the columns are measured.
    pub(super) fn take(&mut self, record: Record) -> io::Result<()> {
        match self.format {
            OutputFormat::Json => self.line(&record),
            OutputFormat::Text => self.table.row(cells(&record), None, self.out),
        }
    }

    /// Prints what was kept. Returns how many rows there were.
    pub(super) fn finish(self) -> io::Result<u64> {
        Ok(self.table.finish(self.out)? + self.lines)
    }

    fn line(&mut self, record: &Record) -> io::Result<()> {
        self.lines += 1;
        serde_json::to_writer(&mut *self.out, &HistoryRecord::of(record))?;
        writeln!(self.out)
    }
}

/// A missing value is a dash, so that each row has all columns.
fn cells(record: &Record) -> [Cell; 9] {
    let or_dash = |text: Option<String>| Cell::plain(text.unwrap_or_else(|| NOTHING.to_owned()));
    [
        Cell::plain(record.key.entry().as_str()),
        Cell::plain(match (record.key.pass(), record.retry()) {
            (_, Some((first, number))) => {
                format!("{:.0} retry {number} of {first}", record.key.scheduled_at())
            }
            (_, None) if record.is_backfill() => format!("{} backfill", record.key.scheduled_at()),
            (0, None) => record.key.scheduled_at().to_string(),
            (pass, None) => format!("{} pass {pass}", record.key.scheduled_at()),
        }),
        Cell::styled(record.state.as_str(), style(record.state)),
        or_dash(record.sent_at.map(|at| format!("{at:.3}"))),
        or_dash(record.lateness_ms.map(|ms| ms.to_string())),
        Cell::plain(record.attempts.to_string()),
        or_dash(record.action_id.map(|id| id.to_string())),
        or_dash(record.finished_success.map(|success| success.to_string())),
        or_dash(reason(record)),
    ]
}

/// Why it is in its state, and what else a person has to know.
fn reason(record: &Record) -> Option<String> {
    let surplus = record.surplus.map(|id| format!("it ran twice: action {id} as well"));
    match (record.in_words().as_deref().map(visible), surplus) {
        (Some(reason), Some(surplus)) => Some(format!("{surplus}; {reason}")),
        (reason, surplus) => surplus.or(reason),
    }
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
