//! `stackcron forecast`: the schedule against the quota, window by window, and quieter minutes for
//! what is bunched.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::moment::Moment;
use super::output::{DEFAULT_WIDTH, OutputFormat};
use super::place::StatePlace;
use super::rehearse::{Suppositions, seconds};
use super::span::{SpanError, TimeSpan};
use super::table::{Align, Cell, Column, Table};
use crate::journal::UsualRuns;
use crate::rehearsal::{AccountForecast, Forecast, Peak, Suggestion, WindowForecast, suggest};
use crate::schedule::duration::Compact;
use crate::schedule::{EntryName, Schedule};

/// What is due against the quota, hour by hour, and what will not fit.
///
/// It rehearses the daemon in virtual time, so that it tells what the daemon will do: what is due,
/// what it costs to ask how actions go, and which entries will be late or missed for want of quota.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to begin: RFC 3339, a local time as 2026-10-25T01:30 or 01:30, or one of now, today,
    /// tomorrow, -2h, +30m; now when absent
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// Where to end, itself excluded; when absent, 24 hours after --from, or 144 windows of the
    /// shortest quota window where that is sooner
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub until: Option<Moment>,
    /// Name quieter minutes for entries that are due together
    #[arg(long)]
    pub suggest: bool,
    /// Print every window: without it those with the numbers of the one before are counted
    #[arg(long)]
    pub all: bool,
    /// Exit with status 1 when something does not fit
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub suppositions: Suppositions,
    #[command(flatten)]
    pub place: StatePlace,
}

/// The bounds and the experience of a forecast.
#[derive(Clone, Debug, Default)]
pub struct Basis {
    /// The usual run times of entries.
    pub usual: UsualRuns,
    /// The most occurrences that the span may have. `None`: any number.
    pub most: Option<u64>,
}

/// Why there is no forecast.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    /// There is nothing to look at.
    #[error(transparent)]
    Span(#[from] SpanError),
    /// The span has more events than may be rehearsed.
    #[error("more happens in the span than may be rehearsed; name a shorter one")]
    TooMuch,
    /// The output is closed or full.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Verdict of a forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is.
    All,
    /// Something is late or missed for want of quota.
    Not,
}

/// The longest span that is forecast when no end is named.
const SPAN: SignedDuration = SignedDuration::from_hours(24);

/// Number of windows that are forecast at most when no end is named: a day of windows of ten
/// minutes. A quota for a trial has windows of seconds.
const WINDOWS: i32 = 144;

/// Entries that are named in text. JSON names all.
const MOST_NAMED: usize = 20;

/// Number of windows in a row with the same figures from which on they are folded into one line.
/// Fewer are read at a glance.
const LEAST_FOLDED: usize = 8;

/// The chart is never narrower.
const NARROWEST: usize = 10;

/// The span that is forecast when no end is named.
fn usual_span(schedule: &Schedule) -> SignedDuration {
    let windows = schedule.accounts.iter().map(|account| account.quota.window);
    let shortest = windows.min().and_then(|window| SignedDuration::try_from(window).ok());
    shortest.map_or(SPAN, |window| window.saturating_mul(WINDOWS)).min(SPAN)
}

/// Forecasts, and prints what comes of it, on lines of so many columns at most, where somebody
/// says.
pub fn run(
    args: &Args,
    schedule: &Schedule,
    now: Timestamp,
    Basis { usual, most }: Basis,
    format: OutputFormat,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> Result<Fit, ForecastError> {
    let from = args.from.map_or(Ok(now), |from| TimeSpan::instant(from, schedule, now))?;
    let until = match args.until {
        Some(until) => TimeSpan::instant(until, schedule, now)?,
        None => from.checked_add(usual_span(schedule)).unwrap_or(Timestamp::MAX),
    };
    let TimeSpan { from, until } = TimeSpan::new(from, until)?;
    let conditions = args.suppositions.with_usual(usual);
    let forecast = match most {
        Some(most) => {
            Forecast::at_most(schedule, &conditions, from, until, most).ok_or(ForecastError::TooMuch)?
        }
        None => Forecast::new(schedule, &conditions, from, until),
    };
    let suggestions = if args.suggest { suggest(schedule, from, until) } else { Vec::new() };
    match format {
        OutputFormat::Json => {
            for account in &forecast.accounts {
                windows_json(account, out)?;
            }
            for suggestion in &suggestions {
                suggestion_json(suggestion, out)?;
            }
        }
        OutputFormat::Text => {
            for account in &forecast.accounts {
                windows_text(account, columns.unwrap_or(DEFAULT_WIDTH), args.all, out)?;
                troubled_text(account, columns, out)?;
                writeln!(out)?;
            }
            match conditions.usual.timed() {
                0 => {}
                1 => writeln!(out, "one entry runs as long as its median run in the journal")?,
                more => writeln!(out, "{more} entries run as long as their median runs in the journal")?,
            }
            for suggestion in &suggestions {
                suggestion_text(suggestion, columns, out)?;
                writeln!(out)?;
            }
            verdict(&forecast, out)?;
        }
    }
    Ok(if forecast.fits() { Fit::All } else { Fit::Not })
}

/// One window. Its keys are an interface.
#[derive(Serialize)]
struct WindowRecord<'a> {
    account: &'a str,
    window_start: Timestamp,
    due: u64,
    limit: u32,
    reserve: u32,
    over: u64,
    follow_up: u64,
    looks: u64,
    /// Not there where none is to be expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    reruns: Option<f64>,
    late: u64,
    missed: u64,
    late_entries: Vec<&'a str>,
    missed_entries: Vec<&'a str>,
}

/// Effect of moving entries. Its keys are an interface.
#[derive(Serialize)]
struct PeakRecord<'a> {
    account: &'a str,
    peak: u32,
    peak_at: Option<Timestamp>,
    peak_after: u32,
    peak_after_at: Option<Timestamp>,
    moves: usize,
}

/// One entry to move. Its keys are an interface.
#[derive(Serialize)]
struct MoveRecord<'a> {
    account: &'a str,
    entry: &'a str,
    cron: &'a str,
    suggested: &'a str,
}

fn windows_json(account: &AccountForecast, out: &mut dyn Write) -> io::Result<()> {
    let names =
        |entries: &BTreeSet<EntryName>| -> Vec<String> { entries.iter().map(ToString::to_string).collect() };
    for window in &account.windows {
        let (late, missed) = (names(&window.late_entries), names(&window.missed_entries));
        let record = WindowRecord {
            account: account.account.name.as_str(),
            window_start: window.window_start,
            due: window.due,
            limit: window.limit,
            reserve: window.reserve,
            over: window.over,
            follow_up: window.follow_up,
            looks: window.looks,
            reruns: expected_reruns(window),
            late: window.late,
            missed: window.missed,
            late_entries: late.iter().map(String::as_str).collect(),
            missed_entries: missed.iter().map(String::as_str).collect(),
        };
        record_line(&record, out)?;
    }
    Ok(())
}

/// The reruns that a window should have. `None`: none.
#[expect(clippy::cast_precision_loss, reason = "nobody counts the last of 2^52 requests")]
fn expected_reruns(window: &WindowForecast) -> Option<f64> {
    (window.reruns_in_1000 > 0).then(|| window.reruns_in_1000 as f64 / 1000.0)
}

fn suggestion_json(suggestion: &Suggestion, out: &mut dyn Write) -> io::Result<()> {
    let account = suggestion.account.name.as_str();
    for moved in &suggestion.moves {
        let record = MoveRecord {
            account,
            entry: moved.entry.as_str(),
            cron: moved.cron.as_str(),
            suggested: moved.suggested.as_str(),
        };
        record_line(&record, out)?;
    }
    let due = |peak: Option<Peak>| peak.map_or(0, |peak| peak.due);
    let record = PeakRecord {
        account,
        peak: due(suggestion.before),
        peak_at: suggestion.before.map(|peak| peak.at),
        peak_after: due(suggestion.after),
        peak_after_at: suggestion.after.map(|peak| peak.at),
        moves: suggestion.moves.len(),
    };
    record_line(&record, out)
}

fn record_line(record: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    writeln!(out)
}

/// A line for each window in which something is due; the stretches between are one line each.
fn windows_text(account: &AccountForecast, width: usize, all: bool, out: &mut dyn Write) -> io::Result<()> {
    let bold = Style::new().bold();
    let quota = account.account.quota;
    let reserve = quota.reserve.of(quota.limit);
    let kept = match reserve {
        0 => String::new(),
        reserve => format!(", {reserve} of them kept in reserve"),
    };
    writeln!(
        out,
        "{bold}account {}{bold:#}: {} requests in {}{kept}",
        account.account.name,
        quota.limit,
        Compact(quota.window),
    )?;
    let chart = Chart::new(account, width);
    writeln!(out, "{bold}{}{bold:#}", chart.head())?;
    let mut empty = 0;
    let alike = |one: &WindowForecast, other: &WindowForecast| chart.shows_the_same(one, other);
    for run in account.windows.chunk_by(alike) {
        let Some(first) = run.first().filter(|first| first.asked() > 0) else {
            empty += run.len();
            continue;
        };
        skipped(std::mem::take(&mut empty), out)?;
        if all || run.len() < LEAST_FOLDED {
            run.iter().try_for_each(|window| chart.line(window, out))?;
        } else {
            chart.line(first, out)?;
            more_alike(run.len() - 1, out)?;
        }
    }
    skipped(empty, out)
}

/// Windows with the numbers of the line above.
fn more_alike(windows: usize, out: &mut dyn Write) -> io::Result<()> {
    let faint = Style::new().dimmed();
    writeln!(out, "{faint}  {windows} more like this{faint:#}")
}

fn skipped(windows: usize, out: &mut dyn Write) -> io::Result<()> {
    let faint = Style::new().dimmed();
    match windows {
        0 => Ok(()),
        1 => writeln!(out, "{faint}  nothing{faint:#}"),
        more => writeln!(out, "{faint}  nothing in {more} windows{faint:#}"),
    }
}

/// Chart of an account's windows.
struct Chart {
    /// Columns of the bars.
    width: usize,
    /// Requests that fill the bar's columns.
    full: u64,
    time: Time,
    /// The numbers that are shown.
    numbers: Vec<&'static Number>,
}

/// Writes instants in a zone.
struct Time {
    pattern: &'static str,
    width: usize,
}

/// A number of each window.
struct Number {
    head: &'static str,
    width: usize,
    /// The greatest is left out first where there is no room.
    rank: u8,
    of: fn(&Chart, &WindowForecast) -> String,
}

const NUMBERS: [Number; 8] = [
    Number { head: "DUE", width: 7, rank: 0, of: |_, window| window.due.to_string() },
    Number { head: "FOLLOW-UP", width: 9, rank: 4, of: |_, window| window.follow_up.to_string() },
    Number { head: LOOKS, width: 6, rank: 5, of: |_, window| some(window.looks) },
    Number {
        head: RERUNS,
        width: 6,
        rank: 5,
        of: |_, window| expected_reruns(window).map_or("-".to_owned(), |reruns| format!("{reruns:.1}")),
    },
    Number { head: "USED", width: 4, rank: 0, of: |chart, window| format!("{}%", chart.percent(window)) },
    Number { head: "OVER", width: 6, rank: 3, of: |_, window| some(window.over) },
    Number { head: "LATE", width: 6, rank: 2, of: |_, window| some(window.late) },
    Number { head: "MISSED", width: 6, rank: 1, of: |_, window| some(window.missed) },
];

/// The head of a column that is there when a stack is looked at at all.
const LOOKS: &str = "LOOKS";

/// The head of a column that is there when runs end without success and are run again.
const RERUNS: &str = "RERUNS";

fn some(number: u64) -> String {
    if number == 0 { "-".to_owned() } else { number.to_string() }
}

/// Lines of fewer columns have no room for the year.
const NO_YEAR: usize = 50;

impl Chart {
    fn new(account: &AccountForecast, width: usize) -> Chart {
        let seconds = !account.account.quota.window.as_secs().is_multiple_of(60);
        let most = account.windows.iter().map(WindowForecast::asked).max().unwrap_or(0);
        let usable = account.windows.first().map_or(0, |window| u64::from(window.usable()));
        let time = match (seconds, width < NO_YEAR) {
            (true, false) => Time { pattern: "%Y-%m-%d %H:%M:%S", width: 20 },
            (false, false) => Time { pattern: "%Y-%m-%d %H:%M", width: 17 },
            (true, true) => Time { pattern: "%m-%d %H:%M:%S", width: 14 },
            (false, true) => Time { pattern: "%m-%d %H:%M", width: 12 },
        };
        let looks = account.windows.iter().any(|window| window.looks > 0);
        let reruns = account.windows.iter().any(|window| window.reruns_in_1000 > 0);
        let is_shown = |number: &&Number| match number.head {
            LOOKS => looks,
            RERUNS => reruns,
            _ => true,
        };
        let numbers = NUMBERS.iter().filter(is_shown).collect();
        let mut chart = Chart { width: 0, full: most.max(usable).max(1), time, numbers };
        let room = |chart: &Chart| width.saturating_sub(chart.head().chars().count() + 2);
        while room(&chart) < NARROWEST
            && let Some(least) = chart.numbers.iter().map(|number| number.rank).max().filter(|rank| *rank > 0)
        {
            chart.numbers.retain(|number| number.rank != least);
        }
        chart.width = room(&chart).max(NARROWEST);
        chart
    }

    fn head(&self) -> String {
        let numbers: String = self.numbers.iter().map(|n| format!("  {:>1$}", n.head, n.width)).collect();
        format!("{:1$}{numbers}", "WINDOW (UTC)", self.time.width)
    }

    fn shows_the_same(&self, one: &WindowForecast, other: &WindowForecast) -> bool {
        NUMBERS.iter().all(|number| (number.of)(self, one) == (number.of)(self, other))
    }

    fn line(&self, window: &WindowForecast, out: &mut dyn Write) -> io::Result<()> {
        let style = match (window.fits(), self.percent(window)) {
            (false, _) => AnsiColor::Red.on_default(),
            (true, 81..) => AnsiColor::Yellow.on_default(),
            (true, _) => AnsiColor::Green.on_default(),
        };
        let at = window.window_start.strftime(self.time.pattern).to_string();
        let numbers = self.numbers.iter().map(|n| format!("  {:>1$}", (n.of)(self, window), n.width));
        let numbers: String = numbers.collect();
        writeln!(out, "{at:0$}{numbers}  {style}{1}{style:#}", self.time.width, self.bar(window))
    }

    /// Returns the requests that are asked of a window, as a percentage of the usable ones.
    fn percent(&self, window: &WindowForecast) -> u64 {
        let asked = window.asked() * 100;
        asked.checked_div(window.usable().into()).unwrap_or(if asked == 0 { 0 } else { 999 })
    }

    /// Full blocks for what is due, light ones for follow-up and looks, and a stroke where the
    /// quota ends when they reach past it.
    fn bar(&self, window: &WindowForecast) -> String {
        let columns = |requests: u64| {
            usize::try_from((requests * self.width as u64).div_ceil(self.full)).unwrap_or(self.width)
        };
        let due = columns(window.due);
        let all = columns(window.asked()).max(due);
        let end = columns(window.usable().into());
        let bar = (0..all.max(end).min(self.width)).map(|column| match column {
            column if column + 1 == end && all >= end && window.asked() > window.usable().into() => '│',
            column if column < due => '█',
            column if column < all => '░',
            _ => ' ',
        });
        bar.collect::<String>().trim_end().to_owned()
    }
}

const TROUBLED: [Column; 4] = [
    Column { head: "FOR WANT OF QUOTA", align: Align::Left, rank: 0 },
    Column { head: "MISSED", align: Align::Right, rank: 0 },
    Column { head: "LATE", align: Align::Right, rank: 1 },
    Column { head: "AT MOST BY", align: Align::Left, rank: 2 },
];

/// The entries that the quota delays or stops, the worst first.
fn troubled_text(account: &AccountForecast, columns: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    if account.troubled.is_empty() {
        return Ok(());
    }
    let mut troubled: Vec<_> = account.troubled.iter().collect();
    troubled.sort_by_key(|(_, troubled)| std::cmp::Reverse((troubled.missed, troubled.late)));
    let shown = &troubled[..troubled.len().min(MOST_NAMED)];
    let mut table = Table::new(&TROUBLED, columns);
    for (name, troubled) in shown {
        let most = if troubled.late == 0 { "-".to_owned() } else { seconds(troubled.highest_lateness_ms) };
        let cells = [
            Cell::plain(name.as_str()),
            Cell::plain(troubled.missed.to_string()),
            Cell::plain(troubled.late.to_string()),
            Cell::plain(most),
        ];
        table.row(cells, None, out)?;
    }
    table.finish(out)?;
    match troubled.len() - shown.len() {
        0 => Ok(()),
        more => writeln!(out, "and {more} more; --format json names them all"),
    }
}

const MOVES: [Column; 3] = [
    Column { head: "ENTRY", align: Align::Left, rank: 0 },
    Column { head: "CRON", align: Align::Left, rank: 1 },
    Column { head: "SUGGESTED", align: Align::Left, rank: 0 },
];

fn suggestion_text(suggestion: &Suggestion, columns: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let name = &suggestion.account.name;
    let (Some(before), Some(after)) = (suggestion.before, suggestion.after) else {
        return writeln!(out, "account {name}: nothing is due, nothing to move");
    };
    let told =
        |peak: Peak| format!("{} in the minute of {}", peak.due, peak.at.strftime("%Y-%m-%d %H:%M UTC"));
    if suggestion.moves.is_empty() {
        return writeln!(out, "account {name}: the peak is {}; no other minute would lower it", told(before));
    }
    let bold = Style::new().bold();
    writeln!(out, "{bold}account {name}{bold:#}: the peak is {}", told(before))?;
    writeln!(out, "with these minutes it would be {}", told(after))?;
    let mut table = Table::new(&MOVES, columns);
    for moved in &suggestion.moves {
        let cells = [
            Cell::plain(moved.entry.as_str()),
            Cell::plain(moved.cron.as_str()),
            Cell::plain(format!("\"{}\"", moved.suggested.as_str())),
        ];
        table.row(cells, None, out)?;
    }
    table.finish(out)?;
    Ok(())
}

fn verdict(forecast: &Forecast, out: &mut dyn Write) -> io::Result<()> {
    let windows = || forecast.accounts.iter().flat_map(|account| &account.windows);
    let (late, missed) = (windows().map(|w| w.late).sum::<u64>(), windows().map(|w| w.missed).sum::<u64>());
    match windows().filter(|window| !window.fits()).count() {
        0 => writeln!(out, "everything fits"),
        1 => writeln!(out, "does not fit in 1 window: {late} late, {missed} missed"),
        full => writeln!(out, "does not fit in {full} windows: {late} late, {missed} missed"),
    }
}
