//! [`Pins`]: which blobs somebody reads or writes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// Wakes the thread that writes, so that it looks for unused blobs.
pub(super) type Waker = Arc<dyn Fn() + Send + Sync>;

/// The blobs that somebody reads or writes. Only the thread that writes adds a pin, so a blob without one stays without.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: HashMap<i64, usize>,
    /// Blobs that have lost their last pin, and may be unused now.
    released: Vec<i64>,
}

/// Keeps the blob. Dropping it lets go of it.
pub(super) struct Pin {
    pins: Arc<Pins>,
    waker: Waker,
    blob: i64,
}

impl Pins {
    /// Adds a pin for `blob`.
    pub(super) fn pin(self: &Arc<Self>, waker: &Waker, blob: i64) -> Pin {
        *self.lock().counts.entry(blob).or_default() += 1;
        Pin { pins: self.clone(), waker: waker.clone(), blob }
    }

    pub(super) fn is_pinned(&self, blob: i64) -> bool {
        self.lock().counts.contains_key(&blob)
    }

    /// Moves the blobs that have lost their last pin to `released`.
    pub(super) fn take_released(&self, released: &mut Vec<i64>) {
        released.append(&mut self.lock().released);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the lock is held")
    }
}

impl Pin {
    pub(super) fn blob(&self) -> i64 {
        self.blob
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.pins.lock();
        if let Some(count) = state.counts.get_mut(&self.blob) {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(&self.blob);
                state.released.push(self.blob);
            }
        }
        drop(state);
        (self.waker)();
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Pin").field(&self.blob).finish()
    }
}
