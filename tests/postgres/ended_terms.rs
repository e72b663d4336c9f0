//! What a leader was permitted to send when it was killed or stopped, and had not come to: it says
//! so when it is back, and the next leader sends it.

use super::*;

/// The entries are due at each second that can be divided by this. A leader may send what is due in
/// the next two seconds.
const EVERY: i64 = 2;

/// The arguments of a request name its occurrence, for the ledger.
fn jobs() -> String {
    let entry = |number: usize| {
        format!(
            "  e{number}: {{ stack: s1, job: j1, args_template: 'e{number} {{unix}}', cron: '*/{EVERY} * * * * *', catch_up: all }}\n"
        )
    };
    (0..ENTRIES).map(entry).collect()
}

/// The occurrence of a log line, as the arguments of its request name it.
fn named(line: &Value) -> String {
    format!("{} {}", entry(line), scheduled_at(line).as_second())
}

/// Tells whether a leader has claimed the occurrences of an instant that is not near, and has
/// nothing before it in hand.
const BETWEEN: &str = "
    SELECT count(*) FILTER (WHERE state = 0 AND scheduled_at > soon) = 5 AND count(*) FILTER (WHERE state IN (0, 2)) = 5
    FROM stackcron.open, (SELECT (extract(epoch FROM clock_timestamp()) + 0.3) * 1000000 AS soon) AS clock";

/// A leader ends, another one leads, and the first is back. By then nobody has asked the stack for
/// long enough to know what did not start.
async fn goes_on_after(ends: impl FnOnce(&mut Daemon), comes_back: impl FnOnce(Daemon, &Place) -> Daemon) {
    let Some(mut scene) = Scene::new().await else { return };
    scene.jobs = jobs();
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    until("a leader between two instants", || match scene.server.sql(&scene.database, BETWEEN) {
        between if between == "t" => Ok(()),
        other => Err(other),
    });
    ends(&mut leader);
    standby.event("lease.acquired");
    standby.fires();
    let sent: BTreeSet<String> =
        scene.sandbox.ledger().of(Endpoint::RunNow).filter_map(|record| record.args.clone()).collect();
    let doubts: Vec<String> = standby.events("occurrence.in_doubt").into_iter().map(named).collect();
    let unsent: Vec<String> = doubts.into_iter().filter(|doubt| !sent.contains(doubt)).collect();
    assert_eq!(unsent.len(), ENTRIES, "{unsent:?} were claimed for the seconds after the end: {sent:?}");
    let mut back = comes_back(leader, &one);
    for occurrence in &unsent {
        let same = |line: &Value| named(line) == *occurrence;
        let told = standby.wait_for("occurrence.reconciled", same);
        assert_eq!(told["verdict"], "not_started", "{told}");
        standby.wait_for("action.started", same);
    }
    assert!(back.stop().success(), "{}", back.stderr());
    assert!(standby.stop().success(), "{}", standby.stderr());
    let ledger = scene.sandbox.ledger();
    let mut once = BTreeSet::new();
    for record in ledger.started() {
        assert!(once.insert(record.args.clone()), "twice: {record:?}");
    }
    let rows = history(&other);
    assert_eq!(states(&rows, "missed") + states(&rows, "unknown"), 0, "{rows:?}");
    let seconds: BTreeSet<i64> = rows.iter().map(|row| scheduled_at(row).as_second()).collect();
    let (first, last) = (seconds.first().copied().expect("a row"), seconds.last().copied().expect("a row"));
    assert_eq!(seconds.len() as i64, (last - first) / EVERY + 1, "{seconds:?}");
    assert_eq!(rows.len(), seconds.len() * ENTRIES, "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_leader_had_not_come_to_is_sent_once_it_goes_on() {
    let stops = |leader: &mut Daemon| leader.signal(Signal::STOP);
    goes_on_after(stops, |mut leader, _| {
        leader.signal(Signal::CONT);
        leader.event("lease.lost");
        leader
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_leader_had_not_come_to_is_sent_once_it_is_started_again() {
    let is_killed = |leader: &mut Daemon| {
        leader.signal(Signal::KILL);
        leader.end();
    };
    goes_on_after(is_killed, |_, place| {
        let mut back = place.start();
        // A stop that is asked for sooner ends the process at once.
        back.event("lease.standby");
        back
    })
    .await;
}
