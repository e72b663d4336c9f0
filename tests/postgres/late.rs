//! What a daemon asked of the database over a connection that it has given up: it comes late, or its answer does.

use super::*;
use crate::common::postgres::Strand;

/// A person fires while the connections that there are stand still. The daemon gives them up and goes on by others, and then what
/// was held comes through. Nothing is fired: the person was told so.
async fn nothing_is_fired_over(strand: Strand, settings: &[&str]) {
    let Some(mut scene) = Scene::new().await else { return };
    for setting in settings {
        scene.server.sql("postgres", &format!("ALTER DATABASE {} SET {setting}", scene.database));
    }
    scene.jobs = "  e0: { stack: s1, job: j1, cron: '@yearly' }\n".to_owned();
    let proxy = Proxy::before(scene.server);
    let place = scene.machine_at(&proxy.url(&scene.database));
    let mut daemon = place.start();
    until("a daemon that fires", || {
        let fired = place.run(&["fire", "e0"]);
        if fired.status.success() { Ok(()) } else { Err(fired.stderr) }
    });
    daemon.event("action.finished");
    let open = || scene.server.sql(&scene.database, "SELECT count(*) FROM stackcron.open").trim().to_owned();
    until("the end of what was fired", || if open() == "0" { Ok(()) } else { Err(open()) });
    let writer = until("a leader that has nothing to write", || {
        let idle = scene.writers("AND now() - state_change > '1500 ms'");
        idle.first().cloned().ok_or_else(|| format!("{idle:?}"))
    });
    proxy.strand(strand);
    let fired = place.run(&["fire", "e0"]);
    assert!(!fired.status.success() && fired.stderr.contains("nothing was fired"), "{fired:?}");
    daemon.event("journal.restored");
    proxy.deliver();
    until("the end of the session that was given up", || match scene.writers("") {
        all if all.contains(&writer) => Err(format!("{all:?}")),
        _ => Ok(()),
    });
    assert_eq!(open(), "0");
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let rows = scene.nothing_twice(&place);
    assert_eq!(rows.len(), 1, "{rows:?}");
}

impl Scene {
    /// The sessions through which a leader writes, of those that meet a condition.
    fn writers(&self, condition: &str) -> Vec<String> {
        let database = &self.database;
        let sql = format!(
            "SELECT pid FROM pg_stat_activity
            WHERE datname = '{database}' AND query IN ('COMMIT', 'BEGIN ISOLATION LEVEL READ COMMITTED', 'SELECT 1') {condition}"
        );
        self.server.sql("postgres", &sql).lines().map(|pid| pid.trim().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_comes_after_its_connection_was_given_up_is_none() {
    nothing_is_fired_over(Strand::Questions, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_taken_away() {
    nothing_is_fired_over(Strand::Answers, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_given_up_is_ended_however_the_database_writes_instants() {
    nothing_is_fired_over(Strand::Questions, &["datestyle = 'SQL, DMY'", "timezone = 'Asia/Kolkata'"]).await;
}
