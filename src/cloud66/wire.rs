//! A TCP connection with two users: TLS and HTTP read and write it, and its owner asks whether
//! anything unread has arrived.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, ready};

use jiff::Timestamp;
use rustix::net::{RecvFlags, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A stream that carries HTTP: a socket, or TLS over a socket.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// The reading and writing side of a socket that its owner keeps as well.
pub(super) struct Wire(pub(super) Arc<TcpStream>);

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.0, Shutdown::Write).map_err(io::Error::from))
    }
}

/// The unread bytes or end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Nothing,
    Bytes,
    /// The other side has closed or reset the connection.
    End,
}

/// Asks the kernel, whatever the runtime has been told so far. Takes nothing out of the socket.
pub(super) fn unread(socket: &TcpStream) -> Unread {
    let mut byte = [0_u8; 1];
    match rustix::net::recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((0, _)) => Unread::End,
        Ok(_) => Unread::Bytes,
        Err(rustix::io::Errno::AGAIN) => Unread::Nothing,
        Err(_) => Unread::End,
    }
}

/// The instant at which the first byte of a request was handed to the connection. It decides
/// between "not sent" and "in doubt".
#[derive(Debug, Default)]
pub(super) struct FirstByte {
    /// Nanoseconds since 1970. Zero until a byte is handed over.
    at: AtomicI64,
}

impl FirstByte {
    /// A request follows.
    pub(super) fn forget(&self) {
        self.at.store(0, Ordering::Release);
    }

    /// `None` when no byte was written since `forget`.
    pub(super) fn at(&self) -> Option<Timestamp> {
        match self.at.load(Ordering::Acquire) {
            0 => None,
            at => Timestamp::from_nanosecond(at.into()).ok(),
        }
    }
}

/// A stream that notes when the first byte is written.
pub(super) struct WatchedStream {
    pub(super) stream: Box<dyn Duplex>,
    pub(super) first_byte: Arc<FirstByte>,
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let first = self.first_byte.at.load(Ordering::Acquire) == 0;
        if first {
            // Before the bytes go: a write that fails may have let some of them out.
            let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX).max(1);
            self.first_byte.at.store(now, Ordering::Release);
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if first && written.is_pending() {
            self.first_byte.forget();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
