//! How late run_now arrives at a server: this daemon, tokio-cron-scheduler by itself, and a bare loop.
//!
//! Each contender is a process of its own and gets the same schedule: N entries due at one instant, or one
//! entry every second. The server in this process notes when each request arrives. Run with
//! `cargo bench --bench lateness`; arguments are the sizes, `1 100 1000 10000` unless given.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use governor::clock::DefaultClock;
use jiff::{SignedDuration, Timestamp};
use tokio_cron_scheduler::{Job, JobScheduler};

/// Requests that a contender may have in flight at once.
const IN_FLIGHT: usize = 256;

/// More than any run sends.
const LIMIT: u32 = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("rival") => rival(&arguments[1..]),
        Some("bare") => bare(&arguments[1..]),
        _ => compare(&arguments),
    }
}

/// The server: notes when each request arrives.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<Vec<Timestamp>>>);

impl Arrivals {
    fn take(&self) -> Vec<Timestamp> {
        let mut arrivals = std::mem::take(&mut *self.0.lock().expect("a lock"));
        arrivals.sort_unstable();
        arrivals
    }

    fn len(&self) -> usize {
        self.0.lock().expect("a lock").len()
    }
}

async fn serve(arrivals: Arrivals) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let left = Arc::new(AtomicU64::new(u64::from(LIMIT)));
    let router = axum::Router::new().fallback(move || {
        let (arrivals, left) = (arrivals.clone(), Arc::clone(&left));
        async move {
            arrivals.0.lock().expect("a lock").push(Timestamp::now());
            let left = left.fetch_sub(1, Ordering::Relaxed) - 1;
            let headers =
                [("x-ratelimit-limit", LIMIT.to_string()), ("x-ratelimit-remaining", left.to_string())];
            (headers, r#"{"response":{"id":1,"finished_at":null,"finished_success":null}}"#)
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// When the entries of a run are due.
#[derive(Clone, Copy)]
enum Due {
    /// All at one instant.
    At(Timestamp),
    /// Every second from then on, so many times.
    EverySecond(Timestamp, usize),
}

impl Due {
    fn cron(self) -> String {
        match self {
            Due::At(at) => at.strftime("%-S %-M %-H %-d %-m *").to_string(),
            Due::EverySecond(..) => "* * * * * *".to_owned(),
        }
    }
}

fn compare(sizes: &[String]) {
    let sizes: Vec<usize> = sizes.iter().filter_map(|size| size.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1, 100, 1000, 10_000] } else { sizes };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let arrivals = Arrivals::default();
    let address = runtime.block_on(serve(arrivals.clone()));
    println!("lateness from the due instant to the request's arrival at the server, in milliseconds");
    println!(
        "{:>28} {:>10} {:>8} {:>8} {:>8} {:>8} {:>12}",
        "", "arrived", "p50", "p99", "max", "span", "requests/s"
    );
    let seconds = 20;
    let ours = every_second("stackcron", seconds, &arrivals, |due| start_ours(address, 1, due));
    let theirs =
        every_second("tokio-cron-scheduler", seconds, &arrivals, |due| start_self("rival", address, 1, due));
    ratio(ours, theirs);
    for size in sizes {
        let ours = at_once("stackcron", size, &arrivals, |due| start_ours(address, size, due));
        let theirs =
            at_once("tokio-cron-scheduler", size, &arrivals, |due| start_self("rival", address, size, due));
        ratio(ours, theirs);
        if size >= 1000 {
            at_once("a bare loop", size, &arrivals, |due| start_self("bare", address, size, due));
        }
    }
}

struct Figures {
    p50: f64,
    p99: f64,
}

fn ratio(ours: Figures, theirs: Figures) {
    println!(
        "{:>28} p50 {:.0}, p99 {:.0} times",
        "theirs / ours:",
        theirs.p50 / ours.p50,
        theirs.p99 / ours.p99
    );
}

fn every_second(name: &str, seconds: usize, arrivals: &Arrivals, start: impl Fn(Due) -> Child) -> Figures {
    let first = whole_second(4);
    let mut child = start(Due::EverySecond(first, seconds));
    let end = first + SignedDuration::from_secs(seconds as i64) - SignedDuration::from_millis(1);
    std::thread::sleep(Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default());
    stop(&mut child);
    let late: Vec<f64> = arrivals
        .take()
        .into_iter()
        .filter(|&at| at >= first)
        .map(|at| at.subsec_nanosecond())
        .map(ms)
        .collect();
    report(&format!("{name}, 1 a second"), late, seconds)
}

fn at_once(name: &str, size: usize, arrivals: &Arrivals, start: impl Fn(Due) -> Child) -> Figures {
    let rounds = if size <= 100 { 5 } else { 2 };
    let mut late = Vec::new();
    for _ in 0..rounds {
        let due = whole_second(if size > 1000 { 9 } else { 5 });
        let mut child = start(Due::At(due));
        let end = due + SignedDuration::from_secs(10);
        while arrivals.len() < size && Timestamp::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        // What comes after the last one would be one too many.
        std::thread::sleep(Duration::from_millis(700));
        stop(&mut child);
        late.extend(arrivals.take().into_iter().map(|at| at.duration_since(due).as_secs_f64() * 1000.0));
    }
    report(&format!("{name}, {size} at once"), late, size * rounds)
}

fn report(what: &str, mut late: Vec<f64>, expected: usize) -> Figures {
    late.sort_by(f64::total_cmp);
    let at = |share: f64| {
        late.get(((late.len() as f64 * share) as usize).min(late.len().saturating_sub(1))).copied()
    };
    let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| at(share).unwrap_or(f64::NAN));
    let span = max - at(0.0).unwrap_or(f64::NAN);
    let rate = if span > 1.0 { format!("{:.0}", late.len() as f64 / span * 1000.0) } else { "-".to_owned() };
    println!(
        "{what:>28} {:>10} {p50:>8.2} {p99:>8.2} {max:>8.2} {span:>8.1} {rate:>12}",
        format!("{}/{expected}", late.len())
    );
    Figures { p50, p99 }
}

fn ms(nanoseconds: i32) -> f64 {
    f64::from(nanoseconds) / 1e6
}

/// The first whole second that is at least so many seconds away.
fn whole_second(ahead: i64) -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() + 1 + ahead).expect("a timestamp")
}

fn start_ours(address: SocketAddr, size: usize, due: Due) -> Child {
    let mut schedule = format!(
        "accounts: {{ main: {{ url: 'http://{address}/api/3', token: {{ env: BENCH_TOKEN }}, quota: {{ limit: {LIMIT}, reserve: 0 }} }} }}\n\
         defaults: {{ follow: false }}\njobs:\n"
    );
    for number in 0..size {
        schedule += &format!("  e{number}: {{ stack: s, job: j{number}, cron: '{}' }}\n", due.cron());
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(schedule.as_bytes()).expect("the schedule");
    let (_, path) = file.keep().expect("the file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stackcron"));
    command.args(["run", "--log-format", "json", "--config"]).arg(path).env("BENCH_TOKEN", "token");
    command.stdout(Stdio::null()).spawn().expect("stackcron starts")
}

fn start_self(mode: &str, address: SocketAddr, size: usize, due: Due) -> Child {
    let (at, times) = match due {
        Due::At(at) => (at, 1),
        Due::EverySecond(at, times) => (at, times),
    };
    let arguments = [
        mode.to_owned(),
        address.to_string(),
        size.to_string(),
        due.cron(),
        at.to_string(),
        times.to_string(),
    ];
    Command::new(std::env::current_exe().expect("this program")).args(arguments).spawn().expect("it starts")
}

fn stop(child: &mut Child) {
    let id = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    let _ = child.wait();
}

/// The same schedule straight in tokio-cron-scheduler: one job an entry, a governor limiter, reqwest.
fn rival(arguments: &[String]) {
    let [address, size, cron, ..] = arguments else { panic!("arguments") };
    let size: usize = size.parse().expect("a size");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let client = client();
        let quota = governor::Quota::per_hour(LIMIT.try_into().expect("not zero"));
        let limiter = Arc::new(governor::RateLimiter::direct_with_clock(quota, DefaultClock::default()));
        let scheduler = JobScheduler::new().await.expect("a scheduler");
        for number in 0..size {
            let url = format!("http://{address}/api/3/stacks/s/jobs/j{number}/run_now");
            let (client, limiter) = (client.clone(), Arc::clone(&limiter));
            let job = Job::new_async(cron.as_str(), move |_, _| {
                let (client, limiter, url) = (client.clone(), Arc::clone(&limiter), url.clone());
                Box::pin(async move {
                    limiter.until_ready().await;
                    let _ = client.post(url).send().await;
                })
            });
            scheduler.add(job.expect("a job")).await.expect("it is added");
        }
        scheduler.start().await.expect("it starts");
        std::future::pending::<()>().await
    });
}

/// No scheduler: at the instant, all requests from one loop.
fn bare(arguments: &[String]) {
    let [address, size, _, at, ..] = arguments else { panic!("arguments") };
    let (size, at): (usize, Timestamp) = (size.parse().expect("a size"), at.parse().expect("an instant"));
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let client = client();
        let turns = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
        tokio::time::sleep(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()).await;
        for number in 0..size {
            let turn = Arc::clone(&turns).acquire_owned().await.expect("a turn");
            let url = format!("http://{address}/api/3/stacks/s/jobs/j{number}/run_now");
            let client = client.clone();
            tokio::spawn(async move {
                let _ = client.post(url).bearer_auth("token").send().await.expect("an answer").bytes().await;
                drop(turn);
            });
        }
        std::future::pending::<()>().await
    });
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}
