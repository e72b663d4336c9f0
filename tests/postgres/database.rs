//! What becomes of the database under the members: out of reach, restarted, read-only, full, slow, failed over.

use super::*;
use crate::common::machine::SmallDisk;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_is_waited_for() {
    let Some(scene) = Scene::alone().await else { return };
    let (one, other, third) = (scene.machine(), scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    scene.server.control(&["restart", "-m", "fast"]);
    leader.fires();
    scene.server.control(&["stop", "-m", "immediate"]);
    leader.event("lease.unreachable");
    standby.event("lease.unreachable");
    leader.event("journal.failed");
    let mut late = third.start();
    late.event("lease.unreachable");
    // Long enough that a lease would be over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.server.control(&["start"]);
    leader.event("lease.reachable");
    leader.event("journal.restored");
    late.event("lease.standby");
    leader.fires();
    assert_eq!(standby.events("lease.acquired").len(), 0, "the leader is the one that was");
    assert!(late.stop().success(), "{}", late.stderr());
    assert!(standby.stop().success(), "{}", standby.stderr());
    assert!(leader.stop().success(), "{}", leader.stderr());
    let rows = scene.nothing_twice(&other);
    nothing_is_lost(&rows);
    assert_eq!(states(&rows, "unknown"), 0, "a leader that lives has no doubts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_written_is_waited_for() {
    let Some(scene) = Scene::new().await else { return };
    let place = scene.machine();
    let mut daemon = place.start();
    daemon.fires();
    let (server, database) = (scene.server, &scene.database);
    let end_sessions =
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    server.sql("postgres", &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"));
    server.sql("postgres", &end_sessions);
    daemon.wait_for("lease.unreachable", |line| {
        line["error"].as_str().is_some_and(|error| error.contains("replica"))
    });
    daemon.event("journal.failed");
    server.sql("postgres", &format!("ALTER DATABASE {database} RESET default_transaction_read_only"));
    daemon.event("lease.reachable");
    daemon.event("journal.restored");
    daemon.fires();
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
        leader.fires();
    }
    standby.read();
    assert_eq!(standby.events("lease.acquired").len(), 0, "a leader that is slow is one");
    leader.signal(Signal::KILL);
    leader.end();
    standby.event("lease.acquired");
    standby.fires();
    proxy.delay(0);
    standby.fires();
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
    daemon.fires();
    let rows = |condition: &str| -> BTreeSet<String> {
        let which = format!("SELECT scheduled_at || ' ' || entry FROM {condition}");
        scene.server.sql(&scene.database, &which).lines().map(str::to_owned).collect()
    };
    // What is claimed, and due within the permit that the leader has at least.
    let promised = until("something claimed ahead", || {
        let now = Timestamp::now().as_microsecond();
        let promised = rows(&format!(
            "stackcron.open, stackcron.lease WHERE scheduled_at BETWEEN {now} + 500000 AND sends_until - 200000"
        ));
        if promised.len() < ENTRIES { Err(format!("{promised:?}")) } else { Ok(promised) }
    });
    // The leader has its answers by then.
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.cut(true);
    daemon.event("lease.unreachable");
    daemon.event("journal.failed");
    let permit = scene.server.sql(&scene.database, "SELECT sends_until FROM stackcron.lease");
    let permit = Timestamp::from_microsecond(permit.parse().expect("a number")).expect("an instant");
    let mut sent = BTreeSet::new();
    for line in daemon.events("action.started") {
        let sent_at: Timestamp = line["sent_at"].as_str().and_then(|at| at.parse().ok()).expect("an instant");
        assert!(sent_at <= permit, "without a permit: {line}");
        sent.insert(format!("{} {}", scheduled_at(line).as_microsecond(), entry(line)));
    }
    assert!(promised.is_subset(&sent), "{promised:?} of {sent:?}");
    let claimed = rows("stackcron.open");
    let claimed = &claimed | &rows("stackcron.settled");
    assert!(sent.is_subset(&claimed), "{sent:?} of {claimed:?}");
    let sent = || scene.sandbox.ledger().of(Endpoint::RunNow).count();
    let before = sent();
    // Whole seconds in which as many come due.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(sent(), before);
    proxy.cut(false);
    daemon.event("journal.restored");
    daemon.fires();
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
    leader.fires();
    assert_eq!(standby.events("lease.acquired").len(), 0, "the leader is the one that was");
    assert!(leader.stop().success(), "{}", leader.stderr());
    standby.fires();
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
    daemon.fires();
    let ballast = disk.fill();
    let failed = daemon.event("journal.failed");
    assert!(
        failed["error"].as_str().is_some_and(|error| error.contains("make room on the server")),
        "{failed}"
    );
    std::fs::remove_file(ballast).expect("removed");
    daemon.event("journal.restored");
    daemon.fires();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let rows = scene.nothing_twice(&place);
    let seconds: BTreeSet<Timestamp> = rows.iter().map(scheduled_at).collect();
    assert_eq!(rows.len(), seconds.len() * many, "each second has all of them");
    let (first, last) = (seconds.first().expect("some"), seconds.last().expect("some"));
    assert_eq!(last.as_second() - first.as_second() + 1, seconds.len() as i64, "no second is left out");
    scene.server.sql("postgres", &format!("DROP DATABASE {}", scene.database));
    scene.server.sql("postgres", "DROP TABLESPACE small");
}
