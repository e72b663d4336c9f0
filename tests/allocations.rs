//! Allocations of memory for each fired occurrence: a guard against work that creeps into the way
//! of a burst. A count is the same on every machine, unlike a time. In a program of its own, for it
//! replaces the allocator.
//!
//! The bounds are a tenth above the numbers that were counted. Lower a bound when a number falls;
//! raise it only for work that has to be done for each occurrence.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use stackcron::clock::Now;
use stackcron::cloud66::{Client, Outcome, Reply, Token};
use stackcron::dispatch::{Dispatch, Effect, RequestId};
use stackcron::schedule::Schedule;
use stackcron::timetable::Timetable;

/// Counts the allocations of each thread, growth included.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count_one() {
    // A thread that ends frees and allocates after its counter is gone.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: each call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Occurrences over which the mean is taken, after as many that let collections grow.
const OCCURRENCES: usize = 1000;

/// Allocations by which one occurrence is found, planned, sent and settled, all decisions of the
/// daemon.
const DECIDED: u64 = 11;

/// Allocations by which one run_now is sent on a connection that stands, and its answer is read.
const REQUESTED: u64 = 48;

/// Mean of the allocations of this thread since so many were counted, for each occurrence.
fn mean_since(counted: u64) -> u64 {
    (COUNT.get() - counted).div_ceil(OCCURRENCES as u64)
}

fn schedule(url: &str, entries: usize) -> Schedule {
    let mut text = format!(
        "accounts: {{ main: {{ url: '{url}', token: {{ env: T }}, quota: {{ limit: 1000000, reserve: 0 }} }} }}\n\
         defaults: {{ follow: false }}\njobs:\n"
    );
    for number in 0..entries {
        text += &format!("  e{number}: {{ stack: s, job: j{number}, cron: '* * * * * *' }}\n");
    }
    stackcron::schedule::parse("test.yaml", &text).expect("a valid file").schedule
}

fn at(second: i64) -> Now {
    Now {
        wall: Timestamp::from_second(1_790_000_000 + second).expect("a timestamp"),
        mono: Duration::from_secs(100_000 + second.unsigned_abs()),
    }
}

/// The action that the API makes of each run_now.
const ACTION: &str = r#"{"response":{"id":7,"user":"ops@example.com","resource_type":"stack","action":"job_run_now","started_at":"2026-09-21T14:13:20Z","finished_at":null,"finished_success":null}}"#;

/// A server of one connection that answers each request the same, in a thread of its own.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/api/3", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-RateLimit-Limit: 1000000\r\n\
             X-RateLimit-Remaining: 999999\r\nContent-Length: {}\r\n\r\n{ACTION}",
            ACTION.len()
        );
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        let mut byte = [0];
        while connection.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
            if head.ends_with(b"\r\n\r\n") {
                head.clear();
                connection.write_all(answer.as_bytes()).expect("the answer");
            }
        }
    });
    url
}

/// Sends requests to the server, one after the other, on one connection. Returns the last reply.
fn request(client: &Client, schedule: &Schedule) -> Reply<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut last = None;
        let mut counted = 0;
        for number in 0..2 * OCCURRENCES {
            if number == OCCURRENCES {
                counted = COUNT.get();
            }
            let entry = &schedule.entries[number % schedule.entries.len()];
            last = Some(client.run_now(&entry.stack, &entry.job, None, || Ok::<(), String>(())).await);
        }
        let requested = mean_since(counted);
        assert!(requested <= REQUESTED, "{requested} allocations for a request, {REQUESTED} at most");
        last.expect("a reply")
    })
}

#[test]
fn a_fired_occurrence_costs_no_more_allocations_than_it_did() {
    let url = serve();
    let schedule = schedule(&url, OCCURRENCES);
    let token = Token::new("s3cret", "the test").expect("a token");
    let client = Client::new(&schedule.accounts[0], &token).expect("a client");
    let reply = request(&client, &schedule);
    assert!(matches!(reply.outcome, Outcome::Started(_)), "{reply:?}");

    let mut timetable = Timetable::new(&schedule, at(1).wall);
    let mut dispatch = Dispatch::new(&schedule.accounts, 1, at(0));
    // Replies are made beforehand: what they are made of is counted with the request.
    let mut fire = |second: i64, replies: Vec<Reply<Outcome>>| {
        let (now, mut replies) = (at(second), replies.into_iter());
        let until = now.wall + SignedDuration::from_secs(1);
        let planned = dispatch.plan(timetable.step(until), at(second - 1));
        assert_eq!(sends(&planned).count(), 0, "nothing is due yet");
        let mut settled = 0;
        let mut effects = dispatch.advance(now);
        while settled < OCCURRENCES {
            let sent: Vec<RequestId> = sends(&effects).collect();
            assert!(!sent.is_empty(), "the quota admits all");
            for id in sent {
                settled += 1;
                let reply = replies.next().expect("a reply for each");
                dispatch.fired(id, now.wall, reply, now);
            }
            effects = dispatch.advance(now);
        }
    };
    let replies = || vec![reply.clone(); OCCURRENCES];
    fire(1, replies());
    let second = replies();
    let counted = COUNT.get();
    fire(2, second);
    let decided = mean_since(counted);
    assert!(decided <= DECIDED, "{decided} allocations for a decision, {DECIDED} at most");
}

fn sends(effects: &[Effect]) -> impl Iterator<Item = RequestId> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Send(id, _) => Some(*id),
        _ => None,
    })
}
