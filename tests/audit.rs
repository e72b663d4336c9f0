//! `stackcron audit`, with a real daemon's journal.

use crate::common::{Place, sandbox, schedule};
use serde_json::Value;

const JOBS: &str = "  e: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all }
  yearly: { stack: s2, job: j1, cron: '0 0 1 1 *' }\n";

/// The records and the summary of an audit in JSON, and its exit status.
fn audit(place: &Place) -> (Vec<Value>, Value, Option<i32>) {
    let ended = place.run(&["audit", "--from", "-1h", "--format", "json"]);
    let lines = ended.stdout.lines();
    let mut records: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let summary = records.pop().unwrap_or_else(|| panic!("a summary: {}", ended.stderr));
    assert_eq!(summary["summary"], true, "{summary}");
    (records, summary, ended.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_that_the_journal_does_not_have_is_lost() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "timeout: 5s", JOBS);
    let mut daemon = place.start();
    let mut instants: Vec<String> = Vec::new();
    while instants.len() < 4 {
        let after = instants.last().cloned();
        let line = daemon.wait_for("action.started", |line| line["scheduled_at"].as_str() > after.as_deref());
        instants.push(line["scheduled_at"].as_str().expect("an instant").to_owned());
    }
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let (records, summary, status) = audit(&place);
    assert_eq!(status, Some(0), "{summary}");
    assert!(records.len() >= 4 && summary["lost"] == 0, "{summary}");
    assert_eq!(summary["instants"], records.len(), "{summary}");

    let gone: jiff::Timestamp = instants[2].parse().expect("an instant");
    let db = rusqlite::Connection::open(place.directory.path().join("journal.sqlite3")).expect("the journal");
    for table in ["open", "settled"] {
        let sql = format!("DELETE FROM {table} WHERE scheduled_at = ?1");
        db.execute(&sql, [gone.as_microsecond()]).expect("a statement");
    }
    drop(db);
    let (records, summary, status) = audit(&place);
    assert_eq!(status, Some(1), "{summary}");
    let lost: Vec<&Value> = records.iter().filter(|record| record["verdict"] == "lost").collect();
    assert_eq!(lost.len(), 1, "{summary}");
    let at: jiff::Timestamp = lost[0]["scheduled_at"].as_str().expect("a text").parse().expect("an instant");
    assert_eq!((lost[0]["entry"].as_str(), at), (Some("e"), gone));
    let text = place.run(&["audit", "e", "--from", "-1h"]);
    assert_eq!(text.status.code(), Some(1));
    let first = text.stdout.lines().next().expect("a summary");
    assert!(first.contains("1 lost") && text.stdout.contains("the journal has nothing"), "{}", text.stdout);
    assert_eq!(place.run(&["audit", "nobody"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_stacks_actions_what_others_started_is_foreign_and_the_run_of_what_is_lost_is_named() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "timeout: 5s", JOBS);
    // Another daemon, with a journal of its own, runs a job of the same stack.
    let other = Place::firing_at(&sandbox, "", "  theirs: { stack: s1, job: j2, cron: '@yearly' }\n");
    let mut daemon = place.start();
    let mut others = other.start();
    let mut actions: Vec<u64> = Vec::new();
    while actions.len() < 4 {
        let line = daemon.wait_for("action.started", |line| {
            line["action_id"].as_u64().is_some_and(|id| !actions.contains(&id))
        });
        actions.push(line["action_id"].as_u64().expect("a number"));
    }
    assert!(other.run(&["fire", "theirs"]).status.success());
    let foreign = others.event("action.started")["action_id"].as_u64().expect("a number");
    assert!(daemon.stop().success() && others.stop().success());

    let audit = |arguments: &[&str]| {
        let ended =
            place.run(&[&["audit", "--from", "-1h", "--format", "json", "--online"], arguments].concat());
        let mut records: Vec<Value> =
            ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let summary = records.pop().unwrap_or_else(|| panic!("a summary: {}", ended.stderr));
        (records, summary, ended)
    };
    let (records, summary, ended) = audit(&[]);
    assert_eq!((&summary["foreign"], &summary["twice"], &summary["lost"]), (&1.into(), &0.into(), &0.into()));
    let found: Vec<&Value> = records.iter().filter(|record| record["verdict"] == "foreign").collect();
    assert_eq!((found.len(), &found[0]["action_id"]), (1, &foreign.into()), "{found:?}");
    assert_eq!((&found[0]["entry"], &found[0]["scheduled_at"]), (&Value::Null, &Value::Null));
    assert!(found[0]["reason"].as_str().is_some_and(|reason| reason.contains("stack s1")), "{found:?}");
    assert_eq!(ended.status.code(), Some(0), "{summary}");
    let cost = "online: asks for the actions of 2 stacks: 2 requests at least";
    assert!(ended.stderr.starts_with(cost) && ended.stderr.contains("left"), "{}", ended.stderr);

    let db = rusqlite::Connection::open(place.directory.path().join("journal.sqlite3")).expect("the journal");
    let lost = actions[1];
    for table in ["open", "settled"] {
        let sql = format!("DELETE FROM {table} WHERE action = ?1");
        db.execute(&sql, [lost.cast_signed()]).expect("a statement");
    }
    drop(db);
    let (records, summary, ended) = audit(&["e"]);
    assert_eq!((ended.status.code(), &summary["lost"]), (Some(1), &1.into()), "{summary}");
    let found = records.iter().find(|record| record["verdict"] == "lost").expect("a lost one");
    assert_eq!(found["action_id"], lost, "{found}");

    // Without a token the journal is judged all the same, and the command says what is missing.
    let blind = place.clone().env("TOKEN", "wrong");
    let ended = blind.run(&["audit", "--from", "-1h", "--online"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("could not be read") && ended.stdout.contains("on_time"), "{ended:?}");
}

/// An entry is due each second, is taken away by a reload for some seconds, and comes back. The
/// journal knows when it was gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_instant_at_which_a_reload_had_taken_the_entry_away_is_not_lost_and_why_says_so() {
    let sandbox = sandbox(&[]).await;
    let other = "  other: { stack: s2, job: j1, cron: '* * * * * *' }\n";
    let both = format!("  e: {{ stack: s1, job: j1, cron: '* * * * * *' }}\n{other}");
    let place = Place::firing_at(&sandbox, "timeout: 5s", &both);
    let mut daemon = place.start();
    daemon.wait_for("action.started", |line| line["entry"] == "e");
    place.replace(&schedule(&sandbox.url(), "timeout: 5s", other));
    daemon.wait_for("schedule.reloaded", |line| line["removed"] == 1);
    let mut gone = Vec::new();
    while gone.len() < 9 {
        let after = gone.last().cloned();
        let is_later =
            |line: &Value| line["entry"] == "other" && line["scheduled_at"].as_str() > after.as_deref();
        let line = daemon.wait_for("action.started", is_later);
        gone.push(line["scheduled_at"].as_str().expect("an instant").to_owned());
    }
    place.replace(&schedule(&sandbox.url(), "timeout: 5s", &both));
    daemon.wait_for("schedule.reloaded", |line| line["added"] == 1);
    daemon.wait_for("action.started", |line| {
        line["entry"] == "e" && line["scheduled_at"].as_str() > Some(&gone[8])
    });
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    // What was claimed ahead, up to five seconds, was skipped by the reload: the journal has
    // nothing of what came later.
    let at = &gone[7];
    let text = place.run(&["why", "e", "--at", at]).stdout;
    assert!(text.contains("the entry was not in the schedule then: it was taken away at"), "{text}");
    assert!(text.contains("and came back at"), "{text}");
    let json: Value =
        serde_json::from_str(&place.run(&["why", "e", "--at", at, "--format", "json"]).stdout).expect("JSON");
    assert_eq!(
        (&json["fate"], &json["schedule_then"]["in_schedule"]),
        (&Value::Null, &Value::Bool(false)),
        "{json}"
    );
    let (records, summary, status) = audit(&place);
    assert_eq!((status, &summary["lost"]), (Some(0), &0.into()), "{summary}");
    let of = |entry: &str| {
        records.iter().filter(|record| record["entry"] == entry && record["scheduled_at"] == **at).count()
    };
    assert_eq!((of("e"), of("other")), (0, 1), "{records:?}");
}
