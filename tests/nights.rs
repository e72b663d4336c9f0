//! The nights on which somebody is woken: the text of the first command names the cause, since
//! when, and what to do.

use std::net::TcpListener;
use std::time::Duration;

use crate::common::{Daemon, Ended, Place, quota, sandbox, sandbox_with, schedule, settings, until};

/// Asks `status` until its text has all of these.
fn told(place: &Place, expected: &[&str]) -> String {
    until("told of", || {
        let ended = place.run(&["status"]);
        // Where lines are broken is another test's.
        let text = ended.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        match expected.iter().find(|part| !text.contains(**part)) {
            None => Ok(ended.stdout),
            Some(part) => Err(format!("without {part:?}: {ended:?}")),
        }
    })
}

fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error} in {ended:?}"))
}

fn has_problem(place: &Place, kind: &str) {
    let status = json(&place.run(&["--format", "json", "status"]));
    let problem = status["attention"].as_array().expect("a list").iter().find(|one| one["kind"] == kind);
    let problem = problem.unwrap_or_else(|| panic!("no {kind} in {status}"));
    for key in ["what", "since", "concerns", "remedy"] {
        assert!(problem[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {problem}");
    }
    assert_eq!(place.run(&["status", "--strict"]).status.code(), Some(1), "problems, told by --strict");
}

fn well(place: &Place) {
    until("well", || {
        let ended = place.run(&["status", "--strict"]);
        match ended.status.success() && ended.stdout.starts_with("fires: ") {
            true => Ok(()),
            false => Err(format!("{ended:?}")),
        }
    });
}

fn started(place: &Place) -> Daemon {
    let mut daemon = place.start();
    daemon.event("daemon.started");
    daemon
}

/// Fires an entry by hand, once the daemon can.
fn fire(place: &Place, entry: &str) {
    until("fired", || {
        let ended = place.run(&["fire", entry]);
        match ended.stderr.contains("does not fire yet") {
            false => Ok(()),
            true => Err(format!("{ended:?}")),
        }
    });
}

const YEARLY: &str = "  nightly: { stack: s1, job: j1, cron: '@yearly' }\n";
const EVERY_SECOND: &str = "  nightly: { stack: s1, job: j1, cron: '* * * * * *', follow: false }\n";

#[tokio::test(flavor = "multi_thread")]
async fn night_of_a_job_that_failed() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", "  report: { stack: s1, job: j-fails, cron: '@yearly' }\n");
    let mut daemon = started(&place);
    fire(&place, "report");
    daemon.event("action.finished");
    told(
        &place,
        &["fires, with problems", "since ", "the last job of report failed (action ", "See the job's output"],
    );
    has_problem(&place, "last_run");
}

#[tokio::test(flavor = "multi_thread")]
async fn night_without_quota() {
    let sandbox = sandbox_with(settings(&[]).quota(quota(3, Duration::from_secs(3600)))).await;
    let place = Place::firing_at(&sandbox, "quota: { limit: 3, window: 1h, reserve: 0 }", EVERY_SECOND);
    let mut daemon = started(&place);
    daemon.event("quota.exhausted");
    let text = told(
        &place,
        &[
            "the quota of 3 requests is spent (account main; ",
            "since ",
            "wait",
            "should come back at",
            "--suggest",
        ],
    );
    assert!(!text.contains("down to the reserve"), "there is none:\n{text}");
    has_problem(&place, "quota_exhausted");
}

#[tokio::test(flavor = "multi_thread")]
async fn night_of_a_wrong_uid() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", "  typo: { stack: s1, job: j-none, cron: '@yearly' }\n");
    let mut daemon = started(&place);
    fire(&place, "typo");
    daemon.event("occurrence.rejected");
    told(&place, &["since ", "the API refused typo: 404", "uids that `stackcron jobs STACK` lists"]);
    has_problem(&place, "last_run");
}

#[tokio::test(flavor = "multi_thread")]
async fn night_of_a_revoked_token() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", EVERY_SECOND).env("TOKEN", "revoked");
    let mut daemon = started(&place);
    daemon.event("occurrence.rejected");
    let text = told(
        &place,
        &[
            "since ",
            "the API does not know the token (401)",
            "account main",
            "Set TOKEN to a token that is valid",
        ],
    );
    assert!(!text.contains("the API refused nightly"), "told once:\n{text}");
    has_problem(&place, "token_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn night_without_the_api_and_its_end() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let place = Place::with(&schedule(&format!("http://127.0.0.1:{port}/api/3"), "", EVERY_SECOND));
    let mut daemon = started(&place);
    daemon.event("occurrence.retrying");
    told(
        &place,
        &["since ", "cannot reach 127.0.0.1: ", "Connection refused", "account main; ", "Try `curl -sSI"],
    );
    has_problem(&place, "api_unreachable");
    // The API is found again under another address: what ends by itself goes.
    let sandbox = sandbox(&[]).await;
    place.replace(&schedule(&sandbox.url(), "", EVERY_SECOND));
    daemon.event("schedule.reloaded");
    until("no problem of the API", || {
        let status = json(&place.run(&["--format", "json", "status"]));
        match status["attention"].to_string().contains("api_unreachable") {
            false => Ok(()),
            true => Err(status["attention"].to_string()),
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn night_of_a_bad_reload_and_of_a_deleted_file() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", YEARLY);
    let mut daemon = started(&place);
    well(&place);
    let good = std::fs::read_to_string(place.config()).expect("a file");
    place.replace(&good.replace("@yearly", "61 * * * *"));
    daemon.event("schedule.rejected");
    told(
        &place,
        &[
            "fires, with problems",
            "since ",
            "the schedule file on disk is not in use: ",
            "61",
            "is fired",
            "Mend ",
        ],
    );
    has_problem(&place, "schedule_not_in_use");
    place.replace(&good);
    daemon.event("schedule.reloaded");
    well(&place);
    std::fs::remove_file(place.config()).expect("a file");
    daemon.event("schedule.missing");
    told(&place, &["the schedule file on disk is not in use: it is gone", "since "]);
    has_problem(&place, "schedule_not_in_use");
    place.write(&good);
    daemon.event("schedule.reloaded");
    well(&place);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_in_vain_is_told_in_words_after_a_restart() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let place = Place::with(&schedule(&format!("http://127.0.0.1:{port}/api/3"), "", EVERY_SECOND));
    let mut daemon = started(&place);
    daemon.event("occurrence.missed");
    daemon.stop();
    let missed = until("one that a newer one replaced", || {
        let ended = place.run(&["--format", "json", "history", "nightly", "--state", "missed"]);
        let lines = ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let mut replaced = lines.filter(|line: &serde_json::Value| line["replaced_by"].is_string());
        replaced.next().ok_or_else(|| format!("{ended:?}"))
    });
    assert_eq!(missed["reason"], "superseded");
    assert!(missed["error"].as_str().is_some_and(|error| error.contains("refused")), "{missed}");
    let at = missed["scheduled_at"].as_str().expect("an instant");
    let why = place.run(&["why", "nightly", "--at", at]).stdout;
    for part in ["a newer run took its place (catch_up: latest): that of ", "refused", ", attempt "] {
        assert!(why.contains(part), "without {part:?}:\n{why}");
    }
}

/// A systemd that says this of the unit. What runs is the program and two scripts in place of
/// systemd's.
fn told_by_systemd(place: &Place, shown: &str, errors: &str) -> Ended {
    use std::os::unix::fs::PermissionsExt;
    let scripts = place.directory.path().join("bin");
    std::fs::create_dir_all(&scripts).expect("a directory");
    for (name, says) in [("systemctl", shown), ("journalctl", errors)] {
        let script = scripts.join(name);
        std::fs::write(&script, format!("#!/bin/sh\ncat <<'END'\n{says}\nEND\n")).expect("a script");
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("its mode");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    place.clone().env("PATH", &format!("{}:{path}", scripts.display())).run(&["status"])
}

#[test]
fn night_of_a_dead_unit() {
    let place = Place::with(&schedule("http://127.0.0.1:1", "", YEARLY));
    let shown = "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainCode=1\n\
        ExecMainStatus=78\nStateChangeTimestamp=Mon 2026-11-30 03:00:02 UTC\nNRestarts=0";
    let ended = told_by_systemd(&place, shown, "{\"message\":\"line 9: minute 61\"}");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for part in [
        "stackcron.service is failed",
        "since Mon 2026-11-30 03:00:02 UTC",
        "exit status 78",
        "last error: line 9: minute 61",
        "next: `sudo stackcron check`",
    ] {
        assert!(ended.stderr.contains(part), "without {part:?}: {ended:?}");
    }
    let none = told_by_systemd(&place, "LoadState=not-found", "");
    assert!(
        none.stderr.contains("no daemon answers") && !none.stderr.contains("stackcron.service is"),
        "{none:?}"
    );
}
