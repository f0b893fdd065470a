//! `PeerIo`: what hyper reads from and writes to.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::timeouts::TimeoutTracker;
use super::{Peer, automatic_errors};

/// hyper's end of a connection.
#[derive(Debug)]
pub(crate) struct PeerIo {
    peer: Arc<Peer>,
    timeouts: Arc<TimeoutTracker>,
    /// What is sent in place of an error of hyper's own, and the length of that.
    replacement: Option<(Bytes, usize)>,
}

impl PeerIo {
    pub(crate) fn new(peer: Arc<Peer>, timeouts: Arc<TimeoutTracker>) -> Self {
        Self { peer, timeouts, replacement: None }
    }

    /// Sends the rest of the replacement, and returns the length of what it replaces.
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while let Some((text, replaced)) = &mut self.replacement {
            if text.is_empty() {
                let replaced = *replaced;
                self.replacement = None;
                return Poll::Ready(Ok(replaced));
            }
            ready!(self.peer.stream.poll_write_ready(cx))?;
            match self.peer.stream.try_write_vectored(&[IoSlice::new(text)]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => text.advance(result?),
            }
        }
        Poll::Ready(Ok(0))
    }
}

impl AsyncRead for PeerIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &self.peer.stream;
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1..) => {
                    self.timeouts.record_input();
                    return Poll::Ready(Ok(()));
                }
                result => return Poll::Ready(result.map(drop)),
            }
        }
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.replacement.is_none()
            && self.timeouts.is_between_responses()
            && let Some(text) =
                slices.first().and_then(|bytes| automatic_errors::replacement(bytes, self.timeouts.limits()))
        {
            self.replacement = Some((text.into(), slices.iter().map(|bytes| bytes.len()).sum()));
        }
        if self.replacement.is_some() {
            return self.poll_replacement(cx);
        }
        let stream = &self.peer.stream;
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Sends the probe where it is requested: hyper flushes only when it has nothing left to write, so this is between two chunks.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let peer = &self.peer;
        if peer.is_probe_requested.swap(false, Ordering::Relaxed) {
            // If the socket has no room, enough is on its way to provoke a reset.
            let _ = peer.stream.try_write_vectored(&[IoSlice::new(b"0")]);
        }
        ready!(peer.stream.poll_flush(cx))?;
        self.timeouts.record_flush();
        peer.is_flushed.store(true, Ordering::Relaxed);
        peer.flush_waker.wake();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &self.peer.stream;
        loop {
            match stream.shutdown() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(stream.poll_write_ready(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }
}
