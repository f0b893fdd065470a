//! [`Readers`]: connections that read, a few at a time, beside the one that writes.

use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use capstan_engine::job_store::JobStoreError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::connection::open_reader;

/// Reads at the same time. More wait.
const MAX_READERS: usize = 4;

/// Connections that read. Clones are the same pool.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: Arc<Dir>,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Opens the connections, so that the store has all of its files from the start.
    pub(super) fn open(dir: Arc<Dir>) -> Result<Self, JobStoreError> {
        let opened = (0..MAX_READERS).map(|_| open_reader(&dir)).collect::<Result<_, _>>()?;
        let (permits, idle) = (Arc::new(Semaphore::new(MAX_READERS)), Mutex::new(opened));
        Ok(Self(Arc::new(Inner { dir, permits, idle })))
    }

    /// Runs `work` with a connection, on a thread for blocking calls. All that it reads is of the same moment.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, JobStoreError> + Send + 'static,
    ) -> Result<T, JobStoreError> {
        let permit = self.0.permits.clone().acquire_owned().await.map_err(|_| JobStoreError::Closed)?;
        let inner = self.0.clone();
        crate::blocking(move || {
            let _permit = permit;
            let idle = inner.idle.lock().expect("no panic while the lock is held").pop();
            let db = idle.map_or_else(|| open_reader(&inner.dir), Ok)?;
            let reading = super::failure::failed("read jobs.db");
            let snapshot = db.unchecked_transaction().map_err(&reading)?;
            let result = work(&snapshot);
            drop(snapshot);
            // A connection that met an error may have a part of the error cached.
            if result.is_ok() {
                inner.idle.lock().expect("no panic while the lock is held").push(db);
            }
            result
        })
        .await
    }
}
