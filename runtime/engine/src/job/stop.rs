//! [`Stop`]: the request to end a run.

use std::sync::{Arc, OnceLock};

use capstan_core::outcome::{CancelledBy, Outcome};
use tokio_util::sync::CancellationToken;

/// The request to end a run. It is made at most once, and names the outcome of the run. Clones share the request.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    token: CancellationToken,
    outcome: OnceLock<Outcome>,
}

impl Stop {
    /// Requests the end of the run with `outcome`. The first request decides the outcome; later ones change nothing.
    pub fn request(&self, outcome: Outcome) {
        if self.0.outcome.set(outcome).is_ok() {
            self.0.token.cancel();
        }
    }

    /// Waits for the request and returns its outcome. Cancel-safe.
    pub async fn requested(&self) -> Outcome {
        self.0.token.cancelled().await;
        // Without a request of its own, the run ends because its parent does.
        self.0.outcome.get_or_init(|| Outcome::Cancelled { by: CancelledBy::Parent }).clone()
    }

    /// Returns whether the end was requested.
    pub fn is_requested(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// Returns the stop of a child, which is also requested when this one is.
    pub(crate) fn child(&self) -> Self {
        Self(Arc::new(Inner { token: self.0.token.child_token(), outcome: OnceLock::new() }))
    }

    /// Requests the end of all children.
    pub(crate) fn stop_children(&self) {
        self.0.token.cancel();
    }
}
