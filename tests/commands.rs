//! The commands as a person or a script meets them: what they print, and how they exit.

use crate::common::{Place, schedule};
use serde_json::Value;

fn place() -> Place {
    let jobs = "  nightly: { stack: s1, job: j1, cron: '30 1 * * *', timezone: Europe/London }\n";
    Place::with(&schedule("http://127.0.0.1:1/api/3", "", jobs))
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [&["no-such-command"][..], &["run", "--no-such-flag"], &["next", "--count", "many"]] {
        assert_eq!(place().run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_name_that_there_is_not_is_wrong_usage_and_told_with_the_nearest() {
    for arguments in [
        &["next", "nigthly"][..],
        &["next", "nightly", "nigthly"],
        &["why", "nigthly", "--at", "2026-01-01"],
        &["jobs", "s1", "--account", "mian"],
    ] {
        let ended = place().run(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
        let nearest = if arguments[0] == "jobs" { "did you mean `main`?" } else { "did you mean `nightly`?" };
        assert!(ended.stderr.contains(nearest), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_time_that_is_none_for_all_entries_is_wrong_usage() {
    let jobs = "  a: { stack: s1, job: j1, cron: '@daily', timezone: Europe/London }\n  \
                  b: { stack: s1, job: j2, cron: '@daily', timezone: Asia/Tokyo }\n";
    let place = Place::with(&schedule("http://127.0.0.1:1/api/3", "", jobs));
    let (from, until) = ("2026-01-01", "2026-01-02");
    for arguments in [
        &["next", "--from", from][..],
        &["forecast", "--from", from],
        &["rehearse", "--from", from, "--until", until],
    ] {
        let ended = place.run(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains("several zones"), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn a_wrong_schedule_exits_with_78_whatever_reads_it() {
    let place = Place::with("jobs: [");
    for arguments in [
        &["check"][..],
        &["next"],
        &["why", "a", "--at", "2026-01-01"],
        &["forecast"],
        &["jobs", "s"],
        &["run"],
    ] {
        assert_eq!(place.run(arguments).status.code(), Some(78), "{arguments:?}");
    }
}

#[test]
fn next_prints_one_object_a_line() {
    let ended = place().run(&["next", "--format", "json", "--from", "2026-10-24T00:00:00Z", "--count", "2"]);
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{}", ended.stdout);
    assert_eq!(lines[0]["entry"], "nightly");
    assert_eq!(lines[0]["scheduled_at"], "2026-10-24T00:30:00Z");
    assert_eq!(lines[0]["local_time"], "2026-10-24T01:30:00+01:00");
    assert_eq!(lines[0]["timezone"], "Europe/London");
    assert_eq!(lines[1]["scheduled_at"], "2026-10-25T00:30:00Z", "the first of the two 01:30");
}

#[test]
fn the_schema_is_json_and_every_shell_has_its_completions() {
    let schema: Value = serde_json::from_str(&place().run(&["schema"]).stdout).expect("JSON");
    assert!(schema["properties"]["jobs"].is_object(), "{schema}");
    for shell in ["bash", "zsh", "fish"] {
        let ended = place().run(&["completions", shell]);
        assert!(ended.status.success() && ended.stdout.contains("rehearse"), "{shell}: {}", ended.stdout);
    }
}

#[test]
fn names_of_the_schedule_complete_in_the_shells() {
    let place = place();
    let completed = |words: &[&str]| {
        let mut command = place.command(&[&["--", "stackcron"], words].concat());
        command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        let output = command.env("_CLAP_IFS", " ").output().expect("it starts");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let entries = completed(&["why", ""]);
    let listed = place.run(&["next", "--format", "json"]).stdout;
    let first: Value = serde_json::from_str(listed.lines().next().expect("an entry")).expect("JSON");
    assert!(entries.split(' ').any(|name| first["entry"] == name), "{first} in {entries:?}");
    assert!(
        completed(&["jobs", "--account", ""]).contains("main"),
        "{}",
        completed(&["jobs", "--account", ""])
    );
    for command in ["run", "check", "why", "status", "pause", "resume", "history", "schema", "journal"] {
        let help = place.run(&[command, "--help"]).stdout;
        assert!(help.contains("Example:") || help.contains("Examples:"), "{command}: {help}");
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let place = place();
    let directory = place.directory.path().join("man");
    std::fs::create_dir(&directory).expect("a directory");
    assert!(place.run(&["man", "--directory", &directory.display().to_string()]).status.success());
    for page in
        ["stackcron.1", "stackcron-run.1", "stackcron-why.1", "stackcron-history.1", "stackcron-jobs.1"]
    {
        let text = crate::common::read(&directory.join(page));
        assert!(text.contains(".TH"), "{page} is a manual page");
    }
    assert!(place.run(&["man"]).stdout.contains(".TH"));
}

#[test]
fn what_is_piped_has_no_colour_and_a_closed_pipe_is_no_error() {
    let place = place();
    assert!(!place.run(&["next"]).stdout.contains('\u{1b}'), "no colour in a pipe");
    let mut child = place
        .command(&["next", "--count", "100000"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn the_files_in_config_are_valid() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["config/schedule.yaml", "config/demo.yaml"] {
        let path = root.join(file).display().to_string();
        let ended = place().run(&["check", "--config", &path]);
        assert_eq!(ended.status.code(), Some(0), "{file}: {}", ended.stdout);
    }
}
