//! One fires, the others stand by, and one of them takes over: from a leader that stops, dies, is
//! paused or cut off.

use super::*;

/// A leader that is paused or cut off is replaced within this time.
const WITHOUT_A_WORD: Duration = Duration::from_secs(15);

/// Waits until it leads, which is no longer after an instant than this.
fn takes_over(standby: &mut Daemon, since: Timestamp, within: Duration) {
    let acquired = standby.wait_for("lease.acquired", |line| at(line) > since);
    let took = at(&acquired).duration_since(since);
    assert!(took.unsigned_abs() < within, "it took {took:#}: {acquired}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fires_and_the_others_stand_by() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let mut leader = one.start();
    leader.event("lease.acquired");
    let mut standby = other.start();
    let told = standby.event("lease.standby");
    assert_eq!(told["leader"], leader.event("lease.acquired")["member"], "the leader is named");
    leader.fires();
    leader.fires();
    let name = |line: &Value, key: &str| line[key].as_str().expect("a name").to_owned();
    let leads = name(&leader.event("lease.acquired"), "member");
    for (place, ready) in [(&one, true), (&other, false)] {
        // A journal that cannot be read within seconds is done without.
        let status = crate::common::until("both members in the status", || {
            let told = place.run(&["status", "--format", "json"]);
            let status: Value = serde_json::from_str(&told.stdout).map_err(|_| told.stderr)?;
            let all = status["members"].as_array().is_some_and(|members| members.len() == 2);
            if all { Ok(status) } else { Err(status.to_string()) }
        });
        assert_eq!(status["ready"], ready, "{status}");
        let members = status["members"].as_array().expect("members");
        assert_eq!((name(&members[0], "member"), &members[0]["leads"]), (leads.clone(), &Value::Bool(true)));
        assert_eq!(members[0]["schedule"], members[1]["schedule"]);
        for member in members {
            assert_eq!(member["version"], env!("CARGO_PKG_VERSION"));
            assert!(member["lives"] == true && member["lag_ms"].is_u64(), "{member}");
        }
        crate::common::until("the leader on the screen", || {
            let screen = place.run(&["status"]).stdout;
            let named = screen.contains(&format!("{leads} ")) && screen.contains(" leads");
            if named { Ok(()) } else { Err(screen) }
        });
    }
    crate::common::until("the last hours of the journal that both share", || {
        let told = status(&other);
        let hours = told["lately"]["hours"].as_array().cloned().unwrap_or_default();
        let counted = |hour: &Value| hour["counts"].as_object().is_some_and(|counts| !counts.is_empty());
        let all = !hours.is_empty() && hours.iter().all(counted);
        if all { Ok(()) } else { Err(told["lately"].to_string()) }
    });
    let asked = other.run(&["fire", "e1"]);
    assert!(asked.stderr.contains("stands by"), "{asked:?}");
    let asked = other.run(&["pause", "e1"]);
    assert!(asked.stderr.contains("stands by"), "{asked:?}");
    let asked = Timestamp::now();
    leader.signal(Signal::TERM);
    // Sooner than a lease is over that is not handed over.
    takes_over(&mut standby, asked, Duration::from_secs(2));
    assert!(leader.end().success(), "{}", leader.stderr());
    leader.event("lease.released");
    standby.fires();
    assert!(standby.stop().success(), "{}", standby.stderr());
    let rows = scene.nothing_twice(&other);
    nothing_is_lost(&rows);
    assert_eq!(states(&rows, "unknown"), 0, "nothing is in doubt after a hand-over");
    for daemon in [&leader, &standby] {
        assert_eq!(daemon.events("journal.refused"), Vec::<&Value>::new());
    }
}

fn status(place: &Place) -> Value {
    let told = place.run(&["status", "--format", "json"]);
    serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_by_that_is_cut_off_says_who_was_last_seen_leading_and_when() {
    let Some(scene) = Scene::new().await else { return };
    let proxy = Proxy::before(scene.server);
    let (one, other) = (scene.machine(), scene.machine_at(&proxy.url(&scene.database)));
    let (leader, mut standby) = pair(&one, &other);
    let name = standby.event("lease.standby")["leader"].as_str().expect("a name").to_owned();
    let before = status(&other);
    assert_eq!(before["not_ready"], format!("this member stands by: {name} fires"), "{before}");
    assert_eq!(
        (&before["leader"]["member"], &before["leader"]["leads"]),
        (&Value::from(name.clone()), &true.into())
    );
    let cut = Timestamp::now();
    proxy.cut(true);
    standby.event("lease.unreachable");
    let after = status(&other);
    let why = after["not_ready"].as_str().expect("a sentence");
    assert!(why.contains("cannot see who fires") && why.contains(&name), "{why}");
    assert_eq!(after["leader"]["leads"], Value::Null, "{after}");
    let seen: Timestamp =
        after["leader"]["seen_at"].as_str().and_then(|at| at.parse().ok()).expect("an instant");
    assert!(seen.duration_since(cut).as_secs().abs() < 5, "{after} and cut at {cut}");
    drop(leader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_by_says_that_nobody_fires_when_nobody_does() {
    let Some(library) = faketime() else { return };
    let Some(scene) = Scene::new().await else { return };
    let one = scene.machine();
    let mut leader = one.start();
    let name = leader.event("lease.acquired")["member"].as_str().expect("a name").to_owned();
    leader.fires();
    assert!(leader.stop().success(), "{}", leader.stderr());
    // Its clock keeps it from leading.
    let other =
        scene.machine().env("LD_PRELOAD", &library).env("FAKETIME", "-20s").env("DONT_FAKE_MONOTONIC", "1");
    let mut standby = other.start();
    standby.event("clock.differs");
    let told = until("nobody", || {
        let told = status(&other);
        if told["leader"]["leads"] == false { Ok(told) } else { Err(told.to_string()) }
    });
    let why = told["not_ready"].as_str().expect("a sentence");
    assert!(why.starts_with(&format!("nobody fires: {name} was last seen leading at")), "{why}");
    assert!(why.contains("time is synchronised"), "{why}");
    assert_eq!(told["leader"]["member"], name);
    assert!(standby.stop().success(), "{}", standby.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    let killed = Timestamp::now();
    leader.signal(Signal::KILL);
    // It is promised within three seconds, which a busy machine may make more.
    takes_over(&mut standby, killed, Duration::from_secs(10));
    leader.end();
    standby.fires();
    standby.fires();
    // What was claimed for the very time of the kill is in doubt, and each of it is looked for.
    standby.event("occurrence.in_doubt");
    for doubt in standby.log.clone().iter().filter(|line| line["event"] == "occurrence.in_doubt") {
        let same = |line: &Value| ["entry", "scheduled_at"].iter().all(|&key| line[key] == doubt[key]);
        // One that did not start is known as such after two minutes.
        standby.wait_long_for(Duration::from_secs(180), "occurrence.reconciled", same);
    }
    let dead = leader.event("lease.acquired")["member"].clone();
    until("the dead one in the status, and who leads now", || {
        let told = other.run(&["status", "--format", "json"]);
        let status: Value = serde_json::from_str(&told.stdout).map_err(|_| told.stderr)?;
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let is = |of: &Value| (of["member"] == dead, of["leads"] == true, of["lives"] == true);
        if members.iter().map(is).eq([(false, true, true), (true, false, false)]) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    assert!(standby.stop().success(), "{}", standby.stderr());
    let rows = scene.nothing_twice(&other);
    nothing_is_lost(&rows);
    say(&format!(
        "killed: {} in doubt, nothing sent for {:?}",
        states(&rows, "unknown"),
        longest_gap(&scene.sandbox)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_is_replaced_and_sends_nothing_when_it_wakes() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let (mut paused, mut standby) = pair(&one, &other);
    let stopped = Timestamp::now();
    paused.signal(Signal::STOP);
    takes_over(&mut standby, stopped, WITHOUT_A_WORD);
    standby.fires();
    paused.signal(Signal::CONT);
    paused.event("lease.lost");
    let told = paused.event("lease.standby");
    assert_eq!(told["leader"], standby.event("lease.acquired")["member"]);
    standby.fires();
    assert!(standby.stop().success(), "{}", standby.stderr());
    // And back.
    let again =
        paused.wait_for("lease.acquired", |line| line["timestamp"].as_str() > told["timestamp"].as_str());
    paused.fires();
    assert!(paused.stop().success(), "{}", paused.stderr());
    let rows = scene.nothing_twice(&other);
    nothing_is_lost(&rows);
    say(&format!("paused: {} in doubt; {again}", states(&rows, "unknown")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_is_replaced() {
    let Some(scene) = Scene::new().await else { return };
    let proxy = Proxy::before(scene.server);
    let (one, other) = (scene.machine_at(&proxy.url(&scene.database)), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    let cut = Timestamp::now();
    proxy.cut(true);
    takes_over(&mut standby, cut, WITHOUT_A_WORD);
    standby.fires();
    leader.event("lease.unreachable");
    proxy.cut(false);
    leader.event("lease.lost");
    leader.event("lease.reachable");
    standby.fires();
    assert!(standby.stop().success(), "{}", standby.stderr());
    assert!(leader.stop().success(), "{}", leader.stderr());
    let rows = scene.nothing_twice(&other);
    nothing_is_lost(&rows);
    say(&format!(
        "cut off: {} in doubt, nothing sent for {:?}",
        states(&rows, "unknown"),
        longest_gap(&scene.sandbox)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_started_again_takes_its_own_lease_back() {
    let Some(scene) = Scene::new().await else { return };
    let place = scene.machine();
    let mut daemon = place.start();
    daemon.fires();
    let second = place.run(&["run"]);
    assert!(
        second.stderr.contains("another daemon (process"),
        "one state directory is one member's: {}",
        second.stderr
    );
    for _ in 0..3 {
        daemon.signal(Signal::KILL);
        daemon.end();
        daemon = place.start();
        daemon.fires();
    }
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let rows = scene.nothing_twice(&place);
    nothing_is_lost(&rows);
    say(&format!(
        "started again: {} in doubt, nothing sent for {:?}",
        states(&rows, "unknown"),
        longest_gap(&scene.sandbox)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_a_paused_leader_is_sent_by_the_next_one_alone() {
    let Some(mut scene) = Scene::new().await else { return };
    let job = |cron: &str| format!("  e0: {{ stack: s1, job: j1, args: e0, cron: {cron}, catch_up: all }}\n");
    scene.jobs = job("'@yearly'");
    let (one, other) = (scene.machine(), scene.machine());
    let mut paused = one.start();
    paused.event("lease.acquired");
    let mut standby = other.start();
    standby.event("lease.standby");
    let second = Timestamp::now().as_second() + 8;
    let [due, next] = [second, second + 5].map(|at| Timestamp::from_second(at).expect("an instant"));
    let cron = |at: Timestamp| format!("'{} * * * * *'", at.as_second().rem_euclid(60));
    let text = crate::common::schedule(
        &scene.sandbox.url(),
        "timeout: 5s",
        &job(&format!("[{}, {}]", cron(due), cron(next))),
    );
    for (place, daemon) in [(&one, &mut paused), (&other, &mut standby)] {
        place.write(&text);
        daemon.event("schedule.reloaded");
    }
    // It is claimed two seconds before it is due, and the leader paused at once.
    until("claimed", || {
        let open = scene.server.sql(&scene.database, "SELECT count(*) FROM stackcron.open");
        if open == "1" { Ok(()) } else { Err(open) }
    });
    paused.signal(Signal::STOP);
    let acquired = standby.event("lease.acquired");
    if acquired["open"] == 0 {
        return say(
            "NOT TESTED: what a paused leader had claimed; the machine was too busy to pause it before it sent",
        );
    }
    standby.wait_long_for(crate::common::DOUBT_ENDS, "action.started", |line| {
        line["scheduled_at"] == due.to_string()
    });
    paused.signal(Signal::CONT);
    paused.event("lease.lost");
    standby.wait_for("action.started", |line| line["scheduled_at"] == next.to_string());
    assert!(paused.stop().success(), "{}", paused.stderr());
    assert!(standby.stop().success(), "{}", standby.stderr());
    let rows = scene.nothing_twice(&other);
    assert_eq!(scene.sandbox.ledger().started().count(), rows.len(), "one action each: {rows:?}");
}
