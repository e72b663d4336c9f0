//! A reload of 100,000 entries: how long it takes, and how late what is due meanwhile arrives, beside the same daemon
//! with no reload.
//!
//! A few hundred entries are due every second, each at a millisecond of its own by its jitter; the others are daily. The
//! file is written anew every few seconds with some entries changed, and SIGHUP follows. Lateness is from the due
//! instant to the request's arrival at the server in this process. Run with `cargo bench --bench reload`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};

const ENTRIES: usize = 100_000;

/// Of them, those that are due every second.
const BUSY: usize = 300;

const RELOADS: usize = 10;

/// Between two reloads, and without any before the first.
const PAUSE: Duration = Duration::from_secs(3);

const QUIET: Duration = Duration::from_secs(20);

/// Requests in the first seconds after the start are not counted: connections are opened then.
const WARM_UP: Duration = Duration::from_secs(8);

type Arrivals = Arc<Mutex<Vec<(String, Timestamp)>>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let arrivals = Arrivals::default();
    let url = runtime.block_on(serve(Arc::clone(&arrivals)));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("schedule.yaml");
    std::fs::write(&file, text(&url, 0)).expect("the schedule");
    let delays = delays(&url);

    let (mut daemon, lines) = start(&file, directory.path());
    wait_for(&lines, "daemon.started");
    std::thread::sleep(WARM_UP);
    let quiet = (Timestamp::now(), SignedDuration::try_from(QUIET).expect("a span"));
    std::thread::sleep(QUIET);
    let mut reloads = Vec::new();
    for number in 1..=RELOADS {
        std::thread::sleep(PAUSE);
        std::fs::write(&file, text(&url, number)).expect("the schedule");
        let (begun, at) = (Instant::now(), Timestamp::now());
        kill_process(Pid::from_child(&daemon), Signal::HUP).expect("the daemon lives");
        wait_for(&lines, "schedule.reloaded");
        let took = begun.elapsed();
        reloads.push((at, SignedDuration::try_from(took).expect("a span")));
    }
    std::thread::sleep(PAUSE);
    kill_process(Pid::from_child(&daemon), Signal::TERM).expect("the daemon lives");
    daemon.wait().expect("it ends");

    let lateness: Vec<(Timestamp, f64)> = arrivals
        .lock()
        .expect("a lock")
        .iter()
        .filter_map(|(job, at)| Some((*at, lateness(*at, *delays.get(job)?))))
        .collect();
    // What is due just before the end of a reload arrives just after it.
    let slack = SignedDuration::from_millis(50);
    let within = |windows: &[(Timestamp, SignedDuration)]| {
        let mut found: Vec<f64> = lateness
            .iter()
            .filter(|(at, _)| windows.iter().any(|(from, span)| from <= at && *at <= *from + *span + slack))
            .map(|(_, late)| *late)
            .collect();
        found.sort_by(f64::total_cmp);
        found
    };
    println!("{ENTRIES} entries, {BUSY} due every second; lateness in milliseconds");
    println!("{:>16} {:>8} {:>8} {:>8} {:>8}", "", "requests", "p50", "p99", "max");
    row("no reload", &within(&[quiet]));
    row("during reloads", &within(&reloads));
    let mut spans: Vec<i128> = reloads.iter().map(|(_, span)| span.as_millis()).collect();
    spans.sort_unstable();
    println!(
        "a reload, from SIGHUP to its log line, in ms: median {}, longest {}",
        spans[RELOADS / 2],
        spans[RELOADS - 1]
    );
}

fn row(what: &str, sorted: &[f64]) {
    let at = |share: f64| sorted.get(((sorted.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0.0);
    println!("{what:>16} {:>8} {:>8.2} {:>8.2} {:>8.2}", sorted.len(), at(0.5), at(0.99), at(1.0));
}

/// From the last due instant of an entry with this delay, in milliseconds.
fn lateness(at: Timestamp, delay: Duration) -> f64 {
    let since = at.as_nanosecond() - delay.as_nanos() as i128;
    since.rem_euclid(1_000_000_000) as f64 / 1e6
}

/// The file in one of its versions: in each, other entries are changed.
fn text(url: &str, version: usize) -> String {
    let mut text = format!(
        "accounts: {{ main: {{ url: '{url}', token: {{ env: TOKEN }}, quota: {{ limit: 4000000, reserve: 0 }} }} }}\n\
         defaults: {{ follow: false }}\njobs:\n"
    );
    for number in 0..BUSY {
        text +=
            &format!("  busy{number}: {{ stack: s, job: busy{number}, cron: '* * * * * *', jitter: 1s }}\n");
    }
    for number in BUSY..ENTRIES {
        let (minute, hour) = (number % 60, (number + usize::from(number % 1000 == version)) % 24);
        text += &format!(
            "  job-{number}:\n    stack: 5999b763474b0eafa5fafb64bff0ba80\n    job: 98ee5a9b93919d9b63bd{number:012}\n    \
             cron: \"{minute} {hour} 1 * *\"\n"
        );
    }
    text
}

/// The delay of each entry that is due every second, by its job.
fn delays(url: &str) -> HashMap<String, Duration> {
    let loaded = stackcron::schedule::parse("schedule.yaml", &text(url, 0)).expect("a valid file");
    let busy = loaded.schedule.entries.iter().take(BUSY);
    busy.map(|entry| (entry.job.to_string(), entry.delay())).collect()
}

async fn serve(arrivals: Arrivals) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let arrivals = Arc::clone(&arrivals);
        async move {
            let at = Timestamp::now();
            let job = request.uri().path().split('/').rev().nth(1).unwrap_or_default().to_owned();
            arrivals.lock().expect("a lock").push((job, at));
            let headers = [("x-ratelimit-limit", "4000000"), ("x-ratelimit-remaining", "3999999")];
            (headers, r#"{"response":{"id":1,"finished_at":null,"finished_success":null}}"#)
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/api/3")
}

fn start(file: &Path, state: &Path) -> (Child, Receiver<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stackcron"));
    command.args(["run", "--log-format", "json", "--config"]).arg(file).arg("--state-dir").arg(state);
    let mut child = command.env("TOKEN", "token").stdout(Stdio::piped()).spawn().expect("stackcron starts");
    let stdout = child.stdout.take().expect("its stdout");
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.contains("\"schedule.") || line.contains("\"daemon.") {
                let _ = sender.send(line);
            }
        }
    });
    (child, lines)
}

fn wait_for(lines: &Receiver<String>, event: &str) {
    let wanted = format!("\"{event}\"");
    while !lines.recv_timeout(Duration::from_secs(60)).expect("the daemon speaks").contains(&wanted) {}
}
