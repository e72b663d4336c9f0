//! The programs that networks of a test's own connect: the API, the daemon, and a NAT between them.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;

use super::namespace::Namespace;
use crate::common::postgres::Server;
use crate::common::{Daemon, Place, schedule, until};
use crate::fronts::front::{self, free_port, terminate};

/// The name by which the daemon knows the API.
pub const API: &str = "api.test";

/// A program that ends with this value.
pub struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Running {
        Running(command.spawn().expect("the program starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        terminate(&mut self.0);
    }
}

/// A look-alike of the API in a namespace.
pub fn sandbox(namespace: &Namespace, address: &str) -> Running {
    let mut command = namespace.program(env!("CARGO_BIN_EXE_stackcron"));
    command.args(["sandbox", "--quiet", "--listen", address, "--action-duration", "1s"]);
    let sandbox = Running::start(command);
    listens(namespace, address);
    sandbox
}

fn listens(namespace: &Namespace, address: &str) {
    let (host, port) = address.split_once(':').expect("an address");
    let hex = host.split('.').rev().map(|part| format!("{:02X}", part.parse::<u8>().expect("a number")));
    let socket = format!("{}:{:04X}", hex.collect::<String>(), port.parse::<u16>().expect("a port"));
    until("listening", || {
        let sockets = namespace.sh("cat /proc/net/tcp");
        if sockets.contains(&format!(" {socket} 00000000:0000 0A")) { Ok(()) } else { Err(sockets) }
    });
}

/// Starts the daemon of a place in a namespace, in which names have these addresses.
pub fn start(place: &Place, namespace: &Namespace, names: &[(&str, &str)]) -> Daemon {
    let hosts = place.directory.path().join("hosts");
    let lines = names.iter().map(|(address, name)| format!("{address} {name}\n"));
    std::fs::write(&hosts, lines.collect::<String>()).expect("the names");
    let command = place.command(&["run", "--log-format", "json"]);
    Daemon::start(namespace.with_names(&command, &hosts), Arc::clone(&place.directory))
}

/// After this time without a packet the NAT forgets a connection, in seconds.
pub const FORGETS: i64 = 30;

/// A client and a server, and a NAT between them.
pub struct Nat {
    pub client: Namespace,
    pub server: Namespace,
    _router: Namespace,
}

pub const SERVER: &str = "10.9.2.2";

impl Nat {
    pub fn new() -> Option<Nat> {
        let (client, router, server) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        router.sh(&format!(
            "ip link add near type veth peer name wire netns {}; ip link add far type veth peer name wire netns {}
             ip address add 10.9.1.1/24 dev near; ip address add 10.9.2.1/24 dev far; ip link set near up; ip link set far up
             nft add table ip nat
             nft add chain ip nat out '{{ type nat hook postrouting priority 100; }}'
             nft add rule ip nat out oifname far masquerade
             nft add table ip filter
             nft add chain ip filter pass '{{ type filter hook forward priority 0; }}'
             nft add rule ip filter pass ct state invalid drop
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose
             echo {FORGETS} > /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established",
            client.id(),
            server.id(),
        ));
        for (machine, address, gate) in [(&client, "10.9.1.2", "10.9.1.1"), (&server, SERVER, "10.9.2.1")] {
            machine.sh(&format!(
                "ip address add {address}/24 dev wire; ip link set wire up; ip route add default via {gate}"
            ));
        }
        Some(Nat { client, server, _router: router })
    }
}

/// The API and the database on the far side of a NAT, the API by TLS.
pub struct Behind {
    pub tls: u16,
    certificate: PathBuf,
    journal: String,
    _files: tempfile::TempDir,
    _api: Running,
    _haproxy: Running,
}

impl Behind {
    pub fn start(nat: &Nat, server: &Server) -> Behind {
        let files = tempfile::tempdir().expect("a directory");
        let (backend, tls, database) = (free_port(), free_port(), free_port());
        let api = sandbox(&nat.server, &format!("127.0.0.1:{backend}"));
        let certificate = front::certify(files.path(), &[API]);
        let settings = format!(
            "defaults\n timeout connect 5s\n timeout client 10m\n timeout server 10m\n\
         frontend api\n mode http\n bind {SERVER}:{tls} ssl crt {}\n default_backend api\n\
         backend api\n mode http\n server s 127.0.0.1:{backend}\n\
         listen database\n mode tcp\n bind {SERVER}:{database}\n server s unix@{}\n",
            certificate.combined.display(),
            server.socket().display(),
        );
        std::fs::write(files.path().join("haproxy.conf"), settings).expect("the settings");
        let mut haproxy = nat.server.program("/usr/sbin/haproxy");
        haproxy.arg("-f").arg(files.path().join("haproxy.conf"));
        let haproxy = Running::start(haproxy);
        listens(&nat.server, &format!("{SERVER}:{database}"));
        Behind {
            tls,
            certificate: certificate.public,
            journal: format!(
                "postgres://stackcron@{SERVER}:{database}/{}?sslmode=disable",
                server.database()
            ),
            _files: files,
            _api: api,
            _haproxy: haproxy,
        }
    }

    /// A place of a daemon that fires these entries at the API, with its journal in the database.
    pub fn place(&self, jobs: &str) -> Place {
        Place::with(&schedule(&format!("https://{API}:{}/api/3", self.tls), "", jobs))
            .env("SSL_CERT_FILE", &self.certificate.display().to_string())
            .env("STACKCRON_JOURNAL", &self.journal)
    }
}
