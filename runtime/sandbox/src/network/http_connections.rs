//! The connections that the host opens for the HTTP requests of a run. They share the limits and the report of its sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use capstan_core::outcome::NetworkLimit;
use capstan_core::policy::{HttpHost, HttpReach, Name, Protocol};
use capstan_core::usage::PeerUsage;

use super::lookup::MAX_ADDRESSES;
use super::{Network, is_local_address};

impl Network {
    /// Returns the addresses of `name`.
    ///
    /// # Errors
    /// The error of the resolver.
    pub(crate) async fn resolve(&self, name: &Name) -> io::Result<Vec<IpAddr>> {
        let mut addresses = self.0.resolver.lookup(name.as_str()).await?;
        addresses.truncate(MAX_ADDRESSES);
        addresses.iter_mut().for_each(|address| *address = address.to_canonical());
        Ok(addresses)
    }

    /// Returns whether a request to `host` may go to `address`. Records a denial.
    pub(crate) fn may_connect(&self, reach: &HttpReach, host: &HttpHost, address: SocketAddr) -> bool {
        let allowed = reach.allows_address(host, address, is_local_address);
        if let Err(reason) = allowed {
            self.deny(&format!("{host} at {address}/{}", Protocol::Tcp), &reason.to_string());
        }
        allowed.is_ok()
    }

    /// Counts a connection to `host`. Returns `None`, and records a denial, if the run may open no more.
    pub(crate) fn count_connection(&self, host: &HttpHost, port: u16) -> Option<Arc<PeerUsage>> {
        let mut state = self.lock();
        if state.connections >= self.0.limits.connections {
            state.exceeded.get_or_insert(NetworkLimit::Connections);
            let reason = "the run has made as many connections as `connections` in its policy allows";
            self.deny(&format!("{host}:{port}/{}", Protocol::Tcp), reason);
            return None;
        }
        state.connections += 1;
        let peer = self.http_peer(host, port);
        peer.connections.add(1);
        Some(peer)
    }

    /// Returns the counters of the requests to `host`.
    pub(crate) fn http_peer(&self, host: &HttpHost, port: u16) -> Arc<PeerUsage> {
        let host = match host {
            HttpHost::Name(name) => name.to_string(),
            HttpHost::Address(address) => address.to_string(),
        };
        self.0.usage.network.peer(&host, port, Protocol::Tcp)
    }

    /// Records a request that is denied.
    pub(crate) fn deny_request(&self, target: &str, reason: &str) {
        self.deny(target, reason);
    }
}
