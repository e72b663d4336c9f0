//! `stackcron next`: the occurrences to come, and what daylight saving does to them.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::Serialize;

use super::complete;
use super::moment::{Moment, MomentError, shared_zone};
use super::output::{OutputFormat, distance, local_time};
use super::place::StatePlace;
use super::table::{Align, Cell, Column, Table};
use crate::journal::{UntilDue, expected};
use crate::schedule::entries::{self, UnknownEntry};
use crate::schedule::{End, Entry, EntryName, Followers, Schedule, one_line};
use crate::timetable::{Occurrence, Shift, Timetable, excluded, shift, zone_name};

/// Occurrences that are printed where neither `--until` nor `--count` is given.
const DEFAULT_COUNT: usize = 10;

/// The occurrences with from <= scheduled_at < until, in order.
///
/// A time is RFC 3339, a local time as 2026-10-25T01:30, 2026-10-25 or 01:30 in the zone that the
/// entries share, or one of now, today, tomorrow, yesterday, `2h ago`, -2h and +30m.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The entries to look at; all of them when none is named
    #[arg(value_name = "ENTRY", add = complete::entries())]
    pub entries: Vec<String>,
    /// Where to begin; now when absent
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// Where to end, itself excluded
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub until: Option<Moment>,
    /// How many to print at most; 10 when there is no --until either
    #[arg(long, value_name = "N")]
    pub count: Option<usize>,
    /// Show the busy hours of the seven days from --from on, instead of single occurrences
    #[arg(long, conflicts_with_all = ["until", "count"])]
    pub calendar: bool,
    #[command(flatten)]
    pub place: StatePlace,
}

/// The fields that `next` prints of an occurrence beside its instant.
#[derive(Clone, Debug)]
pub struct Extras {
    /// Tells whether `args` are printed.
    pub arguments: Arguments,
    /// The time after its own instant at which each entry of a chain should be due.
    pub until_due: UntilDue,
}

/// Tells whether `args` are printed. They may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// To whoever can read the schedule file.
    Told,
    /// To whoever reaches the status page.
    Withheld,
}

/// Why occurrences cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum NextError {
    /// An entry that the schedule does not have.
    #[error(transparent)]
    UnknownEntry(#[from] UnknownEntry),
    /// A local time, while the entries live in several zones.
    #[error("the entries are in several zones: write the time with its offset, as 2026-10-25T01:30:00+01:00")]
    ManyZones,
    /// A local time past the end of the calendar.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// The output is closed or full.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Prints the occurrences that the arguments ask for, on lines of so many columns at most, where
/// somebody says.
pub fn run(
    args: &Args,
    schedule: &Schedule,
    now: Timestamp,
    format: OutputFormat,
    told: &Extras,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> Result<(), NextError> {
    let entries = selected(&args.entries, schedule)?;
    let zone = shared_zone(&entries);
    let instant = |moment: Moment| match &zone {
        None if moment.is_local() => Err(NextError::ManyZones),
        zone => Ok(moment.in_zone(zone.as_ref().unwrap_or(&TimeZone::UTC), now)?),
    };
    let from = args.from.map_or(Ok(now), instant)?;
    let until = args.until.map_or(Ok(Timestamp::MAX), instant)?;
    let chosen: HashSet<EntryName> = entries.iter().map(|entry| entry.name.clone()).collect();
    let followers = Followers::of(&schedule.entries);
    // An entry that comes after another is due when that one is: the instants of the other are
    // needed too.
    let is_asked =
        |entry: &&Arc<Entry>| followers.chain(entry).iter().any(|entry| chosen.contains(&entry.name));
    let by_the_clock = schedule.entries.iter().filter(|entry| entry.after.is_none());
    let part = Schedule {
        accounts: schedule.accounts.clone(),
        entries: by_the_clock.filter(is_asked).cloned().collect(),
    };
    if args.calendar {
        let zone = zone.unwrap_or(TimeZone::UTC);
        let in_chains = |occurrence| chain(occurrence, &followers, &chosen);
        return Ok(calendar(&Week::new(&part, from, &zone, in_chains), format, columns, out)?);
    }
    let count = match (args.count, args.until) {
        (Some(count), _) => count,
        (None, Some(_)) => usize::MAX,
        (None, None) => DEFAULT_COUNT,
    };
    let by_the_clock = due(Timetable::new(&part, from), until);
    let occurrences = by_the_clock.flat_map(|occurrence| chain(occurrence, &followers, &chosen)).take(count);
    match format {
        OutputFormat::Json => print_json(occurrences, told, out)?,
        OutputFormat::Text
            if schedule
                .entries
                .iter()
                .any(|entry| chosen.contains(&entry.name) && entry.args_template.is_some()) =>
        {
            let row = |occurrence: &Occurrence| {
                let [entry, local, utc, when] = cells(occurrence, now);
                [entry, local, utc, when, Cell::plain(one_line(&args_of(occurrence).unwrap_or_default()))]
            };
            print_text(occurrences, told, &WITH_ARGS, row, columns, out)?;
        }
        OutputFormat::Text => {
            print_text(occurrences, told, &COLUMNS, |occurrence| cells(occurrence, now), columns, out)?;
        }
    }
    Ok(())
}

/// An occurrence, and those that come after it, of the chosen entries.
fn chain(
    Occurrence { entry, scheduled_at, pass }: Occurrence,
    followers: &Followers,
    chosen: &HashSet<EntryName>,
) -> Vec<Occurrence> {
    let chain = followers.chain(&entry).into_iter().filter(|entry| chosen.contains(&entry.name));
    chain.map(|entry| Occurrence { entry, scheduled_at, pass }).collect()
}

/// The named entries in the file's order, or all.
fn selected(names: &[String], schedule: &Schedule) -> Result<Vec<Arc<Entry>>, UnknownEntry> {
    for name in names {
        entries::find(schedule, name)?;
    }
    let wanted =
        |entry: &&Arc<Entry>| names.is_empty() || names.iter().any(|name| entry.name.as_str() == name);
    Ok(schedule.entries.iter().filter(wanted).cloned().collect())
}

/// The occurrences before `until`, one instant at a time, so that a long window costs no memory.
fn due(mut timetable: Timetable, until: Timestamp) -> impl Iterator<Item = Occurrence> {
    let instants = std::iter::from_fn(move || {
        let at = timetable.next_at().filter(|at| *at < until)?;
        let after = at.checked_add(SignedDuration::from_secs(1));
        Some(timetable.step(after.unwrap_or(Timestamp::MAX)))
    });
    instants.flatten()
}

/// One line of JSON. Its keys are an interface.
#[derive(Serialize)]
struct NextRecord<'a> {
    entry: &'a str,
    scheduled_at: Timestamp,
    local_time: String,
    timezone: String,
    /// The calendar that it falls on, so that it will be skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<String>,
    /// The entry whose end it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
    /// When it should be due, by the median run times of the entries before. Not there where one of
    /// them has not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Timestamp>,
}

/// Returns the arguments that the occurrence sends: those of the entry, or its template filled.
fn args_of(Occurrence { entry, scheduled_at, .. }: &Occurrence) -> Option<String> {
    let filled = entry.args_template.as_ref().map(|template| template.render(entry, *scheduled_at));
    filled.or_else(|| entry.args.clone())
}

fn print_json(
    occurrences: impl Iterator<Item = Occurrence>,
    told: &Extras,
    out: &mut dyn Write,
) -> io::Result<()> {
    for occurrence in occurrences {
        let args = args_of(&occurrence).filter(|_| told.arguments == Arguments::Told);
        let Occurrence { entry, scheduled_at, .. } = occurrence;
        let offset = entry.timezone.to_offset(scheduled_at);
        let record = NextRecord {
            entry: entry.name.as_str(),
            scheduled_at,
            local_time: scheduled_at.display_with_offset(offset).to_string(),
            timezone: zone_name(&entry.timezone, scheduled_at),
            calendar: excluded(&entry, scheduled_at).map(|exclusion| exclusion.calendar.as_str()),
            args,
            after: entry.after.as_ref().map(|after| after.entry.as_str()),
            expected: expected(&told.until_due, &entry, scheduled_at),
        };
        serde_json::to_writer(&mut *out, &record)?;
        writeln!(out)?;
    }
    Ok(())
}

const COLUMNS: [Column; 4] = [
    Column { head: "ENTRY", align: Align::Left, rank: 0 },
    Column { head: "LOCAL TIME", align: Align::Left, rank: 0 },
    Column { head: "UTC", align: Align::Left, rank: 2 },
    Column { head: "WHEN", align: Align::Left, rank: 1 },
];

/// Columns where an entry has a template.
const WITH_ARGS: [Column; 5] = {
    let [entry, local, utc, when] = COLUMNS;
    [entry, local, utc, when, Column { head: "ARGS", align: Align::Left, rank: 3 }]
};

fn cells(Occurrence { entry, scheduled_at, .. }: &Occurrence, now: Timestamp) -> [Cell; 4] {
    [
        Cell::plain(entry.name.as_str()),
        Cell::plain(local_time(&entry.timezone, *scheduled_at)),
        Cell::plain(scheduled_at.to_string()),
        Cell::plain(distance(now, *scheduled_at)),
    ]
}

fn print_text<const N: usize>(
    occurrences: impl Iterator<Item = Occurrence>,
    told: &Extras,
    head: &'static [Column; N],
    cells: impl Fn(&Occurrence) -> [Cell; N],
    columns: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut table = Table::new(head, columns);
    for occurrence in occurrences {
        let cells = cells(&occurrence);
        let Occurrence { entry, scheduled_at, .. } = occurrence;
        let note = note(&entry, scheduled_at, &told.until_due)
            .map(|note| Cell::styled(note, AnsiColor::Yellow.on_default()));
        table.row(cells, note, out)?;
    }
    if table.finish(out)? == 0 {
        writeln!(out, "nothing is due then")?;
    }
    Ok(())
}

/// Returns a note on what a reader would not expect of an occurrence.
fn note(entry: &Entry, at: Timestamp, until_due: &UntilDue) -> Option<String> {
    let shifted = shift(entry, at).filter(|shift| *shift != Shift::AsWritten).map(|shift| shift.to_string());
    let after = entry.after.as_ref().map(|after| match after.on {
        End::Success => format!("when {} has ended with success", after.entry),
        End::Failure => format!("when {} has ended without success", after.entry),
        End::End => format!("when {} has ended", after.entry),
    });
    let about = expected(until_due, entry, at).map(|at| local_time(&entry.timezone, at));
    let after = after.map(|after| about.map_or(after.clone(), |about| format!("{after}, about {about}")));
    let paused = entry.paused.then(|| "paused: it will be skipped".to_string());
    let on_calendar =
        || Some(format!("on the calendar {}: it will be skipped", excluded(entry, at)?.calendar));
    let skipped = paused.or_else(on_calendar);
    let notes: Vec<String> = [shifted, after, skipped].into_iter().flatten().collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// Number of occurrences in each local hour of seven days.
struct Week {
    zone: String,
    days: Vec<(Date, [WeekLoad; 24])>,
}

/// The occurrences of an hour.
#[derive(Clone, Default)]
struct WeekLoad {
    /// Those that run.
    due: usize,
    /// Those that fall on a calendar, and are skipped.
    skipped: usize,
    /// The names of those calendars.
    calendars: BTreeSet<String>,
}

impl Week {
    /// `each` makes of an occurrence all that are due with it.
    fn new(
        schedule: &Schedule,
        from: Timestamp,
        zone: &TimeZone,
        each: impl Fn(Occurrence) -> Vec<Occurrence>,
    ) -> Week {
        let first = zone.to_datetime(from).date();
        let mut days: Vec<(Date, [WeekLoad; 24])> =
            (0..7).filter_map(|n| Some((first.checked_add(n.days()).ok()?, Default::default()))).collect();
        let midnight = |date: Date| zone.to_timestamp(date.at(0, 0, 0, 0)).ok();
        let start = midnight(first).unwrap_or(from);
        let end = first.checked_add(7.days()).ok().and_then(midnight);
        let by_the_clock = due(Timetable::new(schedule, start), end.unwrap_or(Timestamp::MAX));
        for occurrence in by_the_clock.flat_map(each) {
            let local = zone.to_datetime(occurrence.scheduled_at);
            if let Some((_, hours)) = days.iter_mut().find(|(date, _)| *date == local.date()) {
                let hour = &mut hours[usize::from(local.hour().unsigned_abs())];
                match excluded(&occurrence.entry, occurrence.scheduled_at) {
                    None => hour.due += 1,
                    Some(exclusion) => {
                        hour.skipped += 1;
                        if !hour.calendars.contains(exclusion.calendar.as_str()) {
                            hour.calendars.insert(exclusion.calendar.to_string());
                        }
                    }
                }
            }
        }
        Week { zone: zone_name(zone, from), days }
    }

    fn most(&self) -> usize {
        self.days.iter().flat_map(|(_, hours)| hours).map(|hour| hour.due).max().unwrap_or(0)
    }

    /// The calendars that occurrences of the week fall on.
    fn calendars(&self) -> BTreeSet<&str> {
        let hours = self.days.iter().flat_map(|(_, hours)| hours);
        hours.flat_map(|hour| &hour.calendars).map(String::as_str).collect()
    }
}

/// One cell of the calendar.
#[derive(Serialize)]
struct Hour<'a> {
    date: Date,
    hour: usize,
    timezone: &'a str,
    due: usize,
    /// Those that fall on a calendar, beside those that are due.
    skipped: usize,
    /// The names of those calendars.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    calendars: &'a BTreeSet<String>,
}

fn calendar(
    week: &Week,
    format: OutputFormat,
    columns: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        for (date, hours) in &week.days {
            for (number, WeekLoad { due, skipped, calendars }) in hours.iter().enumerate() {
                let (date, timezone) = (*date, &week.zone);
                let hour = Hour { date, hour: number, timezone, due: *due, skipped: *skipped, calendars };
                serde_json::to_writer(&mut *out, &hour)?;
                writeln!(out)?;
            }
        }
        return Ok(());
    }
    // The day, 24 hours and the sum, with their gaps. Where there is no room for two columns an
    // hour has one.
    let (day, cell) = match columns {
        Some(columns) if columns < 14 + 2 + 48 + 2 + 5 => ("%a %d", 1),
        _ => ("%a %Y-%m-%d", 2),
    };
    let first = if cell == 1 { 6 } else { 14 };
    let hours: String =
        (0..24).step_by(3).map(|hour| format!("{:1$}", format!("{hour:02}"), 3 * cell)).collect();
    let bold = Style::new().bold();
    let zone: String = if cell == 1 { String::new() } else { week.zone.clone() };
    writeln!(out, "{bold}{zone:first$}  {hours}    DUE{bold:#}")?;
    let most = week.most();
    for (date, hours) in &week.days {
        let cells: String = hours.iter().map(|load| shade(load, most).to_string().repeat(cell)).collect();
        let total: usize = hours.iter().map(|load| load.due).sum();
        writeln!(out, "{:first$}  {cells}  {total:5}", date.strftime(day).to_string())?;
    }
    let marks = ['·', '░', '▒', '▓', '█'].map(|mark| mark.to_string().repeat(cell));
    let [none, busy @ ..] = marks;
    let calendars: Vec<&str> = week.calendars().into_iter().collect();
    let skipped = match calendars[..] {
        [] => String::new(),
        _ => format!("{}  skipped: on {}  ", "x".repeat(cell), calendars.join(", ")),
    };
    writeln!(out, "{:first$}  {none} none  {skipped}{} up to {most} an hour", "", busy.join(" "))
}

/// Darker the busier an hour is.
fn shade(WeekLoad { due, skipped, .. }: &WeekLoad, most: usize) -> char {
    match (due * 4).div_ceil(most.max(1)) {
        0 if *skipped > 0 => 'x',
        0 => '·',
        1 => '░',
        2 => '▒',
        3 => '▓',
        _ => '█',
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::timetable::tests::{at, entry};

    #[derive(Parser)]
    struct NextCommand {
        #[command(flatten)]
        args: Args,
    }

    fn told(words: &str, format: OutputFormat) -> String {
        let entries = vec![
            entry("nightly-report", "Europe/London", &["15,45 1 * * *"]),
            entry("sweep", "Europe/London", &["*/30 1-2 * * *"]),
            entry("abroad", "America/New_York", &["0 12 * * MON"]),
        ];
        let schedule = Schedule { accounts: vec![entries[0].account.clone()], entries };
        let words = ["next"].into_iter().chain(words.split_ascii_whitespace());
        let args = NextCommand::try_parse_from(words).expect("arguments").args;
        let mut out = anstream::StripStream::new(Vec::new());
        let beside = Extras { arguments: Arguments::Told, until_due: UntilDue::new() };
        match run(&args, &schedule, at("2026-03-28T20:00:00Z"), format, &beside, None, &mut out) {
            Ok(()) => String::from_utf8(out.into_inner()).expect("text"),
            Err(error) => format!("error: {error}\n"),
        }
    }

    #[test]
    fn occurrences_are_told_with_what_daylight_saving_does() {
        let told = [
            told("", OutputFormat::Text),
            told("nightly-report --from 2026-10-24 --until 2026-10-27", OutputFormat::Text),
            told("sweep --from 2026-10-25T01:00 --until 2026-10-25T03:00", OutputFormat::Text),
            told("abroad sweep --count 3", OutputFormat::Json),
            told("nightly-report --from 2026-10-25T01:30:00+01:00 --count 1", OutputFormat::Json),
            told("abroad --until 2026-03-29", OutputFormat::Text),
            told("--calendar --from 2026-10-24T12:00:00Z", OutputFormat::Text),
            told("sweep --calendar --from 2026-10-24", OutputFormat::Text),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn an_unknown_entry_is_answered_with_the_nearest() {
        assert_eq!(
            told("nighty-report", OutputFormat::Text),
            "error: no entry is named `nighty-report`; did you mean `nightly-report`?\n"
        );
        assert_eq!(told("x", OutputFormat::Text), "error: no entry is named `x`\n");
    }

    #[test]
    fn a_local_time_needs_one_zone() {
        assert!(
            told("--from 2026-10-24", OutputFormat::Text)
                .starts_with("error: the entries are in several zones")
        );
    }

    #[test]
    fn the_calendar_in_json_has_a_cell_an_hour() {
        let told = told("sweep --calendar --from 2026-10-24", OutputFormat::Json);
        assert_eq!(told.lines().count(), 7 * 24);
        assert_eq!(
            told.lines().nth(25),
            Some(r#"{"date":"2026-10-25","hour":1,"timezone":"Europe/London","due":4,"skipped":0}"#)
        );
    }
}
