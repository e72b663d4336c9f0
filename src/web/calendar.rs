//! `/calendar.ics`: the occurrences of the next weeks, for calendar programs (RFC 5545).
//!
//! An occurrence is an event as long as the median of the entry's last runs. An entry that is due
//! more often than hourly would fill the calendar: each of its days is one event that says how
//! often. UIDs are made of the entry and the time, so that a calendar that reads the file again
//! changes its events and does not double them.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::answer::{KeptAnswer, WebRefusal};
use super::query::Query;
use super::site::Site;
use crate::journal::{Filter, Location};
use crate::schedule::entries;
use crate::schedule::{Entry, Schedule};
use crate::timetable::{Occurrence, Timetable, excluded};

/// Days, unless the query says how many.
const DEFAULT_DAYS: usize = 14;

/// Days at most.
const MOST_DAYS: usize = 62;

/// Events at most. Calendar programs are slow beyond some thousands.
const MOST_EVENTS: usize = 5000;

/// Occurrences that are looked at, at most: all of a day of an entry that is due each second, for
/// two weeks.
const MOST_OCCURRENCES: usize = 2_000_000;

/// An entry that is due more often on a day is one event for that day.
const MOST_A_DAY: usize = 24;

/// Finished runs that tell how long an entry takes.
const RUNS: u32 = 2000;

/// Length of an event when no run of the entry is known.
const UNKNOWN_RUN: SignedDuration = SignedDuration::from_mins(1);

/// Octets of a line at most, its end not counted.
const LINE: usize = 75;

/// The type of the file.
const TYPE: &str = "text/calendar; charset=utf-8";

pub(super) async fn answer(site: &Site, query: &str) -> Result<KeptAnswer, WebRefusal> {
    let query = Query::parse(query, &["entry", "stack", "days"])?;
    let names: Vec<String> = query.all("entry").map(str::to_owned).collect();
    let stack = query.one("stack")?.map(str::to_owned);
    let days = query.number("days", DEFAULT_DAYS, MOST_DAYS)?;
    // Without them the calendar is right all the same.
    let runs = site.read(runs).await.unwrap_or_default();
    let written = site.walk(move |schedule| {
        for name in &names {
            entries::find(schedule, name)?;
        }
        let wanted = |entry: &Entry| {
            (names.is_empty() || names.iter().any(|name| name == entry.name.as_str()))
                && stack.as_deref().is_none_or(|stack| stack == entry.stack.as_str())
        };
        let kept = schedule.entries.iter().filter(|entry| wanted(entry)).cloned().collect();
        let part = Schedule { accounts: schedule.accounts.clone(), entries: kept };
        let now = Timestamp::now();
        Ok::<_, entries::UnknownEntry>(write(&part, &runs, now, days))
    });
    Ok(KeptAnswer::bytes(TYPE, written.await??.into_bytes()))
}

/// The median run time of each entry, as far as the newest records tell.
fn runs(journal: &Location) -> HashMap<String, SignedDuration> {
    let mut all: HashMap<String, Vec<SignedDuration>> = HashMap::new();
    let filter = Filter { newest: Some(RUNS), ..Filter::default() };
    // The records from before a failed read are used as they are.
    let _ = journal.read_history(&filter, |record| {
        if let (Some(sent_at), Some(finished_at)) = (record.sent_at, record.finished_at) {
            let took = finished_at.duration_since(sent_at).max(SignedDuration::ZERO);
            all.entry(record.key.entry().to_string()).or_default().push(took);
        }
        ControlFlow::Continue(())
    });
    let median = |mut took: Vec<SignedDuration>| {
        took.sort_unstable();
        took[took.len() / 2]
    };
    all.into_iter().map(|(entry, took)| (entry, median(took))).collect()
}

/// The file.
fn write(schedule: &Schedule, runs: &HashMap<String, SignedDuration>, now: Timestamp, days: usize) -> String {
    let until = now.checked_add(SignedDuration::from_hours(24 * days as i64)).unwrap_or(Timestamp::MAX);
    let mut by_day: BTreeMap<(Date, &str), (Entry, Vec<Timestamp>, usize)> = BTreeMap::new();
    let by_name: HashMap<&str, &Entry> =
        schedule.entries.iter().map(|entry| (entry.name.as_str(), &**entry)).collect();
    let mut timetable = Timetable::new(schedule, now);
    let mut looked_at = 0;
    while let Some(at) = timetable.next_at().filter(|at| *at < until)
        && looked_at < MOST_OCCURRENCES
        && by_day.len() < MOST_EVENTS
    {
        let after = at.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
        for Occurrence { entry, scheduled_at, .. } in timetable.step(after) {
            looked_at += 1;
            let Some((name, entry)) = by_name.get_key_value(entry.name.as_str()) else { continue };
            let day = entry.timezone.to_datetime(scheduled_at).date();
            // A calendar program shows what is to come, and what is skipped does not.
            if excluded(entry, scheduled_at).is_some() {
                continue;
            }
            let of_day = by_day.entry((day, name)).or_insert_with(|| (Entry::clone(entry), Vec::new(), 0));
            of_day.2 += 1;
            if of_day.1.len() < MOST_A_DAY {
                of_day.1.push(scheduled_at);
            }
        }
    }
    let mut file = CalendarFile::begin(now);
    let mut events = 0;
    for ((day, _), (entry, instants, count)) in &by_day {
        if *count > MOST_A_DAY {
            events += 1;
            file.day(entry, *day, *count);
        } else {
            events += instants.len();
            let took = runs.get(entry.name.as_str()).copied();
            instants.iter().for_each(|at| file.occurrence(entry, *at, took));
        }
        if events >= MOST_EVENTS {
            break;
        }
    }
    file.end()
}

/// The file as far as it is written.
struct CalendarFile {
    text: String,
    stamp: String,
}

impl CalendarFile {
    fn begin(now: Timestamp) -> CalendarFile {
        // The hour: a file that tells nothing new is the same file.
        let hour = Timestamp::from_second(now.as_second() - now.as_second().rem_euclid(3600)).unwrap_or(now);
        let mut file = CalendarFile { text: String::new(), stamp: utc(hour) };
        for line in [
            "BEGIN:VCALENDAR",
            "VERSION:2.0",
            concat!("PRODID:-//stackcron//", env!("CARGO_PKG_VERSION"), "//EN"),
            "CALSCALE:GREGORIAN",
            "METHOD:PUBLISH",
            "X-WR-CALNAME:stackcron",
            "REFRESH-INTERVAL;VALUE=DURATION:PT1H",
            "X-PUBLISHED-TTL:PT1H",
        ] {
            file.line(line);
        }
        file
    }

    fn occurrence(&mut self, entry: &Entry, at: Timestamp, took: Option<SignedDuration>) {
        self.line("BEGIN:VEVENT");
        self.line(&format!("UID:{}-{}@stackcron", entry.name, utc(at)));
        let length = took.unwrap_or(UNKNOWN_RUN).as_secs().max(1);
        self.line(&format!("DTSTART:{}", utc(at)));
        self.line(&format!("DURATION:PT{length}S"));
        self.about(entry, entry.name.as_str());
    }

    fn day(&mut self, entry: &Entry, day: Date, count: usize) {
        self.line("BEGIN:VEVENT");
        self.line(&format!("UID:{}-{}@stackcron", entry.name, day.strftime("%Y%m%d")));
        self.line(&format!("DTSTART;VALUE=DATE:{}", day.strftime("%Y%m%d")));
        let next = day.checked_add(1.day()).unwrap_or(day);
        self.line(&format!("DTEND;VALUE=DATE:{}", next.strftime("%Y%m%d")));
        self.about(entry, &format!("{} ({count} times)", entry.name));
    }

    fn about(&mut self, entry: &Entry, summary: &str) {
        self.line(&format!("DTSTAMP:{}", self.stamp));
        self.line(&format!("SUMMARY:{}", escaped(summary)));
        let cron: Vec<&str> = entry.cron.iter().map(|expression| expression.as_str()).collect();
        let about = format!("stack {}\njob {}\ncron {}", entry.stack, entry.job, cron.join(" and "));
        self.line(&format!("DESCRIPTION:{}", escaped(&about)));
        if entry.paused {
            self.line("STATUS:CANCELLED");
        }
        self.line("TRANSP:TRANSPARENT");
        self.line("END:VEVENT");
    }

    /// Writes a line, folded where it is too long.
    fn line(&mut self, line: &str) {
        let mut room = LINE;
        for letter in line.chars() {
            if letter.len_utf8() > room {
                self.text.push_str("\r\n ");
                room = LINE - 1;
            }
            self.text.push(letter);
            room -= letter.len_utf8();
        }
        self.text.push_str("\r\n");
    }

    fn end(mut self) -> String {
        self.line("END:VCALENDAR");
        self.text
    }
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | ';' | ',' => escaped.extend(['\\', letter]),
            '\n' => escaped.push_str("\\n"),
            letter if letter.is_control() => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timetable::tests::{at, entry};

    #[test]
    fn an_occurrence_is_an_event_and_a_busy_day_is_one() {
        let entries = vec![
            entry("nightly", "America/New_York", &["30 1 * * *"]),
            entry("sweep", "UTC", &["*/5 * * * *"]),
        ];
        let schedule = Schedule { accounts: vec![entries[0].account.clone()], entries };
        let runs = HashMap::from([("nightly".to_owned(), SignedDuration::from_secs(754))]);
        let text = write(&schedule, &runs, at("2026-03-07T20:00:00Z"), 2);
        insta::assert_snapshot!(text.replace("\r\n", "\n").replace(env!("CARGO_PKG_VERSION"), "VERSION"));
        assert!(text.split("\r\n").all(|line| line.len() <= LINE), "{text}");
    }

    #[test]
    fn long_lines_are_folded_between_letters() {
        let mut file = CalendarFile { text: String::new(), stamp: String::new() };
        let line = format!("SUMMARY:{}", "é".repeat(100));
        file.line(&line);
        assert!(file.text.split("\r\n").all(|line| line.len() <= LINE), "{}", file.text);
        assert_eq!(file.text.replace("\r\n ", "").trim_end(), line);
        assert_eq!(escaped("a;b,c\\d\ne\u{7}"), "a\\;b\\,c\\\\d\\ne");
    }
}
