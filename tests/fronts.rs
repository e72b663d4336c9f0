//! Fires through real fronts: nginx and haproxy before an origin that notes when each request arrives.

mod front;

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::common::Place;
use front::{Front, Kind, Origin};

/// How long each front is fired through: once a second by each of some entries.
const SPAN: Duration = Duration::from_secs(20);

const ENTRIES: usize = 5;

/// Fires once a second, and holds what the log says against what arrived.
async fn fired_through(kind: Kind) {
    let origin = Origin::start().await;
    let front = Front::start(kind, origin.port);
    let jobs: String = (0..ENTRIES)
        .map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '* * * * * *', follow: false }}\n"))
        .collect();
    let url = format!("http://127.0.0.1:{}/api/3", front.port);
    let mut daemon = Place::with(&crate::common::schedule(&url, "quota: { limit: 100000 }", &jobs)).start();
    daemon.event("action.started");
    // A reload in the middle, as a certificate's renewal does it.
    tokio::time::sleep(SPAN / 2).await;
    front.reload();
    tokio::time::sleep(SPAN / 2).await;
    assert!(daemon.stop().success());

    let mut arrivals: HashMap<String, Vec<Timestamp>> = HashMap::new();
    for (job, at) in origin.arrived() {
        arrivals.entry(job).or_default().push(at);
    }
    let doubts = daemon.events("occurrence.in_doubt");
    assert!(doubts.is_empty(), "{kind:?}: {doubts:?}");
    let (mut apart, mut late) = (Vec::new(), Vec::new());
    let lines = daemon.events("action.started");
    for line in &lines {
        let job = line["job"].as_str().expect("a job");
        let sent: Timestamp = line["sent_at"].as_str().and_then(|at| at.parse().ok()).expect("an instant");
        // The arrival that is nearest: entries fire once a second.
        let off = arrivals[job].iter().map(|at| at.duration_since(sent).as_micros().abs()).min();
        apart.push(off.expect("it arrived"));
        late.push(line["lateness_ms"].as_i64().expect("a number"));
    }
    let arrived: usize = arrivals.values().map(Vec::len).sum();
    apart.sort_unstable();
    late.sort_unstable();
    let (middle, most) = (lines.len() / 2, lines.len() - 1);
    println!(
        "{kind:?}: {} started, {arrived} arrived, sent_at is off by {} us (median) and {} us (most), late by {} ms and {} ms",
        lines.len(),
        apart[middle],
        apart[most],
        late[middle],
        late[most],
    );
    assert!(lines.len() >= ENTRIES * 10, "{kind:?}: {} were started", lines.len());
    assert_eq!(arrived, lines.len(), "{kind:?}: each arrived once");
    assert!(apart[middle] < 20_000, "{kind:?}: the log tells when requests leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn fires_a_second_apart_through_nginx_that_keeps_connections_for_a_second_are_never_in_doubt() {
    fired_through(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fires_a_second_apart_through_haproxy_that_keeps_connections_for_a_second_are_never_in_doubt() {
    fired_through(Kind::Haproxy).await;
}
