//! The abstract sockets by which daemons on one machine find and ask each other.
//!
//! Who asks sends a salt and reads an answer in JSON, up to the end of the stream. A name in
//! `/proc/self/net/unix` may be anybody's, and so may an answer: both are bounded in time and size.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::compare::{NeighbourAnswer, Salt};

/// Behind it stand the process's number and something that is not used twice.
const PREFIX: &str = "stackcron.fires.";

/// The kernel's list of the sockets of this network namespace. In it, `@` stands for the first byte
/// of an abstract name.
const SOCKETS: &str = "/proc/self/net/unix";

/// Another daemon's answer is awaited this long, so that a daemon that starts reports its findings
/// within a second.
const PATIENCE: Duration = Duration::from_millis(800);

/// A connection is served this long; the asking daemon has gone by then.
const SERVED: Duration = Duration::from_secs(2);

/// Connections that are served at once. Those beyond wait.
const AT_ONCE: usize = 16;

/// Bytes of the longest answer that is read: of half a million entries. A longer one is no answer.
const LONGEST: u64 = 12_000_000;

/// The result of asking one daemon.
pub(super) enum AskOutcome {
    Answered(SocketPeer, NeighbourAnswer),
    /// The process has ended meanwhile.
    Gone,
    /// The other process gave no answer in time that can be understood.
    Silent {
        pid: Option<u32>,
        error: String,
    },
}

/// The process that owns a socket, as the kernel reports it.
#[derive(Clone, Copy)]
pub(super) struct SocketPeer {
    /// `None`: the process has no number in this PID namespace.
    pub(super) pid: Option<u32>,
    uid: u32,
}

impl SocketPeer {
    /// Returns true when the process is believed: root and this process's own user could stop this
    /// process anyway.
    pub(super) fn is_trusted(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// Listens under a name of its own. Whoever connects waits until it is served.
pub(super) fn listen() -> io::Result<(String, UnixListener)> {
    let number = salt()?.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte));
    let name = format!("{PREFIX}{}.{number:016x}", std::process::id());
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    listener.set_nonblocking(true)?;
    Ok((name, UnixListener::from_std(listener)?))
}

/// Sixteen bytes that nobody knows ahead.
pub(super) fn salt() -> io::Result<Salt> {
    let mut salt = Salt::default();
    getrandom(&mut salt, GetRandomFlags::empty())?;
    Ok(salt)
}

/// Answers whoever asks, until it is dropped.
pub(super) async fn serve<F, T>(listener: UnixListener, answer: F)
where
    F: Fn(Salt) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = Option<Vec<u8>>> + Send,
{
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((mut stream, _)) = listener.accept().await else {
            // No file is left: the connection stays where it is until there is one.
            tokio::time::sleep(PATIENCE).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            // A failed connection loses nothing: its end tells the asking daemon.
            let _ = timeout(SERVED, async {
                let mut salt = Salt::default();
                stream.read_exact(&mut salt).await?;
                let answer = answer(salt).await.unwrap_or_default();
                stream.write_all(&answer).await
            })
            .await;
            drop(place);
        });
    }
}

/// The names of all sockets but one's own that look like a daemon's.
pub(super) fn others(own: &str) -> io::Result<BTreeSet<String>> {
    let sockets = fs::read(SOCKETS)?;
    Ok(names(&String::from_utf8_lossy(&sockets)).filter(|name| name != own).collect())
}

/// Abstract names may have any byte. Only those that a daemon gives itself are read.
fn names(sockets: &str) -> impl Iterator<Item = String> {
    sockets.lines().filter_map(|line| {
        let name = line.rsplit(' ').next()?.strip_prefix('@')?;
        let (pid, number) = name.strip_prefix(PREFIX)?.split_once('.')?;
        let is_name = pid.parse::<u32>().is_ok() && number.len() == 16;
        (is_name && number.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| name.to_owned())
    })
}

/// Asks one daemon what it fires.
pub(super) async fn ask(name: &str, salt: &Salt) -> AskOutcome {
    match ask_once(name, salt).await {
        // A process that ends while it is asked breaks off.
        AskOutcome::Silent { .. } if is_gone(name).await => AskOutcome::Gone,
        asked => asked,
    }
}

async fn is_gone(name: &str) -> bool {
    let again = UnixStream::connect(format!("\0{name}")).await;
    again.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

async fn ask_once(name: &str, salt: &Salt) -> AskOutcome {
    // Until the kernel reports the owner, the process id comes from the socket's name.
    let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('.').next()?.parse().ok());
    let mut stream = match UnixStream::connect(format!("\0{name}")).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return AskOutcome::Gone,
        Err(error) => return AskOutcome::Silent { pid, error: format!("it cannot be asked: {error}") },
    };
    let peer = match stream.peer_cred() {
        Ok(cred) => SocketPeer {
            pid: cred.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0),
            uid: cred.uid(),
        },
        Err(error) => return AskOutcome::Silent { pid, error: format!("its user is not known: {error}") },
    };
    let pid = peer.pid;
    let answered = timeout(PATIENCE, async {
        stream.write_all(salt).await?;
        let mut answer = Vec::new();
        (&mut stream).take(LONGEST).read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    });
    match answered.await {
        Err(_) => AskOutcome::Silent {
            pid,
            error: format!("it has not answered within {} ms", PATIENCE.as_millis()),
        },
        Ok(Err(error)) => AskOutcome::Silent { pid, error: format!("it does not answer: {error}") },
        Ok(Ok(answer)) => match serde_json::from_slice(&answer) {
            Ok(answer) => AskOutcome::Answered(peer, answer),
            Err(_) => AskOutcome::Silent { pid, error: "it answers nothing that a daemon would".to_owned() },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_daemon_gives_itself_are_read() {
        let sockets = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 27 @stackcron.fires.12.0123456789abcdef\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 28 @stackcron.fires.12.0123456789abcdef\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 29 /run/stackcron.fires.13.0123456789abcdef\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 30 @stackcron.fires.14.x@\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 31 @stackcron.fires.\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 32\n";
        let found: BTreeSet<String> = names(sockets).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["stackcron.fires.12.0123456789abcdef"]);
    }
}
