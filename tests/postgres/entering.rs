//! How a member enters the database: its password, and TLS.

use std::path::Path;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_ever_printed() {
    let Some(scene) = Scene::new().await else { return };
    let url = scene.server.url(&scene.database).replacen("stackcron@", "stackcron:s3cret@", 1);
    let place = scene.machine_at(&url);
    let mut daemon = place.start();
    let told = daemon.event("lease.acquired");
    assert!(told["journal"].as_str().is_some_and(|name| name.starts_with("postgres://stackcron@")), "{told}");
    daemon.fires();
    daemon.stop();
    assert!(!daemon.raw.contains("s3cret"), "{}", daemon.raw);
    for url in [
        "postgres://me:s3cret@127.0.0.1:1/jobs",
        "postgres://me:s3cret@127.0.0.1:1/jobs?sslmode=s3cret",
        "mysql://me:s3cret@127.0.0.1/jobs",
        &url.replace(&scene.database, "nowhere"),
    ] {
        let place = scene.machine_at(url);
        for words in
            [&["history"][..], &["why", "e1", "--at", "2026-01-01T00:00:00Z"], &["history", "--help"]]
        {
            let ended = place.run(words);
            let text = ended.stdout + &ended.stderr;
            assert!(!text.contains("s3cret"), "{words:?}: {text}");
        }
    }
    let refused = scene.machine_at("mysql://me:s3cret@127.0.0.1/jobs").run(&["run"]);
    assert_eq!(refused.status.code(), Some(78), "{}", refused.stderr);
    assert!(!(refused.stdout + &refused.stderr).contains("s3cret"));
}

const PASSWORD: &str = "s3cret-of-the-database";

#[tokio::test(flavor = "multi_thread")]
async fn a_password_comes_from_the_url_the_environment_or_a_credential_and_is_never_printed() {
    let Some(scene) = Scene::alone().await else { return };
    let (server, database) = (scene.server, &scene.database);
    server.sql("postgres", &format!("CREATE ROLE jobs LOGIN PASSWORD '{PASSWORD}'"));
    server.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO jobs"));
    server.configure("data/pg_hba.conf", "local all stackcron trust\nlocal all jobs scram-sha-256\n");
    let url = server.url(database).replacen("stackcron@", "jobs@", 1);
    let credentials = tempfile::tempdir().expect("a directory");
    std::fs::write(credentials.path().join("journal-password"), format!("{PASSWORD}\n"))
        .expect("a credential");
    let directory = credentials.path().display().to_string();
    let own = url.replacen("jobs@", &format!("jobs:{PASSWORD}@"), 1);
    let places = [
        scene.machine_at(&own).env("PGPASSWORD", "another"),
        scene.machine_at(&url).env("PGPASSWORD", PASSWORD),
        scene.machine_at(&url).env("PGPASSWORD", "another").env("CREDENTIALS_DIRECTORY", &directory),
    ];
    for place in &places {
        let mut daemon = place.start();
        daemon.fires();
        assert!(daemon.stop().success(), "{}", daemon.stderr());
        let said = daemon.raw.clone() + &daemon.stderr();
        assert!(!said.contains(PASSWORD) && !said.contains("another"), "{said}");
    }
    nothing_is_lost(&scene.nothing_twice(&places[1]));
    for place in [scene.machine_at(&url), scene.machine_at(&url).env("PGPASSWORD", "another")] {
        let mut daemon = place.start();
        assert_eq!(daemon.end().code(), Some(1), "it does not wait for a password");
        for said in [daemon.raw.clone() + &daemon.stderr(), place.run(&["history"]).stderr] {
            assert!(said.contains("journal-password") && said.contains("PGPASSWORD"), "the remedy: {said}");
            assert!(!said.contains("another"), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_used_and_the_certificate_verified() {
    let Some(scene) = Scene::alone().await else { return };
    let (server, database) = (scene.server, &scene.database);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("another");
    let files = tempfile::tempdir().expect("a directory");
    let (roots, wrong) = (files.path().join("ca.pem"), files.path().join("wrong.pem"));
    std::fs::write(&roots, made.cert.pem()).expect("the roots");
    std::fs::write(&wrong, other.cert.pem()).expect("other roots");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    server.write("data/server.crt", &made.cert.pem());
    server.write("data/server.key", &made.signing_key.serialize_pem());
    server.write("data/pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n");
    server.configure(
        "data/postgresql.auto.conf",
        &format!("ssl = on\nlisten_addresses = 'localhost'\nport = {port}\n"),
    );
    let url = |rest: &str| format!("postgres://stackcron@localhost:{port}/{database}{rest}");
    let root = |path: &Path| format!("sslmode=verify-full&sslrootcert={}", path.display());
    let place = scene.machine_at(&url(&format!("?{}", root(&roots))));
    let mut daemon = place.start();
    daemon.fires();
    let plain = server.sql_at(port, database, "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'stackcron' AND NOT ssl");
    assert_eq!(plain, "0", "all connections are encrypted");
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    nothing_is_lost(&scene.nothing_twice(&place));
    let refused = |rest: &str| {
        let ended = scene.machine_at(&url(rest)).run(&["history"]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        ended.stderr
    };
    let unknown = refused(&format!("?{}", root(&wrong)));
    assert!(unknown.contains("certificate"), "{unknown}");
    let unknown = refused("?sslmode=require");
    assert!(
        unknown.contains("certificate"),
        "required is verified as well, by the platform's roots: {unknown}"
    );
    let plain = refused("?sslmode=disable");
    assert!(plain.contains("pg_hba.conf"), "{plain}");
}
