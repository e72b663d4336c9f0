//! Sends run_now: once, on a connection that is known to live, and notes when its first byte was
//! written.
//!
//! A run_now cannot be taken back and must not be repeated, so everything turns on one question:
//! was a byte of it written? Until then it is not sent, and takes the next connection. From then on
//! only an answer tells what became of it. reqwest's pool cannot say, so run_now goes over HTTP/1.1
//! on connections of our own:
//!
//! - HTTP/2 carries many requests on one connection. Its server may announce the end (GOAWAY) of
//!   those that are on their way, or refuse a stream (REFUSED_STREAM) whose effect has happened, as
//!   haproxy 2.6 does. With HTTP/1.1 a connection carries one request at a time, and its end takes
//!   one with it at most.
//! - Fronts close idle connections at whole seconds, which are cron's. A connection is opened for
//!   what is due, or was used less than half a second ago (`connection.rs`), and its socket is
//!   looked at for an unread end right before it is used.
//!
//! ```text
//! 11:59:58.5  a connection is opened for what is due at 12:00:00
//! 12:00:00.0  its socket holds nothing unread: the request is written; sent_at is that instant, connect_ms is 0
//! 12:00:00.2  the answer is read, and the connection is idle
//! 12:00:00.7  it is not used any more, and closed soon
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use reqwest::Url;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT,
};
use tokio::time::timeout_at;

use super::answer::Outcome;
use super::call::Call;
use super::connection::{Connection, HttpAnswer, HttpRequest};
use super::headers::{REQUEST_ID, USER, request_id};
use super::pool::Pool;
use super::reply::{Departure, Reply};
use super::route::Route;
use crate::schedule::{Account, ArgsIn, JobUid, StackUid};

/// A request meets this many connections at most that end before a byte of it is written.
const TRIES: usize = 3;

/// Sends the run_now of one account, one at a time on a connection. `workers.rs` says how many at
/// once.
pub(super) struct Sender {
    pool: Arc<Pool>,
    /// The headers that every run_now has.
    headers: HeaderMap,
    base: Url,
    /// The request line's target up to the stack's uid: the path, or the whole address where a
    /// proxy is asked.
    start: String,
    args_in: ArgsIn,
    /// The requests are written to a proxy, with the whole address.
    whole_address: bool,
    timeout: Duration,
}

/// A run_now that was handed over.
pub(super) struct Fire {
    /// The request, or why it can never be written.
    pub(super) written: Result<SentRequest, String>,
    /// Masked where the API repeats them.
    pub(super) args: Option<String>,
    pub(super) handed_over: Instant,
    /// Asked once a connection is there. The error says why nothing is sent.
    pub(super) may_leave: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Takes what became of it.
    pub(super) done: Box<dyn FnOnce(Reply<Outcome>) + Send + Sync>,
}

/// The parts of a run_now that differ from one to the next.
#[derive(Clone)]
pub(super) struct SentRequest {
    /// The request line's target.
    target: Uri,
    /// A JSON document with the arguments. `None`: the request has no body.
    body: Option<Bytes>,
}

/// A connection that has carried a request and may carry another.
pub(super) type KeptConnection = Option<Connection>;

impl Sender {
    /// Makes the sender of an account. `headers` are those that every request of the account has; a
    /// connection is given up when it does not stand after `connect`.
    pub(super) fn new(route: Route, account: &Account, mut headers: HeaderMap, connect: Duration) -> Sender {
        let base = &account.url;
        let port = base.port().map_or(String::new(), |port| format!(":{port}"));
        let host = format!("{}{port}", base.host_str().unwrap_or_default());
        if let Ok(host) = HeaderValue::from_str(&host) {
            headers.insert(HOST, host);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(USER));
        // A POST without a length is refused by some proxies.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let whole_address = match route.forwards() {
            Some(password) => {
                let password = password.cloned();
                headers.extend(password.map(|password| (PROXY_AUTHORIZATION, password)));
                true
            }
            None => false,
        };
        let stacks = super::call::address(base, &["stacks"]);
        let start = format!("{}/", if whole_address { stacks.as_str() } else { stacks.path() });
        Sender {
            pool: Pool::new(route, connect),
            headers,
            base: base.clone(),
            start,
            args_in: account.args_in,
            whole_address,
            timeout: account.timeout,
        }
    }

    /// Opens connections for what is due soon. Sends nothing, and costs no quota.
    pub(super) fn open_ahead(&self, connections: usize) {
        self.pool.open_ahead(connections);
    }

    /// Takes back a connection that nothing waits for.
    pub(super) fn give_back(&self, kept: KeptConnection) {
        if let Some(connection) = kept {
            self.pool.give_back(connection);
        }
    }

    /// Writes the request line's target and the body. Most uids need no encoding, and are put
    /// behind the part that all targets begin with: in a burst, a URL that is parsed and written
    /// again for each request costs more than its request.
    ///
    /// # Errors
    ///
    /// The request can never be sent: its arguments are longer than the account admits, or its
    /// target is no URI.
    pub(super) fn write(
        &self,
        stack: &StackUid,
        job: &JobUid,
        args: Option<&str>,
    ) -> Result<SentRequest, String> {
        let (stack_uid, job_uid) = (stack.as_str(), job.as_str());
        let (target, body) = if args.is_none() && is_plain(stack_uid) && is_plain(job_uid) {
            ([&self.start, stack_uid, "/jobs/", job_uid, "/run_now"].concat(), None)
        } else {
            if let Some(args) = args {
                self.args_in.admits(args).map_err(|error| format!("{error}: {}", error.help()))?;
            }
            let Call { url, body, .. } = Call::run_now(&self.base, stack, job, args, self.args_in);
            let target = match (self.whole_address, url.query()) {
                (true, _) => url.to_string(),
                (false, Some(query)) => format!("{}?{query}", url.path()),
                (false, None) => url.path().to_owned(),
            };
            (target, body)
        };
        match Uri::try_from(target) {
            Ok(target) => Ok(SentRequest { target, body }),
            Err(error) => Err(format!("the request cannot be written: {error}")),
        }
    }

    /// Sends a run_now on a connection that was kept or on another, if it may leave once one is
    /// there.
    pub(super) async fn send(
        &self,
        fire: &Fire,
        mut kept: KeptConnection,
    ) -> (Reply<Outcome>, KeptConnection) {
        let end = (fire.handed_over + self.timeout).into();
        let not_sent = |error: String| Reply::unanswered(Outcome::NotSent { error });
        let written = match &fire.written {
            Ok(written) => written,
            Err(error) => {
                return (Reply::unanswered(Outcome::Unsendable { error: error.clone() }), kept);
            }
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let mut connect = Duration::ZERO;
            let usable = match kept.take() {
                Some(mut connection) => {
                    // The request waited for its turn on this connection.
                    connect = fire.handed_over.elapsed();
                    connection.is_usable().then_some(connection)
                }
                None => None,
            };
            let mut connection = match usable.or_else(|| self.pool.take_idle()) {
                Some(connection) => connection,
                None => match timeout_at(end, self.pool.take()).await {
                    Ok(Ok(connection)) => {
                        connect = fire.handed_over.elapsed();
                        connection
                    }
                    Ok(Err(error)) => return (not_sent(error), None),
                    Err(_) => {
                        let goal = self.pool.route().goal();
                        return (not_sent(format!("timed out: no connection to {goal}")), None);
                    }
                },
            };
            if let Err(error) = (fire.may_leave)() {
                return (not_sent(error), Some(connection));
            }
            connection.first_byte.forget();
            let answered = timeout_at(end, connection.exchange(self.request(written.clone()))).await;
            let left = connection.first_byte.at().map(|at| Departure { at, connect });
            let error = match answered {
                Ok(Ok(HttpAnswer { head, body })) => {
                    let reply = Reply { left, ..head.of_run_now(body, fire.args.as_deref()) };
                    return (reply, Some(connection));
                }
                Ok(Err(error)) => error,
                Err(_) => "timed out".to_owned(),
            };
            if left.is_some() {
                return (Reply { left, ..Reply::unanswered(Outcome::InDoubt { status: None, error }) }, None);
            }
            if tries == TRIES || fire.handed_over.elapsed() >= self.timeout {
                return (not_sent(error), None);
            }
        }
    }

    fn request(&self, SentRequest { target, body }: SentRequest) -> HttpRequest {
        let mut headers = self.headers.clone();
        if let Some(body) = &body {
            headers.insert(CONTENT_LENGTH, body.len().into());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.insert(REQUEST_ID, request_id());
        let mut request = HttpRequest::new(Full::new(body.unwrap_or_default()));
        *request.method_mut() = reqwest::Method::POST;
        *request.uri_mut() = target;
        *request.headers_mut() = headers;
        request
    }
}

/// Returns true when a uid needs no encoding in a path.
fn is_plain(uid: &str) -> bool {
    uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud66::dial::Addresses;
    use crate::timetable::tests::entry;

    fn account(url: Url, args_in: ArgsIn) -> Account {
        Account { url, args_in, ..Account::clone(&entry("a", "UTC", &["* * * * *"]).account) }
    }

    #[test]
    fn arguments_travel_where_the_account_says() {
        let base: Url = "http://127.0.0.1:9/api/3".parse().expect("a URL");
        let (stack, job) = (StackUid::new("s").expect("a uid"), JobUid::new("j").expect("a uid"));
        let request = |args_in, args| {
            let route = Route::new(&base, true, Addresses::default()).expect("TLS");
            let sender =
                Sender::new(route, &account(base.clone(), args_in), HeaderMap::new(), Duration::ZERO);
            let written = sender.write(&stack, &job, args).expect("a request");
            let request = sender.request(written.clone());
            let header =
                |name| request.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
            let body = written.body.map(|body| String::from_utf8(body.to_vec()).expect("text"));
            (request.uri().to_string(), header(CONTENT_LENGTH), header(CONTENT_TYPE), body)
        };
        let path = "/api/3/stacks/s/jobs/j/run_now";
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(request(ArgsIn::Query, None), (path.to_owned(), some("0"), None, None));
        assert_eq!(request(ArgsIn::Body, None), (path.to_owned(), some("0"), None, None));
        let query = format!("{path}?job_args=a%20%22b%22");
        assert_eq!(request(ArgsIn::Query, Some("a \"b\"")), (query, some("0"), None, None));
        let body = r#"{"job_args":"a \"b\""}"#;
        let json = some("application/json");
        let length = some(&body.len().to_string());
        assert_eq!(request(ArgsIn::Body, Some("a \"b\"")), (path.to_owned(), length, json, some(body)));
    }

    #[test]
    fn arguments_that_no_request_can_carry_are_never_tried() {
        let base: Url = "http://127.0.0.1:9/api/3".parse().expect("a URL");
        let (stack, job) = (StackUid::new("s").expect("a uid"), JobUid::new("j").expect("a uid"));
        for (args_in, length) in [(ArgsIn::Query, 70_000), (ArgsIn::Body, 70_000), (ArgsIn::Query, 5_000)] {
            let route = Route::new(&base, true, Addresses::default()).expect("TLS");
            let sender =
                Sender::new(route, &account(base.clone(), args_in), HeaderMap::new(), Duration::ZERO);
            assert!(sender.write(&stack, &job, Some(&"a".repeat(length))).is_err());
        }
    }

    #[test]
    fn the_target_that_is_put_together_is_the_one_of_the_url() {
        for base in ["https://app.cloud66.com/api/3", "http://127.0.0.1:9/", "http://[::1]:9/a%20b/c"] {
            let base: Url = base.parse().expect("a URL");
            let route = Route::new(&base, true, Addresses::default()).expect("TLS");
            let account = account(base.clone(), ArgsIn::Query);
            let sender = Sender::new(route, &account, HeaderMap::new(), Duration::ZERO);
            for (stack, job) in [("5999b763474b0eafa5fafb64bff0ba80", "a_b-7"), ("s/1", "é"), ("a.b", "7%20")]
            {
                let (stack, job) = (StackUid::new(stack).expect("a uid"), JobUid::new(job).expect("a uid"));
                for args in [None, Some("a b&c")] {
                    let url = Call::run_now(&base, &stack, &job, args, ArgsIn::Query).url;
                    let target = sender.write(&stack, &job, args).expect("a request").target;
                    assert_eq!((target.path(), target.query()), (url.path(), url.query()));
                }
            }
        }
    }
}
