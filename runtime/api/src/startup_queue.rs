//! `StartupQueue`: requests that arrive before the gate opens.
//!
//! Under the policy `hold` the kernel holds connections, and nothing is answered before the gate opens; [`reject_all`] answers them if
//! the gate fails. Under `answer` a connection is served early: `/_ping` and `/_ready` are answered at once, and every other request
//! waits in the queue, on its connection, until the gate opens. It is then served like a request that arrived at that moment.

use std::sync::Arc;
use std::time::Duration;

use capstan_listen::listenbuffer::{Gate, GateFailed, GateState, ListenBuffer};
use capstan_listen::listener::{Listener, Stream};
use capstan_listen::tls;
use futures_util::future::join_all;
use hyper::http::request::Parts;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::Error;
use super::handshake;
use super::peer::{Peer, PeerState};
use super::router;

/// The most requests in the queue; more are rejected and should be retried.
const CAPACITY: usize = 1024;
/// How long all waiting clients may take to read that the gate has failed; and the same where they must do a TLS handshake first.
const REJECT_TIMEOUT: Duration = Duration::from_secs(1);
const TLS_REJECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a waiting request checks whether its client is still there.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The requests that wait for the gate. Clones share the queue.
#[derive(Clone, Debug)]
pub(super) struct StartupQueue {
    gate: Gate,
    capacity: usize,
    slots: Arc<Semaphore>,
}

impl StartupQueue {
    pub(super) fn new(gate: Gate) -> Self {
        Self::with_capacity(gate, CAPACITY)
    }

    fn with_capacity(gate: Gate, capacity: usize) -> Self {
        Self { gate, capacity, slots: Arc::new(Semaphore::new(capacity)) }
    }

    /// Returns how many requests wait.
    pub(super) fn len(&self) -> usize {
        self.capacity - self.slots.available_permits()
    }

    /// Waits until the gate opens, or returns at once what the client gets instead. Cancel-safe.
    ///
    /// # Errors
    /// [`Error`], 503 `starting`: for `/_ping` and `/_ready`, where the queue is full, and where the gate fails.
    pub(super) async fn wait(&self, head: &Parts, peer: &Peer) -> Result<(), Error> {
        let phase = match self.gate.state() {
            GateState::Open => return Ok(()),
            GateState::Failed(reason) => return Err(Error::starting(&reason)),
            GateState::Shut(phase) => phase,
        };
        if router::unversioned(head.uri.path()).is_ok_and(|path| matches!(path, "/_ping" | "/_ready")) {
            return Err(Error::starting_in(phase));
        }
        let Ok(_slot) = self.slots.try_acquire() else {
            return Err(Error::starting_in(phase));
        };
        let disconnected = async {
            while peer.state() != PeerState::Disconnected {
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
        };
        tokio::select! {
            biased;
            result = self.gate.opened() => result.map_err(|GateFailed(reason)| Error::starting(&reason)),
            // No client reads this error; it frees the slot and keeps the request from being served.
            () = disconnected => Err(Error::starting_in(phase)),
        }
    }
}

/// Answers 503 `starting` with the reason to every connection that the kernel holds, whatever it requests, and closes it.
///
/// Takes up to 1 s, and up to 4 s over TLS.
pub(super) async fn reject_all(buffer: &ListenBuffer<Listener>, reason: &str) {
    let response = Error::starting(reason).into_text();
    let all = async {
        loop {
            // As many as may be open at a time; the next ones follow when these are closed.
            let batch: Vec<_> = buffer.drain().collect();
            if batch.is_empty() {
                return;
            }
            join_all(batch.into_iter().map(|stream| reject(stream, buffer.listener().tls(), response.as_bytes())))
                .await;
        }
    };
    // A client that does not read must not delay the end of the daemon.
    let limit = if buffer.listener().tls().is_some() { TLS_REJECT_TIMEOUT } else { REJECT_TIMEOUT };
    let _ = timeout(limit, all).await;
}

async fn reject(stream: Stream, tls: Option<&Arc<tls::Server>>, response: &[u8]) {
    let Some(stream) = handshake::accept_tls(stream, tls.map(Arc::as_ref), &mut None).await else { return };
    let peer = Peer::new(stream);
    peer.send(response).await;
    // A client that reads to the end closes at once. One that does not must not use up the time of the others.
    let _ = timeout(REJECT_TIMEOUT / 2, peer.close()).await;
}

#[cfg(test)]
mod tests {
    use capstan_listen::listenbuffer::StartupPhase;
    use hyper::Request;
    use tokio::net::UnixStream;

    use super::*;

    struct QueuedRequest {
        queue: StartupQueue,
        client: Option<UnixStream>,
        peer: Arc<Peer>,
    }

    fn request_in(queue: &StartupQueue) -> QueuedRequest {
        let (client, served) = UnixStream::pair().unwrap();
        QueuedRequest { queue: queue.clone(), client: Some(client), peer: Peer::new(Stream::Unix(served)) }
    }

    impl QueuedRequest {
        async fn wait(&self, path: &str) -> Result<(), String> {
            let head = Request::get(path).body(()).unwrap().into_parts().0;
            self.queue.wait(&head, &self.peer).await.map_err(Error::into_text)
        }
    }

    async fn until_length(queue: &StartupQueue, length: usize) {
        while queue.len() != length {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn wait_answers_ping_and_ready_at_once_without_slot() {
        let gate = Gate::new();
        let queue = StartupQueue::with_capacity(gate.clone(), 0);
        for phase in [StartupPhase::Binding, StartupPhase::Loading, StartupPhase::Installing] {
            gate.set_phase(phase);
            for path in ["/_ping", "/_ready", "/v1/_ping", "/v1/_ready?x=y"] {
                let response = request_in(&queue).wait(path).await.unwrap_err();
                let is_starting = response.contains("503") && response.contains(&format!(r#""phase":"{phase}""#));
                assert!(is_starting, "{response}");
            }
        }
    }

    #[tokio::test]
    async fn wait_holds_other_requests_up_to_capacity_until_gate_opens() {
        let gate = Gate::new();
        let queue = StartupQueue::with_capacity(gate.clone(), 2);
        let (first, second) = (request_in(&queue), request_in(&queue));
        let third_request = async {
            until_length(&queue, 2).await;
            let response = request_in(&queue).wait("/info").await.unwrap_err();
            assert!(response.contains("starting") && response.contains("retry-after"), "{response}");
            gate.open();
        };
        let (first, second, ()) = tokio::join!(first.wait("/info"), second.wait("/v2/_ping"), third_request);
        assert_eq!((first, second), (Ok(()), Ok(())));
        assert_eq!(queue.len(), 0);
        assert_eq!(request_in(&queue).wait("/_ping").await, Ok(()));
    }

    #[tokio::test]
    async fn wait_reports_failed_gate_to_waiting_and_new_requests() {
        let gate = Gate::new();
        let queue = StartupQueue::new(gate.clone());
        let waiting = request_in(&queue);
        let failing = async {
            until_length(&queue, 1).await;
            gate.fail("no engine today");
        };
        let (response, ()) = tokio::join!(waiting.wait("/info"), failing);
        for response in [response, request_in(&queue).wait("/_ping").await] {
            let response = response.unwrap_err();
            assert!(response.contains("503") && response.contains("no engine today"), "{response}");
        }
    }

    #[tokio::test]
    async fn wait_frees_slot_when_client_disconnects() {
        let queue = StartupQueue::new(Gate::new());
        let mut request = request_in(&queue);
        let client = request.client.take();
        let disconnecting = async {
            until_length(&queue, 1).await;
            drop(client);
        };
        let (result, ()) = tokio::join!(request.wait("/info"), disconnecting);
        assert!(result.is_err());
        assert_eq!(queue.len(), 0);
    }
}
