//! Occurrences in a window of time.

mod exclusion;
mod explain;
mod search;
mod shift;
mod stretch;
mod transition;
pub mod tz;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::schedule::{Entry, Schedule};
pub use exclusion::{Exclusion, excluded};
pub use explain::{Explanation, ExpressionReport, FieldReport, explain, zone_name};
pub use shift::{Shift, shift};
use stretch::ZoneStretches;
pub use transition::{ZoneTransition, transitions};

/// One instant at which an entry is due.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// The entry that is due.
    pub entry: Arc<Entry>,
    /// The instant its cron expression names, before the entry's own delay. A whole second.
    pub scheduled_at: Timestamp,
    /// Number of times that the clock was set back over this instant before the occurrence. 0: the
    /// first time through the instant.
    pub pass: u32,
}

/// The occurrences of a whole schedule in the order of time. A step costs what is due, not what
/// exists.
#[derive(Debug)]
pub struct Timetable {
    /// The entries in the file's order.
    rows: Vec<Row>,
    /// The offsets of each zone of the schedule.
    lines: Vec<ZoneStretches>,
    /// The next instant of each row, with the row's place; rows that are never due again have none.
    upcoming: BinaryHeap<Reverse<(Timestamp, u32)>>,
    position: Timestamp,
}

#[derive(Debug)]
struct Row {
    entry: Arc<Entry>,
    /// Index into `lines` of the entry's zone.
    line: u32,
}

impl Timetable {
    /// Begins at `from`: the first step yields what is due from then on.
    pub fn new(schedule: &Schedule, from: Timestamp) -> Timetable {
        let mut lines: Vec<ZoneStretches> = Vec::new();
        let mut rows = Vec::with_capacity(schedule.entries.len());
        let mut upcoming = Vec::with_capacity(schedule.entries.len());
        // Neighbours in a file mostly share a zone.
        let mut line = 0;
        for (place, entry) in (0..).zip(&schedule.entries) {
            if lines.get(line).is_none_or(|line| *line.zone() != entry.timezone) {
                line = lines.iter().position(|line| *line.zone() == entry.timezone).unwrap_or_else(|| {
                    lines.push(ZoneStretches::new(&entry.timezone));
                    lines.len() - 1
                });
            }
            if let Some(at) = next_on(&mut lines[line], entry, from) {
                upcoming.push(Reverse((at, place)));
            }
            rows.push(Row { entry: entry.clone(), line: line as u32 });
        }
        Timetable { rows, lines, upcoming: upcoming.into(), position: from }
    }

    /// The occurrences with position <= scheduled_at < `until`, by (scheduled_at, place in the
    /// file); `until` is the position then. It never moves back: an `until` that is past yields
    /// nothing.
    pub fn step(&mut self, until: Timestamp) -> Vec<Occurrence> {
        let mut due = Vec::new();
        while let Some(mut top) = self.upcoming.peek_mut() {
            let Reverse((at, place)) = *top;
            if at >= until {
                break;
            }
            let row = &self.rows[place as usize];
            due.push(Occurrence { entry: row.entry.clone(), scheduled_at: at, pass: 0 });
            let line = &mut self.lines[row.line as usize];
            match after(at).and_then(|from| next_on(line, &row.entry, from)) {
                Some(next) => *top = Reverse((next, place)),
                None => {
                    std::collections::binary_heap::PeekMut::pop(top);
                }
            }
        }
        self.position = self.position.max(until);
        due
    }

    /// Begins anew at an instant that may be before its position.
    pub fn go_back(&mut self, from: Timestamp) {
        self.lines = self.lines.iter().map(|line| ZoneStretches::new(line.zone())).collect();
        let mut upcoming = Vec::with_capacity(self.rows.len());
        for (place, row) in (0..).zip(&self.rows) {
            if let Some(at) = next_on(&mut self.lines[row.line as usize], &row.entry, from) {
                upcoming.push(Reverse((at, place)));
            }
        }
        (self.upcoming, self.position) = (upcoming.into(), from);
    }

    /// The instant of the next occurrence at or after the position.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.upcoming.peek().map(|Reverse((at, _))| *at)
    }

    /// The entries that are due next, each with its instant, in order: at most so many. It costs
    /// what is asked for, and not what exists.
    pub fn soonest(&self, most: usize) -> Vec<(&Arc<Entry>, Timestamp)> {
        // A heap in an array: what stands at n comes before what stands at 2n + 1 and 2n + 2.
        let heap = self.upcoming.as_slice();
        let mut edge: BinaryHeap<_> = heap.first().map(|&first| (first, 0)).into_iter().collect();
        let mut soonest = Vec::new();
        while soonest.len() < most
            && let Some((Reverse((at, place)), n)) = edge.pop()
        {
            soonest.push((&self.rows[place as usize].entry, at));
            edge.extend([2 * n + 1, 2 * n + 2].into_iter().filter_map(|n| Some((*heap.get(n)?, n))));
        }
        soonest
    }

    /// Returns the number of entries in the timetable.
    pub fn entries(&self) -> usize {
        self.rows.len()
    }

    /// Returns the instant at which the next step begins.
    pub fn position(&self) -> Timestamp {
        self.position
    }
}

/// The first occurrence of an entry at or after an instant.
pub fn next(entry: &Entry, from: Timestamp) -> Option<Timestamp> {
    next_on(&mut ZoneStretches::new(&entry.timezone), entry, from)
}

/// Returns true when every expression of the entry that is due at this instant is free of `*` in
/// minute and hour.
pub fn is_appointment(entry: &Entry, at: Timestamp) -> bool {
    let mut line = ZoneStretches::new(&entry.timezone);
    let mut elapsing = entry.cron.iter().filter(|expression| search::follows_elapsed_time(expression));
    !elapsing.any(|expression| search::next(expression, &mut line, at) == Some(at))
}

/// The last occurrence of an entry before an instant.
pub fn previous(entry: &Entry, until: Timestamp) -> Option<Timestamp> {
    let mut line = ZoneStretches::new(&entry.timezone);
    entry.cron.iter().filter_map(|expression| search::previous(expression, &mut line, until)).max()
}

/// The occurrences of an entry with `from` <= scheduled_at < `until`, in order.
pub fn occurrences(
    entry: &Entry,
    from: Timestamp,
    until: Timestamp,
) -> impl Iterator<Item = Timestamp> + use<'_> {
    let mut line = ZoneStretches::new(&entry.timezone);
    let mut from = Some(from);
    std::iter::from_fn(move || {
        let at = next_on(&mut line, entry, from?).filter(|at| *at < until);
        from = at.and_then(after);
        at
    })
}

/// The first instant with `from` <= at < `until` at which two entries are both due. Each search
/// takes one from `searches`; when none is left, there is none to be found.
pub fn coincidence(
    one: &Entry,
    other: &Entry,
    from: Timestamp,
    until: Timestamp,
    searches: &mut usize,
) -> Option<Timestamp> {
    let (mut line, mut other_line) = (ZoneStretches::new(&one.timezone), ZoneStretches::new(&other.timezone));
    let mut from = from;
    while *searches > 0 {
        *searches -= 1;
        let at = next_on(&mut line, one, from)?;
        from = next_on(&mut other_line, other, at).filter(|at| *at < until)?;
        if from == at {
            return Some(at);
        }
    }
    None
}

fn next_on(line: &mut ZoneStretches, entry: &Entry, from: Timestamp) -> Option<Timestamp> {
    entry.cron.iter().filter_map(|expression| search::next(expression, line, from)).min()
}

/// The second after an occurrence.
fn after(at: Timestamp) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_secs(1)).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;
    use crate::schedule::*;

    /// An entry that is due by these expressions.
    pub(crate) fn entry(name: &str, zone: &str, cron: &[&str]) -> Arc<Entry> {
        let account = Account {
            name: AccountName::new("main").expect("a name"),
            url: "https://app.cloud66.com/api/3".parse().expect("an address"),
            token: TokenSource::Env("TOKEN".into()),
            timeout: Duration::from_secs(30),
            shard: crate::schedule::Shard::Common,
            args_in: ArgsIn::Query,
            organization: None,
            quota: QuotaSettings {
                limit: 3600,
                window: Duration::from_secs(3600),
                reserve: Reserve::Percent(5.0),
            },
        };
        Arc::new(Entry {
            name: EntryName::new(name).expect("a name"),
            account: Arc::new(account),
            stack: StackUid::new("s").expect("a uid"),
            job: JobUid::new("j").expect("a uid"),
            cron: cron.iter().map(|text| Expression::parse(text).expect("an expression")).collect(),
            timezone: TimeZone::get(zone).expect("a zone"),
            after: None,
            retry: None,
            args: None,
            args_template: None,
            overlap: Overlap::Allow,
            catch_up: CatchUp::Latest,
            start_deadline: Duration::from_secs(3600),
            jitter: Duration::ZERO,
            priority: Priority::Normal,
            idempotent: false,
            follow: true,
            paused: false,
            stack_state: crate::schedule::StackState::Ignore,
            notify: None,
            not_on: Box::default(),
            expect: None,
        })
    }

    fn schedule(entries: &[Arc<Entry>]) -> Schedule {
        Schedule {
            accounts: entries.iter().map(|entry| entry.account.clone()).collect(),
            entries: entries.to_vec(),
        }
    }

    pub(crate) fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn times(zone: &str, cron: &[&str], from: &str, until: &str) -> Vec<String> {
        occurrences(&entry("e", zone, cron), at(from), at(until)).map(|at| at.to_string()).collect()
    }

    #[test]
    fn an_appointment_in_the_skipped_hour_runs_once_at_its_end() {
        let day = ("2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z");
        let end_of_gap = ["2026-03-29T01:00:00Z"];
        assert_eq!(times("Europe/London", &["30 1 * * *"], day.0, day.1), end_of_gap);
        assert_eq!(times("Europe/London", &["0,15,45 1 * * *"], day.0, day.1), end_of_gap);
        assert_eq!(times("Europe/London", &["15 1 * * *", "0 2 * * *"], day.0, day.1), end_of_gap);
        assert_eq!(
            times("Europe/London", &["30 1,3 * * *"], day.0, day.1),
            ["2026-03-29T01:00:00Z", "2026-03-29T02:30:00Z"]
        );
    }

    #[test]
    fn an_appointment_in_the_repeated_hour_runs_the_first_time() {
        assert_eq!(
            times("Europe/London", &["0 1,2,3 * * *"], "2026-10-25T00:00:00Z", "2026-10-25T04:00:00Z"),
            ["2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"]
        );
    }

    #[test]
    fn a_wildcard_follows_elapsed_time() {
        assert_eq!(
            times("Europe/London", &["*/30 * * * *"], "2026-10-25T00:00:00Z", "2026-10-25T02:01:00Z").len(),
            5
        );
        assert_eq!(
            times("Europe/London", &["30 * * * *"], "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]
        );
        assert_eq!(
            times("Europe/London", &["*/30 1 * * *"], "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn lord_howe_moves_by_half_an_hour() {
        assert_eq!(
            times("Australia/Lord_Howe", &["15 2 * * *"], "2026-10-03T14:00:00Z", "2026-10-04T13:00:00Z"),
            ["2026-10-03T15:30:00Z"]
        );
        assert_eq!(
            times("Australia/Lord_Howe", &["45 1 * * *"], "2026-04-04T13:00:00Z", "2026-04-05T13:00:00Z"),
            ["2026-04-04T14:45:00Z"]
        );
    }

    #[test]
    fn the_skipped_day_of_apia_is_made_up_for_at_its_end() {
        assert_eq!(
            times("Pacific/Apia", &["30 1,9 * * *"], "2011-12-30T00:00:00Z", "2011-12-31T00:00:00Z"),
            ["2011-12-30T10:00:00Z", "2011-12-30T11:30:00Z", "2011-12-30T19:30:00Z"]
        );
    }

    #[test]
    fn what_was_kept_before_two_transitions_in_a_row_is_not_kept_again() {
        // On 10 April the clocks go from 03:00 back to 01:00, and half an hour later from 01:30 on
        // to 03:30.
        let zone = TimeZone::posix("AAA0BBB2,J100/3,J100/1:30").expect("a zone");
        let entry =
            Entry { timezone: zone, ..Entry::clone(&entry("e", "UTC", &["0 2 * * *", "15 1 * * *"])) };
        let (from, until) = (at("2026-04-10T00:00:00Z"), at("2026-04-11T00:00:00Z"));
        let times: Vec<String> = occurrences(&entry, from, until).map(|at| at.to_string()).collect();
        assert_eq!(times, ["2026-04-10T01:15:00Z", "2026-04-10T02:00:00Z"]);
    }

    #[test]
    fn steps_past_the_hour_are_counted_from_midnight_utc_in_every_zone() {
        for text in ["*/90 * * * *", "x/90 * * * *"] {
            assert_eq!(
                times("Asia/Kolkata", &[text], "2026-05-01T21:30:01Z", "2026-05-02T03:00:00Z"),
                ["2026-05-01T22:30:00Z", "2026-05-02T00:00:00Z", "2026-05-02T01:30:00Z"]
            );
        }
    }

    #[test]
    fn a_step_is_ordered_by_time_and_then_by_place() {
        let entries = [entry("b", "UTC", &["*/2 * * * *"]), entry("a", "Europe/London", &["* * * * *"])];
        let mut timetable = Timetable::new(&schedule(&entries), at("2026-01-01T00:00:00Z"));
        let mut names = |until| {
            timetable
                .step(at(until))
                .iter()
                .map(|o| format!("{}{}", o.entry.name, o.scheduled_at.as_second() / 60 % 60))
                .collect::<Vec<_>>()
        };
        assert_eq!(names("2026-01-01T00:02:00Z"), ["b0", "a0", "a1"]);
        assert_eq!(names("2026-01-01T00:01:00Z"), [""; 0]);
        assert_eq!(names("2026-01-01T00:03:00Z"), ["b2", "a2"]);
    }

    #[test]
    fn two_entries_coincide_where_both_are_due() {
        let one = entry("one", "Europe/London", &["0 9 * * MON"]);
        let other = entry("other", "UTC", &["0 */4 1 * *"]);
        let (from, until) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        // The first Monday that is a first of the month with 09:00 in London at 08:00 UTC.
        let found = coincidence(&one, &other, from, until, &mut 100);
        assert_eq!(found, Some(at("2026-06-01T08:00:00Z")));
        assert_eq!(coincidence(&one, &other, from, at("2026-06-01T08:00:00Z"), &mut 100), None);
        assert_eq!(coincidence(&one, &other, from, until, &mut 1), None);
    }

    #[test]
    fn the_ends_of_time_are_no_trouble() {
        let entry = entry("e", "Pacific/Auckland", &["* * * * * *", "0 0 29 2 *"]);
        assert_eq!(previous(&entry, Timestamp::MIN), None);
        assert!(next(&entry, Timestamp::MIN).is_some());
        assert!(previous(&entry, Timestamp::MAX).is_some());
        assert_eq!(next(&entry, Timestamp::MAX), None);
        let last_minute = after(Timestamp::MAX.checked_sub(SignedDuration::from_secs(61)).expect("in range"));
        let seconds = occurrences(&entry, last_minute.expect("in range"), Timestamp::MAX).count();
        assert!((59..=61).contains(&seconds), "one a second to the end of time, found {seconds}");
    }

    proptest! {
        #[test]
        fn previous_undoes_next(second in -2_000_000_000_i64..4_000_000_000, which in 0..5_usize) {
            let cron = ["30 1 * * *", "*/20 * * * *", "0 2 L * *", "5 0,1,2 * * SUN", "0 1-3 1,15 * MON"][which];
            let entry = entry("e", "Europe/London", &[cron]);
            let from = Timestamp::from_second(second).expect("in range");
            let next = next(&entry, from).expect("due again");
            prop_assert_eq!(previous(&entry, after(next).expect("in range")), Some(next));
            prop_assert!(previous(&entry, next).is_none_or(|at| at < from));
        }
    }

    proptest! {
        #[test]
        fn the_soonest_are_found_without_walking_through_all(
            minutes in proptest::collection::vec(0..60u8, 1..80),
            steps in 0..90i64,
            most in 0..20usize,
        ) {
            let expressions: Vec<String> = minutes.iter().map(|minute| format!("{minute} * * * *")).collect();
            let entries: Vec<_> =
                expressions.iter().enumerate().map(|(n, cron)| entry(&format!("e{n}"), "UTC", &[cron])).collect();
            let start: Timestamp = "2026-03-01T00:00:00Z".parse().expect("an instant");
            let mut timetable = Timetable::new(&schedule(&entries), start);
            let position = start + SignedDuration::from_mins(steps);
            timetable.step(position);
            let mut all: Vec<Timestamp> =
                entries.iter().filter_map(|entry| next(entry, position)).collect();
            all.sort_unstable();
            all.truncate(most);
            let soonest = timetable.soonest(most);
            let found: Vec<Timestamp> = soonest.iter().map(|&(_, at)| at).collect();
            prop_assert_eq!(found, all);
            for (entry, at) in soonest {
                prop_assert_eq!(next(entry, position), Some(at));
            }
        }
    }
}
