//! Calendars: what they stop and what they do not, what the commands say of them, and what becomes
//! of their files.

use std::fs;
use std::path::Path;

use stackcron::sandbox::Endpoint;

use crate::common::{Ended, Place, sandbox};

const ACCOUNT: &str = "accounts: { main: { token: { env: T } } }\n";

/// A calendar that covers every instant.
const ALWAYS: &str = "{ cron: '0 0 * * *', for: 2d }";

/// A schedule file at the sandbox, with these calendars and jobs: lines of YAML.
fn schedule(url: &str, calendars: &str, jobs: &str) -> String {
    format!(
        "accounts: {{ main: {{ url: '{url}', token: {{ env: TOKEN }} }} }}\ncalendars:\n{calendars}jobs:\n{jobs}"
    )
}

/// What a command prints that succeeds.
fn printed(ended: &Ended) -> &str {
    assert!(ended.status.success(), "{ended:?}");
    &ended.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occurrence_on_a_calendar_is_skipped_and_a_persons_fire_is_not() {
    let sandbox = sandbox(&[]).await;
    let calendars = format!(
        "  closed: {ALWAYS}\n  past: {{ dates: 2020-01-01, until: 2999-01-01 }}\n  ended: {{ dates: 2020-01-01, until: 2020-12-31 }}\n"
    );
    let jobs = "  stopped: { stack: s1, job: j1, cron: '* * * * * *', not_on: [past, closed] }\n  \
                free: { stack: s1, job: j2, cron: '* * * * * *', not_on: [past, ended] }\n";
    let place = Place::with(&schedule(&sandbox.url(), &calendars, jobs));
    let mut daemon = place.start();
    let ending = daemon.event("calendar.ending");
    assert_eq!((&ending["calendar"], &ending["until"]), (&"ended".into(), &"2020-12-31".into()), "{ending}");
    let line = daemon.wait_for("occurrence.skipped", |line| line["entry"] == "stopped");
    assert_eq!((&line["reason"], &line["calendar"]), (&"calendar".into(), &"closed".into()), "{line}");
    assert_eq!(line["level"], "warn", "{line}");
    daemon.wait_for("action.started", |line| line["entry"] == "free");
    let fired = place.run(&["fire", "stopped"]);
    assert!(fired.status.success(), "{fired:?}");
    let by_hand = daemon.wait_for("action.started", |line| line["entry"] == "stopped");
    let at = line["scheduled_at"].as_str().expect("an instant");
    let why = place.run(&["why", "stopped", "--at", at, "--format", "json"]);
    let why: serde_json::Value = serde_json::from_str(printed(&why)).expect("JSON");
    assert_eq!(why["on_calendar"]["calendar"], "closed", "{why}");
    let week = place.run(&["next", "--calendar"]);
    assert!(printed(&week).contains("skipped: on closed"), "{week:?}");
    let week = place.run(&["next", "--calendar", "--format", "json"]);
    assert!(printed(&week).lines().all(|hour| hour.contains(r#""calendars":["closed"]"#)), "{week:?}");
    daemon.stop();
    let history = place.run(&["history", "stopped", "--format", "json"]);
    let rows =
        printed(&history).lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    // The log writes six digits of the fraction, a command no zeros at its end.
    let instant = |row: &serde_json::Value| row["scheduled_at"].as_str().map(str::parse::<jiff::Timestamp>);
    let (by_person, skipped): (Vec<_>, Vec<_>) =
        rows.partition(|row| instant(row).and_then(Result::ok) == instant(&by_hand).and_then(Result::ok));
    assert_eq!(by_person.len(), 1, "{history:?}");
    assert!(!skipped.is_empty(), "{history:?}");
    // The daemon plans a few seconds ahead.
    for row in skipped.iter().filter(|row| row["state"] != "due") {
        let told = (&row["state"], &row["reason"], &row["calendar"]);
        assert_eq!(told, (&"skipped".into(), &"calendar".into(), &"closed".into()), "{row}");
    }
    assert_eq!(
        sandbox.ledger().of(Endpoint::RunNow).filter(|call| call.job.as_deref() == Some("j1")).count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_file_is_watched_and_one_that_is_gone_changes_nothing() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  a: { stack: s1, job: j1, cron: '* * * * * *', not_on: company }\n";
    let place = Place::with(&schedule(&sandbox.url(), "  company: { file: days/company.txt }\n", jobs));
    let file = place.directory.path().join("days/company.txt");
    fs::create_dir(file.parent().expect("a directory")).expect("a directory");
    fs::write(&file, "# none yet\n2020-01-01\n").expect("the calendar");
    let mut daemon = place.start();
    daemon.event("action.started");
    replace(&file, "2020-01-01..2999-12-31\n");
    let line = daemon.event("schedule.reloaded");
    assert_eq!(line["changed"], 1, "{line}");
    daemon.event("occurrence.skipped");
    fs::remove_file(&file).expect("a removal");
    let line = daemon.event("schedule.rejected");
    let first = line["first"].as_str().expect("an error");
    assert!(first.contains("days/company.txt cannot be used: there is no such file"), "{first}");
    while daemon.next_event()["event"] != "occurrence.skipped" {}
    fs::write(&file, "2020-01-01\nsoon\n").expect("the calendar");
    let line = daemon.wait_for("schedule.rejected", |line| {
        line["first"].as_str().is_some_and(|first| first.contains("soon"))
    });
    let first = line["first"].as_str().expect("an error");
    assert!(first.ends_with("days/company.txt:2:1: `soon` is no date"), "{first}");
    let started = daemon.events("action.started").len();
    replace(&file, "2020-01-01\n");
    daemon.wait_for("schedule.reloaded", |line| line["changed"] == 1 && line["entries"] == 1);
    while daemon.events("action.started").len() <= started {
        daemon.next_event();
    }
    daemon.stop();
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(new, path).expect("a rename");
}

/// What `check` says of a schedule with files beside it. Their directory is named `DIR`.
fn checked(schedule: &str, files: &[(&str, &str)]) -> String {
    let place = Place::with(schedule);
    for (name, text) in files {
        fs::write(place.directory.path().join(name), text).expect("a file");
    }
    let ended = place.run(&["check"]);
    let directory = place.directory.path().display().to_string();
    ended.stdout.replace(&directory, "DIR") + &ended.stderr
}

const JOBS: &str = "jobs:\n  a: { stack: s, job: j, cron: '0 9 * * *', not_on: c }\n";

#[test]
fn what_is_wrong_with_a_calendar_is_told_at_its_place() {
    let calendars = "\
calendars:
  c: { dates: [2026-12-25, 2026-02-30, 2026-12-28..2026-12-26], until: soon }
  nothing: {}
  both: { dates: 2026-12-25, file: x.txt }
  endless: { cron: '0 18 * * FRI' }
  zoned: { dates: 2026-12-25, timezone: UTC }
  window: { cron: '0 99 * * *', for: 0s, until: 2026-12-31 }
  -bad: { dates: 2026-12-25 }
  misspelt: { date: 2026-12-25 }
";
    let jobs = format!("{JOBS}  b: {{ stack: s, job: k, cron: '0 9 * * *', not_on: [endles, c] }}\n");
    insta::assert_snapshot!(checked(&format!("{ACCOUNT}{calendars}{jobs}"), &[]));
}

#[test]
fn what_is_wrong_with_a_calendar_file_is_told_at_its_place_in_the_file() {
    let of = |name: &str| format!("{ACCOUNT}calendars:\n  c: {{ file: {name} }}\n{JOBS}");
    let event =
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nDTSTART:soon\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let told = [
        checked(&of("gone.txt"), &[]),
        checked(&of("days.txt"), &[("days.txt", "2026-12-25 # Christmas\n2026-12-32\n")]),
        checked(&of("feed.ics"), &[("feed.ics", event)]),
        checked(&of("feed.ics"), &[("feed.ics", "2026-12-25\n")]),
    ];
    insta::assert_snapshot!(told.join("=====\n"));
}

#[test]
fn the_lints_of_calendars_read_well() {
    let calendars = "\
calendars:
  ended: { dates: 2020-12-25, until: 2020-12-31 }
  past: { dates: 2020-12-25 }
  nobody: { dates: 2026-12-25, until: 2999-12-31 }
  office: { cron: '0 8 * * *', for: 12h }
";
    let jobs = "\
jobs:
  a: { stack: s, job: j, cron: '0 9 * * *', not_on: [ended, past] }
  b: { stack: s, job: k, cron: '0 9 * * *', not_on: office }
  c: { stack: s, job: l, cron: '0 7 * * *', not_on: office }
";
    // How long ago a list ended grows with the days.
    let told = checked(&format!("{ACCOUNT}{calendars}{jobs}"), &[]);
    let words: Vec<String> = told
        .split(' ')
        .map(
            |word| {
                if word.parse::<u32>().is_ok_and(|days| days > 1000) { "N".into() } else { word.to_owned() }
            },
        )
        .collect();
    insta::assert_snapshot!(words.join(" "));
}

const SCHOOL: &str = "\
timezone: Europe/London
accounts: { main: { token: { env: T } } }
calendars:
  uk-holidays: { dates: [2030-12-25, 2030-12-26..2030-12-28], until: 2999-12-31 }
  freeze: { cron: \"0 18 * * FRI\", for: 62h }
  feed: { file: feed.ics }
defaults: { not_on: [uk-holidays, freeze] }
jobs:
  nightly: { stack: s, job: j, cron: \"30 1 * * *\" }
  hourly: { stack: s, job: k, cron: \"0 */6 * * *\", not_on: feed }
  always: { stack: s, job: l, cron: \"0 12 * * *\", not_on: [] }
";

const FEED: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:20201224\r\nRRULE:FREQ=YEARLY\r\nSUMMARY:Christmas Eve\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

#[test]
fn the_commands_know_what_falls_on_a_calendar() {
    let place = Place::with(SCHOOL);
    fs::write(place.directory.path().join("feed.ics"), FEED).expect("the feed");
    let run = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        printed(&place.run(&arguments)).to_owned()
    };
    let told = [
        run("next hourly --from 2030-12-23T18:00:00Z --count 2 --format json"),
        run("next --calendar --from 2030-12-23"),
        run("forecast --from 2030-12-25T00:00:00Z --until 2030-12-25T03:00:00Z --format json"),
    ];
    insta::assert_snapshot!(told.join("=====\n"));
    let next = run("next nightly --from 2030-12-24T00:00:00Z --until 2030-12-31T00:00:00Z");
    let marked = |name: &str| next.matches(&format!("on the calendar {name}: it will be skipped")).count();
    assert_eq!((marked("uk-holidays"), marked("freeze")), (4, 2), "{next}");
    let why = run("why nightly --at 2030-12-26T01:30");
    assert!(why.starts_with("DUE, BUT SKIPPED  nightly at Thu 2030-12-26 01:30:00 GMT\n"), "{why}");
    let covers = "\nCalendar uk-holidays\n  covers Wed 2030-12-25 00:00:00 GMT to Sun 2030-12-29 00:00:00 GMT, so that the occurrence is skipped\n";
    assert!(why.contains(covers), "{why}");
    let rehearsed = run("rehearse --from 2030-12-24T00:00:00Z --until 2030-12-27T00:00:00Z");
    assert!(rehearsed.contains("  skipped           6  6 calendar\n"), "{rehearsed}");
}

#[test]
fn the_example_of_the_page_on_calendars_is_valid() {
    let page = fs::read_to_string("docs/calendars.md").expect("the page");
    let block = |kind: &str| {
        let rest = page.split_once(&format!("```{kind}\n")).expect("an example").1;
        rest.split_once("```").expect("its end").0.to_owned()
    };
    let told = checked(&block("yaml"), &[("holidays.txt", &block("text")), ("terms.ics", FEED)]);
    let lines: Vec<&str> =
        told.lines().filter(|line| line.starts_with("error") || line.starts_with("ok: ")).collect();
    assert!(lines.len() == 1 && lines[0].starts_with("ok: 2 entries, 1 account"), "{told}");
}
