//! Planning speed: the timetable, and croner called directly on the same expressions.
//!
//! The machine matters more than the code, so read the ratios. Each figure is the best of three runs.
//! croner works in UTC here; the timetable in Europe/London, with the daylight-saving rule included, and in UTC.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use stackcron::schedule::{
    Account, AccountName, CatchUp, Entry, EntryName, Expression, JobUid, Overlap, Priority, QuotaSettings,
    Reserve, Schedule, Shard, StackUid, TokenSource,
};
use stackcron::timetable::{self, Timetable};

/// What people write: every few minutes, daily, weekly, monthly.
const MIX: [&str; 10] = [
    "*/5 * * * *",
    "*/15 9-17 * * MON-FRI",
    "0 * * * *",
    "30 1 * * *",
    "0 0,6,12,18 * * *",
    "15 3 * * SUN",
    "0 4 1 * *",
    "0 5 L * *",
    "0 9 * * MON#1",
    "0 0 1 1 *",
];

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn main() {
    let from: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
    let london = TimeZone::get("Europe/London").expect("a zone");
    println!("A year of 1,000 entries of a mix of expressions");
    let year = from + 365 * DAY;
    let rival = croner(1_000, from, year);
    beside("Europe/London", &whole(&schedule(1_000, &MIX, &london), from, year), &rival);
    beside("UTC", &whole(&schedule(1_000, &MIX, &TimeZone::UTC), from, year), &rival);

    println!("A day of 100,000 entries of the same mix");
    let tomorrow = from + DAY;
    let rival = croner(100_000, from, tomorrow);
    let many = schedule(100_000, &MIX, &london);
    beside("Europe/London", &whole(&many, from, tomorrow), &rival);

    println!("A year of one minutely entry");
    let minutely = &schedule(1, &["* * * * *"], &london).entries[0];
    let run = best(|| timetable::occurrences(minutely, from, year).count());
    println!("  timetable         {}", run.told());

    println!("100,000 entries");
    let build = best(|| Timetable::new(&many, from).next_at().is_some().into());
    println!("  built in          {:.1} ms", build.time.as_secs_f64() * 1e3);
    steps(&london, from);
}

/// A number of occurrences and the time they took.
struct Run {
    occurrences: usize,
    time: Duration,
}

impl Run {
    fn rate(&self) -> f64 {
        self.occurrences as f64 / self.time.as_secs_f64()
    }

    fn told(&self) -> String {
        format!(
            "{:>9} occurrences in {:>8.1} ms: {:>6.2} million a second",
            self.occurrences,
            self.time.as_secs_f64() * 1e3,
            self.rate() / 1e6
        )
    }
}

fn beside(zone: &str, ours: &Run, rival: &Run) {
    println!("  timetable         {}  ({zone})", ours.told());
    println!("  croner            {}  (UTC)", rival.told());
    println!("  ratio             {:.1} times croner's rate", ours.rate() / rival.rate());
}

fn best(mut run: impl FnMut() -> usize) -> Run {
    let runs = (0..3).map(|_| {
        let start = Instant::now();
        let occurrences = black_box(run());
        Run { occurrences, time: start.elapsed() }
    });
    runs.min_by_key(|run| run.time).expect("three runs")
}

/// Building the timetable and stepping through the window, an hour at a step.
fn whole(schedule: &Schedule, from: Timestamp, until: Timestamp) -> Run {
    best(|| {
        let mut timetable = Timetable::new(schedule, from);
        let mut count = 0;
        while timetable.position() < until {
            let end = timetable.position() + SignedDuration::from_hours(1);
            count += black_box(timetable.step(end.min(until))).len();
        }
        count
    })
}

/// croner, one iterator an entry.
fn croner(entries: usize, from: Timestamp, until: Timestamp) -> Run {
    let crons: Vec<croner::Cron> = MIX.iter().map(|text| text.parse().expect("an expression")).collect();
    let at = |at: Timestamp| chrono::DateTime::from_timestamp(at.as_second(), 0).expect("in range");
    let (from, until) = (at(from), at(until));
    best(|| {
        let each = (0..entries).map(|n| {
            let occurrences = crons[n % crons.len()].iter_from(from, croner::Direction::Forward);
            occurrences.take_while(|at| *at < until).map(black_box).count()
        });
        each.sum()
    })
}

/// Steps of a second, of 100,000 entries: with none due, and with ten.
fn steps(zone: &TimeZone, from: Timestamp) {
    // Every entry at a second of the day of its own, ten of them at each.
    let at: Vec<String> =
        (0..10_000).map(|n| format!("{} {} {} * * *", n % 60, n / 60 % 60, n / 3600)).collect();
    let texts: Vec<&str> = at.iter().map(String::as_str).collect();
    let mut timetable = Timetable::new(&schedule(100_000, &texts, zone), from);
    let mut times = Vec::with_capacity(10_000);
    for _ in 0..10_000 {
        let end = timetable.position() + SignedDuration::from_secs(1);
        let start = Instant::now();
        let due = black_box(timetable.step(end));
        times.push(start.elapsed());
        assert_eq!(due.len(), 10, "ten are due in each second");
    }
    percentiles("a step, 10 due", &mut times);
    times.clear();
    for _ in 0..10_000 {
        let end = timetable.position() + SignedDuration::from_secs(1);
        let start = Instant::now();
        let due = black_box(timetable.step(end));
        times.push(start.elapsed());
        assert_eq!(due.len(), 0, "nothing is due after the first 10,000 seconds");
    }
    percentiles("a step, none due", &mut times);
}

fn percentiles(name: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("  {name:17} p50 {:.2} µs, p99 {:.2} µs", at(0.5), at(0.99));
}

fn schedule(entries: usize, texts: &[&str], zone: &TimeZone) -> Schedule {
    let account = Arc::new(Account {
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
    });
    let entry = |n: usize| {
        Arc::new(Entry {
            name: EntryName::new(&format!("entry-{n}")).expect("a name"),
            account: account.clone(),
            stack: StackUid::new("stack").expect("a uid"),
            job: JobUid::new("job").expect("a uid"),
            cron: Box::new([Expression::parse(texts[n % texts.len()]).expect("an expression")]),
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
        })
    };
    Schedule { accounts: vec![account.clone()], entries: (0..entries).map(entry).collect() }
}
