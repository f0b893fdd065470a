//! `Network`: the sockets of one run, held to what it may reach and to how much of it.
//!
//! ```text
//! look up a name ──▶ only one that a rule names ──▶ its addresses are remembered with it
//!                                                            │
//! connect, send ───▶ each address: by its own rule, or by a name that it was looked up for ──▶ counted by peer, up to the caps
//! bind, listen ────▶ only what a socket needs to speak first
//! ```
//!
//! The library opens and drives the sockets, and asks here before it uses an address; see [`linker`] for what stands around it. A run
//! of a program that imports no sockets has none of this.

mod linker;
mod lookup;
mod meter;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};

use capstan_core::limits::Limits;
use capstan_core::outcome::{NetworkLimit, Outcome};
use capstan_core::policy::{DenialReason, Name, Protocol, Reach};
use capstan_core::usage::{PeerUsage, Usage};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

pub(super) use self::linker::shadow;
pub use self::lookup::{Resolve, Resolver};
use super::host::Host;

/// Addresses that are remembered for the names they were found by.
const MOST_ADDRESSES: usize = 4096;

/// The sockets of one run; clones are the same.
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
    /// Where to count what is exchanged with an address that was let through.
    contacts: HashMap<(Protocol, SocketAddr), Arc<PeerUsage>>,
    /// To whom a stream of datagrams is connected, by its place in the table of the run.
    connected: HashMap<u32, SocketAddr>,
    connections: u64,
    /// Bytes that may yet be sent and received.
    left: u64,
    /// The cap that the guest has run into.
    capped: Option<NetworkLimit>,
}

impl Network {
    pub(super) fn new(reach: Option<Box<Reach>>, resolver: Resolver, limits: Limits, usage: Arc<Usage>) -> Self {
        let state = State {
            names: HashMap::new(),
            contacts: HashMap::new(),
            connected: HashMap::new(),
            connections: 0,
            left: limits.traffic,
            capped: None,
        };
        Self(Arc::new(Inner { reach: reach.unwrap_or_default(), resolver, limits, usage, state: Mutex::new(state) }))
    }

    /// Lets the run make sockets, each of whose addresses is asked for here.
    pub(super) fn open(&self, wasi: &mut WasiCtxBuilder) {
        let network = self.clone();
        wasi.allow_tcp(true).allow_udp(true).socket_addr_check(move |address, purpose| {
            let allowed = network.check(address, purpose);
            Box::pin(std::future::ready(allowed))
        });
    }

    /// What a run that would end with `outcome` ends with: who runs into a cap and does not cope has it for its end.
    pub(super) fn outcome(&self, outcome: Outcome) -> Outcome {
        let Some(what) = self.lock().capped else { return outcome };
        let limit = match what {
            NetworkLimit::Connections => self.0.limits.connections,
            NetworkLimit::Traffic => self.0.limits.traffic,
        };
        match outcome {
            Outcome::Exited { code: 1.. } | Outcome::Trapped { .. } => Outcome::NetworkCap { resource: what, limit },
            other => other,
        }
    }

    fn check(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        match purpose {
            SocketAddrUse::TcpConnect => self.admit(Protocol::Tcp, address),
            SocketAddrUse::UdpSend => self.admit(Protocol::Udp, address),
            // Answers only.
            SocketAddrUse::UdpReceive => self.contact(Protocol::Udp, address).is_some(),
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind if address.ip().is_unspecified() && address.port() == 0 => {
                true
            }
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind | SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => {
                self.deny(&address.to_string(), "nothing may be bound or listened on");
                false
            }
        }
    }

    /// Whether `address` may be spoken to now; it is then counted as one more connection.
    fn admit(&self, protocol: Protocol, address: SocketAddr) -> bool {
        let mut state = self.lock();
        let key = key(protocol, address);
        if protocol == Protocol::Udp && state.contacts.contains_key(&key) {
            return true;
        }
        let ip = key.1.ip();
        let names = state.names.get(&ip).map_or(&[][..], Vec::as_slice);
        let target = || format!("{}/{protocol}", key.1);
        let host = match self.0.reach.allows(protocol, key.1, names, is_here) {
            Ok(name) => name.map_or_else(|| ip.to_string(), Name::to_string),
            Err(why) => {
                self.deny(&target(), &why.to_string());
                return false;
            }
        };
        if state.connections == self.0.limits.connections {
            state.capped.get_or_insert(NetworkLimit::Connections);
            self.deny(&target(), "there have been as many connections as there may be");
            return false;
        }
        let contact = self.0.usage.network.peer(&host, key.1.port(), protocol);
        contact.connections.add(1);
        state.connections += 1;
        state.contacts.insert(key, contact);
        true
    }

    /// Where to count what is exchanged with an address that was let through.
    fn contact(&self, protocol: Protocol, address: SocketAddr) -> Option<Arc<PeerUsage>> {
        self.lock().contacts.get(&key(protocol, address)).cloned()
    }

    /// Whether `name` may be looked up.
    fn names(&self, name: &Name) -> bool {
        let names = self.0.reach.allows_lookup(name);
        if !names {
            self.deny(name.as_str(), &DenialReason::NoRule.to_string());
        }
        names
    }

    /// Whether `address` may stand in the place of a name.
    fn addresses(&self, address: IpAddr) -> bool {
        let addresses = self.0.reach.has_rule_for(address);
        if !addresses {
            self.deny(&address.to_string(), &DenialReason::NoRule.to_string());
        }
        addresses
    }

    /// Notes that `addresses` were found by `name`.
    fn remember(&self, name: &Name, addresses: &[IpAddr]) {
        let mut state = self.lock();
        for address in addresses {
            if state.names.len() < MOST_ADDRESSES || state.names.contains_key(address) {
                let names = state.names.entry(*address).or_default();
                if names.len() < MOST_ADDRESSES && !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
    }

    /// Takes as much of `size` bytes from what is left as there is.
    fn spend(&self, size: usize) -> usize {
        let mut state = self.lock();
        let permitted = usize::try_from(state.left).unwrap_or(usize::MAX).min(size);
        state.left -= permitted as u64;
        permitted
    }

    /// Bytes that may yet be sent and received.
    fn left(&self) -> usize {
        usize::try_from(self.lock().left).unwrap_or(usize::MAX)
    }

    /// Notes that there was more to send or to receive than may be.
    fn cap_traffic(&self) {
        self.lock().capped.get_or_insert(NetworkLimit::Traffic);
    }

    fn deny(&self, target: &str, why: &str) {
        self.0.usage.network.record_denial(target, why);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while the lock is held")
    }
}

/// What tells an address from others: it may come back with a scope that it was not sent with.
fn key(protocol: Protocol, address: SocketAddr) -> (Protocol, SocketAddr) {
    (protocol, SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Whether `address` is one of this machine's: the kernel lets nobody have another.
fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests;
