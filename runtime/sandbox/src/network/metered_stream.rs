//! [`MeteredStream`]: a TCP connection of the host that counts its bytes for the run that uses it, and ends exactly at its cap on traffic.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};

use capstan_core::usage::PeerUsage;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Network;

/// How many bytes a server may send while no run uses its connection, for example to say that it closes it. After that it is closed.
const MAX_IDLE_BYTES: usize = 16 << 10;
/// How many bytes are read at a time.
const MAX_READ: usize = 64 << 10;

/// A TCP connection whose bytes are counted for the run in its [`MeterSlot`].
#[derive(Debug)]
pub(crate) struct MeteredStream {
    pub(crate) stream: TcpStream,
    pub(crate) slot: Arc<MeterSlot>,
}

/// The run that uses a connection.
#[derive(Debug)]
pub(crate) struct MeterSlot(Mutex<Metered>);

#[derive(Debug)]
enum Metered {
    Run(Meter),
    /// No run. How many bytes the server may still send.
    Idle(usize),
}

/// Counts the bytes of one run with one peer.
#[derive(Clone)]
pub(crate) struct Meter {
    pub(crate) network: Network,
    pub(crate) peer: Arc<PeerUsage>,
}

impl MeterSlot {
    pub(crate) fn new(meter: Meter) -> Self {
        Self(Mutex::new(Metered::Run(meter)))
    }

    /// Counts for another run from now on.
    pub(crate) fn set(&self, meter: Meter) {
        *self.lock() = Metered::Run(meter);
    }

    /// Counts for no run from now on.
    pub(crate) fn clear(&self) {
        *self.lock() = Metered::Idle(MAX_IDLE_BYTES);
    }

    fn lock(&self) -> MutexGuard<'_, Metered> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl Meter {
    fn exceed(&self) -> io::Error {
        self.network.record_traffic_exceeded();
        io::Error::new(io::ErrorKind::QuotaExceeded, "the cap on traffic is reached")
    }
}

impl AsyncRead for MeteredStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut metered = this.slot.lock();
        let remaining = match &*metered {
            Metered::Run(meter) => meter.network.remaining(),
            Metered::Idle(remaining) => *remaining,
        };
        // The end of the stream does not exceed the cap, only another byte does.
        let size = remaining.clamp(1, MAX_READ).min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(size));
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        if read > remaining {
            return Poll::Ready(Err(match &*metered {
                Metered::Run(meter) => meter.exceed(),
                Metered::Idle(_) => io::Error::new(io::ErrorKind::InvalidData, "the server sends without a request"),
            }));
        }
        match &mut *metered {
            Metered::Run(meter) => {
                meter.network.consume(read);
                meter.peer.received.add(read as u64);
            }
            Metered::Idle(remaining) => *remaining -= read,
        }
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let metered = this.slot.lock();
        let Metered::Run(meter) = &*metered else {
            // Such as an answer to a ping.
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        };
        let permitted = bytes.len().min(meter.network.remaining());
        if permitted == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(meter.exceed()));
        }
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &bytes[..permitted]))?;
        meter.network.consume(written);
        meter.peer.sent.add(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Meter").finish_non_exhaustive()
    }
}
