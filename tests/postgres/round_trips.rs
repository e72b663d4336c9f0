//! What a leader writes together costs one round trip, however much it is: it is sent to its end
//! before any answer.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};

use stackcron::journal::postgres::{LeadershipChange, Membership, Profile, ShardHandle};
use stackcron::journal::{Claim, Key, Opened, Origin, Transition};
use stackcron::quota;
use stackcron::schedule::{AccountName, EntryName, JobUid, Shard, StackUid};

use super::*;
use crate::common::postgres::Messages;

/// What a leader's transaction begins and ends with.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const COMMIT: &str = "COMMIT";

/// What a client said on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// These statements as one transaction. It had no answer to the first before it had sent the
    /// last.
    Together(Vec<String>),
    /// A statement, the answer to which it may have waited for.
    Alone(String),
}

/// Stands between members and the server, and keeps back all answers from the first word of a
/// leader's transaction to its last. Who waits for one in between waits forever.
struct Relay {
    address: std::net::SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Connection>>>>,
}

#[derive(Default)]
struct Connection {
    said: Mutex<Vec<Said>>,
    keeps_back: Mutex<bool>,
    lets_go: Condvar,
}

impl Relay {
    fn before(server: &Server) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::<Mutex<Vec<Arc<Connection>>>>::default();
        let (socket, all) = (server.socket(), Arc::clone(&connections));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&socket) else { continue };
                let connection = Arc::new(Connection::default());
                all.lock().expect("the connections").push(Arc::clone(&connection));
                relay(&connection, client, server);
            }
        });
        Relay { address, connections }
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://stackcron@{}/{database}", self.address)
    }

    /// What was said on the connection that a leader writes through: before its first transaction,
    /// and from that on.
    fn of_leader(&self) -> (Vec<Said>, Vec<Said>) {
        let connections = self.connections.lock().expect("the connections");
        let said = connections.iter().map(|connection| connection.said.lock().expect("its words").clone());
        let of_leaders: Vec<_> = said
            .filter_map(|mut said| {
                let first = said.iter().position(|said| matches!(said, Said::Together(_)))?;
                let from_then_on = said.split_off(first);
                Some((said, from_then_on))
            })
            .collect();
        let [of_leader] = &of_leaders[..] else {
            panic!("one connection is written through: {of_leaders:?}")
        };
        of_leader.clone()
    }
}

impl Connection {
    fn hear(&self, message: &[u8], open: &mut Option<Vec<String>>) {
        let texts = message.get(5..).unwrap_or_default().split(|&byte| byte == 0);
        let mut texts = texts.map(|text| String::from_utf8_lossy(text).into_owned());
        let statement = match message.first() {
            Some(b'Q') => texts.next(),
            // After the name.
            Some(b'P') => texts.nth(1),
            _ => None,
        };
        let Some(statement) = statement else { return };
        let mut said = self.said.lock().expect("its words");
        match open {
            None if statement.starts_with(BEGIN) => {
                *self.keeps_back.lock().expect("the gate") = true;
                *open = Some(Vec::new());
            }
            None => said.push(Said::Alone(statement)),
            Some(_) if statement == COMMIT => {
                said.push(Said::Together(open.take().unwrap_or_default()));
                self.let_go();
            }
            Some(statements) => statements.push(statement),
        }
    }

    fn let_go(&self) {
        *self.keeps_back.lock().expect("the gate") = false;
        self.lets_go.notify_all();
    }
}

fn relay(connection: &Arc<Connection>, client: TcpStream, server: UnixStream) {
    let (mut to_server, mut from_server) = (server.try_clone().expect("a socket"), server);
    let (mut to_client, mut from_client) = (client.try_clone().expect("a socket"), client);
    let hears = Arc::clone(connection);
    std::thread::spawn(move || {
        let mut messages = Messages::default();
        let (mut bytes, mut open) = ([0; 65536], None);
        while let Ok(read @ 1..) = from_client.read(&mut bytes) {
            let passed = messages.take(&bytes[..read], |message| {
                hears.hear(message, &mut open);
                to_server.write_all(message)
            });
            if passed.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown(Shutdown::Both);
        hears.let_go();
    });
    // The server is always listened to: it would do nothing more if it could not say what it has
    // to.
    let (answers, answered) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 65536];
        while let Ok(read @ 1..) = from_server.read(&mut bytes) {
            let _ = answers.send(bytes[..read].to_vec());
        }
    });
    let connection = Arc::clone(connection);
    std::thread::spawn(move || {
        for answer in answered {
            let kept_back = connection.keeps_back.lock().expect("the gate");
            drop(connection.lets_go.wait_while(kept_back, |kept_back| *kept_back).expect("the gate"));
            if to_client.write_all(&answer).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

/// A leader's journal, by way of a relay.
async fn journal(url: &str, directory: &Path) -> (Opened, ShardHandle, Membership) {
    let profile =
        Profile { name: "test".to_owned(), version: "0".to_owned(), schedule: "1".to_owned(), entries: 1 };
    let (address, directory) = (url.parse().expect("an address"), directory.to_owned());
    let joining = tokio::task::spawn_blocking(move || {
        Membership::join(address, &directory, profile, stackcron::journal::WhenReplaced::Refuse)
    });
    let membership = joining.await.expect("a thread").expect("a member");
    let mut shard_handle = membership.shard_handle(Shard::Common).expect("a shard_handle");
    let term = loop {
        if let LeadershipChange::Leads(term) = shard_handle.next_event().await {
            break term;
        }
    };
    (shard_handle.open(term).await.expect("a journal"), shard_handle, membership)
}

fn claims(at: Timestamp, many: usize) -> Vec<Claim> {
    let claim = |of| Claim {
        key: Key::new(EntryName::new(&format!("e{of}")).expect("a name"), at),
        account: AccountName::new("main").expect("a name"),
        stack: StackUid::new("s1").expect("a uid"),
        job: JobUid::new("j1").expect("a uid"),
        due_at: at,
        deadline: at + HOUR,
        origin: Origin::Schedule,
        repetition: stackcron::journal::Repetition::default(),
    };
    (0..many).map(claim).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_claims_and_moves_and_quotas_go_in_one_round_trip() {
    let Some(server) = Server::shared() else { return };
    let (relay, directory) = (Relay::before(server), tempfile::tempdir().expect("a directory"));
    let (opened, _seat, _membership) = journal(&relay.url(&server.database()), directory.path()).await;
    let journal = &opened.journal;
    let account = AccountName::new("main").expect("a name");
    let mut statements = Vec::new();
    for (many, second) in [(1, 10), (5000, 20), (1, 30)] {
        let before = claims(Timestamp::from_second(second).expect("an instant"), many);
        let next = claims(Timestamp::from_second(second + 1).expect("an instant"), many);
        let cursor = |of: &[Claim]| of[0].key.scheduled_at() + Duration::from_millis(1);
        journal.claim(cursor(&before), before.clone()).await.expect("claimed without an answer in between");
        let so_far = relay.of_leader().1.len();
        journal.save_quota(account.clone(), quota::SavedQuota { limit: 100, ..quota::SavedQuota::default() });
        // As one request, and the claims as the next: they are written together, or one after the
        // other.
        let moved = before.iter().map(|claim| {
            let sent_at = claim.key.scheduled_at();
            (claim.key.clone(), Transition::Sending { attempts: 1, sent_at })
        });
        let (moved, claimed) =
            tokio::join!(journal.commit(moved.collect()), journal.claim(cursor(&next), next.clone()));
        assert_eq!(moved.expect("written"), []);
        assert_eq!(claimed.expect("claimed without an answer in between").known, []);
        let said = relay.of_leader().1.split_off(so_far);
        let together = said.iter().map(|said| match said {
            Said::Together(statements) => statements.len(),
            Said::Alone(statement) => panic!("beside what is written together: {statement}"),
        });
        statements.push(together.sum::<usize>());
        assert!(said.len() <= 2, "one round trip for what came at once: {said:?}");
    }
    // Moves, the quota, the claims, and what is given back of them.
    assert_eq!(statements, [4, 4, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_at_work_writes_all_that_it_writes_in_one_round_trip_each_time() {
    let Some(scene) = Scene::new().await else { return };
    let relay = Relay::before(scene.server);
    let place = scene.machine_at(&relay.url(&scene.database));
    let mut daemon = place.start();
    for _ in 0..5 {
        daemon.fires();
    }
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    assert!(daemon.events("journal.failed").is_empty(), "{:?}", daemon.events("journal.failed"));
    nothing_is_lost(&scene.nothing_twice(&place));
    let (before, said) = relay.of_leader();
    assert_eq!(
        before.len(),
        3,
        "its settings, the schema's version and its own name are asked before: {before:?}"
    );
    let begins = |said: &Said| matches!(said, Said::Together(all) if all.iter().any(|sql| sql.contains("FROM stackcron.quota")));
    assert!(begins(&said[0]), "what the leader before left is read at once: {said:?}");
    let claiming = said.iter().filter(|said| match said {
        Said::Together(statements) => statements.iter().any(|sql| sql.contains("INSERT INTO stackcron.open")),
        Said::Alone(statement) => panic!("beside what is written together: {statement}"),
    });
    assert!(claiming.count() > 1, "sweeps' claims are of it");
}
