//! Fires through real fronts and proxies: nginx, haproxy and squid before an origin that notes when
//! each request arrives.

pub mod front;
mod proxy;

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::common::{Daemon, Place};
use front::{Access, ELSEWHERE, Front, Kind, Origin};
use proxy::Squid;

/// How long each front is fired through: once a second by each of some entries.
const SPAN: Duration = Duration::from_secs(20);

const ENTRIES: usize = 5;

/// What happens to the front in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// As a certificate's renewal does it. Nothing is cut.
    Reload,
    /// What is on its way is cut, and in doubt.
    Restart,
}

/// Starts a daemon whose entries fire once a second. Every line of theirs can be told from what
/// arrives.
fn every_second(Access { url, variables }: Access) -> Daemon {
    let jobs: String = (0..ENTRIES)
        .map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '* * * * * *', follow: false }}\n"))
        .collect();
    let place = Place::with(&crate::common::schedule(&url, "quota: { limit: 100000 }, timeout: 5s", &jobs));
    variables.iter().fold(place, |place, (name, value)| place.env(name, value)).start()
}

/// Holds what the log says against what arrived: each occurrence once, and when.
///
/// An entry is due once a second and is sent within it, so that the second of its arrival names the
/// occurrence. One that is sent later, after a front's restart, is found by when the log says that
/// it left.
fn compare(what: &str, daemon: &mut Daemon, origin: &Origin) {
    let mut arrivals: HashMap<String, Vec<Timestamp>> = HashMap::new();
    for (job, at) in origin.arrived() {
        arrivals.entry(job).or_default().push(at);
    }
    let (mut apart, mut late) = (Vec::new(), Vec::new());
    let lines = daemon.events("action.started");
    for line in &lines {
        let job = line["job"].as_str().expect("a job");
        let instant = |field: &str| -> Timestamp {
            line[field].as_str().and_then(|at| at.parse().ok()).expect("an instant")
        };
        let (sent, due) = (instant("sent_at"), instant("scheduled_at"));
        let of_job = arrivals.get_mut(job).expect("it arrived");
        let nearest = (0..of_job.len()).min_by_key(|&n| of_job[n].duration_since(sent).abs());
        // Each arrival is of one occurrence alone.
        let arrived = of_job.swap_remove(nearest.expect("each occurrence that started has arrived"));
        apart.push(arrived.duration_since(sent).as_micros());
        let logged = line["lateness_ms"].as_i64().expect("a number");
        let real = i64::try_from(arrived.duration_since(due).as_millis()).expect("milliseconds");
        late.push((real, logged));
    }
    let more: usize = arrivals.values().map(Vec::len).sum();
    apart.sort_unstable();
    late.sort_unstable();
    let (middle, most) = (lines.len() / 2, lines.len() - 1);
    println!(
        "{what}: {} started, {more} arrived besides, sent_at is off by {} us (median) and {} us (most), late by {:?} and {:?} ms \
         (real, logged)",
        lines.len(),
        apart[middle],
        apart[most],
        late[middle],
        late[most],
    );
    assert!(lines.len() >= ENTRIES * 10, "{what}: {} were started", lines.len());
    let doubts = daemon.events("occurrence.in_doubt").len();
    assert!(more <= doubts, "{what}: {more} arrived beside what started, and {doubts} were in doubt");
    // One clock for both: what has arrived had left.
    assert!(apart[0] >= 0, "{what}: {} us before it left by the log, a request had arrived", -apart[0]);
    // The front's way and a busy machine are in the rest. An instant from before a wait for a
    // connection would be in all.
    assert!(apart[middle] < 20_000, "{what}: the log tells when requests leave, and not {apart:?}");
}

fn fired_through(kind: Kind, event: Event) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let origin = runtime.block_on(Origin::start());
    let mut front = Front::start(kind, origin.port);
    let mut daemon = every_second(front.access());
    daemon.event("action.started");
    std::thread::sleep(SPAN / 2);
    match event {
        Event::Reload => front.reload(),
        Event::Restart => front.restart(),
    }
    std::thread::sleep(SPAN / 2);
    assert!(daemon.stop().success());
    compare(&format!("{kind:?} {event:?}"), &mut daemon, &origin);
    if event == Event::Reload {
        let doubts = daemon.events("occurrence.in_doubt");
        assert!(doubts.is_empty(), "{kind:?}: {doubts:?}");
    }
}

#[test]
fn fires_a_second_apart_through_nginx_that_keeps_connections_for_a_second_are_never_in_doubt() {
    fired_through(Kind::Nginx, Event::Reload);
}

#[test]
fn fires_a_second_apart_through_haproxy_that_keeps_connections_for_a_second_are_never_in_doubt() {
    fired_through(Kind::Haproxy, Event::Reload);
}

#[test]
fn fires_a_second_apart_over_tls_of_haproxy_are_never_in_doubt_at_a_reload() {
    fired_through(Kind::HaproxyTls, Event::Reload);
}

#[test]
fn fires_a_second_apart_over_tls_of_nginx_are_never_in_doubt_at_a_reload() {
    fired_through(Kind::NginxTls, Event::Reload);
}

#[test]
fn a_restart_of_nginx_has_nothing_fired_twice() {
    fired_through(Kind::Nginx, Event::Restart);
}

#[test]
fn a_restart_of_haproxy_has_nothing_fired_twice() {
    fired_through(Kind::Haproxy, Event::Restart);
}

#[test]
fn a_429_of_nginx_is_waited_out_within_seconds_and_not_until_the_hour_turns() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let origin = runtime.block_on(Origin::start());
    let front = Front::start(Kind::NginxLimited, origin.port);
    let mut daemon = every_second(front.access());
    daemon.wait_for("occurrence.retrying", |line| line["status"] == 429);
    std::thread::sleep(SPAN / 2);
    assert!(daemon.stop().success());
    assert_eq!(daemon.events("quota.exhausted").len(), 0, "35,900 of 36,000 are left: {}", daemon.raw);
    for line in daemon.events("occurrence.waiting") {
        let at = |field: &str| -> Timestamp {
            line[field].as_str().and_then(|at| at.parse().ok()).expect("an instant")
        };
        let waits = at("until").duration_since(at("timestamp"));
        assert!(waits.as_secs() <= 60, "a minute at most: {line}");
    }
    let (started, refused) =
        (daemon.events("action.started").len(), daemon.events("occurrence.retrying").len());
    println!("{started} started and {refused} refused in {SPAN:?} / 2 behind two requests a second");
    // nginx has admitted some twenty. A fifth of that shows that nobody has waited for the hour.
    assert!(started > 4, "{}", daemon.raw);
    assert_eq!(origin.arrived().len(), started, "each that arrived is started, and once");
}

#[test]
fn fires_pass_a_proxy_that_asks_for_a_password_and_tls_behind_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let origin = runtime.block_on(Origin::start());
    let front = Front::start(Kind::NginxTls, origin.port);
    let squid = Squid::start();
    let Access { mut variables, .. } = front.access();
    variables.push(("https_proxy", squid.url("s3cret")));
    let url = format!("https://{ELSEWHERE}:{}/api/3", front.port);
    let mut daemon = every_second(Access { url, variables });
    daemon.event("action.started");
    std::thread::sleep(SPAN);
    assert!(daemon.stop().success());
    compare("squid", &mut daemon, &origin);
}

#[test]
fn a_tunnel_that_a_proxy_refuses_is_told_with_the_proxy_and_its_status() {
    let squid = Squid::start();
    let mut daemon = every_second(Access {
        url: format!("https://{ELSEWHERE}/api/3"),
        variables: vec![("https_proxy", squid.url("wrong"))],
    });
    let line = daemon.event("occurrence.retrying");
    let error = line["error"].as_str().expect("a text");
    let proxy = format!("the proxy http://127.0.0.1:{} refuses a tunnel to", squid.port);
    assert!(error.contains(&proxy) && error.contains("407"), "{error}");
    assert!(!daemon.raw.contains("wrong"), "the password is not told");
}
