//! How many fires come into doubt behind real fronts, and how true the logged lateness is.
//!
//! nginx and haproxy, with and without TLS, each of which closes connections that are idle for a
//! second, the gap between two fires of an entry. The front is reloaded again and again in one run,
//! and restarted in another. A fire that a restart cuts with bytes on the wire is in doubt by
//! right: it was due before the front had ended, and came into doubt while the front ended. The
//! others are told apart.
//!
//! `lateness_ms` is `sent_at` less the due instant, and so is as true as `sent_at`. Each `sent_at`
//! is held against three witnesses (`fronts/witness.rs`): the packet, the front's log, and the
//! arrival at the origin behind the front.
//!
//! `cargo bench --bench fronts` takes some twelve minutes; `-- 10` lets each run take ten seconds.
//! A front that is not installed is skipped, and packets are left out without tcpdump.

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/fronts/front.rs"]
#[expect(dead_code, reason = "the tests use more")]
mod front;
#[path = "fronts/witness.rs"]
mod witness;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Daemon, Place};
use front::{Access, Front, Kind, Origin};
use jiff::Timestamp;
use serde_json::Value;
use witness::{NotedRequest, PacketWatch};

/// Entries that fire at the same instant, every second.
const BURST: usize = 30;

/// Seconds of a run, unless given.
const SECONDS: u64 = 60;

/// From one reload, or restart, to the next.
const EVERY: Duration = Duration::from_secs(7);

/// A connection that the front's end has cut is noticed within this time.
const NOTICED: Duration = Duration::from_millis(250);

/// A run_now of the front's log or of the origin is an occurrence's when it came within this time
/// of `sent_at`: less than the second between two fires of an entry.
const NEAR: Duration = Duration::from_millis(500);

fn main() {
    let seconds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(SECONDS);
    println!("A reload or a restart every {} s, {seconds} s each; load before: {}", EVERY.as_secs(), load());
    println!("From sent_at to each witness in ms: median, p99, worst (of so many fires)\n");
    println!(
        "| fires a second | fires | cut by a restart | in doubt besides | twice | to the packet | to the front's log | to the origin |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, kind, program) in [
        ("nginx", Kind::Nginx, "/usr/sbin/nginx"),
        ("haproxy", Kind::Haproxy, "/usr/sbin/haproxy"),
        ("nginx with TLS", Kind::NginxTls, "/usr/sbin/nginx"),
        ("haproxy with TLS", Kind::HaproxyTls, "/usr/sbin/haproxy"),
    ] {
        if !Path::new(program).exists() {
            println!("skipped: {name} ({program} is not installed)");
            continue;
        }
        for (entries, what, happens) in [
            (BURST, "reloads", reload as fn(&mut Front) -> Option<Restart>),
            (BURST, "restarts", restart),
            (1, "reloads", reload),
        ] {
            let name = format!("{entries} through {name}, {what}");
            fire(&name, entries, kind, happens, Duration::from_secs(seconds));
        }
    }
    println!("\nload after: {}", load());
}

/// Load averages of the machine over 1, 5 and 15 minutes.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(", ")
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
fn fire(name: &str, entries: usize, kind: Kind, happens: fn(&mut Front) -> Option<Restart>, span: Duration) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let origin = runtime.block_on(Origin::start());
    let mut front = Front::start(kind, origin.port);
    let watch = PacketWatch::start(front.port);
    let mut daemon = start(front.access(), entries);
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
    let packets = watch.map(PacketWatch::end).unwrap_or_default();
    let mut noted = witness::requests(&front.noted());
    let (mut to_packet, mut to_front, mut to_origin) = (Vec::new(), Vec::new(), Vec::new());
    let mut fires = 0;
    for line in daemon.events("action.started") {
        fires += 1;
        let (job, sent) = (line["job"].as_str().expect("a job"), instant(line, "sent_at"));
        let after = |at: Timestamp| at.duration_since(sent).as_secs_f64() * 1e3;
        to_origin.push(after(take(&mut arrivals, job, sent, |&at| at).expect("it arrived")));
        // A front that is stopped at once may leave requests out of its log.
        if let Some(request) = take(&mut noted, job, sent, |request: &NotedRequest| request.at) {
            to_front.push(after(request.at));
            to_packet.extend(packets.carried(&request).map(after));
        }
    }
    let in_doubt = daemon.events("occurrence.in_doubt");
    let is_cut = |line: &&&Value| {
        let (scheduled_at, at) = (instant(line, "scheduled_at"), instant(line, "timestamp"));
        restarts.iter().any(|restart| restart.cuts(scheduled_at, at))
    };
    let (in_doubt, cut) = (in_doubt.len(), in_doubt.iter().filter(is_cut).count());
    let besides: usize = arrivals.values().map(Vec::len).sum();
    println!(
        "| {name} | {fires} | {cut} | {} | {} | {} | {} | {} |",
        in_doubt - cut,
        besides.saturating_sub(in_doubt),
        spread(to_packet),
        spread(to_front),
        spread(to_origin),
    );
}

fn instant(line: &Value, key: &str) -> Timestamp {
    line[key].as_str().and_then(|at| at.parse().ok()).expect("an instant")
}

/// Takes the witnessed request of a job that is nearest to when the log says that it left. Each is
/// of one occurrence alone. `None`: none is near.
fn take<T>(
    witnessed: &mut HashMap<String, Vec<T>>,
    job: &str,
    sent: Timestamp,
    at: impl Fn(&T) -> Timestamp,
) -> Option<T> {
    let requests = witnessed.get_mut(job)?;
    let apart = |n: usize| at(&requests[n]).duration_since(sent).abs();
    let nearest = (0..requests.len()).min_by_key(|&n| apart(n))?;
    (apart(nearest).unsigned_abs() < NEAR).then(|| requests.swap_remove(nearest))
}

/// Median, p99, worst, and of how many.
fn spread(mut apart: Vec<f64>) -> String {
    apart.sort_by(f64::total_cmp);
    let at = |percent: usize| apart.get(apart.len() * percent / 100).or(apart.last());
    match (at(50), at(99), at(100)) {
        (Some(median), Some(p99), Some(worst)) => {
            format!("{median:.2}, {p99:.2}, {worst:.2} ({})", apart.len())
        }
        _ => "not seen".to_owned(),
    }
}

fn start(Access { url, variables }: Access, entries: usize) -> Daemon {
    let jobs: String = (0..entries)
        .map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '* * * * * *', follow: false }}\n"))
        .collect();
    let place = Place::with(&common::schedule(&url, "quota: { limit: 100000 }, timeout: 5s", &jobs));
    variables.iter().fold(place, |place, (name, value)| place.env(name, value)).start()
}
