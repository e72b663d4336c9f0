//! What several daemons on one PostgreSQL cost, and how that grows with members, accounts and entries: commits and bytes of its log
//! a second, CPU of the leader, of another member and of the server, lateness, and how long a start and a takeover take.
//!
//! The same number of occurrences comes due every second, whatever the size. `cargo bench --bench fleet` does all sizes up to 8
//! members, 100 accounts, 100,000 entries, without shards and with seven, in some five minutes; `-- 8 100 100000 7` one of them.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::postgres::Server;
use common::{Daemon, Place, sandbox_with};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;
use stackcron::sandbox::{Settings, Unknown};

/// Members, accounts, entries, named shards.
const SIZES: [[usize; 4]; 6] = [
    [1, 1, 1000, 0],
    [3, 1, 1000, 0],
    [8, 1, 1000, 0],
    [8, 100, 1000, 0],
    [8, 100, 100_000, 0],
    [8, 100, 100_000, 7],
];

/// Members have shared the shards out by then.
const SHARED_OUT: Duration = Duration::from_secs(20);

/// So many are due every second.
const EACH_SECOND: usize = 50;

/// It is watched for so long.
const WATCHED: Duration = Duration::from_secs(20);

fn main() {
    let words: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let Some(server) = Server::start() else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    println!(
        "{:>7} {:>8} {:>7} {:>6}  {:>8} {:>9} {:>7}  {:>7} {:>7} {:>7}  {:>8} {:>8}  {:>8}",
        "members",
        "accounts",
        "entries",
        "shards",
        "start ms",
        "commits/s",
        "kB/s",
        "leader%",
        "other%",
        "server%",
        "p50 ms",
        "p99 ms",
        "over ms"
    );
    let sizes = SIZES.into_iter().filter(|size| words.is_empty() || words == size);
    sizes.for_each(|size| measure(&server, &runtime, size));
}

fn measure(
    server: &Server,
    runtime: &tokio::runtime::Runtime,
    [members, accounts, entries, shards]: [usize; 4],
) {
    let database = server.database();
    let quota = common::quota(10_000_000, Duration::from_secs(3600));
    let settings = Settings { unknown: Unknown::Created, ..common::settings(&[]).quota(quota) };
    let sandbox = runtime.block_on(sandbox_with(settings));
    let text = schedule(&sandbox.url(), accounts, entries, shards);
    let places: Vec<Place> =
        (0..members).map(|_| Place::with(&text).env("STACKCRON_JOURNAL", &server.url(&database))).collect();
    let began = Instant::now();
    let mut leader = places[0].start();
    leader.event("lease.acquired");
    let started = began.elapsed();
    let mut others: Vec<Daemon> = places[1..].iter().map(Place::start).collect();
    for other in &mut others {
        other.event("lease.standby");
    }
    if shards > 0 {
        std::thread::sleep(SHARED_OUT);
    }
    let since = (Timestamp::now() + SignedDuration::from_secs(3)).to_string();
    leader.wait_for("action.started", |line| line["scheduled_at"].as_str() > Some(since.as_str()));

    let all = |server: &Server| {
        let row = server.sql(&database, COUNTERS);
        let counters: Vec<f64> = row.split('|').filter_map(|word| word.parse().ok()).collect();
        (counters[0], counters[1], cpu_of_all(server.id()))
    };
    let (before, begun) = (all(server), Instant::now());
    let cpu_before = (cpu(leader.id()), others.first().map_or(0.0, |other| cpu(other.id())));
    let from = Timestamp::now();
    std::thread::sleep(WATCHED);
    let cpu_after = (cpu(leader.id()), others.first().map_or(0.0, |other| cpu(other.id())));
    let (after, took) = (all(server), begun.elapsed().as_secs_f64());
    let until = Timestamp::now();
    let mark = until.to_string();
    leader.wait_for("action.started", |line| line["sent_at"].as_str() > Some(mark.as_str()));
    others.iter_mut().for_each(Daemon::read);
    let mut lateness: Vec<i64> = [&leader]
        .into_iter()
        .chain(&others)
        .flat_map(|daemon| daemon.events("action.started"))
        .filter(|line| (from..until).contains(&at(line, "sent_at")))
        .filter_map(|line| line["lateness_ms"].as_i64())
        .collect();
    lateness.sort_unstable();
    let share = |part: usize| lateness.get(lateness.len() * part / 100).copied().unwrap_or_default();

    let struck = Timestamp::now();
    leader.signal(Signal::KILL);
    leader.end();
    // With shards, others fire all the time.
    let over = if shards == 0 { take_over(&mut others, struck) } else { None };
    println!(
        "{members:>7} {accounts:>8} {entries:>7} {shards:>6}  {:>8} {:>9.1} {:>7.1}  {:>7.1} {:>7.1} {:>7.1}  {:>8} {:>8}  {:>8}",
        started.as_millis(),
        (after.0 - before.0) / took,
        (after.1 - before.1) / took / 1000.0,
        (cpu_after.0 - cpu_before.0) / took * 100.0,
        (cpu_after.1 - cpu_before.1) / took * 100.0,
        (after.2 - before.2) / took * 100.0,
        share(50),
        share(99),
        over.map_or("-".to_owned(), |over| over.as_millis().to_string()),
    );
    for other in &mut others {
        other.signal(Signal::KILL);
    }
}

/// Commits, and bytes of the log of changes.
const COUNTERS: &str = "
    SELECT xact_commit, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')
    FROM pg_stat_database WHERE datname = current_database()";

/// Waits until one of them has sent what the leader before did not. How long that took.
fn take_over(others: &mut [Daemon], struck: Timestamp) -> Option<SignedDuration> {
    if others.is_empty() {
        return None;
    }
    loop {
        for other in &mut *others {
            other.read();
            let first = other.log.iter().find(|line| line["event"] == "action.started");
            if let Some(line) = first {
                return Some(at(line, "sent_at").duration_since(struck));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn at(line: &Value, key: &str) -> Timestamp {
    line[key].as_str().and_then(|at| at.parse().ok()).expect("an instant")
}

/// The first thousand entries are due three times a minute, as many every second; the others once a year.
fn schedule(url: &str, accounts: usize, entries: usize, shards: usize) -> String {
    let mut text = "accounts:\n".to_owned();
    for account in 0..accounts {
        let shard = match account % (shards + 1) {
            0 => String::new(),
            shard => format!(", shard: s{shard}"),
        };
        text += &format!("  a{account}: {{ url: '{url}', token: {{ env: TOKEN }}, timeout: 5s{shard} }}\n");
    }
    text += "defaults: { follow: false, catch_up: all }\njobs:\n";
    for of in 0..entries {
        let second = of / EACH_SECOND;
        let cron = match second < 20 {
            true => format!("{second}-59/20 * * * * *"),
            false => "@yearly".to_owned(),
        };
        text +=
            &format!("  e{of}: {{ stack: s1, job: j{of}, account: a{}, cron: '{cron}' }}\n", of % accounts);
    }
    text
}

/// Seconds of CPU that a process has used, with those that were its children.
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12) + ticks(13) + ticks(14)) / 100.0
}

/// The same of a server: its first process, and those that it has started.
fn cpu_of_all(first: u32) -> f64 {
    let children =
        std::fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
    cpu(first) + children.split_whitespace().filter_map(|id| id.parse().ok()).map(cpu).sum::<f64>()
}
