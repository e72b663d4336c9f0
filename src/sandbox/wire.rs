//! A connection that can misbehave: what is written to it can be replaced by a script, byte for
//! byte.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// The bytes that are sent instead of the next answer, and the end of the connection.
#[derive(Debug)]
pub(super) struct Script {
    /// Sent as they stand, head and body.
    pub bytes: Vec<u8>,
    /// After each byte; zero sends them all at once.
    pub pause: Duration,
    /// The end of the connection, after the last byte.
    pub end: WireEnd,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireEnd {
    /// The connection is closed in good order, with a FIN.
    Close,
    /// RST.
    Reset,
    /// The connection does not end: the bytes after this place are sent again and again until the
    /// client goes.
    Repeat(usize),
}

/// The place where the script of a connection is laid, for the connection to find when it is
/// written to.
#[derive(Clone, Debug, Default)]
pub(super) struct ScriptSlot(Arc<Mutex<Option<Script>>>);

impl ScriptSlot {
    /// Lays a script.
    pub(super) fn play(&self, script: Script) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(script);
    }

    fn take(&self) -> Option<Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A TCP connection that follows its line's script.
#[derive(Debug)]
pub(super) struct SandboxWire {
    stream: TcpStream,
    line: ScriptSlot,
    playing: Option<Playing>,
}

#[derive(Debug)]
struct Playing {
    script: Script,
    sent: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl SandboxWire {
    pub(super) fn new(stream: TcpStream, line: ScriptSlot) -> SandboxWire {
        SandboxWire { stream, line, playing: None }
    }

    /// Plays until the script's end, which is an error for whoever writes: the connection is over.
    fn poll_play(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(playing) = &mut self.playing else {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        };
        let script = &playing.script;
        loop {
            if let Some(pause) = &mut playing.pause {
                ready!(pause.as_mut().poll(cx));
                playing.pause = None;
            }
            if playing.sent == script.bytes.len() {
                match script.end {
                    WireEnd::Repeat(from) if from < playing.sent => playing.sent = from,
                    WireEnd::Reset => {
                        return Poll::Ready(match self.stream.set_zero_linger() {
                            Ok(()) => io::ErrorKind::ConnectionAborted.into(),
                            Err(error) => error,
                        });
                    }
                    WireEnd::Close | WireEnd::Repeat(_) => {
                        return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
                    }
                }
            }
            let rest = match script.pause.is_zero() {
                true => &script.bytes[playing.sent..],
                false => &script.bytes[playing.sent..=playing.sent],
            };
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest)) {
                Ok(count) => playing.sent += count,
                Err(error) => return Poll::Ready(error),
            }
            if !script.pause.is_zero() {
                playing.pause = Some(Box::pin(tokio::time::sleep(script.pause)));
            }
        }
    }
}

/// The start of an answer with its quota headers spelt as the vendor documents them. `None` where
/// nothing is to be changed. HTTP ignores the case; people who compare with the documentation do
/// not.
fn as_documented(bytes: &[u8]) -> Option<Vec<u8>> {
    const WRITTEN: &[u8] = b"\r\nX-Ratelimit-";
    const DOCUMENTED: &[u8] = b"\r\nX-RateLimit-";
    if !bytes.starts_with(b"HTTP/1.1 ") {
        return None;
    }
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let mut changed = None;
    for place in 0..head.saturating_sub(WRITTEN.len()) {
        if bytes[place..].starts_with(WRITTEN) {
            let bytes = changed.get_or_insert_with(|| bytes.to_vec());
            bytes[place..place + DOCUMENTED.len()].copy_from_slice(DOCUMENTED);
        }
    }
    changed
}

impl AsyncRead for SandboxWire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for SandboxWire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.playing.is_none() {
            wire.playing = wire.line.take().map(|script| Playing { script, sent: 0, pause: None });
        }
        match wire.playing {
            Some(_) => wire.poll_play(cx).map(Err),
            None => match as_documented(buf) {
                Some(bytes) => Pin::new(&mut wire.stream).poll_write(cx, &bytes),
                None => Pin::new(&mut wire.stream).poll_write(cx, buf),
            },
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
