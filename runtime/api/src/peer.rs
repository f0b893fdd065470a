//! `Peer`: the socket of a connection, and whether the client at its other end is still there.
//!
//! hyper has two modes for a client that closes its writing half. It either treats the client as disconnected and cuts the response, or
//! it does not check, and a run continues although no client reads its output. The API uses the second mode, and `Peer` checks.
//!
//! On a unix socket the kernel reports whether the client has closed one half or both. On TCP both look the same until something is
//! sent: a client that has disconnected answers that with a reset. So while a chunked response waits for its run, such a client is sent
//! a probe, one `0`. It becomes a leading zero of the next chunk's length, which has no meaning (RFC 9112, 7.1).

mod automatic_errors;
pub(super) mod hyper_io;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use capstan_core::caller::Caller;
use capstan_listen::listener::Stream;
use futures_util::FutureExt as _;
use futures_util::task::AtomicWaker;
use tokio::io::Interest;

/// How long input is read and discarded after the last response. The kernel resets a connection that is closed with unread input, and
/// a reset may lose the end of the response.
const LINGER: Duration = Duration::from_secs(2);

/// The most reads of input that has arrived when a connection is closed without waiting.
const MAX_READS: usize = 64;

/// Bytes of a read whose content is discarded.
const DISCARD_BUFFER: usize = 16 << 10;

/// The socket of a connection and the state of its client.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: Stream,
    caller: Caller,
    /// Whether to send the probe as soon as nothing else waits to be sent. A client that has disconnected answers it with a reset.
    is_probe_requested: AtomicBool,
    /// Whether the kernel has everything that was handed to hyper.
    is_flushed: AtomicBool,
    flush_waker: AtomicWaker,
    /// Whether closing resets the connection.
    is_reset_on_close: AtomicBool,
}

/// The state of the client of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerState {
    Connected,
    /// It sends nothing more. It may still read; on TCP it may have disconnected.
    HalfClosed,
    Disconnected,
}

impl Peer {
    pub(crate) fn new(stream: Stream) -> Arc<Self> {
        Arc::new(Self {
            caller: stream.caller(),
            stream,
            is_probe_requested: AtomicBool::new(false),
            is_flushed: AtomicBool::new(true),
            flush_waker: AtomicWaker::new(),
            is_reset_on_close: AtomicBool::new(false),
        })
    }

    /// Returns who the client is.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Returns the address of the client. `None` on a unix socket, and if the client has disconnected.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.caller {
            Caller::Unauthenticated { address } => *address,
            Caller::Process { .. } | Caller::Certificate(_) => self.stream.peer(),
        }
    }

    /// Returns whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Waits for the first byte of a TLS connection, and returns whether the handshake agreed on HTTP/2. `None` without TLS.
    pub(crate) async fn negotiated_http2(&self) -> Option<bool> {
        let Stream::Tls(stream) = &self.stream else { return None };
        // If the connection ends instead, the next read reports it.
        while stream.try_fill().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            && self.stream.ready(Interest::READABLE).await.is_ok()
        {}
        Some(stream.is_http2())
    }

    /// Returns the state of the client, as far as it is known. Makes no system call.
    pub(crate) fn state(&self) -> PeerState {
        match self.stream.ready(Interest::READABLE | Interest::WRITABLE).now_or_never() {
            Some(Ok(ready)) if ready.is_write_closed() => PeerState::Disconnected,
            Some(Ok(ready)) if ready.is_read_closed() => PeerState::HalfClosed,
            Some(Err(_)) => PeerState::Disconnected,
            _ => PeerState::Connected,
        }
    }

    /// Returns whether a client has disconnected, right after its stream was read to the end.
    ///
    /// Asks the kernel: a client that closes both halves at once may be read to the end before readiness reports the hang-up.
    pub(crate) fn is_disconnected_at_end(&self) -> bool {
        self.stream.is_hung_up() || self.state() == PeerState::Disconnected
    }

    /// Requests the probe, or withdraws the request. Returns whether an earlier request was withdrawn before it was sent.
    ///
    /// Only for chunked responses, and only while the body waits: the next thing to be sent must be a chunk.
    pub(crate) fn set_probe(&self, is_requested: bool) -> bool {
        let is_requested = is_requested && !matches!(self.stream, Stream::Unix(_));
        self.is_probe_requested.swap(is_requested, Ordering::Relaxed)
    }

    /// Records that hyper was handed something to send.
    pub(crate) fn set_sending(&self) {
        self.is_flushed.store(false, Ordering::Relaxed);
    }

    /// Waits until the kernel has everything that hyper was handed.
    pub(crate) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        self.flush_waker.register(cx.waker());
        if self.is_flushed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Returns whether the kernel has everything that hyper was handed of a response that continues.
    pub(crate) fn is_flushed(&self) -> bool {
        self.is_flushed.load(Ordering::Relaxed)
    }

    /// Makes the connection end with a reset, for a cut response that neither a length nor chunks tell from a complete one.
    ///
    /// Only TCP has resets; on a unix socket a client of HTTP/1.0 cannot tell the two apart.
    pub(crate) fn reset_on_close(&self) {
        if self.stream.reset_when_dropped() {
            self.is_reset_on_close.store(true, Ordering::Relaxed);
        }
    }

    /// Sends `bytes`, or as many of them as the client reads before it disconnects.
    pub(crate) async fn send(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.stream.ready(Interest::WRITABLE).await.is_ok() {
            match self.stream.try_write_vectored(&[IoSlice::new(bytes)]) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Closes the connection so that what was written arrives even if the client is still sending. Takes up to 2 s.
    pub(crate) async fn close(&self) {
        if self.is_reset_on_close.load(Ordering::Relaxed) {
            return;
        }
        let drain = async {
            loop {
                match self.stream.shutdown() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    result => break result?,
                }
                self.stream.ready(Interest::WRITABLE).await?;
            }
            let mut discarded = vec![0; DISCARD_BUFFER];
            loop {
                match self.stream.try_read(&mut discarded) {
                    Ok(0) => return Ok::<_, io::Error>(()),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    Ok(_) => {}
                    Err(_) => drop(self.stream.ready(Interest::READABLE).await?),
                }
            }
        };
        // No client is left to report a failure to.
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// Closes an idle connection: discards the input that has arrived, and waits for nothing.
    pub(crate) fn close_now(&self) {
        let mut discarded = vec![0; DISCARD_BUFFER];
        // The connection ends even if the client has disconnected, or sends on and on.
        let _ = self.stream.shutdown();
        for _ in 0..MAX_READS {
            if !matches!(self.stream.try_read(&mut discarded), Ok(1..)) {
                return;
            }
        }
    }

    /// Waits for input, and copies the first bytes of it without removing them.
    pub(crate) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.ready(Interest::READABLE).await?;
            match self.stream.try_peek(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}
