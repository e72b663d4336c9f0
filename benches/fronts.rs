//! How many fires come into doubt behind real fronts, and how true the logged lateness is.
//!
//! nginx, haproxy and nginx with TLS, each of which closes connections that are idle for a second,
//! the gap between two fires of an entry. The front is reloaded again and again in one run, and
//! restarted in another. A fire that a restart cuts with bytes on the wire is in doubt by right: it
//! was due before the front had ended, and came into doubt while the front ended. The others are
//! told apart. `cargo bench --bench fronts` takes some six minutes; `-- 10` lets each run take ten
//! seconds. A front that is not installed is skipped.

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
use serde_json::Value;

/// Entries that fire every second.
const ENTRIES: usize = 30;

/// Seconds of a run, unless given.
const SECONDS: u64 = 60;

/// From one reload, or restart, to the next.
const EVERY: Duration = Duration::from_secs(7);

/// A connection that the front's end has cut is noticed within this time.
const NOTICED: Duration = Duration::from_millis(250);

fn main() {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(SECONDS);
    println!("{ENTRIES} fires a second, a reload or a restart every {} s, {seconds} s each", EVERY.as_secs());
    println!(
        "\n| | fires | cut by a restart | in doubt besides | twice | true less logged lateness: median, ms | p99, ms |"
    );
    println!("|---|---|---|---|---|---|---|");
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
            [("reloads", reload as fn(&mut Front) -> Option<Restart>), ("restarts", restart)]
        {
            fire(&format!("{name}, {what}"), kind, happens, Duration::from_secs(seconds));
        }
    }
}

/// The time in which a front ends, from the signal to the end of its process.
struct Restart {
    from: Timestamp,
    until: Timestamp,
}

impl Restart {
    /// Returns true when an occurrence that came into doubt at an instant was on its way through
    /// the front when the front ended.
    fn cuts(&self, scheduled_at: Timestamp, in_doubt_at: Timestamp) -> bool {
        scheduled_at <= self.until && (self.from..=self.until + NOTICED).contains(&in_doubt_at)
    }
}

fn reload(front: &mut Front) -> Option<Restart> {
    front.reload();
    None
}

fn restart(front: &mut Front) -> Option<Restart> {
    let from = Timestamp::now();
    front.stop();
    let until = Timestamp::now();
    front.run();
    Some(Restart { from, until })
}

/// Fires through a front to which something happens again and again, and prints a line.
fn fire(name: &str, kind: Kind, happens: fn(&mut Front) -> Option<Restart>, span: Duration) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let origin = runtime.block_on(Origin::start());
    let mut front = Front::start(kind, origin.port);
    let mut daemon = start(front.access());
    daemon.event("action.started");
    let (end, mut restarts) = (Instant::now() + span, Vec::new());
    while Instant::now() < end {
        std::thread::sleep(EVERY.min(end - Instant::now()));
        restarts.extend(happens(&mut front));
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
    let in_doubt = daemon.events("occurrence.in_doubt");
    let instant = |line: &Value, key: &str| -> Timestamp {
        line[key].as_str().and_then(|at| at.parse().ok()).expect("an instant")
    };
    let is_cut = |line: &&&Value| {
        let (scheduled_at, at) = (instant(line, "scheduled_at"), instant(line, "timestamp"));
        restarts.iter().any(|restart| restart.cuts(scheduled_at, at))
    };
    let (in_doubt, cut) = (in_doubt.len(), in_doubt.iter().filter(is_cut).count());
    let besides: usize = arrivals.values().map(Vec::len).sum();
    println!(
        "| {name} | {fires} | {cut} | {} | {} | {:.2} | {:.2} |",
        in_doubt - cut,
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
