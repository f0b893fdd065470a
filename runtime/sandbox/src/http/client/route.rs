//! [`Route`]: what a request may use, and where it goes.

use std::sync::Arc;

use capstan_core::policy::HttpReach;
use capstan_core::secret::Redaction;
use capstan_core::usage::PeerUsage;

use super::pool::Origin;
use crate::network::Network;

/// What a request may use, and where it goes.
pub(crate) struct Route {
    pub(crate) origin: Origin,
    pub(crate) reach: Arc<HttpReach>,
    pub(crate) network: Network,
    /// The secrets that the request carries. They are masked in the response.
    pub(crate) secrets: Redaction,
}

impl Route {
    /// Returns the counters of its host.
    pub(super) fn peer(&self) -> Arc<PeerUsage> {
        self.network.http_peer(&self.origin.host, self.origin.port)
    }
}
