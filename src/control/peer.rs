//! One client at the other end of a connection to the daemon's socket.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::protocol::{ControlAnswer, ErrorKind, LONGEST_QUESTION};
use super::request::Uid;

/// A client has to take an answer within this time.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// The client's end of a connection.
pub(super) struct Peer {
    stream: UnixStream,
    pub(super) by: Uid,
}

/// The client has gone, or does not listen.
pub(super) struct PeerGone;

impl Peer {
    pub(super) fn new(stream: UnixStream, by: Uid) -> Peer {
        Peer { stream, by }
    }

    /// Reads one line, without its end. `None`: the line is too long.
    pub(super) async fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut part = [0; 4096];
        loop {
            let read = self.stream.read(&mut part).await?;
            if let Some(end) = part[..read].iter().position(|&byte| byte == b'\n') {
                line.extend_from_slice(&part[..end]);
                return Ok((line.len() <= LONGEST_QUESTION).then_some(line));
            }
            line.extend_from_slice(&part[..read]);
            match read {
                0 if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                0 => return Ok(Some(line)),
                _ if line.len() > LONGEST_QUESTION => return Ok(None),
                _ => {}
            }
        }
    }

    pub(super) async fn tell(&mut self, answer: &ControlAnswer) -> Result<(), PeerGone> {
        self.send(&answer.line()).await
    }

    /// Sends a line.
    pub(super) async fn send(&mut self, line: &[u8]) -> Result<(), PeerGone> {
        match timeout(TAKEN_WITHIN, self.stream.write_all(line)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(PeerGone),
        }
    }

    pub(super) async fn fail(&mut self, message: String) {
        self.refuse(ErrorKind::Refused, message).await;
    }

    pub(super) async fn refuse(&mut self, kind: ErrorKind, message: String) {
        // The connection ends in any case, so a failed write does not matter.
        let _ = self.tell(&ControlAnswer::Error { message, kind }).await;
    }

    /// Resolves when the client has gone, or says what nobody asked for.
    pub(super) async fn leaves(&mut self) {
        let _ = self.stream.read(&mut [0]).await;
    }
}
