//! `history --stats`: for each entry how its occurrences went, as lines of JSON or as a table.

use crate::log::words::duration;
use std::io::{self, Write};

use super::super::output::OutputFormat;
use super::super::table::{Align, Cell, Column, Table};
use crate::journal::{EntryStatistics, Statistics};

const COLUMNS: [Column; 8] = [
    Column::new("ENTRY", Align::Left, 0),
    Column::new("RUNS", Align::Right, 0),
    Column::new("SUCCESS", Align::Right, 0),
    Column::new("RUN p50", Align::Right, 1),
    Column::new("RUN p95", Align::Right, 2),
    Column::new("LATE p50", Align::Right, 4),
    Column::new("LATE p95", Align::Right, 3),
    Column::new("LAST SUCCESS", Align::Left, 0),
];

/// Prints the statistics, by the entries' names. Returns how many entries there are.
pub(super) fn print(
    statistics: Statistics,
    format: OutputFormat,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<u64> {
    let mut table = Table::new(&COLUMNS, columns);
    let mut lines = 0;
    for entry in statistics.finish() {
        match format {
            OutputFormat::Json => {
                lines += 1;
                serde_json::to_writer(&mut *out, &entry)?;
                writeln!(out)?;
            }
            OutputFormat::Text => table.row(cells(&entry), None, out)?,
        }
    }
    Ok(table.finish(out)? + lines)
}

fn cells(entry: &EntryStatistics) -> [Cell; 8] {
    let or_dash = |text: Option<String>| Cell::plain(text.unwrap_or_else(|| "-".to_owned()));
    let time = |ms: Option<i64>| or_dash(ms.map(duration));
    [
        Cell::plain(entry.entry.as_str()),
        Cell::plain(entry.runs.to_string()),
        // 99.96 % must not read as 100.
        or_dash(entry.success.map(|share| format!("{:.1} %", (share * 1000.0).floor() / 10.0))),
        time(entry.run_ms_median),
        time(entry.run_ms_p95),
        time(entry.lateness_ms_median),
        time(entry.lateness_ms_p95),
        or_dash(entry.last_success.map(|at| format!("{at:.0}"))),
    ]
}
