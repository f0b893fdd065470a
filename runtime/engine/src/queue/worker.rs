//! The worker: claims a job for each free slot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Queue;
use super::capacity::EngineCapacity;
use crate::engine::ReservedSlot;
use crate::job_store::{ClaimRequest, Claimed, JobStoreError, Now};

/// How long a lease lasts. Housekeeping extends it long before.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// Jobs in one claim.
const MAX_CLAIM: usize = 256;
/// Bytes of stdin that running jobs may hold in memory. One job may exceed it.
const MAX_STDIN: u64 = 256 << 20;
/// How long the worker waits after a failure of the store.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// The wall clock may jump, so the worker looks at it so often.
const MAX_SLEEP: Duration = Duration::from_secs(5);

impl Queue {
    /// Runs jobs until the engine shuts down.
    pub(super) async fn run_worker(self) {
        let stopping = self.0.engine.stopping().clone();
        stopping.run_until_cancelled(self.claim_for_ever()).await;
    }

    async fn claim_for_ever(&self) {
        loop {
            self.0.stdin_in_memory.wait_below(MAX_STDIN).await;
            // One slot is held while jobs are claimed. The others may be taken meanwhile, and then a job waits for its slot.
            let slot = self.0.engine.reserve_slot().await;
            let limit = (1 + self.0.engine.counts().free).min(MAX_CLAIM);
            match self.claim(limit).await {
                Ok(claimed) => {
                    let took_all = claimed.len() == limit;
                    self.start_all(claimed, slot);
                    if !took_all {
                        self.wait_for_more().await;
                    }
                }
                Err(error) => {
                    drop(slot);
                    tracing::error!("cannot take jobs from the queue: {error}");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, JobStoreError> {
        let capacity = Arc::new(EngineCapacity(self.clone()));
        let worker = format!("daemon-{}", std::process::id());
        let stdin = MAX_STDIN.saturating_sub(self.0.stdin_in_memory.bytes());
        let request = ClaimRequest { capacity, stdin, ..ClaimRequest::new(worker, limit, LEASE) };
        self.note(self.0.store.claim(Now::read(), request).await)
    }

    /// Starts each claimed job, the first one in `slot`. Each has a task, because a short run ends while it is started.
    fn start_all(&self, claimed: Vec<Claimed>, slot: ReservedSlot) {
        let mut slot = Some(slot);
        for claimed in claimed {
            let handler = claimed.job.handler.as_str();
            if let Some(rate) = self.0.engine.resolve(handler).ok().and_then(|resolved| resolved.handler().rate()) {
                self.0.rate_limits.take(handler, rate, Instant::now());
            }
            let (queue, slot) = (self.clone(), slot.take());
            self.0.engine.spawn(async move {
                let slot = match slot {
                    Some(slot) => slot,
                    None => queue.0.engine.reserve_slot().await,
                };
                queue.start_attempt(claimed, slot);
            });
        }
    }

    /// Waits until there may be more to claim.
    async fn wait_for_more(&self) {
        let due = match self.0.store.next_due().await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!("cannot read when the next job comes due: {error}");
                Some(Timestamp::now().checked_add(PAUSE_AFTER_FAILURE).unwrap_or(Timestamp::MAX))
            }
        };
        tokio::select! {
            () = self.0.store.watchers().claimable() => {}
            () = self.0.engine.concurrency_released() => {}
            () = sleep_until(due) => {}
            () = sleep_until_instant(self.0.rate_limits.take_next()) => {}
        }
    }
}

/// Waits until `time`, or for ever if there is none.
async fn sleep_until_instant(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until the wall clock shows `due`, or for ever if there is no time.
async fn sleep_until(due: Option<Timestamp>) {
    let Some(due) = due else { return std::future::pending().await };
    while let Ok(left) = Duration::try_from(due.duration_since(Timestamp::now()))
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(MAX_SLEEP)).await;
    }
}
