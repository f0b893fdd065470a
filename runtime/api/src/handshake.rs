//! The beginning of a connection to an address that speaks TLS.

use capstan_listen::listener::Stream;
use capstan_listen::tls::{self, HandshakeError};

use super::allowed_hosts::Names;
use super::error::Error;
use super::peer::Presence;

/// The connection to speak HTTP on; `None` where it came to nothing, which its client was told as far as it listens. `names` are those that
/// it is served under, and then also what the certificate is for.
pub(super) async fn secured(stream: Stream, tls: Option<&tls::Server>, names: &mut Option<Names>) -> Option<Stream> {
    let (stream, tls) = match (stream, tls) {
        (Stream::Tcp(stream), Some(tls)) => (stream, tls),
        (stream, _) => return Some(stream),
    };
    let caller = stream.peer_addr().ok();
    // In a box of its own: it is large, and those who speak no TLS should not carry it.
    match Box::pin(tls.handshake(stream)).await {
        Ok(secured) => {
            if let Some(names) = names {
                names.certificate = Some(secured.material().clone());
            }
            Some(Stream::Tls(Box::new(secured)))
        }
        Err(error) => {
            tracing::debug!(?caller, %error, "no handshake");
            match error {
                HandshakeError::Plain(stream) => {
                    let presence = Presence::new(Stream::Tcp(stream));
                    presence.send(Error::tls_required().into_text().as_bytes()).await;
                    presence.close().await;
                }
                // The alert is read only if the connection is not reset over what the client has sent after its mistake.
                HandshakeError::Failed { stream, .. } => Presence::new(Stream::Tcp(stream)).close().await,
                HandshakeError::Disconnected | HandshakeError::TimedOut | HandshakeError::Evicted => {}
            }
            None
        }
    }
}
