//! Who waits at the gate: what is answered at once, who is held, and what they are told where it will not open.
//!
//! Under the policy `hold` the kernel holds connections, and nothing is said before the gate opens. Under `answer` a connection that came
//! before is served by [`Porch`]: the two questions that are asked of a daemon that starts have their answer, everything else waits
//! on its connection until the gate opens, and is then served as if it had come at that moment.

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
use super::peer::{Client, Presence};
use super::router;

/// Requests that are held at a time; whoever comes then is told to come back.
const HELD: usize = 1024;
/// How long all who wait may take to hear that the gate will not open; and where they must shake hands first.
const PATIENCE: Duration = Duration::from_secs(1);
const TLS_PATIENCE: Duration = Duration::from_secs(4);
/// How often it is looked whether a client that is held is still there.
const LOOK: Duration = Duration::from_millis(250);

/// Where requests wait for the gate; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Porch {
    gate: Gate,
    size: usize,
    places: Arc<Semaphore>,
}

impl Porch {
    pub(super) fn new(gate: Gate) -> Self {
        Self::with_places(gate, HELD)
    }

    fn with_places(gate: Gate, size: usize) -> Self {
        Self { gate, size, places: Arc::new(Semaphore::new(size)) }
    }

    /// How many requests are held.
    pub(super) fn held(&self) -> usize {
        self.size - self.places.available_permits()
    }

    /// Lets a request through as soon as the gate opens, or says at once what it is to be told instead. Cancel-safe.
    ///
    /// # Errors
    /// [`Error`], 503 `starting`: for `/_ping` and `/_ready`, where too many wait already, where the gate fails.
    pub(super) async fn pass(&self, head: &Parts, presence: &Presence) -> Result<(), Error> {
        let phase = match self.gate.state() {
            GateState::Open => return Ok(()),
            GateState::Failed(reason) => return Err(Error::starting(&reason)),
            GateState::Shut(phase) => phase,
        };
        if router::unversioned(head.uri.path()).is_ok_and(|path| matches!(path, "/_ping" | "/_ready")) {
            return Err(Error::booting(phase));
        }
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Error::booting(phase));
        };
        let gone = async {
            while presence.client() != Client::Gone {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            biased;
            opened = self.gate.opened() => opened.map_err(|GateFailed(reason)| Error::starting(&reason)),
            // Nobody hears this, and nothing is to be done for nobody.
            () = gone => Err(Error::booting(phase)),
        }
    }
}

/// Answers 503 `starting` with the reason to everyone whom the kernel holds, whatever they have asked, and closes. Takes 1 s at most, and 4 s
/// over TLS.
pub(super) async fn refuse(buffer: &ListenBuffer<Listener>, reason: &str) {
    let refusal = Error::starting(reason).into_text();
    let all = async {
        loop {
            // All that may be open at a time; the next are taken when these are gone.
            let some: Vec<_> = buffer.drain().collect();
            if some.is_empty() {
                return;
            }
            join_all(some.into_iter().map(|stream| tell(stream, buffer.listener().tls(), refusal.as_bytes()))).await;
        }
    };
    // Who does not listen is not waited for.
    let patience = if buffer.listener().tls().is_some() { TLS_PATIENCE } else { PATIENCE };
    let _ = timeout(patience, all).await;
}

async fn tell(stream: Stream, tls: Option<&Arc<tls::Server>>, refusal: &[u8]) {
    let Some(stream) = handshake::secured(stream, tls.map(Arc::as_ref), &mut None).await else { return };
    let presence = Presence::new(stream);
    presence.send(refusal).await;
    // Who reads to the end leaves at once; who does not must not cost others their turn.
    let _ = timeout(PATIENCE / 2, presence.close()).await;
}

#[cfg(test)]
mod tests {
    use capstan_listen::listenbuffer::StartupPhase;
    use hyper::Request;
    use tokio::net::UnixStream;

    use super::*;

    struct Asking {
        porch: Porch,
        client: Option<UnixStream>,
        presence: Arc<Presence>,
    }

    fn asking(porch: &Porch) -> Asking {
        let (client, served) = UnixStream::pair().unwrap();
        Asking { porch: porch.clone(), client: Some(client), presence: Presence::new(Stream::Unix(served)) }
    }

    impl Asking {
        async fn pass(&self, path: &str) -> Result<(), String> {
            let head = Request::get(path).body(()).unwrap().into_parts().0;
            self.porch.pass(&head, &self.presence).await.map_err(Error::into_text)
        }
    }

    async fn held(porch: &Porch, count: usize) {
        while porch.held() != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_asks_how_the_start_goes_is_told_and_takes_no_place() {
        let gate = Gate::new();
        let porch = Porch::with_places(gate.clone(), 0);
        for phase in [StartupPhase::Binding, StartupPhase::Loading, StartupPhase::Installing] {
            gate.set_phase(phase);
            for path in ["/_ping", "/_ready", "/v1/_ping", "/v1/_ready?x=y"] {
                let told = asking(&porch).pass(path).await.unwrap_err();
                assert!(told.contains("503") && told.contains(&format!(r#""phase":"{phase}""#)), "{told}");
            }
        }
    }

    #[tokio::test]
    async fn all_others_wait_for_the_gate_as_far_as_there_is_room() {
        let gate = Gate::new();
        let porch = Porch::with_places(gate.clone(), 2);
        let (one, other) = (asking(&porch), asking(&porch));
        let more_than_two = async {
            held(&porch, 2).await;
            let told = asking(&porch).pass("/info").await.unwrap_err();
            assert!(told.contains("starting") && told.contains("retry-after"), "{told}");
            gate.open();
        };
        let (one, other, ()) = tokio::join!(one.pass("/info"), other.pass("/v2/_ping"), more_than_two);
        assert_eq!((one, other), (Ok(()), Ok(())));
        assert_eq!(porch.held(), 0);
        assert_eq!(asking(&porch).pass("/_ping").await, Ok(()));
    }

    #[tokio::test]
    async fn a_gate_that_fails_is_told_to_those_who_wait_and_those_who_come() {
        let gate = Gate::new();
        let porch = Porch::new(gate.clone());
        let waits = asking(&porch);
        let failing = async {
            held(&porch, 1).await;
            gate.fail("no engine today");
        };
        let (told, ()) = tokio::join!(waits.pass("/info"), failing);
        for told in [told, asking(&porch).pass("/_ping").await] {
            let told = told.unwrap_err();
            assert!(told.contains("503") && told.contains("no engine today"), "{told}");
        }
    }

    #[tokio::test]
    async fn who_leaves_gives_its_place_back() {
        let porch = Porch::new(Gate::new());
        let mut leaves = asking(&porch);
        let client = leaves.client.take();
        let leaving = async {
            held(&porch, 1).await;
            drop(client);
        };
        let (told, ()) = tokio::join!(leaves.pass("/info"), leaving);
        assert!(told.is_err());
        assert_eq!(porch.held(), 0);
    }
}
