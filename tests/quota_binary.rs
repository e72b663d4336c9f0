//! The quota through the real binary, over real sockets: windows of five seconds, as the sandbox's
//! ledger saw them.
//!
//! What is promised under chance is in `quota_simulation.rs`; this shows that nothing between the
//! rule and the wire spoils it. Most of the time a scenario waits for a window to turn, so those of
//! a test run side by side.

mod seen;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{Daemon, MACHINE, PATIENCE, Place, instant, quota, schedule, settings, side_by_side};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use seen::{Others, Seen};
use serde_json::Value;
use stackcron::sandbox::{Endpoint, Ledger, LedgerRecord, Sandbox, SandboxQuota, Settings, WindowKind};
use tokio::runtime::Handle;

const WINDOW: Duration = Duration::from_secs(5);
const LIMIT: u32 = 200;
/// What the schedule leaves to others, as the accounts here have it.
const RESERVE: u32 = 10;
const ACCOUNT: &str = "quota: { limit: 200, window: 5s, reserve: 10 }";
const USER: &str = "demo@example.com";

/// The windows in which a daemon may still learn of which kind they are.
const LEARNING: usize = 2;
/// With those that are measured.
const WINDOWS: u32 = 5;

/// A runtime for the sandboxes of a test.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn start(runtime: &Handle, settings: Settings) -> Sandbox {
    runtime.block_on(Sandbox::start(settings)).expect("the sandbox starts")
}

/// Waits until the ledger is as wished.
fn wait_for(runtime: &Handle, sandbox: &Sandbox, condition: impl FnMut(&Ledger) -> bool) -> Ledger {
    let waited =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, sandbox.wait_for(condition)).await });
    waited.unwrap_or_else(|_| panic!("not as wished in time: {:#?}", sandbox.ledger().requests.last()))
}

fn kind(kind: WindowKind) -> SandboxQuota {
    SandboxQuota { kind, ..quota(LIMIT, WINDOW) }
}

/// So many entries, due every second, of which none is given up.
fn every_second(entries: usize) -> String {
    let entry = |n| {
        format!(
            "  b{n}: {{ stack: s1, job: j1, args: '{n}', cron: '* * * * * *', catch_up: all, follow: false }}\n"
        )
    };
    (0..entries).map(entry).collect()
}

/// More than a window's quota comes due in each.
fn backlog() -> String {
    every_second(45)
}

fn whole_windows(ledger: &Ledger) -> f64 {
    match (ledger.requests.first(), ledger.requests.last()) {
        (Some(first), Some(last)) => last.at.duration_since(first.at).as_secs_f64() / WINDOW.as_secs_f64(),
        _ => 0.0,
    }
}

/// Exhausted and restored are told in turns: once for each change. A rolling window gives back a
/// little all the time, and is told to be restored when a tenth is back.
fn told_in_turns(daemon: &Daemon, window: WindowKind, what: &str) {
    let told: Vec<&str> = (daemon.log.iter())
        .filter_map(|line| line["event"].as_str())
        .filter(|event| matches!(*event, "quota.exhausted" | "quota.restored"))
        .collect();
    let expected = ["quota.exhausted", "quota.restored"].into_iter().cycle().take(told.len());
    assert!(told.iter().copied().eq(expected), "{what}: told in turns, not {told:?}");
    // Where it is used as fast as it comes back, a tenth never is.
    let (least, changes) = if window == WindowKind::Rolling { (1, 20) } else { (2, 2) };
    let most = changes * (WINDOWS as usize + 2);
    assert!((least..=most).contains(&told.len()), "{what}: once a window, not {told:?}");
}

/// What was sent was started, and logged as that.
fn all_is_logged(daemon: &Daemon, ledger: &Ledger, what: &str) {
    let started = daemon.events("action.started");
    assert_eq!(started.len(), ledger.started().count(), "{what}: the log and the server agree");
    let occurrences: BTreeSet<String> =
        started.iter().map(|line| format!("{} {}", line["entry"], line["scheduled_at"])).collect();
    assert_eq!(occurrences.len(), started.len(), "{what}: none is started twice");
}

#[test]
fn each_kind_of_window_is_recognised_and_used_up_and_hardly_ever_refused() {
    let runtime = runtime();
    let _turn = runtime.block_on(MACHINE.acquire());
    let kinds = [WindowKind::Fixed, WindowKind::FirstRequest, WindowKind::Rolling];
    let cases = kinds.map(|kind| [(kind, 0), (kind, 8)]).concat();
    side_by_side(&cases, |&(window, burst)| {
        let what = format!("{window}, others {burst} at once");
        let sandbox = start(runtime.handle(), settings(&[]).quota(kind(window)));
        let mut daemon = Place::firing_at(&sandbox, ACCOUNT, &backlog()).start();
        let others = Others::default();
        std::thread::scope(|scope| {
            let stopping = others.stopping();
            let using = scope.spawn(|| others.use_in_bursts(&sandbox, burst));
            wait_for(runtime.handle(), &sandbox, |ledger| whole_windows(ledger) > f64::from(WINDOWS) + 0.5);
            drop(stopping);
            using.join().expect("others' use ends");
        });
        assert!(daemon.stop().success());
        let ledger = sandbox.ledger();
        let seen = Seen::of(window, &ledger, &others.used());
        let [learning, after] = seen.refused(LEARNING);
        // Each guess costs one: three kinds at first. What a rolling window gives back while an
        // answer is under way, and what others took since the newest answer, cannot be known.
        let guesses = match (window, burst) {
            (WindowKind::Fixed | WindowKind::FirstRequest, 0) => 1,
            _ => 2 * WINDOWS,
        };
        assert!(learning <= 6 && after <= guesses, "{what}: {learning} and {after} were refused: {seen:?}");
        let used = seen.used_percent(LIMIT - RESERVE, LEARNING);
        assert!(used >= 90.0, "{what}: {used:.1}% of what was usable was used: {seen:?}");
        all_is_logged(&daemon, &ledger, &what);
        told_in_turns(&daemon, window, &what);
    });
}

#[test]
fn without_headers_our_own_are_counted_and_a_limit_that_changes_is_followed() {
    let runtime = runtime();
    // What it sends within a window tells how much of that it used.
    let _turn = runtime.block_on(MACHINE.acquire_many(2));
    // What goes wrong; and to what the limit is set, window after window.
    let cases: [(&str, &[u32]); 3] =
        [("no-headers:on=any", &[]), ("odd-headers:on=any", &[]), ("warning", &[100, 300])];
    side_by_side(&cases, |&(fault, limits)| {
        let sandbox = start(runtime.handle(), settings(&[fault]).quota(kind(WindowKind::Fixed)));
        let mut daemon = Place::firing_at(&sandbox, ACCOUNT, &every_second(70)).start();
        let windows =
            |n: usize| move |ledger: &Ledger| Seen::of(WindowKind::Fixed, ledger, &[]).turns.len() > n;
        let mut was = LIMIT;
        for &limit in limits {
            daemon.wait_for("quota.exhausted", |line| line["limit"] == was);
            sandbox.set_limit(USER, limit).expect("a known user");
            let changed = daemon.wait_for("quota.changed", |line| line["limit"] == limit);
            assert_eq!(changed["was"], was, "{changed}");
            was = limit;
        }
        let learnt = Seen::of(WindowKind::Fixed, &sandbox.ledger(), &[]).turns.len().max(LEARNING);
        wait_for(runtime.handle(), &sandbox, windows(learnt + 2));
        assert!(daemon.stop().success());
        assert_eq!(daemon.events("quota.changed").len(), limits.len(), "{fault}: once for each change");
        let ledger = sandbox.ledger();
        let seen = Seen::of(WindowKind::Fixed, &ledger, &[]);
        let used = seen.used_percent(was - RESERVE, learnt);
        assert!(used >= 90.0, "{fault}: {used:.1}% of what was usable was used: {seen:?}");
        let refused: u32 = seen.refused(learnt).iter().sum();
        assert!(refused <= 3, "{fault}: {refused} were refused: {seen:?}");
        all_is_logged(&daemon, &ledger, fault);
    });
}

#[test]
fn after_a_refusal_that_contradicts_what_is_left_one_goes_after_a_second_and_then_the_rest() {
    const LATENCY: Duration = Duration::from_millis(300);
    let runtime = runtime();
    // The fifth of one a second. The seconds until the next may go: one, or what the server names.
    let cases = [
        ("throttled:every=5,times=1", 1),
        ("429:every=5,times=1", 1),
        ("throttled:retry-after=2,every=5,times=1", 2),
        ("429:retry-after=7,every=5,times=1", 7),
    ];
    side_by_side(&cases, |&(fault, wait)| {
        let mut settings = settings(&[fault]).quota(kind(WindowKind::Fixed));
        settings.latency = LATENCY;
        let sandbox = start(runtime.handle(), settings);
        let mut daemon = Place::firing_at(&sandbox, ACCOUNT, &every_second(1)).start();
        wait_for(runtime.handle(), &sandbox, |ledger| ledger.requests.len() >= 10);
        let ledger = sandbox.ledger();
        let [refused, next, after] = [4, 5, 6].map(|n| &ledger.requests[n]);
        assert_eq!(refused.faults, [fault], "the fifth is refused");
        let may_go = refused.at + SignedDuration::from_secs(wait);
        assert!(next.at >= may_go, "{fault}: {} went before {may_go}", next.at);
        let answered = next.at + SignedDuration::try_from(LATENCY).expect("a short time");
        assert!(after.at >= answered, "{fault}: the first goes alone until {answered}, not {}", after.at);
        let line = daemon.wait_for("action.started", |line| line["attempts"] == 2);
        assert!(daemon.stop().success());
        assert_eq!(daemon.events("quota.exhausted").len(), 0, "{fault}: the headers say that much is left");
        let before = daemon.events("occurrence.waiting");
        assert!(before.iter().all(|line| line["reason"] == "quota"), "{fault}: {before:?}");
        assert!(line["lateness_ms"].as_i64().is_some(), "{line}");
    });
}

#[test]
fn ten_restarts_spend_no_more_than_none() {
    const LONGEST_LIFE: Duration = Duration::from_secs(4);
    let runtime = runtime();
    let _turn = runtime.block_on(MACHINE.acquire());
    // Due each second, so that the quota is spent in many lives, or in the first.
    let cases = [(8, Signal::TERM), (80, Signal::TERM), (8, Signal::KILL), (80, Signal::KILL)];
    side_by_side(&cases, |&(entries, signal)| {
        let what = format!("{entries} a second, {signal:?}");
        let day =
            SandboxQuota { limit: 60, window: Duration::from_secs(86_400), kind: WindowKind::FirstRequest };
        let sandbox = start(runtime.handle(), settings(&[]).quota(day));
        let account = "timeout: 1s, quota: { limit: 60, window: 1d, reserve: 3 }";
        let place = Place::firing_at(&sandbox, account, &every_second(entries));
        for _ in 0..=10 {
            let mut daemon = place.start();
            let (mut started, mut waits) = (0, false);
            // Where every entry is held back by an attempt in doubt, none is ready to wait for
            // quota.
            let end = std::time::Instant::now() + LONGEST_LIFE;
            while started < 4 && !waits && std::time::Instant::now() < end {
                let line = daemon.next_event();
                started += usize::from(line["event"] == "action.started");
                waits |= line["event"] == "occurrence.waiting" && line["reason"] == "quota";
            }
            daemon.signal(signal);
            daemon.end();
        }
        let ledger = sandbox.ledger();
        let sent = ledger.requests.len();
        // What leaves on the quota's edge is saved as it leaves, and so is the one request by which
        // a life after a kill finds out how much is left. A kill may come before such a save is on
        // disk.
        let unsaved = if signal == Signal::KILL { 8 } else { 0 };
        // What one that was killed had started the next one finds, and has so many less to start.
        let least = if signal == Signal::KILL { 10 } else { 40 };
        assert!((least..=57 + unsaved).contains(&sent), "{what}: {sent} of 57 were sent");
        let refused = ledger.throttled().count();
        assert!(refused <= unsaved, "{what}: {refused} were refused");
    });
}

#[test]
fn an_account_that_is_refused_slow_or_down_delays_no_entry_of_another() {
    const SECONDS: usize = 5;
    let runtime = runtime();
    let cases = ["throttled", "429:retry-after=1", "slow=60s", "close-before", "down"];
    side_by_side(&cases, |&fault| {
        let well = start(runtime.handle(), settings(&[]));
        let faults: &[&str] = if fault == "down" { &[] } else { &[fault] };
        let ill = start(runtime.handle(), settings(faults));
        let ill_url = if fault == "down" { "http://127.0.0.1:1/api/3".to_owned() } else { ill.url() };
        let entry = |n: usize, account| {
            format!(
                "  {account}{n}: {{ stack: s1, job: j1, args: '{account} {n}', cron: '* * * * * *', account: {account}, catch_up: all, priority: {} }}\n",
                if account == "ill" { "high" } else { "low" }
            )
        };
        let jobs: String = (0..20).map(|n| entry(n, "ill")).chain((0..2).map(|n| entry(n, "main"))).collect();
        let file = schedule(&well.url(), "", &jobs).replace(
            "accounts: {",
            &format!("accounts: {{ ill: {{ url: '{ill_url}', token: {{ env: TOKEN }} }},"),
        );
        let mut daemon = Place::with(&file).start();
        wait_for(runtime.handle(), &well, |ledger| ledger.started().count() >= 2 * SECONDS);
        assert!(!daemon.raw.contains("\"event\":\"schedule.rejected\""), "{}", daemon.raw);
        for entry in ["main0", "main1"] {
            let mut started = 0;
            let mut last: Option<Timestamp> = None;
            while started < SECONDS {
                let line = daemon.wait_for("action.started", |line| {
                    line["entry"] == entry && last.is_none_or(|last| instant(&line["scheduled_at"]) > last)
                });
                let at = instant(&line["scheduled_at"]);
                if let Some(last) = last {
                    assert_eq!(at, last + SignedDuration::from_secs(1), "{fault}: {entry} leaves none out");
                }
                assert_eq!(line["attempts"], 1, "{fault}: {line}");
                (last, started) = (Some(at), started + 1);
            }
        }
        let of = |line: &Value, account: &str| line["entry"].as_str().is_some_and(|e| e.starts_with(account));
        let troubled =
            ["occurrence.waiting", "occurrence.retrying", "occurrence.missed", "occurrence.unknown"];
        for event in troubled {
            let main: Vec<_> = daemon.events(event).into_iter().filter(|line| of(line, "main")).collect();
            assert!(main.is_empty(), "{fault}: {main:?}");
        }
        let ill_started = daemon.events("action.started").into_iter().filter(|line| of(line, "ill")).count();
        assert_eq!(ill_started, 0, "{fault}: none of the other account's was answered in the meantime");
    });
}

#[test]
fn when_the_quota_is_short_high_goes_before_normal_before_low_and_fires_before_follow_up() {
    let runtime = runtime();
    let sandbox =
        start(runtime.handle(), settings(&[]).quota(SandboxQuota { limit: 4, ..kind(WindowKind::Fixed) }));
    // A second into a window.
    let due = (Timestamp::now().as_second() + 4) / 5 * 5 + 6;
    let due = Timestamp::from_second(due).expect("an instant");
    let cron = due.strftime("%-S %-M %-H %-d %-m *");
    let entry = |priority: &str, n: usize| {
        let follow = priority == "high" && n == 0;
        let args = format!("{priority} {n}");
        format!(
            "  {priority}{n}: {{ stack: s1, job: j1, args: '{args}', cron: '{cron}', priority: {priority}, follow: {follow} }}\n"
        )
    };
    // In the file the last come first.
    let jobs: String =
        ["low", "normal", "high"].iter().flat_map(|p| (0..4).map(move |n| entry(p, n))).collect();
    let account = "quota: { limit: 4, window: 5s, reserve: 0 }";
    let mut daemon = Place::firing_at(&sandbox, account, &jobs).start();
    daemon.event("action.finished");
    assert!(daemon.stop().success());
    let ledger = sandbox.ledger();
    let fires: Vec<&LedgerRecord> = ledger.started().collect();
    let order: Vec<&str> = fires.iter().filter_map(|fire| fire.args.as_deref()?.split(' ').next()).collect();
    let expected = [["high"; 4], ["normal"; 4], ["low"; 4]].concat();
    assert_eq!(order, expected, "by priority, whatever the file's order");
    let asked = ledger.of(Endpoint::Action).map(|question| question.at).min().expect("a question");
    let last = fires.iter().map(|fire| fire.at).max().expect("a fire");
    assert!(asked > last, "the action is asked for at {asked}, when no fire waits any more: {last}");
    let waiting = daemon.events("occurrence.waiting");
    let told: BTreeSet<&str> = waiting.iter().filter_map(|line| line["entry"].as_str()).collect();
    assert_eq!((waiting.len(), told.len()), (8, 8), "each that waits is told of once: {waiting:?}");
    for line in waiting {
        let until = instant(&line["until"]).round(jiff::Unit::Millisecond).expect("an instant");
        let turn = Timestamp::from_second(due.as_second() + 4).expect("an instant");
        assert_eq!(until, turn, "the window's turn: {line}");
    }
    assert!(ledger.throttled().count() <= 1, "{:?}", ledger.throttled().collect::<Vec<_>>());
}
