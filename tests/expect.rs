//! What an entry expects of its actions: told once when one runs longer, and when one ends sooner.

use std::time::Duration;

use crate::common::{Place, sandbox_with, settings};

/// A cron expression that does not come due while the test runs: the entry is fired by hand.
const NEVER: &str = "cron: '0 0 29 2 *'";

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_action_is_told_of_once_while_it_runs_across_a_restart() {
    let mut settings = settings(&[]);
    settings.action_duration = Duration::from_secs(15);
    let sandbox = sandbox_with(settings).await;
    let jobs = format!("  long: {{ stack: s1, job: j1, {NEVER}, expect: {{ within: 1s }} }}\n");
    let place = Place::firing_at(&sandbox, "", &jobs);
    let mut daemon = place.start();
    daemon.event("daemon.started");
    let fired = place.run(&["fire", "long"]);
    assert!(fired.status.success(), "{fired:?}");
    let slow = daemon.event("action.slow");
    assert_eq!(
        (&slow["level"], &slow["entry"], &slow["expected_ms"]),
        (&"warn".into(), &"long".into(), &1000.into())
    );
    assert!(
        slow["after_ms"].as_i64().is_some_and(|ms| (1000..15_000).contains(&ms)),
        "while it runs: {slow}"
    );
    assert!(slow["action_id"].is_u64() && slow["scheduled_at"].is_string(), "{slow}");
    daemon.stop();
    assert_eq!(daemon.events("action.finished").len(), 0, "it still runs:\n{}", daemon.raw);
    let history = place.run(&["history", "long", "--format", "json"]);
    assert!(
        history.stdout.contains(r#""state":"started""#) && history.stdout.contains(r#""reason":"slow""#),
        "{history:?}"
    );
    let mut daemon = place.start();
    daemon.event("action.finished");
    daemon.stop();
    assert_eq!(daemon.events("action.slow").len(), 0, "told once:\n{}", daemon.raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_ends_too_soon_is_told_of_at_its_end() {
    let sandbox = sandbox_with(settings(&[])).await;
    let jobs = format!(
        "  short: {{ stack: s1, job: j1, {NEVER}, expect: {{ at_least: 10m, within: 20m }} }}\n  \
           plain: {{ stack: s1, job: j2, {NEVER} }}\n"
    );
    let place = Place::firing_at(&sandbox, "", &jobs);
    let mut daemon = place.start();
    daemon.event("daemon.started");
    for entry in ["plain", "short"] {
        let fired = place.run(&["fire", entry]);
        assert!(fired.status.success(), "{fired:?}");
    }
    let quick = daemon.event("action.quick");
    assert_eq!((&quick["entry"], &quick["expected_ms"]), (&"short".into(), &600_000.into()), "{quick}");
    daemon.stop();
    assert_eq!(daemon.events("action.quick").len(), 1, "{}", daemon.raw);
    assert_eq!(daemon.events("action.slow").len(), 0, "{}", daemon.raw);
}
