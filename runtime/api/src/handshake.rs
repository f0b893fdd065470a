//! The start of a connection to an address that speaks TLS.

use capstan_listen::listener::Stream;
use capstan_listen::tls::{self, HandshakeError};

use super::allowed_hosts::ServedNames;
use super::error::Error;
use super::peer::Peer;

/// Performs the TLS handshake where the address speaks TLS, and returns the connection to speak HTTP on. Adds the certificate to `names`.
///
/// Returns `None` where the handshake fails. The client has then been sent the reason, as far as it reads it.
pub(super) async fn accept_tls(
    stream: Stream,
    tls: Option<&tls::Server>,
    names: &mut Option<ServedNames>,
) -> Option<Stream> {
    let (stream, tls) = match (stream, tls) {
        (Stream::Tcp(stream), Some(tls)) => (stream, tls),
        (stream, _) => return Some(stream),
    };
    let caller = stream.peer_addr().ok();
    // Boxed, because it is large, and connections without TLS should not pay for it.
    match Box::pin(tls.handshake(stream)).await {
        Ok(secured) => {
            if let Some(names) = names {
                names.certificate = Some(secured.material().clone());
            }
            Some(Stream::Tls(Box::new(secured)))
        }
        Err(error) => {
            tracing::debug!(?caller, %error, "TLS handshake failed");
            match error {
                HandshakeError::Plain(stream) => {
                    let peer = Peer::new(Stream::Tcp(stream));
                    peer.send(Error::tls_required().into_text().as_bytes()).await;
                    peer.close().await;
                }
                // The client can read the alert only if the connection is not reset over input that arrived after its mistake.
                HandshakeError::Failed { stream, .. } => Peer::new(Stream::Tcp(stream)).close().await,
                HandshakeError::Disconnected | HandshakeError::TimedOut | HandshakeError::Evicted => {}
            }
            None
        }
    }
}
