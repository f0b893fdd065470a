//! [`EngineCapacity`]: tells the store which handlers and concurrency keys have room for more jobs.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use capstan_core::limits::Limits;
use capstan_core::policy::PolicyRequest;

use super::Queue;
use crate::job_store::Capacity;
use crate::registry::ResolvedHandler;

/// The room that the concurrency limits and rates of the handlers leave. A job that asks for a lower limit of its own waits once it is claimed.
///
/// Jobs of a handler that does not exist, or whose policy is denied, have room: they end as refused once they are claimed.
#[derive(Debug)]
pub(super) struct EngineCapacity(pub(super) Queue);

impl Capacity for EngineCapacity {
    fn of_handler(&self, handler: &str) -> usize {
        let Ok(resolved) = self.0.0.engine.resolve(handler) else { return usize::MAX };
        let rate = resolved.handler().rate();
        let by_rate = rate.map_or(usize::MAX, |rate| self.0.0.rate_limits.room(handler, rate, Instant::now()));
        by_rate.min(self.concurrency(&resolved, None, |limits| limits.concurrency))
    }

    fn of_key(&self, handler: &str, key: &str) -> usize {
        let Ok(resolved) = self.0.0.engine.resolve(handler) else { return usize::MAX };
        self.concurrency(&resolved, Some(key), |limits| Some(limits.concurrency_per_key.unwrap_or(NonZeroUsize::MIN)))
    }
}

impl EngineCapacity {
    /// Returns how many jobs of `handler` its concurrency limit allows.
    pub(super) fn concurrency_of_handler(&self, handler: &str) -> usize {
        let Ok(resolved) = self.0.0.engine.resolve(handler) else { return usize::MAX };
        self.concurrency(&resolved, None, |limits| limits.concurrency)
    }

    fn concurrency(
        &self,
        resolved: &Arc<ResolvedHandler>,
        key: Option<&str>,
        limit: impl FnOnce(&Limits) -> Option<NonZeroUsize>,
    ) -> usize {
        let engine = &self.0.0.engine;
        let policy = resolved.policy(&engine.ceiling(), &PolicyRequest::EMPTY).ok();
        let limit = policy.and_then(|policy| limit(&policy.limits));
        limit.map_or(usize::MAX, |limit| engine.concurrency_room(resolved.name(), key, limit))
    }
}
