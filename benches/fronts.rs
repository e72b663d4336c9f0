//! How many fires come into doubt behind real fronts, and how true the logged lateness is.
//!
//! nginx, haproxy and nginx with TLS, each of which closes connections that are idle for a second,
//! the gap between two fires of an entry. The front is reloaded again and again in one run, and
//! restarted in another: what a restart cuts with bytes on the wire is in doubt by right. `cargo
//! bench --bench fronts` takes some six minutes; `-- 10` lets each run take ten seconds. A front
//! that is not installed is skipped.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/fronts/front.rs"]
#[expect(dead_code, reason = "the tests use more")]
mod front;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Daemon, Place};
use front::{Access, Front, Kind, Origin};
use jiff::Timestamp;

/// Entries that fire every second.
const ENTRIES: usize = 30;

/// Seconds of a run, unless given.
const SECONDS: u64 = 60;

/// From one reload, or restart, to the next.
const EVERY: Duration = Duration::from_secs(7);

fn main() {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(SECONDS);
    println!("{ENTRIES} fires a second, a reload or a restart every {} s, {seconds} s each", EVERY.as_secs());
    println!("\n| | fires | in doubt | twice | true less logged lateness: median, ms | p99, ms |");
    println!("|---|---|---|---|---|---|");
    for (name, kind, program) in [
        ("nginx", Kind::Nginx, "/usr/sbin/nginx"),
        ("haproxy", Kind::Haproxy, "/usr/sbin/haproxy"),
        ("nginx, TLS", Kind::NginxTls, "/usr/sbin/nginx"),
    ] {
        if !Path::new(program).exists() {
            println!("skipped: {name} ({program} is not installed)");
            continue;
        }
        for (what, happens) in
            [("reloads", (|front| front.reload()) as fn(&mut Front)), ("restarts", |front| front.restart())]
        {
            fire(&format!("{name}, {what}"), kind, happens, Duration::from_secs(seconds));
        }
    }
}

/// Fires through a front to which something happens again and again, and prints a line.
fn fire(name: &str, kind: Kind, happens: fn(&mut Front), span: Duration) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let origin = runtime.block_on(Origin::start());
    let mut front = Front::start(kind, origin.port);
    let mut daemon = start(front.access());
    daemon.event("action.started");
    let end = Instant::now() + span;
    while Instant::now() < end {
        std::thread::sleep(EVERY.min(end - Instant::now()));
        happens(&mut front);
    }
    assert!(daemon.stop().success());

    let mut arrivals: HashMap<String, Vec<Timestamp>> = HashMap::new();
    for (job, at) in origin.arrived() {
        arrivals.entry(job).or_default().push(at);
    }
    let (mut fires, mut apart) = (0, Vec::new());
    for line in daemon.events("action.started") {
        fires += 1;
        let sent: Timestamp = line["sent_at"].as_str().and_then(|at| at.parse().ok()).expect("an instant");
        let of_job = arrivals.get_mut(line["job"].as_str().expect("a job")).expect("it arrived");
        let nearest = (0..of_job.len()).min_by_key(|&n| of_job[n].duration_since(sent).abs());
        // Each arrival is of one occurrence alone.
        let arrived = of_job.swap_remove(nearest.expect("each that started has arrived"));
        apart.push(arrived.duration_since(sent).as_secs_f64() * 1e3);
    }
    apart.sort_by(f64::total_cmp);
    let in_doubt = daemon.events("occurrence.in_doubt").len();
    let besides: usize = arrivals.values().map(Vec::len).sum();
    println!(
        "| {name} | {fires} | {in_doubt} | {} | {:.2} | {:.2} |",
        besides.saturating_sub(in_doubt),
        apart[apart.len() / 2],
        apart[apart.len() * 99 / 100],
    );
}

fn start(Access { url, variables }: Access) -> Daemon {
    let jobs: String = (0..ENTRIES)
        .map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '* * * * * *', follow: false }}\n"))
        .collect();
    let place = Place::with(&common::schedule(&url, "quota: { limit: 100000 }, timeout: 5s", &jobs));
    variables.iter().fold(place, |place, (name, value)| place.env(name, value)).start()
}
