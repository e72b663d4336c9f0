//! `args_template` through the program: each occurrence sends its own instant, wherever the
//! arguments are seen.

use std::collections::HashMap;

use serde_json::Value;
use stackcron::sandbox::Sandbox;

use crate::common::{Daemon, Place, sandbox};

const ZONE: &str = "timezone: Asia/Kolkata";

/// The instant in the entry's zone, as a template's `{scheduled_at}` has it.
fn in_zone(at: &str) -> String {
    let zone = jiff::tz::TimeZone::get("Asia/Kolkata").expect("a zone");
    let at: jiff::Timestamp = at.parse().expect("a timestamp");
    at.display_with_offset(zone.to_offset(at)).to_string()
}

/// The arguments of each action that was started, by its number.
fn args_by_action(sandbox: &Sandbox) -> HashMap<u64, String> {
    let ledger = sandbox.ledger();
    let started = ledger.started().filter_map(|call| Some((call.action?, call.args.clone()?)));
    started.collect()
}

fn assert_each_has_its_own(daemon: &Daemon, sandbox: &Sandbox, prefix: &str) {
    let sent = args_by_action(sandbox);
    let lines = daemon.events("action.started");
    assert!(!lines.is_empty(), "something was started");
    for line in lines {
        let action = line["action_id"].as_u64().expect("an action");
        let scheduled_at = in_zone(line["scheduled_at"].as_str().expect("a time"));
        assert_eq!(sent[&action], format!("{prefix}{scheduled_at}"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_occurrence_sends_its_own_instant_over_a_kill_too() {
    let sandbox = sandbox(&[]).await;
    let jobs = format!(
        "  often: {{ stack: s1, job: j1, cron: '* * * * * *', {ZONE}, catch_up: all, \
         args_template: '{{entry}} --at {{scheduled_at}}' }}\n"
    );
    let place = Place::firing_at(&sandbox, "", &jobs);
    let mut daemon = place.start();
    let first = daemon.event("action.started");
    assert!(sandbox.ledger().started().count() > 0, "{first}");
    daemon.signal(rustix::process::Signal::KILL);
    daemon.end();
    assert_each_has_its_own(&daemon, &sandbox, "often --at ");

    let mut daemon = place.start();
    daemon.wait_for("action.started", |line| line["scheduled_at"].as_str() > first["scheduled_at"].as_str());
    assert!(daemon.stop().success());
    assert_each_has_its_own(&daemon, &sandbox, "often --at ");
    assert!(!daemon.raw.contains("--at "), "no arguments in the log:\n{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_fires_is_filled_with_its_own_instant_unless_they_say_otherwise() {
    let sandbox = sandbox(&[]).await;
    let jobs = format!(
        "  yearly: {{ stack: s1, job: j1, cron: '@yearly', {ZONE}, args_template: 'day {{scheduled_at}}' }}\n"
    );
    let place = Place::firing_at(&sandbox, "", &jobs);
    let mut daemon = place.start();
    daemon.event("daemon.started");
    assert!(place.run(&["fire", "yearly"]).status.success());
    daemon.event("action.started");
    assert_each_has_its_own(&daemon, &sandbox, "day ");
    assert!(place.run(&["fire", "yearly", "--args", "{date}"]).status.success());
    assert!(args_by_action(&sandbox).values().any(|args| args == "{date}"), "as written");
    assert!(daemon.stop().success());
}

#[test]
fn next_shows_what_each_occurrence_sends() {
    let jobs =
        "  nightly: { stack: s, job: j, cron: '30 1 * * *', args_template: '{{ --day {date} {time}' }\n";
    let place = Place::with(&crate::common::schedule("http://127.0.0.1:1/api/3", "", jobs));
    let from = ["next", "--from", "2026-10-25T00:00:00Z", "--count", "1"];
    let json = place.run(&[&["--format", "json"], &from[..]].concat());
    let record: Value =
        serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    assert_eq!(record["args"], "{ --day 2026-10-25 01:30:00", "{record}");
    let text = place.run(&from);
    assert!(text.stdout.contains("{ --day 2026-10-25 01:30:00"), "{}", text.stdout);
}
