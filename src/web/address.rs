//! The address of `--listen`: an IP address and a port, or a Unix socket for a reverse proxy.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::cli::listen;

/// The mode of the socket's file: for its owner and its group, as the proxy's user is made a member
/// of.
const MODE: u32 = 0o660;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebAddress {
    /// An address of this machine, and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl FromStr for WebAddress {
    type Err = String;

    /// Reads `unix:/PATH`, `ADDRESS:PORT`, or `PORT`, which is on loopback.
    fn from_str(text: &str) -> Result<WebAddress, String> {
        match text.strip_prefix("unix:") {
            Some(path) if Path::new(path).is_absolute() => Ok(WebAddress::Unix(path.into())),
            Some(_) => Err("write the whole path of the socket, as unix:/run/stackcron/page.sock".to_owned()),
            None => listen::parse(text).map(WebAddress::Tcp),
        }
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WebAddress::Tcp(address) => address.fmt(f),
            WebAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A place that is listened at.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket. Removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If the file stays, the next daemon replaces it.
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens. Port 0 is any free one. The socket that a dead daemon left is replaced.
    ///
    /// # Errors
    /// When the address is in use, or not one of this machine's, or the file is no socket.
    pub(super) fn bind(address: &WebAddress) -> io::Result<(Listener, WebAddress)> {
        match address {
            WebAddress::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                Ok((Listener::Tcp(listener), WebAddress::Tcp(address)))
            }
            WebAddress::Unix(path) => {
                remove_dead(path)?;
                let listener = UnixListener::bind(path)?;
                let file = SocketFile(path.clone());
                fs::set_permissions(path, Permissions::from_mode(MODE))?;
                listener.set_nonblocking(true)?;
                Ok((Listener::Unix(listener, file), address.clone()))
            }
        }
    }
}

/// Removes a socket at which nobody listens any more.
fn remove_dead(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "a process listens there, so the address is in use"))
        }
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_socket() {
        for (text, address) in
            [("9066", "127.0.0.1:9066"), ("[::]:0", "[::]:0"), ("unix:/run/page.sock", "unix:/run/page.sock")]
        {
            assert_eq!(text.parse::<WebAddress>().map(|address| address.to_string()).as_deref(), Ok(address));
        }
        for text in ["unix:page.sock", "unix:", "example.com:80"] {
            assert!(text.parse::<WebAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let place = tempfile::tempdir().expect("a directory");
        let address = WebAddress::Unix(place.path().join("page.sock"));
        let first = Listener::bind(&address).expect("it listens");
        let error = Listener::bind(&address).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let Listener::Unix(listener, file) = first.0 else { panic!("a socket") };
        drop(listener);
        std::mem::forget(file);
        let again = Listener::bind(&address).expect("the dead one is replaced");
        drop(again);
        assert!(!place.path().join("page.sock").exists(), "its file is gone with it");
        let other = WebAddress::Unix(place.path().join("other"));
        fs::write(place.path().join("other"), "mine").expect("written");
        assert!(Listener::bind(&other).is_err(), "a file of somebody's is left alone");
    }
}
