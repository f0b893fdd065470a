//! The worker: claims a job for each free slot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Queue;
use super::capacity::EngineCapacity;
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
        // A claim is never given up half-way: its jobs would count as lost.
        while stopping.run_until_cancelled(self.wait_for_room()).await.is_some() {
            let queue = self.clone();
            let claim = async move { queue.claim_and_start().await };
            match self.0.engine.run_to_completion(claim).await {
                Ok(true) => {}
                Ok(false) => _ = stopping.run_until_cancelled(self.wait_for_more()).await,
                Err(error) => {
                    tracing::error!("cannot take jobs from the queue: {error}");
                    stopping.run_until_cancelled(tokio::time::sleep(PAUSE_AFTER_FAILURE)).await;
                }
            }
        }
    }

    /// Claims a job for each free slot, and starts them. Returns whether there may be more to claim.
    async fn claim_and_start(&self) -> Result<bool, JobStoreError> {
        let limit = self.0.engine.counts().free.clamp(1, MAX_CLAIM);
        let claimed = self.claim(limit).await?;
        let took_all = claimed.len() == limit;
        self.start_all(claimed);
        Ok(took_all)
    }

    /// Waits until a job may run. No slot is held while jobs are claimed, because a synchronous run could need it. So a job may have to wait
    /// for a slot after all, which it then does like any other. Nothing more is claimed meanwhile.
    async fn wait_for_room(&self) {
        self.0.stdin_in_memory.wait_below(MAX_STDIN).await;
        loop {
            self.0.running.wait_until_started().await;
            if self.0.engine.counts().free > 0 {
                return;
            }
            drop(self.0.engine.reserve_slot().await);
        }
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, JobStoreError> {
        let capacity = Arc::new(EngineCapacity(self.clone()));
        let worker = format!("daemon-{}", std::process::id());
        let stdin = MAX_STDIN.saturating_sub(self.0.stdin_in_memory.bytes());
        let request = ClaimRequest { capacity, stdin, ..ClaimRequest::new(worker, limit, LEASE) };
        self.note(self.0.store.claim(Now::read(), request).await)
    }

    /// Starts each claimed job once it has a slot. Each has a task, because a short run ends while it is started.
    fn start_all(&self, claimed: Vec<Claimed>) {
        for claimed in claimed {
            let handler = claimed.job.handler.as_str();
            if let Some(rate) = self.0.engine.resolve(handler).ok().and_then(|resolved| resolved.handler().rate()) {
                self.0.rate_limits.take(handler, rate, Instant::now());
            }
            self.0.running.claim(claimed.lease);
            let queue = self.clone();
            self.0.engine.spawn_change(async move {
                let slot = queue.0.engine.reserve_slot().await;
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
