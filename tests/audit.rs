//! `stackcron audit`, with a real daemon's journal.

use crate::common::{Place, sandbox};
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
