//! `stackcron why`: why an entry is due at an instant, or is not.
//!
//! The verdict is the timetable's. An answer is made of sections, in the order in which an operator
//! asks: what the expressions say, what the clocks did, what became of it, what is near, which
//! policies hold.

mod clocks;
mod fate;
mod policies;
mod then;
mod upstreams;

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::complete;
use super::moment::{Moment, MomentError};
use super::output::{OutputFormat, distance, local_time, span};
use super::place::StatePlace;
use crate::journal::{JournalError, Location, Pause};
use crate::log::visible;
use crate::schedule::entries::{self, UnknownEntry};
use crate::schedule::{Entry, Schedule};
use crate::timetable::{self, Exclusion, Explanation, excluded, explain, occurrences};
use clocks::Clocks;
use fate::Fate;
pub(crate) use policies::EntryPolicies;
use then::Then;
use upstreams::{Upstreams, expected};

/// Occurrences of the same minute or hour that are named at most.
const NAMED: usize = 6;

/// Why an entry is due at an instant, or is not: each field of its expressions against that
/// instant, what daylight saving did, what became of the occurrence, the policies in force, and the
/// occurrences before and after.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The entry
    #[arg(value_name = "ENTRY", add = complete::entries())]
    pub entry: String,
    /// The instant: RFC 3339, a local time as 2026-10-25T01:30 or 01:30 in the entry's zone, or one
    /// of today, yesterday, -2h
    ///
    /// Without it the last occurrence is explained, and the next one named
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub at: Option<Moment>,
    #[command(flatten)]
    pub place: StatePlace,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhyError {
    /// An entry that the schedule does not have.
    #[error(transparent)]
    UnknownEntry(#[from] UnknownEntry),
    /// A local time past the end of the calendar.
    #[error(transparent)]
    Moment(#[from] MomentError),
    /// The output is closed or full.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Prints the answer. Due or not, it is one; and so it is when the journal cannot be read.
pub fn run(
    args: &Args,
    schedule: &Schedule,
    journal: Option<&Location>,
    now: Timestamp,
    format: OutputFormat,
    out: &mut dyn Write,
) -> Result<JournalPart, WhyError> {
    let entry = entries::find(schedule, &args.entry)?;
    // An entry of a chain has the instants of the entry at its head, which is due by the clock.
    let root = schedule.root(entry);
    let last = || timetable::previous(root, now).or_else(|| timetable::next(root, now)).unwrap_or(now);
    let clocks = Clocks::at(args.at.unwrap_or_else(|| Moment::Instant(last())), entry, now)?;
    let explanation = Explanation { entry: entry.name.to_string(), ..explain(root, clocks.at) };
    let near = if explanation.due { None } else { Near::of(root, explanation.at) };
    let after = Upstreams::of(entry, schedule, journal, explanation.at);
    // The journal has the instants of occurrences in the past.
    let expected_at = |at| if at >= now { expected(entry, schedule, journal, at) } else { None };
    let expected = expected_at(explanation.at);
    let policies = EntryPolicies::of(entry);
    let pauses = journal.and_then(|journal| journal.pauses().ok()).unwrap_or_default();
    let pause = pauses.into_iter().find_map(|(name, pause)| (name == entry.name).then_some(pause));
    let fate = journal.map_or(Fate::NotAsked, |journal| Fate::of(journal, entry, explanation.at));
    let on_calendar = excluded(entry, explanation.at).map(|Exclusion { calendar, from, until }| OnCalendar {
        calendar: calendar.to_string(),
        from,
        until,
    });
    let schedule_then = fate.then().cloned();
    let answer = WhyRecord {
        explanation,
        clocks,
        after,
        expected,
        near,
        on_calendar,
        fate,
        schedule_then,
        pause,
        policies,
    };
    match format {
        OutputFormat::Json => {
            serde_json::to_writer(&mut *out, &answer).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        OutputFormat::Text => {
            answer.print(entry, now, out)?;
            if args.at.is_none() {
                let next = timetable::next(root, now);
                let next = next.map(|next| (next, expected_at(next)));
                answer.print_next(entry, next, now, out)?;
            }
        }
    }
    Ok(match answer.fate {
        Fate::Unreadable(error) if answer.explanation.at <= now => JournalPart::NotToBeRead(error),
        _ => JournalPart::AsFarAsAsked,
    })
}

/// Tells whether the answer has the journal's part.
#[derive(Debug)]
pub enum JournalPart {
    /// It was, or the instant is still to come.
    AsFarAsAsked,
    /// It was not, so that nobody knows what became of the occurrence.
    NotToBeRead(JournalError),
}

/// The whole answer. Its keys are an interface.
#[derive(Serialize)]
struct WhyRecord {
    #[serde(flatten)]
    explanation: Explanation,
    #[serde(flatten)]
    clocks: Clocks,
    #[serde(skip_serializing_if = "Upstreams::is_empty")]
    after: Upstreams,
    /// When an entry that comes after others should be due. Not there where one of them has not
    /// run, or the instant is past.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Timestamp>,
    near: Option<Near>,
    /// The calendar of the entry that the instant falls on.
    on_calendar: Option<OnCalendar>,
    fate: Fate,
    /// The journal's word on the entry at the instant, if it has no occurrence of that instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_then: Option<Then>,
    /// The terms of a person's pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<Pause>,
    policies: EntryPolicies,
}

/// The day, window or event of a calendar that an instant falls on.
#[derive(Serialize)]
struct OnCalendar {
    calendar: String,
    from: Timestamp,
    /// Its end, itself excluded.
    until: Timestamp,
}

/// Occurrences that were probably meant: those of the same minute, or else of the same hour.
#[derive(Serialize)]
struct Near {
    within: ClockUnit,
    /// The first few.
    occurrences: Vec<Timestamp>,
    /// There are more.
    cut: bool,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum ClockUnit {
    Minute,
    Hour,
}

impl Near {
    fn of(entry: &Entry, at: Timestamp) -> Option<Near> {
        [(ClockUnit::Minute, 60), (ClockUnit::Hour, 3600)].into_iter().find_map(|(within, seconds)| {
            let local = at.as_second() + i64::from(entry.timezone.to_offset(at).seconds());
            let start = at.checked_sub(SignedDuration::from_secs(local.rem_euclid(seconds))).ok()?;
            let end = start.checked_add(SignedDuration::from_secs(seconds)).ok()?;
            let mut found: Vec<Timestamp> = occurrences(entry, start, end).take(NAMED + 1).collect();
            let cut = found.len() > NAMED;
            found.truncate(NAMED);
            (!found.is_empty()).then_some(Near { within, occurrences: found, cut })
        })
    }

    fn sentence(&self, zone: &TimeZone) -> String {
        let clock = |at: &Timestamp| zone.to_datetime(*at).strftime("%H:%M:%S").to_string();
        let times: Vec<String> = self.occurrences.iter().map(clock).collect();
        let within = match self.within {
            ClockUnit::Minute => "this minute",
            ClockUnit::Hour => "this hour",
        };
        let more = if self.cut { ", ..." } else { "" };
        format!("in {within} it is due at {}{more}", times.join(", "))
    }
}

impl WhyRecord {
    fn print(&self, entry: &Entry, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
        self.print_verdict(entry, now, out)?;
        self.after.print(entry, self.expected, out)?;
        self.print_expressions(out)?;
        self.print_calendar(entry, out)?;
        self.clocks.print(out)?;
        self.fate.print(&self.explanation, entry, now, out)?;
        self.print_neighbours(entry, out)?;
        self.policies.print(entry, self.explanation.due.then_some(self.explanation.at), out)
    }

    fn print_verdict(&self, entry: &Entry, now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
        let Explanation { at, due, timezone, .. } = &self.explanation;
        let paused =
            entry.paused || self.pause.as_ref().is_some_and(|pause| *at >= now && pause.keeps_back(*at));
        let (verdict, style) = match (due, paused, &self.on_calendar) {
            (true, true, _) => ("DUE, BUT PAUSED", AnsiColor::Yellow.on_default().bold()),
            (true, false, Some(_)) => ("DUE, BUT SKIPPED", AnsiColor::Yellow.on_default().bold()),
            (true, false, None) => ("DUE", AnsiColor::Green.on_default().bold()),
            (false, ..) => ("NOT DUE", AnsiColor::Yellow.on_default().bold()),
        };
        let local = local_time(&entry.timezone, *at);
        writeln!(out, "{style}{verdict}{style:#}  {} at {local}", entry.name)?;
        let indent = verdict.len() + 2;
        writeln!(out, "{:indent$}{at} in {timezone}, {}", "", distance(now, *at))?;
        let Some(Pause { since, by, until, note }) = &self.pause else {
            return Ok(());
        };
        let until = match until {
            Some(until) => format!("until {until:.0}"),
            None => format!("until `stackcron resume {}`", entry.name),
        };
        let note = note.as_ref().map_or(String::new(), |note| format!(": {}", visible(note)));
        writeln!(out, "{:indent$}paused by {by} since {since:.0}, {until}{note}", "")
    }

    /// The next occurrence, where the last one is explained.
    fn print_next(
        &self,
        entry: &Entry,
        next: Option<(Timestamp, Option<Timestamp>)>,
        now: Timestamp,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        heading("Next", out)?;
        let Some((next, expected)) = next else {
            return writeln!(out, "  never again");
        };
        let paused = entry.paused || self.pause.as_ref().is_some_and(|pause| pause.keeps_back(next));
        let what = if paused { "skipped, as the entry is paused" } else { "sent" };
        writeln!(out, "  {}  {next}, {}: {what}", local_time(&entry.timezone, next), distance(now, next))?;
        let Some(after) = &entry.after else { return Ok(()) };
        let about =
            expected.map_or(String::new(), |at| format!(", about {}", local_time(&entry.timezone, at)));
        writeln!(out, "  when {} has ended{about}", after.entry)
    }

    fn print_expressions(&self, out: &mut dyn Write) -> io::Result<()> {
        let (yes, no) = (AnsiColor::Green.on_default(), AnsiColor::Red.on_default());
        for report in &self.explanation.expressions {
            heading(&report.expression, out)?;
            writeln!(out, "  {}", report.verdict)?;
            for field in &report.fields {
                let (mark, style) = if field.matches { ("yes", yes) } else { ("no", no) };
                writeln!(out, "    {style}{mark:3}{style:#}  {}", field.sentence)?;
            }
        }
        Ok(())
    }

    fn print_calendar(&self, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        let Some(OnCalendar { calendar, from, until }) = &self.on_calendar else {
            return Ok(());
        };
        let local = |at: &Timestamp| local_time(&entry.timezone, *at);
        heading(&format!("Calendar {calendar}"), out)?;
        let skipped = if self.explanation.due {
            "so that the occurrence is skipped"
        } else {
            "on which the entry is not run"
        };
        writeln!(out, "  covers {} to {}, {skipped}", local(from), local(until))
    }

    fn print_neighbours(&self, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        let Explanation { at, previous, next, .. } = &self.explanation;
        heading("Neighbours", out)?;
        if let Some(near) = &self.near {
            writeln!(out, "  {}", near.sentence(&entry.timezone))?;
        }
        for (side, neighbour, relation) in [("before", previous, "earlier"), ("after", next, "later")] {
            match neighbour {
                None => writeln!(out, "  {side:6}  never")?,
                Some(neighbour) => {
                    let local = local_time(&entry.timezone, *neighbour);
                    let span = span(neighbour.as_second() - at.as_second());
                    writeln!(out, "  {side:6}  {local:29}  {neighbour:20}  {span} {relation}")?;
                }
            }
        }
        Ok(())
    }
}

/// Begins a section.
fn heading(title: &str, out: &mut dyn Write) -> io::Result<()> {
    let bold = Style::new().bold();
    writeln!(out, "\n{bold}{title}{bold:#}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::timetable::tests::{at, entry};

    #[derive(Parser)]
    struct WhyCommand {
        #[command(flatten)]
        args: Args,
    }

    fn told(words: &str, format: OutputFormat) -> String {
        let spread = entry("spread", "UTC", &["0 9 * * *"]);
        let spread = Entry { jitter: Duration::from_secs(600), paused: true, ..Entry::clone(&spread) };
        let entries = vec![
            entry("nightly", "Europe/London", &["15,45 1 * * *"]),
            entry("sweep", "Europe/London", &["*/30 * * * *"]),
            entry("weekly", "Europe/London", &["30 1 * * MON,FRI"]),
            entry("lord-howe", "Australia/Lord_Howe", &["15 2 * * *"]),
            entry("list", "America/New_York", &["0 9 * * MON-FRI", "30 10 13 * FRI", "15 20 9 L * *"]),
            entry("steps", "Europe/London", &["*/72 * * * *"]),
            Arc::new(spread),
        ];
        let schedule = Schedule { accounts: vec![entries[0].account.clone()], entries };
        let words = ["why"].into_iter().chain(words.split_ascii_whitespace());
        let args = WhyCommand::try_parse_from(words).expect("arguments").args;
        let mut out = anstream::StripStream::new(Vec::new());
        match run(&args, &schedule, None, at("2026-03-28T20:00:00Z"), format, &mut out) {
            Ok(_) => String::from_utf8(out.into_inner()).expect("text"),
            Err(error) => format!("error: {error}\n"),
        }
    }

    #[test]
    fn a_plain_day_is_told_field_by_field() {
        insta::assert_snapshot!(told("weekly --at 2026-10-06T01:30", OutputFormat::Text));
    }

    #[test]
    fn a_skipped_time_is_looked_at_where_the_gap_ends() {
        insta::assert_snapshot!(told("nightly --at 2026-03-29T01:45", OutputFormat::Text));
    }

    #[test]
    fn a_time_that_comes_twice_is_looked_at_the_first_time() {
        let told = ["nightly --at 2026-10-25T01:45", "nightly --at 2026-10-25T01:45:00+00:00"]
            .map(|words| told(words, OutputFormat::Text));
        insta::assert_snapshot!(told.join("\n=====\n"));
    }

    #[test]
    fn an_entry_with_a_star_runs_in_both_passes() {
        insta::assert_snapshot!(told("sweep --at 2026-10-25T01:30:00Z", OutputFormat::Text));
    }

    #[test]
    fn lord_howe_skips_half_an_hour() {
        insta::assert_snapshot!(told("lord-howe --at 2026-10-04T02:15", OutputFormat::Text));
    }

    #[test]
    fn each_expression_of_a_list_has_its_say() {
        insta::assert_snapshot!(told("list --at 2026-07-31T09:20", OutputFormat::Text));
    }

    #[test]
    fn steps_past_the_hour_are_told_in_utc() {
        insta::assert_snapshot!(told("steps --at 2026-05-01T02:12", OutputFormat::Text));
    }

    #[test]
    fn a_paused_entry_with_a_delay_says_so() {
        insta::assert_snapshot!(told("spread --at 2026-03-27T09:00:00Z", OutputFormat::Text));
    }

    #[test]
    fn json_is_one_object() {
        let told = told("nightly --at 2026-03-29T01:45", OutputFormat::Json);
        assert_eq!(told.lines().count(), 1, "one line: {told}");
        let value: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        insta::assert_snapshot!(serde_json::to_string_pretty(&value).expect("JSON"));
    }

    #[test]
    fn what_is_due_in_the_same_minute_or_hour_is_named() {
        let minute = told("list --at 2026-07-31T09:20", OutputFormat::Text);
        assert!(minute.contains("in this minute it is due at 09:20:15"), "{minute}");
        let hour = told("sweep --at 2026-07-31T09:20", OutputFormat::Text);
        assert!(hour.contains("in this hour it is due at 09:00:00, 09:30:00\n"), "{hour}");
        let day = told("weekly --at 2026-10-06T01:30", OutputFormat::Text);
        assert!(!day.contains("it is due at"), "{day}");
    }

    #[test]
    fn an_unknown_entry_is_answered_with_the_nearest() {
        assert_eq!(
            told("nigthly --at 2026-03-29", OutputFormat::Text),
            "error: no entry is named `nigthly`; did you mean `nightly`?\n"
        );
    }
}
