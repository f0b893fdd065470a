//! The streams of a connection, counted and cut at the cap to the byte.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use capstan_core::usage::PeerUsage;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::Network;

/// What a run receives over a connection.
pub(super) struct Incoming {
    pub(super) stream: DynInputStream,
    pub(super) network: Network,
    pub(super) contact: Arc<PeerUsage>,
}

/// What a run sends over a connection.
pub(super) struct Outgoing {
    pub(super) stream: DynOutputStream,
    pub(super) network: Network,
    pub(super) contact: Arc<PeerUsage>,
}

/// The error that a guest finds at the cap; it reads it as access that is denied.
fn capped(network: &Network) -> StreamError {
    network.cap_traffic();
    let error = io::Error::new(io::ErrorKind::PermissionDenied, "the cap on traffic is reached");
    StreamError::LastOperationFailed(error.into())
}

#[async_trait::async_trait]
impl InputStream for Incoming {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let left = self.network.left();
        if left == 0 && size > 0 {
            // Only what is there to be read is over the cap: the end of a stream is not.
            let more = self.stream.read(1)?;
            return if more.is_empty() { Ok(more) } else { Err(capped(&self.network)) };
        }
        let bytes = self.stream.read(size.min(left))?;
        self.network.spend(bytes.len());
        self.contact.received.add(bytes.len() as u64);
        Ok(bytes)
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait::async_trait]
impl Pollable for Incoming {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for Outgoing {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        let size = bytes.len();
        bytes.truncate(self.network.spend(size));
        let permitted = bytes.len();
        if permitted > 0 || size == 0 {
            self.stream.write(bytes)?;
            self.contact.sent.add(permitted as u64);
        }
        if permitted < size { Err(capped(&self.network)) } else { Ok(()) }
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
impl Pollable for Outgoing {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}
