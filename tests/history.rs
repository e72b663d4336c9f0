//! `stackcron history` as a command: beside a running daemon, without one, and without a journal; and `why` with it.

use crate::common::{Place, sandbox};
use serde_json::Value;

const KEYS: [&str; 9] = [
    "entry",
    "scheduled_at",
    "state",
    "sent_at",
    "lateness_ms",
    "attempts",
    "action_id",
    "finished_success",
    "reason",
];

fn rows(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let ended = place.run(&[&["history", "--format", "json"], arguments].concat());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_read_beside_a_daemon_and_after_it() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", "  nightly: { stack: s1, job: j1, cron: '* * * * * *' }\n");
    let mut daemon = place.start();
    let finished = daemon.event("action.finished");
    let beside = rows(&place, &["nightly"]);
    assert!(!beside.is_empty(), "what is claimed is in the history beside {}", daemon.raw);
    assert!(daemon.stop().success());

    let after = rows(&place, &[]);
    let row = after.iter().find(|row| row["scheduled_at"] == finished["scheduled_at"]).expect("its row");
    let keys: Vec<&str> = row.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, KEYS);
    assert_eq!((&row["state"], &row["action_id"]), (&"finished".into(), &finished["action_id"]), "{row}");
    let times: Vec<&str> = after.iter().filter_map(|row| row["scheduled_at"].as_str()).collect();
    assert!(times.is_sorted() && times.len() >= beside.len(), "the newest is last: {times:?}");

    let statistics = rows(&place, &["nightly", "--stats"]);
    let [nightly] = &statistics[..] else { panic!("one entry: {statistics:?}") };
    let ended = after.iter().filter(|row| row["state"] == "finished").count();
    assert_eq!((&nightly["entry"], &nightly["runs"]), (&"nightly".into(), &ended.into()), "{nightly}");
    assert_eq!(nightly["success"], 1.0, "{nightly}");
    assert!(nightly["run_ms_median"].is_i64() && nightly["last_success"].is_string(), "{nightly}");

    let wrong = place.run(&["history", "nigthly"]);
    assert_eq!(wrong.status.code(), Some(2), "a name that there is not is wrong usage: {wrong:?}");
    assert!(wrong.stderr.contains("did you mean `nightly`?"), "{wrong:?}");

    let at = finished["scheduled_at"].as_str().expect("a time");
    let told = place.run(&["why", "nightly", "--at", at, "--format", "json"]);
    let answer: Value = serde_json::from_str(&told.stdout).expect("JSON");
    let fate = &answer["fate"];
    assert_eq!((&fate["state"], &fate["event"]), (&"finished".into(), &"action.finished".into()), "{answer}");
    assert_eq!(fate["sent_at"], row["sent_at"], "one and the same record: {answer}");
}

#[test]
fn no_journal_is_an_error_that_names_its_place() {
    let place = Place::with("");
    let elsewhere = place.directory.path().join("elsewhere");
    let elsewhere = elsewhere.to_str().expect("UTF-8");
    let ended = place.run(&["history", "--state-dir", elsewhere]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert!(ended.stderr.starts_with(&format!("error: there is no journal in {elsewhere}")), "{ended:?}");
}

#[test]
fn a_word_that_is_no_state_is_wrong_usage() {
    let ended = Place::with("").run(&["history", "--state", "done"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("finished"), "the states are named: {}", ended.stderr);
}
