//! What concerns one write, one connection or one member, and stops nothing else.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use super::*;

/// An API that refuses everything with these details, as JSON has them.
fn refuses_with(details: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut lines = BufReader::new(client.try_clone().expect("a socket"));
                let (mut line, mut length) = (String::new(), 0);
                while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    if line.trim().is_empty() {
                        let mut body = vec![0; length];
                        let _ = lines.read_exact(&mut body);
                        let body = format!(
                            r#"{{"error":"unprocessable","error_description":"no","details":"{details}"}}"#
                        );
                        let answer = format!(
                            "HTTP/1.1 422 Unprocessable Entity\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        if (&client).write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                    line.clear();
                }
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nul_in_the_words_of_a_refusal_stops_no_entry() {
    let Some(scene) = Scene::new().await else { return };
    let place = scene.machine();
    let text = crate::common::read(&place.config());
    let odd =
        format!("accounts: {{ odd: {{ url: '{}', token: {{ env: TOKEN }} }},", refuses_with("a\\u0000b…"));
    let text = text.replacen("accounts: {", &odd, 1).replace("stack: s1,", "account: main, stack: s1,");
    place.write(&(text + "  refused: { account: odd, stack: s1, job: j1, cron: '* * * * * *' }\n"));
    let mut daemon = place.start();
    daemon.event("occurrence.rejected");
    // Both are written together: what is claimed later is sent.
    daemon.fires();
    daemon.event("occurrence.rejected");
    daemon.fires();
    assert_eq!(daemon.events("journal.failed"), Vec::<&Value>::new());
    assert_eq!(daemon.events("journal.refused"), Vec::<&Value>::new());
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let rejected = place.run(&["history", "refused", "--format", "json"]).stdout;
    assert!(rejected.contains("\\u{0}b…"), "the words are in the journal, and can be read: {rejected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_cannot_be_stored_are_told_to_who_fires_and_stop_nothing() {
    let Some(scene) = Scene::new().await else { return };
    let place = scene.machine();
    let mut daemon = place.start();
    daemon.fires();
    let socket = place.config().with_file_name("control.sock");
    for _ in 0..3 {
        let mut stream = UnixStream::connect(&socket).expect("the daemon listens");
        let question = "{\"version\":1,\"command\":\"fire\",\"entry\":\"e1\",\"args\":\"a\\u0000b\"}\n";
        stream.write_all(question.as_bytes()).expect("asked");
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).expect("an answer");
        assert!(answer.contains("cannot store"), "{answer}");
        daemon.fires();
    }
    assert_eq!(daemon.events("journal.failed"), Vec::<&Value>::new());
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    nothing_is_lost(&scene.nothing_twice(&place));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_store_every_text_is_refused_at_the_start() {
    let Some(scene) = Scene::new().await else { return };
    scene.server.sql("postgres", &format!("DROP DATABASE {}", scene.database));
    scene
        .server
        .sql("postgres", &format!("CREATE DATABASE {} ENCODING 'LATIN1' TEMPLATE template0", scene.database));
    let refused = scene.machine().run(&["run"]);
    assert!(!refused.status.success());
    let told = refused.stdout + &refused.stderr;
    assert!(told.contains("LATIN1") && told.contains("--encoding UTF8"), "{told}");
}

const RELEASED: &str = "SELECT released FROM stackcron.lease WHERE name = ''";

impl Scene {
    /// Waits until a member has taken the lease.
    fn lease_is_taken(&self) {
        until("a lease that is taken", || {
            let exists = self.server.sql(&self.database, "SELECT to_regclass('stackcron.lease') IS NOT NULL");
            let taken = exists == "t" && self.server.sql(&self.database, RELEASED) == "f";
            if taken { Ok(()) } else { Err(exists) }
        });
    }
}

/// What a leader asks when its term begins, and at no other time.
const BEGINS: &str = "FROM stackcron.paused";

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_connection_swallows_its_beginning_leaves_the_lease_to_another() {
    let Some(scene) = Scene::new().await else { return };
    let proxy = Proxy::before(scene.server);
    let (one, other) = (scene.machine_at(&proxy.url(&scene.database)), scene.machine());
    proxy.swallow(Some(BEGINS));
    let mut first = one.start();
    scene.lease_is_taken();
    let mut second = other.start();
    first.event("lease.unreachable");
    second.event("lease.acquired");
    second.fires();
    proxy.swallow(None);
    assert!(second.stop().success(), "{}", second.stderr());
    first.fires();
    assert!(first.stop().success(), "{}", first.stderr());
    nothing_is_lost(&scene.nothing_twice(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_obeyed_while_a_connection_swallows_the_beginning_of_a_term() {
    let Some(scene) = Scene::new().await else { return };
    let proxy = Proxy::before(scene.server);
    proxy.swallow(Some(BEGINS));
    let place = scene.machine_at(&proxy.url(&scene.database));
    let mut daemon = place.start();
    scene.lease_is_taken();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    assert_eq!(daemon.events("lease.unreachable"), Vec::<&Value>::new(), "it ended before it gave up");
    assert_eq!(scene.server.sql(&scene.database, RELEASED), "t", "and left the lease to others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_write_while_its_lease_is_kept_leaves_it_to_another() {
    let Some(scene) = Scene::new().await else { return };
    let proxy = Proxy::before(scene.server);
    let (one, other) = (scene.machine_at(&proxy.url(&scene.database)), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    // Each group of writes begins so: neither the connection that there is nor a new one gets through.
    proxy.swallow(Some("BEGIN ISOLATION LEVEL READ COMMITTED"));
    leader.event("journal.failed");
    leader.event("lease.lost");
    standby.event("lease.acquired");
    standby.fires();
    proxy.swallow(None);
    assert!(standby.stop().success(), "{}", standby.stderr());
    assert!(leader.stop().success(), "{}", leader.stderr());
    nothing_is_lost(&scene.nothing_twice(&one));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_a_firewall_forgot_is_replaced_before_something_is_due() {
    let Some(mut scene) = Scene::new().await else { return };
    scene.jobs = "  e0: { stack: s1, job: j1, cron: '@yearly' }\n".to_owned();
    let proxy = Proxy::before(scene.server);
    let place = scene.machine_at(&proxy.url(&scene.database));
    let mut daemon = place.start();
    let fire = || {
        let fired = place.run(&["fire", "e0"]);
        if fired.status.success() { Ok(()) } else { Err(fired.stderr) }
    };
    until("a daemon that fires", fire);
    daemon.event("action.finished");
    let former = proxy.made();
    // By which an idle connection is tried.
    proxy.swallow(Some("SELECT 1"));
    until("another connection", || if proxy.made() > former { Ok(()) } else { Err(former.to_string()) });
    proxy.swallow_no_more();
    let asked = std::time::Instant::now();
    fire().expect("it is fired");
    say(&format!("fired after {:?}", asked.elapsed()));
    daemon.event("action.started");
    assert_eq!(daemon.events("journal.failed"), Vec::<&Value>::new());
    assert!(daemon.stop().success(), "{}", daemon.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_the_database_is_down_has_not_handed_over() {
    let Some(scene) = Scene::alone().await else { return };
    let place = scene.machine();
    let mut daemon = place.start();
    daemon.fires();
    scene.server.control(&["stop", "-m", "immediate"]);
    daemon.event("lease.unreachable");
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    assert_eq!(daemon.events("lease.released"), Vec::<&Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_somebody_has_emptied_is_put_back() {
    let Some(scene) = Scene::new().await else { return };
    let (one, other) = (scene.machine(), scene.machine());
    let (mut leader, mut standby) = pair(&one, &other);
    scene.server.sql(&scene.database, "DELETE FROM stackcron.lease");
    leader.event("lease.lost");
    let again = |line: &Value| line["event"] == "lease.acquired";
    until("a leader", || {
        leader.read();
        standby.read();
        let acquired = leader.log.iter().chain(&standby.log).filter(|line| again(line)).count();
        if acquired > 1 { Ok(()) } else { Err(acquired.to_string()) }
    });
    leader.stop();
    standby.stop();
    scene.nothing_twice(&one);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_use_a_database_is_told_what_to_do() {
    let Some(scene) = Scene::new().await else { return };
    let (server, database) = (scene.server, &scene.database);
    let mut daemon = scene.machine().start();
    daemon.fires();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    server.sql(
        database,
        "DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA stackcron TO reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA stackcron TO reader",
    );
    let place = scene.machine_at(&server.url(database).replacen("stackcron@", "reader@", 1));
    let mut reader = place.start();
    let told = reader.event("lease.unreachable");
    assert!(
        told["error"].as_str().is_some_and(|error| error.contains("INSERT, UPDATE and DELETE")),
        "{told}"
    );
    assert!(reader.stop().success(), "{}", reader.stderr());
    server.sql(database, "DROP OWNED BY reader; DROP ROLE reader");
    for tables in
        ["CREATE TABLE stackcron.journal (title text)", "CREATE TABLE stackcron.lease (tenant text)"]
    {
        let strangers = server.database();
        server.sql(&strangers, &format!("CREATE SCHEMA stackcron; {tables}"));
        let ended = scene.machine_at(&server.url(&strangers)).run(&["run"]);
        assert!(!ended.status.success());
        assert!((ended.stdout + &ended.stderr).contains("give the journal another database"), "{tables}");
    }
}
