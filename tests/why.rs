//! `stackcron why` as a command: its exit status, its streams, its JSON, and one verdict with
//! `next`.

use crate::common::Place;
use serde_json::Value;

fn place() -> Place {
    let jobs = "\
        \x20 nightly: { stack: s, job: a, cron: '30 1 * * *', timezone: Europe/London, jitter: 5m }\n\
        \x20 weekdays: { stack: s, job: b, cron: ['0 9 * * MON-FRI', '*/72 * * * *'], paused: true }\n";
    Place::with(&crate::common::schedule("http://127.0.0.1:1", "", jobs))
}

#[test]
fn due_or_not_it_is_an_answer() {
    let place = place();
    for (at, verdict) in [("2026-10-24T01:30", "DUE  nightly"), ("2026-10-24T01:31", "NOT DUE  nightly")] {
        let ended = place.run(&["why", "nightly", "--at", at]);
        // The instant has passed, and no journal tells what became of the occurrence.
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("there is no journal"), "{ended:?}");
        assert!(ended.stdout.starts_with(verdict), "{at} begins with {verdict}: {}", ended.stdout);
        assert!(!ended.stdout.contains('\u{1b}'), "no colours in a pipe: {}", ended.stdout);
    }
}

#[test]
fn an_unknown_entry_fails_as_with_next() {
    let place = place();
    let (why, next) = (place.run(&["why", "nigthly", "--at", "2026-10-24"]), place.run(&["next", "nigthly"]));
    assert_eq!(why.stderr, "error: no entry is named `nigthly`; did you mean `nightly`?\n");
    assert_eq!((why.status, &why.stderr), (next.status, &next.stderr));
    assert!(!why.status.success() && why.stdout.is_empty(), "{why:?}");
}

#[test]
fn without_a_time_the_last_occurrence_is_explained_and_the_next_one_named() {
    let ended = place().run(&["why", "nightly"]);
    assert!(ended.stdout.starts_with("DUE  nightly at "), "{ended:?}");
    let next = ended.stdout.split_once("\nNext\n").expect("a section").1;
    assert!(next.contains("in ") && next.contains(": sent"), "{ended:?}");
    assert_eq!(ended.status.code(), Some(1), "no journal tells what became of the last one: {ended:?}");
}

#[test]
fn what_is_to_come_needs_no_journal() {
    let ended = place().run(&["why", "nightly", "--at", "2126-10-24T01:30"]);
    assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), ""), "{ended:?}");
}

#[test]
fn a_file_in_place_of_an_entry_is_told_to_be_for_config() {
    let place = place();
    let file = place.config().display().to_string();
    let ended = place.run(&["next", &file]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains(&format!("--config {file}")), "{ended:?}");
    let checked = place.run(&["check", &file]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

#[test]
fn no_time_is_wrong_usage() {
    let place = place();
    let ended = place.run(&["why", "nightly", "--at", "noon"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(place.run(&["why", "nightly", "--at", "noon"]).stderr.contains("2026-10-25T01:30"), "an example");
}

#[test]
fn what_next_lists_is_due() {
    let place = place();
    let listed = place.run(&["next", "--from", "2026-10-23T22:00:00Z", "--count", "40", "--format", "json"]);
    let lines: Vec<Value> =
        listed.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 40, "{listed:?}");
    for pair in lines.windows(2) {
        let [entry, at] = ["entry", "scheduled_at"].map(|key| pair[0][key].as_str().expect("text"));
        let ended = place.run(&["why", entry, "--at", at, "--format", "json"]);
        let answer: Value = serde_json::from_str(&ended.stdout).expect("one object");
        assert_eq!((&answer["due"], &answer["at"]), (&true.into(), &pair[0]["scheduled_at"]), "{answer}");
        assert_eq!(answer["local_time"], pair[0]["local_time"], "{answer}");
        if pair[1]["entry"] == *entry {
            assert_eq!(answer["next"], pair[1]["scheduled_at"], "{answer}");
        }
    }
}
