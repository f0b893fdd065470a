//! [`NetworkUsage`]: the peers with which a run exchanged data, and the peers that it was denied.

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};

use super::counter::Counter;
use crate::policy::Protocol;

/// Maximum number of peers, and of denials, that are reported separately. Further ones are summed.
const MAX_ENTRIES: usize = 64;

/// The peers of a run. Allocates nothing until there is one.
#[derive(Debug, Default)]
pub struct NetworkUsage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    peers: Vec<Arc<PeerUsage>>,
    others: Option<Arc<PeerUsage>>,
    denied: Vec<DenialReport>,
    other_denied: u64,
}

/// The counters of one peer: a host, a port and a protocol.
#[derive(Debug)]
pub struct PeerUsage {
    host: Box<str>,
    port: u16,
    protocol: Protocol,
    /// TCP connections that were opened, or addresses that were sent to over UDP.
    pub connections: Counter,
    /// Bytes that the guest sent.
    pub sent: Counter,
    /// Bytes that the guest received.
    pub received: Counter,
}

/// The network usage of a run at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkReport {
    /// In the order of first use.
    pub peers: Vec<PeerReport>,
    /// The sum of all peers after the first 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<Traffic>,
    /// In the order of the first denial.
    pub denied: Vec<DenialReport>,
    /// The number of denials of targets after the first 64.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_denied: u64,
}

/// The traffic with one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerReport {
    /// The name if a rule for the name allowed it, otherwise the address.
    pub host: String,
    pub port: u16,
    pub protocol: Protocol,
    #[serde(flatten)]
    pub traffic: Traffic,
}

/// The amount of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// TCP connections that were opened, or addresses that were sent to over UDP.
    pub connections: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

/// A target that was denied, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialReport {
    /// `HOST:PORT/PROTOCOL`, or a name that the guest wanted to look up.
    pub target: String,
    #[serde(rename = "why")]
    pub reason: String,
    pub count: u64,
}

impl NetworkUsage {
    /// Returns the counters of a peer. Creates them at the first call, or returns the shared ones if there are 64 peers already.
    pub fn peer(&self, host: &str, port: u16, protocol: Protocol) -> Arc<PeerUsage> {
        let mut state = self.lock();
        let is_same = |peer: &&Arc<PeerUsage>| *peer.host == *host && peer.port == port && peer.protocol == protocol;
        if let Some(peer) = state.peers.iter().find(is_same) {
            return peer.clone();
        }
        if state.peers.len() == MAX_ENTRIES {
            return state.others.get_or_insert_with(|| Arc::new(PeerUsage::new("", 0, Protocol::Tcp))).clone();
        }
        let peer = Arc::new(PeerUsage::new(host, port, protocol));
        state.peers.push(peer.clone());
        peer
    }

    /// Records that the run was denied `target`.
    pub fn record_denial(&self, target: &str, reason: &str) {
        let mut state = self.lock();
        if let Some(same) = state.denied.iter_mut().find(|denied| denied.target == target && denied.reason == reason) {
            same.count += 1;
        } else if state.denied.len() == MAX_ENTRIES {
            state.other_denied += 1;
        } else {
            state.denied.push(DenialReport { target: target.to_owned(), reason: reason.to_owned(), count: 1 });
        }
    }

    /// Returns the current usage, or `None` if the run did not request network access.
    pub fn report(&self) -> Option<Box<NetworkReport>> {
        let state = self.lock();
        if state.peers.is_empty() && state.denied.is_empty() {
            return None;
        }
        Some(Box::new(NetworkReport {
            peers: state.peers.iter().map(|peer| peer.report()).collect(),
            others: state.others.as_ref().map(|others| others.traffic()),
            denied: state.denied.clone(),
            other_denied: state.other_denied,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
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
        PeerReport { host: host.to_string(), port: *port, protocol: *protocol, traffic: self.traffic() }
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            connections: self.connections.get(),
            sent_bytes: self.sent.get(),
            received_bytes: self.received.get(),
        }
    }
}

impl NetworkReport {
    /// Returns an estimate of its memory in bytes.
    pub fn weight(&self) -> usize {
        let peers = self.peers.iter().map(|peer| size_of::<PeerReport>() + peer.host.len());
        let denied = self.denied.iter().map(|one| size_of::<DenialReport>() + one.target.len() + one.reason.len());
        size_of::<Self>() + peers.sum::<usize>() + denied.sum::<usize>()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_without_network_requests_is_none() {
        assert_eq!(NetworkUsage::default().report(), None);
    }

    #[test]
    fn peers_are_distinguished_by_host_port_and_protocol() {
        let usage = NetworkUsage::default();
        for (host, port, protocol) in
            [("a", 1, Protocol::Tcp), ("a", 2, Protocol::Tcp), ("a", 1, Protocol::Udp), ("b", 1, Protocol::Tcp)]
        {
            usage.peer(host, port, protocol).sent.add(3);
            usage.peer(host, port, protocol).received.add(4);
        }
        let report = usage.report().unwrap();
        assert_eq!(report.peers.len(), 4);
        let traffic = Traffic { connections: 0, sent_bytes: 3, received_bytes: 4 };
        assert!(report.peers.iter().all(|peer| peer.traffic == traffic));
        let json = serde_json::to_value(&report.peers[2]).unwrap();
        let expected = serde_json::json!({"host": "a", "port": 1, "protocol": "udp", "connections": 0, "sent_bytes": 3, "received_bytes": 4});
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<PeerReport>(json).unwrap(), report.peers[2]);
    }

    #[test]
    fn report_of_any_number_of_peers_is_bounded() {
        let usage = NetworkUsage::default();
        for port in 1..=1000 {
            usage.peer("a", port, Protocol::Tcp).sent.add(1);
            usage.record_denial(&format!("b:{port}/tcp"), "no rule");
            usage.record_denial("b:1/tcp", "no rule");
        }
        let report = usage.report().unwrap();
        assert_eq!((report.peers.len(), report.denied.len()), (MAX_ENTRIES, MAX_ENTRIES));
        assert_eq!((report.others.unwrap().sent_bytes, report.other_denied), (1000 - 64, 1000 - 64));
        assert_eq!(report.denied[0].count, 1001);
        assert!(report.weight() < 32 << 10, "{}", report.weight());
    }
}
