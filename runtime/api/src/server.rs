//! The server: accepts connections from all listeners, and drains them when the daemon stops.

use std::sync::Arc;
use std::time::Duration;

use capstan_listen::listenbuffer::{GateState, ListenBuffer, StartupPolicy};
use capstan_listen::listener::{Address, Listener, Stream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::allowed_hosts::ServedNames;
use super::api::Api;
use super::connection::{self, Accepted};
use super::connection_limit::ConnectionLimit;
use super::router::Routes;
use super::startup_queue;
use super::surface::Surface;

/// How long connections may take to finish once no job runs any more.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The listeners of a daemon.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For the API, and handlers below `/x/`.
    pub api: Vec<Listener>,
    /// For the routes that handlers claim.
    pub routes: Vec<Listener>,
}

/// Serves `listeners` behind the gate of `api` until `stop` completes.
///
/// Then it closes the listeners at once, serves the existing connections until no job runs, and gives them 2 s to finish. Returns when
/// the last connection has ended.
pub async fn serve(api: Arc<Api>, listeners: Listeners, stop: impl Future) {
    tracing::debug!("serving\n{Routes}");
    api.set_backlogs(listeners.api.iter().chain(&listeners.routes).map(Listener::backlog).collect());
    let limits = api.state.settings.http_limits;
    let server = Arc::new(Server {
        api,
        connection_slots: Arc::new(Semaphore::new(limits.connections)),
        connection_limit: ConnectionLimit::new(limits.connections_per_peer),
        connections: TaskTracker::new(),
        closed: CancellationToken::new(),
        draining: CancellationToken::new(),
        killed: CancellationToken::new(),
    });
    let mut acceptors = JoinSet::new();
    for listener in listeners.api {
        acceptors.spawn(server.clone().accept_from(listener, Surface::Api));
    }
    for listener in listeners.routes {
        acceptors.spawn(server.clone().accept_from(listener, Surface::Routes));
    }
    stop.await;
    server.closed.cancel();
    acceptors.join_all().await;
    server.api.state.engine.wait_until_idle().await;
    server.drain().await;
}

struct Server {
    api: Arc<Api>,
    connection_slots: Arc<Semaphore>,
    connection_limit: Arc<ConnectionLimit>,
    connections: TaskTracker,
    /// No more connections are accepted.
    closed: CancellationToken,
    /// Connections end after the request in progress.
    draining: CancellationToken,
    /// Connections end now.
    killed: CancellationToken,
}

impl Server {
    /// Accepts connections until the server closes or the gate fails, and closes the listener.
    async fn accept_from(self: Arc<Self>, listener: Listener, surface: Surface) {
        let state = &self.api.state;
        let (address, gate, policy) = (listener.address().clone(), &state.gate, state.settings.policy);
        let buffer = ListenBuffer::new(listener, gate.clone(), policy, self.closed.clone());
        let _listener_task = state.tasks.track("api", || format!("listener at {address}"));
        loop {
            let slot = tokio::select! {
                slot = self.connection_slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
                () = self.closed.cancelled() => break,
            };
            let Ok(stream) = buffer.accept().await else { break };
            let is_early = policy == StartupPolicy::Answer && gate.state() != GateState::Open;
            let startup_queue = is_early.then(|| self.api.startup_queue.clone());
            let tls = buffer.listener().tls().cloned();
            let permit = stream.peer().map(|peer| self.connection_limit.acquire(peer.ip())).transpose();
            let Ok(permit) = permit else {
                // Under TLS the client could not read a response before a handshake, which would cost more than the limit saves.
                if tls.is_none() {
                    let limit = state.settings.http_limits.connections_per_peer;
                    self.connections.spawn(async move {
                        connection::reject_over_limit(stream, limit).await;
                        drop(slot);
                    });
                }
                continue;
            };
            let names = self.served_names(&address, &stream).filter(|_| surface == Surface::Api);
            let accepted = Accepted { names, startup_queue, surface };
            let served = connection::serve(self.api.clone(), stream, tls, accepted, self.draining.clone());
            let killed = self.killed.clone();
            let task = state.tasks.track("api", || format!("connection at {address}"));
            self.connections.spawn(async move {
                tokio::select! {
                    () = served => {}
                    () = killed.cancelled() => {}
                }
                drop((slot, permit, task));
            });
        }
        if let GateState::Failed(reason) = gate.state() {
            startup_queue::reject_all(&buffer, &reason).await;
        }
    }

    async fn drain(&self) {
        self.draining.cancel();
        self.connections.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, self.connections.wait()).await.is_err() {
            self.killed.cancel();
            self.connections.wait().await;
        }
    }

    /// Returns the names that requests of a connection may use; `None` on a unix socket, where they may use any.
    fn served_names(&self, address: &Address, stream: &Stream) -> Option<ServedNames> {
        match (address, stream) {
            (Address::Tcp { host, .. }, Stream::Tcp(stream)) => {
                // A connection that has already ended has no address, and sends no requests either.
                let local = stream.local_addr().map_or(std::net::Ipv4Addr::LOCALHOST.into(), |local| local.ip());
                Some(ServedNames {
                    bound_host: host.clone(),
                    local_address: local,
                    allowed: self.api.state.settings.allowed_hosts.clone(),
                    certificate: None,
                })
            }
            _ => None,
        }
    }
}
