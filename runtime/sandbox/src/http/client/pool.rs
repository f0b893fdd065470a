//! [`Pool`]: the idle connections of one handler.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use capstan_core::http::Scheme;
use capstan_core::policy::HttpHost;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::connection::Connection;

/// How many idle connections a handler has, and those of all handlers together.
const MAX_IDLE: usize = 16;
const MAX_IDLE_OF_ALL: usize = 256;
/// How long a connection stays open without a request.
const MAX_IDLE_TIME: Duration = Duration::from_secs(30);

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) host: HttpHost,
    pub(crate) port: u16,
}

/// Counts the idle connections of all handlers of a sandbox.
#[derive(Clone, Debug)]
pub(crate) struct IdleConnections(Arc<Semaphore>);

impl Default for IdleConnections {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_IDLE_OF_ALL)))
    }
}

/// The idle connections of one handler, the oldest first.
#[derive(Debug)]
pub(super) struct Pool {
    idle: Mutex<Vec<(Origin, Connection)>>,
    of_all: IdleConnections,
}

impl Pool {
    pub(super) fn new(of_all: IdleConnections) -> Self {
        Self { idle: Mutex::default(), of_all }
    }

    /// Takes the newest idle connection to `origin`. The caller checks whether it is usable.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.lock();
        idle.retain(|(_, connection)| !connection.is_closed());
        let at = idle.iter().rposition(|(own, _)| own == origin)?;
        let mut connection = idle.remove(at).1;
        connection.set_busy();
        Some(connection)
    }

    /// Keeps `connection` for the next request to `origin`, or closes it if there are too many.
    pub(super) fn put(&self, origin: Origin, mut connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let mut idle = self.lock();
        idle.retain(|(_, connection)| !connection.is_closed());
        if idle.len() == MAX_IDLE {
            idle.remove(0);
        }
        if let Ok(permit) = self.of_all.0.clone().try_acquire_owned() {
            connection.set_idle(permit, Instant::now() + MAX_IDLE_TIME);
            idle.push((origin, connection));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Origin, Connection)>> {
        self.idle.lock().expect("no panic while the lock is held")
    }
}
