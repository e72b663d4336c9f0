//! Several daemons share one journal in PostgreSQL: one fires, and whatever happens to it or to the
//! database, no occurrence is sent twice and none is lost.

// The longest come first by their names, so that the others fit beside them.
mod accounts;
mod backfilled;
mod contained;
mod database;
mod ended_terms;
mod entering;
mod late;
mod outages;
mod replaced;
mod round_trips;
mod standby;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use crate::common::postgres::{Proxy, Server};
use crate::common::{Daemon, Place, sandbox, until};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use stackcron::sandbox::{Endpoint, Sandbox};

/// So many entries, each due every second. Its arguments are its name, which the ledger has too.
const ENTRIES: usize = 5;

const HOUR: Duration = Duration::from_secs(3600);

fn each_second() -> String {
    let entry = |of: usize| {
        format!("  e{of}: {{ stack: s1, job: j1, args: e{of}, cron: '* * * * * *', catch_up: all }}\n")
    };
    (0..ENTRIES).map(entry).collect()
}

/// A database, and a sandbox that counts what arrives.
struct Scene {
    server: &'static Server,
    database: String,
    sandbox: Sandbox,
    jobs: String,
}

impl Scene {
    /// On the server that the tests share: this one leaves it as it is.
    async fn new() -> Option<Scene> {
        Some(Scene::on(Server::shared()?).await)
    }

    /// On a server of its own, which ends with the tests.
    async fn alone() -> Option<Scene> {
        Some(Scene::on(Box::leak(Box::new(Server::start()?))).await)
    }

    async fn on(server: &'static Server) -> Scene {
        Scene { server, database: server.database(), sandbox: sandbox(&[]).await, jobs: each_second() }
    }

    /// A machine with the schedule and a state directory of its own.
    fn machine(&self) -> Place {
        self.machine_at(&self.server.url(&self.database))
    }

    fn machine_at(&self, url: &str) -> Place {
        Place::firing_at(&self.sandbox, "timeout: 5s", &self.jobs).env("STACKCRON_JOURNAL", url)
    }

    /// Checks that nothing came twice, and that each action is the one of an occurrence: by its
    /// row, or as one of those of the same entry that are in doubt.
    fn nothing_twice(&self, place: &Place) -> Vec<Value> {
        let rows = history(place);
        let mut wrong = Vec::new();
        let mut doubtful: BTreeMap<String, usize> = BTreeMap::new();
        let mut of_rows = BTreeMap::new();
        for row in &rows {
            // Nobody has found out yet or can, or it is one of several of which all have started.
            let state = row["state"].as_str().expect("a state");
            if row["action_id"].is_null() && ["unknown", "sending", "due", "started"].contains(&state) {
                *doubtful.entry(entry(row)).or_default() += 1;
            }
            if let Some(action) = row["action_id"].as_u64()
                && let Some(other) = of_rows.insert(action, row)
            {
                wrong.push(format!("{row} and {other} have one action"));
            }
        }
        for record in self.sandbox.ledger().started() {
            let action = record.action.expect("it was started");
            let left = doubtful.entry(record.args.clone().unwrap_or_default()).or_default();
            if of_rows.remove(&action).is_some() {
                continue;
            } else if *left > 0 {
                *left -= 1;
            } else {
                wrong.push(format!("nobody knows of {record:?}"));
            }
        }
        wrong.extend(of_rows.into_values().map(|row| format!("the server knows nothing of {row}")));
        let all: Vec<String> = rows.iter().map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "{}\nof\n{}", wrong.join("\n"), all.join("\n"));
        rows
    }
}

fn history(place: &Place) -> Vec<Value> {
    let ended = place.run(&["history", "--format", "json"]);
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn entry(row: &Value) -> String {
    row["entry"].as_str().expect("a name").to_owned()
}

fn scheduled_at(row: &Value) -> Timestamp {
    row["scheduled_at"].as_str().and_then(|at| at.parse().ok()).expect("an instant")
}

/// Each second has the rows of all entries, and nothing was given up.
fn nothing_is_lost(rows: &[Value]) {
    let mut seconds: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        seconds.entry(scheduled_at(row).as_second()).or_default().insert(entry(row));
        let state = row["state"].as_str().expect("a state");
        assert!(!["missed", "skipped", "rejected", "failed"].contains(&state), "{row}");
    }
    let (first, last) = (seconds.keys().next().copied(), seconds.keys().last().copied());
    for second in first.unwrap_or(0)..=last.unwrap_or(0) {
        let entries = seconds.get(&second).map_or(0, BTreeSet::len);
        assert_eq!(entries, ENTRIES, "of the second {second}");
    }
}

/// When a line was logged.
fn at(line: &Value) -> Timestamp {
    line["timestamp"].as_str().and_then(|at| at.parse().ok()).expect("an instant")
}

fn states(rows: &[Value], state: &str) -> usize {
    rows.iter().filter(|row| row["state"] == state).count()
}

/// How long nothing was sent at the longest.
fn longest_gap(sandbox: &Sandbox) -> Duration {
    let ledger = sandbox.ledger();
    let sent: Vec<Timestamp> = ledger.of(Endpoint::RunNow).map(|record| record.at).collect();
    let gaps = sent.windows(2).map(|pair| pair[1].duration_since(pair[0]).unsigned_abs());
    gaps.max().unwrap_or_default()
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A leader that fires, and one that stands by, perhaps by ways of their own to the database.
fn pair(one: &Place, other: &Place) -> (Daemon, Daemon) {
    let mut leader = one.start();
    leader.event("lease.acquired");
    let mut standby = other.start();
    standby.event("lease.standby");
    leader.fires();
    (leader, standby)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_the_leaders_is_told_by_every_member_and_does_not_count() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other, third) = (scene.machine(), scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    let mut same = third.start();
    same.event("lease.standby");
    let text = crate::common::read(&other.config());
    other.write(&(text + "  another: { stack: s1, job: j2, args: another, cron: '* * * * * *' }\n"));
    standby.event("schedule.reloaded");
    let name = leader.event("lease.acquired")["member"].clone();
    let mut told = Vec::new();
    for daemon in [&mut leader, &mut standby, &mut same] {
        let line = daemon.event("schedule.differs");
        assert_eq!(line["leader"], name);
        assert_ne!(line["member"], name);
        assert_ne!(line["fingerprint"], line["leader_fingerprint"]);
        told.push((line["member"].clone(), line["fingerprint"].clone()));
    }
    assert!(
        told.iter().all(|one| *one == told[0]),
        "of one member, and not of who has the leader's: {told:?}"
    );
    leader.fires();
    leader.fires();
    assert!(same.stop().success(), "{}", same.stderr());
    assert!(leader.stop().success(), "{}", leader.stderr());
    // Now its own counts.
    standby.wait_for("action.started", |line| line["entry"] == "another");
    let leads = at(&standby.event("lease.acquired"));
    assert!(standby.stop().success(), "{}", standby.stderr());
    let early: Vec<_> =
        scene.sandbox.ledger().started().filter(|record| record.at < leads).cloned().collect();
    assert!(early.iter().all(|record| record.args.as_deref() != Some("another")), "{early:?}");
    scene.nothing_twice(&other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_one_for_all_members() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    let elsewhere = other.run(&["pause", "e1"]);
    assert!(elsewhere.stderr.contains(" leads: run the command on the machine"), "{elsewhere:?}");
    let paused = one.run(&["pause", "e1", "--note", "a move"]);
    assert!(paused.status.success(), "{paused:?}");
    leader.signal(Signal::KILL);
    leader.end();
    standby.wait_for("occurrence.skipped", |line| line["entry"] == "e1" && line["reason"] == "paused");
    let status = other.run(&["status", "--format", "json"]).stdout;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["paused"][0]["entry"], "e1", "{status}");
    assert_eq!(status["paused"][0]["pause"]["note"], "a move", "{status}");
    let resumed = other.run(&["resume", "e1"]);
    assert!(resumed.status.success(), "{resumed:?}");
    standby.wait_for("action.started", |line| line["entry"] == "e1");
    assert!(standby.stop().success(), "{}", standby.stderr());
    scene.nothing_twice(&other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_one_for_all_members() {
    let Some(mut scene) = Scene::new().await else { return };
    let limit = 40;
    scene.sandbox =
        crate::common::sandbox_with(crate::common::settings(&[]).quota(crate::common::quota(limit, HOUR)))
            .await;
    let machine = || {
        // Whoever leads believes in an hour's worth of thousands until an answer or the journal
        // tells otherwise.
        let account = "timeout: 5s, quota: { limit: 100000, reserve: 0 }";
        Place::firing_at(&scene.sandbox, account, &scene.jobs)
            .env("STACKCRON_JOURNAL", &scene.server.url(&scene.database))
    };
    let (one, other) = (machine(), machine());
    let (mut leader, mut standby) = pair(&one, &other);
    leader.signal(Signal::KILL);
    leader.end();
    let spent = standby.event("quota.exhausted");
    // What comes due now waits: for quota, or for the word on an attempt of the leader before.
    standby.wait_for("occurrence.waiting", |line| line["timestamp"].as_str() > spent["timestamp"].as_str());
    assert!(standby.stop().success(), "{}", standby.stderr());
    let ledger = scene.sandbox.ledger();
    assert_eq!(ledger.throttled().count(), 0, "nobody asks for more than there is: {ledger:?}");
    assert_eq!(ledger.requests.len(), limit as usize, "and all that there is is used: {spent}");
}

/// Debian's package `faketime` puts the library there for programs with threads.
fn faketime() -> Option<String> {
    let library = "/usr/lib/*/faketime/libfaketimeMT.so.1";
    let found = std::process::Command::new("sh").args(["-c", &format!("echo {library}")]).output();
    let found = String::from_utf8(found.expect("a shell").stdout).expect("UTF-8").trim().to_owned();
    if found == library {
        say(
            "NOT TESTED: a member whose clock is off, for want of libfaketime (Debian: apt-get install faketime)",
        );
        return None;
    }
    Some(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told_by_its_member() {
    let Some(library) = faketime() else { return };
    let Some(scene) = Scene::new().await else { return };
    let one = scene.machine();
    let other =
        scene.machine().env("LD_PRELOAD", &library).env("FAKETIME", "+8s").env("DONT_FAKE_MONOTONIC", "1");
    let mut leader = one.start();
    leader.event("lease.acquired");
    let mut ahead = other.start();
    let told = ahead.event("clock.differs");
    assert!(told["by_ms"].as_i64().is_some_and(|ms| (7_000..9_000).contains(&ms)), "{told}");
    leader.fires();
    assert_eq!(leader.events("clock.differs").len(), 0, "its own is right");
    leader.signal(Signal::KILL);
    leader.end();
    // What is due when is by the leader's clock: this one goes on where the other ended, some eight
    // seconds further.
    ahead.event("lease.acquired");
    ahead.fires();
    assert!(ahead.stop().success(), "{}", ahead.stderr());
    nothing_is_lost(&scene.nothing_twice(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_clock_is_more_than_ten_seconds_off_does_not_lead() {
    let Some(library) = faketime() else { return };
    let Some(scene) = Scene::new().await else { return };
    let off =
        scene.machine().env("LD_PRELOAD", &library).env("FAKETIME", "-20s").env("DONT_FAKE_MONOTONIC", "1");
    let mut off = off.start();
    off.event("clock.differs");
    let one = scene.machine();
    let mut right = one.start();
    right.event("lease.acquired");
    right.fires();
    assert!(off.stop().success(), "{}", off.stderr());
    assert_eq!(off.events("lease.acquired").len(), 0, "it was there first, and alone");
    assert!(right.stop().success(), "{}", right.stderr());
    nothing_is_lost(&scene.nothing_twice(&one));
}
