//! Accounts in shards, each led by itself: members share them, and take over from one that dies.

use stackcron::journal::postgres::{Member, PostgresAddress, members};

use super::*;

/// The named ones. With the common one they are six.
const NAMED: [&str; 5] = ["a", "b", "c", "d", "e"];

/// One account in each shard, and in each as many entries that are due every second.
fn file(url: &str, shard_of: impl Fn(&str) -> Option<String>) -> String {
    let mut text = "accounts:\n".to_owned();
    let accounts = NAMED.iter().chain(&["common"]);
    for account in accounts.clone() {
        let shard = shard_of(account).map_or(String::new(), |shard| format!(", shard: {shard}"));
        text += &format!("  {account}: {{ url: '{url}', token: {{ env: TOKEN }}, timeout: 5s{shard} }}\n");
    }
    text += "jobs:\n";
    for account in accounts {
        text += &format!(
            "  of-{account}: {{ stack: s1, job: j1, account: {account}, args: of-{account}, cron: '* * * * * *', catch_up: all }}\n"
        );
    }
    text
}

fn named(account: &str) -> Option<String> {
    (account != "common").then(|| account.to_owned())
}

fn machine(scene: &Scene) -> Place {
    let place = Place::with(&file(&scene.sandbox.url(), named));
    place.env("STACKCRON_JOURNAL", &scene.server.url(&scene.database))
}

/// Waits until the living members lead as many shards as these, the most first.
fn shares(scene: &Scene, wanted: &[usize]) {
    let address: PostgresAddress = scene.server.url(&scene.database).parse().expect("an address");
    crate::common::until(&format!("as many shards as {wanted:?} each"), || {
        // It blocks, and in a thread of the runtime's that is not allowed.
        let all = std::thread::scope(|scope| scope.spawn(|| members(&address)).join().expect("a thread"));
        let all = all.map_err(|error| error.to_string())?;
        let leads = |of: &Member| of.shards.len() + usize::from(of.leads);
        let mut leads: Vec<usize> =
            all.iter().filter(|of| of.lives()).map(leads).filter(|&of| of > 0).collect();
        leads.sort_unstable_by(|one, other| other.cmp(one));
        if leads == wanted { Ok(()) } else { Err(format!("{leads:?} of {all:?}")) }
    });
}

/// Each second has the rows of all accounts, and nothing was given up but what these seconds have.
fn each_account_has_all(rows: &[Value]) {
    let mut seconds: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for row in rows {
        assert!(
            !["missed", "rejected", "failed"].contains(&row["state"].as_str().expect("a state")),
            "{row}"
        );
        seconds.entry(entry(row)).or_default().insert(scheduled_at(row).as_second());
    }
    assert_eq!(seconds.len(), NAMED.len() + 1, "{:?}", seconds.keys());
    for (entry, seconds) in seconds {
        let (first, last) = (seconds.first().expect("some"), seconds.last().expect("some"));
        assert_eq!(last - first + 1, seconds.len() as i64, "no second of {entry} is left out: {seconds:?}");
    }
}

fn fires_all(daemon: &mut Daemon) {
    let now = Timestamp::now().to_string();
    for account in NAMED.iter().chain(&["common"]) {
        let name = format!("of-{account}");
        daemon.wait_for("action.started", |line| {
            line["entry"] == name && line["scheduled_at"].as_str() > Some(&now)
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_shards_and_take_over_those_of_one_that_dies() {
    let Some(scene) = Scene::new().await else { return };
    let places = [machine(&scene), machine(&scene), machine(&scene)];
    let mut one = places[0].start();
    shares(&scene, &[6]);
    fires_all(&mut one);
    let (mut two, mut three) = (places[1].start(), places[2].start());
    shares(&scene, &[2, 2, 2]);
    crate::common::until("that who leads some fires", || {
        let status = places[1].run(&["status", "--format", "json"]).stdout;
        let is_ready = serde_json::from_str::<Value>(&status).is_ok_and(|status| status["ready"] == true);
        if is_ready { Ok(()) } else { Err(status) }
    });
    crate::common::until("who leads what on the screen", || {
        let screen = places[1].run(&["status"]).stdout;
        if screen.contains(" leads all else, ") { Ok(()) } else { Err(screen) }
    });

    one.signal(Signal::KILL);
    one.end();
    shares(&scene, &[3, 3]);
    assert!(two.stop().success(), "{}", two.stderr());
    shares(&scene, &[6]);
    fires_all(&mut three);
    assert!(three.stop().success(), "{}", three.stderr());
    let rows = scene.nothing_twice(&places[0]);
    each_account_has_all(&rows);
    assert_eq!(states(&rows, "skipped"), 0);
    let handed_over: Vec<&Value> = one.events("lease.released");
    assert!(handed_over.len() >= 4, "to each of the others two: {handed_over:?}");
    say(&format!("{} rows, {} in doubt", rows.len(), states(&rows, "unknown")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_changes_its_shard_takes_its_pauses_along() {
    let Some(scene) = Scene::new().await else { return };
    let place = machine(&scene);
    let mut daemon = place.start();
    fires_all(&mut daemon);
    let paused = place.run(&["pause", "of-a"]);
    assert!(paused.status.success(), "{paused:?}");
    daemon.event("entry.paused");
    let at = Timestamp::now().to_string();
    place.write(&file(&scene.sandbox.url(), |account| match account {
        "a" | "common" => Some("b".to_owned()),
        "e" => None,
        other => named(other),
    }));
    daemon.event("schedule.reloaded");
    daemon.wait_for("occurrence.skipped", |line| {
        line["entry"] == "of-a" && line["reason"] == "paused" && line["scheduled_at"].as_str() > Some(&at)
    });
    let again = daemon
        .wait_for("lease.acquired", |line| line["shard"] == "b" && line["timestamp"].as_str() > Some(&at));
    let resumed = place.run(&["resume", "of-a"]);
    assert!(resumed.status.success(), "{resumed:?}");
    fires_all(&mut daemon);
    let status = place.run(&["status", "--format", "json"]).stdout;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["paused_total"], 0, "{status}");
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    each_account_has_all(&scene.nothing_twice(&place));
    say(&again.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_what_another_shard_settles_at_that_very_moment_is_none() {
    let Some(mut scene) = Scene::new().await else { return };
    scene.jobs = "  e0: { stack: s1, job: j1, args: e0, cron: '* * * * * *', catch_up: all }\n".to_owned();
    let place = scene.machine();
    let mut daemon = place.start();
    daemon.fires();
    // Another shard's leader has it open, and settles it as skipped: the daemon's claim waits for the end of that.
    let at = Timestamp::from_second(Timestamp::now().as_second() + 8).expect("an instant");
    let key = format!("{}, 'e0'", at.as_microsecond());
    scene.server.sql(
        &scene.database,
        &format!(
            "INSERT INTO stackcron.open (scheduled_at, entry, target, due, deadline, by_person, state, attempts, number)
             SELECT {key}, min(id), 0, 0, false, 0, 0, -1 FROM stackcron.target"
        ),
    );
    let blocked = scene.server.sql(
        &scene.database,
        &format!(
            "DO $$ DECLARE blocked boolean := false; BEGIN
                 DELETE FROM stackcron.open WHERE (scheduled_at, entry) = ({key});
                 INSERT INTO stackcron.settled (scheduled_at, entry, target, due, state, attempts, reason, number)
                 SELECT {key}, min(id), 0, {skipped}, 0, 'removed', -1 FROM stackcron.target;
                 WHILE NOT blocked AND clock_timestamp() < to_timestamp({until}) LOOP
                     PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01);
                     blocked := EXISTS (SELECT FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock');
                 END LOOP;
                 IF NOT blocked THEN RAISE EXCEPTION 'nobody claims it'; END IF;
             END $$; SELECT 'waited for'",
            skipped = 8,
            until = at.as_second()
        ),
    );
    assert_eq!(blocked, "waited for");
    daemon.wait_for("action.started", |line| scheduled_at(line) > at);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    assert!(daemon.events("journal.failed").is_empty(), "{:?}", daemon.events("journal.failed"));
    let rows = scene.nothing_twice(&place);
    let of_it: Vec<&Value> = rows.iter().filter(|row| scheduled_at(row) == at).collect();
    assert!(matches!(of_it[..], [row] if row["state"] == "skipped"), "{of_it:?}");
}
