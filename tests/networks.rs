//! Networks that lose packets in silence: an address behind which nobody answers, and a NAT that
//! forgets connections.

mod namespace;

use std::process::{Child, Command};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::common::postgres::Server;
use crate::common::{Daemon, Place, schedule, until};
use crate::fronts::front::{self, free_port, terminate};
use namespace::Namespace;

/// What the daemon knows the API as.
const API: &str = "api.test";

/// A program that ends with this value.
struct Running(Child);

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
fn sandbox(namespace: &Namespace, address: &str) -> Running {
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
fn start(place: &Place, namespace: &Namespace, names: &[(&str, &str)]) -> Daemon {
    let hosts = place.directory.path().join("hosts");
    let lines = names.iter().map(|(address, name)| format!("{address} {name}\n"));
    std::fs::write(&hosts, lines.collect::<String>()).expect("the names");
    let command = place.command(&["run", "--log-format", "json"]);
    Daemon::start(namespace.with_names(&command, &hosts), Arc::clone(&place.directory))
}

#[test]
fn a_dead_first_address_of_the_api_holds_up_no_connection() {
    let Some(machine) = Namespace::new() else { return };
    machine.sh("ip address add 10.9.0.1/32 dev lo; ip address add 10.9.0.2/32 dev lo
         nft add table inet dead
         nft add chain inet dead input '{ type filter hook input priority 0; }'
         nft add rule inet dead input ip daddr 10.9.0.1 drop");
    let _api = sandbox(&machine, "10.9.0.2:8066");
    let jobs: String = (0..5)
        .map(|n| {
            format!("  e{n}: {{ stack: s, job: j{n}, cron: '* * * * * *', overlap: allow, catch_up: all }}\n")
        })
        .collect();
    let place =
        Place::with(&schedule(&format!("http://{API}:8066/api/3"), "quota: { limit: 100000 }", &jobs));
    let mut daemon = start(&place, &machine, &[("10.9.0.1", API), ("10.9.0.2", API)]);
    daemon.wait_for("action.finished", |_| true);
    let until = Timestamp::now() + std::time::Duration::from_secs(6);
    daemon.wait_for("action.started", |line| instant(line, "scheduled_at") > until);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let started = daemon.events("action.started");
    let connects: Vec<_> =
        started.iter().map(|line| line["connect_ms"].as_u64().expect("a number")).collect();
    println!("{} started; connecting took {connects:?} ms", connects.len());
    for line in started {
        assert_eq!(line["attempts"], 1, "{line}");
        // An attempt to connect that is given up takes seconds.
        assert!(line["connect_ms"].as_u64().is_some_and(|ms| ms < 2000), "{line}");
    }
    for event in ["occurrence.retrying", "occurrence.in_doubt", "occurrence.missed"] {
        assert_eq!(daemon.events(event), Vec::<&Value>::new());
    }
}

fn instant(line: &Value, field: &str) -> Timestamp {
    line[field].as_str().and_then(|at| at.parse().ok()).expect("an instant")
}

/// After this time without a packet the NAT forgets a connection, in seconds.
const FORGETS: i64 = 30;

/// A client and a server, and a NAT between them.
struct Nat {
    client: Namespace,
    server: Namespace,
    _router: Namespace,
}

const SERVER: &str = "10.9.2.2";

impl Nat {
    fn new() -> Option<Nat> {
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

#[test]
fn fires_after_half_a_minute_behind_a_nat_that_forgets_are_neither_late_nor_in_doubt() {
    let (Some(nat), Some(server)) = (Nat::new(), Server::shared()) else { return };
    let files = tempfile::tempdir().expect("a directory");
    let (backend, tls, database) = (free_port(), free_port(), free_port());
    let _api = sandbox(&nat.server, &format!("127.0.0.1:{backend}"));
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
    let _haproxy = Running::start(haproxy);
    listens(&nat.server, &format!("{SERVER}:{database}"));
    // Once in the first seconds, and again when the NAT has forgotten all that is idle.
    let first = Timestamp::now().as_second() + 5;
    let second = first + FORGETS + 2;
    let cron = format!("{},{} * * * * *", first.rem_euclid(60), second.rem_euclid(60));
    let jobs: String = (0..5)
        .map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '{cron}', overlap: allow }}\n"))
        .collect();
    let place = Place::with(&schedule(&format!("https://{API}:{tls}/api/3"), "", &jobs))
        .env("SSL_CERT_FILE", &certificate.public.display().to_string())
        .env(
            "STACKCRON_JOURNAL",
            &format!("postgres://stackcron@{SERVER}:{database}/{}?sslmode=disable", server.database()),
        );
    // A connection without a keep-alive.
    let idle = format!(
        "exec 3<>/dev/tcp/{SERVER}/{tls}; sleep {}; echo hello >&3; timeout 2 head -c1 <&3; echo $?",
        FORGETS + 3
    );
    let idle = nat
        .client
        .program("bash")
        .args(["-c", &idle])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("bash");
    let mut daemon = start(&place, &nat.client, &[(SERVER, API)]);
    let due = Timestamp::from_second(second).expect("an instant");
    for entry in 0..5 {
        let entry = format!("e{entry}");
        daemon.wait_for("action.finished", |line| {
            instant(line, "scheduled_at") == due && line["entry"] == entry
        });
    }
    assert!(daemon.stop().success(), "{}", daemon.stderr());
    let answered = idle.wait_with_output().expect("its end").stdout;
    assert_eq!(
        String::from_utf8_lossy(&answered).trim(),
        "124",
        "the NAT forgets what is idle: no end, and no answer"
    );
    let started: Vec<&Value> = daemon
        .events("action.started")
        .into_iter()
        .filter(|line| instant(line, "scheduled_at") == due)
        .collect();
    let late: Vec<_> = started.iter().map(|line| (&line["lateness_ms"], &line["connect_ms"])).collect();
    println!("late by, of which connecting took, in ms: {late:?}");
    assert_eq!(started.len(), 5);
    assert!(started.iter().all(|line| line["attempts"] == 1), "{started:?}");
    for event in
        ["occurrence.in_doubt", "occurrence.retrying", "journal.failed", "lease.unreachable", "lease.lost"]
    {
        assert_eq!(daemon.events(event), Vec::<&Value>::new());
    }
}
