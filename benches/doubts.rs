//! A tenth of the answers to run_now is lost, under 40 entries of every second: how late the
//! occurrences are that are not in doubt themselves, how soon an action that did start is known,
//! and how long after the last fault everything is settled.
//!
//! `cargo bench --bench doubts` takes some seven minutes: a minute of faults and the time until
//! all is settled, with `overlap: allow`, which is the default, and with `skip`. `-- 300 allow`
//! does so for 300 seconds, with one of them. Arguments name each request's occurrence, so that
//! the lateness is that of its arrival at the API.

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Daemon, Place, quota, sandbox_with, schedule, settings, until_within};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stackcron::journal::{Filter, Record, State, read_history};
use stackcron::sandbox::{Fault, Sandbox, SandboxJob, SandboxStack};
use stackcron::schedule::{JobUid, StackUid};
use tokio::runtime::Runtime;

/// By default, seconds for which answers are lost.
const SECONDS: u64 = 60;

const ENTRIES: usize = 40;

/// The answer to one run_now in ten is lost: the connection ends when the action has started.
const FAULTS: [&str; 1] = ["close-after:p=0.1"];

/// Longer than any doubt lasts.
const SETTLED_WITHIN: Duration = Duration::from_secs(15 * 60);

/// An occurrence: its entry and the second at which it is scheduled.
type Named = (String, i64);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(SECONDS);
    let some = ["allow", "skip", "queue"].into_iter().filter(|known| words.iter().any(|word| word == known));
    let mut overlaps: Vec<&str> = some.collect();
    if overlaps.is_empty() {
        overlaps = vec!["allow", "skip"];
    }
    let runtime = Runtime::new().expect("a runtime");
    println!(
        "{ENTRIES} entries of every second for {seconds} s, faults {FAULTS:?}; in milliseconds: p50, p99, worst"
    );
    for overlap in overlaps {
        measure(&runtime, overlap, Duration::from_secs(seconds));
    }
}

fn measure(runtime: &Runtime, overlap: &str, lasts: Duration) {
    let mut asked = settings(&[]).quota(quota(10_000_000, Duration::from_secs(3600)));
    let stack = SandboxStack::new(StackUid::new("busy").expect("a uid"));
    let job = |number: usize| SandboxJob::new(JobUid::new(&format!("j{number}")).expect("a uid"));
    asked = asked.stack((0..ENTRIES).fold(stack, |stack, number| stack.job(job(number))));
    let sandbox = runtime.block_on(sandbox_with(asked));
    let place = Place::with(&entries(&sandbox, "* * * * * *", overlap));
    let mut daemon = place.start();
    daemon.event("action.started");
    sandbox.set_faults(FAULTS.map(|fault| fault.parse::<Fault>().expect("a fault")).into());
    std::thread::sleep(lasts);
    sandbox.set_faults(Vec::new());
    let last_fault = Timestamp::now();
    place.replace(&entries(&sandbox, "0 0 29 2 *", overlap));
    daemon.event("schedule.reloaded");
    let directory = place.directory.path().to_owned();
    let settled = settles(&directory);
    let after = settled.duration_since(last_fault);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    tell(overlap, &rows(&directory), &sandbox, &daemon, after);
}

fn entries(sandbox: &Sandbox, cron: &str, overlap: &str) -> String {
    let entry = |number: usize| {
        format!(
            "  e{number}: {{ stack: busy, job: j{number}, args_template: 'e{number} {{unix}}', cron: '{cron}', overlap: {overlap} }}\n"
        )
    };
    schedule(&sandbox.url(), "timeout: 30s", &(0..ENTRIES).map(entry).collect::<String>())
}

fn rows(directory: &Path) -> Vec<Record> {
    let mut rows = Vec::new();
    let read = read_history(directory, &Filter::default(), |record| {
        rows.push(record);
        ControlFlow::Continue(())
    });
    read.expect("a readable journal");
    rows
}

/// Waits until every occurrence is in a final state, and returns when that was seen.
fn settles(directory: &Path) -> Timestamp {
    let open = |row: &&Record| {
        let runs = row.state == State::Started && row.action_id.is_some() && row.reason.is_none();
        runs || matches!(row.state, State::Due | State::Waiting | State::Sending)
    };
    let begun = Instant::now();
    until_within(SETTLED_WITHIN, "settled", || {
        std::thread::sleep(Duration::from_millis(500));
        match rows(directory).iter().filter(open).count() {
            // What was claimed ahead is settled by the reload.
            0 if begun.elapsed() > Duration::from_secs(6) => Ok(Timestamp::now()),
            left => Err(format!("{left} are open")),
        }
    })
}

fn tell(overlap: &str, rows: &[Record], sandbox: &Sandbox, daemon: &Daemon, after: SignedDuration) {
    let mut arrived: BTreeMap<Named, Vec<(Timestamp, Option<u64>)>> = BTreeMap::new();
    for record in &sandbox.ledger().requests {
        let named = record.args.as_deref().and_then(|args| args.split_once(' '));
        if let Some((entry, second)) = named.and_then(|(entry, at)| Some((entry, at.parse().ok()?))) {
            arrived.entry((entry.to_owned(), second)).or_default().push((record.at, record.action));
        }
    }
    let doubts = first(daemon, |line| line["event"] == "occurrence.in_doubt");
    let known =
        first(daemon, |line| line["event"] == "occurrence.reconciled" && line["verdict"] == "started");
    let mut late: Vec<SignedDuration> = Vec::new();
    let mut known_after: Vec<SignedDuration> = Vec::new();
    let (mut twice, mut unknown_to_us) = (0, 0);
    for (named, requests) in &arrived {
        twice += usize::from(requests.iter().filter(|(_, action)| action.is_some()).count() > 1);
        let (at, action) = requests[0];
        if !doubts.contains_key(named) {
            late.push(at.duration_since(Timestamp::from_second(named.1).expect("an instant")));
        } else if action.is_some() {
            match known.get(named) {
                Some(known) => known_after.push(known.duration_since(at)),
                None => unknown_to_us += 1,
            }
        }
    }
    let count = |state: State| rows.iter().filter(|row| row.state == state).count();
    println!(
        "overlap: {overlap}: {} occurrences, {} sent, {} in doubt; {} skipped, {} unknown, {} missed, {twice} twice",
        rows.len(),
        arrived.len(),
        doubts.len(),
        count(State::Skipped),
        count(State::Unknown),
        count(State::Missed),
    );
    println!("    lateness of those that are not in doubt: {}", figures(&mut late));
    println!(
        "    from the attempt until it is known to have started: {}; never known: {unknown_to_us}",
        figures(&mut known_after)
    );
    println!("    all are settled {:.1} s after the last fault", after.as_secs_f64());
}

/// When a line about each occurrence was first written.
fn first(daemon: &Daemon, wanted: impl Fn(&Value) -> bool) -> BTreeMap<Named, Timestamp> {
    let mut found = BTreeMap::new();
    for line in daemon.log.iter().filter(|line| wanted(line)) {
        let at = |key: &str| line[key].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        if let (Some(entry), Some(scheduled_at), Some(written)) =
            (line["entry"].as_str(), at("scheduled_at"), at("timestamp"))
        {
            found.entry((entry.to_owned(), scheduled_at.as_second())).or_insert(written);
        }
    }
    found
}

fn figures(delays: &mut [SignedDuration]) -> String {
    delays.sort_unstable();
    let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).or(delays.last());
    let text = |at: Option<&SignedDuration>| {
        at.map_or("-".to_owned(), |at| format!("{:.1}", at.as_secs_f64() * 1e3))
    };
    format!("{}, {}, {} (of {})", text(at(0.5)), text(at(0.99)), text(delays.last()), delays.len())
}
