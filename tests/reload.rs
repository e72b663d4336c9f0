//! The schedule file changes while the daemon runs: what it notices, what it tells, and what it
//! fires.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Daemon, Place, read, sandbox, sandbox_with, schedule, settings, until};
use stackcron::sandbox::{Endpoint, Sandbox};

const JOBS: &str = "  nightly: { stack: s1, job: j1, cron: '* * * * * *' }\n";
const MORE: &str = "  nightly: { stack: s1, job: j1, cron: '* * * * * *' }\n  added: { stack: s1, job: j2, cron: '* * * * * *' }\n";

/// Waits until the daemon has fired twice more: at least a second goes by, five times what a file
/// takes to settle.
async fn fires_twice(sandbox: &Sandbox) {
    let before = sandbox.ledger().of(Endpoint::RunNow).count();
    sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() >= before + 2).await;
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(new, path).expect("a rename");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_read_and_an_unchanged_one_is_not() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let mut daemon = place.start();
    daemon.event("action.started");
    // Touched, saved as it was, renamed to what it was.
    let file = fs::File::options().append(true).open(place.config()).expect("the file");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1)).expect("another time");
    fires_twice(&sandbox).await;
    place.write(&schedule(&sandbox.url(), "", JOBS));
    fires_twice(&sandbox).await;
    replace(&place.config(), &schedule(&sandbox.url(), "", JOBS));
    fires_twice(&sandbox).await;
    // An editor's way.
    replace(&place.config(), &schedule(&sandbox.url(), "", MORE));
    let line = daemon.event("schedule.reloaded");
    assert_eq!(
        (&line["added"], &line["changed"], &line["removed"]),
        (&1.into(), &0.into(), &0.into()),
        "{line}"
    );
    daemon.wait_for("action.started", |line| line["entry"] == "added");
    // And a plain write into what the rename has brought.
    place.write(&schedule(&sandbox.url(), "", JOBS));
    daemon.wait_for("schedule.reloaded", |line| line["removed"] == 1);
    daemon.stop();
    assert_eq!(daemon.events("schedule.reloaded").len(), 2, "{}", daemon.raw);
    assert_eq!(daemon.events("schedule.polled").len(), 0, "it is watched:\n{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_saved_slowly_is_read_when_its_writer_has_closed_it() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", MORE);
    let mut daemon = place.start();
    daemon.event("action.started");
    let before = sandbox.ledger().of(Endpoint::RunNow).count();
    // An editor that truncates, writes half, which is a valid schedule, and then the rest.
    let mut file = fs::File::create(place.config()).expect("the file is truncated");
    sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() >= before + 2).await;
    file.write_all(schedule(&sandbox.url(), "", JOBS).as_bytes()).expect("the first half");
    daemon.signal(Signal::HUP);
    sandbox.wait_for(|ledger| ledger.of(Endpoint::RunNow).count() >= before + 4).await;
    file.write_all(b"  added: { stack: s1, job: j2, cron: '* * * * * *', paused: true }\n")
        .expect("the rest");
    drop(file);
    let line = daemon.wait_for("schedule.reloaded", |line| line["changed"] == 1);
    assert_eq!(line["removed"], 0, "{line}");
    daemon.stop();
    for line in daemon.events("schedule.reloaded") {
        assert_eq!(line["removed"], 0, "nothing of the half was taken: {line}");
    }
    assert_eq!(daemon.events("schedule.rejected").len(), 0, "{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_disarms_nothing() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let mut daemon = place.start();
    daemon.event("action.started");
    for text in ["", "# comments alone\n", "null\n", "jobs:\n"] {
        replace(&place.config(), text);
        while daemon.next_event()["event"] != "schedule.rejected" {}
        fires_twice(&sandbox).await;
    }
    replace(&place.config(), "jobs: {}\n");
    let line = daemon.event("schedule.shrunk");
    assert_eq!(
        (&line["level"], &line["removed"], &line["was"]),
        (&"warn".into(), &1.into(), &1.into()),
        "{line}"
    );
    assert!(line["message"].as_str().is_some_and(|message| message.contains("1 of 1 entries")), "{line}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_as_soon_as_it_starts_is_a_reload_and_no_end() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let mut daemon = place.start();
    // As early as can be: `main` has hardly begun. What comes before it, while the program is
    // loaded, is the system's.
    until("holds the signal", || {
        let status = read(Path::new(&format!("/proc/{}/status", daemon.id())));
        let handles = ["SigBlk:", "SigCgt:"].iter().any(|field| {
            let mask = status.lines().find_map(|line| line.strip_prefix(field)).expect("a mask");
            u64::from_str_radix(mask.trim(), 16).expect("a number") & 1 == 1
        });
        if handles { Ok(()) } else { Err(status) }
    });
    daemon.signal(Signal::HUP);
    daemon.event("action.started");
    daemon.event("schedule.reloaded");
    assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_is_told_once_and_the_old_schedule_goes_on() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let mut daemon = place.start();
    daemon.event("action.started");
    let bad =
        schedule(&sandbox.url(), "", "  nightly: { stack: s1, cron: '61 * * * *' }\n  more: { corn: 1 }\n");
    place.write(&bad);
    let line = daemon.event("schedule.rejected");
    assert_eq!(line["errors"], 4, "all of them are counted: {line}");
    replace(&place.config(), &bad);
    fires_twice(&sandbox).await;
    place.write(&schedule(&sandbox.url(), "", JOBS));
    let line = daemon.event("schedule.reloaded");
    assert_eq!(
        (&line["added"], &line["changed"], &line["removed"]),
        (&0.into(), &0.into(), &0.into()),
        "{line}"
    );
    daemon.stop();
    assert_eq!(daemon.events("schedule.rejected").len(), 1, "{}", daemon.raw);
    let stderr = daemon.stderr();
    for what in ["minute 61", "`job`", "`corn`"] {
        assert!(stderr.contains(what), "every error is on stderr, {what} too:\n{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_told_once_and_the_old_schedule_goes_on() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let mut daemon = place.start();
    daemon.event("action.started");
    fs::remove_file(place.config()).expect("a removal");
    daemon.event("schedule.missing");
    fs::write(place.config().with_extension("other"), "").expect("a file");
    fires_twice(&sandbox).await;
    place.write(&schedule(&sandbox.url(), "", MORE));
    daemon.wait_for("schedule.reloaded", |line| line["added"] == 1);
    daemon.stop();
    assert_eq!(daemon.events("schedule.missing").len(), 1, "{}", daemon.raw);
    assert_eq!(daemon.events("schedule.rejected").len(), 0, "{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_is_read_again_when_it_is_swapped() {
    let sandbox = sandbox(&[]).await;
    let place = Place::with("");
    let root = place.directory.path().join("mounted");
    fs::create_dir(&root).expect("a directory");
    let swap = |name: &str, jobs: &str| {
        fs::create_dir(root.join(name)).expect("a directory");
        fs::write(root.join(name).join("schedule.yaml"), schedule(&sandbox.url(), "", jobs)).expect("a file");
        symlink(name, root.join("..data_tmp")).expect("a link");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("a swap");
    };
    swap("..2026_01", JOBS);
    symlink("..data/schedule.yaml", root.join("schedule.yaml")).expect("a link");
    // By a relative path, from another directory.
    let mut command = place.command(&["run", "--log-format", "json", "--config", "mounted/schedule.yaml"]);
    command.current_dir(place.directory.path());
    let mut daemon = Daemon::start(command, Arc::clone(&place.directory));
    daemon.event("action.started");
    swap("..2026_02", MORE);
    fs::remove_dir_all(root.join("..2026_01")).expect("the old one goes");
    daemon.wait_for("schedule.reloaded", |line| line["added"] == 1);
    swap("..2026_03", JOBS);
    daemon.wait_for("schedule.reloaded", |line| line["removed"] == 1);
    // The directory itself is replaced.
    fs::rename(&root, place.directory.path().join("old")).expect("a rename");
    daemon.event("schedule.missing");
    fs::create_dir(&root).expect("a directory");
    fs::write(root.join("schedule.yaml"), schedule(&sandbox.url(), "", MORE)).expect("a file");
    daemon.wait_for("schedule.reloaded", |line| line["removed"] == 0 && line["entries"] == 2);
    daemon.stop();
}

/// A user namespace has limits of its own, which its root may set.
fn without_inotify(command: Command) -> Option<Command> {
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let within = ["--user", "--map-root-user", "sh", "-c", script, "sh"];
    let possible = Command::new("unshare").args(within).arg("true").stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("NOT TESTED: this machine allows no user namespaces, so that inotify cannot be taken away");
        return None;
    }
    let mut wrapped = Command::new("unshare");
    wrapped.args(within).arg(command.get_program()).args(command.get_args()).env_clear();
    wrapped.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            wrapped.env(name, value);
        }
    }
    wrapped.stdin(Stdio::null());
    Some(wrapped)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_inotify_has_no_room_the_file_is_polled() {
    let sandbox = sandbox(&[]).await;
    let place = Place::firing_at(&sandbox, "", JOBS);
    let Some(command) = without_inotify(place.command(&["run", "--log-format", "json"])) else { return };
    let mut daemon = Daemon::start(command, Arc::clone(&place.directory));
    daemon.event("schedule.polled");
    replace(&place.config(), &schedule(&sandbox.url(), "", MORE));
    daemon.wait_for("schedule.reloaded", |line| line["added"] == 1);
    place.write(&schedule(&sandbox.url(), "", JOBS));
    daemon.wait_for("schedule.reloaded", |line| line["removed"] == 1);
    daemon.stop();
    assert_eq!(daemon.events("schedule.polled").len(), 1, "it is told once:\n{}", daemon.raw);
}

/// A schedule whose account has this name, with an entry of these settings.
fn by_account(sandbox: &Sandbox, name: &str, settings: &str) -> String {
    format!(
        "accounts: {{ {name}: {{ url: '{}', token: {{ env: TOKEN }} }} }}\njobs:\n  \
         nightly: {{ stack: s1, job: j1, cron: '* * * * * *', {settings} }}\n",
        sandbox.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_renamed_loses_sight_of_no_action() {
    let mut settings = settings(&[]);
    settings.action_duration = Duration::from_secs(3);
    let sandbox = sandbox_with(settings).await;
    let place = Place::with(&by_account(&sandbox, "main", "overlap: skip"));
    let mut daemon = place.start();
    let first = daemon.event("action.started");
    place.replace(&by_account(&sandbox, "renamed", "overlap: skip"));
    daemon.event("schedule.reloaded");
    let finished = daemon.event("action.finished");
    assert_eq!(finished["scheduled_at"], first["scheduled_at"], "{finished}");
    daemon.wait_for("action.started", |line| line["account"] == "renamed");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_renamed_learns_what_became_of_an_attempt_in_doubt() {
    let sandbox = sandbox(&["close-after:times=1", "status=500:on=actions,times=2"]).await;
    let place = Place::with(&by_account(&sandbox, "main", "overlap: skip"));
    let mut daemon = place.start();
    let doubt = daemon.event("occurrence.in_doubt");
    place.replace(&by_account(&sandbox, "renamed", "overlap: skip"));
    let verdict = daemon.event("occurrence.reconciled");
    assert_eq!(
        (&verdict["scheduled_at"], &verdict["verdict"]),
        (&doubt["scheduled_at"], &"started".into()),
        "{verdict}"
    );
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_renamed_after_a_crash_learns_what_was_in_doubt() {
    let sandbox = sandbox(&["close-after:times=1", "status=500:on=actions,times=1"]).await;
    let place = Place::with(&by_account(&sandbox, "main", "overlap: skip"));
    let mut daemon = place.start();
    let doubt = daemon.event("occurrence.in_doubt");
    daemon.signal(Signal::KILL);
    daemon.end();
    place.replace(&by_account(&sandbox, "renamed", "overlap: skip"));
    let mut daemon = place.start();
    let verdict =
        daemon.wait_for("occurrence.reconciled", |line| line["scheduled_at"] == doubt["scheduled_at"]);
    assert_eq!(verdict["verdict"], "started", "{verdict}");
    daemon.stop();
}
