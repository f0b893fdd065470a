//! What held connections are told when the gate will not open.

use std::time::Duration;

use futures_util::future::join_all;

use super::error::Error;
use super::wire::Presence;
use crate::listenbuffer::ListenBuffer;
use crate::listener::Listener;

/// How long all of them together may take to hear it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers 503 `starting` with the reason to everyone who waits, whatever they have asked, and closes.
pub(crate) async fn refuse(buffer: &ListenBuffer<Listener>, reason: &str) {
    let refusal = Error::starting(reason).into_text();
    let told = join_all(buffer.held().map(|stream| {
        let refusal = refusal.as_bytes();
        async move {
            let presence = Presence::new(stream);
            presence.send(refusal).await;
            presence.close().await;
        }
    }));
    // Who does not listen is not waited for.
    let _ = tokio::time::timeout(PATIENCE, told).await;
}
