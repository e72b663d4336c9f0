//! `check --diff OLD`: the next week under the checked schedule against the week under another one.

use std::io::{self, Read, Write};
use std::path::Path;

use anstyle::AnsiColor;
use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

use super::super::output;
use super::super::table::{Align, Cell, Column, NOTHING, Table};
use crate::log::words::counted;
use crate::rehearsal::{AccountDifference, Busiest, Change, Difference, EntryDifference, Load};
use crate::schedule::duration::Compact;
use crate::schedule::{self, Content, Loaded, source};

/// Stands for stdin.
const STDIN: &str = "-";

/// Reads the schedule that is compared with. `None` when it is wrong: every error has been printed
/// to stderr.
pub(super) fn old(path: &Path, config: &Path) -> anyhow::Result<Option<Loaded>> {
    if path != Path::new(STDIN) {
        return output::reported(schedule::load(path));
    }
    let mut bytes = Vec::new();
    let mut bounded = io::stdin().lock().take(source::MAX_BYTES + 1);
    bounded.read_to_end(&mut bytes).context("the schedule to compare with cannot be read from stdin")?;
    output::reported(Content::given("<stdin>", bytes, config).understand())
}

/// The difference of an entry. The keys are an interface.
#[derive(Serialize)]
struct DiffRecord<'a> {
    entry: &'a str,
    change: &'static str,
    keys: &'a [&'static str],
    come: usize,
    go: usize,
    stay: usize,
    come_at: &'a [Timestamp],
    go_at: &'a [Timestamp],
}

/// Difference in the load of an account. Its keys are an interface. `null`: the account is not
/// there, or nothing is due.
#[derive(Serialize)]
struct AccountRecord<'a> {
    account: &'a str,
    usable_before: Option<u32>,
    usable: Option<u32>,
    peak_before: Option<u64>,
    peak_before_at: Option<Timestamp>,
    peak: Option<u64>,
    peak_at: Option<Timestamp>,
}

/// One record for each entry that differs, and then one for each account.
pub(super) fn print_json(difference: &Difference, out: &mut dyn Write) -> io::Result<()> {
    for EntryDifference { entry, change, keys, come, go, stay } in &difference.entries {
        let record = DiffRecord {
            entry: entry.as_str(),
            change: change.as_str(),
            keys,
            come: come.len(),
            go: go.len(),
            stay: *stay,
            come_at: come,
            go_at: go,
        };
        serde_json::to_writer(&mut *out, &record)?;
        writeln!(out)?;
    }
    for AccountDifference { account, before, after } in &difference.accounts {
        let usable = |load: &Option<Load>| load.as_ref().map(|load| load.usable);
        let peak = |load: &Option<Load>| load.as_ref().and_then(|load| load.peak.clone());
        let (was, is) = (peak(before), peak(after));
        let record = AccountRecord {
            account: account.as_str(),
            usable_before: usable(before),
            usable: usable(after),
            peak_before: was.as_ref().map(|peak| peak.due),
            peak_before_at: was.map(|peak| peak.window_start),
            peak: is.as_ref().map(|peak| peak.due),
            peak_at: is.map(|peak| peak.window_start),
        };
        serde_json::to_writer(&mut *out, &record)?;
        writeln!(out)?;
    }
    Ok(())
}

const COLUMNS: [Column; 6] = [
    Column::new("ENTRY", Align::Left, 0),
    Column::new("CHANGE", Align::Left, 0),
    Column::new("COME", Align::Right, 0),
    Column::new("GO", Align::Right, 0),
    Column::new("FIRST", Align::Left, 1),
    Column::new("KEYS", Align::Left, 0),
];

/// A table of the entries, and a line for each account.
pub(super) fn print_text(
    difference: &Difference,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let (from, until) = (difference.from, difference.until);
    writeln!(out, "\nfrom {from:.0} to {until:.0}:")?;
    if difference.entries.is_empty() {
        writeln!(out, "no entry changes")?;
    }
    let mut table = Table::new(&COLUMNS, columns);
    let number = |instants: &[Timestamp]| match instants.len() {
        0 => Cell::plain(NOTHING),
        number => Cell::plain(number.to_string()),
    };
    for EntryDifference { entry, change, keys, come, go, .. } in &difference.entries {
        let colour = match change {
            Change::Added => AnsiColor::Green,
            Change::Removed => AnsiColor::Red,
            Change::Changed => AnsiColor::Yellow,
        };
        let first = come.first().into_iter().chain(go.first()).min();
        let cells = [
            Cell::plain(entry.as_str()),
            Cell::styled(change.as_str(), colour.on_default()),
            number(come),
            number(go),
            Cell::plain(first.map_or_else(|| NOTHING.to_owned(), |at| format!("{at:.0}"))),
            Cell::plain(if keys.is_empty() { NOTHING.to_owned() } else { keys.join(", ") }),
        ];
        table.row(cells, None, out)?;
    }
    table.finish(out)?;
    let sum = |count: fn(&EntryDifference) -> usize| difference.entries.iter().map(count).sum::<usize>();
    let (come, go) = (sum(|entry| entry.come.len()), sum(|entry| entry.go.len()));
    let cut = if difference.cut { ", of the first million that were compared" } else { "" };
    writeln!(
        out,
        "{}: {} come, {go} go{cut}",
        counted(difference.entries.len(), "entry changes", "entries change"),
        counted(come, "occurrence", "occurrences"),
    )?;
    let mut accounts = Vec::new();
    for AccountDifference { account, before, after } in &difference.accounts {
        match (before, after) {
            (Some(before), Some(after)) if before == after => {
                writeln!(accounts, "account {account}: {}, as before", shown(after))?;
            }
            (Some(before), Some(after)) => {
                writeln!(accounts, "account {account}: {}; before: {}", shown(after), shown(before))?;
            }
            (None, Some(after)) => writeln!(accounts, "account {account} is new: {}", shown(after))?,
            (Some(before), None) => {
                writeln!(accounts, "account {account} is no longer there; before: {}", shown(before))?;
            }
            (None, None) => {}
        }
    }
    out.write_all(output::wrapped(&String::from_utf8_lossy(&accounts), columns).as_bytes())
}

fn shown(load: &Load) -> String {
    let usable = load.usable;
    match &load.peak {
        None => format!("nothing is due, of {usable}"),
        Some(peak) => {
            let Busiest { account, window_start, due, .. } = peak;
            let (window, percent) = (Compact(account.quota.window), peak.percent());
            format!("at most {due} of {usable} ({percent} %) in the {window} from {window_start:.0}")
        }
    }
}
