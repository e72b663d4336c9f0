//! The sandbox over real sockets: whole answers, broken ones, and what steers it.

use std::io::ErrorKind;

use reqwest::StatusCode;
use serde_json::Value;
use stackcron::sandbox::{SandboxQuota, WindowKind};

use super::*;

fn post_line() -> String {
    format!("POST {RUN}")
}

#[tokio::test]
async fn the_vendors_client_gets_what_it_asks_for() {
    let sandbox = start(settings(&[])).await;
    for (line, headers, body, begins) in [
        ("POST /api/3/stacks/S1/jobs/J1/run_now.json", "", "", r#"{"response":{"id":2593,"#),
        (
            "POST /api/3/stacks/S1/jobs/J1/run_now.json",
            "Content-Type: application/json\r\n",
            r#"{"job_args":"\"a b\" \"c\""}"#,
            r#"{"response":{"id":2594,"#,
        ),
        ("GET /api/3/stacks.json?page=1", "", "", r#"{"response":[{"uid":"S1","#),
        ("GET /api/3/stacks/S1.json", "", "", r#"{"response":{"uid":"S1","#),
        ("GET /api/3/stacks/S1/jobs.json?page=1", "", "", r#"{"response":[{"uid":"J1","#),
        ("GET /api/3/stacks/S1/jobs/J1.json", "", "", r#"{"response":{"uid":"J1","#),
        ("GET /api/3/stacks/S1/actions/2593.json", "", "", r#"{"response":{"id":2593,"#),
    ] {
        let headers = format!("{headers}Connection: close\r\n");
        let (bytes, _) = answer(send(&sandbox, &request(line, &headers, body)).await).await;
        let answer = String::from_utf8(bytes).expect("an answer of text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{line}: {head}");
        assert!(head.contains("\r\nX-RateLimit-Limit: 3600"), "spelt as documented: {head}");
        assert!(body.starts_with(begins), "{line} is to begin with {begins} and is {body}");
    }
    let ledger = sandbox.ledger();
    let args: Vec<_> = ledger.started().map(|record| record.args.as_deref()).collect();
    assert_eq!(args, [None, Some(r#""a b" "c""#)]);
    assert_eq!(ledger.requests.len(), 7);
    soon("the stop", sandbox.stop()).await;
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let sandbox = start(settings(&[])).await;
    let bytes = request(&post_line(), "", "") + &request(&post_line(), "Connection: close\r\n", "");
    let (bytes, _) = answer(send(&sandbox, &bytes).await).await;
    let answers = String::from_utf8(bytes).expect("answers of text");
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
}

#[tokio::test]
async fn a_request_on_the_wire_is_in_the_ledger_to_the_microsecond() {
    let sandbox = start(settings(&[])).await;
    let before = jiff::Timestamp::now();
    exchange(&sandbox, &format!("POST {RUN}?job_args=x")).await;
    let after = jiff::Timestamp::now();
    let ledger = sandbox.ledger();
    let record = &ledger.requests[0];
    assert!(before <= record.at && record.at <= after, "{before} <= {} <= {after}", record.at);
    assert_eq!((record.method.as_str(), record.path.as_str()), ("POST", RUN));
    assert_eq!((record.stack.as_deref(), record.job.as_deref()), (Some("S1"), Some("J1")));
    assert_eq!((record.args.as_deref(), record.user.as_deref()), (Some("x"), Some(USER)));
    assert_eq!((record.status, record.remaining, record.action), (Some(200), Some(3599), Some(2593)));
}

#[tokio::test]
async fn closed_before_the_effect_nothing_is_answered_and_nothing_started() {
    let sandbox = start(settings(&["close-before:times=1"])).await;
    let (bytes, end) = answer(send(&sandbox, &request(&post_line(), "", "")).await).await;
    assert_eq!((bytes.len(), end.is_ok()), (0, true), "no byte, then a close in good order");
    assert_eq!(sandbox.ledger().started().count(), 0);
    exchange(&sandbox, &post_line()).await;
    assert_eq!(sandbox.ledger().requests[1].remaining, Some(3599), "the closed one did not count");
}

#[tokio::test]
async fn closed_after_the_effect_nothing_is_answered_and_the_action_runs() {
    let sandbox = start(settings(&["close-after"])).await;
    let (bytes, end) = answer(send(&sandbox, &request(&post_line(), "", "")).await).await;
    assert_eq!((bytes.len(), end.is_ok()), (0, true), "no byte, then a close in good order");
    assert_eq!(sandbox.ledger().started().count(), 1);
}

#[tokio::test]
async fn reset_in_the_middle_half_of_the_body_arrives() {
    let sandbox = start(settings(&["reset-mid-body"])).await;
    let (bytes, end) = answer(send(&sandbox, &request(&post_line(), "", "")).await).await;
    assert_eq!(end.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    let text = String::from_utf8(bytes).expect("half an answer of text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    assert_eq!(body.len(), length.parse::<usize>().expect("a number") / 2);
    assert_eq!(sandbox.ledger().started().count(), 1);
}

#[tokio::test]
async fn a_dripping_answer_comes_byte_by_byte_and_is_whole() {
    let sandbox = start(settings(&[])).await;
    sandbox.set_faults(vec!["drip=1h".parse().expect("a fault")]);
    let mut stream = send(&sandbox, &request(&post_line(), "", "")).await;
    let mut buffer = [0; 64];
    let count = stream.read(&mut buffer).await.expect("a first byte");
    assert_eq!(&buffer[..count], b"H", "the next one comes in an hour");

    sandbox.set_faults(vec!["drip".parse().expect("a fault")]);
    let (head, body) = exchange(&sandbox, &post_line()).await;
    assert!(head.contains("X-RateLimit-Remaining: 3598"), "{head}");
    assert!(body.starts_with(br#"{"response":{"id":2594"#) && body.ends_with(b"}}"), "{body:?}");
}

#[tokio::test]
async fn an_endless_body_goes_on_until_the_client_goes() {
    let sandbox = start(settings(&["endless:times=1"])).await;
    let mut stream = send(&sandbox, &request(&post_line(), "", "")).await;
    let mut bytes = vec![0; 4 << 20];
    stream.read_exact(&mut bytes).await.expect("4 MiB and more");
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK\r\n"));
    drop(stream);
    let (head, _) = exchange(&sandbox, &post_line()).await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "others are served: {head}");
}

#[tokio::test]
async fn odd_headers_are_odd_on_the_wire() {
    let sandbox = start(settings(&["odd-headers"])).await;
    let (head, body) = exchange(&sandbox, &post_line()).await;
    assert!(head.contains("\r\nx-rAtElImIt-lImIt: 3600 requests\r\n"), "{head}");
    assert!(body.starts_with(br#"{"response":{"id":2593"#));
}

#[tokio::test]
async fn a_flood_of_headers_arrives_whole() {
    let sandbox = start(settings(&["header-flood"])).await;
    let (head, _) = exchange(&sandbox, &post_line()).await;
    assert_eq!(head.matches("\r\nX-Flood-").count(), 2_000);
}

#[tokio::test]
async fn a_huge_body_and_a_garbled_one_arrive_whole() {
    let sandbox = start(settings(&["huge:times=1"])).await;
    assert!(exchange(&sandbox, &post_line()).await.1.len() > 2 << 20);
    sandbox.set_faults(vec!["garbage".parse().expect("a fault")]);
    assert!(String::from_utf8(exchange(&sandbox, &post_line()).await.1).is_err());
}

#[tokio::test]
async fn a_slow_answer_is_held_back_after_the_effect() {
    let sandbox = start(settings(&["slow=1h"])).await;
    let _stream = send(&sandbox, &request(&post_line(), "", "")).await;
    assert_eq!(soon("an action", sandbox.wait_for_started(1)).await.requests.len(), 1);
    soon("the stop", sandbox.stop()).await;
}

#[tokio::test]
async fn a_late_effect_happens_though_the_client_has_gone() {
    let sandbox = start(settings(&["slow=50ms:effect=last"])).await;
    let stream = send(&sandbox, &request(&post_line(), "", "")).await;
    let ledger = soon("a request", sandbox.wait_for(|ledger| !ledger.requests.is_empty())).await;
    assert_eq!(ledger.started().count(), 0, "the effect is to come last");
    drop(stream);
    let ledger = soon("an action", sandbox.wait_for_started(1)).await;
    assert_eq!((ledger.requests.len(), ledger.requests[0].action), (1, Some(2593)));
}

#[tokio::test]
async fn stopping_cuts_what_is_open_and_frees_the_port() {
    let sandbox = start(settings(&["slow=1h"])).await;
    let address = sandbox.address();
    let stream = send(&sandbox, &request(&post_line(), "", "")).await;
    soon("an action", sandbox.wait_for_started(1)).await;
    soon("the stop", sandbox.stop()).await;
    assert_eq!(answer(stream).await.0.len(), 0, "cut without an answer");
    let again = start(Settings { listen: address, ..settings(&[]) }).await;
    assert_eq!(again.address(), address);
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let sandbox = start(settings(&[])).await;
    let second = Sandbox::start(Settings { listen: sandbox.address(), ..settings(&[]) }).await;
    assert_eq!(second.expect_err("the port is taken").kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_running_sandbox_can_be_looked_into_and_steered() {
    let sandbox = start(settings(&[])).await;
    let root = format!("http://{}/_sandbox", sandbox.address());
    let client = reqwest::Client::new();
    let get = async |path: &str| -> Value {
        client.get(format!("{root}/{path}")).send().await.expect("an answer").json().await.expect("JSON")
    };
    let post = async |path: &str| client.post(format!("{root}/{path}")).send().await.expect("an answer");

    assert_eq!(get("ledger").await, serde_json::json!({ "requests": [] }));
    let line = post_line();
    let (waiting, _) = tokio::join!(get("ledger?started=1"), exchange(&sandbox, &line));
    let record = &waiting["requests"][0];
    assert_eq!(record["action"], 2593, "it waited for the action: {waiting}");
    assert_eq!(record["endpoint"], "run_now");
    let instant = record["at"].as_str().expect("an instant");
    assert_eq!(instant.len(), "2016-02-04T12:52:24.000000Z".len(), "microseconds: {instant}");
    let actions = get("actions").await;
    assert_eq!(
        (&actions["actions"][0]["job"], &actions["actions"][0]["success"]),
        (&"J1".into(), &true.into())
    );

    assert_eq!(post("use?user=demo@example.com&n=99").await.text().await.expect("a body"), r#"{"used":99}"#);
    assert_eq!(post("limit?user=demo@example.com&n=200").await.status(), StatusCode::OK);
    exchange(&sandbox, &post_line()).await;
    assert_eq!(
        sandbox.ledger().requests[1].remaining,
        Some(200 - 1 - 99 - 1),
        "neither look nor steering counts"
    );
    assert_eq!(post("use?user=x&n=1").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(post("limit?user=x&n=1").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(post("use?user=x").await.status(), StatusCode::BAD_REQUEST);

    assert_eq!(post("faults?fault=status=500:times=1&fault=warning").await.status(), StatusCode::OK);
    assert!(exchange(&sandbox, &post_line()).await.0.starts_with("HTTP/1.1 500 "));
    assert!(exchange(&sandbox, &post_line()).await.0.contains("\r\nX-Cloud66-Warning: "));
    let refused = post("faults?fault=warnin").await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let told = refused.text().await.expect("a body");
    assert_eq!(told, "`warnin` is no kind of fault; did you mean `warning`?\n");
    assert_eq!(post("faults").await.status(), StatusCode::OK);
    assert!(!exchange(&sandbox, &post_line()).await.0.contains("Warning"), "no faults are left");
}

#[tokio::test]
async fn ten_thousand_runs_at_once_are_answered_and_remembered() {
    let _turn = crate::common::MACHINE.acquire().await;
    let mut settings = settings(&[]);
    // Whatever the hour, no window turns meanwhile.
    settings.users[0].quota =
        SandboxQuota { kind: WindowKind::FirstRequest, limit: 20_000, ..settings.users[0].quota };
    let sandbox = start(settings).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let requests =
            request(&post_line(), "", "").repeat(99) + &request(&post_line(), "Connection: close\r\n", "");
        let address = sandbox.address();
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            let (mut from, mut to) = stream.split();
            let mut bytes = Vec::new();
            let (sent, received) =
                tokio::join!(to.write_all(requests.as_bytes()), from.read_to_end(&mut bytes));
            sent.and(received).expect("a whole exchange");
            String::from_utf8(bytes).expect("text").matches("HTTP/1.1 200 OK").count()
        });
    }
    let mut answered = 0;
    while let Some(count) = clients.join_next().await {
        answered += count.expect("no panic");
    }
    let ledger = sandbox.ledger();
    assert_eq!((answered, ledger.started().count()), (10_000, 10_000));
    let mut remaining: Vec<_> = ledger.requests.iter().filter_map(|record| record.remaining).collect();
    remaining.sort_unstable();
    assert_eq!(remaining, (10_000..20_000).collect::<Vec<u32>>(), "each was told what remained after it");
}
