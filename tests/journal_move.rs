//! A journal is moved from a file to a database and back.

use std::collections::BTreeMap;

use crate::common::postgres::{Proxy, Server};
use crate::common::{Daemon, Place, sandbox, until};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use stackcron::sandbox::{Endpoint, Sandbox};

const JOBS: &str = "  e: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all }
  asleep: { stack: s2, job: j1, cron: '* * * * * *' }\n";

fn stops(mut daemon: Daemon) {
    assert!(daemon.stop().success(), "{}", daemon.stderr());
}

/// Every row of the history, by entry and instant.
fn history(place: &Place) -> BTreeMap<(String, String), Value> {
    let ended = place.run(&["history", "--format", "json"]);
    assert!(ended.status.success(), "{}", ended.stderr);
    let rows = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    rows.map(|row| ((text(&row["entry"]), text(&row["scheduled_at"])), row)).collect()
}

/// The history is the same after a move, but that what the daemon had not come to waits, as after
/// a stop in order.
fn is_the_same(before: BTreeMap<(String, String), Value>, after: BTreeMap<(String, String), Value>) {
    let as_after_a_stop = |(key, mut row): ((String, String), Value)| {
        if row["state"] == "due" && after.get(&key).is_some_and(|after| after["state"] == "waiting") {
            row["state"] = "waiting".into();
            row["reason"] = "down".into();
        }
        (key, row)
    };
    let before: BTreeMap<_, _> = before.into_iter().map(as_after_a_stop).collect();
    assert_eq!(after, before);
}

/// What the journal knows of when `e` came into the schedule.
fn came(place: &Place) -> Value {
    let ended = place.run(&["why", "e", "--at", "yesterday", "--format", "json"]);
    let answer: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    answer["schedule_then"].clone()
}

/// Each second of `e` from the first to the last was sent once: none is lost, and none is sent
/// twice.
fn none_is_lost_or_sent_twice(place: &Place, sandbox: &Sandbox) {
    let rows = history(place);
    let of_e: Vec<Timestamp> = rows
        .keys()
        .filter(|(entry, _)| entry == "e")
        .map(|(_, at)| at.parse().expect("an instant"))
        .collect();
    let seconds = of_e[of_e.len() - 1].duration_since(of_e[0]).as_secs() + 1;
    assert_eq!(seconds, of_e.len() as i64, "no instant is left out: {of_e:?}");
    let started = rows.values().filter(|row| row["action_id"].is_u64()).count();
    let asked = sandbox.ledger().of(Endpoint::RunNow).count();
    // The answer of what was being sent at the kill is not in the journal. It is in doubt for two
    // minutes.
    let in_doubt = rows.values().filter(|row| row["state"] == "sending").count();
    assert!(in_doubt <= 1, "a kill leaves no more in doubt than was being sent: {rows:#?}");
    assert!((started..=started + in_doubt).contains(&asked), "{asked} requests: {rows:#?}");
    let is_paused = |row: &&Value| row["entry"] == "asleep" && row["reason"] == "paused";
    assert!(rows.values().any(|row| is_paused(&row)), "the pause is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_moves_to_a_database_and_back_with_all_that_is_in_it() {
    let Some(server) = Server::shared() else { return };
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "timeout: 5s", JOBS);
    let url = server.url(&server.database());
    let shared = place.clone().env("STACKCRON_JOURNAL", &url);
    let directory = place.directory.path().to_str().expect("UTF-8").to_owned();
    let mut daemon = place.start();
    daemon.fires();
    let paused = place.run(&["pause", "asleep"]);
    assert!(paused.status.success(), "{}", paused.stderr);
    daemon.fires();
    let refused = place.run(&["journal", "move", "--to", &url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains("another daemon"), "{}", refused.stderr);
    // What is open at a kill goes over too: here what is claimed ahead. The states of what has come
    // due are written after the sends.
    until("the journal has the states of what has come due", || {
        let rows = history(&place);
        let is_due = |at: &str| at.parse::<Timestamp>().expect("an instant") <= Timestamp::now();
        let is_open = |row: &Value| matches!(row["state"].as_str(), Some("due" | "sending"));
        match rows.iter().find(|((_, at), row)| is_due(at) && is_open(row)) {
            Some((_, row)) => Err(row.to_string()),
            None => Ok(()),
        }
    });
    daemon.signal(Signal::KILL);
    daemon.end();
    let other = shared.run(&["run"]);
    assert_eq!(other.status.code(), Some(78));
    assert!(other.stderr.contains("stackcron journal move --to"), "{}", other.stderr);

    for _ in 0..2 {
        let before = history(&place);
        let known = came(&place);
        assert!(known["until"].is_string(), "{known}");
        let moved = place.run(&["journal", "move", "--to", &url, "--format", "json"]);
        assert!(moved.status.success(), "{}", moved.stderr);
        let moved: Value = serde_json::from_str(&moved.stdout).expect("JSON");
        assert_eq!(moved["paused"], 1, "{moved}");
        is_the_same(before, history(&shared));
        assert_eq!(came(&shared), known, "which schedule was in force goes over too");
        let left = place.run(&["run"]);
        assert_eq!(left.status.code(), Some(78), "{}", left.stderr);
        let mut daemon = shared.start();
        daemon.fires();
        let refused = shared.run(&["journal", "move", "--to", &directory]);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
        stops(daemon);

        let before = history(&shared);
        let moved = shared.run(&["journal", "move", "--to", &directory]);
        assert!(moved.status.success(), "{}", moved.stderr);
        assert!(moved.stdout.contains("1 pause,"), "{}", moved.stdout);
        is_the_same(before, history(&place));
        assert_eq!(came(&place), known, "which schedule was in force comes back too");
        let left = shared.run(&["run"]);
        assert_eq!(left.status.code(), Some(78), "{}", left.stderr);
        let mut daemon = place.start();
        daemon.fires();
        daemon.fires();
        stops(daemon);
    }
    none_is_lost_or_sent_twice(&place, &sandbox);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_is_not_moved_over_another_one() {
    let Some(server) = Server::shared() else { return };
    let sandbox = sandbox(&[]).await;
    let url = server.url(&server.database());
    let [one, other] = [0, 1].map(|_| Place::firing_at(&sandbox, "timeout: 5s", JOBS));
    let other = other.env("STACKCRON_JOURNAL", &url);
    for place in [&one, &other] {
        let mut daemon = place.start();
        daemon.fires();
        let refused = one.run(&["journal", "move", "--to", &url]);
        assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
        stops(daemon);
    }
    let refused = one.run(&["journal", "move", "--to", &url]);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("has a journal of its own"), "{}", refused.stderr);
    let mut daemon = one.start();
    daemon.fires();
    stops(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_ends_where_the_connection_swallows_its_first_question() {
    let Some(server) = Server::shared() else { return };
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let mut daemon = place.start();
    daemon.fires();
    stops(daemon);
    let proxy = Proxy::before(server);
    proxy.swallow(Some("SELECT schema, oldest"));
    let mut command = place.command(&["journal", "move", "--to", &proxy.url(&server.database())]);
    let mut moving = command.stderr(std::process::Stdio::piped()).spawn().expect("the program starts");
    let ended = until("it gives up", || {
        moving.try_wait().map_err(|error| error.to_string())?.ok_or_else(|| "it waits".to_owned())
    });
    assert!(!ended.success());
    let said = moving.wait_with_output().expect("it has ended").stderr;
    assert!(String::from_utf8_lossy(&said).contains("5 s"), "{}", String::from_utf8_lossy(&said));
}
