//! Where to listen: an address, or a port alone, which is one of this machine's own.

use std::net::{Ipv4Addr, SocketAddr};

/// Reads `ADDRESS:PORT`, or `PORT`, which is on loopback: what others can reach has to be said.
///
/// # Errors
/// What to write, where it is neither.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost").unwrap_or(text);
    if let Ok(port) = port.strip_prefix(':').unwrap_or(port).parse() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| {
        "write a port, as 9066, to be reached from this machine alone, or an address of it and a port, as 192.0.2.1:9066 \
         or [::]:9066"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        for text in ["9066", ":9066", "localhost:9066", "127.0.0.1:9066"] {
            assert_eq!(
                parse(text).map(|address| address.to_string()).as_deref(),
                Ok("127.0.0.1:9066"),
                "{text}"
            );
        }
        assert_eq!(parse("[::]:0").map(|address| address.to_string()).as_deref(), Ok("[::]:0"));
        for text in ["", "everywhere", "example.com:80", "70000", "1.2.3.4", "-1"] {
            assert!(parse(text).is_err_and(|error| error.contains("9066")), "{text}");
        }
    }
}
