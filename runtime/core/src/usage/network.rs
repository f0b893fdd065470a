//! `NetworkUsage`: whom a run has spoken to over the network, and whom it was kept from.

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::Counter;
use crate::policy::Protocol;

/// Peers that are told of by name, and hosts that were denied; more of them are summed.
const MOST: usize = 64;

/// Whom a run has spoken to; it takes no memory until there is somebody.
#[derive(Debug, Default)]
pub struct NetworkUsage(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    peers: Vec<Arc<PeerUsage>>,
    others: Option<Arc<PeerUsage>>,
    denied: Vec<DenialReport>,
    other_denied: u64,
}

/// A port of a host, and what was exchanged with it.
#[derive(Debug)]
pub struct PeerUsage {
    host: Box<str>,
    port: u16,
    protocol: Protocol,
    /// Connections that were begun; over UDP addresses that were sent to.
    pub connections: Counter,
    /// Bytes that the guest has sent.
    pub sent: Counter,
    /// Bytes that the guest has received.
    pub received: Counter,
}

/// The network of a run at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkReport {
    /// In the order in which they were first spoken to.
    pub peers: Vec<PeerReport>,
    /// All peers after the first 64 together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<Traffic>,
    /// In the order in which they were first denied.
    pub denied: Vec<DenialReport>,
    /// How often others than the first 64 were denied.
    #[serde(skip_serializing_if = "is_none")]
    pub other_denied: u64,
}

/// A port of a host, and what was exchanged with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its name where the run was let through by that, else its address.
    pub host: String,
    pub port: u16,
    pub protocol: Protocol,
    #[serde(flatten)]
    pub exchanged: Traffic,
}

/// What was exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections that were begun; over UDP addresses that were sent to.
    pub connections: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

/// What was denied, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialReport {
    /// `HOST:PORT/PROTOCOL`, or a name that was to be looked up.
    pub target: String,
    pub why: String,
    pub count: u64,
}

impl NetworkUsage {
    /// Where to count what is exchanged with a port of a host.
    pub fn with(&self, host: &str, port: u16, protocol: Protocol) -> Arc<PeerUsage> {
        let mut known = self.lock();
        let is_same = |peer: &&Arc<PeerUsage>| *peer.host == *host && peer.port == port && peer.protocol == protocol;
        if let Some(peer) = known.peers.iter().find(is_same) {
            return peer.clone();
        }
        if known.peers.len() == MOST {
            return known.others.get_or_insert_with(|| Arc::new(PeerUsage::new("", 0, Protocol::Tcp))).clone();
        }
        let peer = Arc::new(PeerUsage::new(host, port, protocol));
        known.peers.push(peer.clone());
        peer
    }

    /// Notes that the run was kept from `target`.
    pub fn deny(&self, target: &str, why: &str) {
        let mut known = self.lock();
        if let Some(same) = known.denied.iter_mut().find(|denied| denied.target == target && denied.why == why) {
            same.count += 1;
        } else if known.denied.len() == MOST {
            known.other_denied += 1;
        } else {
            known.denied.push(DenialReport { target: target.to_owned(), why: why.to_owned(), count: 1 });
        }
    }

    /// What there is to tell; `None` where the run has asked for nothing of the network.
    pub fn report(&self) -> Option<Box<NetworkReport>> {
        let known = self.lock();
        if known.peers.is_empty() && known.denied.is_empty() {
            return None;
        }
        Some(Box::new(NetworkReport {
            peers: known.peers.iter().map(|peer| peer.report()).collect(),
            others: known.others.as_ref().map(|others| others.exchanged()),
            denied: known.denied.clone(),
            other_denied: known.other_denied,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl PeerUsage {
    fn new(host: &str, port: u16, protocol: Protocol) -> Self {
        let [connections, sent, received] = Default::default();
        Self { host: host.into(), port, protocol, connections, sent, received }
    }

    fn report(&self) -> PeerReport {
        let Self { host, port, protocol, .. } = self;
        PeerReport { host: host.to_string(), port: *port, protocol: *protocol, exchanged: self.exchanged() }
    }

    fn exchanged(&self) -> Traffic {
        Traffic {
            connections: self.connections.get(),
            sent_bytes: self.sent.get(),
            received_bytes: self.received.get(),
        }
    }
}

impl NetworkReport {
    /// Bytes of memory that it takes; an estimate.
    pub fn weight(&self) -> usize {
        let peers = self.peers.iter().map(|peer| size_of::<PeerReport>() + peer.host.len());
        let denied = self.denied.iter().map(|one| size_of::<DenialReport>() + one.target.len() + one.why.len());
        size_of::<Self>() + peers.sum::<usize>() + denied.sum::<usize>()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference to the field")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_nothing_has_nothing_to_tell() {
        assert_eq!(NetworkUsage::default().report(), None);
    }

    #[test]
    fn peers_are_told_apart_by_host_port_and_protocol() {
        let contacts = NetworkUsage::default();
        for (host, port, protocol) in
            [("a", 1, Protocol::Tcp), ("a", 2, Protocol::Tcp), ("a", 1, Protocol::Udp), ("b", 1, Protocol::Tcp)]
        {
            contacts.with(host, port, protocol).sent.add(3);
            contacts.with(host, port, protocol).received.add(4);
        }
        let report = contacts.report().unwrap();
        assert_eq!(report.peers.len(), 4);
        let exchanged = Traffic { connections: 0, sent_bytes: 3, received_bytes: 4 };
        assert!(report.peers.iter().all(|peer| peer.exchanged == exchanged));
        let json = serde_json::to_value(&report.peers[2]).unwrap();
        let expected = serde_json::json!({"host": "a", "port": 1, "protocol": "udp", "connections": 0, "sent_bytes": 3, "received_bytes": 4});
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<PeerReport>(json).unwrap(), report.peers[2]);
    }

    #[test]
    fn however_many_there_are_what_is_told_is_bounded() {
        let contacts = NetworkUsage::default();
        for port in 1..=1000 {
            contacts.with("a", port, Protocol::Tcp).sent.add(1);
            contacts.deny(&format!("b:{port}/tcp"), "no rule");
            contacts.deny("b:1/tcp", "no rule");
        }
        let report = contacts.report().unwrap();
        assert_eq!((report.peers.len(), report.denied.len()), (MOST, MOST));
        assert_eq!((report.others.unwrap().sent_bytes, report.other_denied), (1000 - 64, 1000 - 64));
        assert_eq!(report.denied[0].count, 1001);
        assert!(report.weight() < 32 << 10, "{}", report.weight());
    }
}
