//! Who may ask, and how: the check of the `Host` header, the methods, and the headers that each
//! answer carries.
//!
//! The page has no password of its own: it is meant for loopback, or for a reverse proxy that asks
//! for one. A page of somebody else's, open in the browser of who may reach this one, must not read
//! it. The browser keeps the two apart by their origin, unless the other site lets its own name
//! resolve to this address (DNS rebinding). Then the request's `Host` is that site's name, and is
//! refused here.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The longest name that DNS knows.
const LONGEST_NAME: usize = 253;

/// The headers of every answer. Scripts and styles are files of the page's own, nothing else is
/// fetched, and no text can become a script (trusted types).
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Paths that answer a single word and accept every `Host`, since load balancers ask for them under
/// any name.
const FOR_EVERYONE: [&str; 2] = ["/healthz", "/readyz"];

/// A name under which the page may be asked for: of `--listen-host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<HostName, String> {
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        match name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
            true => Err("write the name alone, as cron.example.com: no scheme, no port".to_owned()),
            false => Ok(HostName(name)),
        }
    }
}

/// The way by which a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CameBy {
    /// Over TCP, to this address of the machine.
    At(IpAddr),
    /// Through the Unix socket, which no browser can use. The proxy in front knows its names.
    BySocket,
    /// Gone before it could be told.
    Nowhere,
}

/// The rules that a connection's requests are held against.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) names: Arc<[HostName]>,
    pub(super) came: CameBy,
}

/// Refuses what may not be asked, and puts the headers on what is answered.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let for_everyone = FOR_EVERYONE.contains(&request.uri().path());
    let mut answer = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (
            StatusCode::METHOD_NOT_ALLOWED,
            [(header::ALLOW, "GET, HEAD")],
            "Only GET and HEAD are answered here: it is for reading.\n",
        )
            .into_response()
    } else if for_everyone || guard.admits(request.uri().host(), request.headers()) {
        next.run(request).await
    } else {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "This daemon does not know itself by that name. Use the address, or start it with --listen-host NAME.\n",
        )
            .into_response()
    };
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

impl Guard {
    /// Returns true when the request's `Host` is one of this page's. `in_uri` is the host of a
    /// request line that has a whole URL.
    fn admits(&self, in_uri: Option<&str>, headers: &HeaderMap) -> bool {
        if self.came == CameBy::BySocket {
            return true;
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let told = host.to_str().ok().and_then(name_of);
        told.is_some_and(|name| self.knows(name)) && in_uri.is_none_or(|name| self.knows(bare(name)))
    }

    fn knows(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match name.parse::<IpAddr>() {
            Ok(ip) => ip.to_canonical().is_loopback() || self.is_at(ip),
            Err(_) => {
                name == "localhost"
                    || name.ends_with(".localhost")
                    || name == own_name()
                    || self.names.iter().any(|HostName(known)| *known == name)
            }
        }
    }

    fn is_at(&self, ip: IpAddr) -> bool {
        matches!(self.came, CameBy::At(local) if local.to_canonical() == ip.to_canonical())
    }
}

/// The machine's own name, by which its neighbours call it. No site elsewhere has it.
fn own_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase()
}

/// A `Host` header without its port. `None` where it is none.
fn name_of(host: &str) -> Option<&str> {
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    if host.starts_with('[') {
        let (name, port) = host.split_once(']')?;
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then(|| bare(name));
    }
    match host.split_once(':') {
        None => Some(host),
        Some((name, port)) => is_port(port).then_some(name),
    }
}

/// An IPv6 address without its brackets.
fn bare(name: &str) -> &str {
    name.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(came: CameBy, host: &str) -> bool {
        let names: Arc<[HostName]> = [HostName("cron.example.com".to_owned())].into();
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).expect("a value"))]);
        Guard { names, came }.admits(None, &headers)
    }

    #[test]
    fn a_name_that_others_rebind_is_refused() {
        let here = CameBy::At("192.0.2.7".parse().expect("an address"));
        for host in [
            "127.0.0.1",
            "127.0.0.1:9066",
            "localhost:9066",
            "LOCALHOST",
            "page.localhost",
            "[::1]:9066",
            "[::ffff:127.0.0.1]",
            "192.0.2.7:80",
            "cron.example.com",
            "Cron.Example.COM.:443",
        ] {
            assert!(admits(here, host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "192.0.2.8",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "cron.example.com.evil.example",
            "evil.example:9066",
            "localhost:x",
            "[::1",
            "127.0.0.1:9066:1",
            "evil@127.0.0.1",
        ] {
            assert!(!admits(here, host), "{host}");
        }
        assert!(admits(CameBy::BySocket, "whatever.example"), "the proxy knows its names");
    }

    #[test]
    fn none_and_two_hosts_are_refused() {
        let guard = Guard { names: [].into(), came: CameBy::At([127, 0, 0, 1].into()) };
        assert!(!guard.admits(None, &HeaderMap::new()));
        let mut two = HeaderMap::new();
        two.append(header::HOST, HeaderValue::from_static("localhost"));
        two.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!guard.admits(None, &two));
        two.remove(header::HOST);
        two.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(!guard.admits(Some("evil.example"), &two), "a whole URL is held against the same names");
        assert!(guard.admits(Some("localhost"), &two));
    }

    #[test]
    fn a_host_name_is_a_name_alone() {
        assert_eq!("Cron.Example.com.".parse(), Ok(HostName("cron.example.com".to_owned())));
        for text in ["", "https://cron.example.com", "cron.example.com:80", "a/b", "*"] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}
