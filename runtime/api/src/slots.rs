//! `Slots`: limits on what requests and jobs may hold in memory at a time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body;
use super::error::Error;

/// Large request bodies in memory at a time; more requests wait before their body is read.
const UPLOADS: usize = 16;
/// Programs in memory at a time for clients that download them.
const DOWNLOADS: usize = 16;
/// Bytes that one of those slots stands for. A larger body or program takes several.
const SLOT_SIZE: u64 = 64 << 20;
/// How long a request waits for one of those slots.
const SLOT_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the blocks in which stdin of submitted jobs is counted, until the jobs have read it.
const STDIN_BLOCK: usize = 1024;
/// The most blocks of it in memory: 256 MiB.
const STDIN_BLOCKS: usize = 256 << 10;
/// The most jobs in their grace period at a time.
const GRACE_PERIODS: usize = 1024;

/// The slots that are left. Dropping a permit frees its slot.
#[derive(Debug)]
pub(crate) struct Slots {
    uploads: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    stdin_blocks: Arc<Semaphore>,
    grace_periods: Arc<Semaphore>,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self {
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            stdin_blocks: Arc::new(Semaphore::new(STDIN_BLOCKS)),
            grace_periods: Arc::new(Semaphore::new(GRACE_PERIODS)),
        }
    }

    /// Waits up to 30 s for a slot to hold a large request body in memory. Cancel-safe.
    ///
    /// # Errors
    /// [`Error`], 429 `busy`, where no slot becomes free in time.
    pub(crate) async fn upload(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.upload_of(SLOT_SIZE).await
    }

    /// Waits up to 30 s for the slots to hold a request body of `bytes` in memory. Cancel-safe.
    ///
    /// # Errors
    /// As [`Slots::upload`].
    pub(crate) async fn upload_of(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        acquire(&self.uploads, slots_for(bytes, UPLOADS), "large request bodies", UPLOADS).await
    }

    /// Waits up to 30 s for the slots to hold a program of `bytes` in memory for a client. Cancel-safe.
    ///
    /// # Errors
    /// [`Error`], 429 `busy`, where no slot becomes free in time.
    pub(crate) async fn download_of(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Error> {
        acquire(&self.downloads, slots_for(bytes, DOWNLOADS), "program downloads", DOWNLOADS).await
    }

    /// Counts `stdin` as in memory until its last clone is dropped: a job may wait in the queue with it.
    ///
    /// # Errors
    /// [`Error`], 429 `busy`, where the jobs hold 256 MiB already.
    pub(crate) fn hold_stdin(&self, stdin: Bytes) -> Result<Bytes, Error> {
        let blocks = u32::try_from(stdin.len().div_ceil(STDIN_BLOCK)).expect("a body is bounded");
        let permit = self.stdin_blocks.clone().try_acquire_many_owned(blocks);
        let permit = permit.map_err(|_| {
            let limit = (STDIN_BLOCKS * STDIN_BLOCK) >> 20;
            Error::busy(format!(
                "submitted jobs hold the limit of {limit} MiB of stdin that they have not read; try again"
            ))
        })?;
        Ok(body::with_permit(stdin, permit))
    }

    /// Takes a slot for a job in its grace period.
    ///
    /// # Errors
    /// [`Error`], 429 `busy`, where 1024 jobs are in their grace period already.
    pub(crate) fn grace_period(&self) -> Result<GracePeriodPermit, Error> {
        let permit = self.grace_periods.clone().try_acquire_owned().map_err(|_| {
            Error::busy(format!(
                "{GRACE_PERIODS} jobs are in their grace period, which is the limit; try again, or without grace"
            ))
        })?;
        Ok(GracePeriodPermit(Arc::new(Mutex::new(Some(permit)))))
    }
}

/// The slot of a job in its grace period. Dropping any of its clones frees it: the grace period is over, or the job has ended.
#[derive(Clone, Debug)]
pub(crate) struct GracePeriodPermit(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Drop for GracePeriodPermit {
    fn drop(&mut self) {
        self.0.lock().expect("no panic while the lock is held").take();
    }
}

/// Returns how many of `slots` a body of `bytes` takes: at least one, and at most all.
fn slots_for(bytes: u64, slots: usize) -> u32 {
    let slots = u32::try_from(slots).expect("a few");
    u32::try_from(bytes.div_ceil(SLOT_SIZE)).unwrap_or(u32::MAX).clamp(1, slots)
}

async fn acquire(slots: &Arc<Semaphore>, count: u32, what: &str, limit: usize) -> Result<OwnedSemaphorePermit, Error> {
    let permit = tokio::time::timeout(SLOT_TIMEOUT, slots.clone().acquire_many_owned(count)).await;
    let permit = permit.map_err(|_| {
        let waited = SLOT_TIMEOUT.as_secs();
        Error::busy(format!(
            "the limit of {limit} {what} at a time is reached, and none finished within {waited} s; try again"
        ))
    })?;
    Ok(permit.expect("the semaphore is never closed"))
}
