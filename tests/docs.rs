//! The pages that people read: links lead somewhere, commands and examples are those of the
//! program.
//!
//! A block marked `sh` has each `stackcron` command parsed. Behind `<!-- run: SCHEDULE -->` it is
//! run as well, beside a daemon in a sandbox; SCHEDULE is `first`, the README's first schedule, or
//! `demo`.

mod manual;
mod markdown;
mod shell;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use markdown::{Page, broken_links, code};
use serde_json::Value;
use stackcron::cli::Cli;
use stackcron::log::event::Event;

use crate::common::{Place, until};

/// An iCalendar file, of which the examples speak.
const TERMS: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20301224\r\nSUMMARY:Holiday\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

const ACCOUNT: &str = "accounts: { main: { token: { env: CLOUD66_TOKEN } } }\n";
const RECEIVER: &str = "notify: { ops: { webhook: 'https://example.com/' } }\n";
const CALENDARS: &str = "calendars: { uk-holidays: { dates: 2030-12-25 }, freeze: { dates: 2030-12-24 } }\n";

/// Every page. The changes are of their time: their commands may be gone.
fn pages() -> Vec<Page> {
    let docs = fs::read_dir("docs").expect("the folder docs").map(|entry| entry.expect("an entry").path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let root = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md"].map(PathBuf::from);
    let mut paths: Vec<PathBuf> = root.into_iter().chain(docs).collect();
    paths.sort();
    assert!(paths.len() > 12, "the pages are found: {paths:?}");
    paths.into_iter().map(Page::read).collect()
}

fn none_of(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn every_link_of_the_pages_leads_to_a_file_and_a_heading() {
    let found: Vec<String> =
        pages().iter().chain([&Page::read("CHANGELOG.md")]).flat_map(broken_links).collect();
    none_of("broken links", &found);
}

#[test]
fn a_link_to_nowhere_is_found() {
    let text = "# Here\n[a](README.md) [b](#here) [c](https://x.example) [d](gone.md) ![e](#away)\n```\n[f](gone.md)\n```\n";
    let found = broken_links(&Page { path: "page.md".into(), text: text.into() });
    // The page itself is no file, so that its own headings cannot be read: one that is.
    assert_eq!(found.len(), 3, "{found:?}");
    let own = Page::read("README.md");
    let text = format!("{}\n[a](#quick-start) [b](#slow-start)\n", own.text);
    let found = broken_links(&Page { path: own.path, text });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("#slow-start leads to no heading"), "{found:?}");
}

/// The commands of a page that the program does not know, with what it says of them.
fn wrong_commands(page: &Page) -> Vec<String> {
    let shells = page.fences().into_iter().filter(|fence| matches!(fence.language, "sh" | "console" | ""));
    let shells = shells.map(|fence| {
        // With what is answered, commands stand behind a prompt.
        let typed = fence.text.lines().filter_map(|line| line.strip_prefix("$ "));
        let typed = typed.map(|line| format!("{line}\n")).collect();
        let text = if fence.language == "console" { typed } else { fence.text };
        (fence.line, text, Written::ToBeRun)
    });
    let spans = page.spans().into_iter().filter(|(_, span)| {
        let span = span.strip_prefix("sudo ").unwrap_or(span);
        // What takes its arguments in capitals, an ellipsis or brackets is a form and no command.
        span.starts_with("stackcron ") && !span.contains(['…', '[', '|']) && !span.contains("...")
    });
    let spans = spans.map(|(line, span)| (line, span, Written::Named));
    let mut wrong = Vec::new();
    for (line, text, written) in shells.chain(spans) {
        match shell::commands(&text) {
            Err(error) => wrong.push(format!("{}: {error}", page.at(line))),
            Ok(commands) => {
                for arguments in commands.iter().filter_map(|words| shell::stackcron(words)) {
                    wrong.extend(
                        refusal(arguments, written).map(|error| format!("{}: {error}", page.at(line))),
                    );
                }
            }
        }
    }
    wrong
}

/// How a page has a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// With all of its arguments.
    ToBeRun,
    /// Within a sentence, where required arguments may be left out.
    Named,
}

/// What clap says of arguments that it does not take.
fn refusal(arguments: &[String], written: Written) -> Option<String> {
    let words = std::iter::once("stackcron").chain(arguments.iter().map(String::as_str));
    let error = Cli::try_parse_from(words).err()?;
    let lacks = error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
    (error.use_stderr() && !(lacks && written == Written::Named))
        .then(|| format!("stackcron {}: {error}", arguments.join(" ")))
}

#[test]
fn every_command_of_the_pages_is_one_of_the_program() {
    let found: Vec<String> = pages().iter().flat_map(wrong_commands).collect();
    none_of("commands that the program does not take", &found);
}

#[test]
fn a_command_that_is_none_is_found() {
    let text = "Say `sudo stackcron check --onlin` or `stackcron\nnope`, `stackcron status`.\n\n```sh\nA=1 sudo stackcron next 'a b' --count 2 \\\n  --nope  # stackcron no\njq . | stackcron why && stackcron status --help\ncargo run -- run --sandbx\n```\n";
    let found = wrong_commands(&Page { path: "page.md".into(), text: text.into() });
    assert_eq!(found.len(), 5, "{found:#?}");
}

/// Checks a schedule file beside the files that the examples name. Returns what is wrong with it.
fn checked(yaml: &str) -> Option<String> {
    let place = Place::with(yaml);
    let beside = |name: &str, text: &str| fs::write(place.directory.path().join(name), text).expect("a file");
    beside("holidays.txt", "2030-12-25\n");
    beside("terms.ics", TERMS);
    let ended = place.run(&["check"]);
    (!ended.status.success()).then(|| ended.stdout + &ended.stderr)
}

/// What is wrong with the examples of a page. One that is a part of a file is completed.
fn wrong_examples(page: &Page) -> Vec<String> {
    let yaml = page.fences().into_iter().filter(|fence| fence.language == "yaml");
    // A list is a file of Prometheus's rules.
    let yaml = yaml.filter(|fence| !fence.text.starts_with("- "));
    yaml.filter_map(|fence| {
        let has = |key: &str| fence.text.lines().any(|line| line.starts_with(key));
        let account = if has("accounts:") { "" } else { ACCOUNT };
        let jobs = if has("jobs:") { "" } else { "jobs: {}\n" };
        let wrong = checked(&format!("{}{account}{jobs}", fence.text))?;
        Some(format!("{}: {wrong}", page.at(fence.line)))
    })
    .collect()
}

#[test]
fn every_example_of_a_schedule_file_passes_the_check() {
    let found: Vec<String> = pages().iter().flat_map(wrong_examples).collect();
    none_of("examples that are wrong", &found);
}

#[test]
fn an_example_that_is_wrong_is_found() {
    let text =
        "```yaml\ntimezone: UTC\n```\n```yaml\njobs:\n  a: { stack: s, job: j, cron: '0 25 * * *' }\n```\n";
    let found = wrong_examples(&Page { path: "page.md".into(), text: text.into() });
    assert!(found.len() == 1 && found[0].contains("hour 25"), "{found:?}");
}

/// The keys of a part of the schema.
fn keys(schema: &Value, part: &str) -> Vec<String> {
    let part = if part.is_empty() { schema } else { &schema["$defs"][part] };
    part["properties"].as_object().expect("properties").keys().cloned().collect()
}

#[test]
fn every_key_of_the_schema_stands_on_its_page() {
    let printed = Place::with("jobs: {}\n").run(&["schema"]).stdout;
    let schema: Value = serde_json::from_str(&printed).expect("the schema");
    let page = Page::read("docs/schedule-file.md");
    let receivers = Page::read("docs/notifications.md");
    let calendars = Page::read("docs/calendars.md");
    let tables = [
        ("", &page, "The top level", ""),
        ("Account", &page, "Accounts", ""),
        ("Quota", &page, "Accounts", "quota."),
        ("Entry", &page, "Entries", ""),
        ("Receiver", &receivers, "Receivers", ""),
        ("Calendar", &calendars, "Calendars: the days on which entries are not run", ""),
    ];
    for (part, page, heading, prefix) in tables {
        let rows = page.rows(heading);
        let known: Vec<&str> = rows.iter().flat_map(|(_, cells)| code(&cells[0])).collect();
        for key in keys(&schema, part) {
            // The row of the quota is those of its keys.
            let stands =
                known.contains(&format!("{prefix}{key}").as_str()) || (part == "Account" && key == "quota");
            assert!(stands, "{} has no row for `{key}` below {heading:?}", page.path.display());
        }
    }
}

#[test]
fn every_key_of_an_entry_has_an_example_that_passes_the_check() {
    let page = Page::read("docs/schedule-file.md");
    for (line, cells) in page.rows("Entries") {
        let example = code(&cells[2]).first().copied().expect("an example").to_owned();
        let mut entry = vec!["stack: s".to_owned(), "job: j".to_owned(), "cron: '@daily'".to_owned()];
        let key = example.split(':').next().expect("a key").to_owned();
        entry.retain(|line| !(line.starts_with(&key) || key == "after" && line.starts_with("cron")));
        entry.push(example);
        let other = "  nightly-report: { stack: s, job: k, cron: '@weekly' }\n";
        let yaml =
            format!("{ACCOUNT}{RECEIVER}{CALENDARS}jobs:\n{other}  a:\n    {}\n", entry.join("\n    "));
        assert_eq!(checked(&yaml), None, "{}", page.at(line));
    }
}

#[test]
fn every_expression_of_the_dialect_passes_the_check() {
    let page = Page::read("docs/schedule-file.md");
    for (line, cells) in page.rows("The cron dialect") {
        let yaml =
            format!("{ACCOUNT}jobs:\n  a:\n    stack: s\n    job: j\n    cron: {}\n", code(&cells[0])[0]);
        assert_eq!(checked(&yaml), None, "{}", page.at(line));
    }
}

#[test]
fn the_table_of_daylight_saving_is_what_the_program_does() {
    let page = Page::read("docs/schedule-file.md");
    for (line, cells) in page.rows("Daylight saving") {
        let cron = code(&cells[0])[0];
        let place = Place::with(&format!(
            "timezone: Europe/London\n{ACCOUNT}jobs: {{ a: {{ stack: s, job: j, cron: '{cron}' }} }}\n"
        ));
        for (date, told) in ["2026-03-29", "2026-10-25"].into_iter().zip(&cells[1..]) {
            let from = format!("{date}T00:00:00Z");
            let until = format!("{date}T03:00:00Z");
            let ended = place.run(&["next", "--from", &from, "--until", &until, "--format", "json"]);
            let instants: Vec<String> = ended
                .stdout
                .lines()
                .map(|line| {
                    serde_json::from_str::<Value>(line).expect("a record")["scheduled_at"].to_string()
                })
                .map(|instant| instant.trim_matches('"')[11..16].to_owned())
                .collect();
            let is = if instants.is_empty() { "none".to_owned() } else { instants.join(", ") };
            assert_eq!(&is, told, "{}: {cron} on {date}", page.at(line));
        }
    }
}

#[test]
fn every_event_stands_on_the_page_of_the_log() {
    let page = Page::read("docs/log.md");
    let headings = page.text.lines().filter_map(|line| line.strip_prefix("## "));
    let rows: Vec<(usize, Vec<String>)> = headings.flat_map(|heading| page.rows(heading)).collect();
    let told: Vec<&str> = rows.iter().flat_map(|(_, cells)| code(&cells[0])).collect();
    for (event, _) in Event::TABLE {
        assert!(told.contains(event), "docs/log.md has no row for `{event}`");
    }
    for event in told {
        assert!(
            Event::TABLE.iter().any(|(known, _)| *known == event),
            "`{event}` of docs/log.md is no event"
        );
    }
}

/// Runs the blocks of all pages that are marked so, with a daemon that fires this schedule.
fn run_marked(mark: &str, schedule: &str) -> usize {
    let place = Place::with(schedule);
    let directory = place.directory.path();
    // The names that the blocks call: the program, and a `sudo` that is none.
    for (name, script) in [
        ("stackcron", format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_stackcron"))),
        ("sudo", "exec \"$@\"".to_owned()),
    ] {
        let path = directory.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("executable");
    }
    let state = directory.join("state");
    let mut daemon = place
        .command(&["run", "--sandbox", "--state-dir", state.to_str().expect("UTF-8")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let shell = |script: &str| -> std::process::Output {
        let path = std::env::join_paths(
            std::iter::once(directory.to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").expect("PATH"))),
        );
        let mut command = Command::new("sh");
        command.args(["-ec", script]).env("PATH", path.expect("a path")).env("STATE_DIRECTORY", &state);
        command.env("STACKCRON_CONFIG", place.config()).stdin(Stdio::null());
        command.output().expect("a shell")
    };
    until("a daemon that fires", || {
        let status = shell("stackcron status");
        if status.stdout.starts_with(b"fires") { Ok(()) } else { Err(format!("{status:?}")) }
    });
    let mut ran = 0;
    for page in pages() {
        for fence in page.fences().iter().filter(|fence| fence.mark == mark) {
            // What watches does not end.
            let output = shell(&fence.text.replace(" --watch", ""));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {}\n{said}", page.at(fence.line), output.status);
            ran += 1;
        }
    }
    daemon.kill().expect("it lives");
    daemon.wait().expect("it ends");
    ran
}

#[test]
fn the_day_to_day_of_the_readme_runs_beside_its_first_schedule() {
    let page = Page::read("README.md");
    let first = page.fences().into_iter().find(|fence| fence.language == "yaml").expect("a schedule").text;
    assert!(run_marked("run: first", &first) > 0, "a block is marked");
}

#[test]
fn what_is_said_of_the_demo_runs() {
    let demo = fs::read_to_string("config/demo.yaml").expect("the demo");
    assert!(run_marked("run: demo", &demo) > 0, "a block is marked");
}

#[test]
fn ci_finds_its_two_commands_in_the_readme() {
    let text = Page::read("README.md").text;
    let begins =
        |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
    assert_eq!(begins("cargo test"), "cargo test");
    let demo = begins("cargo run");
    assert!(demo.contains("--sandbox") && demo.contains("config/demo.yaml"), "{demo}");
    assert!(Path::new("config/demo.yaml").exists());
}
