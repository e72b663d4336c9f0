//! What the client puts on the wire: one request for each call, on connections that are ready for
//! it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use stackcron::cloud66::{Client, Outcome, Token};
use stackcron::schedule::{Account, JobUid, Schedule, StackUid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ACTION: &str = r#"{"response":{"id":7,"finished_at":null,"finished_success":null}}"#;

fn client(url: &str) -> Client {
    client_with(url, "timeout: 5s")
}

/// The client of an account that has more keys.
fn client_with(url: &str, keys: &str) -> Client {
    let file = format!("accounts: {{ main: {{ url: '{url}', token: {{ env: T }}, {keys} }} }}\njobs: {{}}\n");
    let schedule: Schedule = stackcron::schedule::parse("test.yaml", &file).expect("a valid file").schedule;
    let account: &Arc<Account> = &schedule.accounts[0];
    Client::new(account, &Token::new("s3cret", "the test").expect("a token")).expect("a client")
}

async fn run_now(client: &Client) -> Outcome {
    let (stack, job) = (StackUid::new("s/1").expect("a uid"), JobUid::new("j").expect("a uid"));
    client.run_now(&stack, &job, Some("a b&c"), || Ok::<(), String>(())).await.outcome
}

/// Reads one request's head. Empty when the connection ends first.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).expect("ASCII")
}

async fn answer(stream: &mut TcpStream) {
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{ACTION}", ACTION.len());
    stream.write_all(text.as_bytes()).await.expect("the answer is written");
}

#[tokio::test]
async fn a_connection_that_was_opened_ahead_carries_the_next_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = client(&format!("http://{}/api/3", listener.local_addr().expect("its address")));
    client.open_ahead(1);
    let (mut stream, _) = listener.accept().await.expect("the connection");
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), stream.peek(&mut byte)).await;
    assert!(early.is_err(), "nothing is sent on it before there is a request");
    let call = tokio::spawn(async move { run_now(&client).await });
    let head = head(&mut stream).await;
    assert!(
        head.starts_with("POST /api/3/stacks/s%2F1/jobs/j/run_now?job_args=a%20b%26c HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("authorization: Bearer s3cret\r\n"), "{head}");
    assert!(head.contains("content-length: 0\r\n"), "{head}");
    answer(&mut stream).await;
    assert!(matches!(call.await.expect("an outcome"), Outcome::Started(_)));
}

#[tokio::test]
async fn arguments_in_a_body_and_an_organization_are_written_as_the_vendors_client_writes_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/api/3", listener.local_addr().expect("its address"));
    let client = client_with(&url, "args_in: body, organization: 1234");
    let (stack, job) = (StackUid::new("s").expect("a uid"), JobUid::new("j").expect("a uid"));
    for args in [Some(r#""a b" "c""#), None] {
        let (client, stack, job) = (client.clone(), stack.clone(), job.clone());
        let call =
            tokio::spawn(
                async move { client.run_now(&stack, &job, args, || Ok::<(), String>(())).await.outcome },
            );
        let (mut stream, _) = listener.accept().await.expect("the connection");
        let head = head(&mut stream).await;
        assert!(head.starts_with("POST /api/3/stacks/s/jobs/j/run_now HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("x-account: 1234\r\n"), "{head}");
        let expected = if args.is_some() { r#"{"job_args":"\"a b\" \"c\""}"# } else { "" };
        assert!(head.contains(&format!("content-length: {}\r\n", expected.len())), "{head}");
        assert_eq!(head.contains("content-type: application/json\r\n"), args.is_some(), "{head}");
        let mut body = vec![0; expected.len()];
        stream.read_exact(&mut body).await.expect("the body");
        assert_eq!(String::from_utf8(body).expect("text"), expected);
        let text = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{ACTION}",
            ACTION.len()
        );
        stream.write_all(text.as_bytes()).await.expect("the answer is written");
        assert!(matches!(call.await.expect("an outcome"), Outcome::Started(_)));
    }
    // Questions name the organization as well.
    let asked = tokio::spawn(async move { client.actions(&stack, 1).await.outcome });
    let (mut stream, _) = listener.accept().await.expect("the connection");
    let head = head(&mut stream).await;
    assert!(head.starts_with("GET ") && head.contains("x-account: 1234\r\n"), "{head}");
    drop(stream);
    let _ = asked.await;
}

/// A server that treats each connection's requests as told, and counts them.
async fn serve(plan: &'static [&'static [Act]]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/api/3", listener.local_addr().expect("its address"));
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        for acts in plan {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            for act in *acts {
                if *act == Act::Close {
                    break;
                }
                if head(&mut stream).await.is_empty() {
                    break;
                }
                count.fetch_add(1, Ordering::SeqCst);
                match act {
                    Act::Answer => answer(&mut stream).await,
                    Act::ReadAndClose | Act::Close => break,
                    Act::HalfAnAnswer => {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await.expect("it is written");
                        break;
                    }
                }
            }
        }
        std::future::pending::<()>().await;
    });
    (url, requests)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Answer,
    /// The request arrives, and the connection ends.
    ReadAndClose,
    HalfAnAnswer,
    /// The connection ends with no request on it.
    Close,
}

#[tokio::test]
async fn a_request_that_arrived_is_never_sent_again() {
    const PLANS: [(&str, &[&[Act]]); 4] = [
        ("a new connection ends", &[&[Act::ReadAndClose], &[Act::Answer]]),
        ("a used connection ends", &[&[Act::Answer, Act::ReadAndClose], &[Act::Answer]]),
        ("a new connection breaks in the answer", &[&[Act::HalfAnAnswer], &[Act::Answer]]),
        ("a used connection breaks in the answer", &[&[Act::Answer, Act::HalfAnAnswer], &[Act::Answer]]),
    ];
    for (what, plan) in PLANS {
        let (url, requests) = serve(plan).await;
        let client = client(&url);
        let before = plan[0].len() - 1;
        for _ in 0..before {
            assert!(matches!(run_now(&client).await, Outcome::Started(_)), "{what}: the first is answered");
        }
        let outcome = run_now(&client).await;
        assert!(matches!(outcome, Outcome::InDoubt { status: None, .. }), "{what}: {outcome:?}");
        assert_eq!(requests.load(Ordering::SeqCst), before + 1, "{what}: it arrived once");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_costs_no_request() {
    let (url, requests) = serve(&[&[Act::Answer, Act::Close], &[Act::Answer]]).await;
    let client = client(&url);
    assert!(matches!(run_now(&client).await, Outcome::Started(_)));
    // The server has closed the connection by now, or is about to: whichever it is, one request
    // arrives.
    let outcome = run_now(&client).await;
    match outcome {
        Outcome::Started(_) => assert_eq!(requests.load(Ordering::SeqCst), 2),
        Outcome::InDoubt { .. } => {
            assert_eq!(requests.load(Ordering::SeqCst), 1, "in doubt, and not sent again")
        }
        other => panic!("neither started nor in doubt: {other:?}"),
    }
}
