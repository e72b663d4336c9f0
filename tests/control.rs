//! The control socket through the program: fire, pause, resume, status, and those who would misuse
//! it.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::common::machine::{Memory, memory};
use crate::common::{
    Daemon, Ended, PATIENCE, Place, instant, quota, sandbox, sandbox_with, schedule, settings, until,
};
use rustix::process::Signal;
use serde_json::Value;
use stackcron::sandbox::{Endpoint, Sandbox};

const YEARLY: &str = "  nightly: { stack: s1, job: j1, cron: '@yearly', args: own }\n";
const EVERY_SECOND: &str =
    "  nightly: { stack: s1, job: j1, cron: '* * * * * *', follow: false, catch_up: all }\n";

/// Starts a daemon, and waits until it can be asked.
fn started(place: &Place) -> Daemon {
    let mut daemon = place.start();
    ready(place, &mut daemon);
    daemon
}

fn ready(place: &Place, daemon: &mut Daemon) {
    daemon.event("daemon.started");
    place.fires();
}

/// The one object that a command printed.
fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error} in {ended:?}"))
}

fn status(place: &Place) -> Value {
    let ended = place.run(&["--format", "json", "status"]);
    assert!(ended.status.success(), "{ended:?}");
    json(&ended)
}

fn code(ended: &Ended) -> Option<i32> {
    ended.status.code()
}

fn args_sent(sandbox: &Sandbox) -> Vec<Option<String>> {
    sandbox.ledger().started().map(|call| call.args.clone()).collect()
}

fn socket(place: &Place) -> PathBuf {
    place.directory.path().join("control.sock")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_fires_is_started_claimed_and_logged_like_the_rest() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let mut daemon = started(&place);
    let ended = place.run(&["--format", "json", "fire", "nightly", "--args", "--full '2 days' & 100%"]);
    assert_eq!(code(&ended), Some(0), "{ended:?}");
    let told = json(&ended);
    assert_eq!((&told["state"], &told["entry"]), (&"started".into(), &"nightly".into()), "{told}");
    let ledger = sandbox.ledger();
    let call = ledger.started().next().expect("a call");
    assert_eq!(
        call.args.as_deref(),
        Some("--full '2 days' & 100%"),
        "in place of the entry's own, as written"
    );
    assert_eq!(told["action_id"], call.action.expect("an action"));
    let line = daemon.event("action.started");
    assert_eq!(
        instant(&line["scheduled_at"]),
        instant(&told["scheduled_at"]),
        "the log has the same occurrence"
    );
    assert_eq!(daemon.event("entry.fired")["by_uid"], rustix::process::getuid().as_raw());

    let ended = place.run(&["fire", "nightly"]);
    assert_eq!(code(&ended), Some(0), "{ended:?}");
    assert!(ended.stdout.starts_with("started nightly: action "), "{}", ended.stdout);
    assert_eq!(args_sent(&sandbox)[1].as_deref(), Some("own"), "without --args the entry's own");
    daemon
        .wait_for("action.finished", |line| instant(&line["scheduled_at"]) == instant(&told["scheduled_at"]));
    assert!(daemon.stop().success());
    assert!(!daemon.raw.contains("2 days"), "no arguments in the log:\n{}", daemon.raw);

    let history = place.run(&["--format", "json", "history", "nightly"]);
    let rows: Vec<Value> =
        history.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 2, "each has an instant of its own: {history:?}");
    assert_eq!(rows[0]["scheduled_at"], told["scheduled_at"]);
    assert_eq!(rows[0]["state"], "finished", "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_start_says_why_and_fails() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly: { stack: s1, job: j1, cron: '@yearly' }
  forbidden: { stack: s1, job: j-forbidden, cron: '@yearly' }
  paused: { stack: s1, job: j1, args: paused, cron: '@yearly', paused: true }
";
    let place = Place::firing_at(&sandbox, "", jobs);
    let mut daemon = started(&place);
    for command in ["fire", "pause", "resume", "status", "why", "next", "history"] {
        let at: &[&str] = if command == "why" { &["--at", "2026-01-01T00:00:00Z"] } else { &[] };
        let unknown = place.run(&[&[command, "nightle"], at].concat());
        assert_eq!(code(&unknown), Some(2), "{command}: {unknown:?}");
        assert!(unknown.stderr.contains("did you mean `nightly`?"), "{command}: {}", unknown.stderr);
    }
    let rejected = place.run(&["--format", "json", "fire", "forbidden"]);
    assert_eq!(code(&rejected), Some(1), "{rejected:?}");
    let told = json(&rejected);
    assert_eq!((&told["state"], &told["status"]), (&"rejected".into(), &403.into()), "{told}");
    let text = place.run(&["fire", "forbidden"]);
    assert!(text.stdout.starts_with("rejected forbidden: refused with 403"), "{text:?}");

    let paused = place.run(&["fire", "paused"]);
    assert_eq!(code(&paused), Some(0), "a person may fire what is paused: {paused:?}");
    let resumed = place.run(&["resume", "paused"]);
    assert_eq!(code(&resumed), Some(1), "it does not run: {resumed:?}");
    assert!(resumed.stdout.contains("schedule file"), "{}", resumed.stdout);

    let now = place.run(&["fire", "nightly", "--no-wait"]);
    assert_eq!(code(&now), Some(0), "{now:?}");
    assert!(now.stdout.starts_with("due nightly: claimed as"), "{}", now.stdout);
    daemon.wait_for("action.started", |line| line["entry"] == "nightly");
    let long = place.run(&["fire", "nightly", "--args", &"x".repeat(100_000)]);
    assert_eq!(code(&long), Some(1), "{}", long.stdout);
    assert!(long.stderr.contains("4 KiB is the most"), "{}", long.stderr);
    assert!(daemon.stop().success());
    assert_eq!(daemon.events("entry.fired").len(), 4, "{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn overlap_goes_for_what_a_person_fires() {
    let mut settings = settings(&[]);
    settings.action_duration = Duration::from_secs(3600);
    let sandbox = sandbox_with(settings).await;
    let jobs = "  skips: { stack: s1, job: j1, args: a, cron: '@yearly', overlap: skip }
  queues: { stack: s1, job: j1, args: b, cron: '@yearly', overlap: queue }
  allows: { stack: s1, job: j1, args: c, cron: '@yearly' }
";
    let place = Place::firing_at(&sandbox, "", jobs);
    let _daemon = started(&place);
    for entry in ["skips", "queues", "allows"] {
        assert_eq!(code(&place.run(&["fire", entry])), Some(0), "{entry}");
    }
    let skipped = place.run(&["fire", "skips"]);
    assert_eq!(code(&skipped), Some(1), "{skipped:?}");
    assert!(skipped.stdout.starts_with("skipped") && skipped.stderr.contains("not finished"), "{skipped:?}");
    let held = place.run(&["--format", "json", "fire", "queues", "--wait", "300ms"]);
    assert_eq!(code(&held), Some(1), "{held:?}");
    let told = json(&held);
    assert_eq!((&told["state"], &told["reason"]), (&"waiting".into(), &"overlap".into()), "{told}");
    assert_eq!(code(&place.run(&["fire", "allows"])), Some(0));
    let status = status(&place);
    assert_eq!(status["waiting"][0]["reason"], "overlap", "{status}");
    assert_eq!(
        (&status["waiting_total"], &status["accounts"][0]["held"]),
        (&1.into(), &1.into()),
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_quota_goes_with_its_own_arguments_after_a_kill() {
    let settings = settings(&[]).quota(quota(1, Duration::from_secs(3600)));
    let sandbox = sandbox_with(settings).await;
    let place = Place::firing_at(&sandbox, "quota: { limit: 1, window: 1h, reserve: 0 }", YEARLY);
    let mut daemon = started(&place);
    assert_eq!(code(&place.run(&["fire", "nightly", "--args", "first"])), Some(0));
    let waits = place.run(&["--format", "json", "fire", "nightly", "--args", "by hand"]);
    assert_eq!(code(&waits), Some(1), "it has not started: {waits:?}");
    let told = json(&waits);
    assert_eq!((&told["state"], &told["reason"]), (&"waiting".into(), &"quota".into()), "{told}");
    assert!(told["until"].is_string() && waits.stderr.contains("do not fire it again"), "{waits:?}");
    let status = status(&place);
    assert_eq!(status["waiting"][0]["scheduled_at"], told["scheduled_at"], "{status}");
    assert_eq!(status["waiting"][0]["by_hand"], true, "{status}");
    assert!(status["accounts"][0]["exhausted_until"].is_string(), "{status}");
    daemon.event("occurrence.waiting");
    daemon.signal(Signal::KILL);
    daemon.end();
    assert!(socket(&place).exists(), "a killed daemon leaves its socket");
    let nobody = place.run(&["status"]);
    assert_eq!(code(&nobody), Some(1));
    assert!(nobody.stderr.contains("no daemon answers") && nobody.stderr.contains("start it"), "{nobody:?}");

    // An account with quota: the entry's own definition has changed meanwhile, what was asked for
    // has not.
    let other = sandbox_with(crate::common::settings(&[])).await;
    let changed = schedule(&other.url(), "quota: { limit: 1000 }", &YEARLY.replace("own", "changed"));
    place.write(&changed.replace("main:", "other:"));
    let mut daemon = started(&place);
    let line = daemon.event("action.started");
    assert_eq!(instant(&line["scheduled_at"]), instant(&told["scheduled_at"]), "the same occurrence");
    assert_eq!(args_sent(&other), [Some("by hand".to_owned())]);
    assert!(daemon.stop().success());
    assert!(!socket(&place).exists(), "a daemon that is stopped leaves none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlives_a_kill_and_a_resume_outlives_a_restart() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut daemon = started(&place);
    let paused = place.run(&["--format", "json", "pause", "nightly"]);
    assert_eq!(code(&paused), Some(0), "{paused:?}");
    let answer = json(&paused);
    assert_eq!((&answer["paused"], &answer["changed"]), (&true.into(), &true.into()), "{answer}");
    let again = json(&place.run(&["--format", "json", "pause", "nightly"]));
    assert_eq!((&again["paused"], &again["changed"]), (&true.into(), &false.into()), "{again}");
    daemon.event("entry.paused");
    let skipped = daemon.event("occurrence.skipped");
    assert_eq!(skipped["reason"], "paused");
    daemon.signal(Signal::KILL);
    daemon.end();
    let before = sandbox.ledger().started().count();

    let mut daemon = started(&place);
    daemon.event("occurrence.skipped");
    let listed = status(&place);
    assert_eq!(listed["paused"][0]["entry"], "nightly", "{listed}");
    assert_eq!(
        (&listed["paused"][0]["by"], &listed["paused_total"]),
        (&"command".into(), &1.into()),
        "{listed}"
    );
    assert_eq!(sandbox.ledger().started().count(), before, "nothing is sent while it is paused");
    assert_eq!(code(&place.run(&["fire", "nightly"])), Some(0), "but what a person fires");
    let resumed = place.run(&["resume", "nightly"]);
    assert_eq!(code(&resumed), Some(0), "{resumed:?}");
    daemon.event("entry.resumed");
    let now = jiff::Timestamp::now().to_string();
    daemon.wait_for("action.started", |line| line["scheduled_at"].as_str() > Some(&now));
    assert!(daemon.stop().success());

    let mut daemon = started(&place);
    daemon.event("action.started");
    assert_eq!(status(&place)["paused_total"], 0);
    // A pause of an entry that is gone can be taken back.
    assert_eq!(code(&place.run(&["pause", "nightly"])), Some(0));
    place.write(&schedule(&sandbox.url(), "", "  other: { stack: s1, job: j1, cron: '@yearly' }\n"));
    daemon.signal(Signal::HUP);
    daemon.event("schedule.reloaded");
    assert_eq!(status(&place)["paused"][0]["in_schedule"], false);
    assert_eq!(code(&place.run(&["resume", "nightly"])), Some(0));
    assert_eq!(code(&place.run(&["resume", "nightly"])), Some(2), "now it is an unknown name");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_with_an_end_resumes_by_itself_across_a_kill_and_says_who_until_when_and_why() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut daemon = started(&place);
    let ends = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 12).expect("an instant");
    let until = ends.to_string();
    let paused = place.run(&["pause", "nightly", "--until", &until, "--note", "the database moves"]);
    assert_eq!(code(&paused), Some(0), "{paused:?}");
    let told = daemon.event("entry.paused");
    assert_eq!(
        (&told["until"], &told["note"]),
        (&until.as_str().into(), &"the database moves".into()),
        "{told}"
    );
    assert!(told["by"].as_str().is_some_and(|by| !by.is_empty()), "{told}");
    daemon.event("occurrence.skipped");
    daemon.signal(Signal::KILL);
    daemon.end();
    let mut daemon = started(&place);
    let listed = status(&place);
    let pause = &listed["paused"][0]["pause"];
    assert_eq!(
        (&pause["until"], &pause["note"]),
        (&until.as_str().into(), &"the database moves".into()),
        "{listed}"
    );
    let text = place.run(&["status"]).stdout;
    assert!(text.contains("the database moves") && text.contains("PAUSED 1"), "{text}");
    let why = place.run(&["why", "nightly", "--at", "now"]).stdout;
    assert!(why.contains("the database moves") && why.contains("paused by "), "{why}");
    daemon.event("entry.pause_ended");
    let first = daemon.event("action.started");
    assert!(first["scheduled_at"].as_str() >= Some(&until), "{first}");
    assert_eq!(status(&place)["paused_total"], 0);
    let past = place.run(&["pause", "nightly", "--until", "2020-01-01"]);
    assert_eq!(code(&past), Some(2), "{past:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_entries_are_paused_by_pattern_by_stack_or_all_of_them() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly-a: { stack: s1, job: j1, args: a, cron: '@yearly' }
  nightly-b: { stack: s2, job: j1, args: b, cron: '@yearly' }
  weekly: { stack: s1, job: j1, args: c, cron: '@yearly' }
";
    let place = Place::firing_at(&sandbox, "", jobs);
    let _daemon = started(&place);
    let names = |arguments: &[&str]| {
        let ended = place.run(&[&["--format", "json"], arguments].concat());
        assert_eq!(code(&ended), Some(0), "{ended:?}");
        let lines = ended.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.map(|line| line["entry"].as_str().expect("a name").to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&["pause", "nightly-*", "--for", "2h"]), "nightly-a nightly-b");
    assert_eq!(names(&["pause", "--stack", "s1"]), "nightly-a weekly");
    assert_eq!(status(&place)["paused_total"], 3);
    let all = place.run(&["resume"]);
    assert_eq!(code(&all), Some(2), "all of them is to be said: {all:?}");
    assert!(all.stderr.contains("--yes"), "{all:?}");
    assert_eq!(names(&["resume", "nightly-*"]), "nightly-a nightly-b");
    assert_eq!(names(&["resume", "--yes"]), "weekly");
    let unknown = place.run(&["pause", "monthly-*"]);
    assert_eq!(code(&unknown), Some(2), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_what_is_next_and_what_went_wrong() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', follow: false }
  broken: { stack: s1, job: j-forbidden, cron: '* * * * * *' }
  yearly: { stack: s1, job: j1, args: y, cron: '30 1 1 1 *', timezone: America/New_York, paused: true }
";
    let place = Place::firing_at(&sandbox, "", jobs);
    let mut daemon = started(&place);
    daemon.event("occurrence.rejected");
    daemon.event("action.started");
    let status = until("what was rejected in the journal", || {
        let status = status(&place);
        match status["lately"]["notable"][0]["entry"] == "broken" {
            true => Ok(status),
            false => Err(status.to_string()),
        }
    });
    assert_eq!(status["pid"], daemon.event("daemon.started")["pid"]);
    assert_eq!(status["schedule"]["entries"], 3, "{status}");
    assert_eq!(status["lately"]["notable"][0]["state"], "rejected", "{status}");
    assert_eq!(status["accounts"][0]["refused"]["status"], 403, "{status}");
    assert_eq!(status["accounts"][0]["limit"], 100_000, "{status}");
    let entries = status["entries"].as_array().expect("a list");
    let names: Vec<&str> = entries.iter().filter_map(|entry| entry["entry"].as_str()).collect();
    assert_eq!(names.len(), 3, "each once: {status}");
    assert_eq!(names[2], "yearly", "the soonest first: {status}");
    let named = json(&place.run(&["--format", "json", "status", "yearly", "nightly"]));
    let yearly = &named["entries"][0];
    assert_eq!((&yearly["entry"], &yearly["paused"]), (&"yearly".into(), &"schedule".into()), "{named}");
    let next: jiff::Timestamp = yearly["next"].as_str().expect("a time").parse().expect("a time");
    assert!(next.to_string().ends_with("-01-01T06:30:00Z"), "{next}");
    assert!(yearly["next_local"].as_str().is_some_and(|local| local.ends_with("01:30:00 EST")), "{named}");
    assert!(yearly["last"]["scheduled_at"].is_string() && yearly["last"]["state"].is_null(), "{named}");
    assert_eq!(named["entries"][1]["entry"], "nightly");

    let text = place.run(&["status"]);
    assert_eq!(code(&text), Some(0));
    assert!(text.stdout.starts_with("fires, with problems: stackcron "), "{}", text.stdout);
    assert!(!text.stdout.contains('\u{1b}'), "no colours where there is no terminal: {}", text.stdout);
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 80), "{}", text.stdout);
    for told in ["yearly in the schedule file", "rejected", "nightly "] {
        assert!(text.stdout.contains(told), "{told} is in:\n{}", text.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_watches_until_the_daemon_is_gone() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let mut daemon = started(&place);
    let mut command = place.command(&["--format", "json", "status", "--watch"]);
    let mut watch: Child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("its stdout")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("a line each second").expect("UTF-8");
        assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON")["ready"], true);
    }
    assert!(daemon.stop().success());
    let ended = watch.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(stderr.contains("gone") || stderr.contains("stopping"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_those_who_wait() {
    let sandbox = sandbox(&["slow=1s"]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let mut daemon = started(&place);
    let mut command = place.command(&["--format", "json", "fire", "nightly"]);
    let fire = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() == 1).await;
    assert!(daemon.stop().success());
    let ended = fire.wait_with_output().expect("it ends");
    let told: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(told["state"], "started", "what is in flight is waited for: {told}");
    assert_eq!(ended.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_owner_and_group_and_where_systemd_says() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let (state, run) = (place.directory.path().join("state"), place.directory.path().join("run"));
    let (state_text, run_text) = (state.display().to_string(), run.display().to_string());
    fs::create_dir(&run).expect("a directory");
    fs::set_permissions(&run, PermissionsExt::from_mode(0o750)).expect("its mode");
    let place = place.env("RUNTIME_DIRECTORY", &run_text).env("STATE_DIRECTORY", &state_text);
    let mut daemon = started(&place);
    assert_eq!(mode(&run.join("control.sock")), 0o660);
    assert_eq!((mode(&run), mode(&state)), (0o750, 0o750));
    let elsewhere = place.clone().env("RUNTIME_DIRECTORY", "").env("STATE_DIRECTORY", "");
    let found = elsewhere.run(&["status", "--state-dir", &state_text]);
    assert_eq!(code(&found), Some(0), "the state directory leads to the socket: {found:?}");
    let shared = ["--state-dir", &state_text, "--journal", "postgres://db.example/stackcron"];
    let found = elsewhere.run(&[&["status"], &shared[..]].concat());
    assert_eq!(code(&found), Some(0), "as it does for who names the shared journal as well: {found:?}");
    assert!(daemon.stop().success());
    assert!(!run.join("control.sock").exists());
    assert!(fs::symlink_metadata(state.join("control.sock")).is_err(), "what led to it is gone as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_leaves_the_first_ones_socket_alone() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let _first = started(&place);
    let pid = status(&place)["pid"].clone();
    let second = place.run(&["run", "--log-format", "json"]);
    assert_eq!(code(&second), Some(78), "{second:?}");
    let expected = format!("another daemon (process {pid}) keeps its state in ");
    assert!(second.stderr.contains(&expected) && second.stderr.contains("stop it first"), "{second:?}");
    assert_eq!(status(&place)["pid"], pid, "the first one still answers");

    // Another schedule and journal, and the same runtime directory: it fires, and says that it
    // cannot be asked.
    let other = Place::firing_at(&sandbox, "", "  other: { stack: s2, job: j1, cron: '0 0 1 1 *' }\n");
    let run = place.directory.path().display().to_string();
    let mut third = other.env("RUNTIME_DIRECTORY", &run).start();
    assert!(
        third.event("control.unavailable")["error"]
            .as_str()
            .is_some_and(|why| why.contains("another daemon"))
    );
    third.event("daemon.started");
    assert_eq!(status(&place)["pid"], pid, "the first one still answers");
    assert!(third.stop().success());
    assert_eq!(status(&place)["pid"], pid, "and its socket is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_lose_and_double_nothing_that_is_fired() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let mut daemon = started(&place);
    for n in 0..20 {
        let fire =
            place.command(&["fire", "nightly", "--args", &n.to_string()]).stdout(Stdio::null()).spawn();
        daemon.signal(Signal::HUP);
        assert!(
            fire.expect("the program starts").wait().expect("it ends").success(),
            "fire {n}:\n{}",
            daemon.raw
        );
        daemon.signal(Signal::HUP);
    }
    let mut sent = args_sent(&sandbox);
    sent.sort_unstable();
    let mut expected: Vec<Option<String>> = (0..20).map(|n| Some(n.to_string())).collect();
    expected.sort_unstable();
    assert_eq!(sent, expected, "each once");
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_double_nothing_that_is_fired_and_each_ends() {
    let sandbox = sandbox(&["slow=20ms"]).await;
    let place = Place::firing_at(&sandbox, "timeout: 1s", YEARLY);
    for round in 0..8 {
        let mut daemon = started(&place);
        let fires: Vec<Child> = (0..6)
            .map(|n| {
                let args = format!("{round}-{n}");
                let mut command = place.command(&["fire", "nightly", "--args", &args, "--wait", "2s"]);
                command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
            })
            .collect();
        let so_many = sandbox.ledger().of(Endpoint::RunNow).count() + round % 4;
        sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() >= so_many).await;
        daemon.signal(Signal::KILL);
        daemon.end();
        for mut fire in fires {
            fire.wait().expect("it ends");
        }
    }
    let mut daemon = started(&place);
    let history = crate::common::until_within(crate::common::DOUBT_ENDS, "an end of each", || {
        let history = place.run(&["--format", "json", "history", "nightly"]).stdout;
        let rows: Vec<Value> =
            history.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let open = |row: &&Value| matches!(row["state"].as_str(), Some("due" | "waiting" | "sending"));
        if rows.iter().any(|row| open(&row)) { Err(history) } else { Ok(rows) }
    });
    assert!(daemon.stop().success());
    let mut sent = args_sent(&sandbox);
    let started = sent.len();
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len(), started, "none is started twice");
    let known = |state: &str| history.iter().filter(|row| row["state"] == state).count();
    let actions: Vec<u64> = sandbox.ledger().started().filter_map(|call| call.action).collect();
    for row in history.iter().filter(|row| row["action_id"].is_u64()) {
        assert!(actions.iter().any(|action| row["action_id"] == *action), "{row} is true");
    }
    let told = known("started") + known("finished");
    assert!(told <= started && started <= told + known("unknown"), "{started} were started, of {history:#?}");
}

/// Everything that comes until the other end closes the connection.
fn closed(stream: &mut UnixStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection is never closed"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

fn connect(place: &Place) -> UnixStream {
    UnixStream::connect(socket(place)).expect("the daemon listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_keep_nobody_out_and_delay_nothing() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND);
    let mut daemon = started(&place);
    let pid = daemon.event("daemon.started")["pid"].clone();
    daemon.event("action.started");
    let before = memory(&pid, Memory::Now);

    for garbage in [
        &b"garbage\n"[..],
        b"\n",
        b"\0\0\0\n",
        b"{\"version\":1}\n",
        b"{\"version\":1,\"command\":\"fire\",\"entry\":\"\\u0000\"}\n",
        b"{\"version\":1,\"command\":\"fire\",\"entry\":{}}\n",
        b"{\"version\":99,\"command\":\"fire\"}\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\n",
        b"{",
    ] {
        let mut client = connect(&place);
        client.write_all(garbage).expect("sent");
        client.shutdown(std::net::Shutdown::Write).expect("no more is sent");
        let answer = closed(&mut client);
        let answer: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        assert_eq!(answer["answer"], "error", "{garbage:?} is answered {answer}");
    }
    let mut deep = connect(&place);
    let _ = deep.write_all("[".repeat(60_000).as_bytes()).and_then(|()| deep.write_all(b"\n"));
    assert!(closed(&mut deep).contains("error"), "deep nesting is refused");
    let mut endless = connect(&place);
    let sent = (0..100_000).find(|_| endless.write_all(&[b'x'; 1000]).is_err());
    assert!(sent.is_some_and(|kilobytes| kilobytes < 1000), "an endless line is cut off, after {sent:?} kB");

    let mut held: Vec<UnixStream> = Vec::new();
    for n in 0..200 {
        let mut client = connect(&place);
        if n % 2 == 0 {
            // One that asks slowly.
            let _ = client.write_all(b"{\"version\":1,");
        }
        held.push(client);
    }
    // Some ask for much, and do not read it.
    let deaf: Vec<UnixStream> = (0..30)
        .map(|_| {
            let mut client = connect(&place);
            let _ = client.write_all(b"{\"version\":1,\"command\":\"status\",\"most\":99999999}\n");
            client
        })
        .collect();
    assert_eq!(status(&place)["ready"], true, "they keep nobody out");
    assert_eq!(code(&place.run(&["fire", "nightly"])), Some(0), "nor that");
    assert_eq!(closed(&mut held[0]), "", "the oldest was closed for the newest");
    let sockets =
        fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")).expect("its files").count();
    assert!(sockets < 64 + 64 + 64, "230 connections were opened, and {sockets} files are open");
    drop(deaf);
    assert!(
        closed(held.last_mut().expect("many")).contains("no question came"),
        "who asks nothing is told so"
    );
    let grown = memory(&pid, Memory::Now).saturating_sub(before);
    assert!(grown < 16 << 10, "it took {grown} kB");

    let now = jiff::Timestamp::now().to_string();
    daemon.wait_for("action.started", |line| line["scheduled_at"].as_str() > Some(&now));
    assert!(daemon.stop().success());
    assert_eq!(daemon.events("occurrence.missed").len(), 0, "{}", daemon.raw);
    let mut seconds: Vec<i64> = (daemon.events("action.started").iter())
        .map(|line| {
            line["scheduled_at"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time")
        })
        .filter(|at| at.subsec_nanosecond() == 0)
        .map(jiff::Timestamp::as_second)
        .collect();
    seconds.sort_unstable();
    assert!(seconds.windows(2).all(|pair| pair[1] == pair[0] + 1), "each second fired once: {seconds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_fire_and_wait_leave_room_for_others() {
    let settings = settings(&[]).quota(quota(1, Duration::from_secs(3600)));
    let sandbox = sandbox_with(settings).await;
    let place = Place::firing_at(&sandbox, "quota: { limit: 1, window: 1h, reserve: 0 }", YEARLY);
    let mut daemon = started(&place);
    assert_eq!(code(&place.run(&["fire", "nightly"])), Some(0));
    let ask = b"{\"version\":1,\"command\":\"fire\",\"entry\":\"nightly\",\"wait\":true}\n";
    let mut waiting: Vec<BufReader<UnixStream>> = Vec::new();
    let mut refused = 0;
    for _ in 0..80 {
        let mut client = connect(&place);
        client.write_all(ask).expect("sent");
        let mut client = BufReader::new(client);
        let mut line = String::new();
        client.read_line(&mut line).expect("an answer");
        match line.contains("claimed") {
            true => waiting.push(client),
            false => {
                assert!(line.contains("try again"), "{line}");
                refused += 1;
            }
        }
    }
    assert!(!waiting.is_empty() && refused > 0, "{} wait, {refused} were refused", waiting.len());
    assert_eq!(status(&place)["waiting_total"], waiting.len(), "what was refused was not claimed");
    drop(waiting);
    until("room", || {
        let fire = place.run(&["--format", "json", "fire", "nightly", "--wait", "1ms"]);
        if json_or_null(&fire)["state"].is_string() { Ok(()) } else { Err(format!("{fire:?}")) }
    });
    assert!(daemon.stop().success());
    let distinct: std::collections::HashSet<String> =
        daemon.events("entry.fired").iter().map(|line| line["scheduled_at"].to_string()).collect();
    assert_eq!(distinct.len(), daemon.events("entry.fired").len(), "each has an instant of its own");
}

fn json_or_null(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_is_told_of() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let daemon = started(&place);
    let pid = status(&place)["pid"].to_string();
    daemon.signal(Signal::STOP);
    until("a process that stands still", || {
        let stat = crate::common::read(&Path::new("/proc").join(&pid).join("stat"));
        if stat.contains(") T ") { Ok(()) } else { Err(stat) }
    });
    let hung = place.run(&["status"]);
    daemon.signal(Signal::CONT);
    assert_eq!(code(&hung), Some(1));
    assert!(hung.stderr.contains("hangs"), "{}", hung.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_repeated_since_its_answer_was_lost_runs_once() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let mut daemon = started(&place);
    let at = jiff::Timestamp::from_microsecond(jiff::Timestamp::now().as_second() * 1_000_000 + 1)
        .expect("an instant");
    let question = format!("{{\"version\":1,\"command\":\"fire\",\"entry\":\"nightly\",\"at\":\"{at}\"}}\n");
    let ask = || {
        let mut stream = UnixStream::connect(socket(&place)).expect("the daemon listens");
        stream.write_all(question.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    };
    let first = ask();
    assert!(first.contains("claimed") && first.contains(&at.to_string()), "{first}");
    let again = ask();
    assert!(again.contains("claimed before") && again.contains("history nightly"), "{again}");
    daemon.event("action.started");
    // Across a restart as well.
    daemon.stop();
    let mut daemon = started(&place);
    let again = ask();
    assert!(again.contains("claimed before"), "{again}");
    daemon.stop();
    assert_eq!(sandbox.ledger().of(Endpoint::RunNow).count(), 1, "it runs once");
}
