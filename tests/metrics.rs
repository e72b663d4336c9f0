//! The port of `--listen`: what it answers, to friend and foe, while the daemon fires.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use crate::common::machine::{Memory, SmallDisk, memory};
use crate::common::{Daemon, PATIENCE, Place, sandbox, schedule, until};
use rustix::process::Signal;
use serde_json::Value;
use stackcron::journal::FILE_NAME;
use stackcron::sandbox::Endpoint;

const EVERY_SECOND: &str = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all }\n";

/// An answer, as it came over the wire.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = connect(address);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer, and the end of the connection");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {path}: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// The values of a scrape, by name and labels.
fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let answer = ask(address, "GET", "/metrics");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.body.ends_with("# EOF\n"), "a scrape is whole: {}", answer.body);
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            assert!(name.starts_with("stackcron_"), "{line}");
            (name.to_owned(), value.parse().unwrap_or_else(|error| panic!("{error} in {line}")))
        })
        .collect()
}

fn until_status(address: SocketAddr, path: &str, status: u16) -> Answer {
    until(&format!("{status} at {path}"), || {
        let answer = ask(address, "GET", path);
        if answer.status == status { Ok(answer) } else { Err(format!("{} {}", answer.status, answer.body)) }
    })
}

/// Starts a daemon that listens, and waits until it fires.
fn listening(place: &Place, arguments: &[&str]) -> (Daemon, SocketAddr) {
    let mut daemon = place.start_with(&[&["--listen", "127.0.0.1:0"], arguments].concat());
    let told = daemon.event("daemon.listening");
    let address = told["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
    until_status(address, "/readyz", 200);
    (daemon, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_and_nothing_else() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  yearly: { stack: s1, job: j1, cron: '@yearly' }\n";
    let (mut daemon, address) = listening(&Place::firing_at(&sandbox, "", jobs), &[]);
    for (method, path, status) in [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/metrics?name=x", 200),
        ("GET", "/", 200),
        ("GET", "/metrics/", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/fire", 405),
        ("POST", "/metrics", 405),
        ("PUT", "/healthz", 405),
        ("DELETE", "/readyz", 405),
    ] {
        let answer = ask(address, method, path);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    }
    let head = ask(address, "GET", "/metrics").head;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(daemon.stop().success(), "{}", daemon.raw);
    TcpStream::connect(address).expect_err("nobody listens after the end");
}

#[test]
fn an_address_in_use_is_told_before_anything_is_begun() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let place = Place::with(&schedule("http://127.0.0.1:1", "", EVERY_SECOND));
    let ended = place.run(&["run", "--log-format", "json", "--listen", &address]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&address) && ended.stderr.contains("in use"),
        "it says what is wrong: {}",
        ended.stderr
    );
    assert!(!ended.stdout.contains("daemon.started"), "{}", ended.stdout);
    assert!(!place.directory.path().join(FILE_NAME).exists(), "no journal is opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_agree_with_the_log() {
    let sandbox = sandbox(&[]).await;
    let due = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 8).expect("a timestamp");
    let cron = due.strftime("%-S %-M %-H %-d %-m *");
    let jobs = format!(
        "  good: {{ stack: s1, job: j1, cron: '{cron}' }}
  other: {{ stack: s2, job: j1, cron: '{cron}', priority: high }}
  fails: {{ stack: s1, job: j-fails, cron: '{cron}' }}
  forbidden: {{ stack: s1, job: j-forbidden, cron: '{cron}' }}
  paused: {{ stack: s1, job: j1, args: again, cron: '{cron}', paused: true }}
"
    );
    let place = Place::firing_at(&sandbox, "quota: { reserve: 100 }", &jobs);
    let (mut daemon, address) = listening(&place, &[]);
    for entry in ["good", "other", "fails"] {
        daemon.wait_for("action.finished", |line| line["entry"] == entry);
    }
    daemon.event("occurrence.rejected");
    daemon.event("occurrence.skipped");
    place.write("jobs: 7\n");
    daemon.signal(Signal::HUP);
    daemon.event("schedule.rejected");
    let failed = "stackcron_schedule_reloads_total{result=\"failure\"}";
    until("a failed reload", || match scrape(address)[failed] {
        1.0 => Ok(()),
        count => Err(count.to_string()),
    });
    place.write(&schedule(&sandbox.url(), "quota: { reserve: 100 }", EVERY_SECOND));
    daemon.signal(Signal::HUP);
    daemon.event("schedule.reloaded");
    daemon.wait_for("action.started", |line| line["entry"] == "nightly");
    place.write(&schedule(
        &sandbox.url(),
        "quota: { reserve: 100 }",
        &EVERY_SECOND.replace("* * * * * *", "@yearly"),
    ));
    daemon.signal(Signal::HUP);
    daemon.wait_for("schedule.reloaded", |line| line["changed"] == 1);

    // What was in flight has come, and a beat has shown the requests.
    let (scraped, ledger) = until("counts that stand still", || {
        let (before, ledger) = (scrape(address), sandbox.ledger());
        let fires = before.get("stackcron_requests_total{account=\"main\",purpose=\"fire\"}").copied();
        let [started, rejected] = ["started", "rejected"]
            .map(|state| before[&format!("stackcron_occurrences_total{{state=\"{state}\",reason=\"\"}}")]);
        let sent = ledger.of(Endpoint::RunNow).count().to_string();
        match fires {
            Some(fires) if fires.to_string() == sent && started + rejected == fires => Ok((before, ledger)),
            _ => Err(format!("{fires:?} of {sent}, {started} started, {rejected} rejected")),
        }
    });
    assert!(daemon.stop().success(), "{}", daemon.raw);
    let logged = |event: &str, reason: Option<&str>| {
        let of = |line: &&&Value| reason.is_none_or(|reason| line["reason"] == reason);
        daemon.events(event).iter().filter(of).count().to_string()
    };
    for (sample, count) in [
        ("stackcron_occurrences_total{state=\"started\",reason=\"\"}", logged("action.started", None)),
        ("stackcron_lateness_seconds_count", logged("action.started", None)),
        ("stackcron_occurrences_total{state=\"rejected\",reason=\"\"}", logged("occurrence.rejected", None)),
        (
            "stackcron_occurrences_total{state=\"skipped\",reason=\"paused\"}",
            logged("occurrence.skipped", Some("paused")),
        ),
        (
            "stackcron_occurrences_total{state=\"missed\",reason=\"deadline\"}",
            logged("occurrence.missed", Some("deadline")),
        ),
        ("stackcron_actions_total{outcome=\"failed\"}", "1".to_owned()),
        ("stackcron_schedule_reloads_total{result=\"success\"}", logged("schedule.reloaded", None)),
        ("stackcron_schedule_entries", "1".to_owned()),
        (
            "stackcron_quota_limit{account=\"main\"}",
            daemon.events("action.started")[0]["quota_limit"].to_string(),
        ),
        ("stackcron_quota_reserve{account=\"main\"}", "100".to_owned()),
        ("stackcron_waiting{account=\"main\",priority=\"high\"}", "0".to_owned()),
        (
            "stackcron_requests_total{account=\"main\",purpose=\"fire\"}",
            ledger.of(Endpoint::RunNow).count().to_string(),
        ),
        ("stackcron_throttled_total{account=\"main\"}", "0".to_owned()),
        ("stackcron_journal_healthy", "1".to_owned()),
    ] {
        let value = scraped.get(sample).map(f64::to_string);
        assert_eq!(value.as_ref(), Some(&count), "{sample} in {scraped:#?}\n{}", daemon.raw);
    }
    assert!(scraped["stackcron_sweeps_total"] >= 3.0, "{scraped:#?}");
    assert!(scraped["stackcron_journal_claim_seconds_count"] >= 1.0, "{scraped:#?}");
    assert!(
        scraped["stackcron_requests_total{account=\"main\",purpose=\"follow_up\"}"] >= 1.0,
        "three actions were followed, some of them together: {scraped:#?}"
    );
    let naming = naming_the_schedule(&scraped);
    assert!(naming.is_empty(), "no other series tells of an entry, a stack or a job: {naming:?}");
}

/// The series that name what the schedule has, besides those of which the number is bounded.
fn naming_the_schedule(scraped: &BTreeMap<String, f64>) -> Vec<&String> {
    let names = ["good", "other", "fails", "forbidden", "nightly", "s1", "j1"];
    let unbounded = scraped.keys().filter(|series| !series.starts_with("stackcron_entry_"));
    unbounded.filter(|series| names.iter().any(|name| series.contains(&format!("\"{name}\"")))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_keep_nobody_out_and_delay_nothing() {
    let sandbox = sandbox(&[]).await;
    let (mut daemon, address) = listening(&Place::firing_at(&sandbox, "", EVERY_SECOND), &[]);
    let pid = daemon.event("daemon.started")["pid"].to_string();
    let process = Path::new("/proc").join(&pid);
    daemon.event("action.started");
    let before = memory(&pid, Memory::Now);

    let mut half = connect(address);
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").expect("sent");
    let cut = closed(&mut half);
    assert!(!cut.contains("200"), "half a request is no request: {cut}");

    let mut long = connect(address);
    let _ = write!(long, "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(12_000));
    let refused = closed(&mut long);
    assert!(refused.is_empty() || refused.contains("431"), "a long head is not read: {refused}");

    let mut idle: Vec<TcpStream> = Vec::new();
    for n in 0..400 {
        idle.push(connect(address));
        if n % 10 == 0 {
            // One that never ends its head, and one with a head of 1 MB.
            let _ = idle[n].write_all(b"GET /metrics HTTP/1.1\r\nX: ");
            let mut flood = connect(address);
            let line = format!("X-{n}: {}\r\n", "x".repeat(1000));
            let _ = flood.write_all(b"GET /metrics HTTP/1.1\r\n");
            let sent = (0..1000).try_for_each(|_| flood.write_all(line.as_bytes()));
            let answer = closed(&mut flood);
            assert!(answer.is_empty() || answer.contains("431"), "sent: {sent:?}, answered: {answer}");
        }
    }
    assert_eq!(ask(address, "GET", "/healthz").status, 200, "idle connections keep nobody out");
    // Not those of the sandbox and of the runtime: there are few.
    let sockets = fs::read_dir(process.join("fd"))
        .expect("its files")
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count();
    assert!(sockets < 256 + 32, "400 connections were opened, and {sockets} are open");
    assert_eq!(closed(&mut idle[0]), "", "the oldest was closed for the newest");
    let grown = memory(&pid, Memory::Now).saturating_sub(before);
    assert!(grown < 16 << 10, "40 MB of heads and 400 connections took {grown} kB");

    let fired = daemon.events("action.started").len();
    let last = jiff::Timestamp::now().to_string();
    daemon.wait_for("action.started", |line| line["scheduled_at"].as_str() > Some(&last));
    assert!(daemon.events("action.started").len() > fired);
    assert!(daemon.stop().success(), "{}", daemon.raw);
    assert_eq!(daemon.events("occurrence.missed").len(), 0, "{}", daemon.raw);
    assert_eq!(daemon.events("occurrence.waiting").len(), 0, "{}", daemon.raw);
    let seconds: Vec<i64> = (daemon.events("action.started").iter())
        .map(|line| line["scheduled_at"].as_str().expect("a time").parse::<jiff::Timestamp>())
        .map(|at| at.expect("a time").as_second())
        .collect();
    let (first, last) = (seconds.iter().min().expect("one"), seconds.iter().max().expect("one"));
    assert_eq!(seconds.len().to_string(), (last - first + 1).to_string(), "each second fired: {seconds:?}");
}

/// What came until the other end closed or reset the connection.
fn closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection is never closed"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_disk_it_lives_and_is_not_ready() {
    let Some(disk) = SmallDisk::mount("size=1m") else {
        return;
    };
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let state = disk.path().to_str().expect("a path");
    let (mut daemon, address) = listening(&place, &["--state-dir", state]);
    let ballast = disk.fill();
    daemon.event("journal.failed");
    let answer = ask(address, "GET", "/readyz");
    assert_eq!(answer.status, 503, "{}", daemon.raw);
    assert!(answer.body.contains("journal cannot be written"), "{}", answer.body);
    assert_eq!(ask(address, "GET", "/healthz").status, 200, "a restart would not help");
    assert_eq!(scrape(address)["stackcron_journal_healthy"].to_string(), "0");

    fs::remove_file(ballast).expect("removed");
    daemon.event("journal.restored");
    until_status(address, "/readyz", 200);
    assert_eq!(scrape(address)["stackcron_journal_healthy"].to_string(), "1");
    assert!(daemon.stop().success(), "{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_success_of_an_entry_is_told_across_a_restart_and_pauses_take_its_next_due_instant() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly: { stack: s1, job: j1, cron: '* * * * * *' }\n  yearly: { stack: s1, job: j2, cron: '0 0 1 1 *' }\n";
    let place = Place::firing_at(&sandbox, "", jobs);
    let (mut daemon, address) = listening(&place, &[]);
    daemon.event("action.finished");
    let of = |series: &str, entry: &str| format!("stackcron_entry_{series}_seconds{{entry=\"{entry}\"}}");
    let told = until("the success of nightly", || {
        let values = scrape(address);
        match values.contains_key(&of("last_success_timestamp", "nightly")) {
            true => Ok(values),
            false => Err(format!("{values:?}")),
        }
    });
    assert_eq!(told[&of("interval", "nightly")], 1.0, "{told:?}");
    assert!(told[&of("interval", "yearly")] >= 365.0 * 86_400.0, "{told:?}");
    assert!(told.contains_key(&of("next_due_timestamp", "yearly")), "{told:?}");
    assert!(!told.contains_key(&of("last_end_timestamp", "yearly")), "it has never run: {told:?}");
    daemon.stop();
    // It fires nothing any more, and knows all the same.
    place.write(&schedule(
        &sandbox.url(),
        "",
        &jobs.replace("j1, cron: '* * * * * *'", "j1, cron: '0 0 1 1 *'"),
    ));
    let (mut daemon, address) = listening(&place, &[]);
    let restarted = scrape(address);
    let success = of("last_success_timestamp", "nightly");
    assert!(restarted[&success] >= told[&success], "{restarted:?}");
    assert!(restarted.contains_key(&of("last_end_timestamp", "nightly")), "{restarted:?}");
    let paused = place.run(&["pause", "nightly"]);
    assert!(paused.status.success(), "{paused:?}");
    let resting = scrape(address);
    assert!(!resting.contains_key(&of("next_due_timestamp", "nightly")), "{resting:?}");
    assert!(!resting.contains_key(&of("interval", "nightly")), "{resting:?}");
    daemon.stop();
    let (mut daemon, address) = listening(&place, &["--metrics-entries", "1"]);
    let fewer = scrape(address);
    assert!(!fewer.keys().any(|name| name.contains("yearly")), "{fewer:?}");
    daemon.stop();
}
