//! [`Tables`]: what changes work on.

use std::sync::Arc;

use rusqlite::Connection;

use super::pins::{Pin, Pins, Waker};

/// What a change works on, inside a transaction.
pub(super) struct Tables {
    pub(super) db: Connection,
    pub(super) pins: Arc<Pins>,
    waker: Waker,
    /// The revision of the last write.
    revision: i64,
}

impl Tables {
    /// Creates the tables in `db`. `revision` is higher than that of any write so far.
    pub(super) fn new(db: Connection, waker: Waker, revision: i64) -> Self {
        Self { db, pins: Arc::default(), waker, revision }
    }

    /// Returns a number that no write had before.
    pub(super) fn next_revision(&mut self) -> i64 {
        self.revision += 1;
        self.revision
    }

    /// Keeps the bytes of `blob` until the pin is dropped.
    pub(super) fn pin(&self, blob: i64) -> Pin {
        self.pins.pin(&self.waker, blob)
    }
}
