//! `Server`: the daemon's side of TLS. It limits the time and the number of handshakes, and replaces certificates while it serves.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use capstan_core::metrics::StaticFamily;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::error::MaterialError;
use super::files::{FileContent, Files};
use super::handshake_limit::HandshakeLimit;
use super::material::Material;
use super::stream::TlsStream;

/// The limit on the time from the start of a handshake to its end.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit on concurrent handshakes.
const MAX_HANDSHAKES: usize = 512;

/// The values of the metric's label, at the positions that [`Server::count`] uses.
const RESULTS: [&str; 5] = ["done", "failed", "plain", "late", "crowded"];

/// Counters of handshakes, by result.
pub(crate) type Counts = StaticFamily<1, Counter>;

/// TLS for all TCP listeners of a daemon.
#[derive(Debug)]
pub struct Server {
    material: ArcSwap<Material>,
    is_mutual: bool,
    limit: HandshakeLimit,
    counts: Counts,
}

/// Why a handshake did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the client disconnected before it sent anything")]
    Disconnected,
    /// Nothing has been read from the stream.
    #[error("the client does not speak TLS")]
    Plain(TcpStream),
    /// The alert for the client is written, but the client may not have read it yet.
    #[error("{error}")]
    Failed { error: io::Error, stream: TcpStream },
    #[error("the client did not finish the handshake within {HANDSHAKE_TIMEOUT:?}")]
    TimedOut,
    #[error("the handshake was the oldest of {MAX_HANDSHAKES}, and was ended to make room for a new one")]
    Evicted,
}

impl Server {
    /// Creates a server with the content of `files`, which [passed the check](Files::check_server). Returns `None` if no file is named.
    ///
    /// # Errors
    /// [`MaterialError`]
    pub fn load(
        files: &Files,
        read: impl Fn(&Path) -> io::Result<FileContent>,
    ) -> Result<Option<Arc<Self>>, MaterialError> {
        if files.is_empty() {
            return Ok(None);
        }
        let material = Material::parse(&files.load(read)?)?;
        Ok(Some(Arc::new(Self {
            material: ArcSwap::from_pointee(material),
            is_mutual: files.is_mutual(),
            limit: HandshakeLimit::new(MAX_HANDSHAKES),
            counts: StaticFamily::new(RESULTS.map(|result| [("result", result)])),
        })))
    }

    /// Uses the content of `files` for all handshakes from now on. Existing connections stay as they are.
    ///
    /// # Errors
    /// [`MaterialError`]. The server keeps the old content then.
    pub fn reload(&self, files: &Files, read: impl Fn(&Path) -> io::Result<FileContent>) -> Result<(), MaterialError> {
        self.material.store(Arc::new(Material::parse(&files.load(read)?)?));
        Ok(())
    }

    /// Returns whether clients must present a certificate.
    pub fn is_mutual(&self) -> bool {
        self.is_mutual
    }

    /// Returns when the certificate expires.
    pub fn not_after(&self) -> Timestamp {
        self.material.load().not_after()
    }

    /// Returns the number of handshakes by result.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Does the handshake on `stream`.
    ///
    /// A slow client does not delay others: its time is limited to 5 s, and if there are 512 handshakes already, a new one ends the
    /// oldest.
    ///
    /// # Errors
    /// [`HandshakeError`]
    pub async fn handshake(&self, stream: TcpStream) -> Result<TlsStream, HandshakeError> {
        let slot = self.limit.acquire();
        let result = tokio::select! {
            result = timeout(HANDSHAKE_TIMEOUT, self.accept(stream)) => result.unwrap_or(Err(HandshakeError::TimedOut)),
            () = slot.evicted() => Err(HandshakeError::Evicted),
        };
        self.count(&result);
        result
    }

    async fn accept(&self, stream: TcpStream) -> Result<TlsStream, HandshakeError> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1..) => {}
            Ok(_) | Err(_) => return Err(HandshakeError::Disconnected),
        }
        // A plain HTTP request starts with a letter, a TLS record never does.
        if first[0].is_ascii_alphabetic() {
            return Err(HandshakeError::Plain(stream));
        }
        let material = self.material.load_full();
        let accept = TlsAcceptor::from(material.config().clone()).accept(stream).into_fallible();
        match accept.await {
            Ok(secured) => {
                let (stream, session) = secured.into_inner();
                Ok(TlsStream::new(stream, session, material))
            }
            Err((error, stream)) => Err(HandshakeError::Failed { error, stream }),
        }
    }

    fn count(&self, result: &Result<TlsStream, HandshakeError>) {
        let position = match result {
            Ok(_) => 0,
            Err(HandshakeError::Disconnected | HandshakeError::Failed { .. }) => 1,
            Err(HandshakeError::Plain(_)) => 2,
            Err(HandshakeError::TimedOut) => 3,
            Err(HandshakeError::Evicted) => 4,
        };
        self.counts.at(position).inc();
    }
}
