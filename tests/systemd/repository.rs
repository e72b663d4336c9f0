//! The Debian package from a signed repository: the installation, the upgrade with a journal full
//! of occurrences, the downgrade that is refused, and the purge.
//!
//! `STACKCRON_FORMER=PROGRAM` upgrades from this program, such as the one of the commit before;
//! without it both versions of the package have the program under test.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::machine::{Machine, PROGRAM, Ran, Sandbox, not_run};
use super::package::built;

const FORMER: &str = "1.0-1";
const LATTER: &str = "1.1-1";

/// Occurrences that come due every second.
const EACH_SECOND: usize = 20;

/// Actions that have started before the upgrade.
const BEFORE: usize = 4 * EACH_SECOND;

const OCCURRENCES: [&str; 4] = ["stackcron", "history", "--format", "json"];

#[test]
fn an_upgrade_from_a_signed_repository_keeps_each_occurrence_and_a_downgrade_is_refused() {
    for tool in ["reprepro", "gpg"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return not_run(&format!("there is no `{tool}`: `apt-get install reprepro gnupg`"));
        }
    }
    let directory = tempfile::tempdir().expect("a directory");
    let former = std::env::var("STACKCRON_FORMER").unwrap_or_else(|_| PROGRAM.to_owned());
    let Some(first) = built(&former, directory.path(), FORMER) else { return };
    let Some(second) = built(PROGRAM, directory.path(), LATTER) else { return };
    let repository = Repository::new(directory.path());
    repository.publish("stable", &first);
    let Some(machine) = Machine::boot_with(&[directory.path()]) else { return };
    // Images for containers forbid packages to touch services, and some keep no documentation.
    machine.run_ok(&[
        "rm",
        "-rf",
        "/usr/sbin/policy-rc.d",
        "/etc/apt/sources.list.d",
        "/etc/apt/sources.list",
    ]);
    let state = |property| machine.property("stackcron.service", property);

    let unknown = repository.add_to(&machine, &["stable"], "");
    assert!(!unknown.status.success(), "the key is nobody's that apt knows: {unknown:?}");
    let known = repository.add_to(&machine, &["stable"], "[signed-by=/etc/apt/keyrings/stackcron.asc] ");
    assert!(known.status.success(), "{known:?}");
    apt(&machine, &["install", "stackcron"]);
    assert_eq!(installed(&machine), FORMER);

    let sandbox = Sandbox::start(&machine, &[]);
    let jobs: String = (0..EACH_SECOND)
        .map(|n| {
            format!(
                "  e{n}: {{ stack: s{n}, job: j1, cron: '* * * * * *', catch_up: all, overlap: allow, follow: false }}\n"
            )
        })
        .collect();
    let url = &sandbox.url;
    let account = "token: { credential: cloud66-token }, quota: { limit: 100000 }";
    let schedule = format!("accounts: {{ main: {{ url: '{url}', {account} }} }}\njobs:\n{jobs}");
    machine.write("/etc/stackcron/schedule.yaml", &schedule, 0o644);
    machine.write("/etc/stackcron/cloud66-token", stackcron::sandbox::DEFAULT_TOKEN, 0o600);
    machine.run_ok(&["systemctl", "enable", "--now", "stackcron"]);
    let before = sandbox.started(BEFORE).len();
    let noted = history(&machine);

    repository.publish("stable", &second);
    repository.publish("older", &first);
    let suites =
        repository.add_to(&machine, &["stable", "older"], "[signed-by=/etc/apt/keyrings/stackcron.asc] ");
    assert!(suites.status.success(), "{suites:?}");
    let pid = state("MainPID");
    apt(&machine, &["upgrade"]);
    assert_eq!((installed(&machine).as_str(), state("ActiveState").as_str()), (LATTER, "active"));
    assert_ne!(state("MainPID"), pid, "the new program runs");
    sandbox.started(before + BEFORE);

    let pid = state("MainPID");
    let back = format!("stackcron={FORMER}");
    let refused = run_apt(&machine, &[], &["install", "--allow-downgrades", &back]);
    assert!(!refused.status.success(), "{refused:?}");
    for words in ["is not downgraded to 1.0-1", "journal", "Nothing has been changed"] {
        assert!(refused.stdout.contains(words), "{words} is told: {refused:?}");
    }
    assert_eq!((installed(&machine), state("MainPID")), (LATTER.into(), pid), "{refused:?}");
    assert!(machine.run(&["dpkg", "--audit"]).stdout.is_empty(), "the package is whole");

    machine.run_ok(&["systemctl", "stop", "stackcron"]);
    let after = history(&machine);
    for (name, row) in noted.iter().filter(|(_, row)| row["action_id"].is_u64()) {
        assert_eq!(after.get(name).map(|row| &row["action_id"]), Some(&row["action_id"]), "{name:?}");
    }
    let told: BTreeMap<u64, &Name> =
        after.iter().filter_map(|(name, row)| Some((row["action_id"].as_u64()?, name))).collect();
    let unsure = after.values().filter(|row| row["state"] == "unknown").count();
    for request in sandbox.started(0) {
        let action = request["action"].as_u64().expect("an id");
        assert!(told.contains_key(&action) || unsure > 0, "the journal knows {request}");
    }
    assert_eq!(
        after.values().filter(|row| row["action_id"].is_u64()).count(),
        told.len(),
        "no action is two occurrences'"
    );

    let asked_for =
        run_apt(&machine, &["STACKCRON_DOWNGRADE=yes"], &["install", "--allow-downgrades", &back]);
    assert!(asked_for.status.success(), "{asked_for:?}");
    assert_eq!(installed(&machine), FORMER);
    apt(&machine, &["purge", "stackcron"]);
    let places = ["/usr/bin", "/usr/lib/systemd", "/usr/share", "/var/lib/private", "/etc/stackcron"];
    let left = machine.run(&[&["find"], &places[..], &["-name", "*stackcron*"]].concat()).stdout;
    assert!(left.is_empty(), "{left}");
}

/// An occurrence, by its entry and its instant.
type Name = (String, String);

/// All that the journal knows.
fn history(machine: &Machine) -> BTreeMap<Name, Value> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = machine.run_ok(&OCCURRENCES);
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    rows.map(|row| ((text(&row, "entry"), text(&row, "scheduled_at")), row)).collect()
}

fn installed(machine: &Machine) -> String {
    machine.run_ok(&["dpkg-query", "--show", "--showformat=${Version}", "stackcron"])
}

fn apt(machine: &Machine, words: &[&str]) -> Ran {
    let ran = run_apt(machine, &[], words);
    assert!(ran.status.success(), "{words:?}: {ran:?}");
    ran
}

/// Triggers are left out: those of the manual pages read all that the machine has.
fn run_apt(machine: &Machine, variables: &[&str], words: &[&str]) -> Ran {
    let apt =
        ["apt-get", "--yes", "--quiet", "--no-install-recommends", "-o", "DPkg::Options::=--no-triggers"];
    machine.run(&[&["env", "DEBIAN_FRONTEND=noninteractive"], variables, &apt, words].concat())
}

/// A repository of Debian packages with a key of its own.
struct Repository<'a> {
    base: &'a Path,
}

impl Repository<'_> {
    fn new(base: &Path) -> Repository<'_> {
        let repository = Repository { base };
        for directory in ["conf", "keys"] {
            std::fs::create_dir(base.join(directory)).expect("a directory");
        }
        std::fs::set_permissions(base.join("keys"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("its mode");
        let who = "stackcron test <test@stackcron.invalid>";
        repository.run(
            "gpg",
            &["--batch", "--passphrase", "", "--quick-generate-key", who, "ed25519", "sign", "1d"],
        );
        let key = repository.run("gpg", &["--armor", "--export"]);
        std::fs::write(base.join("key.asc"), key).expect("the key");
        let suites = ["stable", "older"].map(|suite| {
            format!("Codename: {suite}\nArchitectures: amd64 arm64\nComponents: main\nSignWith: yes\n")
        });
        std::fs::write(base.join("conf/distributions"), suites.join("\n")).expect("its settings");
        repository
    }

    fn publish(&self, suite: &str, package: &Path) {
        let base = self.base.display().to_string();
        self.run("reprepro", &["--basedir", &base, "includedeb", suite, &package.display().to_string()]);
    }

    /// Writes these suites down as apt's sources, and has apt read them.
    fn add_to(&self, machine: &Machine, suites: &[&str], options: &str) -> Ran {
        let key = std::fs::read_to_string(self.base.join("key.asc")).expect("the key");
        machine.write("/etc/apt/keyrings/stackcron.asc", &key, 0o644);
        let base = self.base.display();
        let sources: String =
            suites.iter().map(|suite| format!("deb {options}file://{base} {suite} main\n")).collect();
        machine.write("/etc/apt/sources.list.d/stackcron.list", &sources, 0o644);
        machine.run(&["apt-get", "update", "-o", "APT::Update::Error-Mode=any"])
    }

    fn run(&self, program: &str, words: &[&str]) -> String {
        let output = Command::new(program)
            .args(words)
            .env("GNUPGHOME", self.base.join("keys"))
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program} {words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

impl Drop for Repository<'_> {
    fn drop(&mut self) {
        // The agent of the key, which lives on.
        let _ = Command::new("gpgconf")
            .arg("--kill")
            .arg("all")
            .env("GNUPGHOME", self.base.join("keys"))
            .output();
    }
}
