//! The whole daemon in virtual time while everything goes wrong, held against the server's own
//! ledger.
//!
//! One seed is one run: schedules, faults, crashes between any two steps, and what is done to
//! clock, file and disk. The core, the network and the look-alike of the API are the ones that the
//! rehearsal drives. Alone a daemon has a journal of its own; several share one, and are killed,
//! paused and cut off, with clocks up to 30 s apart, and statements that arrive late: who leads,
//! and what is written together, is decided by the code that the database is asked through. Held
//! to: no occurrence starts two actions, none that came due is without a final state, each final
//! state is true and told once, no request goes beyond what the headers said, nothing is sent of
//! what somebody has paused, nor by one whose lease another has.
//!
//! `STACKCRON_SEED=N` runs one again and prints all that happens; `STACKCRON_SEEDS=N` runs more,
//! `STACKCRON_FIRST=N` others.

mod links;
mod oracle;
mod database;
mod disk;
mod member;
mod policies;
mod scenario;
mod shown;
mod spending;
mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use scenario::Scenario;
use world::SimulatedWorld;

/// Number of seeds of each kind that run by default: some seconds' worth where the code is not
/// optimised. `.ci/run` runs 10,000.
const SEEDS: u64 = 200;

/// 5,000 runs meet every fault that a scenario has. Of several members, one run in about a thousand
/// sees a second action.
const ENOUGH: u64 = 5000;

/// Final states and events of trouble that runs must come to, so that the simulation shows that it
/// tests them.
const COVERED: &[&str] = &[
    "started",
    "finished",
    "failed",
    "rejected",
    "missed",
    "skipped",
    "unknown",
    "action.unfinished",
    "clock.jumped",
    "entry.fired",
    "entry.paused",
    "entry.pause_ended",
    "entry.resumed",
    "journal.older",
    "occurrence.in_doubt",
    "occurrence.reconciled",
    "occurrence.retrying",
    "occurrence.surplus",
    "quota.changed",
    "quota.exhausted",
    "quota.restored",
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Draws the scenario of a run from its seed.
type Draw = fn(u64) -> Scenario;

/// Outcome of one seed.
fn judged(draw: Draw, seed: u64) -> Result<BTreeSet<&'static str>, String> {
    let run = std::panic::catch_unwind(|| {
        let scenario = draw(seed);
        let oracle = SimulatedWorld::run(&scenario, false);
        match oracle.violation() {
            None => Ok(oracle.seen),
            Some(violation) => Err(violation.to_owned()),
        }
    });
    run.unwrap_or(Err("it panicked".to_owned()))
}

/// A run as it is read by a person.
fn told(draw: Draw, seed: u64) -> String {
    let scenario = draw(seed);
    let mut text = String::new();
    for (number, file) in scenario.files.iter().enumerate() {
        for account in &file.schedule.accounts {
            text += &format!(
                "file {number}: {} {:?} timeout {:?}\n",
                account.name, account.quota, account.timeout
            );
        }
        for line in &file.lines {
            let entry = &line.entry;
            text += &format!(
                "file {number}: {} {:?} {} {}/{} {:?} {:?} deadline {:?} delay {:?} {:?} idempotent {} follow {} paused {}\n",
                entry.name,
                line.due,
                entry.account.name,
                entry.stack,
                entry.job,
                entry.overlap,
                entry.catch_up,
                entry.start_deadline,
                entry.delay(),
                entry.priority,
                entry.idempotent,
                entry.follow,
                entry.paused
            );
        }
    }
    text += &format!(
        "clocks {:?}\n{:?}\nacts {:?}\nspan {:?} disk {:?}\n",
        scenario.clocks, scenario.conditions, scenario.acts, scenario.span, scenario.disk
    );
    let oracle = SimulatedWorld::run(&scenario, true);
    let violation = oracle.violation().map(str::to_owned);
    let trace = oracle.trace();
    format!("{text}{}\n=> {}", trace.join("\n"), violation.as_deref().unwrap_or("all holds"))
}

#[test]
fn alone_nothing_is_lost_nothing_is_sent_twice_and_no_quota_is_overdrawn() {
    hold(Scenario::from_seed, "alone");
}

#[test]
fn several_that_share_a_journal_lose_nothing_send_nothing_twice_and_overdraw_no_quota() {
    hold(Scenario::of_several, "several");
}

/// Runs the seeds that are asked for.
fn hold(draw: Draw, test: &str) {
    if let Some(seed) = number("STACKCRON_SEED") {
        println!("{}", told(draw, seed));
        if let Err(violation) = judged(draw, seed) {
            panic!("seed {seed}: {violation}");
        }
        return;
    }
    let first = number("STACKCRON_FIRST").unwrap_or(0);
    let end = first + number("STACKCRON_SEEDS").unwrap_or(SEEDS);
    let (next, failures, seen) = (AtomicU64::new(first), Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failures.lock().is_ok_and(|failures| failures.len() >= 20) {
                        return;
                    }
                    match judged(draw, seed) {
                        Ok(of_one) => seen.lock().expect("the other threads go on").extend(of_one),
                        Err(violation) => {
                            failures.lock().expect("the other threads go on").push((seed, violation));
                        }
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("all threads have ended");
    failures.sort();
    if let Some((seed, _)) = failures.first() {
        let list: Vec<String> =
            failures.iter().map(|(seed, violation)| format!("seed {seed}: {violation}")).collect();
        panic!(
            "{}\n\nof seeds {first}..{end}:\n{}\n\nto see one again: STACKCRON_SEED={seed} cargo test --lib \
             daemon::simulation::{test} -- --nocapture",
            told(draw, *seed),
            list.join("\n")
        );
    }
    let seen = seen.into_inner().expect("all threads have ended");
    let missing: Vec<&str> = COVERED.iter().copied().filter(|word| !seen.contains(word)).collect();
    assert!(missing.is_empty() || end - first < ENOUGH, "none of the runs came to {missing:?}");
}
