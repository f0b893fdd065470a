//! The server: accepts from all listeners once the gate opens, or before it where that is answered, and stops in order.

use std::sync::Arc;
use std::time::Duration;

use capstan_listen::listenbuffer::{GateState, ListenBuffer, StartupPolicy};
use capstan_listen::listener::{Address, Listener, Stream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::allowed_hosts::Names;
use super::connection::Origin;
use super::connection_limit::Peers;
use super::router::Routes;
use super::{Api, connection, startup_queue};

/// How long connections may take to finish what they are at once no work is in flight.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves `listeners` behind the gate of `api` until `stop` ends.
///
/// Then it closes the listeners at once, goes on serving the connections there are until no work is in flight, and gives them 2 s to
/// finish. Ends when the last of them has.
pub async fn serve(api: Arc<Api>, listeners: Vec<Listener>, stop: impl Future) {
    tracing::debug!("serving\n{Routes}");
    api.set_backlogs(listeners.iter().map(Listener::backlog).collect());
    let bounds = api.settings.http;
    let server = Arc::new(Server {
        api,
        slots: Arc::new(Semaphore::new(bounds.connections)),
        peers: Peers::new(bounds.connections_per_peer),
        connections: TaskTracker::new(),
        closed: CancellationToken::new(),
        draining: CancellationToken::new(),
        killed: CancellationToken::new(),
    });
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(server.clone().accept_from(listener));
    }
    stop.await;
    server.closed.cancel();
    acceptors.join_all().await;
    server.api.engine.idle().await;
    server.drain().await;
}

struct Server {
    api: Arc<Api>,
    slots: Arc<Semaphore>,
    peers: Arc<Peers>,
    connections: TaskTracker,
    /// Nobody is accepted any more.
    closed: CancellationToken,
    /// Connections end with the request that goes on.
    draining: CancellationToken,
    /// Connections end now.
    killed: CancellationToken,
}

impl Server {
    /// Accepts until the listener is closed or the gate has failed, and closes the listener.
    async fn accept_from(self: Arc<Self>, listener: Listener) {
        let (bound, gate, policy) = (listener.address().clone(), &self.api.gate, self.api.settings.policy);
        let buffer = ListenBuffer::new(listener, gate.clone(), policy, self.closed.clone());
        let _note = self.api.tasks.note("api", || format!("listener at {bound}"));
        loop {
            let slot = tokio::select! {
                slot = self.slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
                () = self.closed.cancelled() => break,
            };
            let Ok(stream) = buffer.accept().await else { break };
            let early = policy == StartupPolicy::Answer && gate.state() != GateState::Open;
            let porch = early.then(|| self.api.porch.clone());
            let tls = buffer.listener().tls().cloned();
            let place = stream.peer().map(|peer| self.peers.place(peer.ip())).transpose();
            let Ok(place) = place else {
                // Who has to shake hands first is not told in words.
                if tls.is_none() {
                    self.connections.spawn(async move {
                        connection::refuse(stream).await;
                        drop(slot);
                    });
                }
                continue;
            };
            let origin = Origin { names: self.names_of(&bound, &stream), porch };
            let served = connection::serve(self.api.clone(), stream, tls, origin, self.draining.clone());
            let killed = self.killed.clone();
            let noted = self.api.tasks.note("api", || format!("connection at {bound}"));
            self.connections.spawn(async move {
                tokio::select! {
                    () = served => {}
                    () = killed.cancelled() => {}
                }
                drop((slot, place, noted));
            });
        }
        if let GateState::Failed(reason) = gate.state() {
            startup_queue::refuse(&buffer, &reason).await;
        }
    }

    async fn drain(&self) {
        self.draining.cancel();
        self.connections.close();
        if tokio::time::timeout(DRAIN, self.connections.wait()).await.is_err() {
            self.killed.cancel();
            self.connections.wait().await;
        }
    }

    /// The names that a connection is served under; on a unix socket any.
    fn names_of(&self, bound: &Address, stream: &Stream) -> Option<Names> {
        match (bound, stream) {
            (Address::Tcp { host, .. }, Stream::Tcp(stream)) => {
                // A connection that is gone already has no address, and no requests either.
                let local = stream.local_addr().map_or(std::net::Ipv4Addr::LOCALHOST.into(), |local| local.ip());
                Some(Names {
                    bound: host.clone(),
                    local,
                    callers: self.api.settings.callers.clone(),
                    certificate: None,
                })
            }
            _ => None,
        }
    }
}
