//! From a host's name to a TCP connection, though some of its addresses are dead.
//!
//! An address behind which packets vanish answers nothing, and an attempt to connect to it ends only by a timeout. So
//! the addresses race, whatever their family: the next one starts 250 ms after the one before, or as soon as it fails,
//! and the first connection that stands wins. The address that won is tried first from then on:
//!
//! ```text
//! 10:00:00.000  first connection: 192.0.2.1 (dead) is tried
//! 10:00:00.250  192.0.2.2 is tried as well, and answers after 20 ms
//! 11:00:00.000  next connection: 192.0.2.2 is tried first, and stands after 20 ms
//! ```

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// An address has this head start before the next one is tried: RFC 8305, "Connection Attempt Delay".
const HEAD_START: Duration = Duration::from_millis(250);

/// The address of each host that last took a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses(Arc<Mutex<HashMap<String, IpAddr>>>);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the address of {host} cannot be found: {error}")]
    Lookup { host: String, error: io::Error },
    #[error("{host} has no address")]
    Nowhere { host: String },
    #[error("{address} cannot be reached: {error}")]
    Connect { address: SocketAddr, error: io::Error },
}

impl Addresses {
    /// The host's addresses, in the order in which to try them.
    async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        if let Some(&first) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host) {
            addresses.sort_by_key(|address| address.ip() != first);
        }
        Ok(addresses)
    }

    fn worked(&self, host: &str, address: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), address);
    }

    /// Connects. For how long is the caller's to bound.
    pub(super) async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let found = self.look_up(host, port).await;
        let found = found.map_err(|error| DialError::Lookup { host: host.to_owned(), error })?;
        let mut rest = found.into_iter();
        let mut racing = JoinSet::new();
        let mut failed = DialError::Nowhere { host: host.to_owned() };
        loop {
            let next = rest.next();
            let last = next.is_none();
            if let Some(address) = next {
                racing.spawn(async move { (address, TcpStream::connect(address).await) });
            } else if racing.is_empty() {
                return Err(failed);
            }
            let ended = tokio::select! {
                ended = racing.join_next() => ended,
                () = tokio::time::sleep(HEAD_START), if !last => continue,
            };
            match ended {
                Some(Ok((address, Ok(stream)))) => {
                    self.worked(host, address.ip());
                    // A connection that is slower for want of this is still one.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Some(Ok((address, Err(error)))) => failed = DialError::Connect { address, error },
                Some(Err(_)) | None => {}
            }
        }
    }
}

/// Questions go through reqwest, which tries the addresses in the order that it is given.
impl Resolve for Addresses {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.clone();
        Box::pin(async move {
            let found = addresses.look_up(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
