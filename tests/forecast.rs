//! `stackcron forecast`, as a program: what it says is what a rehearsal then shows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{Ended, Place, sandbox_with, schedule, settings};
use serde_json::Value;

const HEAD: &str = "accounts: { main: { token: { env: TOKEN }, quota: { limit: 12, reserve: 2 } } }\njobs:\n";

/// Too much for 10 requests an hour.
const TOO_MUCH: &str = "  backup: { stack: s, job: a, cron: '0 * * * *', priority: high }
  often: { stack: s, job: b, cron: '*/4 * * * *', catch_up: latest }
  strict: { stack: s, job: c, cron: '30 * * * *', catch_up: none, priority: low }
  all: { stack: s, job: d, cron: '*/30 * * * *', catch_up: all, start_deadline: 10m, follow: false }
";

const SPAN: [&str; 4] = ["--from", "2026-03-01T00:00:00Z", "--until", "2026-03-01T06:00:00Z"];

fn forecast(jobs: &str, more: &[&str]) -> Ended {
    Place::with(&format!("{HEAD}{jobs}")).run(&[&["forecast"], &SPAN[..], more].concat())
}

fn records(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a record a line")).collect()
}

#[test]
fn each_hour_is_held_against_the_quota() {
    let ended = forecast(TOO_MUCH, &["--format", "json"]);
    assert!(ended.status.success(), "{}", ended.stderr);
    let hours = records(&ended);
    assert_eq!(hours.len(), 6, "a record for each hour");
    for (n, hour) in hours.iter().enumerate() {
        assert_eq!(hour["account"], "main");
        assert_eq!(hour["window_start"], format!("2026-03-01T{n:02}:00:00Z"));
        assert_eq!((&hour["limit"], &hour["reserve"]), (&12.into(), &2.into()));
        assert_eq!((&hour["due"], &hour["over"]), (&19.into(), &9.into()), "1 + 15 + 1 + 2 due, 10 fit");
    }
}

#[test]
fn a_quota_with_short_windows_is_forecast_for_144_of_them() {
    for (window, windows) in [("30s", 144), ("1h", 24)] {
        let account =
            format!("{{ token: {{ env: TOKEN }}, quota: {{ limit: 12, reserve: 2, window: {window} }} }}");
        let job = "{ stack: s, job: a, cron: '* * * * *' }";
        let place = Place::with(&format!("accounts: {{ main: {account} }}\njobs: {{ a: {job} }}\n"));
        let ended = place.run(&["forecast", "--from", "2026-03-01T00:00:00Z", "--format", "json"]);
        assert!(ended.status.success(), "{}", ended.stderr);
        assert_eq!(records(&ended).len(), windows, "{window}");
    }
}

#[test]
fn what_is_missed_is_what_a_rehearsal_misses() {
    let forecast = records(&forecast(TOO_MUCH, &["--format", "json"]));
    let place = Place::with(&format!("{HEAD}{TOO_MUCH}"));
    let rehearsed = records(&place.run(&[&["rehearse", "--format", "json"], &SPAN[..]].concat()));
    let mut missed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut late, mut requests) = (0, 0);
    for record in &rehearsed {
        let scheduled_at = record["scheduled_at"].as_str().unwrap_or_default();
        match record["event"].as_str() {
            Some("occurrence.missed") => {
                let hour = format!("{}:00:00Z", &scheduled_at[..13]);
                missed.entry(hour).or_default().push(record["entry"].as_str().expect("a name").to_owned());
            }
            Some("action.started") => late += u64::from(record["lateness_ms"].as_i64() > Some(1000)),
            Some("rehearsal.summary") => requests = record["requests_follow_up"].as_u64().expect("a number"),
            _ => {}
        }
    }
    let mut told_missed = 0;
    for hour in &forecast {
        let mut expected =
            missed.remove(hour["window_start"].as_str().expect("an instant")).unwrap_or_default();
        assert_eq!(hour["missed"], expected.len(), "{hour}");
        expected.sort();
        expected.dedup();
        assert_eq!(hour["missed_entries"], Value::from(expected), "{hour}");
        told_missed += hour["missed"].as_u64().expect("a number");
    }
    assert!(told_missed > 20, "the quota is much too small: {told_missed}");
    let sum = |key: &str| forecast.iter().filter_map(|hour| hour[key].as_u64()).sum::<u64>();
    assert_eq!(sum("late"), late);
    assert!(sum("follow_up") > 0 && sum("follow_up") <= requests, "some follow-up comes after the last hour");
}

#[test]
fn strict_fails_when_something_does_not_fit() {
    assert_eq!(forecast(TOO_MUCH, &["--strict"]).status.code(), Some(1));
    assert_eq!(forecast(TOO_MUCH, &[]).status.code(), Some(0));
    let little = "  backup: { stack: s, job: a, cron: '0 * * * *' }\n";
    let ended = forecast(little, &["--strict"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("everything fits\n"), "{}", ended.stdout);
}

#[test]
fn the_chart_and_the_suggestions_read_well() {
    let bunched = "  a: { stack: s, job: a, cron: '0 2 * * *' }
  b: { stack: s, job: b, cron: '@daily' }
  c: { stack: s, job: c, cron: '0 2 * * *' }
  long-name: { stack: s, job: d, cron: '15 0 2 * * *' }
  both: { stack: s, job: e, cron: ['0 2 * * *', '0 3 * * *'] }
  steps: { stack: s, job: f, cron: '*/30 1-4 * * *' }
";
    let ended = forecast(&format!("{bunched}{TOO_MUCH}"), &["--suggest"]);
    insta::assert_snapshot!(ended.stdout);
}

#[test]
fn the_chart_keeps_to_the_width_that_there_is() {
    for columns in [40, 80, 132, 300] {
        let place = Place::with(&format!("{HEAD}{TOO_MUCH}")).env("COLUMNS", &columns.to_string());
        let ended = place.run(&[&["forecast"], &SPAN[..]].concat());
        // On the narrowest the year is left out.
        let hours =
            ended.stdout.lines().filter(|line| line.trim_start_matches("2026-").starts_with("03-01 "));
        let widths: Vec<usize> = hours.map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 6, "{}", ended.stdout);
        assert!(widths.iter().all(|&width| width <= columns), "{columns} columns: {}", ended.stdout);
        assert!(
            widths.iter().any(|&width| width >= columns - 1),
            "{columns} columns are used: {}",
            ended.stdout
        );
    }
}

#[test]
fn suggestions_lower_the_peak_and_keep_the_hour() {
    let jobs: String = (0..50)
        .map(|n| {
            let cron = ["0 1 * * *", "0 2 * * *", "0 * * * *", "*/15 * * * *", "0 5 3 * * 0"][n % 5];
            format!("  e{n}: {{ stack: s, job: j{n}, cron: '{cron}' }}\n")
        })
        .collect();
    let records = records(&forecast(&jobs, &["--suggest", "--format", "json"]));
    let moves: Vec<&Value> = records.iter().filter(|record| record["suggested"].is_string()).collect();
    assert!(moves.len() > 20, "most of the bunch can move: {}", moves.len());
    for moved in &moves {
        let fields = |key: &str| -> Vec<String> {
            moved[key].as_str().expect("an expression").split(' ').map(str::to_owned).collect()
        };
        let (mut cron, mut suggested) = (fields("cron"), fields("suggested"));
        let minute = cron.len() - 5;
        assert_ne!(cron[minute], suggested[minute], "the minute moves: {moved}");
        assert!(suggested[minute].parse::<u8>().is_ok_and(|minute| minute < 60), "{moved}");
        cron.remove(minute);
        suggested.remove(minute);
        assert_eq!(cron, suggested, "the rest stays: {moved}");
        assert!(!moved["cron"].as_str().expect("text").starts_with("*/15"), "steps are not moved: {moved}");
    }
    let peak = records.iter().find(|record| record["peak"].is_u64()).expect("the peak");
    let (before, after) = (peak["peak"].as_u64(), peak["peak_after"].as_u64());
    assert!(after < before, "{peak}");
    // What comes every quarter of an hour cannot be moved: ten at the full hour.
    assert_eq!(after, Some(10), "{peak}");

    // The suggested schedule has the peak that was promised.
    let mut better = jobs.clone();
    for moved in &moves {
        let entry = moved["entry"].as_str().expect("a name");
        let line = jobs.lines().find(|line| line.starts_with(&format!("  {entry}: "))).expect("its line");
        let cron = moved["cron"].as_str().expect("text");
        better = better.replace(line, &line.replace(cron, moved["suggested"].as_str().expect("text")));
    }
    let better = self::records(&forecast(&better, &["--suggest", "--format", "json"]));
    let peak = better.iter().find(|record| record["peak"].is_u64()).expect("the peak");
    assert_eq!(peak["peak"].as_u64(), after, "{peak}");
}

#[test]
fn check_warns_of_a_window_that_is_nearly_full() {
    let check = |jobs: &str| Place::with(&format!("{HEAD}{jobs}")).run(&["check"]).stdout;
    let busy = check(TOO_MUCH);
    let last = busy.lines().last().unwrap_or_default();
    assert!(last.starts_with("busy: account main has 19 due in the 1h from "), "{busy}");
    assert!(last.contains("190% of the 10 "), "{busy}");
    let eight = "  a: { stack: s, job: a, cron: '0,7,14,21,28,35,42,49 * * * *' }\n";
    assert!(!check(eight).contains("busy"), "80% is not over 80%");
}

#[test]
fn the_last_hours_of_the_calendar_end_too() {
    let place = Place::with(&format!("{HEAD}  a: {{ stack: s, job: a, cron: '* * * * *' }}\n"));
    let place = place.run(&["forecast", "--from", "9999-12-30", "--until", "9999-12-30T22:00Z"]);
    assert_eq!(place.status.code(), Some(0), "{place:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn next_why_and_forecast_know_how_long_runs_take_and_how_often_they_fail() {
    let mut settings = settings(&[]);
    settings.action_duration = Duration::from_secs(3);
    let sandbox = sandbox_with(settings).await;
    let first = "  first: { stack: s1, job: j1, cron: '0 1 * * *' }\n  second: { stack: s2, job: j1, after: first }\n";
    let often = first.replace("0 1 * * *", "*/5 * * * * *");
    let repair = "  repair: { stack: s1, job: j-fails, cron: '*/5 * * * * *' }\n";
    let place = Place::firing_at(&sandbox, "", &format!("{often}{repair}"));
    let seldom =
        "  repair: { stack: s1, job: j-fails, cron: '0 * * * *', retry: { times: 1, after: 10m } }\n";
    let later = schedule(&sandbox.url(), "", &format!("{first}{seldom}"));
    let nothing_known = Place::with(&later).run(&["next", "second", "--format", "json"]);
    assert!(
        nothing_known.status.success() && !nothing_known.stdout.contains("expected"),
        "{nothing_known:?}"
    );

    let mut daemon = place.start();
    daemon.wait_for("action.finished", |line| line["entry"] == "repair");
    daemon.wait_for("action.finished", |line| line["entry"] == "first");
    assert!(daemon.stop().success(), "{}", daemon.raw);
    place.write(&later);

    let next = records(&place.run(&["next", "second", "--count", "1", "--format", "json"]));
    let instant =
        |key: &str| next[0][key].as_str().unwrap_or_default().parse::<jiff::Timestamp>().expect(key);
    let took = instant("expected").duration_since(instant("scheduled_at"));
    assert!((2..30).contains(&took.as_secs()), "{next:?}");
    let text = place.run(&["next", "second", "--count", "1"]).stdout;
    assert!(text.contains("when first has ended with success, about "), "{text}");
    let at = next[0]["scheduled_at"].as_str().expect("an instant");
    let why = place.run(&["why", "second", "--at", at]).stdout;
    assert!(why.contains("second is due when first ends with success"), "{why}");
    assert!(why.contains("by the median run times"), "{why}");
    let why = place.run(&["why", "second"]).stdout;
    assert!(!why.contains("never again") && why.contains("when first has ended, about "), "{why}");

    let windows = records(&place.run(&["forecast", "--format", "json"]));
    assert!(windows.iter().any(|window| window["reruns"] == 1.0), "{windows:?}");
    let text = place.run(&["forecast"]).stdout;
    assert!(text.contains("RERUNS"), "{text}");
    assert!(text.contains("2 entries run as long as their median runs in the journal"), "{text}");
    let text = place.run(&["forecast", "--action-duration", "1m"]).stdout;
    assert!(!text.contains("median"), "who supposes a run time gets it: {text}");
}
