//! No layer sends a run_now twice of which a byte may have left: servers that count what arrives,
//! and break off where libraries are known to repeat.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Daemon, Place, schedule, side_by_side};
use stackcron::cloud66::{Client, Outcome, Token};
use stackcron::schedule::{JobUid, Schedule, StackUid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// What arrived at a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Arrived {
    connections: usize,
    posts: usize,
    gets: usize,
    /// Requests with the token.
    tokens: usize,
    /// Those of `posts` that came over HTTP/2.
    streams_of_posts: usize,
}

type Count = Arc<watch::Sender<Arrived>>;

/// Listens, and treats each connection as told.
async fn serve<F>(treat: impl Fn(TcpStream, Count) -> F + Send + Sync + 'static) -> (u16, Count)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let count: Count = Arc::new(watch::Sender::new(Arrived::default()));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            counted.send_modify(|arrived| arrived.connections += 1);
            // How a connection ends is what the test is about.
            tokio::spawn(treat(stream, Arc::clone(&counted)));
        }
    });
    (port, count)
}

/// Waits until the count is as wished.
async fn wait(count: &Count, wished: impl FnMut(&Arrived) -> bool) -> Arrived {
    let mut changes = count.subscribe();
    let waited = tokio::time::timeout(crate::common::PATIENCE, changes.wait_for(wished)).await;
    *waited.expect("it arrives in time").expect("the server lives")
}

/// Reads the head of a request, and counts it. Empty when the connection ends first.
async fn head(stream: &mut (impl AsyncRead + Unpin), count: &Count) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return Ok(String::new()),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    count.send_modify(|arrived| {
        arrived.posts += usize::from(head.starts_with("POST "));
        arrived.gets += usize::from(head.starts_with("GET "));
        arrived.tokens +=
            usize::from(head.contains("s3cret") || head.contains(stackcron::sandbox::DEFAULT_TOKEN));
    });
    Ok(head)
}

fn client(url: &str) -> Client {
    let file = format!(
        "accounts: {{ main: {{ url: '{url}', timeout: 5s, args_in: body, token: {{ env: T }} }} }}\njobs: {{}}\n"
    );
    let schedule: Schedule = stackcron::schedule::parse("test.yaml", &file).expect("a valid file").schedule;
    Client::new(&schedule.accounts[0], &Token::new("s3cret", "the test").expect("a token")).expect("a client")
}

async fn run_now(client: &Client, args: &str) -> Outcome {
    let (stack, job) = (StackUid::new("s").expect("a uid"), JobUid::new("j").expect("a uid"));
    client.run_now(&stack, &job, Some(args), || Ok::<(), String>(())).await.outcome
}

const ACTION: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"response\":{\"id\":7}}";

/// A daemon whose one entry comes due once, in a few seconds.
fn due_once(url: &str, variables: &[(&str, &str)]) -> Daemon {
    let due = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let jobs = format!("  once: {{ stack: s, job: j, cron: '{}' }}\n", due.strftime("%-S %-M %-H %-d %-m *"));
    let place = Place::with(&schedule(url, "timeout: 5s", &jobs));
    variables.iter().fold(place, |place, (name, value)| place.env(name, value)).start()
}

#[tokio::test]
async fn a_connection_that_breaks_while_the_request_is_written_costs_one() {
    let cut = |bytes: usize| {
        move |mut stream: TcpStream, count: Count| async move {
            let mut some = vec![0; bytes];
            stream.read_exact(&mut some).await?;
            count.send_modify(|arrived| arrived.posts += usize::from(some.starts_with(b"POST")));
            // What has not been read makes of the close a reset.
            drop(stream);
            Ok(())
        }
    };
    for bytes in [4, 5000] {
        let (port, count) = serve(cut(bytes)).await;
        let client = client(&format!("http://127.0.0.1:{port}/api/3"));
        let outcome = run_now(&client, &"x".repeat(60_000)).await;
        assert!(matches!(outcome, Outcome::InDoubt { status: None, .. }), "{bytes} bytes: {outcome:?}");
        let arrived = *count.borrow();
        assert_eq!((arrived.connections, arrived.posts), (1, 1), "{bytes} bytes were read");
    }
}

#[tokio::test]
async fn a_used_connection_that_breaks_while_the_next_request_is_written_costs_one() {
    let (port, count) = serve(|mut stream: TcpStream, count: Count| async move {
        head(&mut stream, &count).await?;
        stream.read_exact(&mut [0; br#"{"job_args":"first"}"#.len()]).await?;
        stream.write_all(ACTION).await?;
        let mut some = [0; 5];
        stream.read_exact(&mut some).await?;
        count.send_modify(|arrived| arrived.posts += usize::from(some.starts_with(b"POST")));
        drop(stream);
        Ok(())
    })
    .await;
    let client = client(&format!("http://127.0.0.1:{port}/api/3"));
    assert!(matches!(run_now(&client, "first").await, Outcome::Started(_)), "the first is answered");
    let outcome = run_now(&client, &"x".repeat(60_000)).await;
    assert!(matches!(outcome, Outcome::InDoubt { status: None, .. }), "{outcome:?}");
    let arrived = *count.borrow();
    assert_eq!((arrived.connections, arrived.posts), (1, 2), "it arrived once, after the first");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_the_token_does_not_travel() {
    let (elsewhere, there) =
        serve(
            |mut stream: TcpStream, count: Count| async move { head(&mut stream, &count).await.map(|_| ()) },
        )
        .await;
    for status in [301, 302, 303, 307, 308] {
        let (port, count) = serve(move |mut stream: TcpStream, count: Count| async move {
            head(&mut stream, &count).await?;
            let to = format!("http://127.0.0.1:{elsewhere}/api/3/stacks/s/jobs/j/run_now");
            let answer = format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await
        })
        .await;
        let client = client(&format!("http://127.0.0.1:{port}/api/3"));
        let outcome = run_now(&client, "a").await;
        assert!(
            matches!(outcome, Outcome::Rejected { status: s, .. } if s == status),
            "{status}: {outcome:?}"
        );
        assert_eq!(count.borrow().posts, 1, "{status}: it arrived once");
    }
    assert_eq!(*there.borrow(), Arrived::default(), "nothing went to where it pointed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_fails_after_it_took_the_request_leaves_it_in_doubt() {
    let (port, count) =
        serve(
            |mut stream: TcpStream, count: Count| async move { head(&mut stream, &count).await.map(|_| ()) },
        )
        .await;
    let proxy = format!("http://127.0.0.1:{port}");
    let mut daemon = due_once("http://stackcron.invalid/api/3", &[("http_proxy", &proxy)]);
    let line = daemon.event("occurrence.in_doubt");
    assert_eq!(line["attempts"], 1, "{line}");
    wait(&count, |arrived| arrived.gets > 0).await;
    assert_eq!(count.borrow().posts, 1, "the proxy was asked once; only the list is asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_gives_no_tunnel_has_sent_nothing_and_sees_no_token() {
    let runtime = Handle::current();
    let cases = ["HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", ""];
    side_by_side(&cases, |&answer| {
        let (port, count) = runtime.block_on(serve(move |mut stream: TcpStream, count: Count| async move {
            head(&mut stream, &count).await?;
            // The tunnel that it gives leads nowhere.
            stream.write_all(answer.as_bytes()).await
        }));
        let proxy = format!("http://127.0.0.1:{port}");
        let mut daemon =
            due_once(&format!("https://stackcron.invalid:{port}/api/3"), &[("https_proxy", &proxy)]);
        let line = daemon.wait_for("occurrence.retrying", |line| line["attempts"] == 2);
        assert!(line["error"].is_string(), "{answer:?}: {line}");
        assert_eq!(daemon.events("occurrence.in_doubt").len(), 0, "{answer:?}: it was never sent");
        let arrived = *count.borrow();
        assert!(arrived.connections >= 2, "{answer:?}: the proxy was asked for a tunnel: {arrived:?}");
        assert_eq!((arrived.posts, arrived.tokens), (0, 0), "{answer:?}: {arrived:?}");
    });
}

/// How a server of HTTP/2 ends a run_now.
#[derive(Clone, Copy, Debug)]
enum End {
    /// GOAWAY(NO_ERROR): this is the last stream that it has processed.
    GoAway(u32),
    /// The same, and it goes on with the stream, which it never answers.
    Drain,
    /// REFUSED_STREAM.
    Refused,
    /// The connection ends.
    Close,
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const REFUSED_STREAM: u32 = 7;
const LAST_POSSIBLE: u32 = 0x7fff_ffff;

/// RFC 9113, 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Speaks just enough HTTP/2 to take a request in.
async fn speak(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    count: Count,
    end: End,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        let [a, b, c, kind, flags, s @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        let id = u32::from_be_bytes(s);
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            HEADERS => {
                // `:method: POST` and `:method: GET` of the static table, RFC 7541, appendix A.
                let method = payload.iter().find(|byte| matches!(byte, 0x82 | 0x83));
                let posts = method == Some(&0x83);
                count.send_modify(|arrived| {
                    arrived.posts += usize::from(posts);
                    arrived.streams_of_posts += usize::from(posts);
                    arrived.gets += usize::from(!posts);
                });
                let reset = frame(RST_STREAM, 0, id, &REFUSED_STREAM.to_be_bytes());
                let go_away = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
                match end {
                    End::Refused => stream.write_all(&reset).await?,
                    End::Close => return Ok(()),
                    End::Drain => stream.write_all(&go_away(LAST_POSSIBLE)).await?,
                    End::GoAway(last) => {
                        stream.write_all(&go_away(last)).await?;
                        return stream.shutdown().await;
                    }
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_http2_that_go_away_or_refuse_get_a_run_now_once_and_over_http1() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, made.cert.pem()).expect("the certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(made.cert.der().to_vec())], key)
        .expect("a certificate with its key");
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let ends =
        [End::GoAway(0), End::GoAway(1), End::GoAway(LAST_POSSIBLE), End::Drain, End::Refused, End::Close];
    let mut running = Vec::new();
    for end in ends {
        let acceptor = acceptor.clone();
        let (port, count) = serve(move |stream, count| {
            let acceptor = acceptor.clone();
            async move {
                let mut stream = acceptor.accept(stream).await?;
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    return speak(stream, count, end).await;
                }
                head(&mut stream, &count).await.map(|_| ())
            }
        })
        .await;
        let file = file.to_str().expect("UTF-8");
        let daemon = due_once(&format!("https://localhost:{port}/api/3"), &[("SSL_CERT_FILE", file)]);
        running.push((end, count, daemon));
    }
    for (end, count, mut daemon) in running {
        let line = daemon.event("occurrence.in_doubt");
        assert_eq!(line["attempts"], 1, "{end:?}: {line}");
        // It lives and reaches the server again: to ask, not to run.
        wait(&count, |arrived| arrived.gets > 0).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let arrived = *count.borrow();
        assert_eq!(
            (arrived.posts, arrived.streams_of_posts),
            (1, 0),
            "{end:?}: it arrived once: {arrived:?}"
        );
    }
}
