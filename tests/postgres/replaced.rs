//! The journal is dropped, made anew, or restored from a backup under its members.

use super::*;

/// Waits until the daemon has lost its journal, and finds that it sends nothing any more.
fn says_so(daemon: &mut Daemon) -> Value {
    let replaced = daemon.event("journal.replaced");
    assert_eq!(replaced["known"].as_str().map(str::len), Some(36), "{replaced}");
    replaced
}

/// What was sent, over some whole seconds in which each entry comes due.
fn sent_in_two_seconds(scene: &Scene) -> usize {
    let sent = || scene.sandbox.ledger().of(Endpoint::RunNow).count();
    let before = sent();
    std::thread::sleep(Duration::from_secs(2));
    sent() - before
}

/// Each entry was sent no more often than seconds have passed in which it was due.
fn each_second_once(scene: &Scene) {
    let ledger = scene.sandbox.ledger();
    let mut times: BTreeMap<String, Vec<Timestamp>> = BTreeMap::new();
    for record in ledger.of(Endpoint::RunNow) {
        times.entry(record.args.clone().unwrap_or_default()).or_default().push(record.at);
    }
    for (entry, times) in times {
        let span =
            times.iter().max().zip(times.iter().min()).map(|(last, first)| last.duration_since(*first));
        let seconds = span.map_or(0, |span| span.as_secs());
        assert!(times.len() as i64 <= seconds + 2, "{entry} was sent {} times in {seconds} s", times.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_dropped_under_two_members_makes_no_second_leader() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    scene.server.sql(&scene.database, "DROP SCHEMA stackcron CASCADE");
    let replaced = says_so(&mut leader);
    assert_eq!(replaced["found"], Value::Null, "{replaced}");
    says_so(&mut standby);
    // Its permit has ended by then.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(sent_in_two_seconds(&scene), 0);
    let status = one.run(&["status", "--format", "json"]).stdout;
    assert!(status.contains("the journal is gone"), "{status}");
    assert!(leader.stop().success(), "{}", leader.stderr());
    let refused = one.run(&["run"]);
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stderr);
    assert!(refused.stdout.contains("\"journal.replaced\""), "{}", refused.stdout);
    let mut anew = one.start_with(&["--new-journal"]);
    anew.fires();
    assert_eq!(standby.events("lease.acquired").len(), 0, "who knows the old one does not lead the new one");
    each_second_once(&scene);
    assert!(anew.stop().success(), "{}", anew.stderr());
    let found = scene.server.sql(&scene.database, "SELECT identity FROM stackcron.journal");
    let refused = other.run(&["run"]);
    assert!(refused.stderr.contains("another daemon"), "{}", refused.stderr);
    standby.wait_for("journal.replaced", |line| line["found"] == found.as_str());
    assert!(standby.stop().success(), "{}", standby.stderr());
    let refused = other.run(&["run"]);
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stderr);
    assert!(refused.stderr.contains(&found), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_made_anew_under_two_members_is_not_filled_by_them() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    let database = &scene.database;
    scene.server.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
    scene.server.sql("postgres", &format!("CREATE DATABASE {database}"));
    says_so(&mut leader);
    says_so(&mut standby);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(sent_in_two_seconds(&scene), 0);
    assert_eq!(scene.server.sql(database, "SELECT to_regnamespace('stackcron')"), "");
    for daemon in [&mut leader, &mut standby] {
        assert!(daemon.stop().success(), "{}", daemon.stderr());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_restored_under_two_members_sends_nothing_again() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    let database = &scene.database;
    let dump = scene.server.dump(database);
    for _ in 0..6 {
        leader.fires();
        std::thread::sleep(Duration::from_secs(1));
    }
    scene.server.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
    scene.server.sql("postgres", &format!("CREATE DATABASE {database}"));
    says_so(&mut leader);
    scene.server.sql(database, &dump);
    let restored = Timestamp::now();
    let older = until("what was forgotten in the log of who leads", || {
        for daemon in [&mut leader, &mut standby] {
            daemon.read();
            if let Some(line) = daemon.events("journal.older").first() {
                return Ok((*line).clone());
            }
        }
        Err("nobody says so".to_owned())
    });
    let forgotten = older["occurrences"].as_u64().expect("a number");
    assert!(forgotten >= 6 * ENTRIES as u64, "{older}");
    until("a send after it", || {
        let ledger = scene.sandbox.ledger();
        let last = ledger.of(Endpoint::RunNow).map(|record| record.at).max();
        if last > Some(restored + Duration::from_secs(5)) { Ok(()) } else { Err(format!("{last:?}")) }
    });
    for daemon in [&mut leader, &mut standby] {
        assert!(daemon.stop().success(), "{}", daemon.stderr());
    }
    each_second_once(&scene);
    scene.nothing_twice(&one);
}
