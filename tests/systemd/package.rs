//! The Debian package from its installation to its purge.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::machine::{Machine, PROGRAM, PROJECT, Ran, not_run};

/// What the package must bring, besides the program.
const FILES: [&str; 15] = [
    "/usr/lib/systemd/system/stackcron.service",
    "/etc/stackcron/schedule.yaml",
    "/usr/share/stackcron/schedule.schema.json",
    "/usr/share/man/man1/stackcron.1.gz",
    "/usr/share/man/man1/stackcron-run.1.gz",
    "/usr/share/bash-completion/completions/stackcron",
    "/usr/share/zsh/vendor-completions/_stackcron",
    "/usr/share/fish/vendor_completions.d/stackcron.fish",
    "/usr/share/doc/stackcron/copyright",
    "/usr/share/doc/stackcron/README.md",
    "/usr/share/doc/stackcron/changelog.gz",
    "/usr/share/doc/stackcron/changelog.Debian.gz",
    "/usr/share/doc/stackcron/docs/calendars.md",
    "/usr/share/doc/stackcron/examples/stackcron.rules.yaml",
    "/usr/share/doc/stackcron/examples/grafana-stackcron.json",
];

#[test]
fn the_package_starts_nothing_keeps_what_was_edited_and_leaves_nothing_after_a_purge() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(package) = built(PROGRAM, directory.path(), "1.0-1") else { return };
    let Some(next) = built(PROGRAM, directory.path(), "1.1-1") else { return };
    let Some(machine) = Machine::boot_with(&[directory.path()]) else { return };
    // Where images for containers are made of this machine, it forbids packages to touch services.
    machine.run_ok(&["rm", "-f", "/usr/sbin/policy-rc.d"]);
    let install = |package: &Path| -> Ran {
        machine.run(&["dpkg", "--no-triggers", "--install", &package.display().to_string()])
    };
    let state = |property| machine.property("stackcron.service", property);

    // As on a hardened host. The machine shares its user namespace with others: only what tells of
    // it is changed.
    let hardened = "echo 0 > /run/none && mount --bind /run/none /proc/sys/user/max_user_namespaces";
    machine.run_ok(&["bash", "-c", hardened]);
    let first = install(&package);
    assert!(first.status.success(), "{first:?}");
    for part in ["user.max_user_namespaces=0", "sudo systemctl edit stackcron", "PrivateUsers=no"] {
        assert!(first.stdout.contains(part), "{part} is told in:\n{}", first.stdout);
    }
    nights_of_a_dead_unit(&machine);
    for step in ["/etc/stackcron/cloud66-token", "stackcron check", "systemctl enable --now stackcron"] {
        assert!(first.stdout.contains(step), "{step} is a step in:\n{}", first.stdout);
    }
    for file in FILES {
        assert!(machine.path(file).is_file(), "{file}");
    }
    assert_eq!((state("ActiveState"), state("UnitFileState")), ("inactive".into(), "disabled".into()));
    let check = machine.run_ok(&["stackcron", "check"]);
    assert!(check.starts_with("ok: 0 entries"), "{check}");
    let verified = machine.run(&["systemd-analyze", "verify", "/usr/lib/systemd/system/stackcron.service"]);
    assert!(
        verified.status.success() && verified.stdout.is_empty() && verified.stderr.is_empty(),
        "{verified:?}"
    );
    let threshold = ["systemd-analyze", "security", "--threshold=10", "stackcron.service"];
    assert!(machine.run(&threshold).status.success(), "the exposure is 1.0 or below");

    // The steps as printed.
    machine.write("/etc/stackcron/cloud66-token", "a-token\n", 0o600);
    let schedule =
        std::fs::read_to_string(machine.path("/etc/stackcron/schedule.yaml")).expect("the schedule");
    let schedule = schedule.replace("jobs: {}", "jobs:");
    let edited = format!("{schedule}  nightly: {{ stack: s1, job: j1, cron: '0 0 1 1 *' }}\n");
    machine.write("/etc/stackcron/schedule.yaml", &edited, 0o644);
    machine.run_ok(&["stackcron", "check"]);
    machine.run_ok(&["systemctl", "enable", "--now", "stackcron"]);
    assert_eq!(state("ActiveState"), "active");
    assert!(state("StatusText").starts_with("next: nightly at "), "{}", state("StatusText"));
    let journal = "/var/lib/private/stackcron/journal.sqlite3";
    assert!(machine.path(journal).exists());

    let (pid, second) = (state("MainPID"), install(&next));
    assert!(second.status.success(), "{second:?}");
    assert!(!second.stdout.contains("three steps"), "an upgrade asks for nothing:\n{}", second.stdout);
    assert_eq!(state("ActiveState"), "active");
    assert_ne!(state("MainPID"), pid, "the new program runs: {second:?}");
    let kept = std::fs::read_to_string(machine.path("/etc/stackcron/schedule.yaml")).expect("the schedule");
    assert_eq!(kept, edited);
    assert!(machine.path(journal).exists());

    machine.run_ok(&["dpkg", "--no-triggers", "--remove", "stackcron"]);
    assert_eq!(state("ActiveState"), "inactive");
    assert!(machine.path(journal).exists() && machine.path("/etc/stackcron/schedule.yaml").exists());
    machine.run_ok(&["dpkg", "--no-triggers", "--purge", "stackcron"]);
    let places = ["/etc", "/usr/bin", "/usr/lib/systemd", "/usr/share", "/var/lib", "/run"];
    let left = machine.run_ok(&[&["find"], &places[..], &["-name", "*stackcron*"]].concat());
    assert!(left.is_empty(), "{left:#?}");
}

/// Where the unit is dead, `status` tells the cause, since when, and what to do.
fn nights_of_a_dead_unit(machine: &Machine) {
    let drop_in = "/etc/systemd/system/stackcron.service.d/night.conf";
    let told = |more: &str, parts: &[&str]| {
        machine.write(drop_in, &format!("[Service]\nRestart=no\n{more}"), 0o644);
        machine.run_ok(&["systemctl", "daemon-reload"]);
        assert!(!machine.run(&["systemctl", "start", "stackcron"]).status.success(), "it cannot start");
        machine.run_ok(&["journalctl", "--sync"]);
        let ended = machine.run(&["stackcron", "status"]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        for part in [&["stackcron.service is failed", " since ", "next: "], parts].concat() {
            assert!(ended.stderr.contains(part), "without {part:?}: {ended:?}");
        }
        machine.run_ok(&["systemctl", "reset-failed", "stackcron"]);
    };
    // No such user: systemd ends as it does where it cannot make a user namespace.
    told(
        "DynamicUser=no\nUser=nobody-there\n",
        &[
            "exit status 217",
            "user namespaces are switched off here (user.max_user_namespaces=0)",
            "write `[Service]` and below it `PrivateUsers=no`",
        ],
    );
    let schedule = "/etc/stackcron/schedule.yaml";
    let good = std::fs::read_to_string(machine.path(schedule)).expect("the schedule");
    machine.write(schedule, "jobs: 1\n", 0o644);
    told("", &["exit status 78", "last error: ", "schedule.yaml:1:7", "next: `sudo stackcron check`"]);
    machine.write(schedule, &good, 0o644);
    machine.run_ok(&["rm", drop_in]);
    machine.run_ok(&["rmdir", "/etc/systemd/system/stackcron.service.d"]);
    machine.run_ok(&["systemctl", "daemon-reload"]);
    machine.run_ok(&["umount", "/proc/sys/user/max_user_namespaces"]);
}

/// A package of this program. `None`, and stderr says why, where packages cannot be built.
pub fn built(program: &str, directory: &Path, version: &str) -> Option<PathBuf> {
    if !Command::new("cargo").args(["deb", "--version"]).output().is_ok_and(|it| it.status.success()) {
        not_run("the package cannot be built without cargo-deb: `cargo install cargo-deb --locked`");
        return None;
    }
    // The script collects the parts of a package in one directory.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let package = directory.join(format!("stackcron_{version}.deb"));
    let output = Command::new(Path::new(PROJECT).join("systemd/package"))
        .args(["--program", program, "--fast", "--quiet", "--deb-version", version, "--output"])
        .arg(&package)
        .output()
        .expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(package)
}
