//! The way of a `run_now` to the API: directly or through the environment's proxy, in the clear or
//! over TLS.

use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;
use reqwest::header::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::dial::{Addresses, DialError};
use super::failure;
use super::wire::{Duplex, Wire};

/// A proxy's answer to `CONNECT` is read up to this many bytes. Most have less than a hundred.
const LONGEST_CONNECT_ANSWER: usize = 16 * 1024;

/// The way in which connections to one API are made.
pub(super) struct Route {
    target: RouteSite,
    proxy: Option<Proxy>,
    tls: TlsConnector,
    addresses: Addresses,
}

/// A host that connections go to.
#[derive(Clone, Debug)]
struct RouteSite {
    host: String,
    port: u16,
    encrypted: bool,
}

struct Proxy {
    site: RouteSite,
    /// The `Proxy-Authorization` of the name and password in its URL.
    password: Option<HeaderValue>,
}

/// A connection over which HTTP can be spoken.
pub(super) struct OpenedConnection {
    pub(super) stream: Box<dyn Duplex>,
    /// The socket under the connection.
    pub(super) socket: Arc<TcpStream>,
    /// True over TLS, where bytes that arrive unasked may be TLS's own records.
    pub(super) encrypted: bool,
}

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the proxy {proxy} cannot be used: {error}")]
    ProxyDial { proxy: String, error: DialError },
    #[error("the proxy {proxy} refuses a tunnel to {target}: {status}")]
    Refused { proxy: String, target: String, status: String },
    #[error("the proxy {proxy} gives no tunnel to {target}: {error}")]
    NoTunnel { proxy: String, target: String, error: String },
    #[error("TLS with {host} fails: {error}")]
    Tls { host: String, error: String },
    #[error("the proxy {proxy} is of a kind that cannot be used; set an http:// or https:// proxy")]
    ProxyKind { proxy: String },
}

impl Route {
    /// The route to an API by the environment of the process. No proxy is asked for this machine.
    pub(super) fn new(base: &Url, local: bool, addresses: Addresses) -> Result<Route, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let target = RouteSite {
            host: base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port: base.port_or_known_default().unwrap_or(443),
            encrypted: base.scheme() == "https",
        };
        let proxy = match base.as_str().parse() {
            Ok(uri) if !local => Matcher::from_system().intercept(&uri).map(|found| Proxy {
                site: RouteSite::of_proxy(found.uri()),
                password: found.basic_auth().cloned(),
            }),
            _ => None,
        };
        Ok(Route { target, proxy, tls: TlsConnector::from(Arc::new(tls)), addresses })
    }

    /// Requests are written to a proxy, which asks the API. Holds what the proxy wants to see, if
    /// anything.
    pub(super) fn forwards(&self) -> Option<Option<&HeaderValue>> {
        let proxy = self.proxy.as_ref().filter(|_| !self.target.encrypted)?;
        Some(proxy.password.as_ref())
    }

    /// Makes a connection. For how long is the caller's to bound.
    pub(super) async fn open(&self) -> Result<OpenedConnection, RouteError> {
        let first = self.proxy.as_ref().map_or(&self.target, |proxy| &proxy.site);
        if !matches!(first.port, 1..) {
            return Err(RouteError::ProxyKind { proxy: first.host.clone() });
        }
        let dialled = self.addresses.dial(&first.host, first.port).await;
        let socket = Arc::new(match &self.proxy {
            Some(proxy) => {
                dialled.map_err(|error| RouteError::ProxyDial { proxy: proxy.site.to_string(), error })?
            }
            None => dialled?,
        });
        let mut stream: Box<dyn Duplex> = Box::new(Wire(Arc::clone(&socket)));
        let mut encrypted = false;
        if let Some(proxy) = &self.proxy {
            if proxy.site.encrypted {
                stream = self.encrypt(stream, &proxy.site.host).await?;
                encrypted = true;
            }
            if self.target.encrypted {
                self.tunnel(&mut stream, proxy).await?;
            }
        }
        if self.target.encrypted {
            stream = self.encrypt(stream, &self.target.host).await?;
            encrypted = true;
        }
        Ok(OpenedConnection { stream, socket, encrypted })
    }

    /// Returns the name of the target of a connection, for messages.
    pub(super) fn goal(&self) -> String {
        let first = self.proxy.as_ref().map_or(&self.target, |proxy| &proxy.site);
        format!("{}:{}", first.host, first.port)
    }

    async fn encrypt(&self, stream: Box<dyn Duplex>, host: &str) -> Result<Box<dyn Duplex>, RouteError> {
        let failed = |error: String| RouteError::Tls { host: host.to_owned(), error };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        let stream = self.tls.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| failed(failure::causes(&error)))?))
    }

    /// Has the proxy connect to the API. It sees no header of ours.
    async fn tunnel(&self, stream: &mut Box<dyn Duplex>, proxy: &Proxy) -> Result<(), RouteError> {
        let target = self.target.authority();
        let failed = |error: String| RouteError::NoTunnel {
            proxy: proxy.site.to_string(),
            target: target.clone(),
            error,
        };
        let mut question = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(password) = &proxy.password {
            question.extend_from_slice(b"Proxy-Authorization: ");
            question.extend_from_slice(password.as_bytes());
            question.extend_from_slice(b"\r\n");
        }
        question.extend_from_slice(b"\r\n");
        stream.write_all(&question).await.map_err(|error| failed(error.to_string()))?;
        stream.flush().await.map_err(|error| failed(error.to_string()))?;
        let mut head = Vec::new();
        // Byte by byte: what follows the head is the API's.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == LONGEST_CONNECT_ANSWER {
                return Err(failed("its answer is too long".to_owned()));
            }
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) if head.is_empty() => return Err(failed("it closed the connection".to_owned())),
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        let head = String::from_utf8_lossy(&head);
        let line = head.lines().next().unwrap_or_default();
        let status = line.split_once(' ').filter(|(version, _)| version.starts_with("HTTP/1."));
        match status.map(|(_, status)| status.trim()) {
            Some(status) if status.starts_with('2') => Ok(()),
            Some(status) => Err(RouteError::Refused {
                proxy: proxy.site.to_string(),
                target,
                status: status.chars().filter(|c| !c.is_control()).take(100).collect(),
            }),
            None => Err(failed("its answer is no HTTP/1.1".to_owned())),
        }
    }
}

impl RouteSite {
    /// Port 0 stands for a kind of proxy that cannot be used.
    fn of_proxy(uri: &hyper::Uri) -> RouteSite {
        let (encrypted, usual) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => (false, 0),
        };
        let port = if usual == 0 { 0 } else { uri.port_u16().unwrap_or(usual) };
        RouteSite {
            host: uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
            port,
            encrypted,
        }
    }

    /// Host and port as HTTP writes them.
    fn authority(&self) -> String {
        let RouteSite { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl std::fmt::Display for RouteSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.encrypted { "https" } else { "http" }, self.authority())
    }
}
