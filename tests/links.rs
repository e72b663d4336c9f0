//! `retry` and `after` through the program: repetitions and chains, over kills too.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Place, instant, sandbox, until, until_within};

fn history(place: &Place) -> Vec<Value> {
    let ended = place.run(&["--format", "json", "history"]);
    ended.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_repeated_over_kills_and_the_last_one_counts() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  fails: { stack: s1, job: j-fails, cron: '@yearly', retry: { times: 3, after: 1s }, args: own }\n  \
        mends: { stack: s1, job: j1, after: { entry: fails, on: failure }, args: mends }\n  \
        never: { stack: s1, job: j1, after: fails }\n  \
        nor-this: { stack: s1, job: j1, after: never }\n";
    let place = Place::firing_at(&sandbox, "", jobs);
    let mut daemon = place.start();
    place.fires();
    let ended = place.run(&["fire", "fails", "--args", "given"]);
    assert!(ended.status.success(), "{ended:?}");
    let first = daemon.event("action.finished");
    assert!(first["retry_at"].is_string(), "{first}");
    // At each of its ends the daemon is killed, and another one goes on.
    for number in 1..=3 {
        let end = daemon.wait_for("action.finished", |line| number == 1 || line["retry"] == number - 1);
        assert!(end["retry_at"].is_string(), "{end}");
        daemon.signal(Signal::KILL);
        daemon.end();
        daemon = place.start();
        daemon.wait_for("action.finished", |line| line["retry"] == number);
    }
    let last = daemon.wait_for("action.finished", |line| line["retry"] == 3);
    assert_eq!((&last["retry_of"], last.get("retry_at")), (&first["scheduled_at"], None), "{last}");
    daemon.wait_for("action.finished", |line| line["entry"] == "mends");
    assert!(daemon.stop().success());

    let mut args: HashMap<String, usize> = HashMap::new();
    for call in sandbox.ledger().started() {
        *args.entry(call.args.clone().unwrap_or_default()).or_default() += 1;
    }
    assert_eq!(args, HashMap::from([("given".to_owned(), 4), ("mends".to_owned(), 1)]), "none twice");
    let rows = history(&place);
    let state = |entry: &str, retry: Option<u64>| {
        let mut of = rows.iter().filter(|row| row["entry"] == entry && row["retry"].as_u64() == retry);
        let row = of.next().unwrap_or_else(|| panic!("{entry} {retry:?} in {rows:#?}"));
        (row["state"].as_str().expect("a state").to_owned(), row["reason"].as_str().map(str::to_owned))
    };
    for retry in [None, Some(1), Some(2), Some(3)] {
        assert_eq!(state("fails", retry).0, "failed");
    }
    assert_eq!(state("mends", None).0, "finished");
    for entry in ["never", "nor-this"] {
        assert_eq!(state(entry, None), ("skipped".to_owned(), Some("upstream".to_owned())));
    }
    let instants: Vec<&Value> =
        rows.iter().filter(|row| row["retry"].is_null()).map(|row| &row["scheduled_at"]).collect();
    assert!(
        instants.iter().all(|at| instant(at) == instant(&first["scheduled_at"])),
        "one identity from end to end: {rows:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_runs_in_its_order_through_kills_and_each_once() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  first: { stack: s1, job: j1, cron: '*/2 * * * * *', catch_up: all, args_template: 'first {unix}' }\n  \
        second: { stack: s1, job: j2, after: first, catch_up: all, args_template: 'second {unix}' }\n  \
        third: { stack: s2, job: j1, after: second, catch_up: all, args_template: 'third {unix}' }\n";
    let place = Place::firing_at(&sandbox, "", jobs);
    let mut daemon = place.start();
    for name in ["first", "second", "first", "third", "second"] {
        daemon.wait_for("action.finished", |line| line["entry"] == name);
        daemon.signal(Signal::KILL);
        daemon.end();
        daemon = place.start();
    }
    daemon.wait_for("action.finished", |line| line["entry"] == "third");
    assert!(daemon.stop().success());
    // What is open at the stop goes on: nothing new comes due by then.
    let text = std::fs::read_to_string(place.config()).expect("the file");
    place.replace(&text.replace("'*/2 * * * * *'", "'@yearly'"));
    let mut daemon = place.start();
    daemon.event("daemon.started");
    // What a kill has left in doubt is decided after two minutes.
    until_within(Duration::from_secs(200), "nothing is open", || {
        let open: Vec<Value> = history(&place)
            .into_iter()
            .filter(|row| match row["state"].as_str() {
                Some("due" | "waiting" | "sending") => true,
                // One of several in doubt that all ran: nobody can tell which action is whose.
                Some("started") => !row["action_id"].is_null(),
                _ => false,
            })
            .collect();
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
    });
    assert!(daemon.stop().success());

    let mut order: HashMap<String, Vec<String>> = HashMap::new();
    for call in sandbox.ledger().started() {
        let args = call.args.clone().expect("each has its own");
        let (name, unix) = args.split_once(' ').expect("a name and an instant");
        order.entry(unix.to_owned()).or_default().push(name.to_owned());
    }
    assert!(order.len() > 2, "{order:?}");
    let rows = history(&place);
    for (unix, names) in &order {
        let chain = ["first", "second", "third"];
        assert!(
            chain.starts_with(&names.iter().map(String::as_str).collect::<Vec<_>>()),
            "at {unix}: {names:?}"
        );
        if names.len() == chain.len() {
            continue;
        }
        // A kill may leave an attempt that nothing can tell apart from another's: the chain ends
        // with it, and the history says so of the last one that ran, or of the one that did not.
        let state = |entry: &str| {
            let is_it = |row: &&Value| {
                let at: Option<jiff::Timestamp> = row["scheduled_at"].as_str().and_then(|at| at.parse().ok());
                row["entry"] == *entry && at.is_some_and(|at| at.as_second().to_string() == *unix)
            };
            rows.iter().find(is_it).map(|row| row["state"].as_str().unwrap_or_default().to_owned())
        };
        let ends: Vec<_> = [names.len() - 1, names.len()].map(|at| (chain[at], state(chain[at]))).into();
        assert!(
            ends.iter().any(|(_, state)| state.as_deref() == Some("unknown")),
            "at {unix} the chain ends without a word: {ends:?} in {rows:#?}"
        );
    }
}

#[test]
fn next_and_why_show_the_chain() {
    let jobs = "  nightly: { stack: s, job: j, cron: '30 1 * * *', retry: { times: 2, after: 10m } }\n  \
        invoices: { stack: s, job: k, after: nightly }\n  \
        alarm: { stack: s, job: l, after: { entry: invoices, on: failure } }\n";
    let place = Place::with(&crate::common::schedule("http://127.0.0.1:1/api/3", "", jobs));
    let next = place.run(&["--format", "json", "next", "--from", "2026-10-25T00:00:00Z", "--count", "3"]);
    let records: Vec<Value> =
        next.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<(&Value, &Value, &Value)> =
        records.iter().map(|record| (&record["entry"], &record["scheduled_at"], &record["after"])).collect();
    let at = Value::from("2026-10-25T01:30:00Z");
    assert_eq!(
        told,
        [
            (&"nightly".into(), &at, &Value::Null),
            (&"invoices".into(), &at, &"nightly".into()),
            (&"alarm".into(), &at, &"invoices".into())
        ],
        "{next:?}"
    );
    let alone = place.run(&["next", "alarm", "--from", "2026-10-25T00:00:00Z", "--count", "1"]);
    assert!(alone.stdout.contains("when invoices has ended without success"), "{}", alone.stdout);
    let why = place.run(&["why", "alarm", "--at", "2026-10-25T01:30:00Z"]);
    assert!(why.stdout.starts_with("DUE"), "{}", why.stdout);
    for line in
        ["alarm is due when invoices ends without success", "invoices is due when nightly ends with success"]
    {
        assert!(why.stdout.contains(line), "{}", why.stdout);
    }
    let why = place.run(&["why", "nightly", "--at", "2026-10-25T01:30:00Z"]);
    assert!(why.stdout.contains("2 times, each after 10m"), "{}", why.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_when_a_chain_s_next_entry_is_expected() {
    let sandbox = sandbox(&[]).await;
    let jobs = "  first: { stack: s1, job: j1, cron: '0 3 1 1 *' }\n  \
        second: { stack: s1, job: j2, after: first }\n";
    let place = Place::firing_at(&sandbox, "", jobs);
    let mut daemon = place.start();
    place.fires();
    let of_second = || {
        let ended = place.run(&["--format", "json", "status", "second"]);
        let status: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        status["entries"][0].clone()
    };
    let before = of_second();
    assert_eq!(before["after"], "first", "{before}");
    assert!(before["next"].as_str().is_some_and(|next| next.ends_with("-01-01T03:00:00Z")), "{before}");
    assert!(before.get("expected").is_none(), "nobody knows how long `first` takes: {before}");
    assert!(place.run(&["fire", "first"]).status.success());
    daemon.wait_for("action.finished", |line| line["entry"] == "first");
    until("it is expected after the end of `first`", || {
        let status = of_second();
        let instant = |field: &str| status[field].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        match (instant("expected"), instant("next")) {
            (Some(expected), Some(next)) if expected >= next => Ok(()),
            _ => Err(status.to_string()),
        }
    });
    assert!(daemon.stop().success());
}
