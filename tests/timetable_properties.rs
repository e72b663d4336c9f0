//! The timetable against a slow and obvious reference, in every zone there is.
//!
//! The reference walks through time minute by minute, as a person would watch a clock on the wall. It knows
//! nothing of transitions: it looks at what the clock shows, and remembers the latest time that it has shown.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stackcron::schedule::{
    Account, AccountName, CatchUp, Entry, EntryName, Expression, JobUid, Overlap, Priority, QuotaSettings,
    Reserve, Schedule, Shard, StackUid, TokenSource,
};
use stackcron::timetable::{self, Timetable};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// The years that every zone is tried in.
const FIRST: Timestamp = Timestamp::UNIX_EPOCH;
const LAST: Timestamp = Timestamp::constant(4_102_444_800, 0);

/// One field, drawn: its text and the values it stands for.
#[derive(Clone, Debug)]
struct Drawn {
    text: String,
    values: BTreeSet<i8>,
}

/// An expression, drawn, with its meaning beside its text.
#[derive(Clone, Debug)]
struct Spec {
    minute: Drawn,
    hour: Drawn,
    month_day: Drawn,
    month: Drawn,
    weekday: Drawn,
}

impl Spec {
    fn text(&self) -> String {
        let fields = [&self.minute, &self.hour, &self.month_day, &self.month, &self.weekday];
        fields.map(|field| field.text.as_str()).join(" ")
    }

    fn matches(&self, civil: DateTime) -> bool {
        let by_number = self.month_day.values.contains(&civil.day());
        let by_weekday = self.weekday.values.contains(&civil.weekday().to_sunday_zero_offset());
        let both = self.month_day.text.starts_with('*') || self.weekday.text.starts_with('*');
        let day = if both { by_number && by_weekday } else { by_number || by_weekday };
        civil.second() == 0
            && self.minute.values.contains(&civil.minute())
            && self.hour.values.contains(&civil.hour())
            && self.month.values.contains(&civil.month())
            && day
    }

    fn keeps_appointments(&self) -> bool {
        !self.minute.text.contains('*') && !self.hour.text.contains('*')
    }

    /// What is due from `from` on, as the clock on the wall tells it.
    fn reference(&self, watch: &[(Timestamp, DateTime)], from: Timestamp) -> Vec<Timestamp> {
        let mut latest = watch.first().expect("a watch is not empty").1;
        let mut due = Vec::new();
        for &(at, now) in &watch[1..] {
            let is_due = match self.keeps_appointments() {
                false => self.matches(now),
                true if now <= latest => false,
                true => minutes_after(latest)
                    .take_while(|minute| *minute <= now)
                    .any(|minute| self.matches(minute)),
            };
            if is_due && at >= from {
                due.push(at);
            }
            latest = latest.max(now);
        }
        due
    }
}

/// What a clock in the zone shows, looked at every minute; twice a minute where it is half a minute off, as
/// Monrovia's was until 1972.
fn watch(zone: &TimeZone, from: Timestamp, until: Timestamp) -> Vec<(Timestamp, DateTime)> {
    let whole =
        [from, until].iter().all(|at| (at.as_second() + i64::from(zone.to_offset(*at).seconds())) % 60 == 0);
    let step = if whole { MINUTE } else { SignedDuration::from_secs(30) };
    std::iter::successors(Some(from - step), |at| Some(*at + step))
        .take_while(|at| *at < until)
        .map(|at| (at, zone.to_datetime(at)))
        .collect()
}

/// The whole minutes after a civil time.
fn minutes_after(civil: DateTime) -> impl Iterator<Item = DateTime> {
    let whole = civil - SignedDuration::from_secs(civil.second().into());
    std::iter::successors(Some(whole + MINUTE), |minute| Some(*minute + MINUTE))
}

fn field(low: i8, high: i8) -> impl Strategy<Value = Drawn> {
    let of = |text: String, values: Vec<i8>| Drawn { text, values: values.into_iter().collect() };
    prop_oneof![
        Just(of("*".into(), (low..=high).collect())),
        (1..=high)
            .prop_map(move |step| of(format!("*/{step}"), (low..=high).step_by(step as usize).collect())),
        prop::collection::btree_set(low..=high, 1..5).prop_map(move |values| {
            let words: Vec<String> = values.iter().map(i8::to_string).collect();
            of(words.join(","), values.into_iter().collect())
        }),
        (low..=high, low..=high, 1..=high).prop_map(move |(a, b, step)| {
            let (a, b) = (a.min(b), a.max(b));
            of(format!("{a}-{b}/{step}"), (a..=b).step_by(step as usize).collect())
        }),
    ]
}

/// Mostly narrow in the hours and wide in the days, so that a window of some days has occurrences.
fn spec() -> impl Strategy<Value = Spec> {
    let any_day = |low: i8, high: i8| {
        let all = Just(Drawn { text: "*".into(), values: (low..=high).collect() });
        prop_oneof![3 => all, 1 => field(low, high)]
    };
    let fields = (field(0, 59), field(0, 23), any_day(1, 31), any_day(1, 12), any_day(0, 6));
    fields.prop_map(|(minute, hour, month_day, month, weekday)| Spec {
        minute,
        hour,
        month_day,
        month,
        weekday,
    })
}

fn drawn(text: &str, values: impl IntoIterator<Item = i8>) -> Drawn {
    Drawn { text: text.into(), values: values.into_iter().collect() }
}

/// Every day, at these minutes and hours.
fn daily(minute: Drawn, hour: Drawn) -> Spec {
    Spec {
        minute,
        hour,
        month_day: drawn("*", 1..=31),
        month: drawn("*", 1..=12),
        weekday: drawn("*", 0..=6),
    }
}

fn entry(name: &str, zone: &TimeZone, texts: &[String]) -> Option<Arc<Entry>> {
    let account = Account {
        name: AccountName::new("main").expect("a name"),
        url: "https://app.cloud66.com/api/3".parse().expect("an address"),
        token: TokenSource::Env("TOKEN".into()),
        timeout: Duration::from_secs(30),
        shard: Shard::Common,
        quota: QuotaSettings {
            limit: 3600,
            window: Duration::from_secs(3600),
            reserve: Reserve::Percent(5.0),
        },
    };
    let cron: Result<Vec<Expression>, _> = texts.iter().map(|text| Expression::parse(text)).collect();
    Some(Arc::new(Entry {
        name: EntryName::new(name).expect("a name"),
        account: Arc::new(account),
        stack: StackUid::new("stack").expect("a uid"),
        job: JobUid::new("job").expect("a uid"),
        // A drawn expression may be one that never comes due, as `0 0 30 2 *`.
        cron: cron.ok()?.into(),
        timezone: zone.clone(),
        args: None,
        overlap: Overlap::Allow,
        catch_up: CatchUp::Latest,
        start_deadline: Duration::from_secs(3600),
        jitter: Duration::ZERO,
        priority: Priority::Normal,
        idempotent: false,
        follow: true,
        paused: false,
        notify: None,
    }))
}

fn zone_names() -> Vec<String> {
    let names = jiff::tz::db().available().map(|name| name.to_string());
    names.filter(|name| !name.starts_with("right/") && !name.starts_with("posix/")).collect()
}

/// A zone and an instant near one of its transitions, where it has any.
fn place() -> impl Strategy<Value = (TimeZone, Timestamp)> {
    let names = zone_names();
    let seconds = FIRST.as_second()..LAST.as_second();
    (prop::sample::select(names), seconds, -30_i64..30).prop_map(|(name, second, hours)| {
        let zone = TimeZone::get(&name).expect("a zone");
        let near = Timestamp::from_second(second - second.rem_euclid(60)).expect("in range");
        let transition = zone.following(near).next().map(|transition| transition.timestamp());
        let around = transition.filter(|at| *at < LAST && at.as_second() % 30 == 0).unwrap_or(near);
        (zone, around + SignedDuration::from_hours(hours))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_timetable_says_what_the_clock_on_the_wall_says((zone, from) in place(), spec in spec()) {
        let Some(entry) = entry("e", &zone, &[spec.text()]) else { return Ok(()) };
        let until = from + 40 * HOUR;
        let found: Vec<Timestamp> = timetable::occurrences(&entry, from, until).collect();
        let watched = watch(&zone, from - 60 * HOUR, until);
        prop_assert_eq!(found, spec.reference(&watched, from), "{} in {:?}", spec.text(), zone);
    }

    #[test]
    fn a_window_is_the_sum_of_its_parts(
        (zone, from) in place(),
        specs in prop::collection::vec(spec(), 1..4),
        cut in 0_i64..48 * 3600,
    ) {
        let texts: Vec<String> = specs.iter().map(Spec::text).collect();
        let Some(first) = entry("first", &zone, &texts) else { return Ok(()) };
        let Some(second) = entry("second", &TimeZone::UTC, &texts[..1]) else { return Ok(()) };
        let schedule = Schedule { accounts: vec![first.account.clone()], entries: vec![first.clone(), second.clone()] };
        let (cut, until) = (from + SignedDuration::from_secs(cut), from + 48 * HOUR);
        let whole = Timetable::new(&schedule, from).step(until);
        let mut cut_in_two = Timetable::new(&schedule, from);
        let mut parts = cut_in_two.step(cut);
        prop_assert!(parts.iter().all(|o| o.scheduled_at < cut), "a step ends before its end");
        prop_assert!(cut_in_two.next_at().is_none_or(|at| at >= cut), "what is before the cut has been yielded");
        parts.extend(Timetable::new(&schedule, cut).step(until));
        let key = |o: &timetable::Occurrence| (o.scheduled_at, o.entry.name.as_str() == "second");
        let keys: Vec<_> = whole.iter().map(key).collect();
        prop_assert_eq!(&keys, &parts.iter().map(key).collect::<Vec<_>>());
        prop_assert!(keys.is_sorted_by(|a, b| a < b), "by time, then by place, each once");
        for entry in [&first, &second] {
            let alone: Vec<Timestamp> = timetable::occurrences(entry, from, until).collect();
            let together = whole.iter().filter(|o| o.entry.name == entry.name).map(|o| o.scheduled_at);
            prop_assert_eq!(alone, together.collect::<Vec<_>>());
        }
    }

    #[test]
    fn to_look_back_finds_what_was_ahead((zone, from) in place(), spec in spec()) {
        let Some(entry) = entry("e", &zone, &[spec.text()]) else { return Ok(()) };
        let until = from + 30 * HOUR;
        let ahead: Vec<Timestamp> = timetable::occurrences(&entry, from, until).collect();
        let mut back = Vec::new();
        let mut before = until;
        while let Some(at) = timetable::previous(&entry, before).filter(|at| *at >= from) {
            back.push(at);
            before = at;
        }
        back.reverse();
        prop_assert_eq!(ahead, back);
    }

    #[test]
    fn an_explanation_has_the_timetable_s_verdict(
        (zone, from) in place(),
        spec in spec(),
        second in 0_i64..3600,
    ) {
        let Some(entry) = entry("e", &zone, &[spec.text()]) else { return Ok(()) };
        let until = from + 30 * HOUR;
        for at in timetable::occurrences(&entry, from, until).take(20) {
            let told = timetable::explain(&entry, at);
            prop_assert!(told.due, "{} at {at}: {told:?}", spec.text());
            let shown = zone.to_datetime(at);
            let moved = matches!(told.shift, Some(timetable::Shift::AfterGap { .. }));
            prop_assert!(moved || spec.matches(shown), "{} is due at {shown} without a match", spec.text());
        }
        let at = from + SignedDuration::from_secs(second);
        let told = timetable::explain(&entry, at);
        prop_assert_eq!(told.due, timetable::next(&entry, at) == Some(at));
        prop_assert_eq!(told.next, timetable::next(&entry, at + SignedDuration::from_secs(1)));
        prop_assert_eq!(told.previous, timetable::previous(&entry, at));
    }
}

/// Every transition of every zone from 1970 to 2099, each kind of it once: those that come at the same instant
/// with the same offsets are the same.
#[test]
fn every_transition_of_every_zone_is_read_as_the_clock_on_the_wall_shows_it() {
    let specs = [
        daily(drawn("0,20,30,45", [0, 20, 30, 45]), drawn("0-23", 0..=23)),
        daily(drawn("10", [10]), drawn("0,1,2,3,23", [0, 1, 2, 3, 23])),
        daily(drawn("*/15", [0, 15, 30, 45]), drawn("*", 0..=23)),
        daily(drawn("5", [5]), drawn("*/2", (0..24).step_by(2))),
    ];
    let mut seen = HashSet::new();
    let mut faults = Vec::new();
    for name in zone_names() {
        let zone = TimeZone::get(&name).expect("a zone");
        let entries =
            specs.each_ref().map(|spec| entry("e", &zone, &[spec.text()]).expect("due at some time"));
        let mut before = FIRST - 72 * HOUR;
        for transition in
            zone.following(FIRST).map(|transition| transition.timestamp()).take_while(|at| *at < LAST)
        {
            // Another transition less than three days before may matter; most often there is none.
            let close = transition.duration_since(before) < 72 * HOUR;
            before = transition;
            let offsets = [transition - MINUTE, transition].map(|at| zone.to_offset(at).seconds());
            if offsets[0] == offsets[1] || !seen.insert((transition, offsets, close.then(|| name.clone()))) {
                continue;
            }
            let again = SignedDuration::from_secs(i64::from((offsets[0] - offsets[1]).max(0)));
            let (from, until) = (transition - again - HOUR, transition + again + HOUR);
            let lead = if close { from - 72 * HOUR } else { from };
            let watched = watch(&zone, lead, until);
            for (spec, entry) in specs.iter().zip(&entries) {
                let found: Vec<Timestamp> = timetable::occurrences(entry, from, until).collect();
                let expected = spec.reference(&watched, from);
                if found != expected {
                    faults.push(format!(
                        "{name} {} {transition}:\n  {found:?}\n  expected {expected:?}",
                        spec.text()
                    ));
                }
            }
        }
    }
    assert!(seen.len() > 1000, "the tz database is there: {} transitions", seen.len());
    assert!(faults.is_empty(), "{} transitions fail:\n{}", faults.len(), faults.join("\n"));
}
