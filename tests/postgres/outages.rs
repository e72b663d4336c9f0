//! What the log says of a database that is out of reach: each cause when it shows, no flood, and no
//! jump of the clock.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;

/// What vouches for the server's certificate.
type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer(name: &str) -> Issuer {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("an issuer")
}

/// A server that is entered over TLS by a user without special rights, and a file of roots for it.
struct Encrypted {
    scene: Scene,
    port: u16,
    files: tempfile::TempDir,
}

impl Encrypted {
    async fn start(issuer: &Issuer) -> Option<Encrypted> {
        let scene = Scene::alone().await?;
        let port = crate::fronts::front::free_port();
        let files = tempfile::tempdir().expect("a directory");
        let encrypted = Encrypted { scene, port, files };
        let server = encrypted.scene.server;
        server.sql("postgres", "CREATE ROLE jobs LOGIN");
        server.sql("postgres", &format!("ALTER DATABASE {} OWNER TO jobs", encrypted.scene.database));
        encrypted.certify(issuer);
        encrypted.trust(issuer);
        server.write("data/pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 trust\n");
        let settings = format!("ssl = on\nlisten_addresses = 'localhost'\nport = {port}\n");
        server.configure("data/postgresql.auto.conf", &settings);
        Some(encrypted)
    }

    /// Gives the server a certificate, which counts once it reads its files again.
    fn certify(&self, issuer: &Issuer) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
        self.scene.server.write("data/server.crt", &certificate.pem());
        self.scene.server.write("data/server.key", &key.serialize_pem());
    }

    /// Puts an issuer into the file of roots.
    fn trust(&self, issuer: &Issuer) {
        std::fs::write(self.roots(), issuer.pem()).expect("the roots");
    }

    fn roots(&self) -> std::path::PathBuf {
        self.files.path().join("roots.pem")
    }

    fn machine(&self) -> Place {
        let (port, database, roots) = (self.port, &self.scene.database, self.roots());
        let roots = roots.display();
        self.scene.machine_at(&format!(
            "postgres://jobs@localhost:{port}/{database}?sslmode=verify-full&sslrootcert={roots}"
        ))
    }

    fn sql(&self, sql: &str) {
        self.scene.server.sql_at(self.port, "postgres", sql);
    }
}

fn names(cause: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["error"].as_str().is_some_and(|error| error.contains(cause))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_each_cause_for_which_the_journal_cannot_be_written() {
    let (right, wrong) = (issuer("the right one"), issuer("another one"));
    let Some(database) = Encrypted::start(&right).await else { return };
    let server = database.scene.server;
    let mut daemon = database.machine().start();
    daemon.fires();
    server.control(&["stop", "-m", "fast"]);
    daemon.wait_for("journal.failed", names("refused"));
    database.certify(&wrong);
    server.control(&["start"]);
    for event in ["journal.failed", "lease.unreachable"] {
        daemon.wait_for(event, names("UnknownIssuer"));
    }
    database.certify(&right);
    database.sql("ALTER ROLE jobs CONNECTION LIMIT 0");
    database.sql("SELECT pg_reload_conf()");
    for event in ["journal.failed", "lease.unreachable"] {
        daemon.wait_for(event, names("too many connections"));
    }
    database.sql("ALTER ROLE jobs CONNECTION LIMIT -1");
    daemon.event("journal.restored");
    daemon.fires();
    assert_eq!(daemon.events("journal.restored").len(), 1, "it was one outage: {}", daemon.raw);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roots_of_a_database_are_read_again_when_they_are_rotated() {
    let (old, new) = (issuer("the old one"), issuer("the new one"));
    let Some(database) = Encrypted::start(&old).await else { return };
    let server = database.scene.server;
    let mut daemon = database.machine().start();
    daemon.fires();
    database.trust(&new);
    database.certify(&new);
    server.control(&["restart", "-m", "fast"]);
    daemon.event("lease.reachable");
    daemon.fires();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_database_is_no_jump_of_the_clock() {
    let Some(scene) = Scene::new().await else { return };
    let proxy = Proxy::before(scene.server);
    let place = scene.machine_at(&proxy.url(&scene.database));
    let mut daemon = place.start();
    daemon.fires();
    proxy.cut(true);
    daemon.event("lease.unreachable");
    // Longer than any pause between two looks at the clock of a daemon that is awake.
    tokio::time::sleep(Duration::from_secs(12)).await;
    proxy.cut(false);
    daemon.event("journal.restored");
    daemon.fires();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    assert_eq!(daemon.events("clock.jumped"), Vec::<&Value>::new());
    nothing_is_lost(&scene.nothing_twice(&place));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_and_go_do_not_flood_the_log() {
    let Some(scene) = Scene::new().await else { return };
    let place = scene.machine();
    let mut daemon = place.start();
    daemon.fires();
    let database = &scene.database;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    let began = std::time::Instant::now();
    let mut cuts = 0;
    while began.elapsed() < Duration::from_secs(9) {
        scene.server.sql("postgres", &end);
        cuts += 1;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    daemon.fires();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let events = ["journal.failed", "journal.restored", "lease.unreachable", "lease.reachable"];
    let told: Vec<&Value> = events.iter().flat_map(|event| daemon.events(event)).collect();
    say(&format!("{} lines of {cuts} cuts", told.len()));
    // A connection ends in three ways: it is told, it is closed, or the first question finds it
    // closed.
    assert!(told.len() <= 4 * 3, "{told:#?}");
    nothing_is_lost(&scene.nothing_twice(&place));
}
