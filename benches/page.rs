//! The costs of the status page, in figures: how smoothly 10,000 marks move, how soon 100,000
//! entries are shown and in how much memory, and how late occurrences are sent while 200 people
//! look.
//!
//! The first two need Chromium and its driver. `cargo bench --bench page` takes some four minutes;
//! `-- marks`, `-- entries` and `-- clients` measure one of them.

#[path = "../tests/page/browser.rs"]
#[expect(dead_code, reason = "the tests use more")]
mod browser;
#[path = "../tests/common/mod.rs"]
mod common;

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use browser::Browser;
use common::{Daemon, Place, sandbox, sandbox_with, settings};
use serde_json::Value;
use stackcron::sandbox::{SandboxJob, SandboxStack};
use stackcron::schedule::{JobUid, StackUid};

/// Clients that poll at once: some two hundred people with a page each.
const CLIENTS: usize = 200;

/// How long each half of the comparison lasts.
const HALF: Duration = Duration::from_secs(30);

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if wants("marks") {
        runtime.block_on(marks());
    }
    if wants("entries") {
        runtime.block_on(entries());
    }
    if wants("clients") {
        runtime.block_on(clients());
    }
}

/// Starts a daemon that listens. A schedule of 100,000 entries takes a while to be read.
fn listening(place: &Place) -> (Daemon, SocketAddr) {
    let mut daemon = place.start_with(&["--listen", "127.0.0.1:0"]);
    let told = daemon.wait_long_for(Duration::from_secs(300), "daemon.listening", |_| true);
    let address = told["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
    (daemon, address)
}

/// Memory of the browser's process that shows the page, in MB: the greatest of those that belong to
/// this browser.
fn renderer_mb(browser: &Browser) -> u64 {
    let of_process = |pid: &str| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let group = read("stat")?.rsplit_once(") ")?.1.split(' ').nth(2)?.parse::<u32>().ok()?;
        let shows = group == browser.driver.id() && read("cmdline")?.contains("--type=renderer");
        let pss =
            read("smaps_rollup")?.lines().find_map(|line| line.strip_prefix("Pss:").map(str::to_owned))?;
        shows.then(|| pss.trim().split(' ').next().and_then(|kb| kb.parse::<u64>().ok())).flatten()
    };
    let processes = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let names = processes.filter_map(|process| process.file_name().into_string().ok());
    names.filter_map(|pid| of_process(&pid)).max().unwrap_or(0) / 1024
}

/// A script that does something with each frame for four seconds, and returns how long the frames
/// took.
fn frames(script: &str) -> String {
    format!(
        "const times = []; let last = performance.now(); const until = last + 4000; let n = 0;
         const canvas = document.querySelector('.lanes canvas'); const box = canvas.getBoundingClientRect();
         const [x, y] = [box.left + box.width / 2, box.top + 60];
         await new Promise((done) => {{ const frame = (at) => {{ times.push(at - last); last = at; n += 1; {script}; at < until ? requestAnimationFrame(frame) : done(); }}; requestAnimationFrame(frame); }});
         times.shift(); times.sort((a, b) => a - b);
         const q = (share) => times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(0);
         return `${{times.length}} frames, p50 ${{q(0.5)}} ms, p95 ${{q(0.95)}} ms, longest ${{q(1)}} ms`;"
    )
}

async fn marks() {
    let Some(browser) = Browser::start().await else { return };
    let sandbox = sandbox(&[]).await;
    let jobs = (0..100).fold(String::new(), |mut jobs, n| {
        let _ = writeln!(jobs, "  job-{n:03}: {{ stack: s1, job: j{n}, cron: '{} * * * * *' }}", n % 60);
        jobs
    });
    let (_daemon, address) = listening(&Place::firing_at(&sandbox, "", &jobs));
    browser.open(&format!("http://{address}/#/timeline?span=7200000&end={}", millis() + 7_200_000)).await;
    browser
        .until("/the next \\d{4,5} to come/.test(document.querySelector('.lanes ~ p')?.textContent)")
        .await;
    let wheel = "canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: n % 20 < 10 ? 100 : -100, clientX: x, clientY: y, bubbles: true, cancelable: true }))";
    let pan = "canvas.dispatchEvent(new PointerEvent(n === 1 ? 'pointerdown' : 'pointermove', { buttons: 1, clientX: x + 200 * Math.sin(n / 10), clientY: y, bubbles: true }))";
    for (name, script) in [("still", ""), ("zoom", wheel), ("pan", pan)] {
        let told = browser.awaited(&frames(script)).await;
        println!("timeline of 10,000 marks, {name}: {}", told.as_str().unwrap_or("no figure"));
    }
}

fn millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

async fn entries() {
    let Some(browser) = Browser::start().await else { return };
    let sandbox = sandbox(&[]).await;
    let jobs = (0..100_000).fold(String::new(), |mut jobs, n| {
        let (minute, hour) = (n % 60, n / 60 % 24);
        let _ = writeln!(jobs, "  job-{n:06}: {{ stack: s1, job: j{n}, cron: '{minute} {hour} * * *' }}");
        jobs
    });
    let (_daemon, address) = listening(&Place::firing_at(&sandbox, "", &jobs));
    let rows = "document.querySelectorAll('main tr, main li').length";
    for (view, shows) in [
        ("now", "document.querySelector('table[aria-label=\"Next occurrences\"] a')"),
        ("find?q=job", "document.querySelectorAll('table[aria-label=\"Entries\"] tbody tr').length >= 100"),
        ("timeline", "document.querySelectorAll('.lanes li').length > 100"),
        ("calendar", "document.querySelectorAll('.heat td').length === 168"),
        ("entry/job-050000", "document.querySelector('dl code')"),
    ] {
        // From another page, so that each view is loaded from nothing, as by who follows a link.
        browser.open("about:blank").await;
        browser.open(&format!("http://{address}/#/{view}")).await;
        browser.until(shows).await;
        let took = browser.run("return Math.round(performance.now())").await;
        let heap = browser.run("return Math.round(performance.memory.usedJSHeapSize / 1048576)").await;
        let count = browser.run(&format!("return {rows}")).await;
        let memory = renderer_mb(&browser);
        println!(
            "100,000 entries, {view}: shown after at most {took} ms, {heap} MB of objects, {memory} MB in all, {count} rows"
        );
        assert!(count.as_u64() < Some(1000), "{view}: rows are windowed: {count}");
    }
}

/// The lateness of what was sent since then: how many, p50, p99, the greatest.
async fn lateness(address: SocketAddr, since: &jiff::Timestamp) -> String {
    let url = format!("http://{address}/api/v1/history?since={since}&limit=10000");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.get(url).send().await.expect("an answer").bytes().await.expect("a body");
    let rows: Value = serde_json::from_slice(&answer).expect("JSON");
    let sent = rows.as_array().into_iter().flatten().filter_map(|row| row["lateness_ms"].as_i64());
    let mut sent: Vec<i64> = sent.collect();
    sent.sort_unstable();
    let share = |percent: usize| sent.get(sent.len() * percent / 100).or(sent.last()).copied().unwrap_or(-1);
    format!(
        "{} sent, lateness p50 {} ms, p99 {} ms, greatest {} ms",
        sent.len(),
        share(50),
        share(99),
        share(100)
    )
}

async fn clients() {
    let stack = (0..20).fold(SandboxStack::new(StackUid::new("s3").expect("a uid")), |stack, n| {
        stack.job(SandboxJob::new(JobUid::new(&format!("j{n}")).expect("a uid")))
    });
    let sandbox = sandbox_with(settings(&[]).stack(stack)).await;
    let jobs = (0..20).fold(String::new(), |mut jobs, n| {
        let _ = writeln!(jobs, "  job-{n:02}: {{ stack: s3, job: j{n}, cron: '* * * * * *' }}");
        jobs
    });
    let (mut daemon, address) = listening(&Place::firing_at(&sandbox, "", &jobs));
    daemon.event("action.finished");
    let mut told = Vec::new();
    for clients in [0, CLIENTS, 0, CLIENTS] {
        let since = jiff::Timestamp::now();
        let polling: Vec<_> = (0..clients).map(|n| tokio::spawn(polls(address, n))).collect();
        tokio::time::sleep(HALF).await;
        let mut answered = 0;
        for client in polling {
            answered += client.await.expect("a client");
        }
        daemon.read();
        told.push(format!("{clients} clients, {answered} answers: {}", lateness(address, &since).await));
    }
    println!("{}", told.join("\n"));
}

/// Polls as a page does: the status every two seconds with its ETag, the history every ten. Returns
/// how many answers came.
async fn polls(address: SocketAddr, number: usize) -> usize {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    tokio::time::sleep(Duration::from_millis(10 * number as u64)).await;
    let end = tokio::time::Instant::now() + HALF - Duration::from_secs(3);
    let (mut answers, mut tag) = (0, None::<String>);
    while tokio::time::Instant::now() < end {
        let path = if answers % 5 == 4 { "history?limit=300" } else { "status?limit=60" };
        let mut request = client.get(format!("http://{address}/api/v1/{path}"));
        if let Some(tag) = &tag {
            request = request.header("If-None-Match", tag);
        }
        if let Ok(answer) = request.send().await {
            answers += usize::from(answer.status().is_success() || answer.status() == 304);
            tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
            drop(answer.bytes().await);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    answers
}
