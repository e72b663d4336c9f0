//! What a decision costs while much waits, and what the daemon adds to a request.
//!
//! First the dispatch and the quota alone: each decision plans one occurrence, sends one and takes
//! one answer in, while 1,000, 10,000 and 100,000 wait. Then requests a second at a limit that does
//! not bind: the daemon beside a bare reqwest loop, each a process of its own that sends the same
//! requests. Run with `cargo bench --bench dispatch`.

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use stackcron::clock::Now;
use stackcron::cloud66::{Action, Outcome, Reply};
use stackcron::dispatch::{Dispatch, Effect, RequestId};
use stackcron::quota::{Purpose, Quota, QuotaAnswer};
use stackcron::schedule::{QuotaSettings, Reserve, Schedule};
use stackcron::timetable::Occurrence;

/// More than any run sends.
const LIMIT: u32 = 4_000_000;

/// Decisions that are measured at each size.
const DECISIONS: usize = 20_000;

/// Requests that each contender sends in a run, all due at one instant.
const REQUESTS: usize = 10_000;

/// Requests in flight at once, as many as the daemon has.
const IN_FLIGHT: usize = 256;

/// The best of so many runs counts: anything else that the machine does only slows a run down.
const RUNS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("bare") => bare(&arguments[1..]),
        _ => {
            decisions();
            overhead();
        }
    }
}

fn decisions() {
    println!(
        "decisions a second, each one planned, one sent and one answered, by the number of occurrences that wait"
    );
    println!("{:>24} {:>12} {:>12} {:>10}", "waiting", "a second", "us each", "ratio");
    let quota_alone = best(quota_decisions);
    row("the quota alone", quota_alone, quota_alone);
    let sizes = [1_000, 10_000, 100_000];
    let spans = sizes.map(|waiting| best(|| dispatch_decisions(waiting)));
    for (waiting, span) in sizes.into_iter().zip(spans) {
        row(&waiting.to_string(), span, spans[0]);
    }
    println!();
}

fn best(run: impl Fn() -> Duration) -> Duration {
    (0..RUNS).map(|_| run()).min().unwrap_or_default()
}

fn row(what: &str, span: Duration, first: Duration) {
    let each = span.as_secs_f64() / DECISIONS as f64;
    println!(
        "{what:>24} {:>12.0} {:>12.2} {:>10.2}",
        1.0 / each,
        each * 1e6,
        span.as_secs_f64() / first.as_secs_f64()
    );
}

fn at(second: i64) -> Now {
    Now {
        wall: Timestamp::from_second(1_790_000_000 + second).expect("a timestamp"),
        mono: Duration::from_secs(100_000 + second.unsigned_abs()),
    }
}

fn quota_decisions() -> Duration {
    let settings =
        QuotaSettings { limit: LIMIT, window: Duration::from_secs(3600), reserve: Reserve::Requests(0) };
    let mut quota = Quota::new(settings, at(0));
    let begun = Instant::now();
    for sent in 0..DECISIONS {
        let ticket = quota.admit(Purpose::Fire, at(1)).expect("the limit does not bind");
        quota.answered(ticket, told(sent), at(1));
    }
    begun.elapsed()
}

fn told(sent: usize) -> QuotaAnswer {
    QuotaAnswer { limit: Some(LIMIT), remaining: Some(LIMIT - 1 - sent as u32), ..QuotaAnswer::default() }
}

/// Takes an answer in, plans one more, and sends the first of so many that wait.
fn dispatch_decisions(waiting: usize) -> Duration {
    let entries = waiting + IN_FLIGHT;
    let schedule = schedule("http://127.0.0.1:9", entries, "0 0 1 1 *", "follow: false, catch_up: all");
    let mut dispatch = Dispatch::new(&schedule.accounts, 1, at(0));
    let occurrence = |number: usize| Occurrence {
        entry: Arc::clone(&schedule.entries[number % entries]),
        scheduled_at: at(1).wall + SignedDuration::from_micros((number / entries) as i64),
        pass: 0,
    };
    dispatch.plan((0..entries).map(occurrence), at(0));
    let action = Action::from_json(json!({ "id": 1, "finished_at": null })).expect("an action");
    let mut sent: VecDeque<RequestId> = sends(dispatch.advance(at(2))).collect();
    let mut answered = 0;
    let mut decide = || {
        let id = sent.pop_front().expect("one is in flight");
        let outcome = Outcome::Started(Box::new(action.clone()));
        let reply = Reply { quota: Some(told(answered)), warning: None, left: None, outcome };
        dispatch.fired(id, at(2).wall, reply, at(2));
        dispatch.plan([occurrence(entries + answered)], at(2));
        answered += 1;
        sent.extend(sends(dispatch.advance(at(2))));
        sent.len()
    };
    // The first goes alone; after its answer as many are in flight as may be.
    assert_eq!(decide(), IN_FLIGHT, "so many are in flight");
    let begun = Instant::now();
    for _ in 0..DECISIONS {
        decide();
    }
    begun.elapsed()
}

fn sends(effects: Vec<Effect>) -> impl Iterator<Item = RequestId> {
    effects.into_iter().filter_map(|effect| match effect {
        Effect::Send(id, _) | Effect::SendAfter(_, id, _) => Some(id),
        Effect::Record(..)
        | Effect::End(_)
        | Effect::Amend(_)
        | Effect::Resent(_)
        | Effect::Recall(..)
        | Effect::Warm(..)
        | Effect::PauseEnds(_)
        | Effect::Log(_) => None,
    })
}

fn text(url: &str, entries: usize, cron: &str, defaults: &str) -> String {
    let mut text = format!(
        "accounts: {{ main: {{ url: '{url}/api/3', token: {{ env: BENCH_TOKEN }}, quota: {{ limit: {LIMIT}, reserve: 0 }} }} }}\n\
         defaults: {{ {defaults} }}\njobs:\n"
    );
    for number in 0..entries {
        text += &format!("  e{number}: {{ stack: s, job: j{number}, cron: '{cron}' }}\n");
    }
    text
}

fn schedule(url: &str, entries: usize, cron: &str, defaults: &str) -> Schedule {
    let file = file(&text(url, entries, cron, defaults));
    stackcron::schedule::load(file.path()).expect("a good schedule").schedule
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("the schedule");
    file
}

/// The server: notes when each request arrives.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<Vec<Timestamp>>>);

/// How long the server takes for an answer, and how many tasks the bare loop has: no time, where
/// only the machine bounds the rate and more tasks would slow the loop down, and about what an API
/// on the same continent takes, where the daemon has as many requests in flight.
const LATENCIES: [(Duration, usize); 2] = [(Duration::ZERO, 64), (Duration::from_millis(50), IN_FLIGHT)];

async fn serve(arrivals: Arrivals, latency: Duration) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let left = Arc::new(AtomicU64::new(u64::from(LIMIT)));
    let router = axum::Router::new().fallback(move || {
        let (arrivals, left) = (arrivals.clone(), Arc::clone(&left));
        async move {
            arrivals.0.lock().expect("a lock").push(Timestamp::now());
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            let left = left.fetch_sub(1, Ordering::Relaxed) - 1;
            let headers =
                [("x-ratelimit-limit", LIMIT.to_string()), ("x-ratelimit-remaining", left.to_string())];
            (headers, r#"{"response":{"id":1,"finished_at":null,"finished_success":null}}"#)
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn overhead() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    println!("requests a second at a limit that does not bind, {REQUESTS} requests, the best of {RUNS} runs");
    println!(
        "{:>24} {:>12} {:>14} {:>10}",
        "the server answers after", "a bare loop", "stackcron run", "ratio"
    );
    for (latency, tasks) in LATENCIES {
        let arrivals = Arrivals::default();
        let address = runtime.block_on(serve(arrivals.clone(), latency));
        let mut rates = [0.0f64; 2];
        for _ in 0..RUNS {
            rates[0] = rates[0].max(rate(&arrivals, |due| start_bare(address, due, tasks)));
            rates[1] = rates[1].max(rate(&arrivals, |due| start_daemon(address, due)));
        }
        let [bare, daemon] = rates;
        let answers = format!("{} ms", latency.as_millis());
        println!("{answers:>24} {bare:>12.0} {daemon:>14.0} {:>10.2}", daemon / bare);
    }
}

/// From the first arrival at the due instant to the last. What the daemon has sent before is left
/// out.
fn rate(arrivals: &Arrivals, start: impl Fn(Timestamp) -> Child) -> f64 {
    let due = Timestamp::from_second(Timestamp::now().as_second() + 8).expect("a timestamp");
    let mut child = start(due);
    let end = due + SignedDuration::from_secs(30);
    let seen = || arrivals.0.lock().expect("a lock").iter().filter(|at| **at >= due).count();
    while seen() < REQUESTS && Timestamp::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    );
    let _ = child.wait();
    let mut arrived = std::mem::take(&mut *arrivals.0.lock().expect("a lock"));
    arrived.retain(|at| *at >= due);
    assert_eq!(arrived.len(), REQUESTS, "all arrive, once");
    let span =
        arrived.iter().max().zip(arrived.iter().min()).map(|(last, first)| last.duration_since(*first));
    REQUESTS as f64 / span.expect("some arrived").as_secs_f64()
}

fn start_daemon(address: SocketAddr, due: Timestamp) -> Child {
    let cron = due.strftime("%-S %-M %-H %-d %-m *").to_string();
    let mut text = text(&format!("http://{address}"), REQUESTS, &cron, "follow: false");
    // As in a daemon that has run for a while, the quota is known: else the first request goes
    // alone.
    let before = (due - SignedDuration::from_secs(2)).strftime("%-S %-M %-H %-d %-m *");
    text += &format!("  before: {{ stack: s, job: before, cron: '{before}' }}\n");
    let (_, path) = file(&text).keep().expect("the file");
    let state = tempfile::tempdir().expect("a directory").keep();
    let mut command = Command::new(env!("CARGO_BIN_EXE_stackcron"));
    command.args(["run", "--log-format", "json", "--config"]).arg(path).arg("--state-dir").arg(state);
    command.env("BENCH_TOKEN", "token").stdout(Stdio::null()).spawn().expect("stackcron starts")
}

fn start_bare(address: SocketAddr, due: Timestamp, tasks: usize) -> Child {
    let arguments = ["bare".to_owned(), address.to_string(), due.to_string(), tasks.to_string()];
    Command::new(std::env::current_exe().expect("this program")).args(arguments).spawn().expect("it starts")
}

/// No scheduler: at the instant, tasks that each send the next request until none is left.
fn bare(arguments: &[String]) {
    let [address, due, tasks] = arguments else { panic!("arguments") };
    let due: Timestamp = due.parse().expect("an instant");
    let tasks: usize = tasks.parse().expect("a number of tasks");
    let address: Arc<str> = address.as_str().into();
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let next = Arc::new(AtomicUsize::new(0));
        tokio::time::sleep(Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default())
            .await;
        for _ in 0..tasks {
            let (client, next, address) = (client.clone(), Arc::clone(&next), Arc::clone(&address));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= REQUESTS {
                        return;
                    }
                    let url = format!("http://{address}/api/3/stacks/s/jobs/j{number}/run_now");
                    let answer = client.post(url).bearer_auth("token").send().await;
                    let _ = answer.expect("an answer").bytes().await;
                }
            });
        }
        std::future::pending::<()>().await
    });
}
