//! The journal's file is removed, replaced, or an older copy of it is put back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::postgres::Server;
use crate::common::{Place, sandbox};
use jiff::Timestamp;
use serde_json::Value;
use stackcron::sandbox::Endpoint;

const JOBS: &str = "  e: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all }\n";

fn journal(place: &Place) -> PathBuf {
    place.directory.path().join("journal.sqlite3")
}

/// The journal's files, whose names begin with this path.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        match std::fs::copy(name(from), name(to)) {
            Ok(_) => {}
            Err(_) => drop(std::fs::remove_file(name(to))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_gone_is_not_made_anew_without_a_word() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "timeout: 5s", JOBS);
    let mut daemon = place.start();
    daemon.fires();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    std::fs::remove_file(journal(&place)).expect("it was there");
    let refused = place.run(&["run"]);
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stderr);
    assert!(refused.stderr.contains("--new-journal"), "{}", refused.stderr);
    assert!(refused.stdout.contains("\"journal.replaced\""), "{}", refused.stdout);
    assert!(!journal(&place).exists(), "nothing is made in its place");
    let mut anew = place.start_with(&["--new-journal"]);
    anew.fires();
    assert!(anew.stop().success(), "{}", anew.stderr());
    let mut again = place.start();
    again.fires();
    assert!(again.stop().success(), "{}", again.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_journal_s_file_is_refused_and_kept_beside_a_new_one() {
    let sandbox = sandbox(&[]).await;
    let [one, other] = [0, 1].map(|_| Place::firing_at(&sandbox, "timeout: 5s", JOBS));
    for place in [&one, &other] {
        let mut daemon = place.start();
        daemon.fires();
        assert!(daemon.stop().success(), "{}", daemon.stderr());
    }
    copy(&journal(&other), &journal(&one));
    let refused = one.run(&["run"]);
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stderr);
    let line = refused.stdout.lines().find(|line| line.contains("\"journal.replaced\"")).expect("an event");
    let replaced: Value = serde_json::from_str(line).expect("JSON");
    assert_ne!(replaced["known"], replaced["found"]);
    let mut anew = one.start_with(&["--new-journal"]);
    anew.fires();
    assert!(anew.stop().success(), "{}", anew.stderr());
    let kept =
        PathBuf::from(format!("{}.{}", journal(&one).display(), replaced["found"].as_str().expect("a UUID")));
    assert!(kept.exists(), "{}", kept.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_file_sends_nothing_again() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "timeout: 5s", JOBS);
    let mut daemon = place.start();
    daemon.fires();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let kept = place.directory.path().join("kept");
    copy(&journal(&place), &kept);
    let mut daemon = place.start();
    for _ in 0..4 {
        daemon.fires();
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    copy(&kept, &journal(&place));
    let mut daemon = place.start();
    let older = daemon.event("journal.older");
    assert!(older["occurrences"].as_u64() >= Some(4), "{older}");
    daemon.fires();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let mut times: BTreeMap<i64, usize> = BTreeMap::new();
    let (mut first, mut last) = (Timestamp::MAX, Timestamp::MIN);
    for record in sandbox.ledger().of(Endpoint::RunNow) {
        *times.entry(record.at.as_second()).or_default() += 1;
        (first, last) = (first.min(record.at), last.max(record.at));
    }
    let (sent, seconds) = (times.values().sum::<usize>() as i64, last.duration_since(first).as_secs());
    assert!(sent <= seconds + 2, "sent {sent} times in {seconds} s: {times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_with_a_pause_in_it_is_not_left_for_a_database_without_a_word() {
    let Some(server) = Server::shared() else { return };
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "timeout: 5s", JOBS);
    let mut daemon = place.start();
    daemon.fires();
    let paused = place.run(&["pause", "e"]);
    assert!(paused.status.success(), "{}", paused.stderr);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let database = server.database();
    let shared = place.clone().env("STACKCRON_JOURNAL", &server.url(&database));
    let refused = shared.run(&["run"]);
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("journal.sqlite3") && refused.stderr.contains("open there"),
        "{}",
        refused.stderr
    );
    assert_eq!(server.sql(&database, "SELECT to_regnamespace('stackcron')"), "", "nothing is made there");
    let mut anew = shared.start_with(&["--new-journal"]);
    anew.fires();
    assert!(anew.stop().success(), "{}", anew.stderr());
    // The file is behind the database by now.
    let refused = place.run(&["run"]);
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stderr);
}
