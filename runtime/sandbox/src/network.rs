//! [`Network`]: the sockets of one run, limited to the addresses that its policy allows, and to a number of connections and bytes.
//!
//! ```text
//! look up a name ──▶ only if a rule names it ──▶ its addresses are remembered with the name
//!                                                        │
//! connect, send ───▶ the address needs its own rule, or a name that it was looked up for ──▶ counted by peer, up to the caps
//! bind, listen ────▶ only what a client socket needs
//! ```
//!
//! wasmtime-wasi opens and drives the sockets, and asks here before it uses an address. [`linker`] has the functions around it. A run of a
//! program that imports no sockets has no `Network`.

mod http_connections;
mod linker;
mod lookup;
mod meter;
mod metered_stream;
mod resolver;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};

use capstan_core::limits::Limits;
use capstan_core::outcome::{NetworkLimit, Outcome};
use capstan_core::policy::{DenialReason, Name, Protocol, Reach};
use capstan_core::usage::{PeerUsage, Usage};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

pub(super) use self::linker::shadow_sockets;
pub(super) use self::metered_stream::{Meter, MeterSlot, MeteredStream};
pub use self::resolver::{Resolve, Resolver};

/// How many addresses are remembered with the names that they were found by, and how many names for each.
const MAX_REMEMBERED: usize = 4096;

/// The sockets of one run. Clones share their state.
#[derive(Clone)]
pub(super) struct Network(Arc<Inner>);

struct Inner {
    reach: Box<Reach>,
    resolver: Resolver,
    limits: Limits,
    usage: Arc<Usage>,
    state: Mutex<State>,
}

struct State {
    /// The names that an address was found by.
    names: HashMap<IpAddr, Vec<Name>>,
    /// The counters of each address that was allowed.
    peers: HashMap<(Protocol, SocketAddr), Arc<PeerUsage>>,
    /// The peer of each connected datagram stream, by the number of the stream in the resource table.
    connected: HashMap<u32, SocketAddr>,
    /// How many connections there were.
    connections: u64,
    /// How many bytes may still be sent and received.
    remaining: u64,
    /// The first cap that the guest exceeded.
    exceeded: Option<NetworkLimit>,
}

impl Network {
    /// Creates the sockets of a run that may reach what `reach` contains; `None` is nothing.
    pub(super) fn new(reach: Option<Box<Reach>>, resolver: Resolver, limits: Limits, usage: Arc<Usage>) -> Self {
        let state = State {
            names: HashMap::new(),
            peers: HashMap::new(),
            connected: HashMap::new(),
            connections: 0,
            remaining: limits.traffic,
            exceeded: None,
        };
        Self(Arc::new(Inner { reach: reach.unwrap_or_default(), resolver, limits, usage, state: Mutex::new(state) }))
    }

    /// Allows the run to create sockets, and checks each address that they use.
    pub(super) fn configure(&self, wasi: &mut WasiCtxBuilder) {
        let network = self.clone();
        wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, purpose| {
            let is_allowed = network.check(address, purpose);
            Box::pin(std::future::ready(is_allowed))
        });
    }

    /// Returns the network cap as the outcome if the guest exceeded a cap and then failed; otherwise returns `outcome`.
    pub(super) fn or_network_cap(&self, outcome: Outcome) -> Outcome {
        let Some(what) = self.lock().exceeded else { return outcome };
        let limit = match what {
            NetworkLimit::Connections => self.0.limits.connections,
            NetworkLimit::Traffic => self.0.limits.traffic,
        };
        match outcome {
            Outcome::Exited { code: 1.. } | Outcome::Trapped { .. } => Outcome::NetworkCap { resource: what, limit },
            other => other,
        }
    }

    /// Returns whether the guest may use `address` for `purpose`.
    fn check(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        match purpose {
            SocketAddrUse::TcpConnect => self.admit(Protocol::Tcp, address),
            SocketAddrUse::UdpSend => self.admit(Protocol::Udp, address),
            // Only responses.
            SocketAddrUse::UdpReceive => self.peer(Protocol::Udp, address).is_some(),
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind if address.ip().is_unspecified() && address.port() == 0 => {
                true
            }
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind | SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => {
                self.deny(&address.to_string(), "nothing may be bound or listened on");
                false
            }
        }
    }

    /// Returns whether the guest may connect or send to `address`, and counts a connection if so.
    fn admit(&self, protocol: Protocol, address: SocketAddr) -> bool {
        let mut state = self.lock();
        let key = key(protocol, address);
        if protocol == Protocol::Udp && state.peers.contains_key(&key) {
            return true;
        }
        let ip = key.1.ip();
        let names = state.names.get(&ip).map_or(&[][..], Vec::as_slice);
        let target = || format!("{}/{protocol}", key.1);
        let host = match self.0.reach.allows(protocol, key.1, names, is_local_address) {
            Ok(name) => name.map_or_else(|| ip.to_string(), Name::to_string),
            Err(why) => {
                self.deny(&target(), &why.to_string());
                return false;
            }
        };
        if state.connections == self.0.limits.connections {
            state.exceeded.get_or_insert(NetworkLimit::Connections);
            self.deny(&target(), "the run has made as many connections as `connections` in its policy allows");
            return false;
        }
        let peer = self.0.usage.network.peer(&host, key.1.port(), protocol);
        peer.connections.add(1);
        state.connections += 1;
        state.peers.insert(key, peer);
        true
    }

    /// Returns the counters of an address that was allowed before.
    fn peer(&self, protocol: Protocol, address: SocketAddr) -> Option<Arc<PeerUsage>> {
        self.lock().peers.get(&key(protocol, address)).cloned()
    }

    /// Returns whether the guest may look up `name`.
    fn may_look_up(&self, name: &Name) -> bool {
        let is_allowed = self.0.reach.allows_lookup(name);
        if !is_allowed {
            self.deny(name.as_str(), &DenialReason::NoRule.to_string());
        }
        is_allowed
    }

    /// Returns whether the guest may use `address` in place of a name.
    fn may_use_address(&self, address: IpAddr) -> bool {
        let is_allowed = self.0.reach.has_rule_for(address);
        if !is_allowed {
            self.deny(&address.to_string(), &DenialReason::NoRule.to_string());
        }
        is_allowed
    }

    /// Remembers that `addresses` were found by `name`.
    fn remember(&self, name: &Name, addresses: &[IpAddr]) {
        let mut state = self.lock();
        for address in addresses {
            if state.names.len() < MAX_REMEMBERED || state.names.contains_key(address) {
                let names = state.names.entry(*address).or_default();
                if names.len() < MAX_REMEMBERED && !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
    }

    /// Subtracts up to `size` bytes from the remaining traffic. Returns how many.
    fn consume(&self, size: usize) -> usize {
        let mut state = self.lock();
        let permitted = usize::try_from(state.remaining).unwrap_or(usize::MAX).min(size);
        state.remaining -= permitted as u64;
        permitted
    }

    /// Returns how many bytes may still be sent and received.
    fn remaining(&self) -> usize {
        usize::try_from(self.lock().remaining).unwrap_or(usize::MAX)
    }

    /// Records that the guest exceeded the cap on traffic.
    fn record_traffic_exceeded(&self) {
        self.lock().exceeded.get_or_insert(NetworkLimit::Traffic);
    }

    /// Records a denied address or name.
    fn deny(&self, target: &str, reason: &str) {
        self.0.usage.network.record_denial(target, reason);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while the lock is held")
    }
}

/// Returns the key of an address in [`State::peers`]. It has no scope, since an address may be received with a scope that it was not sent
/// with.
fn key(protocol: Protocol, address: SocketAddr) -> (Protocol, SocketAddr) {
    (protocol, SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Returns whether `address` belongs to this machine: the kernel binds no other.
fn is_local_address(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests;
