//! iCalendar files (RFC 5545): the days and the times of their events.
//!
//! The parser is `icalendar`'s, recurrences are `rrule`'s. Neither tells where in a file something
//! is wrong, so that the lines are looked at first: each is `NAME:VALUE` or
//! `NAME;PARAMETER=…:VALUE`, and each BEGIN has its END. After that the file as a whole is the
//! parser's, and what is wrong with an event is told at the event's line.
//!
//! An event with dates alone covers whole days of the entry's zone. One with times covers that
//! span: in the zone that is named, in UTC, or by the clocks of the entry's zone where none is.
//! Cancelled events, and those that are marked as free time with TRANSP:TRANSPARENT and a time of
//! day, cover nothing. Holiday feeds mark whole days as free time, and mean the day all the same.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use icalendar::parser::{Component, Property, read_calendar, unfold};
use icalendar::rrule::{RRule, Tz, Unvalidated};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan};

use super::{FileProblem, MOST_PROBLEMS, MOST_SPANS, Spans};
use crate::schedule::place::shown;

/// Components within each other. An alarm in an event in a calendar are three.
const MAX_DEPTH: usize = 8;

/// Repetitions of one event that are looked at. A daily event of 2000 is followed past 2100.
const MOST_REPEATS: usize = 40_000;

/// A repetition that goes on forever is followed to this year at least.
const FAR: i16 = 2100;

const NOT_ICALENDAR: &str = "save the file as an iCalendar file (RFC 5545), as calendar programs export it; a file with a date a line has another ending than .ics";

/// Reads the events of a file.
pub(super) fn read(text: &str) -> Result<Spans, Vec<FileProblem>> {
    let lines = lines(text)?;
    let unfolded = unfold(text);
    let calendar = read_calendar(&unfolded).map_err(|_| {
        // The parser's own words are about its grammar.
        vec![problem(first_line(text), "this is no iCalendar file".into(), NOT_ICALENDAR)]
    })?;
    let mut events = Vec::new();
    collect(&calendar.components, &mut events);
    let starts = lines.iter().filter(|line| line.begins("VEVENT")).map(|line| line.span.clone());
    let mut places = starts.chain(std::iter::repeat(first_line(text)));
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    for event in events {
        let place = places.next().unwrap_or(0..0);
        match CalendarEvent::of(event) {
            Ok(event) => read.extend(event.map(|event| (event, place))),
            Err(Wrong { message, help }) if problems.len() < MOST_PROBLEMS => {
                problems.push(problem(place, message, help));
            }
            Err(_) => {}
        }
    }
    // A single repetition that somebody moved or cancelled is an event of its own.
    let mut moved: HashMap<String, HashSet<DateTime>> = HashMap::new();
    for (event, _) in &read {
        if let Some(instead_of) = event.instead_of {
            moved.entry(event.uid.clone()).or_default().insert(instead_of);
        }
    }
    let mut spans = Spans::default();
    for (event, place) in read {
        let replaced = moved.get(&event.uid).filter(|_| event.instead_of.is_none());
        if let Err(Wrong { message, help }) = event.add_to(&mut spans, replaced) {
            problems.push(problem(place, message, help));
        }
        if spans.len() > MOST_SPANS {
            break;
        }
    }
    if problems.is_empty() { Ok(spans) } else { Err(problems) }
}

fn problem(span: Range<usize>, message: String, help: &str) -> FileProblem {
    FileProblem { span, message, help: help.into() }
}

/// The events, wherever in the file they are.
fn collect<'c, 'i>(components: &'c [Component<'i>], events: &mut Vec<&'c Component<'i>>) {
    for component in components {
        if component.name.as_str().eq_ignore_ascii_case("VEVENT") {
            events.push(component);
        }
        collect(&component.components, events);
    }
}

/// A line of the file, with those that continue it.
struct CalendarLine<'t> {
    span: Range<usize>,
    words: &'t str,
}

impl CalendarLine<'_> {
    fn begins(&self, component: &str) -> bool {
        let value = self.words.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("BEGIN"));
        value.is_some_and(|(_, value)| value.trim().eq_ignore_ascii_case(component))
    }
}

/// Looks at the file line by line, for what the parser would not say where it is.
fn lines(text: &str) -> Result<Vec<CalendarLine<'_>>, Vec<FileProblem>> {
    let (mut lines, mut open): (Vec<CalendarLine<'_>>, Vec<(String, Range<usize>)>) =
        (Vec::new(), Vec::new());
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let words = line.trim_end_matches(['\r', '\n']);
        let span = start..start + words.len();
        start += line.len();
        if words.trim().is_empty() || (words.starts_with([' ', '\t']) && !lines.is_empty()) {
            continue;
        }
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let name = words.split([':', ';']).next().unwrap_or_default();
        if !is_name(name) || !words.contains([':', ';']) {
            let message = "this line is none of an iCalendar file: a line is NAME:VALUE".into();
            return Err(vec![problem(span, message, NOT_ICALENDAR)]);
        }
        let value = words.split_once(':').map_or("", |(_, value)| value).trim().to_ascii_uppercase();
        if lines.is_empty() && !(name.eq_ignore_ascii_case("BEGIN") && value == "VCALENDAR") {
            let message = "an iCalendar file begins with BEGIN:VCALENDAR".into();
            return Err(vec![problem(span, message, NOT_ICALENDAR)]);
        }
        if name.eq_ignore_ascii_case("BEGIN") {
            if open.len() == MAX_DEPTH {
                let message = format!("more than {MAX_DEPTH} components within each other");
                return Err(vec![problem(span, message, "export the calendar anew")]);
            }
            open.push((value, span.clone()));
        } else if name.eq_ignore_ascii_case("END") {
            match open.pop() {
                Some((begun, _)) if begun == value => {}
                begun => {
                    let message = match begun {
                        Some((begun, _)) => format!("END:{} stands where END:{begun} should", shown(&value)),
                        None => format!("END:{} has no BEGIN", shown(&value)),
                    };
                    return Err(vec![problem(
                        span,
                        message,
                        "export the calendar anew: the file is damaged",
                    )]);
                }
            }
        }
        lines.push(CalendarLine { span, words });
    }
    if let Some((begun, span)) = open.pop() {
        let message = format!("BEGIN:{} has no END: the file was cut off", shown(&begun));
        return Err(vec![problem(span, message, "export or download the calendar anew")]);
    }
    if lines.is_empty() {
        return Err(vec![problem(0..0, "the file is empty".into(), NOT_ICALENDAR)]);
    }
    Ok(lines)
}

fn first_line(text: &str) -> Range<usize> {
    0..text.find(['\r', '\n']).unwrap_or(text.len())
}

/// The fault of an event.
struct Wrong {
    message: String,
    help: &'static str,
}

fn wrong<T>(message: String, help: &'static str) -> Result<T, Wrong> {
    Err(Wrong { message, help })
}

/// The clocks that the times of an event refer to.
#[derive(Clone, Debug, PartialEq)]
enum Meant {
    /// Whole days of the entry's zone.
    Days,
    /// The clocks of the entry's zone.
    Local,
    /// The clocks of this zone.
    In(TimeZone),
}

/// An event that covers something, or that stands for a repetition of another.
struct CalendarEvent {
    uid: String,
    start: DateTime,
    lasts: Lasts,
    meant: Meant,
    rule: Option<EventRule>,
    /// Repetitions that are left out.
    without: HashSet<DateTime>,
    /// Repetitions besides those of the rule.
    besides: Vec<DateTime>,
    /// The repetition that it stands for.
    instead_of: Option<DateTime>,
    /// True for an event that covers nothing, as it is marked as free time.
    free: bool,
}

/// The length of an event.
#[derive(Clone, Copy)]
enum Lasts {
    Days(i64),
    Elapsed(SignedDuration),
}

/// The rule by which an event repeats.
struct EventRule {
    rule: RRule<Unvalidated>,
    /// The last instant at which it may begin, in the event's own time.
    until: Option<DateTime>,
    /// True when the rule ends by itself.
    ends: bool,
}

const NO_TIME: &str = "write a date as 20261225, or a time as 20261225T180000Z";

impl CalendarEvent {
    /// `None`: it has no start, so that nothing can be said of it.
    fn of(component: &Component<'_>) -> Result<Option<CalendarEvent>, Wrong> {
        let value = |name: &str| component.find_prop(name).map(|property| property.val.as_str().trim());
        let Some(start) = component.find_prop("DTSTART") else {
            return wrong("this event has no DTSTART".into(), NO_TIME);
        };
        let (start, meant) = time(start)?;
        let lasts = match (component.find_prop("DTEND"), value("DURATION"), &meant) {
            (Some(end), ..) => {
                let (end, end_meant) = time(end)?;
                match (&meant, &end_meant) {
                    (Meant::Days, _) => Lasts::Days(i64::from((end.date() - start.date()).get_days()).max(1)),
                    _ => Lasts::Elapsed(between(start, &meant, end, &end_meant)),
                }
            }
            (None, Some(duration), meant) => match (duration.parse::<Span>(), meant) {
                (Ok(span), Meant::Days) => Lasts::Days(
                    i64::from(span.get_days()).saturating_add(7 * i64::from(span.get_weeks())).max(1),
                ),
                (Ok(span), _) => Lasts::Elapsed(elapsed(span)),
                (Err(_), _) => {
                    return wrong(
                        format!("`{}` is no duration", shown(duration)),
                        "write a duration as PT1H30M",
                    );
                }
            },
            (None, None, Meant::Days) => Lasts::Days(1),
            (None, None, _) => Lasts::Elapsed(SignedDuration::ZERO),
        };
        let rule = value("RRULE").map(|rule| EventRule::of(rule, &meant)).transpose()?;
        let mut without = HashSet::new();
        for property in component.properties.iter().filter(|property| property.name.as_str() == "EXDATE") {
            without.extend(times(property, &meant)?);
        }
        let mut besides = Vec::new();
        for property in component.properties.iter().filter(|property| property.name.as_str() == "RDATE") {
            besides.extend(times(property, &meant)?);
        }
        let instead_of = match component.find_prop("RECURRENCE-ID") {
            Some(property) => times(property, &meant)?.pop(),
            None => None,
        };
        let is = |name: &str, word: &str| value(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let free = is("STATUS", "CANCELLED") || (is("TRANSP", "TRANSPARENT") && meant != Meant::Days);
        let uid = value("UID").unwrap_or_default().to_owned();
        Ok(Some(CalendarEvent { uid, start, lasts, meant, rule, without, besides, instead_of, free }))
    }

    /// Adds what it covers. `replaced` are repetitions that other events stand for.
    fn add_to(&self, spans: &mut Spans, replaced: Option<&HashSet<DateTime>>) -> Result<(), Wrong> {
        if self.free {
            return Ok(());
        }
        let mut starts = match &self.rule {
            Some(rule) => rule.starts(self.start)?,
            None => vec![self.start],
        };
        starts.extend(&self.besides);
        for start in starts {
            if self.without.contains(&start) || replaced.is_some_and(|replaced| replaced.contains(&start)) {
                continue;
            }
            match (self.lasts, &self.meant) {
                (Lasts::Days(days), _) => {
                    let last = start.date().checked_add((days - 1).days()).unwrap_or(Date::MAX);
                    spans.add_days(start.date(), last);
                }
                (Lasts::Elapsed(lasts), Meant::In(zone)) => {
                    if let Ok(from) = zone.to_timestamp(start) {
                        spans.instants.push((from, from.saturating_add(lasts).unwrap_or(Timestamp::MAX)));
                    }
                }
                (Lasts::Elapsed(lasts), Meant::Local | Meant::Days) => {
                    spans.local.push((start, start.saturating_add(lasts)));
                }
            }
            if spans.len() > MOST_SPANS {
                break;
            }
        }
        Ok(())
    }
}

impl EventRule {
    fn of(text: &str, meant: &Meant) -> Result<EventRule, Wrong> {
        const HELP: &str = "write a rule as FREQ=YEARLY, or list the dates";
        let mut until = None;
        let mut parts = Vec::new();
        for part in text.split(';').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((name, value)) if name.eq_ignore_ascii_case("UNTIL") => {
                    let (at, at_meant) = moment(value, None)?;
                    let end_of_day = |at: DateTime| at.date().at(23, 59, 59, 0);
                    until = Some(if at_meant == Meant::Days {
                        end_of_day(at)
                    } else {
                        as_meant(at, &at_meant, meant)
                    });
                }
                _ => parts.push(part),
            }
        }
        let ends =
            until.is_some() || parts.iter().any(|part| part.to_ascii_uppercase().starts_with("COUNT="));
        match parts.join(";").parse::<RRule<Unvalidated>>() {
            Ok(rule) => Ok(EventRule { rule, until, ends }),
            Err(_) => wrong(format!("`{}` is no rule of repetition", shown(text)), HELP),
        }
    }

    /// Returns the beginnings of the event, on its own clocks.
    fn starts(&self, first: DateTime) -> Result<Vec<DateTime>, Wrong> {
        const HELP: &str = "say when it ends with UNTIL, or say what repeats so often with `cron` and `for`";
        // Clocks are left to the event: what repeats does so by the date and time that are written.
        let written = TimeZone::UTC.to_timestamp(first).ok().map(Timestamp::as_second);
        let begin = written.and_then(|second| chrono::DateTime::from_timestamp(second, 0));
        let set = begin.and_then(|begin| self.rule.clone().build(begin.with_timezone(&Tz::UTC)).ok());
        let Some(set) = set else {
            return wrong("the repetition of this event cannot be followed".into(), HELP);
        };
        let at = |second| Timestamp::from_second(second).ok().map(|at| TimeZone::UTC.to_datetime(at));
        let mut starts: Vec<DateTime> = Vec::new();
        for start in set.into_iter().take(MOST_REPEATS) {
            let Some(start) = at(start.timestamp()) else { break };
            if self.until.is_some_and(|until| start > until) {
                return Ok(starts);
            }
            starts.push(start);
            if !self.ends && start.year() > FAR {
                return Ok(starts);
            }
        }
        if starts.len() == MOST_REPEATS {
            return wrong(format!("this event repeats more than {MOST_REPEATS} times"), HELP);
        }
        Ok(starts)
    }
}

/// The one time of a property, and how it is meant.
fn time(property: &Property<'_>) -> Result<(DateTime, Meant), Wrong> {
    let zone = property.params.iter().find(|parameter| parameter.key.as_str().eq_ignore_ascii_case("TZID"));
    moment(property.val.as_str(), zone.and_then(|zone| zone.val.as_ref()).map(|zone| zone.as_str()))
}

/// The times of a property that may have several, in the time of its event.
fn times(property: &Property<'_>, event: &Meant) -> Result<Vec<DateTime>, Wrong> {
    let zone = property.params.iter().find(|parameter| parameter.key.as_str().eq_ignore_ascii_case("TZID"));
    let zone = zone.and_then(|zone| zone.val.as_ref()).map(|zone| zone.as_str());
    // Of a period, only the start counts.
    let each = property.val.as_str().split(',').map(|value| value.split('/').next().unwrap_or(value));
    each.map(|value| moment(value, zone).map(|(at, meant)| as_meant(at, &meant, event))).collect()
}

/// A time as it is written: `20261225`, `20261225T180000` or `20261225T180000Z`.
fn moment(text: &str, zone: Option<&str>) -> Result<(DateTime, Meant), Wrong> {
    let text = text.trim();
    let no_time =
        || Wrong { message: format!("`{}` is neither a date nor a time", shown(text)), help: NO_TIME };
    let digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    let (date, time) = text.split_once(['T', 't']).map_or((text, None), |(date, time)| (date, Some(time)));
    if !digits(date, 8) {
        return Err(no_time());
    }
    let day =
        format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]).parse::<Date>().map_err(|_| no_time())?;
    let Some(time) = time else {
        return Ok((day.at(0, 0, 0, 0), Meant::Days));
    };
    let (time, utc) = time.strip_suffix(['Z', 'z']).map_or((time, false), |time| (time, true));
    if !digits(time, 6) {
        return Err(no_time());
    }
    let number = |part: Range<usize>| time[part].parse::<i8>().map_err(|_| no_time());
    // A leap second is the last second of its minute.
    let (hour, minute, second) = (number(0..2)?, number(2..4)?, number(4..6)?.min(59));
    let at =
        DateTime::new(day.year(), day.month(), day.day(), hour, minute, second, 0).map_err(|_| no_time())?;
    let meant = match (utc, zone) {
        (true, _) => Meant::In(TimeZone::UTC),
        (false, None) => Meant::Local,
        (false, Some(name)) => {
            let name = name.trim_matches('"').trim_start_matches('/');
            match TimeZone::get(name) {
                Ok(zone) => Meant::In(zone),
                Err(_) => {
                    return wrong(
                        format!("`{}` is no time zone", shown(name)),
                        "name a zone of the tz database, as TZID=Europe/London, or write the time in UTC with a Z",
                    );
                }
            }
        }
    };
    Ok((at, meant))
}

/// A time as an event would write it.
fn as_meant(at: DateTime, meant: &Meant, event: &Meant) -> DateTime {
    match (meant, event) {
        (Meant::In(from), Meant::In(to)) if from != to => {
            from.to_timestamp(at).map_or(at, |instant| to.to_datetime(instant))
        }
        (_, Meant::Days) => at.date().at(0, 0, 0, 0),
        _ => at,
    }
}

/// Returns the time from the start of an event to its end.
fn between(start: DateTime, meant: &Meant, end: DateTime, end_meant: &Meant) -> SignedDuration {
    let instants = match (meant, end_meant) {
        (Meant::In(from), Meant::In(to)) => from.to_timestamp(start).ok().zip(to.to_timestamp(end).ok()),
        _ => None,
    };
    let lasts = match instants {
        Some((from, until)) => until.duration_since(from),
        None => end.duration_since(start),
    };
    lasts.max(SignedDuration::ZERO)
}

/// A duration with its days as 24 hours.
fn elapsed(span: Span) -> SignedDuration {
    let days = i64::from(span.get_days()) + 7 * i64::from(span.get_weeks());
    let seconds = i64::from(span.get_hours()) * 3600 + span.get_minutes() * 60 + span.get_seconds();
    SignedDuration::from_secs(seconds.saturating_add(days * 86_400)).max(SignedDuration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(events: &str) -> String {
        format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\n{events}END:VCALENDAR\r\n")
            .replace("\r\n", "\n")
            .replace('\n', "\r\n")
    }

    fn event(lines: &str) -> String {
        format!("BEGIN:VEVENT\n{lines}END:VEVENT\n")
    }

    fn read_all(events: &str) -> (Vec<String>, Vec<String>) {
        let listed = match read(&file(events)) {
            Ok(spans) => spans.listed(),
            Err(problems) => panic!("{problems:?}"),
        };
        let local = listed.local.iter().map(|(from, until)| format!("{from}..{until}")).collect();
        (local, listed.instants.iter().map(|(from, until)| format!("{from}..{until}")).collect())
    }

    #[test]
    fn a_holiday_is_a_whole_day_and_a_range_ends_before_its_end() {
        let (local, instants) = read_all(
            &[
                event("UID:a\nDTSTART;VALUE=DATE:20261225\nSUMMARY:Christmas\n  Day\nTRANSP:TRANSPARENT\n"),
                event("UID:b\nDTSTART;VALUE=DATE:20261231\nDTEND;VALUE=DATE:20270102\n"),
                event("UID:c\nDTSTART;VALUE=DATE:20270301\nSTATUS:CANCELLED\n"),
            ]
            .concat(),
        );
        assert_eq!(
            local,
            ["2026-12-25T00:00:00..2026-12-26T00:00:00", "2026-12-31T00:00:00..2027-01-02T00:00:00"]
        );
        assert!(instants.is_empty(), "{instants:?}");
    }

    #[test]
    fn a_time_is_in_its_zone_or_in_the_entrys() {
        let (local, instants) = read_all(&[
            event("UID:a\nDTSTART;TZID=Europe/London:20260703T180000\nDTEND;TZID=Europe/London:20260706T080000\n"),
            event("UID:b\nDTSTART:20260801T000000Z\nDURATION:PT1H30M\n"),
            event("UID:c\nDTSTART:20260901T220000\nDTEND:20260902T020000\n"),
        ].concat());
        assert_eq!(
            instants,
            ["2026-07-03T17:00:00Z..2026-07-06T07:00:00Z", "2026-08-01T00:00:00Z..2026-08-01T01:30:00Z"]
        );
        assert_eq!(local, ["2026-09-01T22:00:00..2026-09-02T02:00:00"]);
    }

    #[test]
    fn what_repeats_is_followed_but_for_what_is_left_out_or_moved() {
        let (local, _) = read_all(&[
            event("UID:a\nDTSTART;VALUE=DATE:20261225\nRRULE:FREQ=YEARLY;UNTIL=20291225\nEXDATE;VALUE=DATE:20271225\n"),
            event("UID:a\nRECURRENCE-ID;VALUE=DATE:20281225\nDTSTART;VALUE=DATE:20281226\n"),
        ].concat());
        let days: Vec<&str> = local.iter().map(|span| &span[..10]).collect();
        assert_eq!(days, ["2026-12-25", "2028-12-26", "2029-12-25"]);
    }

    #[test]
    fn what_repeats_in_a_zone_keeps_its_time_of_day() {
        let (_, instants) = read_all(&event(
            "UID:a\nDTSTART;TZID=Europe/London:20261023T180000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=2\n",
        ));
        let starts: Vec<&str> = instants.iter().map(|span| &span[..20]).collect();
        assert_eq!(starts, ["2026-10-23T17:00:00Z", "2026-10-30T18:00:00Z"]);
    }

    #[test]
    fn what_repeats_forever_is_followed_for_a_lifetime() {
        let (local, _) = read_all(&event("UID:a\nDTSTART;VALUE=DATE:20201225\nRRULE:FREQ=YEARLY\n"));
        assert!(local.len() > 80 && local.len() < 90, "{}", local.len());
    }

    #[test]
    fn what_is_wrong_is_told_at_its_line() {
        let told = |text: &str| {
            let problems = read(text).map(|_| ()).expect_err("a problem");
            let line = text[..problems[0].span.start].matches('\n').count() + 1;
            format!("{line}: {}", problems[0].message)
        };
        let cut = file(&event("UID:a\nDTSTART;VALUE=DATE:20261225\n"))
            .replace("END:VEVENT\r\nEND:VCALENDAR\r\n", "");
        let bad = [
            told("2026-12-25\n"),
            told(""),
            told(&cut),
            told("BEGIN:VCALENDAR\nEND:VEVENT\n"),
            told(&file(&event("UID:a\nDTSTART;VALUE=DATE:2026-12-25\n"))),
            told(&file(&event("UID:a\n"))),
            told(&file(&event("DTSTART;TZID=Customized Time Zone:20261225T100000\n"))),
            told(&file(&event("DTSTART:20261225\nRRULE:FREQ=SOMETIMES\n"))),
            told(&file(&event("DTSTART:20261225T000000Z\nRRULE:FREQ=SECONDLY\n"))),
            told(&file("no colon here\n")),
        ];
        assert_eq!(
            bad,
            [
                "1: this line is none of an iCalendar file: a line is NAME:VALUE",
                "1: the file is empty",
                "4: BEGIN:VEVENT has no END: the file was cut off",
                "2: END:VEVENT stands where END:VCALENDAR should",
                "4: `2026-12-25` is neither a date nor a time",
                "4: this event has no DTSTART",
                "4: `Customized Time Zone` is no time zone",
                "4: `FREQ=SOMETIMES` is no rule of repetition",
                "4: this event repeats more than 40000 times",
                "4: this line is none of an iCalendar file: a line is NAME:VALUE",
            ]
        );
    }
}
