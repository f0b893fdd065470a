//! `SessionSlot`: what a connection runs after HTTP.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a connection runs in place of HTTP after an upgrade.
pub(super) type Session = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where an API function leaves the session for the task of its connection. Clones share the slot.
#[derive(Clone, Default)]
pub(crate) struct SessionSlot(Arc<Mutex<Option<Session>>>);

impl SessionSlot {
    pub(super) fn set(&self, session: Session) {
        *self.lock() = Some(session);
    }

    /// Takes the session; `None` where the connection was not upgraded.
    pub(crate) fn take(&self) -> Option<Session> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Session>> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl fmt::Debug for SessionSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionSlot")
    }
}
