//! `stackcron backfill` while a member stands by: who stands by is no help, and who takes over goes
//! on where the former leader has come to.

use std::process::Stdio;

use jiff::SignedDuration;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_makes_up_for_what_was_skipped_and_its_successor_goes_on() {
    let Some(mut scene) = Scene::new().await else { return };
    let cron = "'* * * * * *'";
    scene.jobs = format!(
        "  e: {{ stack: s1, job: j1, cron: {cron}, catch_up: none, overlap: skip, args_template: '{{unix}}' }}\n"
    );
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    assert!(one.run(&["pause", "e"]).status.success());
    let mut instants: Vec<Timestamp> = Vec::new();
    while instants.len() < 4 {
        let last = instants.last().copied();
        let is_later =
            |line: &Value| line["reason"] == "paused" && last.is_none_or(|last| scheduled_at(line) > last);
        instants.push(scheduled_at(&leader.wait_for("occurrence.skipped", is_later)));
    }
    let text = crate::common::read(&one.config()).replace(cron, "'@yearly'");
    for (place, daemon) in [(&other, &mut standby), (&one, &mut leader)] {
        place.replace(&text);
        daemon.event("schedule.reloaded");
    }
    assert!(one.run(&["resume", "e"]).status.success());
    let end = instants[3] + SignedDuration::from_secs(1);
    until("the span is past", || if Timestamp::now() < end { Err(end.to_string()) } else { Ok(()) });
    let (from, to) = (instants[0].to_string(), end.to_string());
    let command = ["backfill", "e", "--from", &from, "--until", &to];

    let asked = other.run(&command);
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    assert!(asked.stderr.contains("stands by"), "{asked:?}");
    assert!(leader.events("occurrence.backfilled").is_empty(), "nothing is claimed by who stands by");

    let mut asking =
        one.command(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    leader.event("occurrence.backfilled");
    leader.signal(Signal::TERM);
    standby.event("lease.acquired");
    assert!(leader.end().success(), "{}", leader.stderr());
    asking.kill().expect("killed");
    asking.wait().expect("an end");
    other.fires();
    let ended = other.run(&command);
    assert!(ended.status.success(), "{ended:?}");

    let ledger = scene.sandbox.ledger();
    for instant in &instants {
        let unix = instant.as_second().to_string();
        let times = ledger.started().filter(|call| call.args.as_deref() == Some(&*unix)).count();
        assert_eq!(times, 1, "that of {instant} ran once");
    }
    assert!(standby.stop().success(), "{}", standby.stderr());
}
