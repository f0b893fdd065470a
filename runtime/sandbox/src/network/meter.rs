//! The streams of a TCP connection, which count their bytes and end exactly at the cap on traffic.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use capstan_core::usage::PeerUsage;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::Network;

/// The receiving half of a connection.
pub(super) struct MeteredInput {
    pub(super) stream: DynInputStream,
    pub(super) network: Network,
    pub(super) peer: Arc<PeerUsage>,
}

/// The sending half of a connection.
pub(super) struct MeteredOutput {
    pub(super) stream: DynOutputStream,
    pub(super) network: Network,
    pub(super) peer: Arc<PeerUsage>,
}

/// Records that the cap is exceeded. Returns the error for the guest, which it sees as denied access.
fn traffic_exceeded(network: &Network) -> StreamError {
    network.record_traffic_exceeded();
    let error = io::Error::new(io::ErrorKind::PermissionDenied, "the cap on traffic is reached");
    StreamError::LastOperationFailed(error.into())
}

#[async_trait::async_trait]
impl InputStream for MeteredInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let remaining = self.network.remaining();
        if remaining == 0 && size > 0 {
            // The end of the stream does not exceed the cap, only another byte does.
            let next = self.stream.read(1)?;
            return if next.is_empty() { Ok(next) } else { Err(traffic_exceeded(&self.network)) };
        }
        let bytes = self.stream.read(size.min(remaining))?;
        self.network.consume(bytes.len());
        self.peer.received.add(bytes.len() as u64);
        Ok(bytes)
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait::async_trait]
impl Pollable for MeteredInput {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for MeteredOutput {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        let size = bytes.len();
        bytes.truncate(self.network.consume(size));
        let permitted = bytes.len();
        if permitted > 0 || size == 0 {
            self.stream.write(bytes)?;
            self.peer.sent.add(permitted as u64);
        }
        if permitted < size { Err(traffic_exceeded(&self.network)) } else { Ok(()) }
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.stream.check_write()
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait::async_trait]
impl Pollable for MeteredOutput {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}
