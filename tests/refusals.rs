//! Fronts between the daemon and the API: what a proxy refuses by itself is no word of the API.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::common::{Place, schedule};

const EVERY_SECOND: &str =
    "  nightly: { stack: s1, job: j1, cron: '* * * * * *', follow: false, catch_up: all }\n";

/// An API with 3,592 of 3,600 requests left, behind a front that answers the run_now calls of these
/// numbers, counted from zero, by itself: with this status, as HTML, and without a header that the
/// API sends.
fn behind_a_front(status: &'static str, refused: std::ops::Range<usize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let calls = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), calls, refused) = (stream, Arc::clone(&calls), refused.clone()) else {
                return;
            };
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
                // A connection that was only opened ahead asks nothing.
                if first.is_empty() {
                    return;
                }
                let by_the_front =
                    first.starts_with("POST") && refused.contains(&calls.fetch_add(1, Relaxed));
                let (head, body) = match by_the_front {
                    true => (format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\n"), "<html>no</html>"),
                    false => (
                        "HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 3600\r\nX-RateLimit-Remaining: 3592\r\n"
                            .to_owned(),
                        r#"{"response":{"id":7}}"#,
                    ),
                };
                let length = body.len();
                let answer = format!("{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

#[test]
fn a_429_of_a_proxy_does_not_close_the_account_until_the_hour_turns() {
    let api = behind_a_front("429 Too Many Requests", 1..3);
    let place = Place::with(&schedule(&format!("http://{api}/api/3"), "", EVERY_SECOND));
    let mut daemon = place.start();
    let refused = daemon.event("occurrence.retrying");
    assert_eq!(refused["status"], 429, "{refused}");
    daemon.wait_for("action.started", |line| line["scheduled_at"] == refused["scheduled_at"]);
    assert!(daemon.stop().success());
    assert_eq!(daemon.events("quota.exhausted").len(), 0, "no word of the API says so: {}", daemon.raw);
}

#[test]
fn a_front_that_answers_404_as_html_rejects_nothing() {
    let api = behind_a_front("404 Not Found", 0..3);
    let place = Place::with(&schedule(&format!("http://{api}/api/3"), "", EVERY_SECOND));
    let mut daemon = place.start();
    let refused = daemon.event("occurrence.retrying");
    assert_eq!(refused["status"], 404, "{refused}");
    daemon.wait_for("action.started", |line| line["scheduled_at"] == refused["scheduled_at"]);
    assert!(daemon.stop().success());
    assert_eq!(daemon.events("occurrence.rejected").len(), 0, "the API has refused nothing: {}", daemon.raw);
}
