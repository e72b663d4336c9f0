//! `stackcron backfill` through the program: what did not start is made up for, over kills of the
//! daemon and of the command, and nothing runs twice.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;
use stackcron::sandbox::Sandbox;

use crate::common::{
    Daemon, Ended, Place, instant, quota, sandbox, sandbox_with, settings, until, until_within,
};

const EVERY_SECOND: &str = "'* * * * * *'";

fn records(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// How often each argument was sent.
fn runs(sandbox: &Sandbox) -> HashMap<String, usize> {
    let mut runs = HashMap::new();
    for call in sandbox.ledger().started() {
        *runs.entry(call.args.clone().unwrap_or_default()).or_default() += 1;
    }
    runs
}

/// A place where the occurrences of `e` from the first instant up to before the second one were
/// skipped, and nothing more comes due of it.
fn skipped(sandbox: &Sandbox, more: &str, number: usize) -> (Place, Daemon, [String; 2]) {
    let jobs = format!(
        "  e: {{ stack: s1, job: j1, cron: {EVERY_SECOND}, catch_up: none, args_template: '{{unix}}'{more} }}\n"
    );
    let place = Place::firing_at(sandbox, "", &jobs);
    let mut daemon = place.start();
    daemon.event("action.started");
    assert!(place.run(&["pause", "e"]).status.success());
    let mut instants: Vec<Timestamp> = Vec::new();
    while instants.len() < number {
        let last = instants.last().copied();
        let is_later = |line: &Value| last.is_none_or(|last| instant(&line["scheduled_at"]) > last);
        let line = daemon.wait_for("occurrence.skipped", is_later);
        instants.push(instant(&line["scheduled_at"]));
    }
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let text = std::fs::read_to_string(place.config()).expect("the file");
    place.replace(&text.replace(EVERY_SECOND, "'@yearly'"));
    let daemon = place.start();
    place.fires();
    assert!(place.run(&["resume", "e"]).status.success());
    let end = *instants.last().expect("one") + SignedDuration::from_secs(1);
    until("the span is past", || if Timestamp::now() < end { Err(end.to_string()) } else { Ok(()) });
    // The daemon before had claimed some seconds ahead, and the one of now may send those.
    until("what was claimed ahead has its end", || {
        let rows = records(&place.run(&["--format", "json", "history", "e"]));
        let is_open =
            |row: &Value| ["due", "waiting", "sending"].contains(&row["state"].as_str().unwrap_or(""));
        if rows.iter().any(is_open) { Err(format!("{rows:?}")) } else { Ok(()) }
    });
    let span = [instants[0].to_string(), end.to_string()];
    (place, daemon, span)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_skipped_is_made_up_for_over_kills_and_none_runs_twice() {
    let sandbox = sandbox(&[]).await;
    let (place, mut daemon, [from, to]) = skipped(&sandbox, "", 4);
    let before = runs(&sandbox);
    let command = ["--format", "json", "backfill", "e", "--from", &from, "--until", &to];

    let dry = place.run(&[&command[..], &["--dry-run"]].concat());
    assert!(dry.status.success(), "{dry:?}");
    let mut wanted = records(&dry);
    let summary = wanted.pop().expect("a summary");
    assert_eq!((&summary["requests"], wanted.len()), (&4.into(), 4), "{dry:?}");
    assert!(wanted.iter().all(|record| record["state"] == "skipped"), "{dry:?}");
    assert_eq!(runs(&sandbox), before, "a dry run runs nothing");

    // Both are killed while the first of them runs; whoever asks again goes on.
    let mut asking =
        place.command(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    daemon.event("occurrence.backfilled");
    daemon.signal(Signal::KILL);
    daemon.end();
    asking.kill().expect("killed");
    asking.wait().expect("an end");
    let mut daemon = place.start();
    place.fires();
    // What a kill has left in doubt is decided after two minutes.
    until_within(Duration::from_secs(250), "all is made up for", || {
        let ended = place.run(&command);
        if ended.status.success() { Ok(()) } else { Err(format!("{ended:?}")) }
    });
    let ran = runs(&sandbox);
    for record in &wanted {
        let unix = instant(&record["scheduled_at"]).as_second().to_string();
        assert_eq!(record["args"], unix.as_str());
        assert_eq!(ran.get(&unix), Some(&1), "that of {unix} ran once: {ran:?}");
    }
    assert!(ran.values().all(|times| *times == 1), "{ran:?}");

    // The history, the audit and `why` tell it as what it was.
    let rows = records(&place.run(&["--format", "json", "history", "e", "--since", &from, "--until", &to]));
    let made_up: Vec<&Value> = rows.iter().filter(|row| row["origin"] == "backfill").collect();
    assert_eq!(made_up.len(), 4, "{rows:#?}");
    assert!(made_up.iter().all(|row| row["pass"] == 1 && row["state"] == "finished"), "{rows:#?}");
    let audit = place.run(&["--format", "json", "audit", "e", "--from", &from, "--until", &to]);
    let judged = records(&audit);
    assert_eq!(judged.last().expect("a summary")["late"], 4, "{audit:?}");
    assert!(judged[..4].iter().all(|record| record["reason"] == "backfill"), "{audit:?}");
    let why = place.run(&["why", "e", "--at", &from]);
    assert!(why.stdout.contains("a person had it made up for"), "{}", why.stdout);
    assert!(why.stdout.contains("the entry was paused"), "what it was before: {}", why.stdout);

    let again = place.run(&["backfill", "e", "--from", &from, "--until", &to]);
    assert!(
        again.status.success() && again.stdout.contains("nothing of e is to be made up for"),
        "{again:?}"
    );
    assert!(again.stdout.contains("left alone: 4 started an action"), "{again:?}");
    assert_eq!(runs(&sandbox), ran);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_make_up_for_one_span_at_once_run_nothing_twice() {
    let sandbox = sandbox(&[]).await;
    let (place, mut daemon, [from, to]) = skipped(&sandbox, "", 3);
    let command = ["backfill", "e", "--from", &from, "--until", &to];
    let start = || {
        let mut command = place.command(&command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    for asking in [start(), start()] {
        let ended = asking.wait_with_output().expect("an end");
        assert!(ended.status.success(), "{ended:?}");
    }
    let ran = runs(&sandbox);
    let first = from.parse::<Timestamp>().expect("an instant").as_second();
    assert!(ran.contains_key(&first.to_string()), "{ran:?}");
    assert!(ran.values().all(|times| *times == 1), "{ran:?}");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_lacks_is_made_up_for_and_what_stands_against_it_is_told() {
    let sandbox = sandbox(&[]).await;
    let jobs = format!("  e: {{ stack: s1, job: j1, cron: {EVERY_SECOND}, args: own }}\n");
    let place = Place::firing_at(&sandbox, "", &jobs);
    let mut daemon = place.start();
    let mut instants: Vec<Timestamp> = Vec::new();
    while instants.len() < 3 {
        let last = instants.last().copied();
        let line = daemon.wait_for("action.finished", |line| {
            last.is_none_or(|last| instant(&line["scheduled_at"]) > last)
        });
        instants.push(instant(&line["scheduled_at"]));
    }
    assert!(daemon.stop().success());
    let lost = instants[1];
    let db = rusqlite::Connection::open(place.directory.path().join("journal.sqlite3")).expect("the journal");
    db.execute("DELETE FROM settled WHERE scheduled_at = ?1", [lost.as_microsecond()]).expect("a statement");
    drop(db);
    let (from, to) = (lost.to_string(), (lost + SignedDuration::from_secs(1)).to_string());
    let command = ["backfill", "e", "--from", &from, "--until", &to];

    // Before the first row nobody knows.
    let hour_before = (instants[0] - SignedDuration::from_hours(1)).to_string();
    let dry = place.run(&["backfill", "e", "--from", &hour_before, "--until", &to, "--dry-run"]);
    assert!(dry.status.success() && dry.stderr.contains("history does not reach back to"), "{dry:?}");
    assert!(dry.stdout.contains("1 occurrence of e would be made up for"), "{dry:?}");
    let future = place.run(&["backfill", "e", "--from", &from, "--until", "tomorrow"]);
    assert_eq!(future.status.code(), Some(2), "{future:?}");
    assert!(future.stderr.contains("--until now"), "{future:?}");
    assert_eq!(place.run(&["backfill", "nobody", "--from", &from, "--until", &to]).status.code(), Some(2));

    let mut daemon = place.start();
    place.fires();
    assert!(place.run(&["pause", "e", "--note", "a move"]).status.success());
    let paused = place.run(&command);
    assert_eq!(paused.status.code(), Some(1), "{paused:?}");
    assert!(paused.stderr.contains("stackcron resume e"), "{paused:?}");
    assert!(place.run(&["resume", "e"]).status.success());
    let ended = place.run(&command);
    assert!(ended.status.success(), "{ended:?}");
    let rows = records(&place.run(&["--format", "json", "history", "e", "--since", &from, "--until", &to]));
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["origin"], rows[0].get("pass")), (&"backfill".into(), None), "{rows:?}");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_made_up_for_from_its_first_entry_on() {
    let sandbox = sandbox(&[]).await;
    let (place, mut daemon, [from, to]) =
        skipped(&sandbox, " }\n  then: { stack: s2, job: j1, after: e, args_template: 'then {unix}'", 2);
    let ended = place.run(&["backfill", "e", "--from", &from, "--until", &to]);
    assert!(ended.status.success(), "{ended:?}");
    until("both have run once", || {
        let ran = runs(&sandbox);
        let first = from.parse::<Timestamp>().expect("an instant").as_second();
        let times = |args: String| ran.get(&args).copied();
        let is_so = [first, first + 1].iter().all(|unix| times(format!("then {unix}")) == Some(1));
        if is_so { Ok(()) } else { Err(format!("{ran:?}")) }
    });
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_quota_that_stays_closed_each_waits_for_longer_than_its_entry_would() {
    let mut settings = settings(&[]);
    settings = settings.quota(quota(6, Duration::from_secs(40)));
    let sandbox = sandbox_with(settings).await;
    let jobs = format!(
        "  e: {{ stack: s1, job: j1, cron: {EVERY_SECOND}, catch_up: none, start_deadline: 1s, follow: false, args_template: '{{unix}}' }}\n"
    );
    let place = Place::firing_at(&sandbox, "quota: { limit: 6, window: 40s, reserve: 1 }", &jobs);
    let mut daemon = place.start();
    let first = daemon.event("occurrence.missed");
    let from = instant(&first["scheduled_at"]);
    daemon.wait_for("occurrence.missed", |line| instant(&line["scheduled_at"]) > from);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let text = std::fs::read_to_string(place.config()).expect("the file");
    place.replace(&text.replace(EVERY_SECOND, "'@yearly'"));
    let mut daemon = place.start();
    place.fires();
    let (from, to) = (from.to_string(), (from + SignedDuration::from_secs(2)).to_string());
    let ended = place.run(&["backfill", "e", "--from", &from, "--until", &to]);
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.contains("quota"), "what it waits for is told: {ended:?}");
    assert_eq!(daemon.events("occurrence.missed"), Vec::<&Value>::new(), "a second is no deadline here");
    let ran = runs(&sandbox);
    let first = from.parse::<Timestamp>().expect("an instant").as_second();
    for unix in [first, first + 1] {
        assert_eq!(ran.get(&unix.to_string()), Some(&1), "{ran:?}");
    }
    assert_eq!(sandbox.ledger().throttled().count(), 0, "nothing is sent that would be refused");
    assert!(daemon.stop().success());
}
