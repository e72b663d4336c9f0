//! What becomes of the database under the members: out of reach, restarted, read-only, full, slow, failed over.

use super::*;
use crate::common::machine::SmallDisk;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_is_waited_for() {
    let Some(scene) = Scene::alone().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    scene.server.control(&["restart", "-m", "fast"]);
    fires(&mut leader);
    scene.server.control(&["stop", "-m", "immediate"]);
    leader.event("lease.unreachable");
    standby.event("lease.unreachable");
    leader.event("journal.failed");
    // Long enough that a lease would be over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.server.control(&["start"]);
    leader.event("lease.reachable");
    leader.event("journal.restored");
    fires(&mut leader);
    assert_eq!(standby.events("lease.acquired").len(), 0, "the leader is the one that was");
    assert!(leader.stop().success(), "{}", leader.stderr());
    assert!(standby.stop().success(), "{}", standby.stderr());
    let rows = scene.nothing_twice(&other);
    nothing_is_lost(&rows);
    assert_eq!(states(&rows, "unknown"), 0, "a leader that lives has no doubts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_written_is_waited_for() {
    let Some(scene) = Scene::new().await else { return };
    let place = scene.machine();
    let mut daemon = place.start();
    fires(&mut daemon);
    let (server, database) = (scene.server, &scene.database);
    let end_sessions =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    server.sql("postgres", &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"));
    server.sql("postgres", &end_sessions);
    daemon.wait_for("lease.unreachable", |line| {
        line["error"].as_str().is_some_and(|error| error.contains("replica"))
    });
    server.sql("postgres", &format!("ALTER DATABASE {database} RESET default_transaction_read_only"));
    daemon.event("lease.reachable");
    daemon.event("journal.restored");
    fires(&mut daemon);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let rows = scene.nothing_twice(&place);
    nothing_is_lost(&rows);
    assert_eq!(states(&rows, "unknown"), 0, "it was the leader all the time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_costs_lateness_and_nothing_else() {
    let Some(scene) = Scene::new().await else { return };
    let proxy = Proxy::before(scene.server);
    let url = proxy.url(&scene.database);
    let (one, other) = (scene.machine_at(&url), scene.machine_at(&url));
    let (mut leader, mut standby) = pair(&one, &other);
    // Each statement: of what is written together there are some six.
    proxy.delay(1000);
    for _ in 0..4 {
        fires(&mut leader);
    }
    standby.read();
    assert_eq!(standby.events("lease.acquired").len(), 0, "a leader that is slow is one");
    leader.signal(Signal::KILL);
    leader.end();
    standby.event("lease.acquired");
    fires(&mut standby);
    proxy.delay(0);
    fires(&mut standby);
    assert!(standby.stop().success(), "{}", standby.stderr());
    for daemon in [&leader, &standby] {
        assert_eq!(daemon.events("journal.failed"), Vec::<&Value>::new(), "it is slow, and not gone");
        assert_eq!(daemon.events("lease.lost"), Vec::<&Value>::new());
    }
    let rows = scene.nothing_twice(&other);
    nothing_is_lost(&rows);
    let latest = rows.iter().filter_map(|row| row["lateness_ms"].as_i64()).max();
    say(&format!("a second a statement: at most {latest:?} ms late, {} in doubt", states(&rows, "unknown")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_what_is_claimed_is_sent_on_time_and_nothing_else() {
    let Some(scene) = Scene::new().await else { return };
    let proxy = Proxy::before(scene.server);
    let place = scene.machine_at(&proxy.url(&scene.database));
    let mut daemon = place.start();
    fires(&mut daemon);
    let cut = Timestamp::now();
    proxy.cut(true);
    let told = daemon.event("lease.unreachable");
    daemon.event("journal.failed");
    let sent = || -> Vec<Timestamp> {
        scene.sandbox.ledger().of(Endpoint::RunNow).map(|record| record.at).filter(|&at| at > cut).collect()
    };
    let before = sent();
    assert!(before.len() >= ENTRIES, "a second's worth at least was claimed: {before:?}");
    let permitted = cut + jiff::SignedDuration::from_secs(3);
    assert!(before.iter().all(|&at| at < permitted), "nothing is sent without a lease: {before:?}, {told}");
    // Whole seconds in which as many come due.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(sent(), before);
    proxy.cut(false);
    daemon.event("journal.restored");
    fires(&mut daemon);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let rows = scene.nothing_twice(&place);
    nothing_is_lost(&rows);
    assert_eq!(states(&rows, "unknown"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_over_is_followed_to_the_replica() {
    let Some(scene) = Scene::alone().await else { return };
    let replica = scene.server.replica();
    scene.server.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
    scene.server.sql("postgres", "SELECT pg_reload_conf()");
    // As config/two-machines.conf has it: both servers in one URL.
    let (first, second) = (scene.server.url(&scene.database), replica.url(&scene.database));
    let host = |url: &str| {
        url["postgres://stackcron@".len()..].split('/').next().map(str::to_owned).expect("a host")
    };
    let url = first.replace(&host(&first), &format!("{},{}", host(&second), host(&first)));
    let (one, other) = (scene.machine_at(&url), scene.machine_at(&url));
    let (mut leader, mut standby) = pair(&one, &other);
    scene.server.control(&["stop", "-m", "immediate"]);
    leader.event("lease.unreachable");
    replica.control(&["promote"]);
    leader.event("lease.reachable");
    fires(&mut leader);
    assert_eq!(standby.events("lease.acquired").len(), 0, "the leader is the one that was");
    assert!(leader.stop().success(), "{}", leader.stderr());
    fires(&mut standby);
    assert!(standby.stop().success(), "{}", standby.stderr());
    let rows = scene.nothing_twice(&other);
    nothing_is_lost(&rows);
    assert_eq!(states(&rows, "unknown"), 0, "a leader that lives has no doubts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_full_is_waited_for() {
    let Some(mut scene) = Scene::new().await else { return };
    let Some(disk) = SmallDisk::mount("size=32m,mode=0700,uid=nobody") else { return };
    scene.server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display()));
    scene.server.sql("postgres", &format!("ALTER DATABASE {} SET TABLESPACE small", scene.database));
    // Rows enough that what room is left in the tables' pages is soon used up.
    let many = 40;
    scene.jobs = (0..many)
        .map(|of| {
            format!("  e{of}: {{ stack: s1, job: j1, args: e{of}, cron: '* * * * * *', catch_up: all }}\n")
        })
        .collect();
    let place = scene.machine();
    let mut daemon = place.start();
    fires(&mut daemon);
    let ballast = disk.fill();
    let failed = daemon.event("journal.failed");
    assert!(
        failed["error"].as_str().is_some_and(|error| error.contains("make room on the server")),
        "{failed}"
    );
    std::fs::remove_file(ballast).expect("removed");
    daemon.event("journal.restored");
    fires(&mut daemon);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let rows = scene.nothing_twice(&place);
    let seconds: BTreeSet<Timestamp> = rows.iter().map(scheduled_at).collect();
    assert_eq!(rows.len(), seconds.len() * many, "each second has all of them");
    let (first, last) = (seconds.first().expect("some"), seconds.last().expect("some"));
    assert_eq!(last.as_second() - first.as_second() + 1, seconds.len() as i64, "no second is left out");
    scene.server.sql("postgres", &format!("DROP DATABASE {}", scene.database));
    scene.server.sql("postgres", "DROP TABLESPACE small");
}
