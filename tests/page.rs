//! The page of `--listen` and its API: the records are those of the commands, and who has no
//! business there gets nothing.

mod browser;
mod views;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::common::{Daemon, PATIENCE, Place, sandbox, schedule, until};

/// Some that are due, some far off, one with arguments that are nobody's business.
const JOBS: &str = "  heartbeat: { stack: s1, job: j1, cron: '* * * * * *', args: 'password=hunter2' }
  fails: { stack: s1, job: j-fails, cron: '*/2 * * * * *' }
  nightly: { stack: s2, job: j1, cron: '30 1 * * *', timezone: Europe/London }
  away: { stack: s2, job: j1, cron: '0 9 * * MON', timezone: Europe/London, paused: true }
";

/// An answer, as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(mut stream: impl Read + Write, head: &str) -> Answer {
        let sent = stream.write_all(head.as_bytes());
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection is never closed"),
            _ => {}
        }
        let text = String::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        assert!(status != 0 || sent.is_err() || text.is_empty(), "no answer: {text}");
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn ask_with(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    Answer::of(stream, &format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"))
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask_with(address, "GET", path, "Host: localhost\r\n")
}

/// Asks again while the answer is being made: a machine that is busy takes longer than the daemon
/// lets wait.
fn made(address: SocketAddr, path: &str) -> Answer {
    until("an answer that is made", || {
        let answer = get(address, path);
        if answer.status == 202 { Err(answer.body) } else { Ok(answer) }
    })
}

/// Starts a daemon that listens.
fn listening(place: &Place, arguments: &[&str]) -> (Daemon, SocketAddr) {
    let mut daemon = place.start_with(&[&["--listen", "127.0.0.1:0"], arguments].concat());
    let told = daemon.event("daemon.listening");
    let address = told["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
    (daemon, address)
}

/// The records that a command prints.
fn printed(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let ended = place.run(&[arguments, &["--format", "json"]].concat());
    assert!(ended.status.success(), "{ended:?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_business_here_gets_nothing() {
    let sandbox = sandbox(&[]).await;
    let (_daemon, address) =
        listening(&Place::firing_at(&sandbox, "", JOBS), &["--listen-host", "cron.example.com"]);
    for (host, status) in [
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("cron.example.com", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.0.2.1", 421),
    ] {
        for path in ["/", "/api/v1/status", "/calendar.ics?days=1", "/metrics", "/assets/app.js"] {
            let answer = ask_with(address, "GET", path, &format!("Host: {host}\r\n"));
            assert_eq!(answer.status, status, "{path} of {host}: {}", answer.body);
        }
    }
    assert_eq!(ask_with(address, "GET", "/api/v1/status", "").status, 421, "no host at all");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FIRE"] {
        let answer = ask_with(address, method, "/api/v1/status", "Host: localhost\r\n");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("get, head")), "{method}");
    }
    let head = ask_with(address, "HEAD", "/api/v1/status", "Host: localhost\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for path in [
        "/../etc/passwd",
        "/assets/../Cargo.toml",
        "/assets/%2e%2e%2fmod.rs",
        "/assets/",
        "/api/v1/",
        "/api/v2/status",
        "/api/v1/fire",
        "//",
    ] {
        let answer = get(address, path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    let flood = format!("Host: localhost\r\n{}", format!("X: {}\r\n", "x".repeat(1000)).repeat(10_000));
    let refused = ask_with(address, "GET", "/", &flood);
    assert!([0, 431].contains(&refused.status), "10 MB of headers: {}", refused.head);
    for query in
        ["limit=x", "limit=99999999", "state=fine", "since=noon", "wrong=1", "limit=1&limit=2", "entry=a%20b"]
    {
        let answer = get(address, &format!("/api/v1/history?{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(get(address, "/api/v1/why?entry=nigthly&at=now").status, 404);
    assert!(get(address, "/api/v1/why?entry=nigthly&at=now").body.contains("did you mean `nightly`?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_carries_the_headers_of_a_page_that_is_read_only() {
    let sandbox = sandbox(&[]).await;
    let (_daemon, address) = listening(&Place::firing_at(&sandbox, "", JOBS), &[]);
    for path in ["/", "/assets/app.js", "/api/v1/status", "/api/v1/nothing", "/calendar.ics", "/healthz"] {
        let answer = get(address, path);
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "deny"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
    }
    let page = get(address, "/").body;
    assert!(!page.contains("<script>") && !page.contains("style=") && !page.contains("://"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_are_those_of_the_commands_and_are_sent_once() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let (mut daemon, address) = listening(&place, &[]);
    daemon.wait_for("action.finished", |line| line["entry"] == "fails");
    let finished = daemon.event("action.finished");
    let at = finished["scheduled_at"].as_str().expect("a time").to_owned();

    // Of a span that is over the journal tells the same to both.
    let told = until("a settled record", || {
        let answer = get(address, &format!("/api/v1/history?until={at}&limit=1000"));
        let settled = |row: &Value| {
            ["finished", "failed", "rejected", "missed", "skipped"].iter().any(|state| row["state"] == *state)
        };
        let mut rows = answer.json().as_array().expect("an array").clone();
        rows.iter_mut()
            .for_each(|row| drop(row.as_object_mut().expect("an object").shift_remove("finished_at")));
        if rows.iter().all(settled) { Ok(rows) } else { Err(format!("{rows:?}")) }
    });
    assert_eq!(told, printed(&place, &["history", "--until", &at]));

    for (path, command) in [
        (
            "next?entry=nightly&count=5&from=2026-10-23T00:00:00Z",
            &["next", "nightly", "--count", "5", "--from", "2026-10-23T00:00:00Z"][..],
        ),
        (
            "next?from=2027-01-01T00:00:00Z&calendar=true&entry=nightly&entry=away",
            &["next", "nightly", "away", "--from", "2027-01-01T00:00:00Z", "--calendar"],
        ),
        (
            "forecast?from=2027-01-01T00:00:00Z&until=2027-01-01T00:01:00Z",
            &["forecast", "--from", "2027-01-01T00:00:00Z", "--until", "2027-01-01T00:01:00Z"],
        ),
    ] {
        assert_eq!(
            made(address, &format!("/api/v1/{path}")).json(),
            Value::from(printed(&place, command)),
            "{path}"
        );
    }
    let why = ["why", "nightly", "--at", "2026-10-25T01:30"];
    let answer = get(address, "/api/v1/why?entry=nightly&at=2026-10-25T01:30");
    assert_eq!(answer.json(), printed(&place, &why)[0]);
    let text = get(address, "/api/v1/why?entry=nightly&at=2026-01-25T01:31:00Z&format=text").body;
    assert!(text.starts_with("NOT DUE  nightly") && text.contains("Neighbours"), "{text}");

    let status = get(address, "/api/v1/status");
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&status.json()), keys(&printed(&place, &["status"])[0]));
    let entries = get(address, "/api/v1/entries?q=S2&limit=1");
    assert_eq!(
        (entries.json()[0]["entry"].as_str(), entries.header("x-total-count")),
        (Some("away"), Some("2"))
    );
    let next = entries.header("link").and_then(|link| link.split(['<', '>']).nth(1)).expect("a next page");
    assert_eq!(get(address, &format!("/api/v1/entries{next}")).json()[0]["entry"], "nightly");

    for path in ["/api/v1/entries?entry=nightly", "/api/v1/next?entry=nightly", "/", "/assets/page.css"] {
        let tag = get(address, path).header("etag").expect("an ETag").replace("w/", "W/");
        let again = ask_with(address, "GET", path, &format!("Host: localhost\r\nIf-None-Match: {tag}\r\n"));
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path} with {tag}");
    }
    let all: String = ["status", "entries", "history", "quota", "next", "audit", "forecast?until=%2B1m"]
        .map(|name| made(address, &format!("/api/v1/{name}")).body)
        .concat();
    let all =
        all + &made(address, "/calendar.ics?days=1&entry=nightly").body + &get(address, "/metrics").body;
    let why = get(address, &format!("/api/v1/why?entry=heartbeat&at={at}&format=text")).body;
    let all = all + &why;
    assert!(!all.contains("hunter2"), "args are told to nobody");
    assert!(!all.contains(stackcron::sandbox::DEFAULT_TOKEN), "a token is told to nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_makes_what_was_told_of_the_schedule_anew() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", "  nightly: { stack: s1, job: j1, cron: '30 1 * * *' }\n");
    let (mut daemon, address) = listening(&place, &[]);
    let paths = [
        "/api/v1/forecast?from=2027-01-01T00:00:00Z&until=2027-01-01T02:00:00Z",
        "/api/v1/next?from=2027-01-01T00:00:00Z&until=2027-01-01T02:00:00Z",
        "/api/v1/next?calendar=true&from=2027-01-01T00:00:00Z",
        "/calendar.ics",
    ];
    let before = paths.map(|path| get(address, path).body);
    let jobs = "  nightly: { stack: s1, job: j1, cron: '*/10 * * * *' }\n";
    place.write(&schedule(&sandbox.url(), "", jobs));
    daemon.event("schedule.reloaded");
    // All are good for a while, unless the schedule is another.
    for (path, before) in paths.into_iter().zip(before) {
        assert_ne!(get(address, path).body, before, "{path} is of the schedule in force");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_reads_it_through_a_socket() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let path = place.directory.path().join("page.sock");
    let listen = format!("unix:{}", path.display());
    let mut daemon = place.start_with(&["--listen", &listen]);
    assert_eq!(daemon.event("daemon.listening")["address"], listen.as_str());
    let stream = UnixStream::connect(&path).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let answer =
        Answer::of(stream, "GET /readyz HTTP/1.1\r\nHost: cron.example.com\r\nConnection: close\r\n\r\n");
    assert!([200, 503].contains(&answer.status), "{answer:?}");
    assert!(daemon.stop().success(), "{}", daemon.raw);
    assert!(!path.exists(), "its file is gone with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_slow_and_quick_runs_and_the_audit_are_told() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  first: { stack: s1, job: j1, cron: '* * * * * *', expect: { at_least: 1m } }
  second: { stack: s2, job: j1, after: first }
  long: { stack: s1, job: j-slow, cron: '* * * * * *', overlap: skip, expect: { within: 1s } }
";
    let (_daemon, address) = listening(&Place::firing_at(&sandbox, "", jobs), &[]);
    let history = |entry: &str, condition: &dyn Fn(&Value) -> bool| {
        until("a record of the history", || {
            let rows = get(address, &format!("/api/v1/history?entry={entry}")).json();
            let found = rows.as_array().into_iter().flatten().find(|row| condition(row)).cloned();
            found.ok_or_else(|| rows.to_string())
        })
    };
    history("first", &|row| row["pace"] == "quick" && row["after"].is_null());
    history("second", &|row| row["after"] == "first" && row["state"] == "finished");
    history("long", &|row| row["pace"] == "slow");
    let entry = |name: &str| get(address, &format!("/api/v1/entries?entry={name}")).json()[0].clone();
    assert_eq!(entry("first")["then"], serde_json::json!(["second"]));
    assert_eq!(entry("second")["after"], serde_json::json!({ "entry": "first", "on": "success" }));
    let next = get(address, "/api/v1/next?entry=second&count=1").json();
    assert!(next[0]["expected"].is_string(), "{next}");
    let audit = until("an audit with verdicts", || {
        let audit = get(address, "/api/v1/audit").json();
        if audit["on_time"].as_u64() > Some(0) { Ok(audit) } else { Err(audit.to_string()) }
    });
    assert_eq!((&audit["lost"], &audit["broken"]), (&0.into(), &false.into()), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_file_describes_each_answer() {
    let text =
        crate::common::read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.yaml"));
    let mut document: Value = serde_yaml_09::from_str(&text).expect("YAML");
    let sandbox = sandbox(&[]).await;
    let (mut daemon, address) = listening(&Place::firing_at(&sandbox, "", JOBS), &[]);
    let at = daemon.event("action.finished")["scheduled_at"].as_str().expect("an instant").to_owned();
    let paths = document["paths"].as_object().expect("paths").clone();
    for (name, query) in [
        ("status", ""),
        ("entries", ""),
        ("history", ""),
        ("next", ""),
        ("next", "calendar=true&entry=nightly"),
        ("forecast", "until=%2B1m"),
        ("why", "entry=nightly&at=yesterday"),
        ("log", &format!("entry=heartbeat&at={at}")),
        ("quota", ""),
        ("audit", ""),
    ] {
        let mut answer = &paths[&format!("/{name}")]["get"]["responses"]["200"];
        if let Some(found) = answer["$ref"].as_str() {
            answer = document.pointer(&found[1..]).expect("a response");
        }
        let schema = answer["content"]["application/json"]["schema"].clone();
        let components = document["components"].clone();
        let whole = serde_json::json!({ "allOf": [schema], "components": components });
        let validator = jsonschema::validator_for(&whole).expect("a schema");
        let told = made(address, &format!("/api/v1/{name}?{query}"));
        assert_eq!(told.status, 200, "{name}: {}", told.body);
        let told = told.json();
        let wrong: Vec<String> = validator
            .iter_errors(&told)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{name} is not as described: {wrong:#?}\n{told:#}");
    }
    document["paths"] = Value::Null;
    for name in paths.keys() {
        assert!(
            ["/status", "/entries", "/history", "/next", "/forecast", "/why", "/log", "/quota", "/audit"]
                .contains(&name.as_str()),
            "{name} is held against its answer"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_is_told_with_its_lines_of_the_log() {
    let sandbox = sandbox(&[]).await;
    let (mut daemon, address) = listening(&Place::firing_at(&sandbox, "", JOBS), &[]);
    let finished = daemon.wait_for("action.finished", |line| line["entry"] == "heartbeat");
    let at = finished["scheduled_at"].as_str().expect("an instant");
    daemon.read();
    let is_told = |line: &&Value| line["entry"] == "heartbeat" && line["scheduled_at"] == at;
    let lines: Vec<Value> = daemon.log.iter().filter(is_told).cloned().collect();
    assert!(lines.len() >= 2, "it started and finished: {lines:?}");
    assert_eq!(get(address, &format!("/api/v1/log?entry=heartbeat&at={at}")).json(), Value::Array(lines));
    let text = get(address, &format!("/api/v1/log?entry=heartbeat&at={at}&format=text")).body;
    assert!(text.contains("finished"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let none = get(address, "/api/v1/log?entry=nightly&at=2020-01-01T00:00:00Z&format=text").body;
    assert!(none.contains("journalctl -o cat -u stackcron"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calendar_is_read_by_a_calendar_program() {
    let sandbox = sandbox(&[]).await;
    let (_daemon, address) = listening(&Place::firing_at(&sandbox, "", JOBS), &[]);
    let answer = made(address, "/calendar.ics?days=3");
    assert_eq!(answer.header("content-type"), Some("text/calendar; charset=utf-8"));
    let calendar: icalendar::Calendar = answer.body.parse().expect("a calendar");
    use icalendar::Component;
    let events: Vec<&icalendar::Event> =
        calendar.components.iter().filter_map(|component| component.as_event()).collect();
    let of = |name: &str| {
        events
            .iter()
            .filter(|event| event.get_summary().is_some_and(|summary| summary.starts_with(name)))
            .count()
    };
    assert_eq!(of("nightly"), 3, "{}", answer.body);
    assert!((3..=4).contains(&of("heartbeat")), "a busy entry has an event a day: {}", answer.body);
    assert!(
        events.iter().all(|event| event.get_uid().is_some() && event.get_start().is_some()),
        "{}",
        answer.body
    );
    let mut uids: Vec<_> = events.iter().filter_map(|event| event.get_uid()).collect();
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), events.len(), "each is an event of its own");
}
