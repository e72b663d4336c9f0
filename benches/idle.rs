//! How late fires are that are a minute or an hour apart, behind a NAT that forgets a connection
//! after half a minute without a packet: the API by TLS, and the journal in PostgreSQL, both beyond
//! the NAT.
//!
//! `cargo bench --bench idle` takes a little more than an hour; `-- 10` takes ten minutes and
//! leaves the hour out. Needs root, nftables, haproxy and PostgreSQL.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/fronts"]
mod fronts {
    #[expect(dead_code, reason = "the tests use more")]
    pub mod front;
}
#[path = "../tests/networks"]
mod networks {
    pub mod machines;
    pub mod namespace;
}

use std::time::Duration;

use common::postgres::Server;
use common::{Daemon, Place};
use jiff::{SignedDuration, Timestamp};
use networks::machines::{API, Behind, Nat, SERVER, start};
use serde_json::Value;

/// Entries that are due at the same instant.
const ENTRIES: usize = 20;

/// Minutes that the bench takes, unless given: the second fire of the hour is in them.
const MINUTES: i64 = 62;

/// The first instant at which entries are due comes this much after the start.
const SOON: SignedDuration = SignedDuration::from_secs(10);

fn main() {
    let minutes = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(MINUTES);
    let (Some(nat), Some(server)) = (Nat::new(), Server::shared()) else { return };
    let (often, seldom) = (Behind::start(&nat, server), Behind::start(&nat, server));
    let first = Timestamp::now() + SOON;
    let (second, minute) =
        (first.as_second().rem_euclid(60), first.as_second().div_euclid(60).rem_euclid(60));
    let (often_place, seldom_place) = (
        often.place(&entries(&format!("{second} * * * * *"))),
        seldom.place(&entries(&format!("{second} {minute} * * * *"))),
    );
    let run = |place: &Place| start(place, &nat.client, &[(SERVER, API)]);
    let (mut often, mut seldom) = (run(&often_place), run(&seldom_place));
    std::thread::sleep(Duration::from_secs(minutes.unsigned_abs() * 60) + Duration::from_secs(15));
    println!("{ENTRIES} fires at an instant, behind a NAT that forgets after 30 s; lateness in ms");
    println!("| apart by | fires | p50 | p99 | worst | in doubt or sent again |");
    println!("|---|---|---|---|---|---|");
    tell("a minute", &mut often, first + SOON);
    if minutes > 60 {
        tell("an hour", &mut seldom, first + SOON);
    }
    assert!(often.stop().success() && seldom.stop().success());
}

fn entries(cron: &str) -> String {
    (0..ENTRIES)
        .map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '{cron}', follow: false }}\n"))
        .collect()
}

/// Prints a line of what was due after the first instant.
fn tell(apart: &str, daemon: &mut Daemon, after: Timestamp) {
    daemon.read();
    let instant = |line: &Value| -> Option<Timestamp> { line["scheduled_at"].as_str()?.parse().ok() };
    let started = daemon.events("action.started").into_iter().filter(|line| instant(line) > Some(after));
    let mut late: Vec<i64> = started.filter_map(|line| line["lateness_ms"].as_i64()).collect();
    late.sort_unstable();
    let at = |percent: usize| late.get(late.len() * percent / 100).or(late.last()).copied().unwrap_or(-1);
    let wrong: usize = ["occurrence.in_doubt", "occurrence.retrying", "occurrence.missed", "journal.failed"]
        .map(|event| daemon.events(event).len())
        .iter()
        .sum();
    println!("| {apart} | {} | {} | {} | {} | {wrong} |", late.len(), at(50), at(99), at(100));
}
