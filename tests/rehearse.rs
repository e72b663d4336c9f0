//! `stackcron rehearse`, as a program.

use crate::common::Place;
use serde_json::Value;

const JOBS: &str = "timezone: Europe/London
accounts: { main: { token: { env: TOKEN }, quota: { limit: 6, window: 1h, reserve: 1 } } }
jobs:
  nightly: { stack: s1, job: report, cron: '30 1 * * *', priority: high }
  often: { stack: s1, job: sync, cron: '*/20 * * * *', follow: false }
  broken: { stack: s1, job: import-missing, cron: '10 1 * * *' }
  paused: { stack: s1, job: old, cron: '0 1 * * *', paused: true }
  slow: { stack: s2, job: backup-slow, cron: '5,25 2 * * *', overlap: skip, follow: false }
";

const NIGHT: [&str; 4] = ["--from", "2026-03-01", "--until", "2026-03-01T03:00"];

fn rehearse(schedule: &str, more: &[&str]) -> String {
    let place = Place::with(schedule);
    let ended = place.run(&[&["rehearse"], &NIGHT[..], more].concat());
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stdout
}

fn records(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("a record a line")).collect()
}

#[test]
fn a_night_reads_as_the_log_would_and_ends_in_a_summary() {
    insta::assert_snapshot!(rehearse(JOBS, &[]));
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    let chance = |seed| {
        let more =
            ["--seed", seed, "--latency", "10ms..2s", "--others", "2/1h", "--fault", "close-before:p=0.4"];
        rehearse(JOBS, &[&more[..], &["--format", "json"]].concat())
    };
    assert_eq!(chance("1"), chance("1"));
    assert_ne!(chance("1"), chance("2"), "another seed, another chance");
}

#[test]
fn every_line_is_one_of_the_log_and_the_last_sums_up() {
    let records = records(&rehearse(JOBS, &["--format", "json"]));
    for record in &records {
        for key in ["timestamp", "level", "event", "message"] {
            assert!(record[key].is_string(), "every line has a {key}: {record}");
        }
    }
    let count = |event: &str| records.iter().filter(|record| record["event"] == event).count();
    let summary = records.last().expect("a summary");
    assert_eq!(summary["event"], "rehearsal.summary");
    assert_eq!(summary["started"], count("action.started"));
    assert_eq!(summary["missed"], count("occurrence.missed"));
    assert_eq!(summary["rejected"], count("occurrence.rejected"));
    let started = records.iter().filter(|record| record["event"] == "action.started");
    let lateness = started.filter_map(|record| record["lateness_ms"].as_i64()).max();
    assert_eq!(summary["highest_lateness_ms"].as_i64(), lateness);
    let ended = ["sent", "missed", "skipped_overlap", "skipped_paused"];
    let ended: u64 = ended.iter().filter_map(|key| summary[*key].as_u64()).sum();
    assert_eq!(summary["due"], ended, "each occurrence that came due has one final state: {summary}");
}

#[test]
fn quiet_prints_the_summary_alone() {
    let quiet = records(&rehearse(JOBS, &["--quiet", "--format", "json"]));
    let all = records(&rehearse(JOBS, &["--format", "json"]));
    assert_eq!(quiet.len(), 1);
    assert_eq!(quiet.last(), all.last());
}

#[test]
fn a_span_that_is_none_is_wrong_usage() {
    let place = Place::with(JOBS);
    let ended = place.run(&["rehearse", "--from", "2026-03-02", "--until", "2026-03-01"]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(
        ended.stderr.contains("--until (2026-03-01T00:00:00Z) has to be after --from"),
        "{}",
        ended.stderr
    );

    let zones = JOBS.replace("follow: false }", "follow: false, timezone: UTC }");
    let ended = Place::with(&zones).run(&[&["rehearse"], &NIGHT[..]].concat());
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("several zones"), "{}", ended.stderr);
}

#[test]
fn no_token_is_read() {
    let ended =
        Place::with(&JOBS.replace("env: TOKEN", "file: /nowhere")).run(&[&["rehearse"], &NIGHT[..]].concat());
    assert!(ended.status.success(), "{}", ended.stderr);
}
