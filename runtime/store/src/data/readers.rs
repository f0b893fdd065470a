//! [`Readers`]: connections that read while the writer writes.

use std::sync::{Arc, Mutex};

use cap_std::fs::Dir;
use capstan_engine::data::DataError;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::connection::{FILE, open_reader};
use super::failure::failed;
use super::sql::Result;

/// Connections that read at a time.
const MAX_READERS: usize = 4;

/// Connections that read. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: Dir,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Opens the connections, so that the store has all of its files from the start.
    pub(super) fn open(dir: Dir) -> Result<Self> {
        let opened = (0..MAX_READERS).map(|_| open_reader(&dir, FILE)).collect::<Result<_>>()?;
        let (permits, idle) = (Arc::new(Semaphore::new(MAX_READERS)), Mutex::new(opened));
        Ok(Self(Arc::new(Inner { dir, permits, idle })))
    }

    /// Runs `work` with a connection, on a thread for blocking calls. All that it reads is of the same moment.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.0.permits.clone().acquire_owned().await.map_err(|_| DataError::Closed)?;
        let inner = self.0.clone();
        crate::blocking(move || {
            let _permit = permit;
            let idle = inner.idle.lock().expect("no panic while the lock is held").pop();
            let db = idle.map_or_else(|| open_reader(&inner.dir, FILE), Ok)?;
            let snapshot = db.unchecked_transaction().map_err(failed("read data.db"))?;
            let result = work(&snapshot);
            drop(snapshot);
            // A connection that met an error of the database may have a part of it cached.
            if !result.as_ref().is_err_and(DataError::is_of_store) {
                inner.idle.lock().expect("no panic while the lock is held").push(db);
            }
            result
        })
        .await
    }
}
