//! [`RunContext`]: what all runs of a sandbox share.

use std::sync::Arc;

use capstan_engine::tasks::TaskGuard;

use super::epoch_ticker::EpochTicker;
use super::guest_runtime::GuestRuntime;
use super::http::{IdleConnections, IdleCount, TrustedRoots};
use super::network::Resolver;
use super::shared_programs::SharedPrograms;

/// The threads, the ticker and the resolver that runs use. Programs hold it in an `Arc`.
#[derive(Debug)]
pub(super) struct RunContext {
    pub(super) guest_runtime: GuestRuntime,
    pub(super) resolver: Resolver,
    /// What the servers of HTTP requests must be issued by.
    pub(super) roots: TrustedRoots,
    /// Counts the idle connections of all handlers.
    pub(super) idle_connections: IdleConnections,
    pub(super) ticker: Arc<EpochTicker>,
    /// The programs that are linked.
    pub(super) programs: SharedPrograms,
    /// The instances that wait for a request.
    pub(super) idle_instances: IdleCount,
    /// Whether runs can be profiled, which is so in debug mode.
    pub(super) can_profile: bool,
    /// Lists the ticker and the guest threads among the tasks of the daemon.
    pub(super) _listed: [Option<TaskGuard>; 2],
}
