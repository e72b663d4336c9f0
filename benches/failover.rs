//! How long nothing is sent when the leader of two members is killed, paused or cut off from the database: from that moment
//! until the other one leads, and until its first request is at the server. Median and worst.
//!
//! `cargo bench --bench failover -- 50` does each 50 times, in a quarter of an hour; `-- 50 cut` one of them.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Duration;

use common::postgres::{Proxy, Server};
use common::{Daemon, Place, sandbox};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;
use stackcron::sandbox::{Endpoint, Sandbox};

/// By default each is done so often.
const ROUNDS: usize = 5;

/// What happens to the leader.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Kill,
    Pause,
    Cut,
}

/// A member with a way of its own to the database.
struct Machine {
    place: Place,
    proxy: Proxy,
    daemon: Daemon,
}

impl Machine {
    fn new(server: &Server, database: &str, sandbox: &Sandbox) -> Machine {
        let proxy = Proxy::before(server);
        // Each second another one is due, and the same again after twenty minutes: what is in doubt from an earlier round
        // holds nothing up.
        let entry = |of: u32| {
            let (minute, second) = (of / 60, of % 60);
            format!("  e{of}: {{ stack: s1, job: j1, cron: '{second} {minute}-59/20 * * * *' }}\n")
        };
        let jobs: String = (0..20 * 60).map(entry).collect();
        let place =
            Place::firing_at(sandbox, "timeout: 5s", &jobs).env("STACKCRON_JOURNAL", &proxy.url(database));
        let daemon = place.start();
        Machine { place, proxy, daemon }
    }
}

fn at(line: &Value) -> Timestamp {
    line["timestamp"].as_str().and_then(|at| at.parse().ok()).expect("a timestamp")
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let Some(server) = Server::start() else {
        return;
    };
    let database = server.database();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let sandbox = runtime.block_on(sandbox(&[]));
    println!("{:<8} {:>6} {:>22} {:>22}", "", "rounds", "leads: median, worst", "sends: median, worst");
    let named: Vec<String> = std::env::args().skip(1).map(|word| word.to_lowercase()).collect();
    let wanted = |blow: &Blow| named.contains(&format!("{blow:?}").to_lowercase());
    let all = [Blow::Kill, Blow::Pause, Blow::Cut];
    let some = all.iter().any(wanted);
    for blow in all.into_iter().filter(|blow| wanted(blow) || !some) {
        let mut leader = Machine::new(&server, &database, &sandbox);
        leader.daemon.event("lease.acquired");
        let (mut leads, mut sends) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let mut standby = Machine::new(&server, &database, &sandbox);
            standby.daemon.event("lease.standby");
            leader.daemon.wait_for("action.started", |line| line["lateness_ms"] == 0 || round > 0);
            // At another moment of the second each time.
            std::thread::sleep(Duration::from_millis(fastrand::u64(1000..2000)));
            let struck = Timestamp::now();
            match blow {
                Blow::Kill => leader.daemon.signal(Signal::KILL),
                Blow::Pause => leader.daemon.signal(Signal::STOP),
                Blow::Cut => leader.proxy.cut(true),
            }
            leads.push(at(&standby.daemon.event("lease.acquired")).duration_since(struck));
            standby.daemon.event("action.started");
            let acquired = at(&standby.daemon.event("lease.acquired"));
            let ledger = sandbox.ledger();
            let first = ledger.of(Endpoint::RunNow).map(|record| record.at).find(|&at| at >= acquired);
            sends.push(first.expect("it sends").duration_since(struck));
            leader = standby;
        }
        assert!(
            leader.daemon.stop().success(),
            "{}: {}",
            leader.place.config().display(),
            leader.daemon.stderr()
        );
        let [leads, sends] = [leads, sends].map(figures);
        println!("{:<8} {rounds:>6} {leads:>22} {sends:>22}", format!("{blow:?}"));
    }
}

fn figures(mut spans: Vec<SignedDuration>) -> String {
    spans.sort_unstable();
    let shown = |span: Option<&SignedDuration>| span.map_or(0, |span| span.as_millis());
    format!("{} ms, {} ms", shown(spans.get(spans.len() / 2)), shown(spans.last()))
}
