//! What goes over a connection, below HTTP: how much of it an attempt may read, and what broke it.
//!
//! A [`Tap`] sits on either side of TLS. The one below counts bytes against the attempt's budget, so that
//! nothing a receiver does (informational responses, headers, TLS records, HTTP/2 frames without end) is
//! free, and it goes on reading when a receiver takes no more. The one above sees when an answer begins, keeps its
//! status, and the cause of an error that HTTP/2 forgets.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::meter::Meter;

/// Bytes after which other tasks of the only thread have their turn.
const TURN_BYTES: usize = 16 * 1024;

/// Which side of TLS a [`Tap`] is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Below,
    Above,
}

/// A stream that is watched.
#[derive(Debug)]
pub(crate) struct Tap<T> {
    io: T,
    meter: Arc<Meter>,
    side: Side,
    /// Bytes since other tasks had a turn.
    turn: usize,
    /// Whether the receiver takes no more bytes.
    is_deaf: bool,
    /// Whether an HTTP/1 answer is read.
    has_head: bool,
}

impl<T> Tap<T> {
    /// Counts.
    pub(crate) fn below_tls(io: T) -> Self {
        Self::new(io, Arc::default(), Side::Below, false)
    }

    /// Sees what is read.
    pub(crate) fn above_tls(io: T, meter: Arc<Meter>, is_http2: bool) -> Self {
        Self::new(io, meter, Side::Above, !is_http2)
    }

    fn new(io: T, meter: Arc<Meter>, side: Side, has_head: bool) -> Self {
        Self {
            io,
            meter,
            side,
            turn: 0,
            is_deaf: false,
            has_head,
        }
    }
}

impl<T: AsyncRead + Unpin> Tap<T> {
    /// Reads no more than there is left, and lets others have a turn now and then.
    fn read_counted(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn >= TURN_BYTES {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let left = self.meter.left.load(Relaxed);
        if left == 0 {
            self.meter.spent.store(true, Relaxed);
            return Poll::Ready(Err(io::Error::other("the answer is too large")));
        }
        let mut bytes = [0; 8 * 1024];
        let most = left.min(bytes.len()).min(buf.remaining());
        let mut part = ReadBuf::new(&mut bytes[..most]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut part);
        let read = part.filled();
        self.turn += read.len();
        self.meter.left.fetch_sub(read.len(), Relaxed);
        buf.put_slice(read);
        if polled.is_pending() {
            self.turn = 0;
        }
        polled
    }

    fn read_seen(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        self.meter.answered.fetch_add(read.len(), Relaxed);
        if self.has_head {
            self.meter.head().read(read);
        }
        if let Poll::Ready(Err(error)) = &polled {
            self.meter.note(error);
        }
        polled
    }
}

impl<T> Tap<T> {
    /// What became of writing so many bytes. A receiver may answer and close before it has read the whole request:
    /// then the rest of it goes nowhere, and what is still to be read decides.
    fn written(
        &mut self,
        polled: Poll<io::Result<usize>>,
        bytes: usize,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) if self.side == Side::Below && is_closed(&error) => {
                self.meter.note(&error);
                self.is_deaf = true;
                Poll::Ready(Ok(bytes))
            }
            polled => polled,
        }
    }
}

/// Whether the other side takes no more bytes.
fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl<T: AsyncRead + Unpin> AsyncRead for Tap<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.side {
            Side::Below => self.read_counted(cx, buf),
            Side::Above => self.read_seen(cx, buf),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(polled, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = bytes.iter().map(|it| it.len()).sum();
        if self.is_deaf {
            return Poll::Ready(Ok(count));
        }
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.written(polled, count)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The meter is told to whoever gets the connection.
impl<T: Connection> Connection for Tap<T> {
    fn connected(&self) -> Connected {
        let connected = self.io.connected();
        match self.side {
            Side::Below => connected.extra(Arc::clone(&self.meter)),
            Side::Above => connected,
        }
    }
}
