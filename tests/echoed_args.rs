//! An API that repeats the arguments of a job in everything that it says: none of it comes into a
//! message, an error, the journal or a webhook.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::common::{Place, until};

/// Every form of them has this word.
const SECRET: &str = "hunter2";

/// Characters that JSON, a URL and HTML each write in another way.
fn args() -> String {
    format!("--password \"{SECRET} & <{SECRET}>\" --pad {}", "x".repeat(900))
}

/// A request's first line, and its body.
type Got = (String, String);

/// A server that answers as it is told, and keeps what it got.
fn serve(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> (SocketAddr, Arc<Mutex<Vec<Got>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (answer, got) = (Arc::new(answer), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), answer, kept) = (stream, Arc::clone(&answer), Arc::clone(&kept)) else { return };
            std::thread::spawn(move || {
                // A connection that was only opened ahead asks nothing.
                if let Some(request) = read(&stream) {
                    let answer = answer(&request.0);
                    kept.lock().expect("a lock").push(request);
                    let _ = (&stream).write_all(answer.as_bytes());
                }
            });
        }
    });
    (address, got)
}

fn read(stream: &TcpStream) -> Option<Got> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok()?
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    (!first.is_empty()).then(|| (first, String::from_utf8_lossy(&body).into_owned()))
}

fn answer(status: u16, kind: &str, body: &str) -> String {
    let warning = format!("{} deprecated: {}", "w".repeat(500), args());
    format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: {kind}\r\nX-Cloud66-Warning: {warning}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the API says, by the job that is asked for.
fn says(line: &str) -> String {
    let (args, query) = (args(), line.split([' ', '?']).nth(2).unwrap_or_default().to_owned());
    let json = |status, body: Value| answer(status, "application/json", &body.to_string());
    let action = |finished: bool| {
        json!({ "response": {
            "id": 7, "user": "u", "action": "job_run_now", "started_at": "2026-01-01T00:00:00Z",
            "finished_at": finished.then_some("2026-01-01T00:00:01Z"), "finished_success": finished.then_some(false),
            "finished_message": finished.then(|| format!("{} command failed: {args}", "z".repeat(300))),
            "parameters": { "job_args": args },
        }})
    };
    match line {
        line if line.starts_with("GET") => json(200, action(true)),
        line if line.contains("/plain/") => {
            json(422, json!({ "error": format!("{} no: {args}", "z".repeat(280)) }))
        }
        line if line.contains("/raw/") => json(422, json!({ "message": args })),
        line if line.contains("/html/") => {
            let escaped =
                args.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
            answer(400, "text/html", &format!("<html><title>Bad: {escaped}</title></html>"))
        }
        line if line.contains("/query/") => {
            answer(422, "text/plain", &format!("bad request: /run_now?{query}"))
        }
        line if line.contains("/doubt/") => {
            json(500, json!({ "error": "x", "details": format!("broke at {args}") }))
        }
        _ => json(200, action(false)),
    }
}

#[test]
fn args_that_the_api_echoes_come_into_no_message_error_journal_or_webhook() {
    let (api, _) = serve(says);
    let (hook, posted) =
        serve(|_| "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned());
    let jobs: String = ["plain", "raw", "html", "query", "doubt", "well"]
        .map(|job| {
            format!(
                "  {job}: {{ stack: s1, job: {job}, cron: '0 0 1 1 *', notify: [ops], args: '{}' }}\n",
                args()
            )
        })
        .concat();
    let place = Place::with(&format!(
        "accounts: {{ main: {{ url: 'http://{api}/api/3', token: {{ env: TOKEN }} }} }}\n\
         notify: {{ ops: {{ webhook: {{ env: HOOK }} }} }}\njobs:\n{jobs}"
    ))
    .env("HOOK", &format!("http://{hook}/hook"));
    let mut daemon = place.start();
    daemon.event("daemon.started");
    let mut printed = String::new();
    for job in ["plain", "raw", "query", "html", "well"] {
        let fired = place.run(&["fire", job]);
        printed += &format!("{}{}", fired.stdout, fired.stderr);
    }
    let doubt = place.command(&["fire", "doubt", "--wait", "1s"]).output().expect("it runs");
    printed += &String::from_utf8_lossy(&[doubt.stdout, doubt.stderr].concat());
    for job in ["plain", "raw", "query", "html"] {
        let rejected = daemon.wait_for("occurrence.rejected", |line| line["entry"] == job);
        assert!(
            rejected["error"].as_str().is_some_and(|error| error.contains("[args]")),
            "{job}: {rejected}"
        );
    }
    let in_doubt = daemon.wait_for("occurrence.in_doubt", |line| line["entry"] == "doubt");
    assert!(in_doubt["error"].as_str().is_some_and(|error| error.contains("[args]")), "{in_doubt}");
    let finished = daemon.wait_for("action.finished", |line| line["entry"] == "well");
    assert!(
        finished["action_finished_message"].as_str().is_some_and(|said| said.ends_with("[args]")),
        "{finished}"
    );
    let warning = daemon.event("api.warning");
    assert!(warning["warning"].as_str().is_some_and(|said| said.ends_with("[args]")), "{warning}");
    until("somebody is told", || {
        let posted = posted.lock().expect("a lock");
        let told = posted.iter().filter(|(_, body)| body.contains("well") || body.contains("plain")).count();
        if told >= 2 { Ok(()) } else { Err(format!("{posted:?}")) }
    });
    assert!(daemon.stop().success());
    printed += &place.run(&["history", "--format", "json"]).stdout;
    for why in ["plain", "well"] {
        printed += &place.run(&["why", why, "--at", "now"]).stdout;
    }
    printed += &format!("{:?}", posted.lock().expect("a lock"));
    printed += &daemon.raw;
    let told = printed.lines().find(|line| line.contains(SECRET) || line.contains("xxxx"));
    assert_eq!(told, None, "no part of the args is told");
}
