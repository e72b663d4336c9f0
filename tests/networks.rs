//! Networks that lose packets in silence: an address behind which nobody answers, and a NAT that
//! forgets connections.

mod machines;
mod namespace;

use jiff::Timestamp;
use serde_json::Value;

use crate::common::postgres::Server;
use crate::common::{Place, instant, schedule};
use machines::{API, Behind, FORGETS, Nat, SERVER, sandbox, start};
use namespace::Namespace;

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
    daemon.wait_for("action.started", |line| instant(&line["scheduled_at"]) > until);
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

#[test]
fn fires_after_half_a_minute_behind_a_nat_that_forgets_are_neither_late_nor_in_doubt() {
    let (Some(nat), Some(server)) = (Nat::new(), Server::shared()) else { return };
    let behind = Behind::start(&nat, server);
    // Once in the first seconds, and again when the NAT has forgotten all that is idle.
    let first = Timestamp::now().as_second() + 5;
    let second = first + FORGETS + 2;
    let cron = format!("{},{} * * * * *", first.rem_euclid(60), second.rem_euclid(60));
    let jobs: String = (0..5)
        .map(|n| format!("  e{n}: {{ stack: s, job: j{n}, cron: '{cron}', overlap: allow }}\n"))
        .collect();
    let place = behind.place(&jobs);
    // A connection without a keep-alive.
    let idle = format!(
        "exec 3<>/dev/tcp/{SERVER}/{}; sleep {}; echo hello >&3; timeout 2 head -c1 <&3; echo $?",
        behind.tls,
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
            instant(&line["scheduled_at"]) == due && line["entry"] == entry
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
        .filter(|line| instant(&line["scheduled_at"]) == due)
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
