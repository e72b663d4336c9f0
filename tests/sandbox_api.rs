//! The look-alike API: its answers byte for byte in virtual time, its faults over real sockets.

mod faults;
mod quota;
mod shapes;
mod wire;

use axum::body::Bytes;
use axum::http::Method;
use jiff::Timestamp;
use stackcron::sandbox::{
    DEFAULT_TOKEN, Sandbox, SandboxAnswer, SandboxJob, SandboxReply, SandboxRequest, SandboxStack,
    SandboxState, Settings,
};
use stackcron::schedule::{JobUid, StackUid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const RUN: &str = "/api/3/stacks/S1/jobs/J1/run_now.json";
pub const USER: &str = "demo@example.com";

pub fn stack(uid: &str, jobs: &[&str]) -> SandboxStack {
    let stack = SandboxStack::new(StackUid::new(uid).expect("a uid"));
    jobs.iter().fold(stack, |stack, uid| stack.job(SandboxJob::new(JobUid::new(uid).expect("a uid"))))
}

/// One stack with one job, and these faults.
pub fn settings(faults: &[&str]) -> Settings {
    let settings = Settings::default().stack(stack("S1", &["J1"]));
    faults.iter().fold(settings, |settings, text| settings.fault(text.parse().expect("a fault")))
}

pub fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

/// The instant of the vendor's example.
pub fn noon() -> Timestamp {
    at("2016-02-04T12:52:24Z")
}

pub fn state(settings: &Settings) -> SandboxState {
    SandboxState::new(settings, at("2016-02-01T13:37:07Z"))
}

pub fn get(state: &mut SandboxState, path: &str, now: Timestamp) -> SandboxReply {
    replied(state.handle(SandboxRequest::new(Method::GET, path, DEFAULT_TOKEN), now))
}

pub fn post(state: &mut SandboxState, path: &str, now: Timestamp) -> SandboxReply {
    replied(state.handle(SandboxRequest::new(Method::POST, path, DEFAULT_TOKEN), now))
}

pub fn post_with(
    state: &mut SandboxState,
    path: &str,
    content_type: &str,
    body: &'static str,
) -> SandboxReply {
    let request = SandboxRequest {
        content_type: Some(content_type.to_owned()),
        body: Bytes::from_static(body.as_bytes()),
        ..SandboxRequest::new(Method::POST, path, DEFAULT_TOKEN)
    };
    replied(state.handle(request, noon()))
}

pub fn replied(answer: SandboxAnswer) -> SandboxReply {
    match answer {
        SandboxAnswer::Reply(reply) => reply,
        SandboxAnswer::Postponed(after, _) => panic!("an answer at once, not after {after:?}"),
    }
}

pub fn text(reply: &SandboxReply) -> &str {
    std::str::from_utf8(&reply.body).expect("a body of text")
}

pub async fn start(settings: Settings) -> Sandbox {
    Sandbox::start(settings).await.expect("a port of the loopback is free")
}

/// Waits for an event that is to come soon, so that a test whose event never comes fails and does not hang.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(30);
    tokio::time::timeout(limit, event).await.unwrap_or_else(|_| panic!("{what} was to come within {limit:?}"))
}

/// A request as it goes over the wire, with the token.
pub fn request(line: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {DEFAULT_TOKEN}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Sends bytes on a connection of their own.
pub async fn send(sandbox: &Sandbox, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(sandbox.address()).await.expect("it listens");
    stream.write_all(bytes.as_bytes()).await.expect("it reads");
    stream
}

/// Everything that is answered until the connection ends, and how it ends.
pub async fn answer(mut stream: TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut bytes = Vec::new();
    let end = soon("the connection's end", stream.read_to_end(&mut bytes)).await.map(drop);
    (bytes, end)
}

/// Sends one request, and returns the head and the body of its answer.
pub async fn exchange(sandbox: &Sandbox, line: &str) -> (String, Vec<u8>) {
    let stream = send(sandbox, &request(line, "Connection: close\r\n", "")).await;
    let (bytes, end) = answer(stream).await;
    end.expect("the connection ends in good order");
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    (String::from_utf8(bytes[..head].to_vec()).expect("a head of text"), bytes[head + 4..].to_vec())
}
