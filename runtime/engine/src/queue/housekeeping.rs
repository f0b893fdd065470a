//! Housekeeping: extends leases, ends those that ran out, and removes what retention does not keep.

use std::time::{Duration, Instant};

use capstan_core::outcome::Outcome;

use super::Queue;
use super::worker::LEASE;
use crate::job_store::{JobStoreError, Now};

/// How often leases are extended.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Heartbeats between two removals of jobs that retention does not keep.
const HEARTBEATS_UNTIL_REMOVAL: u32 = 4;

impl Queue {
    /// Keeps leases and retention until the engine has no work left.
    pub(super) async fn keep_house(self) {
        let drained = self.0.engine.clone();
        tokio::select! {
            () = drained.wait_until_drained() => {}
            () = self.keep_house_for_ever() => {}
        }
    }

    async fn keep_house_for_ever(&self) {
        loop {
            for _ in 0..HEARTBEATS_UNTIL_REMOVAL {
                self.log_failure("extend leases", self.beat().await);
                tokio::time::sleep(HEARTBEAT).await;
            }
            self.log_failure("remove old jobs", self.remove_expired().await);
            self.0.throughput.forget_idle(Instant::now());
            self.0.rate_limits.forget_full(Instant::now());
        }
    }

    async fn beat(&self) -> Result<(), JobStoreError> {
        let lost = self.0.store.heartbeat(Now::read(), self.0.running.leases(), LEASE).await?;
        for lease in lost {
            // A run that has just ended is no longer held either, and stopping it does nothing.
            if let Some(job) = self.running_job(lease.job) {
                job.stop().request(Outcome::Lost);
            }
        }
        self.0.store.expire(Now::read()).await.map(drop)
    }

    async fn remove_expired(&self) -> Result<(), JobStoreError> {
        let retention = &self.0.config.retention;
        while self.0.store.remove_expired(Now::read(), retention.clone()).await? == retention.batch as u64 {}
        Ok(())
    }

    fn log_failure(&self, what: &str, result: Result<(), JobStoreError>) {
        if let Err(error) = self.note(result) {
            tracing::error!("cannot {what}: {error}");
        }
    }
}
