//! How cost grows with entries and accounts: time and memory of a start, of standing idle, of
//! `check`, of a reload and of a burst.
//!
//! The real binary, as `stackcron run` starts it. Its start is over with the first sweep, which is
//! when the journal has a cursor: by then the file is read, validated and linted, and every entry's
//! next instant is known. The exponent says how a figure grows: 1 is in proportion to the entries,
//! 0 not at all. `cargo bench --bench growth` takes some ten minutes; `-- 1000 100000` measures
//! these numbers of entries alone, with one account.

#[allow(dead_code, reason = "each bench uses a part")]
mod daemon;
#[path = "../lateness/server.rs"]
#[allow(dead_code, reason = "each bench uses a part")]
mod server;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;

use daemon::Daemon;
use server::Server;

/// Numbers of entries, of one account.
const ENTRIES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Numbers of accounts, of so many entries.
const ACCOUNTS: [usize; 3] = [1, 10, 100];
const ENTRIES_OF_ACCOUNTS: usize = 100_000;

/// Entries that are due at one instant.
const BURST: usize = 1_000;

/// What was done at the start is over by then.
const SETTLES: Duration = Duration::from_secs(3);

/// How long the daemon is watched while nothing is due.
const WATCHED: Duration = Duration::from_secs(30);

/// From a reload's begin to the burst that it brings: a million entries are read by then.
const AHEAD: SignedDuration = SignedDuration::from_secs(45);

/// What is measured, with the goal for 100,000 entries.
const ROWS: [(&str, &str); 9] = [
    ("the file, MB", ""),
    ("`check`, s", "< 1"),
    ("exec to the first sweep, s", "< 1"),
    ("CPU until then, s", ""),
    ("resident, MB", "< 80"),
    ("resident at most, MB", ""),
    ("idle: CPU, % of one core", "< 0.1"),
    ("a reload, s", "< 0.5"),
    ("1,000 at once: last arrival, ms", ""),
];

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let server = Server::start();
    let by_entries = if sizes.is_empty() { ENTRIES.to_vec() } else { sizes.clone() };
    let columns: Vec<_> = by_entries.iter().map(|&entries| measure(&server, entries, 1)).collect();
    print("entries, one account", &by_entries, &columns);
    if sizes.is_empty() {
        let columns = ACCOUNTS.map(|accounts| measure(&server, ENTRIES_OF_ACCOUNTS, accounts));
        print(&format!("accounts, {ENTRIES_OF_ACCOUNTS} entries"), &ACCOUNTS, &columns);
    }
}

/// Prints a table in Markdown.
fn print(what: &str, sizes: &[usize], columns: &[[f64; ROWS.len()]]) {
    let names: Vec<String> = sizes.iter().map(usize::to_string).collect();
    println!("\n| {what} | {} | exponent | goal for 100,000 |", names.join(" | "));
    println!("|---|{}---|---|", "---|".repeat(sizes.len()));
    for (row, (name, goal)) in ROWS.into_iter().enumerate() {
        let cells: Vec<String> = columns.iter().map(|column| format!("{:.2}", column[row])).collect();
        let ends = sizes.first().zip(sizes.last()).zip(columns.first().zip(columns.last()));
        let exponent = ends.map_or(f64::NAN, |((few, many), (first, last))| {
            (last[row] / first[row]).ln() / (*many as f64 / *few as f64).ln()
        });
        println!("| {name} | {} | {exponent:.2} | {goal} |", cells.join(" | "));
    }
}

fn measure(server: &Server, entries: usize, accounts: usize) -> [f64; ROWS.len()] {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let file = directory.path().join("schedule.yaml");
    let text = |burst| schedule(server.address(), entries, accounts, burst);
    std::fs::write(&file, text(None)).expect("the schedule");
    let bytes = file.metadata().expect("the file").len();
    let checked = check(&file);

    let mut daemon = Daemon::start(&file, directory.path(), &[]);
    std::thread::sleep(SETTLES);
    let before = daemon.cpu();
    std::thread::sleep(WATCHED);
    let idle = (daemon.cpu() - before).as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
    let (resident, peak) = (daemon.memory("VmRSS"), daemon.memory("VmHWM"));

    let due = Timestamp::from_second((Timestamp::now() + AHEAD).as_second()).expect("a timestamp");
    // Beside the file, and renamed: the daemon never reads half of it.
    let next = directory.path().join("next.yaml");
    std::fs::write(&next, text(Some(due))).expect("the schedule");
    std::fs::rename(&next, &file).expect("the schedule");
    let begun = Instant::now();
    daemon.signal(Signal::HUP);
    daemon.wait_for("schedule.reloaded");
    let reloaded = begun.elapsed();
    let wait = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
    std::thread::sleep(wait + Duration::from_secs(5));
    let arrivals = server.take();
    assert_eq!(arrivals.len(), BURST.min(entries), "each is sent once");
    let last = arrivals.last().map_or(f64::NAN, |last| last.duration_since(due).as_secs_f64() * 1e3);

    [
        bytes as f64 / 1e6,
        checked.as_secs_f64(),
        daemon.swept.as_secs_f64(),
        daemon.start_cpu.as_secs_f64(),
        resident,
        peak,
        idle,
        reloaded.as_secs_f64(),
        last,
    ]
}

fn check(file: &Path) -> Duration {
    let begun = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stackcron"));
    let status = command.arg("check").arg("--config").arg(file).stdout(Stdio::null()).status();
    assert!(status.expect("it runs").success(), "the file is good");
    begun.elapsed()
}

/// Each entry is due once a day, none of them in the next two hours, but for those that are due at
/// the instant of the burst.
fn schedule(server: SocketAddr, entries: usize, accounts: usize, burst: Option<Timestamp>) -> String {
    let now = jiff::tz::Offset::UTC.to_datetime(Timestamp::now()).hour() as usize;
    let mut text = String::from("accounts:\n");
    for number in 0..accounts {
        let _ = writeln!(
            text,
            "  a{number}: {{ url: 'http://{server}/api/3', token: {{ env: BENCH_TOKEN }}, quota: {{ limit: 1000000, reserve: 0 }} }}"
        );
    }
    text += "defaults: { follow: false }\njobs:\n";
    let burst = burst.map(|due| due.strftime("%-S %-M %-H %-d %-m *").to_string());
    for number in 0..entries {
        let cron = match &burst {
            // Spread over the file and over the accounts.
            Some(cron) if number % (entries / BURST).max(1) == 0 => cron.clone(),
            _ => format!("{} {} * * *", number % 60, (now + 3 + number / 60 % 20) % 24),
        };
        let account = number / (entries / BURST).max(1) % accounts;
        let _ = writeln!(
            text,
            "  job-{number}: {{ account: a{account}, stack: 5999b763474b0eafa5fafb64bff0ba80, \
             job: 98ee5a9b93919d9b63bd{number:012}, cron: \"{cron}\" }}"
        );
    }
    text
}
