//! The service on a real systemd: the project's own unit, from its start to its end.
//!
//! Needs root, and a kernel that lets it make namespaces. Where they are not to be had, it says so
//! and passes; with STACKCRON_TESTS_NEED_SYSTEMD set, it fails.

mod container;
mod machine;
mod package;
mod repository;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use machine::{Machine, PROJECT, Service};
use serde_json::Value;

use crate::common::read;

const NEVER: &str = "  nightly: { stack: s1, job: j1, cron: '0 0 1 1 *' }\n";
const EVERY_SECOND: &str =
    "  often: { stack: s1, job: j1, cron: '* * * * * *', catch_up: all, follow: false }\n";

/// The service of a test, or the end of the test where there is no systemd.
macro_rules! service {
    ($name:literal, $sandbox:expr, $more:expr) => {
        match Machine::shared() {
            Some(machine) => Service::install(machine, $name, $sandbox, $more),
            None => return,
        }
    };
}

#[test]
fn it_is_ready_once_it_fires_says_what_comes_next_and_may_do_nothing_else() {
    let service = service!("start", &[], "");
    service.schedule(NEVER);
    service.start();
    assert_eq!(service.property("ActiveState"), "active", "{}", service.journal());
    let status = service.property("StatusText");
    let next_year = Timestamp::now().strftime("%Y").to_string().parse::<i16>().expect("a year") + 1;
    assert_eq!(status, format!("next: nightly at {next_year}-01-01T00:00:00Z"));
    let pid = service.property("MainPID");
    let process = service.machine.run_ok(&["cat", &format!("/proc/{pid}/status")]);
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(process.contains(line), "{line} of\n{process}");
    }
    assert!(!process.contains("Uid:\t0\t"), "it is not root:\n{process}");
    service.stop();
    assert!(service.machine.path(&format!("/var/lib/private/{}/journal.sqlite3", service.name)).exists());
    assert!(!service.machine.path(&format!("/run/{}", service.name)).exists());
}

#[test]
fn a_stop_lets_what_is_in_flight_finish() {
    let mut service = service!("stop", &["--fault", "slow=2s"], "");
    service.schedule(EVERY_SECOND);
    service.start();
    service.sandbox.started(1);
    service.stop();
    assert!(service.event("daemon.stopping")["in_flight"].as_u64() >= Some(1));
    let events = service.events();
    let started = of(&events, "action.started").count();
    assert_eq!(started, service.sandbox.started(0).len(), "each is told:\n{}", service.journal());
    assert!(started >= 1);
    assert_eq!(of(&events, "occurrence.unknown").count(), 0);
}

#[test]
fn the_runbooks_move_of_the_journal_runs_as_the_user_of_the_service() {
    let mut service = service!("move", &[], "");
    service.schedule(EVERY_SECOND);
    service.machine.write(&format!("/etc/{}/journal-password", service.name), "secret", 0o600);
    service.start();
    service.event("action.started");
    service.stop();
    let page = read(&Path::new(PROJECT).join("docs/operations.md"));
    let command = page.split("```").find(|block| block.contains("systemd-run")).expect("the command");
    let command = command.split_once("systemd-run").expect("the command").1;
    let (command, _) = command.split_once("--to").expect("its last option");
    let command = command.replace("stackcron journal", "/usr/bin/stackcron journal");
    let command = command.replace("=stackcron ", &format!("={} ", service.name));
    let command = command.replace("/etc/stackcron/", &format!("/etc/{}/", service.name));
    let place = format!("/var/lib/{}/elsewhere", service.name);
    let config = format!("--config {}", service.config());
    let moved = service.machine.run(&["sh", "-c", &format!("systemd-run {command} --to {place} {config}")]);
    assert!(moved.status.success(), "{moved:?}");
    assert!(moved.stdout.contains("settled"), "{moved:?}");
    assert_eq!(service.systemctl("start").status.code(), Some(1), "the old journal is left");
    assert!(service.journal().contains("elsewhere"), "{}", service.journal());
}

#[test]
fn a_reload_takes_a_good_file_and_fails_on_a_bad_one_which_changes_nothing() {
    let mut service = service!("reload", &[], "");
    service.schedule(NEVER);
    service.start();
    let pid = service.property("MainPID");
    service.schedule("  other: { stack: s1, job: j1, cron: '0 0 1 1 *' }\n");
    let ran = service.systemctl("reload");
    assert!(ran.status.success(), "{ran:?}\n{}", service.journal());
    assert_eq!(service.event("schedule.reloaded")["added"], 1);
    let status = service.status("next: other at ");
    service.schedule("  other: { stack: s1, job: j1, cron: '0 0 32 1 *' }\n");
    assert!(!service.systemctl("reload").status.success(), "systemctl says that it went wrong");
    assert!(service.event("schedule.rejected")["first"].to_string().contains("32"));
    assert_eq!(service.property("ActiveState"), "active", "{}", service.journal());
    let told = service.status("problems: the schedule file on disk is not in use: ");
    assert!(told.contains(" since ") && told.ends_with(&status), "what is fired goes on: {told}");
    service.schedule(EVERY_SECOND);
    assert!(service.systemctl("reload").status.success());
    service.event("action.started");
    assert_eq!(service.property("MainPID"), pid, "it is one process all the time");
    service.stop();
    assert_eq!(service.property("NRestarts"), "0");
}

#[test]
fn after_kill_9_it_is_started_again_and_nothing_is_lost_or_sent_twice() {
    let mut service = service!("kill", &[], "");
    service.schedule(EVERY_SECOND);
    service.start();
    service.event("action.started");
    service.event("action.started");
    service.machine.run_ok(&["systemctl", "kill", "-s", "KILL", "--kill-who=main", &service.name]);
    service.event("daemon.started");
    service.event("action.started");
    let before = service.sandbox.started(0).len();
    service.sandbox.started(before + 2);
    assert_eq!(service.property("NRestarts"), "1", "{}", service.journal());
    service.stop();
    let fates = fates(&service.events());
    let times: Vec<i64> = fates.keys().map(|at| at.as_second()).collect();
    for pair in times.windows(2) {
        assert_eq!(pair[0] + 1, pair[1], "each second has its occurrence:\n{}", service.journal());
    }
    let unknown = fates.values().filter(|fates| fates.contains(&"occurrence.unknown".to_owned())).count();
    // A request may have been on its way. What was claimed and not due yet was not.
    assert!(unknown <= 1, "{fates:?}");
    for (at, fates) in &fates {
        assert_eq!(fates.len(), 1, "{at} ends once: {fates:?}");
    }
    let started = fates.values().filter(|fates| fates[0] == "action.started").count();
    let on_server = service.sandbox.started(0).len();
    assert!((started..=started + unknown).contains(&on_server), "{started} are told of {on_server}");
}

#[test]
fn a_loop_that_hangs_is_started_again_by_the_watchdog() {
    let mut service =
        service!("hang", &[], "WatchdogSec=2s\nExecStopPost=/bin/echo ended by ${SERVICE_RESULT}");
    service.schedule(EVERY_SECOND);
    service.start();
    service.event("daemon.started");
    for _ in 0..4 {
        service.event("action.started");
    }
    assert_eq!(service.property("NRestarts"), "0", "it is fed:\n{}", service.journal());
    service.machine.run_ok(&["systemctl", "kill", "-s", "STOP", "--kill-who=main", &service.name]);
    service.event("daemon.started");
    service.event("action.started");
    assert_eq!(service.property("NRestarts"), "1");
    assert!(service.journal().contains("ended by watchdog"), "{}", service.journal());
}

#[test]
fn a_token_in_a_file_is_read_again_by_a_reload_and_a_credential_by_a_restart() {
    let mut service = service!("token", &[], "");
    let file = format!("/etc/{}/open-token", service.name);
    service.machine.write(&file, "wrong", 0o644);
    service.schedule_with(&format!("{{ file: {file} }}"), EVERY_SECOND);
    service.start();
    assert_eq!(service.event("occurrence.rejected")["status"], 401);
    service.machine.write(&file, stackcron::sandbox::DEFAULT_TOKEN, 0o644);
    assert!(service.systemctl("reload").status.success());
    service.event("action.started");
    service.write_token("wrong");
    service.schedule(EVERY_SECOND);
    service.machine.run_ok(&["systemctl", "restart", &service.name]);
    assert_eq!(service.event("occurrence.rejected")["status"], 401);
    service.write_token(stackcron::sandbox::DEFAULT_TOKEN);
    // systemd hands a credential over at a start; newer ones than those of 2024 can do it at a
    // reload.
    service.machine.run_ok(&["systemctl", "restart", &service.name]);
    service.event("action.started");
}

#[test]
fn what_a_restart_cannot_heal_is_told_and_not_started_again() {
    let mut service = service!("config", &[], "");
    service.schedule("  nightly: { stack: s1, job: j1, cron: '61 * * * *' }\n");
    assert!(!service.systemctl("start").status.success());
    service.event("schedule.rejected");
    refused(&service);
    std::fs::remove_file(service.machine.path(&service.token())).expect("the token");
    service.schedule(NEVER);
    assert!(!service.systemctl("start").status.success());
    let error = service.event("account.unusable")["error"].to_string();
    assert!(error.contains("LoadCredential") && error.contains("restart"), "{error}");
    refused(&service);
    service.schedule_with("{ env: INVOCATION_ID }", NEVER);
    service.start();
}

fn refused(service: &Service) {
    assert_eq!(service.property("ExecMainStatus"), "78", "{}", service.journal());
    assert_eq!(
        (service.property("ActiveState"), service.property("NRestarts")),
        ("failed".into(), "0".into())
    );
}

#[test]
fn the_journal_has_each_event_as_json_or_in_fields_of_its_own() {
    let mut service = service!("log", &[], "");
    service.schedule(EVERY_SECOND);
    service.start();
    let event = service.event("action.started");
    for field in ["entry", "stack", "scheduled_at", "lateness_ms", "action_id"] {
        assert!(!event[field].is_null(), "{field} of {event}");
    }
    service.schedule("  broken: { stack: s1, job: j-forbidden, cron: '* * * * * *' }\n");
    assert!(service.systemctl("reload").status.success());
    service.event("occurrence.rejected");
    service.stop();
    let grave = ["journalctl", "-u", &service.name, "-p", "err", "-o", "cat", "--no-pager"];
    let grave = service.machine.run_ok(&grave);
    assert!(grave.lines().count() > 0, "{}", service.journal());
    assert!(grave.lines().all(|line| line.contains("\"level\":\"error\"")), "{grave}");
    let native = Service::as_packaged(service.machine, "native", &[], "");
    native.schedule(&format!(
        "{EVERY_SECOND}  broken: {{ stack: s1, job: j-forbidden, cron: '* * * * * *' }}\n"
    ));
    native.start();
    let records = |matches: &[&str]| -> Vec<Value> {
        let words = [&["journalctl", "-u", &native.name, "-o", "json", "--no-pager"], matches].concat();
        let text = native.machine.run_ok(&words);
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    native.sandbox.started(4);
    native.stop();
    native.machine.run_ok(&["journalctl", "--sync"]);
    let started = records(&["ENTRY=often", "EVENT=action.started"]);
    let of_entry = native.sandbox.started(0).iter().filter(|request| request["job"] == "j1").count();
    assert_eq!(started.len(), of_entry, "{}", native.journal());
    let record = &started[0];
    assert!(record["MESSAGE"].as_str().is_some_and(|it| it.starts_with("often: action ")), "{record}");
    assert_eq!((&record["PRIORITY"], &record["STACK"]), (&"6".into(), &"s1".into()));
    assert!(record["ACTION_ID"].as_str().is_some_and(|id| id.parse::<u64>().is_ok()), "{record}");
    assert!(record.get("ACTION_FINISHED_AT").is_none(), "what has no value has no field: {record}");
    assert_eq!(record["SYSLOG_IDENTIFIER"], "stackcron");
    let grave = records(&["PRIORITY=3"]);
    assert!(!grave.is_empty() && grave.iter().all(|record| record["ENTRY"] == "broken"), "{grave:?}");
}

/// The events of one name.
fn of<'a>(events: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["event"] == name)
}

/// The final events of each occurrence.
fn fates(events: &[Value]) -> BTreeMap<Timestamp, Vec<String>> {
    let final_events = [
        "action.started",
        "occurrence.missed",
        "occurrence.skipped",
        "occurrence.rejected",
        "occurrence.unknown",
    ];
    let mut fates: BTreeMap<Timestamp, Vec<String>> = BTreeMap::new();
    let mut actions: BTreeSet<(Timestamp, u64)> = BTreeSet::new();
    for event in events {
        let name = event["event"].as_str().unwrap_or_default();
        if final_events.contains(&name) {
            let at = event["scheduled_at"].as_str().and_then(|at| at.parse().ok()).expect("an instant");
            // A start that was told and not written when the process died is found, and told again:
            // the same action.
            if event["action_id"].as_u64().is_some_and(|action| !actions.insert((at, action))) {
                continue;
            }
            fates.entry(at).or_default().push(name.to_owned());
        }
    }
    fates
}
