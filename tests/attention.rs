//! What `status` puts under ATTENTION before anything has failed.

use std::time::Duration;

use serde_json::Value;

use crate::common::{Daemon, Place, sandbox, sandbox_with, schedule, settings, until};

fn status(place: &Place) -> Result<Value, String> {
    let told = place.run(&["status", "--format", "json"]);
    serde_json::from_str(&told.stdout).map_err(|error| format!("{error}: {told:?}"))
}

/// The problem of a kind, once it is told.
fn problem(place: &Place, kind: &str) -> Value {
    until(kind, || {
        let status = status(place)?;
        let found = status["attention"].as_array().into_iter().flatten().find(|one| one["kind"] == kind);
        found.cloned().ok_or_else(|| status.to_string())
    })
}

fn started(place: &Place) -> Daemon {
    let mut daemon = place.start();
    daemon.event("daemon.started");
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_three_times_as_long_as_its_median_is_told_while_it_runs() {
    let quick = sandbox(&[]).await;
    let mut settings = settings(&[]);
    settings.action_duration = Duration::from_secs(3600);
    let slow = sandbox_with(settings).await;
    let job = |cron: &str, more: &str| format!("  nightly: {{ stack: s1, job: j1, cron: '{cron}'{more} }}\n");
    let place = Place::firing_at(&quick, "", &job("* * * * * *", ""));
    let mut daemon = place.start();
    while daemon.events("action.finished").len() < 4 {
        daemon.read();
    }
    daemon.stop();
    place.write(&schedule(&slow.url(), "", &job("0 0 29 2 *", "")));
    let mut daemon = started(&place);
    let fired = place.run(&["fire", "nightly"]);
    assert!(fired.status.success(), "{fired:?}");
    let told = problem(&place, "long_run");
    assert_eq!(told["entry"], "nightly", "{told}");
    let what = told["what"].as_str().expect("a text");
    assert!(what.starts_with("nightly has run for ") && what.contains(", and its median is "), "{told}");
    let status = status(&place).expect("a status");
    let unusual = &status["unusual"][0];
    assert_eq!((&unusual["entry"], &unusual["running"]), (&"nightly".into(), &true.into()), "{status}");
    let text = place.run(&["status"]).stdout;
    assert!(text.starts_with("fires, with problems: "), "{text}");
    assert!(text.contains("OUT OF THE ORDINARY 1\nnightly  "), "{text}");
    daemon.stop();
    // An entry that says how long it may run knows better.
    place.write(&schedule(&slow.url(), "", &job("0 0 29 2 *", ", expect: { within: 2h }")));
    let mut daemon = started(&place);
    let told = place.run(&["status"]).stdout;
    assert!(told.starts_with("fires: ") && !told.contains("OUT OF THE ORDINARY"), "{told}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_nobody_has_kept_is_told() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly: { stack: s1, job: j1, cron: '0 0 29 2 *', not_on: days }\n\
                calendars: { days: { dates: 2020-12-25, until: 2020-12-31 } }\n";
    let place = Place::firing_at(&sandbox, "", jobs);
    let mut daemon = started(&place);
    let told = problem(&place, "calendar_ends");
    assert_eq!(told["since"], "2021-01-01T00:00:00Z", "{told}");
    let text = place.run(&["status", "--strict"]);
    assert_eq!(text.status.code(), Some(1), "{text:?}");
    assert!(
        text.stdout.contains("since 2021-01-01 00:00:00Z: the list of the calendar `days` ended"),
        "{text:?}"
    );
    place.replace(&schedule(&sandbox.url(), "", &jobs.replace("until: 2020", "until: 2999")));
    daemon.event("schedule.reloaded");
    let text = place.run(&["status", "--strict"]);
    assert!(text.status.success(), "{text:?}");
    daemon.stop();
}

/// The page's own examples.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_attention_is_true() {
    let page = std::fs::read_to_string("docs/attention.md").expect("the page");
    let block = |kind: &str| {
        let rest = page.split_once(&format!("```{kind}\n")).expect("an example").1;
        rest.split_once("```").expect("its end").0.to_owned()
    };
    let checked = Place::with(&block("yaml")).run(&["check", "--strict"]);
    assert!(checked.status.success(), "{checked:?}");
    // Each kind has a row.
    let source = std::fs::read_to_string("src/control/attention.rs").expect("the list");
    let kinds = source.split_once("pub enum ProblemKind {").expect("the kinds").1;
    let kinds = kinds.split_once("\n}").expect("their end").0.lines().map(str::trim);
    let mut rows = 0;
    for kind in kinds.filter_map(|line| line.strip_suffix(',')) {
        let word: String = kind.chars().fold(String::new(), |word, c| match c.is_uppercase() {
            true if !word.is_empty() => format!("{word}_{}", c.to_lowercase()),
            _ => format!("{word}{}", c.to_lowercase()),
        });
        assert!(page.contains(&format!("| `{word}` |")), "{word} has a row");
        rows += 1;
    }
    assert!(rows > 10, "{rows} kinds");
    let sandbox = sandbox(&[]).await;
    let jobs = "  nightly-report: { stack: s1, job: j1, cron: '0 0 29 2 *' }\n  nightly-sync: { stack: s1, job: j2, cron: '0 0 29 2 *' }\n";
    let place = Place::firing_at(&sandbox, "", jobs);
    let mut daemon = started(&place);
    for line in block("console").lines() {
        let words = line.strip_prefix("$ stackcron ").expect("a command").replace('\'', "\"");
        let mut arguments: Vec<String> = Vec::new();
        for (number, part) in words.split('"').enumerate() {
            match number % 2 {
                0 => arguments.extend(part.split_whitespace().map(str::to_owned)),
                _ => arguments.push(part.to_owned()),
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = place.run(&arguments);
        assert!(ended.status.success(), "{line}: {ended:?}");
    }
    daemon.stop();
    assert_eq!(daemon.events("entry.paused").len(), 2, "{}", daemon.raw);
    assert_eq!(daemon.events("entry.resumed").len(), 2, "{}", daemon.raw);
}
