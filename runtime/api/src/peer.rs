//! The socket under hyper: what it reads from and writes to, and whether anybody is at the other end.
//!
//! hyper either takes a client that has closed its writing half for gone, and cuts its answer, or does not look and lets a run go on
//! for nobody. So it is told not to look, and [`Presence`] does. On a unix socket the kernel tells who has closed one half from who has
//! closed both. On TCP both look the same until something is sent, which who has gone answers with a reset: so while an answer in
//! chunks waits for its run, such a client is sent one `0`, which leads the length of the next chunk and means nothing (RFC 9112, 7.1).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use capstan_core::caller::Caller;
use capstan_listen::listener::Stream;
use futures_util::FutureExt as _;
use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::timeouts::Pace;

/// How long what a client still sends is taken and thrown away after its answer. A connection closed over unread input is reset, and
/// with that the end of the answer may be lost.
const LINGER: Duration = Duration::from_secs(2);

/// Most reads that are taken of what has come when a connection is left.
const READS: usize = 64;

/// hyper's end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    presence: Arc<Presence>,
    pace: Arc<Pace>,
}

/// Whether anybody is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Presence {
    stream: Stream,
    caller: Caller,
    /// Whether to send what a client that is gone would answer with a reset, as soon as nothing else is waiting to be sent.
    probe: AtomicBool,
    /// Whether all that hyper was given is with the kernel.
    flushed: AtomicBool,
    flush: AtomicWaker,
    /// Whether closing resets the connection.
    reset: AtomicBool,
}

/// The client of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    There,
    /// It sends nothing more. It may still read; on TCP it may be gone.
    SaidAll,
    Gone,
}

impl Presence {
    pub(crate) fn new(stream: Stream) -> Arc<Self> {
        Arc::new(Self {
            caller: stream.caller(),
            stream,
            probe: AtomicBool::new(false),
            flushed: AtomicBool::new(true),
            flush: AtomicWaker::new(),
            reset: AtomicBool::new(false),
        })
    }

    /// Who the client is.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Waits for the first byte where it was agreed on before whether that is HTTP/2, and tells what; `None` where it was not.
    pub(crate) async fn agreed_on_http2(&self) -> Option<bool> {
        let Stream::Tls(stream) = &self.stream else { return None };
        // Where the connection ends instead, whoever reads is told.
        while stream.try_fill().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            && self.stream.ready(Interest::READABLE).await.is_ok()
        {}
        Some(stream.is_http2())
    }

    /// How the client is, as far as is known. Costs no system call.
    pub(crate) fn client(&self) -> Client {
        match self.stream.ready(Interest::READABLE | Interest::WRITABLE).now_or_never() {
            Some(Ok(ready)) if ready.is_write_closed() => Client::Gone,
            Some(Ok(ready)) if ready.is_read_closed() => Client::SaidAll,
            Some(Err(_)) => Client::Gone,
            _ => Client::There,
        }
    }

    /// Whether the client is gone, where it was just read to its end. By the kernel's word: a client that closes both halves at once
    /// may be read to its end before its hanging up is known.
    pub(crate) fn is_gone_at_end(&self) -> bool {
        self.stream.is_hung_up() || self.client() == Client::Gone
    }

    /// Asks for the probe, or takes the wish back. For an answer in chunks only, and only while its body waits: what it sends must be
    /// followed by a chunk. Returns whether an earlier wish was still unsent.
    pub(crate) fn probe(&self, wanted: bool) -> bool {
        self.probe.swap(wanted && !matches!(self.stream, Stream::Unix(_)), Ordering::Relaxed)
    }

    /// Notes that hyper was given something to send.
    pub(crate) fn sending(&self) {
        self.flushed.store(false, Ordering::Relaxed);
    }

    /// Waits until everything hyper was given is with the kernel.
    pub(crate) fn poll_sent(&self, cx: &Context<'_>) -> Poll<()> {
        self.flush.register(cx.waker());
        if self.flushed.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether everything hyper was given of an answer that goes on is with the kernel.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Relaxed)
    }

    /// Sees to it that the end of the connection is no regular one, where neither a length nor chunks tell a cut answer from a whole.
    /// Only TCP has such an end; on a unix socket a client of HTTP/1.0 cannot tell.
    pub(crate) fn reset_when_closed(&self) {
        if self.stream.reset_when_dropped() {
            self.reset.store(true, Ordering::Relaxed);
        }
    }

    /// Sends `bytes`, as far as the client takes them.
    pub(crate) async fn send(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.stream.ready(Interest::WRITABLE).await.is_ok() {
            match self.stream.try_write_vectored(&[IoSlice::new(bytes)]) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Ends the connection in peace: what was written arrives even if the client is still sending. Takes 2 s at most.
    pub(crate) async fn close(&self) {
        if self.reset.load(Ordering::Relaxed) {
            return;
        }
        let drain = async {
            loop {
                match self.stream.shutdown() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => break done?,
                }
                self.stream.ready(Interest::WRITABLE).await?;
            }
            let mut scratch = vec![0; 16 << 10];
            loop {
                match self.stream.try_read(&mut scratch) {
                    Ok(0) => return Ok::<_, io::Error>(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    Ok(_) => {}
                    Err(_) => drop(self.stream.ready(Interest::READABLE).await?),
                }
            }
        };
        // There is nobody to tell how it went.
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// Ends a connection on which nothing goes on: what has come until now is taken, and nobody is waited for.
    pub(crate) fn leave(&self) {
        let mut scratch = vec![0; 16 << 10];
        // Who has gone, or sends on and on, is left all the same.
        let _ = self.stream.shutdown();
        for _ in 0..READS {
            if !matches!(self.stream.try_read(&mut scratch), Ok(1..)) {
                return;
            }
        }
    }

    /// The first bytes that the client has sent, without taking them.
    pub(crate) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.ready(Interest::READABLE).await?;
            match self.stream.try_peek(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                peeked => return peeked,
            }
        }
    }
}

impl Wire {
    pub(super) fn new(presence: Arc<Presence>, pace: Arc<Pace>) -> Self {
        Self { presence, pace }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &self.presence.stream;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1..) => {
                    self.pace.received();
                    return Poll::Ready(Ok(()));
                }
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.presence.stream;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes only when it has nothing left to write, so here is between two chunks.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let presence = &self.presence;
        if presence.probe.swap(false, Ordering::Relaxed) {
            // Where there is no room, there is enough on its way to draw a reset.
            let _ = presence.stream.try_write_vectored(&[IoSlice::new(b"0")]);
        }
        ready!(presence.stream.poll_flush(cx))?;
        presence.flushed.store(true, Ordering::Relaxed);
        presence.flush.wake();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &self.presence.stream;
        loop {
            match stream.shutdown() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }
}
